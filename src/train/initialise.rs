//! First weights, drawn by a seed.
//!
//! ```text
//! weights [O, I/g, kernel…] or [out, in]:    fan_in = I/g · taps    fan_out = O · taps
//!
//! Kaiming    uniform ± gain √(3 / fan)                       normal, deviation gain / √fan
//! Xavier     uniform ± gain √(6 / (fan_in + fan_out))        normal, deviation gain √(2 / (fan_in + fan_out))
//! PyTorch    uniform ± 1 / √fan_in, the bias as well         what `nn.Conv2d` and `nn.Linear` begin with
//! ```
//! [He et al. 2015](https://arxiv.org/abs/1502.01852), [Glorot and Bengio
//! 2010](https://proceedings.mlr.press/v9/glorot10a.html). As in PyTorch, fan_out does not know of groups. Numbers are
//! drawn in the order of elements and computed in f64: the same on every machine.

use fastrand::Rng;

use super::text::in_range;
use crate::error::{Error, Result, product};

/// Which side of a layer keeps its variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fan {
    /// The activations on the way forward: fan_in.
    In,
    /// The gradients on the way back: fan_out.
    Out,
}

/// What makes up for the activation that follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gain {
    /// 1.
    Linear,
    /// √2.
    Relu,
    /// √(2 / (1 + slope²)).
    LeakyRelu {
        /// The slope below 0.
        slope: f64,
    },
    /// 5/3, PyTorch's.
    Tanh,
}

impl Gain {
    fn value(self) -> Result<f64> {
        match self {
            Self::Linear => Ok(1.0),
            Self::Relu => Ok(std::f64::consts::SQRT_2),
            Self::LeakyRelu { slope } => {
                in_range("the slope", slope, "a finite number", slope.is_finite())?;
                Ok((2.0 / (1.0 + slope * slope)).sqrt())
            }
            Self::Tanh => Ok(5.0 / 3.0),
        }
    }
}

/// How weights begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initialiser {
    /// Kaiming, also called He, uniform.
    KaimingUniform(Fan, Gain),
    /// Kaiming, also called He, normal.
    KaimingNormal(Fan, Gain),
    /// Xavier, also called Glorot, uniform.
    XavierUniform(Gain),
    /// Xavier, also called Glorot, normal.
    XavierNormal(Gain),
    /// What PyTorch's layers have unless told otherwise: Kaiming uniform with a slope of √5.
    PyTorch,
    /// One number for all.
    Constant(f32),
}

/// The numbers of inputs and outputs that a weight of `shape` joins; for less than two axes there is none.
///
/// # Errors
/// Less than two axes; a product that does not fit.
pub fn fans(shape: &[usize]) -> Result<[usize; 2]> {
    let [outputs, inputs, taps @ ..] = shape else {
        return Err(Error::Rank {
            what: "a weight to be initialised by its fans",
            expected: 2,
            got: shape.len(),
        });
    };
    let taps = product("the taps of a kernel", taps)?;
    let fan_in = product("fan_in", &[*inputs, taps])?;
    Ok([fan_in, product("fan_out", &[*outputs, taps])?])
}

impl Initialiser {
    /// Fills `values`: the weights of `shape`, or the bias of their layer.
    ///
    /// A bias has `shape[0]` elements; give it the shape of the weights, since its own tells no fan.
    ///
    /// # Errors
    /// Neither as many values as weights nor as biases; less than two axes, unless all become the same number; fans
    /// of 0; a constant or slope that is not finite.
    pub fn fill(&self, values: &mut [f32], shape: &[usize], random: &mut Rng) -> Result<()> {
        if let Self::Constant(value) = *self {
            let finite = value.is_finite();
            in_range("the constant", value.into(), "a finite number", finite)?;
            values.fill(value);
            return Ok(());
        }
        let weights = product("the weights", shape)?;
        if values.len() != weights && Some(&values.len()) != shape.first() {
            return Err(Error::BufferLength {
                what: "the slice of weights to be initialised",
                expected: weights,
                got: values.len(),
            });
        }
        let fans = fans(shape)?;
        let fan = |fan| match fan {
            Fan::In => fans[0],
            Fan::Out => fans[1],
        };
        // The variance is gain² / n.
        let (normal, gain, n) = match *self {
            Self::KaimingUniform(side, gain) => (false, gain.value()?, fan(side) as f64),
            Self::KaimingNormal(side, gain) => (true, gain.value()?, fan(side) as f64),
            Self::XavierUniform(gain) => (false, gain.value()?, mean(fans)),
            Self::XavierNormal(gain) => (true, gain.value()?, mean(fans)),
            Self::PyTorch => (false, (1.0f64 / 3.0).sqrt(), fans[0] as f64),
            Self::Constant(_) => (false, 0.0, 1.0),
        };
        if n == 0.0 && !values.is_empty() {
            return Err(Error::ZeroCount {
                what: "elements that a weight joins",
            });
        }
        let deviation = gain / n.sqrt();
        if normal {
            fill_normal(values, deviation, random);
        } else {
            let bound = deviation * 3.0f64.sqrt();
            values.fill_with(|| ((2.0 * random.f64() - 1.0) * bound) as f32);
        }
        Ok(())
    }
}

fn mean(fans: [usize; 2]) -> f64 {
    0.5 * (fans[0] as f64 + fans[1] as f64)
}

/// Two numbers at a time ([Box and Muller 1958](https://doi.org/10.1214/aoms/1177706645)).
fn fill_normal(values: &mut [f32], deviation: f64, random: &mut Rng) {
    for pair in values.chunks_mut(2) {
        // In (0, 1], where the logarithm is finite.
        let radius = deviation * (-2.0 * libm::log(1.0 - random.f64())).sqrt();
        let angle = std::f64::consts::TAU * random.f64();
        let drawn = [radius * libm::cos(angle), radius * libm::sin(angle)];
        for (value, drawn) in pair.iter_mut().zip(drawn) {
            *value = drawn as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// fan_in 288, fan_out 2304, 73 728 weights.
    const SHAPE: [usize; 4] = [256, 32, 3, 3];

    fn drawn(initialiser: Initialiser, shape: &[usize], seed: u64) -> Vec<f32> {
        let mut values = vec![f32::NAN; shape.iter().product()];
        let mut random = Rng::with_seed(seed);
        initialiser.fill(&mut values, shape, &mut random).unwrap();
        values
    }

    #[test]
    fn fans_of_pytorch() {
        assert_eq!(fans(&SHAPE), Ok([288, 2304]));
        assert_eq!(fans(&[10, 576]), Ok([576, 10]));
        assert_eq!(fans(&[8, 1, 5]), Ok([5, 40]));
        assert!(matches!(fans(&[7]), Err(Error::Rank { got: 1, .. })));
        assert!(matches!(
            fans(&[1, usize::MAX, 2]),
            Err(Error::Overflow { .. })
        ));
    }

    #[test]
    fn mean_variance_and_bounds() {
        let relu = Gain::Relu;
        let leaky = Gain::LeakyRelu { slope: 0.2 };
        for (initialiser, variance, uniform) in [
            (
                Initialiser::KaimingUniform(Fan::In, relu),
                2.0 / 288.0,
                true,
            ),
            (
                Initialiser::KaimingUniform(Fan::Out, leaky),
                2.0 / 1.04 / 2304.0,
                true,
            ),
            (
                Initialiser::KaimingNormal(Fan::In, Gain::Linear),
                1.0 / 288.0,
                false,
            ),
            (
                Initialiser::KaimingNormal(Fan::Out, relu),
                2.0 / 2304.0,
                false,
            ),
            (
                Initialiser::XavierUniform(Gain::Tanh),
                25.0 / 9.0 * 2.0 / 2592.0,
                true,
            ),
            (Initialiser::XavierNormal(Gain::Linear), 2.0 / 2592.0, false),
            (Initialiser::PyTorch, 1.0 / 3.0 / 288.0, true),
        ] {
            let values = drawn(initialiser, &SHAPE, 1);
            let n = values.len() as f64;
            let moment = |power| {
                values
                    .iter()
                    .map(|&x| f64::from(x).powi(power))
                    .sum::<f64>()
                    / n
            };
            // Five standard errors; the fourth moment of a normal is 3 σ⁴, of a uniform 9/5 σ⁴.
            let fourth = if uniform { 1.8 } else { 3.0 };
            assert!(
                moment(1).abs() < 5.0 * (variance / n).sqrt(),
                "{initialiser:?}"
            );
            let error = moment(2) / variance - 1.0;
            assert!(
                error.abs() < 5.0 * ((fourth - 1.0f64) / n).sqrt(),
                "{initialiser:?}: {error}"
            );
            let kurtosis = moment(4) / moment(2).powi(2);
            assert!(
                (kurtosis - fourth).abs() < 0.15,
                "{initialiser:?}: {kurtosis}"
            );
            let largest = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let bound = (3.0 * variance).sqrt() as f32;
            match uniform {
                true => assert!(largest <= bound && largest > 0.999 * bound),
                false => assert!(largest > 2.0 * bound && largest < 4.0 * bound),
            }
            // Neighbours know nothing of each other.
            let joint = values
                .windows(2)
                .map(|pair| f64::from(pair[0]) * f64::from(pair[1]));
            let correlation = joint.sum::<f64>() / n / variance;
            assert!(
                correlation.abs() < 5.0 / n.sqrt(),
                "{initialiser:?}: {correlation}"
            );
        }
    }

    #[test]
    fn the_seed_decides() {
        for initialiser in [
            Initialiser::PyTorch,
            Initialiser::XavierNormal(Gain::Linear),
        ] {
            let first = drawn(initialiser, &[5, 3, 3], 1);
            assert_eq!(first, drawn(initialiser, &[5, 3, 3], 1));
            assert_ne!(first, drawn(initialiser, &[5, 3, 3], 2));
            assert!(first.iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn biases_and_constants() {
        let mut bias = [f32::NAN; 256];
        let mut random = Rng::with_seed(4);
        let pytorch = Initialiser::PyTorch;
        pytorch.fill(&mut bias, &SHAPE, &mut random).unwrap();
        let bound = (1.0 / 288.0f64).sqrt() as f32;
        assert!(bias.iter().all(|value| value.abs() <= bound));
        assert!(bias.iter().any(|value| value.abs() > 0.9 * bound));
        let constant = Initialiser::Constant(0.5);
        constant.fill(&mut bias, &[256], &mut random).unwrap();
        assert_eq!(bias, [0.5; 256]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut random = Rng::with_seed(4);
        let mut fill = |initialiser: Initialiser, len: usize, shape: &[usize]| {
            initialiser.fill(&mut vec![0.0; len], shape, &mut random)
        };
        let pytorch = Initialiser::PyTorch;
        assert!(matches!(
            fill(pytorch, 7, &[2, 3]),
            Err(Error::BufferLength {
                expected: 6,
                got: 7,
                ..
            })
        ));
        assert!(matches!(fill(pytorch, 3, &[3]), Err(Error::Rank { .. })));
        assert!(matches!(
            fill(pytorch, 2, &[2, 0]),
            Err(Error::ZeroCount { .. })
        ));
        assert_eq!(fill(pytorch, 0, &[2, 0]), Ok(()));
        assert!(matches!(
            fill(pytorch, 1, &[usize::MAX, 2]),
            Err(Error::Overflow { .. })
        ));
        let nan = Initialiser::Constant(f32::NAN);
        assert!(matches!(fill(nan, 1, &[1]), Err(Error::Parameter { .. })));
        let slope = f64::INFINITY;
        let leaky = Initialiser::KaimingNormal(Fan::In, Gain::LeakyRelu { slope });
        assert!(matches!(
            fill(leaky, 2, &[1, 2]),
            Err(Error::Parameter { .. })
        ));
    }
}
