//! DeformConv: a convolution whose taps are shifted at each position, two axes.
//!
//! ```text
//! X [N, C, H, W]   W [O, C/g, kh, kw]   offset [N, D · kh · kw · 2, oh, ow]   B [O]   mask [N, D · kh · kw, oh, ow]
//! patch[c, tap] = mask · X[n, c] at (y · stride − pad + tap · dilation + offset), between four pixels, 0 outside
//! Y[n, o]       = Σ W[o, c, tap] · patch[c, tap] + B[o]
//! ```
//!
//! The channels are divided into D groups, each with shifts of its own. The patches of a line of the result are one
//! matrix, multiplied by the engine. (Dai et al. 2017; the mask, Zhu et al. 2018.)

use ndarray::{ArrayView2, ArrayView4, ArrayViewMut4, Axis, s};

use crate::element::{Element, filled};
use crate::error::{Error, Result, check_shape, product};
use crate::gemm::{Engine, product as multiply};
use crate::geometry::{ConvGeometry, ConvOptions};
use crate::network::operator::check::{
    at_most, has_shape, has_type, optional, read, required, write, wrong,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::parallel::{Lanes, threads_for, try_for_each_tile};
use crate::plan::PlanOptions;

/// A convolution with shifted taps; f32 or f64.
#[derive(Clone, Debug)]
pub struct DeformConv {
    options: ConvOptions,
    kernel: Option<Vec<usize>>,
    shifts: usize,
}

impl DeformConv {
    /// With these options, channels first, and this many groups of channels with shifts of their own.
    pub fn new(options: ConvOptions, offset_groups: usize) -> Self {
        Self {
            options,
            kernel: None,
            shifts: offset_groups,
        }
    }

    /// Says what the lengths of the kernel are; weights of others are refused.
    pub fn kernel(mut self, kernel: Vec<usize>) -> Self {
        self.kernel = Some(kernel);
        self
    }

    fn geometry(&self, inputs: &Facts) -> Result<ConvGeometry> {
        let (x, weight) = (required(inputs, 0, "X")?, required(inputs, 1, "W")?);
        if x.shape.len() != 4 {
            return Err(Error::Rank {
                what: "X",
                expected: 4,
                got: x.shape.len(),
            });
        }
        if let Some(kernel) = &self.kernel {
            check_shape("kernel of W", kernel, weight.shape.get(2..).unwrap_or(&[]))?;
        }
        ConvGeometry::new(&x.shape, &weight.shape, &self.options)
    }
}

impl Operator for DeformConv {
    fn name(&self) -> &'static str {
        "DeformConv"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 5)?;
        let geometry = self.geometry(inputs)?;
        let x = required(inputs, 0, "X")?;
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_type(required(inputs, 1, "W")?, "W", &[x.dtype])?;
        let channels = geometry.input_channels();
        if self.shifts == 0 || channels % self.shifts != 0 {
            return Err(Error::Attribute {
                name: "offset_group".to_owned(),
                expected: format!("a divisor of {channels} channels"),
                got: self.shifts.to_string(),
            });
        }
        let shape = geometry.output_shape();
        let taps = product("shifts", &[self.shifts, geometry.patch().taps()])?;
        let of = |numbers: usize| [shape[0], numbers, shape[2], shape[3]];
        let offset = required(inputs, 2, "offset")?;
        has_type(offset, "offset", &[x.dtype])?;
        has_shape(offset, "offset", &of(product("shifts", &[taps, 2])?))?;
        if let Some(bias) = optional(inputs, 3) {
            has_type(bias, "B", &[x.dtype])?;
            has_shape(bias, "B", &[geometry.output_channels()])?;
        }
        if let Some(mask) = optional(inputs, 4) {
            has_type(mask, "mask", &[x.dtype])?;
            has_shape(mask, "mask", &of(taps))?;
        }
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let geometry = self.geometry(inputs)?;
        let (shifts, engine) = (self.shifts, options.engine);
        Ok(match required(inputs, 0, "X")?.dtype {
            DType::F64 => Box::new(DeformStep::<f64> {
                geometry,
                shifts,
                engine: engine.engine()?,
            }),
            _ => Box::new(DeformStep::<f32> {
                geometry,
                shifts,
                engine: engine.engine()?,
            }),
        })
    }
}

struct DeformStep<T: Element> {
    geometry: ConvGeometry,
    shifts: usize,
    engine: &'static dyn Engine<T>,
}

/// What a line of the result is computed from.
struct Operands<'a, T> {
    x: ArrayView4<'a, T>,
    weight: ArrayView2<'a, T>,
    offset: ArrayView4<'a, T>,
    bias: Option<&'a [T]>,
    mask: Option<ArrayView4<'a, T>>,
}

fn four<'a, T>(
    what: &'static str,
    shape: [usize; 4],
    elements: &'a [T],
) -> Result<ArrayView4<'a, T>> {
    ArrayView4::from_shape(shape, elements).map_err(|_| {
        wrong(
            what,
            format!("of shape {shape:?}"),
            elements.len().to_string(),
        )
    })
}

impl<T: Element + Scalar> DeformStep<T> {
    fn columns(&self) -> usize {
        self.geometry.axes()[1].output()
    }

    /// Elements of the patches of a line.
    fn lane(&self) -> usize {
        self.geometry.input_channels() * self.geometry.patch().taps() * self.columns()
    }

    fn threads(&self) -> usize {
        threads_for(self.geometry.operations() / 2)
    }

    fn operands<'a>(&self, inputs: &[Option<View<'a>>]) -> Result<Operands<'a, T>> {
        let geometry = &self.geometry;
        let shape = |shape: &[usize]| [shape[0], shape[1], shape[2], shape[3]];
        let y = geometry.output_shape();
        let taps = self.shifts * geometry.patch().taps();
        let weights: &[T] = read(inputs, 1)?;
        let matrix = [geometry.output_channels(), geometry.patch_len()];
        let given = |index: usize| inputs.get(index).is_some_and(Option::is_some);
        Ok(Operands {
            x: four("X", shape(&geometry.input_shape()), read(inputs, 0)?)?,
            weight: ArrayView2::from_shape(matrix, weights)
                .map_err(|_| wrong("W", format!("{matrix:?}"), weights.len().to_string()))?,
            offset: four("offset", [y[0], 2 * taps, y[2], y[3]], read(inputs, 2)?)?,
            bias: if given(3) {
                Some(read(inputs, 3)?)
            } else {
                None
            },
            mask: match given(4) {
                true => Some(four("mask", [y[0], taps, y[2], y[3]], read(inputs, 4)?)?),
                false => None,
            },
        })
    }

    /// `patches` (C · taps × columns) ← those of line `row` of image `n`.
    fn unfold(&self, operands: &Operands<'_, T>, n: usize, row: usize, patches: &mut [T]) {
        let [vertical, horizontal] = [0, 1].map(|axis| self.geometry.axes()[axis]);
        let (columns, taps) = (self.columns(), self.geometry.patch().taps());
        let channels = self.geometry.input_channels();
        let at = |axis: &crate::geometry::Axis, position: usize, tap: usize| {
            (position * axis.stride() + tap * axis.dilation()) as f64 - axis.pad_before as f64
        };
        for (line, patch) in patches
            .chunks_exact_mut(columns)
            .enumerate()
            .take(channels * taps)
        {
            let (channel, tap) = (line / taps, line % taps);
            let shift = channel / (channels / self.shifts) * taps + tap;
            let image = operands.x.slice(s![n, channel, .., ..]);
            let offset = |which: usize| operands.offset.slice(s![n, 2 * shift + which, row, ..]);
            let (down, right) = (offset(0), offset(1));
            let mask = operands
                .mask
                .as_ref()
                .map(|mask| mask.slice(s![n, shift, row, ..]));
            let (i, j) = (tap / horizontal.kernel(), tap % horizontal.kernel());
            for (column, value) in patch.iter_mut().enumerate() {
                let y = at(&vertical, row, i) + down[column].to_f64();
                let x = at(&horizontal, column, j) + right[column].to_f64();
                let weight = mask.as_ref().map_or(1.0, |mask| mask[column].to_f64());
                *value = T::from_f64(between(&image, y, x) * weight);
            }
        }
    }

    fn line(
        &self,
        operands: &Operands<'_, T>,
        [n, row]: [usize; 2],
        mut y: ArrayViewMut4<'_, T>,
        patches: &mut [T],
    ) -> Result<()> {
        self.unfold(operands, n, row, patches);
        let (outputs, k) = (self.geometry.outputs_per_group(), self.geometry.patch_len());
        let mut y = y.index_axis_mut(Axis(0), 0).index_axis_move(Axis(1), 0);
        for group in 0..self.geometry.groups() {
            let patches = &patches[group * k * self.columns()..][..k * self.columns()];
            let patches = ArrayView2::from_shape([k, self.columns()], patches)
                .map_err(|_| Error::Overflow { what: "patches" })?;
            let some = group * outputs..(group + 1) * outputs;
            // (O/g × K) · (K × columns) -> (O/g × columns)
            multiply(
                self.engine,
                operands.weight.slice(s![some.clone(), ..]),
                patches,
                T::ZERO,
                y.slice_mut(s![some, ..]),
            )?;
        }
        if let Some(bias) = operands.bias {
            for (mut line, &bias) in y.outer_iter_mut().zip(bias) {
                line.mapv_inplace(|sum| sum + bias);
            }
        }
        Ok(())
    }
}

/// `image` at a place between its pixels; nothing but zeros is outside.
fn between<T: Element>(image: &ArrayView2<'_, T>, y: f64, x: f64) -> f64 {
    let (height, width) = image.dim();
    let inside = |at: f64, length: usize| at > -1.0 && at < length as f64;
    // NaN is nowhere.
    if !inside(y, height) || !inside(x, width) {
        return 0.0;
    }
    let (top, left) = (y.floor(), x.floor());
    let pixel = |down: f64, right: f64| {
        let (row, column) = (top + down, left + right);
        if row < 0.0 || column < 0.0 {
            return 0.0;
        }
        let pixel = image.get([row as usize, column as usize]);
        pixel.map_or(0.0, |pixel| pixel.to_f64())
    };
    let (below, right) = (y - top, x - left);
    (1.0 - below) * ((1.0 - right) * pixel(0.0, 0.0) + right * pixel(0.0, 1.0))
        + below * ((1.0 - right) * pixel(1.0, 0.0) + right * pixel(1.0, 1.0))
}

impl<T: Element + Scalar> Step for DeformStep<T> {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let operands = self.operands(inputs)?;
        let shape = self.geometry.output_shape();
        let y = write::<T>(outputs, 0)?;
        let y = ArrayViewMut4::from_shape([shape[0], shape[1], shape[2], shape[3]], y)
            .map_err(|_| Error::Overflow { what: "output" })?;
        let threads = self.threads();
        let mut own = match T::DTYPE {
            DType::F32 => Vec::new(),
            _ => filled(self.lane() * threads, T::ZERO)?,
        };
        let scratch = T::of_singles(scratch).unwrap_or(&mut own);
        let lanes = Lanes::new(scratch, self.lane(), threads);
        let block = [1, shape[1], 1, shape[3]];
        try_for_each_tile(y, block, threads > 1, &|[n, _, row, _], tile| {
            lanes.with(|patches| self.line(&operands, [n, row], tile, patches))
        })
    }

    fn scratch_len(&self) -> usize {
        match T::DTYPE {
            DType::F32 => self.lane() * self.threads(),
            _ => 0,
        }
    }

    fn multiply_adds(&self) -> u64 {
        u64::try_from(self.geometry.operations() / 2).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::convolution::Conv;
    use crate::network::operator::testing::{fact, floats, infer, run};
    use crate::network::tensor::Tensor;

    fn numbers(shape: &[usize], seed: u64) -> Tensor {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| random.f32() - 0.5).collect();
        floats(shape, values)
    }

    #[test]
    fn without_shifts_it_is_a_convolution() {
        let options = ConvOptions::new()
            .padding(1)
            .stride([2, 1])
            .dilation([1, 2])
            .groups(2);
        let (x, w, bias) = (
            numbers(&[2, 4, 7, 9], 1),
            numbers(&[6, 2, 3, 2], 2),
            numbers(&[6], 3),
        );
        let expected = run(
            &Conv::new(options.clone()),
            &[x.clone(), w.clone(), bias.clone()],
        )
        .unwrap();
        let shape = expected[0].shape();
        let zeros = floats(
            &[2, 24, shape[2], shape[3]],
            vec![0.0; 48 * shape[2] * shape[3]],
        );
        let layer = DeformConv::new(options, 2);
        let got = run(&layer, &[x, w, zeros, bias]).unwrap();
        let (got, expected) = (
            got[0].array::<f32>().unwrap(),
            expected[0].array::<f32>().unwrap(),
        );
        assert!(
            (got - expected)
                .iter()
                .all(|difference| difference.abs() < 1e-5)
        );
    }

    #[test]
    fn shifts_and_masks_by_hand() {
        let x = floats(&[1, 1, 2, 2], [1.0, 2.0, 3.0, 4.0]);
        let w = floats(&[1, 1, 1, 1], [10.0]);
        // Down, then right: half a pixel down; one right; far away; up and left, half outside.
        let offset = floats(&[1, 2, 2, 2], [0.5, 0.0, 9.0, -1.5, 0.0, 1.0, 0.0, -1.0]);
        let layer = DeformConv::new(ConvOptions::new(), 1);
        let y = run(&layer, &[x.clone(), w.clone(), offset.clone()]).unwrap();
        assert_eq!(y[0], floats(&[1, 1, 2, 2], [20.0, 0.0, 0.0, 5.0]));
        let mask = floats(&[1, 1, 2, 2], [0.5, 1.0, 1.0, 2.0]);
        let bias = floats(&[1], [1.0]);
        let y = run(&layer, &[x, w, offset, bias, mask]).unwrap();
        assert_eq!(y[0], floats(&[1, 1, 2, 2], [11.0, 1.0, 1.0, 11.0]));
    }

    #[test]
    fn operands_of_other_shapes_are_refused() {
        let (x, w, offset) = (
            fact(&[1, 4, 5, 5]),
            fact(&[2, 4, 3, 3]),
            fact(&[1, 18, 3, 3]),
        );
        let layer = |groups| DeformConv::new(ConvOptions::new(), groups);
        assert!(infer(&layer(1), &[&x, &w, &offset]).is_ok());
        assert!(infer(&layer(2), &[&x, &w, &offset]).is_err());
        assert!(infer(&layer(3), &[&x, &w, &offset]).is_err());
        assert!(infer(&layer(0), &[&x, &w, &offset]).is_err());
        assert!(infer(&layer(1), &[&x, &w]).is_err());
        assert!(infer(&layer(1), &[&x, &w, &offset, &fact(&[3])]).is_err());
        let mask = fact(&[1, 18, 3, 3]);
        assert!(infer(&layer(1), &[&x, &w, &offset, &fact(&[2]), &mask]).is_err());
        assert!(infer(&layer(1), &[&fact(&[1, 4, 5]), &fact(&[2, 4, 3]), &offset]).is_err());
    }
}
