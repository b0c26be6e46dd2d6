//! Resize: every axis sampled at other places, nearest, linear or cubic.
//!
//! ```text
//! y[j₀, j₁, …] = Σ w₀[j₀, k₀] · w₁[j₁, k₁] · … · x[i₀[j₀, k₀], i₁[j₁, k₁], …]        over all taps k₀, k₁, …
//! ```
//!
//! `taps.rs` says which elements of an axis an output is made of; `nearest.rs` copies them, `weighted.rs` adds them up.

mod convert;
mod nearest;
mod run;
mod taps;
mod weighted;

use std::sync::Arc;

use super::check::{
    at_most, axes, constant, has_type, integers, optional, required, turned, wrong, wrong_attribute,
};
use super::shape::Reshape;
use super::{Fact, Facts, Operator, Step};
use crate::error::{Result, product};
use crate::geometry::Layout;
use crate::network::operator::by_image::first_alone;
use crate::network::tensor::{DType, Tensor};
use crate::plan::PlanOptions;
use taps::Sampling;

pub use taps::{Coordinates, Interpolation, NearestMode};

/// How sizes that are given are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AspectRatio {
    /// As they are.
    #[default]
    Stretch,
    /// As bounds: one scale for all axes, with which none becomes larger.
    NotLarger,
    /// As bounds: one scale for all axes, with which none becomes smaller.
    NotSmaller,
}

/// The attributes of [`Resize`], with ONNX's names and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct ResizeOptions {
    /// Which elements an output is made of.
    pub interpolation: Interpolation,
    /// Where an output lies in the input.
    pub coordinates: Coordinates,
    /// Whether the filter is stretched where an axis becomes shorter.
    pub antialias: bool,
    /// The axes that the inputs tell of; all of them by default.
    pub axes: Option<Vec<i64>>,
    /// Whether taps outside have no weight, rather than that of the element at the edge.
    pub exclude_outside: bool,
    /// What stands where [`Coordinates::CropAndResize`] leaves the input.
    pub extrapolation_value: f32,
    /// How sizes are meant.
    pub aspect_ratio: AspectRatio,
}

impl Default for ResizeOptions {
    fn default() -> Self {
        Self {
            interpolation: Interpolation::Nearest(NearestMode::RoundPreferFloor),
            coordinates: Coordinates::HalfPixel,
            antialias: false,
            axes: None,
            exclude_outside: false,
            extrapolation_value: 0.0,
            aspect_ratio: AspectRatio::Stretch,
        }
    }
}

/// Its input at another size.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    pub(crate) options: ResizeOptions,
    /// Whether there are two inputs, data and scales.
    pub(crate) scales_only: bool,
    pub(crate) layout: Layout,
}

impl Resize {
    /// Inputs: data, the region of interest, scales, sizes; one of the last two, and the second only for
    /// [`Coordinates::CropAndResize`]. Empty inputs are as good as absent ones.
    pub fn new(options: ResizeOptions) -> Self {
        Self {
            options,
            scales_only: false,
            layout: Layout::ChannelsFirst,
        }
    }

    /// Inputs: data, scales; as in operator sets before 11, and in Upsample.
    pub fn by_scales(options: ResizeOptions) -> Self {
        Self {
            scales_only: true,
            ..Self::new(options)
        }
    }

    /// How each axis of the data, in the order in which they lie, is sampled.
    fn samplings(&self, inputs: &Facts) -> Result<Vec<Sampling>> {
        self.check()?;
        at_most(inputs, if self.scales_only { 2 } else { 4 })?;
        // Nothing has number 4.
        let [roi, scales, sizes] = if self.scales_only {
            [4, 1, 4]
        } else {
            [1, 2, 3]
        };
        let mut shape = required(inputs, 0, "X")?.shape.clone();
        if self.layout == Layout::ChannelsLast && shape.len() >= 3 {
            shape[1..].rotate_right(1);
        }
        let places = match &self.options.axes {
            Some(places) => axes("axes", places, shape.len())?,
            None => (0..shape.len()).collect(),
        };
        let mut samplings: Vec<Sampling> =
            shape.iter().map(|&size| Sampling::whole(size)).collect();
        let scales = given(inputs, scales, "scales", places.len())?;
        let sizes = given(inputs, sizes, "sizes", places.len())?;
        match (scales, sizes) {
            (Some(scales), None) => {
                let scales = floats(scales, "scales")?;
                for (&axis, &scale) in places.iter().zip(&scales) {
                    samplings[axis] = Sampling::scaled(shape[axis], scale)?;
                }
            }
            (None, Some(sizes)) => {
                let sizes = super::check::sizes("sizes", &integers(sizes, "sizes")?)?;
                self.sized(&shape, &places, &sizes, &mut samplings)?;
            }
            (Some(_), Some(_)) => return Err(wrong("sizes", "absent beside scales", "given")),
            (None, None) => return Err(wrong("scales or sizes", "given", "missing")),
        }
        if self.options.coordinates == Coordinates::CropAndResize {
            let fact = given(inputs, roi, "roi", 2 * places.len())?;
            let fact = fact.ok_or_else(|| wrong("roi", "given", "missing"))?;
            let ends = floats(fact, "roi")?;
            let (starts, ends) = ends.split_at(places.len());
            for (&axis, (&start, &end)) in places.iter().zip(starts.iter().zip(ends)) {
                samplings[axis].crop(start, end)?;
            }
        }
        Ok(match self.layout {
            Layout::ChannelsFirst => samplings,
            Layout::ChannelsLast => turned(&samplings),
        })
    }

    /// Sizes as they are or as bounds.
    fn sized(
        &self,
        shape: &[usize],
        places: &[usize],
        sizes: &[usize],
        samplings: &mut [Sampling],
    ) -> Result<()> {
        let pairs = || places.iter().copied().zip(sizes.iter().copied());
        let scales = pairs().map(|(axis, size)| size as f64 / shape[axis] as f64);
        let common = match self.options.aspect_ratio {
            AspectRatio::Stretch => {
                for (axis, size) in pairs() {
                    samplings[axis] = Sampling::sized(shape[axis], size)?;
                }
                return Ok(());
            }
            AspectRatio::NotLarger => scales.fold(f64::INFINITY, f64::min),
            AspectRatio::NotSmaller => scales.fold(0.0, f64::max),
        };
        for (axis, _) in pairs() {
            samplings[axis] = Sampling::rounded(shape[axis], common)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let options = &self.options;
        if options.antialias && matches!(options.interpolation, Interpolation::Nearest(_)) {
            return Err(wrong_attribute("antialias", "0 with mode = nearest", 1));
        }
        match options.interpolation {
            Interpolation::Cubic(a) if !a.is_finite() => {
                Err(wrong_attribute("cubic_coeff_a", "finite", a))
            }
            _ => Ok(()),
        }
    }
}

/// Input `index` where it is there and not empty, with its length checked.
fn given<'a>(
    inputs: &Facts<'a>,
    index: usize,
    operand: &'static str,
    len: usize,
) -> Result<Option<&'a Fact>> {
    let Some(fact) = optional(inputs, index) else {
        return Ok(None);
    };
    match product(operand, &fact.shape)? {
        0 => Ok(None),
        got if got == len => Ok(Some(fact)),
        got => Err(wrong(operand, format!("{len} elements"), got.to_string())),
    }
}

/// A constant of floats.
fn floats(fact: &Fact, operand: &'static str) -> Result<Vec<f64>> {
    has_type(fact, operand, &[DType::F32, DType::F64, DType::F16])?;
    Ok(match constant(fact, operand)? {
        Tensor::F32(array) => array.iter().map(|&value| value.into()).collect(),
        Tensor::F64(array) => array.iter().copied().collect(),
        Tensor::F16(array) => array.iter().map(|&value| value.into()).collect(),
        _ => Vec::new(),
    })
}

impl Operator for Resize {
    fn name(&self) -> &'static str {
        "Resize"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let samplings = self.samplings(inputs)?;
        let shape = Vec::from_iter(samplings.iter().map(|sampling| sampling.output));
        product("output", &shape)?;
        let dtype = required(inputs, 0, "X")?.dtype;
        let nearest = matches!(self.options.interpolation, Interpolation::Nearest(_));
        if dtype == DType::Bool && !nearest {
            return Err(wrong("X", "numbers with this mode", dtype.name()));
        }
        Ok(vec![Fact::new(dtype, shape)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        let samplings = self.samplings(inputs);
        let first = samplings.is_ok_and(|all| all.first().is_some_and(Sampling::is_whole));
        first_alone(batched) && first
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let samplings = self.samplings(inputs)?;
        let input = required(inputs, 0, "X")?;
        let lengths = samplings.iter().map(|sampling| sampling.output);
        let output = product("output", &Vec::from_iter(lengths))?;
        if samplings.iter().all(Sampling::is_whole) {
            return Reshape::identity().step(&[Some(input)], options);
        }
        run::step(input.dtype, &self.options, &samplings, output)
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        // The axes stay those of the logical order, in which scales and sizes come too.
        optional(inputs, 0)?;
        Some(Arc::new(Self {
            layout: Layout::ChannelsLast,
            ..self.clone()
        }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[1, 2, 3]
    }
}
