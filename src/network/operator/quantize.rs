//! Integers for floats and back: QuantizeLinear, DequantizeLinear.
//!
//! ```text
//! quantise     y = saturate(round(x / scale) + zero)      ties to even
//! dequantise   y = (x − zero) · scale
//!
//! scale, zero   one for the tensor;  one for each index of an axis [C];
//!               one for each block of B indices of it, [.., ⌈C/B⌉, ..]
//! ```

use super::check::{
    at_most, axis, has_shape, has_type, optional, read, required, write, wrong, wrong_attribute,
};
use super::{Fact, Facts, Operator, Step};
use crate::error::{Result, product};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// The types that floats are quantised to.
const NARROW: [DType; 4] = [DType::U8, DType::I8, DType::U16, DType::I16];

/// The types that are dequantised.
const INTEGERS: [DType; 5] = [DType::U8, DType::I8, DType::U16, DType::I16, DType::I32];

/// Which elements share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grain {
    pub(crate) axis: i64,
    /// 0: no blocks.
    pub(crate) block: usize,
}

/// Inputs: x, scale, zero point. Floats to integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantizeLinear {
    pub(crate) grain: Grain,
    pub(crate) output: Option<DType>,
}

/// Inputs: x, scale, zero point. Integers to floats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DequantizeLinear {
    pub(crate) grain: Grain,
}

impl QuantizeLinear {
    /// Scales along `axis` or, where `block` is not 0, for blocks of so many indices of it; `output` where there
    /// is no zero point to have the type.
    pub fn new(axis: i64, block: usize, output: Option<DType>) -> Self {
        let grain = Grain { axis, block };
        Self { grain, output }
    }
}

impl DequantizeLinear {
    /// Scales along `axis` or, where `block` is not 0, for blocks of so many indices of it.
    pub fn new(axis: i64, block: usize) -> Self {
        let grain = Grain { axis, block };
        Self { grain }
    }
}

/// The elements as `[outer, axis, inner]`, and how many indices of the axis share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lines {
    axis: usize,
    inner: usize,
    scales: Scales,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scales {
    One,
    Axis,
    Blocks(usize),
}

impl Grain {
    /// Checks the shape of the scale.
    fn lines(&self, x: &Fact, scale: &Fact) -> Result<Lines> {
        has_type(scale, "scale", &[DType::F32])?;
        let rank = x.shape.len();
        let lines = |axis: usize, scales| -> Result<Lines> {
            Ok(Lines {
                axis: x.shape[axis],
                inner: product("x", &x.shape[axis + 1..])?,
                scales,
            })
        };
        if self.block > 0 {
            let at = axis("axis", self.axis, rank)?;
            let mut blocks = x.shape.clone();
            blocks[at] = blocks[at].div_ceil(self.block);
            has_shape(scale, "scale", &blocks)?;
            return lines(at, Scales::Blocks(self.block));
        }
        match scale.shape[..] {
            [] | [1] => Ok(Lines {
                axis: 1,
                inner: product("x", &x.shape)?,
                scales: Scales::One,
            }),
            [len] => {
                let at = axis("axis", self.axis, rank)?;
                if x.shape[at] != len {
                    return Err(wrong(
                        "scale",
                        format!("one for each of {} on axis {at}", x.shape[at]),
                        len.to_string(),
                    ));
                }
                lines(at, Scales::Axis)
            }
            _ => Err(wrong(
                "scale",
                "of one axis at most without blocks",
                format!("of shape {:?}", scale.shape),
            )),
        }
    }
}

impl Lines {
    /// Calls `visit` with each run of elements that share a scale or, in blocks, meet as many scales:
    /// `(first element, number of elements, first scale, whether there is a scale for each)`.
    fn visit(&self, len: usize, mut visit: impl FnMut(usize, usize, usize, bool)) {
        let line = self.axis * self.inner;
        if line == 0 {
            return;
        }
        for outer in 0..len / line {
            for at in 0..self.axis {
                let first = outer * line + at * self.inner;
                match self.scales {
                    Scales::One => visit(first, self.inner, 0, false),
                    Scales::Axis => visit(first, self.inner, at, false),
                    Scales::Blocks(block) => {
                        let blocks = self.axis.div_ceil(block);
                        let scale = (outer * blocks + at / block) * self.inner;
                        visit(first, self.inner, scale, true);
                    }
                }
            }
        }
    }

    /// `y[i] = f(x[i], scale, zero)` for all elements.
    fn apply<A: Copy, B, Z: Copy + Default>(
        &self,
        (x, y): (&[A], &mut [B]),
        (scales, zeros): (&[f32], Option<&[Z]>),
        f: impl Fn(A, f32, Z) -> B,
    ) {
        self.visit(x.len(), |first, len, scale, each| {
            let pairs = x[first..first + len].iter().zip(&mut y[first..first + len]);
            for (at, (&x, y)) in pairs.enumerate() {
                let scale = if each { scale + at } else { scale };
                let zero = zeros.map_or(Z::default(), |zeros| zeros[scale]);
                *y = f(x, scales[scale], zero);
            }
        });
    }
}

impl Operator for QuantizeLinear {
    fn name(&self) -> &'static str {
        "QuantizeLinear"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 3)?;
        let (x, scale) = (required(inputs, 0, "x")?, required(inputs, 1, "scale")?);
        has_type(x, "x", &[DType::F32, DType::I32])?;
        self.grain.lines(x, scale)?;
        let zero = optional(inputs, 2);
        let output = match (zero, self.output) {
            (Some(zero), Some(output)) if zero.dtype != output => {
                return Err(wrong_attribute(
                    "output_dtype",
                    format!("{}, as the zero point", zero.dtype.name()),
                    output.name(),
                ));
            }
            (Some(zero), _) => zero.dtype,
            (None, output) => output.unwrap_or(DType::U8),
        };
        if let Some(zero) = zero {
            has_shape(zero, "zero point", &scale.shape)?;
        }
        let fact = Fact::new(output, x.shape.clone());
        has_type(&fact, "the zero point or output_dtype", &NARROW)?;
        Ok(vec![fact])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let output = self.infer(inputs)?.remove(0).dtype;
        let (x, scale) = (required(inputs, 0, "x")?, required(inputs, 1, "scale")?);
        Ok(Box::new(Quantize {
            lines: self.grain.lines(x, scale)?,
            from: x.dtype,
            to: output,
        }))
    }
}

struct Quantize {
    lines: Lines,
    from: DType,
    to: DType,
}

/// The integer nearest to a float, within the type.
trait Narrow: Scalar {
    fn rounded(value: f32, zero: Self) -> Self;
}

macro_rules! narrow {
    ($($type:ty),*) => {
        $(impl Narrow for $type {
            fn rounded(value: f32, zero: Self) -> Self {
                // The conversion saturates and takes NaN for 0.
                (value.round_ties_even() + f32::from(zero)) as $type
            }
        })*
    };
}
narrow!(u8, i8, u16, i16);

impl Quantize {
    fn run_to<Z: Narrow>(&self, inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
        let scales = read::<f32>(inputs, 1)?;
        let zeros = match inputs.get(2) {
            Some(Some(_)) => Some(read::<Z>(inputs, 2)?),
            _ => None,
        };
        let y = write::<Z>(outputs, 0)?;
        match self.from {
            DType::I32 => self.lines.apply(
                (read::<i32>(inputs, 0)?, y),
                (scales, zeros),
                |x, scale, zero| Z::rounded(x as f32 / scale, zero),
            ),
            _ => self.lines.apply(
                (read::<f32>(inputs, 0)?, y),
                (scales, zeros),
                |x, scale, zero| Z::rounded(x / scale, zero),
            ),
        }
        Ok(())
    }
}

impl Step for Quantize {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.to {
            DType::I8 => self.run_to::<i8>(inputs, outputs),
            DType::U16 => self.run_to::<u16>(inputs, outputs),
            DType::I16 => self.run_to::<i16>(inputs, outputs),
            _ => self.run_to::<u8>(inputs, outputs),
        }
    }
}

impl Operator for DequantizeLinear {
    fn name(&self) -> &'static str {
        "DequantizeLinear"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 3)?;
        let (x, scale) = (required(inputs, 0, "x")?, required(inputs, 1, "scale")?);
        has_type(x, "x", &INTEGERS)?;
        self.grain.lines(x, scale)?;
        if let Some(zero) = optional(inputs, 2) {
            has_type(zero, "zero point", &[x.dtype])?;
            has_shape(zero, "zero point", &scale.shape)?;
        }
        Ok(vec![Fact::new(DType::F32, x.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (x, scale) = (required(inputs, 0, "x")?, required(inputs, 1, "scale")?);
        Ok(Box::new(Dequantize {
            lines: self.grain.lines(x, scale)?,
            from: x.dtype,
        }))
    }
}

struct Dequantize {
    lines: Lines,
    from: DType,
}

impl Dequantize {
    fn run_from<Z: Scalar + Into<i64>>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let scales = read::<f32>(inputs, 1)?;
        let zeros = match inputs.get(2) {
            Some(Some(_)) => Some(read::<Z>(inputs, 2)?),
            _ => None,
        };
        let buffers = (read::<Z>(inputs, 0)?, write::<f32>(outputs, 0)?);
        self.lines
            .apply(buffers, (scales, zeros), |x, scale, zero| {
                let (x, zero): (i64, i64) = (x.into(), zero.into());
                (x - zero) as f32 * scale
            });
        Ok(())
    }
}

impl Step for Dequantize {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.from {
            DType::I8 => self.run_from::<i8>(inputs, outputs),
            DType::U16 => self.run_from::<u16>(inputs, outputs),
            DType::I16 => self.run_from::<i16>(inputs, outputs),
            DType::I32 => self.run_from::<i32>(inputs, outputs),
            _ => self.run_from::<u8>(inputs, outputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{fact, floats, run};
    use super::*;
    use crate::network::tensor::Tensor;
    use ndarray::{ArrayD, IxDyn, arr0, arr1};

    fn array<T: Clone>(shape: &[usize], values: &[T]) -> ArrayD<T> {
        ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap()
    }

    #[test]
    fn one_scale() {
        let x = floats(
            &[8],
            [0.0, 2.0, 3.0, 1000.0, -254.0, -1000.0, 1.0, f32::NAN],
        );
        let inputs = [
            x,
            arr0(2f32).into_dyn().into(),
            arr0(128u8).into_dyn().into(),
        ];
        let y = run(&QuantizeLinear::new(1, 0, None), &inputs).unwrap();
        // 1.5 and 0.5 are rounded to even.
        let expected: Tensor = arr1(&[128u8, 129, 130, 255, 1, 0, 128, 0])
            .into_dyn()
            .into();
        assert_eq!(y, [expected]);
        let [_, scale, zero] = inputs;
        let x = arr1(&[0u8, 128, 255]).into_dyn().into();
        let y = run(&DequantizeLinear::new(1, 0), &[x, scale, zero]).unwrap();
        assert_eq!(y, [floats(&[3], [-256.0, 0.0, 254.0])]);
    }

    #[test]
    fn a_scale_for_each_channel() {
        let x: Tensor = array(&[2, 2, 2], &[1i8, 2, 3, 4, -1, -2, -3, -128]).into();
        let scale = floats(&[2], [1.0, 10.0]);
        for axis in [1, -2] {
            let operator = DequantizeLinear::new(axis, 0);
            let y = run(&operator, &[x.clone(), scale.clone()]).unwrap();
            let expected = [1.0, 2.0, 30.0, 40.0, -1.0, -2.0, -30.0, -1280.0];
            assert_eq!(y, [floats(&[2, 2, 2], expected)]);
            let zero = arr1(&[0i8, 0]).into_dyn().into();
            let back = QuantizeLinear::new(axis, 0, None);
            let y = run(&back, &[y[0].clone(), scale.clone(), zero]).unwrap();
            assert_eq!(y[0], x);
        }
    }

    #[test]
    fn blocks() {
        // Blocks of 2 on an axis of 3: scale [2, 2], the last block is short.
        let x: Tensor = array(&[3, 2], &[1i16, 1, 1, 1, 1, 1]).into();
        let scale = floats(&[2, 2], [1.0, 2.0, 3.0, 4.0]);
        let y = run(&DequantizeLinear::new(0, 2), &[x, scale]).unwrap();
        assert_eq!(y, [floats(&[3, 2], [1.0, 2.0, 1.0, 2.0, 3.0, 4.0])]);
    }

    #[test]
    fn empty_tensors() {
        let x: Tensor = array::<i8>(&[2, 0, 3], &[]).into();
        let y = run(&DequantizeLinear::new(1, 0), &[x.clone(), floats(&[0], [])]).unwrap();
        assert_eq!(y, [floats(&[2, 0, 3], [])]);
        let y = run(&DequantizeLinear::new(1, 4), &[x, floats(&[2, 0, 3], [])]).unwrap();
        assert_eq!(y, [floats(&[2, 0, 3], [])]);
    }

    #[test]
    fn what_does_not_fit() {
        let infer = |grain: (i64, usize), x: &[usize], scale: &[usize], zero: Option<Fact>| {
            let (x, scale) = (Fact::new(DType::I8, x), fact(scale));
            let inputs = [Some(&x), Some(&scale), zero.as_ref()];
            let operator = DequantizeLinear::new(grain.0, grain.1);
            operator.infer(&inputs).map(|facts| facts[0].shape.clone())
        };
        let zero = |dtype, shape: &[usize]| Some(Fact::new(dtype, shape));
        assert_eq!(infer((1, 0), &[2, 3], &[3], None).unwrap(), [2, 3]);
        for (grain, x, scale, zero) in [
            ((1, 0), &[2, 3][..], &[2][..], None),
            ((2, 0), &[2, 3], &[3], None),
            ((1, 0), &[2, 3], &[2, 3], None),
            ((1, 2), &[2, 3], &[2, 3], None),
            ((1, usize::MAX), &[2, 3], &[2, 2], None),
            ((1, 0), &[2, 3], &[3], zero(DType::U8, &[3])),
            ((1, 0), &[2, 3], &[3], zero(DType::I8, &[2])),
        ] {
            assert!(infer(grain, x, scale, zero).is_err(), "{x:?} {scale:?}");
        }
        let (x, scale) = (fact(&[2]), fact(&[]));
        let quantize = QuantizeLinear::new(1, 0, Some(DType::F32));
        assert!(quantize.infer(&[Some(&x), Some(&scale)]).is_err());
    }
}
