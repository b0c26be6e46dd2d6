//! GridSample: an image read where another array says.
//!
//! ```text
//! x [N, C, in…]   grid [N, out…, r], the innermost axis first, -1 to 1 from end to end   y [N, C, out…]
//! place      align_corners  (g + 1) / 2 · (in − 1)        else  ((g + 1) · in − 1) / 2
//! y          Σ over the taps around the place, axis by axis: w · x
//! outside    zeros, the elements at the border, or the image mirrored at its border
//! ```
//!
//! Nearest rounds halves to even. Places that are not numbers read nothing: they count as -1.

use super::check::{at_most, has_axes, has_type, read, required, write, wrong};
use super::resize::Interpolation;
use super::{Fact, Facts, Operator, Step};
use crate::element::Element;
use crate::error::{Result, check_len, product};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// What lies outside an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GridPadding {
    /// Zeros.
    #[default]
    Zeros,
    /// The elements at its border.
    Border,
    /// The image, mirrored at its border.
    Reflection,
}

/// Its first input, read where the second says.
#[derive(Clone, Debug, PartialEq)]
pub struct GridSample {
    pub(crate) interpolation: Interpolation,
    pub(crate) padding: GridPadding,
    pub(crate) align_corners: bool,
}

/// Most spatial axes: there are 4ʳ taps around a place.
const MOST_AXES: usize = 3;

impl GridSample {
    /// Inputs: data, grid. With `align_corners` the ends of the grid are the centres of the outermost elements,
    /// otherwise their outer edges.
    pub fn new(interpolation: Interpolation, padding: GridPadding, align_corners: bool) -> Self {
        Self {
            interpolation,
            padding,
            align_corners,
        }
    }

    fn shape(inputs: &Facts) -> Result<Vec<usize>> {
        at_most(inputs, 2)?;
        let (x, grid) = (required(inputs, 0, "X")?, required(inputs, 1, "grid")?);
        has_type(x, "X", &[DType::F32, DType::F64])?;
        has_type(grid, "grid", &[DType::F32, DType::F64])?;
        has_axes(x, "X", 3)?;
        let rank = x.shape.len() - 2;
        if rank > MOST_AXES {
            let got = format!("of shape {:?}", x.shape);
            return Err(wrong("X", "of 1 to 3 spatial axes", got));
        }
        if grid.shape.len() != rank + 2
            || grid.shape[0] != x.shape[0]
            || grid.shape[rank + 1] != rank
        {
            let expected = format!("of {} images, {rank} axes and {rank} numbers", x.shape[0]);
            return Err(wrong(
                "grid",
                expected,
                format!("of shape {:?}", grid.shape),
            ));
        }
        let outputs = &grid.shape[1..=rank];
        if x.shape[2..].contains(&0) && !outputs.contains(&0) {
            let got = format!("of shape {:?}", x.shape);
            return Err(wrong("X", "an image with elements", got));
        }
        Ok([&x.shape[..2], outputs].concat())
    }
}

impl Operator for GridSample {
    fn name(&self) -> &'static str {
        "GridSample"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let shape = Self::shape(inputs)?;
        product("output", &shape)?;
        Ok(vec![Fact::new(required(inputs, 0, "X")?.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (x, grid) = (required(inputs, 0, "X")?, required(inputs, 1, "grid")?);
        Ok(Box::new(Sampling {
            operator: self.clone(),
            types: [x.dtype, grid.dtype],
            sizes: x.shape[2..].to_vec(),
            planes: product("X", &x.shape[..2])?,
            channels: x.shape[1],
            pixels: product("X", &x.shape[2..])?,
            places: product("grid", &Self::shape(inputs)?[2..])?,
        }))
    }
}

struct Sampling {
    operator: GridSample,
    types: [DType; 2],
    sizes: Vec<usize>,
    planes: usize,
    channels: usize,
    /// Elements of a plane of x and of y.
    pixels: usize,
    places: usize,
}

impl Step for Sampling {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.types {
            [DType::F64, DType::F64] => self.sample::<f64, f64>(inputs, outputs),
            [DType::F64, _] => self.sample::<f64, f32>(inputs, outputs),
            [_, DType::F64] => self.sample::<f32, f64>(inputs, outputs),
            _ => self.sample::<f32, f32>(inputs, outputs),
        }
    }
}

/// The taps of one axis around a place: positions, none outside, and weights.
#[derive(Clone, Copy)]
struct AxisTaps {
    places: [Option<usize>; 4],
    weights: [f64; 4],
    count: usize,
}

impl Sampling {
    fn sample<T: Element + Scalar, G: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (x, grid): (&[T], &[G]) = (read(inputs, 0)?, read(inputs, 1)?);
        let y: &mut [T] = write(outputs, 0)?;
        let rank = self.sizes.len();
        check_len("X", self.planes * self.pixels, x.len())?;
        check_len("Y", self.planes * self.places, y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        let images = self.planes / self.channels;
        check_len("grid", images * self.places * rank, grid.len())?;
        for (number, place) in grid.chunks_exact(rank).enumerate() {
            let (image, at) = (number / self.places, number % self.places);
            // The grid names the innermost axis first.
            let mut taps = [self.taps(0, 0.0); MOST_AXES];
            for (axis, taps) in taps[..rank].iter_mut().enumerate() {
                *taps = self.taps(self.sizes[axis], place[rank - 1 - axis].to_f64());
            }
            for channel in 0..self.channels {
                let plane = image * self.channels + channel;
                let pixels = &x[plane * self.pixels..][..self.pixels];
                let value = self.add_up(&taps[..rank], &self.sizes, pixels, 0);
                y[plane * self.places + at] = T::from_f64(value);
            }
        }
        Ok(())
    }

    /// Σ w · x over the taps of all axes; `at` is the position on those before.
    fn add_up<T: Element>(&self, taps: &[AxisTaps], sizes: &[usize], x: &[T], at: usize) -> f64 {
        let (Some((axis, taps)), Some((&size, sizes))) = (taps.split_first(), sizes.split_first())
        else {
            return x[at].to_f64();
        };
        let mut sum = 0.0;
        for (place, weight) in axis.places.iter().zip(axis.weights).take(axis.count) {
            if let Some(place) = place {
                sum += weight * self.add_up(taps, sizes, x, at * size + place);
            }
        }
        sum
    }

    /// The taps around coordinate `g` of an axis.
    fn taps(&self, size: usize, g: f64) -> AxisTaps {
        let (length, g) = (size as f64, if g.is_nan() { -1.0 } else { g });
        let x = match self.operator.align_corners {
            true => (g + 1.0) / 2.0 * (length - 1.0),
            false => ((g + 1.0) * length - 1.0) / 2.0,
        };
        let mut taps = AxisTaps {
            places: [None; 4],
            weights: [1.0; 4],
            count: 1,
        };
        // Far outside all is the same; the limit keeps differences exact.
        let mut x = x.clamp(-1e15, 1e15);
        if let Interpolation::Nearest(_) = self.operator.interpolation {
            x = x.round_ties_even();
        }
        let x = self.inside(x, size);
        let first = match self.operator.interpolation {
            Interpolation::Nearest(_) => x,
            Interpolation::Linear => {
                taps.count = 2;
                let d = x - x.floor();
                taps.weights[..2].copy_from_slice(&[1.0 - d, d]);
                x.floor()
            }
            Interpolation::Cubic(a) => {
                taps.count = 4;
                let d = x - x.floor();
                taps.weights = [1.0 + d, d, 1.0 - d, 2.0 - d].map(|d| cubic(d, a.into()));
                x.floor() - 1.0
            }
        };
        for (tap, place) in taps.places[..taps.count].iter_mut().enumerate() {
            *place = self.element(first + tap as f64, size);
        }
        taps
    }

    /// The ends of an axis between which nothing is moved.
    fn ends(&self, size: usize) -> (f64, f64) {
        match self.operator.align_corners {
            true => (0.0, size as f64 - 1.0),
            false => (-0.5, size as f64 - 0.5),
        }
    }

    /// A place brought into the image, as the padding has it.
    fn inside(&self, x: f64, size: usize) -> f64 {
        let (low, high) = self.ends(size);
        match self.operator.padding {
            _ if (low..=high).contains(&x) => x,
            GridPadding::Zeros => x,
            GridPadding::Border => x.clamp(0.0, (size as f64 - 1.0).max(0.0)),
            GridPadding::Reflection => reflect(x, low, high),
        }
    }

    /// The element at a whole place, if there is one.
    fn element(&self, place: f64, size: usize) -> Option<usize> {
        let last = (size as f64 - 1.0).max(0.0);
        let (low, high) = self.ends(size);
        match self.operator.padding {
            GridPadding::Zeros => (0.0..=last).contains(&place).then_some(place as usize),
            GridPadding::Border => Some(place.clamp(0.0, last) as usize),
            GridPadding::Reflection => Some(reflect(place, low, high).clamp(0.0, last) as usize),
        }
    }
}

/// `x` mirrored at `low` and `high` until it lies between them.
fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let length = high - low;
    if length <= 0.0 {
        return low;
    }
    let along = (x - low).rem_euclid(2.0 * length);
    low + along.min(2.0 * length - along)
}

/// The weight of a tap at distance d.
fn cubic(d: f64, a: f64) -> f64 {
    match d <= 1.0 {
        true => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        false => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
    }
}

#[cfg(test)]
mod tests {
    use super::super::resize::NearestMode;
    use super::super::testing::{fact, floats, infer, run};
    use super::*;

    fn sampled(interpolation: Interpolation, padding: GridPadding, corners: bool) -> Vec<f32> {
        let x = floats(&[1, 1, 4], [1.0, 2.0, 4.0, 8.0]);
        let grid = floats(&[1, 7, 1], [-1.0, -0.5, 0.0, 0.75, 1.0, 1.5, -3.0]);
        let sample = GridSample::new(interpolation, padding, corners);
        let y = run(&sample, &[x, grid]).unwrap().remove(0);
        Vec::from_iter(y.array::<f32>().unwrap().iter().copied())
    }

    #[test]
    fn modes_and_paddings() {
        use GridPadding::{Border, Reflection, Zeros};
        let nearest = Interpolation::Nearest(NearestMode::RoundPreferFloor);
        // Places: -0.5, 0.5, 1.5, 3, 3.5, 4.5, -4.5
        let places = sampled(nearest, Border, false);
        assert_eq!(places, [1.0, 1.0, 4.0, 8.0, 8.0, 8.0, 1.0]);
        let places = sampled(Interpolation::Linear, Zeros, false);
        assert_eq!(places, [0.5, 1.5, 3.0, 8.0, 4.0, 0.0, 0.0]);
        let places = sampled(Interpolation::Linear, Reflection, false);
        assert_eq!(places, [1.0, 1.5, 3.0, 8.0, 8.0, 6.0, 8.0]);
        // Places: 0, 0.75, 1.5, 2.625, 3, 3.75, -3
        let places = sampled(Interpolation::Linear, Reflection, true);
        assert_eq!(places, [1.0, 1.75, 3.0, 6.5, 8.0, 5.0, 8.0]);
        let places = sampled(Interpolation::Cubic(-0.75), Border, true);
        assert_eq!(
            [places[0], places[4], places[5], places[6]],
            [1.0, 8.0, 8.0, 1.0]
        );
    }

    #[test]
    fn two_axes_are_named_from_the_innermost() {
        let x = floats(&[1, 2, 2, 3], (0..12).map(|i| i as f32));
        let grid = floats(&[1, 1, 1, 2], [1.0, -1.0]);
        let sample = GridSample::new(Interpolation::Linear, GridPadding::Zeros, true);
        let y = run(&sample, &[x, grid]).unwrap();
        assert_eq!(y[0], floats(&[1, 2, 1, 1], [2.0, 8.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let sample = GridSample::new(Interpolation::Linear, GridPadding::Zeros, true);
        let x = fact(&[2, 1, 3, 3]);
        for grid in [&[1, 2, 2, 2][..], &[2, 2, 2], &[2, 2, 2, 3]] {
            assert!(infer(&sample, &[&x, &fact(grid)]).is_err());
        }
        assert!(infer(&sample, &[&fact(&[2, 1]), &fact(&[2, 0])]).is_err());
        assert!(infer(&sample, &[&fact(&[1, 1, 0]), &fact(&[1, 1, 1])]).is_err());
        let many = [1, 1, 1, 1, 1, 1];
        assert!(infer(&sample, &[&fact(&many), &fact(&[1, 1, 1, 1, 1, 4])]).is_err());
        let y = run(
            &sample,
            &[
                floats(&[1, 1, 1], [5.0]),
                floats(&[1, 2, 1], [f32::NAN, f32::INFINITY]),
            ],
        );
        assert_eq!(y.unwrap()[0], floats(&[1, 1, 2], [5.0, 0.0]));
    }
}
