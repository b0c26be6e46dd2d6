//! Mean and standard deviation of each channel, to normalise by.
//!
//! ```text
//! mean = Σ v / n      std = √(Σ (v − mean)² / n)      over all pixels of all images       v ↦ (v − mean) / std
//! ```
//!
//! In f64: each image gives its count, mean and sum of squares about it; two such are joined by
//! `M = M₁ + M₂ + (mean₂ − mean₁)² n₁ n₂ / (n₁ + n₂)` (Chan, Golub, LeVeque 1979), in the order of the images within
//! blocks of a fixed length and then of the blocks, so that the number of threads changes no bit.

use rayon::prelude::*;

use super::dataset::Dataset;
use crate::element::filled;
use crate::error::{Error, Result, check_len, product};

/// Images of a block.
const BLOCK: usize = 256;

/// What is subtracted from a channel, and what it is divided by after that.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalise {
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// Count, mean and sum of squares about it.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(values: &[f32]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let squares = values
            .iter()
            .map(|&value| (f64::from(value) - mean).powi(2));
        Self {
            count,
            mean,
            squares: squares.sum(),
        }
    }

    fn join(self, other: Self) -> Self {
        if self.count == 0.0 {
            return other;
        }
        let count = self.count + other.count;
        let apart = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + apart * (other.count / count),
            squares: self.squares
                + other.squares
                + apart * apart * (self.count * (other.count / count)),
        }
    }
}

impl Normalise {
    /// By a mean and a deviation for each channel.
    ///
    /// # Errors
    /// Lists of different lengths; a mean that is not finite; a deviation that is not finite and above 0.
    pub fn new(mean: Vec<f32>, std: Vec<f32>) -> Result<Self> {
        check_len("the list of deviations", mean.len(), std.len())?;
        let wrong = |what, got: f32, expected| Error::Parameter {
            what,
            got: got.into(),
            expected,
        };
        for (&mean, &std) in mean.iter().zip(&std) {
            if !mean.is_finite() {
                return Err(wrong("mean", mean, "a finite number"));
            }
            if !(std.is_finite() && std > 0.0) {
                return Err(wrong("std", std, "a finite number above 0"));
            }
        }
        Ok(Self { mean, std })
    }

    /// By the mean and the deviation of each channel over all images of `data`, which should be those to train with.
    /// A channel of one value everywhere is divided by 1.
    ///
    /// # Errors
    /// No images; whatever reading one finds.
    pub fn of(data: &dyn Dataset) -> Result<Self> {
        let shape @ [channels, height, width] = data.shape();
        let len = product("an image", &shape)?;
        let plane = product("a channel", &[height, width])?;
        if data.is_empty() || len == 0 {
            return Err(Error::ZeroCount { what: "examples" });
        }
        let blocks = data.len().div_ceil(BLOCK);
        let block = |block: usize| -> Result<Vec<Moments>> {
            let mut image = filled(len, 0.0)?;
            let mut moments = filled(channels, Moments::default())?;
            for index in block * BLOCK..data.len().min((block + 1) * BLOCK) {
                data.image(index, &mut image)?;
                for (moments, plane) in moments.iter_mut().zip(image.chunks_exact(plane)) {
                    *moments = moments.join(Moments::of(plane));
                }
            }
            Ok(moments)
        };
        // All of them, so that the first error is the one that is told.
        let each: Vec<Result<Vec<Moments>>> = (0..blocks).into_par_iter().map(block).collect();
        let mut all = filled(channels, Moments::default())?;
        for moments in each {
            for (all, moments) in all.iter_mut().zip(moments?) {
                *all = all.join(moments);
            }
        }
        let std = |moments: &Moments| {
            let std = (moments.squares / moments.count).sqrt();
            // Below this is rounding.
            let flat = std <= 1e-9 * moments.mean.abs();
            if flat { 1.0 } else { std as f32 }
        };
        Self::new(
            all.iter().map(|moments| moments.mean as f32).collect(),
            all.iter().map(std).collect(),
        )
    }

    /// What is subtracted from each channel.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// What each channel is divided by.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Normalises images `[…, C, plane]`, `plane` numbers a channel.
    ///
    /// # Errors
    /// No whole number of images.
    pub fn run(&self, images: &mut [f32], plane: usize) -> Result<()> {
        let image = product("an image", &[self.mean.len(), plane])?;
        if image == 0 || !images.len().is_multiple_of(image) {
            return Err(Error::BufferLength {
                what: "images to normalise",
                expected: images.len().next_multiple_of(image.max(1)),
                got: images.len(),
            });
        }
        let channels = self.mean.iter().zip(&self.std).cycle();
        for (plane, (&mean, &std)) in images.chunks_exact_mut(plane).zip(channels) {
            for value in plane {
                *value = (*value - mean) / std;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::super::dataset::{InMemory, numbered};
    use super::*;

    fn data(images: Array4<f32>) -> InMemory {
        let labels = vec![0; images.shape()[0]];
        InMemory::from_f32(images, labels, numbered(1)).unwrap()
    }

    #[test]
    fn mean_and_deviation_by_hand() {
        // Channel 0: 0, 1, 2, 3 and 4, 5, 6, 7; channel 1: 9 everywhere; channel 2 far from 0.
        let images = Array4::from_shape_fn((2, 3, 2, 2), |(n, c, y, x)| match c {
            0 => (4 * n + 2 * y + x) as f32,
            1 => 9.3,
            _ => 65536.0 + (x as f32),
        });
        let found = Normalise::of(&data(images.clone())).unwrap();
        assert_eq!(found.mean(), [3.5, 9.3, 65536.5]);
        assert_eq!(found.std(), [5.25f32.sqrt(), 1.0, 0.5]);
        let mut values = images.into_raw_vec_and_offset().0;
        found.run(&mut values, 4).unwrap();
        assert_eq!(values[..2], [-3.5 / 5.25f32.sqrt(), -2.5 / 5.25f32.sqrt()]);
        assert_eq!(values[4..10], [0.0, 0.0, 0.0, 0.0, -1.0, 1.0]);
        assert!(found.run(&mut values[1..], 4).is_err());
    }

    #[test]
    fn the_same_bits_for_any_number_of_threads() {
        let mut random = fastrand::Rng::with_seed(1);
        let images = Array4::from_shape_simple_fn((3 * BLOCK + 7, 2, 3, 3), || random.f32());
        let data = data(images.clone());
        let all: Vec<Normalise> = [1, 2, 3]
            .into_iter()
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let pool = pool.build().unwrap();
                pool.install(|| Normalise::of(&data).unwrap())
            })
            .collect();
        assert!(all.iter().all(|one| *one == all[0]));
        for channel in 0..2 {
            let plane = images.index_axis(ndarray::Axis(1), channel);
            let plane = plane.mapv(f64::from);
            let (mean, std) = (plane.mean().unwrap(), plane.std(0.0));
            assert!((f64::from(all[0].mean[channel]) - mean).abs() < 1e-7);
            assert!((f64::from(all[0].std[channel]) - std).abs() < 1e-7);
        }
    }

    #[test]
    fn numbers_that_lead_nowhere() {
        let empty = data(Array4::zeros((0, 1, 2, 2)));
        assert_eq!(
            Normalise::of(&empty),
            Err(Error::ZeroCount { what: "examples" })
        );
        assert!(Normalise::new(vec![0.0], vec![]).is_err());
        assert!(Normalise::new(vec![f32::NAN], vec![1.0]).is_err());
        assert!(Normalise::new(vec![0.0], vec![0.0]).is_err());
        assert!(Normalise::new(vec![0.0], vec![f32::INFINITY]).is_err());
    }
}
