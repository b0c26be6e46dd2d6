//! Dropout as it is trained, and its gradient.
//!
//! ```text
//! X, seed -> Y, mask        mask[i] = hash(seed, key, i) ≥ 2³² ratio        Y = X / (1 − ratio) where mask, else 0
//! mask, dY -> dX            dX = dY / (1 − ratio) where mask, else 0
//! ```
//!
//! The hash counts elements as they lie: it is the same for any number of threads and in both types, not in both
//! layouts; so the mask is kept, a byte an element. Blocks of elements have two keys of SplitMix64 (Steele, Lea and
//! Flood, 2014) each, between which an element goes through two rounds of a mixer of 32 bits (Wellons' lowbias32).

use std::sync::Arc;

use super::super::check::{
    at_most, has_axes, has_shape, has_type, read, read_optional, required, write, wrong,
    wrong_attribute,
};
use super::super::elementwise::{PIECE, in_pieces};
use super::super::{Fact, Facts, Operator, Step};
use crate::element::Element;
use crate::error::{Result, check_len, product};
use crate::geometry::Axis;
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::gradient::Backward;
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::parallel::for_each_piece;
use crate::plan::PlanOptions;

/// A random part of its input: inputs X and the seed, one number of type i64; outputs Y and the mask. f32 or f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutTraining {
    ratio: f64,
    key: u64,
}

impl DropoutTraining {
    /// Drops each element with probability `ratio`, from 0 on and below 1. Nodes of different keys drop others.
    pub fn new(ratio: f64, key: u64) -> Self {
        Self { ratio, key }
    }
}

/// What the elements that stay are multiplied with.
fn scale(ratio: f64) -> Result<f64> {
    if (0.0..1.0).contains(&ratio) {
        return Ok(1.0 / (1.0 - ratio));
    }
    Err(wrong_attribute("ratio", "from 0 on and below 1", ratio))
}

impl Operator for DropoutTraining {
    fn name(&self) -> &'static str {
        "DropoutTraining"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        scale(self.ratio)?;
        let (x, seed) = (required(inputs, 0, "X")?, required(inputs, 1, "seed")?);
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_type(seed, "seed", &[DType::I64])?;
        if product("seed", &seed.shape)? != 1 {
            let got = format!("of shape {:?}", seed.shape);
            return Err(wrong("seed", "one element", got));
        }
        Ok(vec![
            Fact::new(x.dtype, x.shape.clone()),
            Fact::new(DType::U8, x.shape.clone()),
        ])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(Dropping {
            // Below 2³²; a ratio that rounds to it leaves one in 2³².
            threshold: (self.ratio * 4_294_967_296.0) as u32,
            key: self.key,
            scale: scale(self.ratio)?,
            double: required(inputs, 0, "X")?.dtype == DType::F64,
            isa: Isa::selected(),
        }))
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        Some(Vec::new())
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        has_axes(required(inputs, 0, "X").ok()?, "X", 3).ok()?;
        Some(Arc::new(*self))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (mask, dy) = (backward.output(1)?, backward.d_output()?);
        let gradient = backward.node(DropoutBackward { ratio: self.ratio }, &[mask, dy])?;
        backward.give(0, gradient)
    }
}

struct Dropping {
    threshold: u32,
    key: u64,
    scale: f64,
    double: bool,
    isa: Isa,
}

/// Mixes all bits of `x` (SplitMix64's).
fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Mixes all bits of `x`; a loop over it becomes vectors.
#[inline(always)]
fn mixed_half(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// The mask of a block of elements with these keys.
struct Mask<'a>(&'a mut [u8], [u32; 2], u32);

impl Loop for Mask<'_> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self(mask, [first, second], threshold) = self;
        for (index, mask) in (0u32..).zip(mask) {
            let number = mixed_half(mixed_half(index.wrapping_add(first)) ^ second);
            *mask = u8::from(number >= threshold);
        }
    }
}

/// y ← x · scale where the mask says so, else 0; x in y where it is not given.
struct Masked<'a, T>(Option<&'a [T]>, &'a [u8], T, &'a mut [T]);

impl<T: Element> Loop for Masked<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self(x, mask, scale, y) = self;
        let kept = |mask: u8, x: T| if mask == 0 { T::ZERO } else { x * scale };
        match x {
            Some(x) => {
                for ((y, &x), &mask) in y.iter_mut().zip(x).zip(mask) {
                    *y = kept(mask, x);
                }
            }
            None => {
                for (y, &mask) in y.iter_mut().zip(mask) {
                    *y = kept(mask, *y);
                }
            }
        }
    }
}

/// [`Masked`] on all threads.
fn apply<T: Element + Scalar>(
    isa: Isa,
    x: Option<&[T]>,
    mask: &[u8],
    scale: f64,
    y: &mut [T],
) -> Result<()> {
    check_len("mask", y.len(), mask.len())?;
    in_pieces(y, |start, y| {
        let place = start..start + y.len();
        let x = x.map(|x| &x[place.clone()]);
        compiled(isa, Masked(x, &mask[place], T::from_f64(scale), y));
    });
    Ok(())
}

impl Step for Dropping {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let &[seed] = read::<i64>(inputs, 1)? else {
            return Err(wrong("seed", "one element", "another number of them"));
        };
        let (y, mask) = outputs.split_at_mut(1);
        let mask = write::<u8>(mask, 0)?;
        let own = mixed(mixed(seed.cast_unsigned()) ^ self.key);
        for_each_piece(mask, PIECE, &|block, mask| {
            let keys = mixed(own ^ mixed(block as u64));
            // Both halves.
            let keys = [keys as u32, (keys >> 32) as u32];
            compiled(self.isa, Mask(mask, keys, self.threshold));
        });
        match self.double {
            true => apply::<f64>(
                self.isa,
                read_optional(inputs, 0)?,
                mask,
                self.scale,
                write(y, 0)?,
            ),
            false => apply::<f32>(
                self.isa,
                read_optional(inputs, 0)?,
                mask,
                self.scale,
                write(y, 0)?,
            ),
        }
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

/// The gradient of X of a [`DropoutTraining`]: inputs mask, dY.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutBackward {
    ratio: f64,
}

impl Operator for DropoutBackward {
    fn name(&self) -> &'static str {
        "DropoutBackward"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        scale(self.ratio)?;
        let (mask, dy) = (required(inputs, 0, "mask")?, required(inputs, 1, "dY")?);
        has_type(mask, "mask", &[DType::U8])?;
        has_type(dy, "dY", &[DType::F32, DType::F64])?;
        has_shape(mask, "mask", &dy.shape)?;
        Ok(vec![Fact::new(dy.dtype, dy.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(BackwardStep {
            scale: scale(self.ratio)?,
            double: required(inputs, 1, "dY")?.dtype == DType::F64,
            isa: Isa::selected(),
        }))
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(*self))
    }
}

struct BackwardStep {
    scale: f64,
    double: bool,
    isa: Isa,
}

impl Step for BackwardStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let (isa, mask) = (self.isa, read::<u8>(inputs, 0)?);
        match self.double {
            true => {
                let dy = read_optional::<f64>(inputs, 1)?;
                apply(isa, dy, mask, self.scale, write(outputs, 0)?)
            }
            false => {
                let dy = read_optional::<f32>(inputs, 1)?;
                apply(isa, dy, mask, self.scale, write(outputs, 0)?)
            }
        }
    }

    fn in_place(&self) -> Option<usize> {
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{
        check_gradient, doubles, fact, floats, infer, integers, run,
    };
    use crate::network::tensor::Tensor;

    fn mask(ratio: f64, key: u64, seed: i64, len: usize) -> Vec<u8> {
        let x = floats(&[len], vec![1.0; len]);
        let made = run(&DropoutTraining::new(ratio, key), &[x, integers(&[seed])]).unwrap();
        let mask = made[1].array::<u8>().unwrap().iter().copied().collect();
        let scale = (1.0 / (1.0 - ratio)) as f32;
        for (&y, &mask) in made[0].array::<f32>().unwrap().iter().zip(&mask) {
            assert_eq!(y, if mask == 1 { scale } else { 0.0 });
        }
        mask
    }

    /// How many are kept, and how often neighbours, elements of neighbouring blocks, and masks of other seeds and keys
    /// agree: each within five deviations.
    #[test]
    fn masks_are_as_random_as_they_should_be() {
        let len = 3 * PIECE + 100;
        for ratio in [0.1, 0.5, 0.9] {
            let own = mask(ratio, 7, 1, len);
            let judge = |what: &str, events: usize, of: usize, p: f64| {
                let deviation = (of as f64 * p * (1.0 - p)).sqrt();
                let off = (events as f64 - of as f64 * p).abs() / deviation;
                assert!(off < 5.0, "{what} at {ratio}: {off} deviations");
            };
            let kept = own.iter().filter(|&&mask| mask == 1).count();
            judge("kept", kept, len, 1.0 - ratio);
            let same = (1.0 - ratio) * (1.0 - ratio) + ratio * ratio;
            let agree = |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a == b).count();
            for shift in [1, 2, 16, PIECE] {
                judge("shifted", agree(&own, &own[shift..]), len - shift, same);
            }
            for (key, seed) in [(7, 2), (8, 1), (1, 7), (7, -1)] {
                let other = mask(ratio, key, seed, len);
                judge("another", agree(&own, &other), len, same);
            }
        }
    }

    #[test]
    fn the_same_for_any_threads_and_types() {
        let len = 3 * PIECE + 5;
        let masks = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            pool.install(|| mask(0.3, 1, 2, len))
        });
        assert_eq!(masks[0], masks[1]);
        let x = doubles(&[len], 1, 0.0, 1.0);
        let made = run(&DropoutTraining::new(0.3, 1), &[x, integers(&[2])]).unwrap();
        let want: Tensor = ndarray::Array1::from(masks[0].clone()).into_dyn().into();
        assert_eq!(made[1], want);
    }

    #[test]
    fn gradients_by_central_differences() {
        for ratio in [0.0, 0.4] {
            for shape in [&[2, 3, 4, 5][..], &[7, 9]] {
                let inputs = [doubles(shape, 1, -1.0, 1.0), integers(&[3])];
                check_gradient(DropoutTraining::new(ratio, 5), &inputs, &[0]);
            }
        }
    }

    #[test]
    fn ratios_at_their_ends() {
        assert!(mask(0.0, 1, 1, 1000).iter().all(|&mask| mask == 1));
        assert!(mask(1.0 - 1e-12, 1, 1, 1000).iter().all(|&mask| mask == 0));
        let seed = Fact::new(DType::I64, []);
        for ratio in [1.0, -0.1, f64::NAN, f64::INFINITY] {
            let operator = DropoutTraining::new(ratio, 0);
            assert!(infer(&operator, &[&fact(&[2]), &seed]).is_err());
        }
        let operator = DropoutTraining::new(0.5, 0);
        assert!(infer(&operator, &[&fact(&[2]), &seed]).is_ok());
        assert!(infer(&operator, &[&fact(&[2]), &Fact::new(DType::I64, [2])]).is_err());
        assert!(infer(&operator, &[&fact(&[2]), &fact(&[])]).is_err());
        assert!(infer(&operator, &[&fact(&[2])]).is_err());
    }
}
