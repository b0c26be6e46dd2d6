//! Schedules: the learning rate of each step.
//!
//! ```text
//! t  the step, from 0      S  steps of an epoch      E  epochs      W = round(warmup · S)
//!
//! t < W      base · (t + 1) / (W + 1)                                       linear warm-up
//! constant   base
//! step       base · factor^⌊t / (n · S)⌋                                    every n epochs
//! cosine     min + (base − min) · (1 + cos(π (t − W) / (E · S − W))) / 2    down to min at t = E · S
//! ```
//! A rate belongs to a step, not to an epoch. Warm-up as in [Goyal et al. 2017](https://arxiv.org/abs/1706.02677), the
//! cosine of [Loshchilov and Hutter 2016](https://arxiv.org/abs/1608.03983) without restarts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::{Line, in_range};
use crate::error::{Error, Result};

/// How schedules are written.
const EXPECTED: &str =
    "constant, step:30,0.1 (epochs, factor) or cosine[:min=0], each also with warmup=5 (epochs)";

/// How the learning rate changes, also as a line of text: `constant`, `step:30,0.1`, `cosine`,
/// `cosine:min=1e-5,warmup=5`. What is serialised is the line in full.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Schedule {
    /// What follows the warm-up.
    pub decay: Decay,
    /// Epochs during which the rate rises from near 0 to the base rate; not necessarily whole ones.
    pub warmup: f64,
}

/// What a rate does once it is warm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// It stays.
    Constant,
    /// It is multiplied by a factor every few epochs, counted from the first step of all.
    Step {
        /// Epochs between two changes, at least 1.
        epochs: u64,
        /// Above 0 and at most 1.
        factor: f64,
    },
    /// It falls along half a cosine.
    Cosine {
        /// The rate at the end, at least 0 and at most the base rate.
        min: f64,
    },
}

impl Schedule {
    /// The base rate from the first step to the last.
    pub fn constant() -> Self {
        Self {
            decay: Decay::Constant,
            warmup: 0.0,
        }
    }

    /// Whether the rate of a step does not depend on how many there are in all.
    pub fn is_endless(&self) -> bool {
        !matches!(self.decay, Decay::Cosine { .. })
    }

    /// Whether every number is in its range.
    ///
    /// # Errors
    /// [`Error::Parameter`] for the first that is not, NaN among them.
    pub fn check(&self) -> Result<()> {
        let positive = self.warmup >= 0.0 && self.warmup.is_finite();
        in_range(
            "the warm-up in epochs",
            self.warmup,
            "at least 0 and finite",
            positive,
        )?;
        match self.decay {
            Decay::Constant => Ok(()),
            Decay::Step { epochs, factor } => {
                in_range("the epochs of a step", 0.0, "at least 1", epochs > 0)?;
                let inside = factor > 0.0 && factor <= 1.0;
                in_range(
                    "the factor of a step",
                    factor,
                    "above 0 and at most 1",
                    inside,
                )
            }
            Decay::Cosine { min } => {
                let inside = min >= 0.0 && min.is_finite();
                in_range("the smallest rate", min, "at least 0 and finite", inside)
            }
        }
    }

    /// The rates of a training of `epochs` epochs with `steps` steps each, `base` the rate when warm.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); a base rate that is not positive, is infinite in f32 or NaN; a smallest rate
    /// above it; no epochs or steps; a warm-up of all epochs or more.
    pub fn rates(&self, base: f64, steps: u64, epochs: u64) -> Result<Rates> {
        self.check()?;
        let inside = base > 0.0 && (base as f32) > 0.0 && (base as f32).is_finite();
        in_range("the learning rate", base, "above 0 and finite", inside)?;
        if let Decay::Cosine { min } = self.decay {
            in_range("the smallest rate", min, "at most the base", min <= base)?;
        }
        for (what, count) in [("steps of an epoch", steps), ("epochs", epochs)] {
            if count == 0 {
                return Err(Error::ZeroCount { what });
            }
        }
        let total = steps.checked_mul(epochs).ok_or(Error::Overflow {
            what: "steps times epochs",
        })?;
        let warmup = (self.warmup * steps as f64).round();
        in_range(
            "the warm-up in epochs",
            self.warmup,
            "less than there are epochs",
            warmup < total as f64,
        )?;
        Ok(Rates {
            decay: self.decay,
            base,
            warmup,
            steps,
            total: total as f64,
        })
    }
}

/// A schedule for a known number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    decay: Decay,
    base: f64,
    /// Steps.
    warmup: f64,
    /// Of an epoch.
    steps: u64,
    /// Steps.
    total: f64,
}

impl Rates {
    /// The learning rate of `step`, counted from 0 over all epochs. A function of nothing else; after the last
    /// step, what it would have been there.
    pub fn at(&self, step: u64) -> f64 {
        let t = step as f64;
        if t < self.warmup {
            return self.base * (t + 1.0) / (self.warmup + 1.0);
        }
        match self.decay {
            Decay::Constant => self.base,
            Decay::Step { epochs, factor } => {
                let changes = step / self.steps / epochs;
                self.base * libm::pow(factor, changes as f64)
            }
            Decay::Cosine { min } => {
                let done = (t - self.warmup) / (self.total - self.warmup);
                let angle = std::f64::consts::PI * done.min(1.0);
                min + (self.base - min) * 0.5 * (1.0 + libm::cos(angle))
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut line = Line::new("the schedule", text, EXPECTED);
        let warmup = line.keyed("warmup")?.unwrap_or(0.0);
        let decay = match line.name {
            "constant" => Decay::Constant,
            "step" => Decay::Step {
                epochs: line.number()?,
                factor: line.number()?,
            },
            "cosine" => Decay::Cosine {
                min: line.keyed("min")?.unwrap_or(0.0),
            },
            other => return Err(line.unknown(other)),
        };
        line.end()?;
        let schedule = Self { decay, warmup };
        schedule.check()?;
        Ok(schedule)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decay {
            Decay::Constant => write!(formatter, "constant:")?,
            Decay::Step { epochs, factor } => write!(formatter, "step:{epochs},{factor:?},")?,
            Decay::Cosine { min } => write!(formatter, "cosine:min={min:?},")?,
        }
        write!(formatter, "warmup={:?}", self.warmup)
    }
}

impl TryFrom<String> for Schedule {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(line: &str, base: f64, steps: u64, epochs: u64) -> Rates {
        let schedule: Schedule = line.parse().unwrap();
        schedule.rates(base, steps, epochs).unwrap()
    }

    #[test]
    fn steps_by_hand() {
        let constant = rates("constant", 0.1, 10, 3);
        assert!((0..40).all(|step| constant.at(step) == 0.1));
        let halved = rates("step:2,0.5", 0.8, 10, 5);
        for (step, expected) in [
            (0, 0.8),
            (19, 0.8),
            (20, 0.4),
            (39, 0.4),
            (40, 0.2),
            (49, 0.2),
        ] {
            assert_eq!(halved.at(step), expected, "{step}");
        }
        let warm = rates("step:2,0.5,warmup=0.3", 0.8, 10, 5);
        let rising: Vec<_> = (0..5).map(|step| warm.at(step)).collect();
        assert_eq!(rising, [0.2, 0.4, 0.8 * 3.0 / 4.0, 0.8, 0.8]);
        // The epochs of a step are counted from the first step of all.
        assert_eq!((warm.at(19), warm.at(20)), (0.8, 0.4));
    }

    #[test]
    fn cosine_by_hand() {
        let cosine = rates("cosine:min=0.2", 1.0, 10, 4);
        let near = |step, expected: f64| {
            let got = cosine.at(step);
            assert!((got - expected).abs() < 1e-15, "{step}: {got}");
        };
        near(0, 1.0);
        near(20, 0.6);
        near(10, 0.2 + 0.8 * (0.5 + 0.5f64.sqrt() / 2.0));
        near(40, 0.2);
        near(u64::MAX, 0.2);
        assert!((1..=40).all(|step| cosine.at(step) < cosine.at(step - 1)));
        let warm = rates("cosine:warmup=1", 0.5, 10, 4);
        assert_eq!(warm.at(0), 0.5 / 11.0);
        assert_eq!(warm.at(9), 0.5 * 10.0 / 11.0);
        assert_eq!(warm.at(10), 0.5);
        assert!((warm.at(20) - 0.375).abs() < 1e-15);
        assert!((warm.at(25) - 0.25).abs() < 1e-15);
        assert!(warm.at(40).abs() < 1e-15);
        assert!((0..10).all(|step| warm.at(step) < warm.at(step + 1)));
        // One step in all.
        assert_eq!(rates("cosine", 0.1, 1, 1).at(0), 0.1);
    }

    #[test]
    fn lines_are_read_and_written() {
        for (line, decay, warmup) in [
            ("constant", Decay::Constant, 0.0),
            ("constant:warmup=0.5", Decay::Constant, 0.5),
            (
                "step:30,0.1",
                Decay::Step {
                    epochs: 30,
                    factor: 0.1,
                },
                0.0,
            ),
            (
                "step: 3, 1e-1, warmup = 2",
                Decay::Step {
                    epochs: 3,
                    factor: 0.1,
                },
                2.0,
            ),
            ("cosine", Decay::Cosine { min: 0.0 }, 0.0),
            ("cosine:warmup=5,min=1e-5", Decay::Cosine { min: 1e-5 }, 5.0),
        ] {
            let schedule = Schedule { decay, warmup };
            assert_eq!(line.parse(), Ok(schedule), "{line}");
            assert_eq!(schedule.to_string().parse(), Ok(schedule));
            let json = serde_json::to_string(&schedule).unwrap();
            assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (line, part) in [
            ("linear", r#""linear" is not"#),
            ("step", r#""step" is not"#),
            ("step:30", r#""step:30" is not"#),
            ("step:0.5,0.1", r#""0.5" is not"#),
            ("step:-1,0.1", r#""-1" is not"#),
            ("step:0,0.1", "the epochs of a step is 0"),
            ("step:30,0", "the factor of a step is 0"),
            ("step:30,1.5", "the factor of a step is 1.5"),
            ("step:30,NaN", "the factor of a step is NaN"),
            ("step:30,0.1,0.2", r#""0.2" is not"#),
            ("cosine:min=-1", "the smallest rate is -1"),
            ("cosine:warmup=-1", "the warm-up in epochs is -1"),
            ("cosine:warmup=inf", "the warm-up in epochs is inf"),
            ("constant:min=1", r#""min=1" is not"#),
        ] {
            let error = line.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(part), "{line:?}: {error}");
        }
        for (line, base, steps, epochs, part) in [
            ("constant", 0.0, 10, 2, "the learning rate is 0"),
            ("constant", -0.1, 10, 2, "the learning rate is -0.1"),
            ("constant", f64::NAN, 10, 2, "the learning rate is NaN"),
            ("constant", f64::INFINITY, 10, 2, "the learning rate is inf"),
            ("constant", 1e-60, 10, 2, "the learning rate is 0.000"),
            ("constant", 0.1, 0, 2, "steps of an epoch is zero"),
            ("constant", 0.1, 10, 0, "epochs is zero"),
            ("constant", 0.1, u64::MAX, 2, "does not fit"),
            ("cosine:min=0.2", 0.1, 10, 2, "the smallest rate is 0.2"),
            ("cosine:warmup=2", 0.1, 10, 2, "the warm-up in epochs is 2"),
            (
                "cosine:warmup=0.9",
                0.1,
                1,
                1,
                "the warm-up in epochs is 0.9",
            ),
        ] {
            let schedule: Schedule = line.parse().unwrap();
            let error = schedule.rates(base, steps, epochs).unwrap_err().to_string();
            assert!(error.contains(part), "{line:?}, {base}: {error}");
        }
    }
}
