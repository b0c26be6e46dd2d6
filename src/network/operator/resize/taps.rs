//! One axis of a Resize: where outputs lie in the input, and which elements they are made of.
//!
//! ```text
//! half pixel      (j + ½) / scale − ½                  the centre of output j
//! asymmetric       j / scale                           its beginning
//! align corners    j · (in − 1) / (out − 1)            first on first, last on last
//! crop             start · (in − 1) + j · (end − start) · (in − 1) / (out − 1)
//!
//! linear   w(d) = 1 − |d|                                              |d| ≤ 1
//! cubic    w(d) = (a + 2)|d|³ − (a + 3)d² + 1                          |d| ≤ 1
//!                 a|d|³ − 5a·d² + 8a|d| − 4a                           |d| ≤ 2       (Keys, 1981)
//! ```
//!
//! `out` above is scale · in, which need not be whole. With antialiasing and scale < 1 the weight of a tap at distance
//! d is w(d · scale), divided by the sum of all.

use super::super::check::wrong;
use super::ResizeOptions;
use crate::element::reserved;
use crate::error::{Error, Result};

/// Where an output lies in the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coordinates {
    /// By the centres of elements.
    #[default]
    HalfPixel,
    /// By the centres, and around the centre of the axis where the output has a fraction of an element.
    HalfPixelSymmetric,
    /// By the centres, but −½ where the output has one element.
    PytorchHalfPixel,
    /// First on first and last on last element.
    AlignCorners,
    /// By the beginnings of elements.
    Asymmetric,
    /// (j + ½) / scale: operator set 11 had it for `nearest`.
    TfHalfPixelForNn,
    /// A region of the input, which may reach outside.
    CropAndResize,
}

/// Which elements an output is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// The nearest.
    Nearest(NearestMode),
    /// The two beside it.
    Linear,
    /// Four around it, with the coefficient a.
    Cubic(f32),
}

/// What is nearest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NearestMode {
    /// Halves go down.
    #[default]
    RoundPreferFloor,
    /// Halves go up.
    RoundPreferCeil,
    /// The one before.
    Floor,
    /// The one behind.
    Ceil,
}

/// How an axis is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    pub(super) input: usize,
    pub(super) output: usize,
    scale: f64,
    /// The region of interest, as parts of the axis.
    region: (f64, f64),
}

impl Sampling {
    /// Every element where it is.
    pub(super) fn whole(size: usize) -> Self {
        Self {
            input: size,
            output: size,
            scale: 1.0,
            region: (0.0, 1.0),
        }
    }

    /// ⌊input · scale⌋ elements. The product is one of f32, as in ONNX's own shapes.
    pub(super) fn scaled(input: usize, scale: f64) -> Result<Self> {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(wrong("scales", "more than 0", scale.to_string()));
        }
        let output = (input as f32 * scale as f32).floor();
        Self::new(input, output.into(), scale)
    }

    /// `output` elements.
    pub(super) fn sized(input: usize, output: usize) -> Result<Self> {
        if input == 0 && output > 0 {
            return Err(wrong("sizes", "0 where X has none", output.to_string()));
        }
        Ok(Self {
            output,
            scale: output as f64 / input.max(1) as f64,
            ..Self::whole(input)
        })
    }

    /// As many elements as are nearest to `input · scale`, halves up.
    pub(super) fn rounded(input: usize, scale: f64) -> Result<Self> {
        if !scale.is_finite() {
            return Err(wrong(
                "sizes",
                "those of axes with elements",
                scale.to_string(),
            ));
        }
        Self::new(input, (input as f64 * scale + 0.5).floor(), scale)
    }

    fn new(input: usize, output: f64, scale: f64) -> Result<Self> {
        // From 2⁶³ on no array has so many.
        if output >= 9.2e18 {
            return Err(Error::Overflow { what: "output" });
        }
        Ok(Self {
            output: output as usize,
            scale,
            ..Self::whole(input)
        })
    }

    /// Sets the region of interest.
    pub(super) fn crop(&mut self, start: f64, end: f64) -> Result<()> {
        if !(start.is_finite() && end.is_finite()) {
            return Err(wrong("roi", "finite", format!("{start} to {end}")));
        }
        self.region = (start, end);
        Ok(())
    }

    /// Whether nothing changes.
    pub(super) fn is_whole(&self) -> bool {
        self.input == self.output && (self.scale - 1.0).abs() < 1e-9 && self.region == (0.0, 1.0)
    }

    /// Where output j lies in the input.
    fn coordinate(&self, j: usize, coordinates: Coordinates) -> f64 {
        let (j, scale) = (j as f64, self.scale);
        let (last, output) = (self.input as f64 - 1.0, self.scale * self.input as f64);
        let centre = (j + 0.5) / scale - 0.5;
        match coordinates {
            Coordinates::HalfPixel => centre,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = self.output as f64 / output;
                self.input as f64 / 2.0 * (1.0 - adjustment) + centre
            }
            Coordinates::PytorchHalfPixel if output == 1.0 => -0.5,
            Coordinates::PytorchHalfPixel => centre,
            Coordinates::AlignCorners if output == 1.0 => 0.0,
            Coordinates::AlignCorners => j * last / (output - 1.0),
            Coordinates::Asymmetric => j / scale,
            Coordinates::TfHalfPixelForNn => (j + 0.5) / scale,
            Coordinates::CropAndResize => {
                let (start, end) = self.region;
                let along = match output == 1.0 {
                    true => (end - start) * last / 2.0,
                    false => j * (end - start) * last / (output - 1.0),
                };
                along + start * last
            }
        }
    }
}

/// The elements that every output of an axis is made of.
#[derive(Clone, Debug)]
pub(super) struct Taps {
    pub(super) input: usize,
    pub(super) output: usize,
    /// Taps of an output.
    pub(super) count: usize,
    /// `count` for each output; [`OUTSIDE`] in the first where the output lies outside the region.
    pub(super) places: Vec<usize>,
    /// The weights of all taps.
    pub(super) weights: Vec<f64>,
}

/// The place of an output that is extrapolated.
pub(super) const OUTSIDE: usize = usize::MAX;

impl Taps {
    /// Neither `input` nor `output` is 0.
    pub(super) fn new(sampling: &Sampling, options: &ResizeOptions) -> Result<Self> {
        let filter = Filter::new(sampling, options);
        let (input, output) = (sampling.input, sampling.output);
        let count = filter.count;
        let total = crate::error::product("taps", &[output, count])?;
        let (mut places, mut weights) = (reserved(total)?, reserved(total)?);
        for j in 0..output {
            let x = sampling.coordinate(j, options.coordinates);
            let outside = options.coordinates == Coordinates::CropAndResize
                && !(0.0..=input as f64 - 1.0).contains(&x);
            let first = places.len();
            filter.taps(x, input, &mut places, &mut weights);
            if options.exclude_outside {
                exclude(x, filter.before, input, &mut weights[first..]);
            }
            if outside {
                places[first] = OUTSIDE;
            }
        }
        Ok(Self {
            input,
            output,
            count,
            places,
            weights,
        })
    }
}

/// Elements behind an axis, in the input and in the output.
pub(super) fn sizes(others: &[Taps], inner: usize) -> [usize; 2] {
    let input = others.iter().map(|axis| axis.input).product::<usize>();
    let output = others.iter().map(|axis| axis.output).product::<usize>();
    [input * inner, output * inner]
}

/// What is the same for all outputs of an axis.
struct Filter {
    interpolation: Interpolation,
    /// Distances are multiplied with it: less than 1 where the filter is stretched.
    stretch: f64,
    /// Taps, and how many of them lie before ⌊x⌋.
    count: usize,
    before: usize,
}

impl Filter {
    fn new(sampling: &Sampling, options: &ResizeOptions) -> Self {
        let stretch = match options.antialias {
            true => sampling.scale.min(1.0),
            false => 1.0,
        };
        let reach = match options.interpolation {
            Interpolation::Nearest(_) => 0.0,
            Interpolation::Linear => 1.0,
            Interpolation::Cubic(_) => 2.0,
        };
        // A scale that gives an output at all reaches no further than about twice the input.
        let reach = (reach / stretch).ceil() as usize;
        Self {
            interpolation: options.interpolation,
            stretch,
            count: (2 * reach).max(1),
            before: reach.saturating_sub(1),
        }
    }

    /// Adds the taps around `x`; places beyond the ends are those of the ends.
    fn taps(&self, x: f64, input: usize, places: &mut Vec<usize>, weights: &mut Vec<f64>) {
        let last = input as f64 - 1.0;
        let inside = |place: f64| place.clamp(0.0, last) as usize;
        let floor = x.floor();
        if let Interpolation::Nearest(mode) = self.interpolation {
            let part = x - floor;
            let up = match mode {
                NearestMode::RoundPreferFloor => part > 0.5,
                NearestMode::RoundPreferCeil => part >= 0.5,
                NearestMode::Floor => false,
                NearestMode::Ceil => part > 0.0,
            };
            places.push(inside(floor + f64::from(u8::from(up))));
            weights.push(1.0);
            return;
        }
        let first = weights.len();
        for tap in 0..self.count {
            let place = floor + tap as f64 - self.before as f64;
            places.push(inside(place));
            weights.push(self.weight((place - x).abs() * self.stretch));
        }
        if self.stretch < 1.0 {
            normalize(&mut weights[first..]);
        }
    }

    fn weight(&self, d: f64) -> f64 {
        match self.interpolation {
            Interpolation::Cubic(a) => {
                let a = f64::from(a);
                match d {
                    ..=1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
                    1.0..2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
                    _ => 0.0,
                }
            }
            _ => (1.0 - d).max(0.0),
        }
    }
}

/// Takes the weight of the taps around `x` that lie outside, and divides by the sum of the others.
fn exclude(x: f64, before: usize, input: usize, weights: &mut [f64]) {
    if weights.len() == 1 {
        return;
    }
    for (tap, weight) in weights.iter_mut().enumerate() {
        let place = x.floor() + tap as f64 - before as f64;
        if place < 0.0 || place >= input as f64 {
            *weight = 0.0;
        }
    }
    normalize(weights);
}

/// Makes the sum 1 where it is not 0.
fn normalize(weights: &mut [f64]) {
    let sum: f64 = weights.iter().sum();
    if sum != 0.0 {
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(sampling: Sampling, mode: NearestMode, coordinates: Coordinates) -> Vec<usize> {
        let options = ResizeOptions {
            interpolation: Interpolation::Nearest(mode),
            coordinates,
            ..ResizeOptions::default()
        };
        Taps::new(&sampling, &options).unwrap().places
    }

    #[test]
    fn nearest_elements() {
        let twice = Sampling::scaled(2, 2.0).unwrap();
        let floor = NearestMode::RoundPreferFloor;
        assert_eq!(places(twice, floor, Coordinates::HalfPixel), [0, 0, 1, 1]);
        assert_eq!(places(twice, floor, Coordinates::Asymmetric), [0, 0, 1, 1]);
        assert_eq!(
            places(twice, NearestMode::Ceil, Coordinates::Asymmetric),
            [0, 1, 1, 1]
        );
        let seven = Sampling::sized(4, 7).unwrap();
        assert_eq!(
            places(seven, NearestMode::Floor, Coordinates::AlignCorners),
            [0, 0, 1, 1, 2, 2, 3]
        );
        assert_eq!(
            places(
                seven,
                NearestMode::RoundPreferCeil,
                Coordinates::AlignCorners
            ),
            [0, 1, 1, 2, 2, 3, 3]
        );
        let mut crop = Sampling::sized(4, 3).unwrap();
        crop.crop(-1.0, 1.0).unwrap();
        let crop = places(crop, floor, Coordinates::CropAndResize);
        assert_eq!(crop, [OUTSIDE, 0, 3]);
    }

    #[test]
    fn sizes_from_scales() {
        // 1.9 is a little less as f32, and so is 10 times that in f64.
        assert_eq!(Sampling::scaled(10, f64::from(1.9f32)).unwrap().output, 19);
        assert_eq!(Sampling::scaled(4, 0.6).unwrap().output, 2);
        assert_eq!(Sampling::scaled(3, 0.1).unwrap().output, 0);
        assert_eq!(Sampling::rounded(5, 0.5).unwrap().output, 3);
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e30] {
            assert!(Sampling::scaled(4, scale).is_err());
        }
        assert!(Sampling::sized(0, 4).is_err());
        assert!(Sampling::whole(7).is_whole() && !Sampling::sized(7, 8).unwrap().is_whole());
    }

    #[test]
    fn weights_sum_to_one() {
        for interpolation in [Interpolation::Linear, Interpolation::Cubic(-0.5)] {
            for (input, output) in [(5, 12), (12, 5), (7, 7), (100, 3), (1, 4), (4, 1)] {
                for antialias in [false, true] {
                    for exclude_outside in [false, true] {
                        let options = ResizeOptions {
                            interpolation,
                            antialias,
                            exclude_outside,
                            ..ResizeOptions::default()
                        };
                        let sampling = Sampling::sized(input, output).unwrap();
                        let taps = Taps::new(&sampling, &options).unwrap();
                        for weights in taps.weights.chunks(taps.count) {
                            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                        }
                    }
                }
            }
        }
    }
}
