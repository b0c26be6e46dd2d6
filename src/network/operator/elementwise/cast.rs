//! Cast and CastLike: other element types. IsNaN and IsInf: what kind of float an element is.

use std::sync::Arc;

use super::convert::Convert;
use super::in_pieces;
use crate::error::Result;
use crate::geometry::Axis;
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::operator::check::{FLOATS, at_most, has_type, read, required, write};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// The elements of the first input in another type, as `convert.rs` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// To this type: ONNX's Cast.
    To(DType),
    /// To that of the second input: ONNX's CastLike.
    Like,
}

impl Operator for Cast {
    fn name(&self) -> &'static str {
        match self {
            Self::To(_) => "Cast",
            Self::Like => "CastLike",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let x = required(inputs, 0, "input")?;
        let dtype = match *self {
            Self::To(dtype) => {
                at_most(inputs, 1)?;
                dtype
            }
            Self::Like => {
                at_most(inputs, 2)?;
                required(inputs, 1, "target_type")?.dtype
            }
        };
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        first_alone(batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let from = required(inputs, 0, "input")?.dtype;
        let to = self.infer(inputs)?[0].dtype;
        Ok(Box::new(CastStep { from, to }))
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        Some(Vec::new())
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(*self))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (x, mut gradient) = (backward.input(0)?, backward.d_output()?);
        let dtype = backward.fact(x)?.dtype;
        if backward.fact(gradient)?.dtype != dtype {
            gradient = backward.node(Self::To(dtype), &[gradient])?;
        }
        backward.give(0, gradient)
    }
}

struct CastStep {
    from: DType,
    to: DType,
}

fn cast<T: Convert, U: Convert>(inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
    let x = read::<T>(inputs, 0)?;
    in_pieces(write::<U>(outputs, 0)?, |start, y| {
        for (y, &x) in y.iter_mut().zip(&x[start..]) {
            *y = x.convert();
        }
    });
    Ok(())
}

impl Step for CastStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_type!(self.from, T => with_type!(self.to, U => cast::<T, U>(inputs, outputs)))
    }
}

/// Whether each element is a special float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Infinite, with a sign that counts.
    IsInf {
        /// Whether −∞ counts.
        negative: bool,
        /// Whether ∞ counts.
        positive: bool,
    },
    /// Not a number.
    IsNaN,
}

impl Operator for Special {
    fn name(&self) -> &'static str {
        match self {
            Self::IsInf { .. } => "IsInf",
            Self::IsNaN => "IsNaN",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let x = required(inputs, 0, "X")?;
        has_type(x, "X", FLOATS)?;
        Ok(vec![Fact::new(DType::Bool, x.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let dtype = required(inputs, 0, "X")?.dtype;
        Ok(Box::new(SpecialStep { kind: *self, dtype }))
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        Some(Vec::new())
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(*self))
    }
}

struct SpecialStep {
    kind: Special,
    dtype: DType,
}

impl SpecialStep {
    fn test<T: Convert>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let is = |x: f64| match self.kind {
            Special::IsNaN => x.is_nan(),
            Special::IsInf { negative, positive } => {
                (negative && x == f64::NEG_INFINITY) || (positive && x == f64::INFINITY)
            }
        };
        let x = read::<T>(inputs, 0)?;
        in_pieces(write::<bool>(outputs, 0)?, |start, y| {
            for (y, &x) in y.iter_mut().zip(&x[start..]) {
                *y = is(x.to_f64());
            }
        });
        Ok(())
    }
}

impl Step for SpecialStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_type!(self.dtype, T => self.test::<T>(inputs, outputs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{fact, floats, infer, integers, run};
    use crate::network::tensor::Tensor;
    use half::{bf16, f16};
    use ndarray::arr1;

    #[test]
    fn floats_become_integers_within_their_range() {
        let x = floats(&[6], [-1.9, 2.9, 300.0, -300.0, f32::NAN, f32::INFINITY]);
        let of = |dtype| {
            run(&Cast::To(dtype), std::slice::from_ref(&x))
                .unwrap()
                .remove(0)
        };
        let want: Tensor = arr1(&[0_u8, 2, 255, 0, 0, 255]).into_dyn().into();
        assert_eq!(of(DType::U8), want);
        let want: Tensor = arr1(&[-1_i8, 2, 127, -128, 0, 127]).into_dyn().into();
        assert_eq!(of(DType::I8), want);
        let want: Tensor = arr1(&[true; 6]).into_dyn().into();
        assert_eq!(of(DType::Bool), want);
    }

    #[test]
    fn integers_keep_their_low_bits_and_round_once() {
        let x = integers(&[-1, 256, i64::MAX, 16_777_217]);
        let of = |dtype| {
            run(&Cast::To(dtype), std::slice::from_ref(&x))
                .unwrap()
                .remove(0)
        };
        let want: Tensor = arr1(&[255_u8, 0, 255, 1]).into_dyn().into();
        assert_eq!(of(DType::U8), want);
        let want = [-1.0, 256.0, 9_223_372_036_854_775_807.0, 16_777_216.0];
        assert_eq!(of(DType::F32), floats(&[4], want));
        let want: Tensor = arr1(&[-1.0, 256.0, f32::INFINITY, f32::INFINITY].map(f16::from_f32))
            .into_dyn()
            .into();
        assert_eq!(of(DType::F16), want);
        let large: Tensor = arr1(&[u64::MAX]).into_dyn().into();
        let y = run(&Cast::To(DType::F64), &[large]).unwrap();
        assert_eq!(
            y[0].array::<f64>().unwrap()[0],
            18_446_744_073_709_551_615.0
        );
    }

    #[test]
    fn halves_round_to_even_and_come_back() {
        let x = floats(&[3], [1.0 + 1.0 / 2048.0, 65520.0, 1e-8]);
        let y = run(&Cast::To(DType::F16), std::slice::from_ref(&x)).unwrap();
        assert_eq!(
            y,
            [arr1(&[f16::ONE, f16::INFINITY, f16::ZERO])
                .into_dyn()
                .into()]
        );
        let y = run(&Cast::To(DType::Bf16), &[floats(&[1], [1.0 + 1.0 / 256.0])]).unwrap();
        assert_eq!(y, [arr1(&[bf16::ONE]).into_dyn().into()]);
        assert_eq!(
            run(&Cast::To(DType::F32), &y).unwrap(),
            [floats(&[1], [1.0])]
        );
    }

    #[test]
    fn like_takes_the_type_of_the_other() {
        let y = run(&Cast::Like, &[floats(&[1], [2.5]), integers(&[])]).unwrap();
        assert_eq!(y, [integers(&[2])]);
        assert!(infer(&Cast::Like, &[&fact(&[1])]).is_err());
        assert!(infer(&Cast::To(DType::I8), &[&fact(&[1]), &fact(&[1])]).is_err());
    }

    #[test]
    fn gradients_have_the_type_of_the_input() {
        use crate::network::{Graph, Network, NetworkOptions};
        let mut graph = Graph::new();
        let x = graph.input("x", DType::F32, None);
        let double = graph.node("double", Cast::To(DType::F64), &[x]);
        let y = graph.node("y", crate::network::Unary::Exp, &[double]);
        graph.output(y);
        let network = Network::with_gradients(graph, y, &[x], NetworkOptions::new()).unwrap();
        let made = network.run(&[("x", floats(&[1], [1.0]))]).unwrap();
        assert_eq!(made[1].1, floats(&[1], [1f64.exp() as f32]));
    }

    #[test]
    fn special_floats() {
        let x = floats(&[4], [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0]);
        let of = |kind: Special| run(&kind, std::slice::from_ref(&x)).unwrap().remove(0);
        let truths = |values: [bool; 4]| -> Tensor { arr1(&values).into_dyn().into() };
        assert_eq!(of(Special::IsNaN), truths([true, false, false, false]));
        for (negative, positive) in [(true, true), (true, false), (false, true), (false, false)] {
            let kind = Special::IsInf { negative, positive };
            assert_eq!(of(kind), truths([false, positive, negative, false]));
        }
        assert!(infer(&Special::IsNaN, &[&Fact::new(DType::I32, [1])]).is_err());
    }
}
