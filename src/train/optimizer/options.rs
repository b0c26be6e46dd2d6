//! Which optimizer, with which constants: a value, and a line of text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::text::{Line, in_range};

/// How optimizers are written.
const EXPECTED: &str = "sgd[:momentum=0.9,nesterov,decay=5e-4], adam[:beta1=0.9,beta2=0.999,epsilon=1e-8,decay=0] or adamw[:…,decay=0.01]";

/// An optimizer and its constants, also as a line of text: `sgd`, `sgd:momentum=0.9,nesterov,decay=5e-4`, `adam`,
/// `adamw:decay=0.01`. What a line leaves out has the default of PyTorch; what is serialised is the line in full.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum OptimizerOptions {
    /// Stochastic gradient descent with the momentum of
    /// [Sutskever et al. 2013](https://proceedings.mlr.press/v28/sutskever13.html), without dampening.
    Sgd {
        /// μ, at least 0 and below 1; 0 is none.
        momentum: f64,
        /// Whether the step looks ahead along the momentum.
        nesterov: bool,
        /// What is added to the gradient for each unit of the parameter, at least 0.
        decay: f64,
    },
    /// [Kingma and Ba 2014](https://arxiv.org/abs/1412.6980); the decay is added to the gradient.
    Adam(AdamOptions),
    /// [Loshchilov and Hutter 2017](https://arxiv.org/abs/1711.05101): the decay shrinks the parameter itself.
    AdamW(AdamOptions),
}

/// The constants of [`OptimizerOptions::Adam`] and [`OptimizerOptions::AdamW`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamOptions {
    /// β₁ of the mean of gradients, at least 0 and below 1.
    pub beta1: f64,
    /// β₂ of the mean of their squares, at least 0 and below 1.
    pub beta2: f64,
    /// ε, what is added to the root; positive in f32.
    pub epsilon: f64,
    /// The weight decay, at least 0.
    pub decay: f64,
}

impl AdamOptions {
    /// β₁ = 0.9, β₂ = 0.999, ε = 10⁻⁸ and this decay.
    pub fn with_decay(decay: f64) -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decay,
        }
    }

    fn read(line: &mut Line<'_>, decay: f64) -> Result<Self> {
        let other = Self::with_decay(decay);
        Ok(Self {
            beta1: line.keyed("beta1")?.unwrap_or(other.beta1),
            beta2: line.keyed("beta2")?.unwrap_or(other.beta2),
            epsilon: line.keyed("epsilon")?.unwrap_or(other.epsilon),
            decay: line.keyed("decay")?.unwrap_or(other.decay),
        })
    }

    fn check(&self) -> Result<()> {
        let below_one = "at least 0 and below 1";
        for (what, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            in_range(what, beta, below_one, (0.0..1.0).contains(&beta))?;
        }
        let epsilon = self.epsilon as f32;
        let positive = epsilon > 0.0 && epsilon.is_finite();
        in_range("epsilon", self.epsilon, "a positive f32", positive)?;
        check_decay(self.decay)
    }
}

fn check_decay(decay: f64) -> Result<()> {
    let inside = decay >= 0.0 && (decay as f32).is_finite();
    in_range("the weight decay", decay, "at least 0 and finite", inside)
}

impl OptimizerOptions {
    /// Whether every constant is in its range.
    ///
    /// # Errors
    /// [`Error::Parameter`] for the first that is not, NaN among them; Nesterov without momentum.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Sgd {
                momentum,
                nesterov,
                decay,
            } => {
                let (expected, inside) = match nesterov {
                    true => (
                        "above 0 and below 1 with nesterov",
                        *momentum > 0.0 && *momentum < 1.0,
                    ),
                    false => ("at least 0 and below 1", (0.0..1.0).contains(momentum)),
                };
                in_range("the momentum", *momentum, expected, inside)?;
                check_decay(*decay)
            }
            Self::Adam(adam) | Self::AdamW(adam) => adam.check(),
        }
    }

    /// The names of what is kept of each parameter between steps; PyTorch's.
    pub fn slot_names(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum: 0.0, .. } => &[],
            Self::Sgd { .. } => &["momentum_buffer"],
            Self::Adam(_) | Self::AdamW(_) => &["exp_avg", "exp_avg_sq"],
        }
    }
}

impl FromStr for OptimizerOptions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut line = Line::new("the optimizer", text, EXPECTED);
        let options = match line.name {
            "sgd" => Self::Sgd {
                momentum: line.keyed("momentum")?.unwrap_or(0.0),
                nesterov: line.flag("nesterov"),
                decay: line.keyed("decay")?.unwrap_or(0.0),
            },
            "adam" => Self::Adam(AdamOptions::read(&mut line, 0.0)?),
            "adamw" => Self::AdamW(AdamOptions::read(&mut line, 0.01)?),
            other => return Err(line.unknown(other)),
        };
        line.end()?;
        options.check()?;
        Ok(options)
    }
}

impl fmt::Display for OptimizerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, adam) = match self {
            Self::Sgd {
                momentum,
                nesterov,
                decay,
            } => {
                let nesterov = if *nesterov { "nesterov," } else { "" };
                return write!(
                    formatter,
                    "sgd:momentum={momentum:?},{nesterov}decay={decay:?}"
                );
            }
            Self::Adam(adam) => ("adam", adam),
            Self::AdamW(adam) => ("adamw", adam),
        };
        let AdamOptions {
            beta1,
            beta2,
            epsilon,
            decay,
        } = adam;
        write!(
            formatter,
            "{name}:beta1={beta1:?},beta2={beta2:?},epsilon={epsilon:?},decay={decay:?}"
        )
    }
}

impl TryFrom<String> for OptimizerOptions {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<OptimizerOptions> for String {
    fn from(options: OptimizerOptions) -> Self {
        options.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written() {
        let sgd = OptimizerOptions::Sgd {
            momentum: 0.9,
            nesterov: true,
            decay: 5e-4,
        };
        assert_eq!("sgd:momentum=0.9,nesterov,decay=5e-4".parse(), Ok(sgd));
        assert_eq!(
            " sgd : decay = 0.0005, nesterov, momentum=.9".parse(),
            Ok(sgd)
        );
        let adamw = OptimizerOptions::AdamW(AdamOptions::with_decay(0.01));
        assert_eq!("adamw".parse(), Ok(adamw));
        assert_eq!("adamw:decay=0.01".parse(), Ok(adamw));
        let adam = AdamOptions {
            beta1: 0.1 + 0.2,
            epsilon: f64::from(f32::MIN_POSITIVE),
            ..AdamOptions::with_decay(1.0 / 3.0)
        };
        for options in [sgd, adamw, OptimizerOptions::Adam(adam)] {
            assert_eq!(options.to_string().parse(), Ok(options), "{options}");
            let json = serde_json::to_string(&options).unwrap();
            assert_eq!(
                serde_json::from_str::<OptimizerOptions>(&json).unwrap(),
                options
            );
        }
        assert_eq!(sgd.to_string(), "sgd:momentum=0.9,nesterov,decay=0.0005");
    }

    #[test]
    fn nonsense_is_refused() {
        for (line, part) in [
            ("", r#""" is not"#),
            ("lion", r#""lion" is not"#),
            ("SGD", r#""SGD" is not"#),
            ("sgd:", r#""" is not"#),
            ("sgd:momentum", r#""momentum" is not"#),
            ("sgd:momentum=", r#""momentum=" is not"#),
            ("sgd:momentum=high", r#""momentum=high" is not"#),
            ("sgd:momentum=0.9,momentum=0.8", r#""momentum=0.8" is not"#),
            ("sgd:beta1=0.9", r#""beta1=0.9" is not"#),
            ("adam:nesterov", r#""nesterov" is not"#),
            ("sgd:momentum=1", "the momentum is 1, expected at least 0"),
            ("sgd:momentum=-0.1", "the momentum is -0.1"),
            ("sgd:momentum=NaN", "the momentum is NaN"),
            ("sgd:nesterov", "the momentum is 0, expected above 0"),
            ("sgd:decay=-1e-4", "the weight decay is -0.0001"),
            ("sgd:decay=inf", "the weight decay is inf"),
            ("sgd:decay=1e39", "the weight decay is 1000"),
            ("adam:beta1=1", "beta1 is 1"),
            ("adam:beta2=NaN", "beta2 is NaN"),
            ("adam:epsilon=0", "epsilon is 0, expected a positive f32"),
            ("adamw:epsilon=1e-60", "epsilon is 0.000"),
        ] {
            let error = line.parse::<OptimizerOptions>().unwrap_err().to_string();
            assert!(error.contains(part), "{line:?}: {error}");
        }
        let json = r#""sgd:momentum=2""#;
        let error = serde_json::from_str::<OptimizerOptions>(json).unwrap_err();
        assert!(error.to_string().contains("the momentum is 2"), "{error}");
    }
}
