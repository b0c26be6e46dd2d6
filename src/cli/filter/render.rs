//! From the numbers of a feature map to a picture a person wants to see.
//!
//! A smoothing or sharpening kernel gives numbers that are a picture already; a derivative gives
//! numbers around 0, of which half would be black. With Σ the sum of the weights, Σ⁺ of the positive ones:
//!
//! ```text
//! auto:  weights ≥ 0, Σ > 1           v / Σ                  smoothing written in whole numbers
//!        Σ ≈ 0 and point-symmetric    gain · |v|             edges light on black (outline, laplacian)
//!        Σ ≥ ½ or weights ≥ 0         v                      clamped to 0..255
//!        else                         128 + gain · v         signed around mid-grey (sobel, prewitt)
//! gain:  the strongest response that only one percent of the pixels exceed becomes full contrast,
//!        but no more than 16 times what could never saturate, so that noise on flat ground stays noise
//! ```

use anyhow::Result;
use clap::ValueEnum;
use image::{DynamicImage, ImageBuffer, Luma, LumaA, Rgb, Rgba};
use ndarray::{Array2, ArrayView2, ArrayView3, s};

use super::picture::reserve;

/// How the numbers of a feature map become brightness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// Chosen for every kernel from its weights
    #[default]
    Auto,
    /// Mid-grey is 0, light is positive, dark is negative
    Signed,
    /// Black is 0, the stronger the lighter
    Magnitude,
    /// The numbers as they are, clamped to 0..255
    Clamp,
}

/// The share of pixels that may saturate in favour of the others' contrast.
const SATURATED: f64 = 0.01;

/// How far the gain may go beyond the one at which nothing can ever saturate.
const MAX_BOOST: f64 = 16.0;

/// Bins of the histogram of |v|. 4096 / `MAX_BOOST` leaves 256 steps below the largest boost.
const BINS: usize = 4096;

/// The map from a number to a brightness in 0..255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tone {
    /// `gain · v`
    Plain {
        /// 1, or 1 / Σ.
        gain: f32,
    },
    /// `128 + gain · v`
    Signed {
        /// Brightness for one unit.
        gain: f32,
    },
    /// `gain · |v|`
    Magnitude {
        /// Brightness for one unit.
        gain: f32,
    },
}

impl Tone {
    /// The tone for the feature map `[C, H, W]` of `kernel`.
    pub fn choose(show: Show, kernel: ArrayView2<f32>, map: ArrayView3<f32>) -> Self {
        let weights = || kernel.iter().map(|&weight| f64::from(weight));
        let sum: f64 = weights().sum();
        let absolute: f64 = weights().map(f64::abs).sum();
        let taps = weights().filter(|&weight| weight != 0.0).count();
        let show = match show {
            Show::Auto if sum.abs() <= 1e-5 * absolute && is_point_symmetric(kernel) => {
                Show::Magnitude
            }
            Show::Auto if sum < 0.5 && sum < absolute => Show::Signed,
            // 1/9 in f32, nine times, is a little above 1.
            Show::Auto if sum == absolute && sum > 1.001 && taps > 1 => {
                return Self::Plain {
                    gain: (1.0 / sum) as f32,
                };
            }
            Show::Auto => Show::Clamp,
            chosen => chosen,
        };
        // The largest |v| that pixels of 0..255 can give.
        let largest = 255.0 * (absolute + sum.abs()) / 2.0;
        match show {
            Show::Signed => Self::Signed {
                gain: (127.0 / full_scale(map, largest)) as f32,
            },
            Show::Magnitude => Self::Magnitude {
                gain: (255.0 / full_scale(map, largest)) as f32,
            },
            Show::Clamp | Show::Auto => Self::Plain { gain: 1.0 },
        }
    }

    /// The brightness of one number, not yet clamped.
    pub fn apply(self, value: f32) -> f32 {
        match self {
            Self::Plain { gain } => gain * value,
            Self::Signed { gain } => 128.0 + gain * value,
            Self::Magnitude { gain } => gain * value.abs(),
        }
    }

    /// What a caption says about it.
    pub fn caption(self) -> String {
        match self {
            Self::Plain { gain: 1.0 } => String::new(),
            Self::Plain { gain } => format!("x {gain:.3}"),
            Self::Signed { gain } => format!("around grey, x {gain:.2}"),
            Self::Magnitude { gain } => format!("magnitude, x {gain:.2}"),
        }
    }
}

/// Whether turning the kernel by 180° changes nothing: it then knows no direction.
fn is_point_symmetric(kernel: ArrayView2<f32>) -> bool {
    kernel.iter().eq(kernel.slice(s![..;-1, ..;-1]).iter())
}

/// The |v| that becomes full contrast.
fn full_scale(map: ArrayView3<f32>, largest: f64) -> f64 {
    if !(largest.is_finite() && largest > 0.0) {
        return 255.0;
    }
    let mut histogram = [0u64; BINS];
    let bins_per_unit = BINS as f64 / largest;
    for &value in &map {
        // A NaN counts as 0 and an infinity as the largest: `as` saturates.
        let bin = (f64::from(value.abs()) * bins_per_unit) as usize;
        histogram[bin.min(BINS - 1)] += 1;
    }
    let mut above = (map.len() as f64 * SATURATED) as u64;
    let mut bin = BINS;
    while bin > 0 && histogram[bin - 1] <= above {
        above -= histogram[bin - 1];
        bin -= 1;
    }
    (bin as f64 / bins_per_unit).max(largest / MAX_BOOST)
}

/// The feature map `[C, H, W]`, C = 1 or 3, as an image; 16 bits a sample where `deep`.
///
/// # Errors
/// Memory that the allocator refuses; a width or height beyond an image's 32 bits.
pub fn image(
    map: ArrayView3<f32>,
    alpha: Option<&Array2<f32>>,
    tone: Tone,
    deep: bool,
) -> Result<DynamicImage> {
    let (channels, height, width) = map.dim();
    let size = (u32::try_from(width)?, u32::try_from(height)?);
    // Adding a half and cutting off rounds; `as` clamps, and turns NaN to 0.
    let to_8 = |brightness: f32| (brightness + 0.5) as u8;
    let to_16 = |brightness: f32| (brightness * 257.0 + 0.5) as u16;
    let made: Option<DynamicImage> = match (channels, alpha.is_some(), deep) {
        (1, false, false) => buffer::<Luma<u8>>(size, interleave(map, alpha, tone, to_8)?),
        (1, true, false) => buffer::<LumaA<u8>>(size, interleave(map, alpha, tone, to_8)?),
        (_, false, false) => buffer::<Rgb<u8>>(size, interleave(map, alpha, tone, to_8)?),
        (_, true, false) => buffer::<Rgba<u8>>(size, interleave(map, alpha, tone, to_8)?),
        (1, false, true) => buffer::<Luma<u16>>(size, interleave(map, alpha, tone, to_16)?),
        (1, true, true) => buffer::<LumaA<u16>>(size, interleave(map, alpha, tone, to_16)?),
        (_, false, true) => buffer::<Rgb<u16>>(size, interleave(map, alpha, tone, to_16)?),
        (_, true, true) => buffer::<Rgba<u16>>(size, interleave(map, alpha, tone, to_16)?),
    };
    Ok(made.expect("one sample for every channel of every pixel"))
}

fn buffer<P>((width, height): (u32, u32), samples: Vec<P::Subpixel>) -> Option<DynamicImage>
where
    P: image::Pixel,
    DynamicImage: From<ImageBuffer<P, Vec<P::Subpixel>>>,
{
    ImageBuffer::from_raw(width, height, samples).map(DynamicImage::from)
}

/// Planes `[C, H, W]` and alpha `[H, W]` to samples `[H, W, C (+ 1)]`.
fn interleave<S>(
    map: ArrayView3<f32>,
    alpha: Option<&Array2<f32>>,
    tone: Tone,
    to_sample: impl Fn(f32) -> S,
) -> Result<Vec<S>> {
    let (channels, height, width) = map.dim();
    let mut samples = reserve(map.len() + alpha.map_or(0, Array2::len))?;
    for row in 0..height {
        for column in 0..width {
            for channel in 0..channels {
                samples.push(to_sample(tone.apply(map[[channel, row, column]])));
            }
            if let Some(alpha) = alpha {
                samples.push(to_sample(alpha[[row, column]]));
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::super::named::NAMED;
    use super::*;
    use ndarray::{Array3, array};

    fn weights(name: &str) -> Array2<f32> {
        NAMED
            .iter()
            .find(|kernel| kernel.name == name)
            .expect("a named kernel")
            .weights()
    }

    fn choose(show: Show, kernel: &Array2<f32>, map: &Array3<f32>) -> Tone {
        Tone::choose(show, kernel.view(), map.view())
    }

    #[test]
    fn auto_decides_by_the_weights() {
        let map = Array3::from_elem((1, 4, 4), 100.0);
        for name in [
            "identity", "blur", "gaussian", "sharpen", "emboss", "shift-up",
        ] {
            assert_eq!(
                choose(Show::Auto, &weights(name), &map),
                Tone::Plain { gain: 1.0 },
                "{name}"
            );
        }
        for name in ["outline", "edge", "laplacian"] {
            assert!(
                matches!(
                    choose(Show::Auto, &weights(name), &map),
                    Tone::Magnitude { .. }
                ),
                "{name}"
            );
        }
        for name in ["sobel-x", "sobel-y", "prewitt", "prewitt-y"] {
            assert!(
                matches!(
                    choose(Show::Auto, &weights(name), &map),
                    Tone::Signed { .. }
                ),
                "{name}"
            );
        }
        let smooth = array![[1.0, 2.0, 1.0]];
        assert_eq!(
            choose(Show::Auto, &smooth, &map),
            Tone::Plain { gain: 0.25 }
        );
        assert_eq!(
            choose(Show::Clamp, &smooth, &map),
            Tone::Plain { gain: 1.0 }
        );
        assert_eq!(
            choose(Show::Auto, &array![[2.0]], &map),
            Tone::Plain { gain: 1.0 }
        );
        assert_eq!(
            choose(Show::Auto, &array![[0.1, 0.1]], &map),
            Tone::Plain { gain: 1.0 }
        );
        assert!(matches!(
            choose(Show::Auto, &array![[-1.0]], &map),
            Tone::Signed { .. }
        ));
    }

    #[test]
    fn the_strongest_edges_reach_full_contrast_and_noise_does_not() {
        let sobel = weights("sobel-x");
        let mut map = Array3::zeros((1, 100, 100));
        map.slice_mut(s![0, ..3, ..]).fill(500.0);
        map[[0, 50, 50]] = -1020.0;
        let Tone::Signed { gain } = choose(Show::Signed, &sobel, &map) else {
            panic!("signed was asked for")
        };
        assert!((gain - 127.0 / 500.0).abs() < 0.001, "{gain}");
        let noise = Array3::from_elem((1, 100, 100), 2.0);
        let tone = choose(Show::Magnitude, &sobel, &noise);
        assert!(
            (tone.apply(2.0) - 8.0).abs() < 0.01,
            "16 times 2 · 255 / 1020 is 8, got {}",
            tone.apply(2.0)
        );
    }

    #[test]
    fn strange_numbers_make_a_picture_too() {
        let map = array![[[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX]]];
        for show in [Show::Auto, Show::Signed, Show::Magnitude, Show::Clamp] {
            for kernel in [
                array![[0.0]],
                array![[1.0, -1.0]],
                array![[f32::MAX, f32::MIN]],
            ] {
                let tone = choose(show, &kernel, &map);
                for deep in [false, true] {
                    assert!(image(map.view(), None, tone, deep).is_ok());
                }
            }
        }
        let picture = image(map.view(), None, Tone::Plain { gain: 1.0 }, false).unwrap();
        assert_eq!(picture.into_luma8().into_raw(), [0, 255, 0, 255]);
    }

    #[test]
    fn identity_changes_no_sample_at_any_depth() {
        let tone = Tone::Plain { gain: 1.0 };
        let deep = Array3::from_shape_fn((1, 256, 256), |(_, i, j)| (256 * i + j) as f32 / 257.0);
        let picture = image(deep.view(), None, tone, true).unwrap().into_luma16();
        assert!(picture.into_raw().into_iter().eq(0..=u16::MAX));
        let flat = Array3::from_shape_fn((3, 1, 256), |(_, _, j)| j as f32);
        let alpha = Array2::from_elem((1, 256), 9.0);
        let picture = image(flat.view(), Some(&alpha), tone, false)
            .unwrap()
            .into_rgba8();
        assert!(
            picture
                .pixels()
                .zip(0..=255)
                .all(|(pixel, value)| pixel.0 == [value, value, value, 9])
        );
    }
}
