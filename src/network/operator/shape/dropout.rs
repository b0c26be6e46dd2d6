//! Dropout: nothing but a copy, unless a network is run as in training.
//!
//! ```text
//! mask = u ≥ ratio, u uniform in [0, 1)        y = x · mask / (1 − ratio)
//! ```
//!
//! With a seed the numbers are those of numpy's `RandomState(seed)`: MT19937 (Matsumoto and Nishimura, 1998), two
//! words a number. They come from the same state in every run.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use super::super::check::{at_most, has_type, optional, required, write, wrong};
use super::super::{Fact, Facts, Operator, Step};
use super::reshape::Same;
use crate::error::{Result, check_len, product};
use crate::geometry::Axis;
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// Its input, or in training a random part of it; and which part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropout {
    pub(crate) seed: Option<u32>,
    mask: bool,
}

impl Dropout {
    /// Inputs: data, ratio (0.5), training mode (false). With the mask as a second output where that is wanted.
    /// Without a seed, training is different in every run.
    pub fn new(seed: Option<u32>, mask: bool) -> Self {
        Self { seed, mask }
    }

    /// Ratio and training mode, and whether both are known.
    fn mode(inputs: &Facts) -> Result<Mode> {
        let scalar = |index, name, types: &[DType]| -> Result<Option<&Fact>> {
            let Some(fact) = optional(inputs, index) else {
                return Ok(None);
            };
            has_type(fact, name, types)?;
            if product(name, &fact.shape)? != 1 {
                let got = format!("of shape {:?}", fact.shape);
                return Err(wrong(name, "one element", got));
            }
            Ok(Some(fact))
        };
        let training = scalar(2, "training_mode", &[DType::Bool])?;
        let floats = [DType::F32, DType::F64, DType::F16, DType::Bf16];
        scalar(1, "ratio", &floats)?;
        Ok(match training {
            None => Mode::Inference,
            Some(fact) => match &fact.value {
                Some(value) => match training_mode(Some(value.view())) {
                    true => Mode::Training,
                    false => Mode::Inference,
                },
                None => Mode::Training,
            },
        })
    }

    /// Whether the first output is the first input and there is no other.
    pub fn is_identity(&self, inputs: &Facts) -> bool {
        !self.mask && Self::mode(inputs).is_ok_and(|mode| mode == Mode::Inference)
    }
}

/// Whether something may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Inference,
    Training,
}

fn training_mode(view: Option<View>) -> bool {
    matches!(view, Some(View::Bool(&[true])))
}

fn ratio(view: Option<View>) -> f64 {
    match view {
        Some(View::F32(&[ratio])) => ratio.into(),
        Some(View::F64(&[ratio])) => ratio,
        Some(View::F16(&[ratio])) => ratio.into(),
        Some(View::Bf16(&[ratio])) => ratio.into(),
        _ => 0.5,
    }
}

impl Operator for Dropout {
    fn name(&self) -> &'static str {
        "Dropout"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 3)?;
        let data = required(inputs, 0, "data")?;
        if Self::mode(inputs)? == Mode::Training {
            has_type(data, "data", &[DType::F32, DType::F64])?;
        }
        let mut facts = vec![Fact::new(data.dtype, data.shape.clone())];
        if self.mask {
            facts.push(Fact::new(DType::Bool, data.shape.clone()));
        }
        Ok(facts)
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        Self::mode(inputs) == Ok(Mode::Inference) && first_alone(batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let data = required(inputs, 0, "data")?;
        Ok(Box::new(Dropping {
            seed: self.seed,
            whole: Same::step(product("data", &data.shape)?)?,
        }))
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        Some(Vec::new())
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        // In training the numbers come in the order of the elements.
        let mode = Self::mode(inputs).ok()?;
        (mode == Mode::Inference).then(|| Arc::new(self.clone()) as Arc<dyn Operator>)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let facts: [Option<&Fact>; 3] = std::array::from_fn(|index| backward.input_fact(index));
        match Self::mode(&facts)? {
            Mode::Inference => backward.give(0, backward.d_output()?),
            // That of training is DropoutTraining.
            Mode::Training => Err(backward.unsupported()),
        }
    }
}

struct Dropping {
    seed: Option<u32>,
    whole: Box<dyn Step>,
}

impl Step for Dropping {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let of = |index: usize| inputs.get(index).copied().flatten();
        self.whole
            .run(&inputs[..inputs.len().min(1)], outputs, scratch)?;
        let ratio = ratio(of(1));
        if !training_mode(of(2)) || ratio == 0.0 {
            if outputs.len() > 1 {
                write::<bool>(outputs, 1)?.fill(true);
            }
            return Ok(());
        }
        if !(0.0..1.0).contains(&ratio) {
            return Err(wrong("ratio", "in 0..1", ratio.to_string()));
        }
        let (output, mask) = outputs.split_at_mut(1);
        let mask = match mask {
            [] => None,
            _ => Some(write::<bool>(mask, 0)?),
        };
        let numbers = Uniform::new(self.seed.unwrap_or_else(any_seed));
        match &mut output[0] {
            ViewMut::F32(output) => {
                let scale = (1.0 / (1.0 - ratio)) as f32;
                drop_some(output, mask, numbers, ratio, |value, kept| {
                    *value *= f32::from(u8::from(kept)) * scale;
                })
            }
            ViewMut::F64(output) => drop_some(output, mask, numbers, ratio, |value, kept| {
                *value *= f64::from(u8::from(kept)) / (1.0 - ratio);
            }),
            other => Err(wrong("data", "f32 or f64", other.dtype().name())),
        }
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

fn drop_some<T>(
    output: &mut [T],
    mask: Option<&mut [bool]>,
    mut numbers: Uniform,
    ratio: f64,
    set: impl Fn(&mut T, bool),
) -> Result<()> {
    match mask {
        Some(mask) => {
            check_len("mask", output.len(), mask.len())?;
            for (value, slot) in output.iter_mut().zip(mask) {
                *slot = numbers.next() >= ratio;
                set(value, *slot);
            }
        }
        None => output
            .iter_mut()
            .for_each(|value| set(value, numbers.next() >= ratio)),
    }
    Ok(())
}

/// A seed that is different every time.
fn any_seed() -> u32 {
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    (hasher.finish() >> 32) as u32
}

/// Words of state.
const WORDS: usize = 624;

/// Numbers of MT19937, uniform in [0, 1).
struct Uniform {
    words: [u32; WORDS],
    at: usize,
}

impl Uniform {
    fn new(seed: u32) -> Self {
        let mut words = [seed; WORDS];
        for index in 1..WORDS {
            let last = words[index - 1];
            let mixed = (last ^ (last >> 30)).wrapping_mul(1_812_433_253);
            words[index] = mixed.wrapping_add(index as u32);
        }
        Self { words, at: WORDS }
    }

    fn word(&mut self) -> u32 {
        if self.at == WORDS {
            for index in 0..WORDS {
                let (next, far) = ((index + 1) % WORDS, (index + 397) % WORDS);
                let joined = (self.words[index] & 0x8000_0000) | (self.words[next] & 0x7fff_ffff);
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[index] = self.words[far] ^ (joined >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut word = self.words[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn next(&mut self) -> f64 {
        // 53 bits from two words.
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{check_gradient, doubles, fact, floats, infer, run};
    use super::*;
    use crate::network::Tensor;

    /// The first number of `RandomState(0)`, and the 10 000th word of the generator's authors' test.
    #[test]
    fn numbers_are_those_of_numpy() {
        assert_eq!(Uniform::new(0).next(), 0.548_813_503_927_324_8);
        let mut words = Uniform::new(5489);
        let last = (0..10_000).map(|_| words.word()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn inference_copies_and_masks_nothing() {
        let x = floats(&[2, 2], [1.0, 2.0, 3.0, 4.0]);
        let mode: Tensor = ndarray::arr0(false).into_dyn().into();
        for inputs in [vec![x.clone()], vec![x.clone(), floats(&[], [0.9]), mode]] {
            let y = run(&Dropout::new(None, true), &inputs).unwrap();
            assert_eq!(y[0], x);
            assert_eq!(y[1], ndarray::ArrayD::from_elem(vec![2, 2], true).into());
        }
    }

    #[test]
    fn training_drops_and_scales() {
        let mode: Tensor = ndarray::arr0(true).into_dyn().into();
        let drop = |ratio, seed| {
            let x = floats(&[1000], [1.0; 1000]);
            run(
                &Dropout::new(seed, true),
                &[x, floats(&[], [ratio]), mode.clone()],
            )
        };
        let y = drop(0.75, Some(7)).unwrap();
        let (values, mask) = (y[0].array::<f32>().unwrap(), y[1].array::<bool>().unwrap());
        let kept = mask.iter().filter(|&&kept| kept).count();
        assert!((200..300).contains(&kept), "{kept}");
        let right = values
            .iter()
            .zip(mask)
            .all(|(&value, &kept)| value == if kept { 4.0 } else { 0.0 });
        assert!(right);
        assert_eq!(drop(0.75, Some(7)).unwrap(), y);
        assert_ne!(drop(0.75, Some(8)).unwrap(), y);
        assert_eq!(drop(0.0, None).unwrap()[0], floats(&[1000], [1.0; 1000]));
        assert!(drop(1.0, Some(0)).is_err() && drop(f32::NAN, Some(0)).is_err());
    }

    #[test]
    fn a_mode_that_is_known_decides() {
        let (x, mut mode) = (fact(&[1, 2, 3]), Fact::new(DType::Bool, []));
        let dropout = Dropout::new(None, false);
        assert!(dropout.is_identity(&[Some(&x)]));
        assert!(
            dropout
                .channels_last(&[Some(&x), None, Some(&mode)])
                .is_none()
        );
        mode.value = Some(Arc::new(ndarray::arr0(false).into_dyn().into()));
        assert!(dropout.is_identity(&[Some(&x), None, Some(&mode)]));
        assert!(infer(&dropout, &[&x, &fact(&[2])]).is_err());
    }

    #[test]
    fn gradients_go_through_in_inference() {
        let x = doubles(&[2, 3], 1, -1.0, 1.0);
        check_gradient(Dropout::new(None, false), &[x], &[0]);
    }
}
