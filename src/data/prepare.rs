//! Pictures to what a network takes.
//!
//! ```text
//! picture ──► grey or colour ──► resized and cropped ──► (v · scale − mean) / std ──► [C, H, W] or [H, W, C]
//!             8 bits             8 bits, as Pillow does   v in 0..=255
//! ```

use std::fmt;
use std::str::FromStr;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::DynamicImage;

use super::unreadable;
use crate::element::{filled, reserved};
use crate::error::{Error, Result, check_len, product};
use crate::geometry::Layout;

/// The colours of the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel, 0.299 R + 0.587 G + 0.114 B.
    Grey,
}

impl Colour {
    /// How many channels.
    pub fn channels(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Grey => 1,
        }
    }
}

/// How a picture is brought to size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fit {
    /// Both sides are scaled, each by itself.
    Stretch,
    /// The middle: of the largest box that has the proportions of the size, this part of each side. 1 cuts no more
    /// than it must; 0.875 is what Resize(256) and CenterCrop(224) leave.
    Crop(f64),
}

/// How pixels between pixels are computed. Where a picture is made smaller, all pixels count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Linear.
    Bilinear,
    /// Cubic (Catmull-Rom).
    Bicubic,
    /// Lanczos' window of 3.
    Lanczos,
}

/// How pictures are prepared. See the [module](self).
#[derive(Clone, Debug, PartialEq)]
pub struct Prepare {
    /// Height and width that come out.
    pub size: (usize, usize),
    /// How they are reached.
    pub fit: Fit,
    /// How pixels between pixels are computed.
    pub filter: Filter,
    /// The channels.
    pub colour: Colour,
    /// What 0..=255 is multiplied by.
    pub scale: f32,
    /// Subtracted after that, a number for each channel in the order of `colour`.
    pub mean: [f32; 3],
    /// Divided by after that.
    pub std: [f32; 3],
    /// The order of the axes.
    pub layout: Layout,
}

/// A known way to prepare pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// As torchvision's classifiers: RGB in 0..1, less the mean of ImageNet, by its deviation. How much they cut
    /// off differs from one to the other; this cuts no more than it must.
    ImagenetTorchvision,
    /// As Caffe's: BGR in 0..255 less 104, 117, 123.
    ImagenetCaffe,
    /// As TensorFlow's Inception and MobileNet: RGB in −1..1.
    ImagenetTensorflow,
    /// Grey in 0..1, less 0.1307, by 0.3081; light digits on dark ground.
    Mnist,
    /// RGB, or grey for one channel, in 0..1.
    Unit,
    /// RGB, or grey for one channel, in 0..255.
    Raw,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::ImagenetTorchvision,
        Self::ImagenetCaffe,
        Self::ImagenetTensorflow,
        Self::Mnist,
        Self::Unit,
        Self::Raw,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImagenetTorchvision => "imagenet-torchvision",
            Self::ImagenetCaffe => "imagenet-caffe",
            Self::ImagenetTensorflow => "imagenet-tensorflow",
            Self::Mnist => "mnist",
            Self::Unit => "unit",
            Self::Raw => "raw",
        }
    }

    /// What it says, for pictures of `size` with `channels` where the network says so, else of its own size.
    ///
    /// # Errors
    /// No size from either; channels that it does not make.
    pub fn prepare(
        self,
        size: Option<(usize, usize)>,
        channels: Option<usize>,
        layout: Layout,
    ) -> Result<Prepare> {
        let own = match self {
            Self::Mnist => Some((28, 28)),
            Self::Unit | Self::Raw => None,
            _ => Some((224, 224)),
        };
        let size = size.or(own).ok_or_else(|| {
            unreadable(format!(
                "neither the model nor the preset {self} says how large pictures are to be"
            ))
        })?;
        let colour = match (self, channels) {
            (Self::Mnist, _) | (Self::Unit | Self::Raw, Some(1)) => Colour::Grey,
            (Self::ImagenetCaffe, _) => Colour::Bgr,
            _ => Colour::Rgb,
        };
        let (scale, mean, std) = match self {
            Self::ImagenetTorchvision => {
                (1.0 / 255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
            }
            Self::ImagenetCaffe => (1.0, [104.0, 117.0, 123.0], [1.0; 3]),
            Self::ImagenetTensorflow => (1.0 / 127.5, [1.0; 3], [1.0; 3]),
            Self::Mnist => (1.0 / 255.0, [0.1307; 3], [0.3081; 3]),
            Self::Unit => (1.0 / 255.0, [0.0; 3], [1.0; 3]),
            Self::Raw => (1.0, [0.0; 3], [1.0; 3]),
        };
        let prepare = Prepare {
            size,
            fit: match self {
                Self::ImagenetTorchvision | Self::ImagenetCaffe | Self::ImagenetTensorflow => {
                    Fit::Crop(1.0)
                }
                _ => Fit::Stretch,
            },
            filter: Filter::Bilinear,
            colour,
            scale,
            mean,
            std,
            layout,
        };
        Ok(prepare)
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|preset| preset.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            format!("unknown preset `{name}`: {}", names.join(", "))
        })
    }
}

impl Prepare {
    /// The shape of what comes out, without a batch.
    pub fn shape(&self) -> [usize; 3] {
        let (height, width) = self.size;
        match self.layout {
            Layout::ChannelsFirst => [self.colour.channels(), height, width],
            Layout::ChannelsLast => [height, width, self.colour.channels()],
        }
    }

    /// How many numbers come out.
    ///
    /// # Errors
    /// Sizes of 0, or beyond what the resizing can do; a scale, mean or deviation that leads nowhere.
    pub fn check(&self) -> Result<usize> {
        const LONGEST: usize = 1 << 15;
        let (height, width) = self.size;
        for (axis, side) in [height, width].into_iter().enumerate() {
            if side == 0 {
                return Err(Error::Zero { what: "size", axis });
            }
            if side > LONGEST {
                return Err(Error::OutputSize {
                    axis,
                    got: side,
                    min: 1,
                    max: LONGEST,
                });
            }
        }
        let parameter = |what, got: f64, expected| {
            Err(Error::Parameter {
                what,
                got,
                expected,
            })
        };
        if !self.scale.is_finite() {
            return parameter("scale", self.scale.into(), "a finite number");
        }
        for (&mean, &std) in self.mean.iter().zip(&self.std) {
            if !mean.is_finite() {
                return parameter("mean", mean.into(), "a finite number");
            }
            if !std.is_finite() || std == 0.0 {
                return parameter("std", std.into(), "a finite number other than 0");
            }
        }
        if let Fit::Crop(part) = self.fit
            && !(part > 0.0 && part <= 1.0)
        {
            return parameter("crop", part, "above 0, at most 1");
        }
        product("a prepared picture", &self.shape())
    }

    /// Writes what the network takes for `image`, which [`Opened::decode`](super::picture::Opened::decode) made.
    ///
    /// # Errors
    /// What [`check`](Self::check) finds; a place of another length; an image of another type.
    pub fn run(&self, image: DynamicImage, resizer: &mut Resizer, out: &mut [f32]) -> Result<()> {
        check_len("a prepared picture", self.check()?, out.len())?;
        let grey = self.colour == Colour::Grey;
        let image = match (image, grey) {
            (DynamicImage::ImageRgb8(image), true) => {
                let (width, height) = image.dimensions();
                (width, height, PixelType::U8, to_grey(image.into_raw()))
            }
            (DynamicImage::ImageRgb8(image), false) => {
                let (width, height) = image.dimensions();
                (width, height, PixelType::U8x3, image.into_raw())
            }
            // Resized before it is spread over three channels.
            (DynamicImage::ImageLuma8(image), _) => {
                let (width, height) = image.dimensions();
                (width, height, PixelType::U8, image.into_raw())
            }
            (other, _) => {
                return Err(unreadable(format!(
                    "pixels of the type {:?}, which are not prepared",
                    other.color()
                )));
            }
        };
        let grey = image.2 == PixelType::U8;
        let samples = self.resized(image, resizer)?;
        self.normalise(&samples, grey, out);
        Ok(())
    }

    fn resized(
        &self,
        (mut width, mut height, pixels, mut samples): (u32, u32, PixelType, Vec<u8>),
        resizer: &mut Resizer,
    ) -> Result<Vec<u8>> {
        let side = |side: usize| u32::try_from(side).map_err(failed);
        let (to_height, to_width) = (side(self.size.0)?, side(self.size.1)?);
        if let Fit::Crop(part) = self.fit {
            let place = crop((width, height), (to_width, to_height), part);
            if place != [0, 0, width, height] {
                samples = cut(&samples, width, pixels.size(), place)?;
                [_, _, width, height] = place;
            }
        }
        let filter = match self.filter {
            Filter::Nearest => ResizeAlg::Nearest,
            Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        };
        let options = ResizeOptions::new().resize_alg(filter).use_alpha(false);
        // Rows before columns, as Pillow: between them samples are rounded to 8 bits.
        for (wide, high) in [(to_width, height), (to_width, to_height)] {
            if (wide, high) == (width, height) {
                continue;
            }
            let (from, to) = ((width, height), (wide, high));
            samples = match pixels {
                PixelType::U8 => scaled::<U8>(resizer, &samples, from, to, &options),
                _ => scaled::<U8x3>(resizer, &samples, from, to, &options),
            }?;
            (width, height) = to;
        }
        Ok(samples)
    }

    /// Samples `[H, W, 1 or 3]` to numbers in the layout; one grey sample is as many channels as are wanted.
    fn normalise(&self, samples: &[u8], grey: bool, out: &mut [f32]) {
        let channels = self.colour.channels();
        let stored = if grey { 1 } else { 3 };
        let pixels = samples.len() / stored;
        for channel in 0..channels {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let table: [f32; 256] =
                std::array::from_fn(|value| (value as f32 * self.scale - mean) / std);
            let first = match (grey, self.colour) {
                (true, _) => 0,
                (false, Colour::Bgr) => 2 - channel,
                (false, _) => channel,
            };
            let values = samples[first..]
                .iter()
                .step_by(stored)
                .map(|&sample| table[usize::from(sample)]);
            match self.layout {
                Layout::ChannelsFirst => {
                    let plane = &mut out[channel * pixels..][..pixels];
                    plane
                        .iter_mut()
                        .zip(values)
                        .for_each(|(out, value)| *out = value);
                }
                Layout::ChannelsLast => {
                    let places = out[channel..].iter_mut().step_by(channels);
                    places.zip(values).for_each(|(out, value)| *out = value);
                }
            }
        }
    }
}

fn failed(error: impl fmt::Display) -> Error {
    unreadable(format!("cannot be resized: {error}"))
}

/// Samples of pixels of one type: `Resizer::resize` would compile the code for all that the library knows.
fn scaled<P: PixelTrait>(
    resizer: &mut Resizer,
    samples: &[u8],
    from: (u32, u32),
    to: (u32, u32),
    options: &ResizeOptions,
) -> Result<Vec<u8>> {
    let source = TypedImageRef::<P>::from_buffer(from.0, from.1, samples).map_err(failed)?;
    let sides = [to.0 as usize, to.1 as usize];
    let len = product("a resized picture", &[sides[0], sides[1], P::size()])?;
    let mut scaled = filled(len, 0)?;
    let mut target = TypedImage::<P>::from_buffer(to.0, to.1, &mut scaled).map_err(failed)?;
    resizer
        .resize_typed(&source, &mut target, options)
        .map_err(failed)?;
    Ok(scaled)
}

/// 0.299 R + 0.587 G + 0.114 B in 1/65536, rounded, as Pillow has it.
fn to_grey(samples: Vec<u8>) -> Vec<u8> {
    let (pixels, _) = samples.as_chunks::<3>();
    let grey = pixels.iter().map(|pixel| {
        let [red, green, blue] = pixel.map(u32::from);
        // The weights sum up to 65536, so it is at most 255.
        ((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8
    });
    grey.collect()
}

/// Left, top, width and height of the part of `from` (width, height) that becomes `to`: of the largest box of its
/// proportions in the middle, `part` of each side, in whole pixels.
fn crop(from: (u32, u32), to: (u32, u32), part: f64) -> [u32; 4] {
    let sides = [(from.0, to.0), (from.1, to.1)].map(|(from, to)| (f64::from(from), f64::from(to)));
    let [across, down] = sides.map(|(from, to)| from / to);
    let scale = across.min(down) * part;
    let [(width, wide), (height, high)] = [(from.0, sides[0].1), (from.1, sides[1].1)];
    // `as` saturates, and a side is at least 1.
    let box_width = ((wide * scale).round() as u32).clamp(1, width);
    let box_height = ((high * scale).round() as u32).clamp(1, height);
    [
        (width - box_width) / 2,
        (height - box_height) / 2,
        box_width,
        box_height,
    ]
}

/// The rows of a box of a picture `width` pixels wide with `bytes` bytes a pixel.
fn cut(
    samples: &[u8],
    width: u32,
    bytes: usize,
    [left, top, wide, high]: [u32; 4],
) -> Result<Vec<u8>> {
    let [width, left, top, wide, high] = [width, left, top, wide, high].map(|side| side as usize);
    let mut part = reserved(product("a part of a picture", &[wide, high, bytes])?)?;
    let rows = samples.chunks_exact(width * bytes).skip(top).take(high);
    for row in rows {
        part.extend_from_slice(&row[left * bytes..][..wide * bytes]);
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    fn run(prepare: &Prepare, image: impl Into<DynamicImage>) -> Vec<f32> {
        let mut out = vec![f32::NAN; prepare.check().unwrap()];
        prepare
            .run(image.into(), &mut Resizer::new(), &mut out)
            .unwrap();
        out
    }

    #[test]
    fn channels_and_layouts() {
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb([10 + x as u8, 20 + x as u8, 30 + x as u8]));
        let raw = Preset::Raw
            .prepare(Some((1, 2)), Some(3), Layout::ChannelsFirst)
            .unwrap();
        assert_eq!(run(&raw, image.clone()), [10., 11., 20., 21., 30., 31.]);
        let last = Prepare {
            colour: Colour::Bgr,
            layout: Layout::ChannelsLast,
            ..raw.clone()
        };
        assert_eq!(run(&last, image.clone()), [30., 20., 10., 31., 21., 11.]);
        let grey = Prepare {
            colour: Colour::Grey,
            ..raw.clone()
        };
        // 0.299 · 10 + 0.587 · 20 + 0.114 · 30 = 18.15
        assert_eq!(run(&grey, image), [18., 19.]);
        let spread = run(&raw, GrayImage::from_pixel(2, 1, Luma([7])));
        assert_eq!(spread, [7.0; 6]);
    }

    #[test]
    fn numbers_of_the_presets() {
        let white = RgbImage::from_pixel(1, 1, Rgb([255; 3]));
        for (preset, expected) in [
            (
                Preset::ImagenetTorchvision,
                vec![
                    (1.0 - 0.485) / 0.229,
                    (1.0 - 0.456) / 0.224,
                    (1.0 - 0.406) / 0.225,
                ],
            ),
            (Preset::ImagenetCaffe, vec![151.0, 138.0, 132.0]),
            (Preset::ImagenetTensorflow, vec![1.0; 3]),
            (Preset::Mnist, vec![(1.0 - 0.1307) / 0.3081]),
            (Preset::Unit, vec![1.0; 3]),
            (Preset::Raw, vec![255.0; 3]),
        ] {
            let prepare = preset
                .prepare(Some((1, 1)), None, Layout::ChannelsFirst)
                .unwrap();
            for (got, expected) in run(&prepare, white.clone()).into_iter().zip(expected) {
                assert!((got - expected).abs() < 1e-6, "{preset}: {got}, {expected}");
            }
            assert_eq!(preset.name().parse(), Ok(preset));
        }
        assert!("imagenet".parse::<Preset>().unwrap_err().contains("raw"));
        assert!(
            Preset::Raw
                .prepare(None, None, Layout::ChannelsFirst)
                .is_err()
        );
    }

    #[test]
    fn crops_are_from_the_middle() {
        assert_eq!(crop((256, 256), (224, 224), 0.875), [16, 16, 224, 224]);
        assert_eq!(crop((600, 400), (224, 224), 1.0), [100, 0, 400, 400]);
        assert_eq!(crop((451, 300), (244, 244), 1.0), [75, 0, 300, 300]);
        assert_eq!(crop((300, 400), (320, 240), 1.0), [0, 87, 300, 225]);
        assert_eq!(crop((1, 1000), (7, 7), 0.1), [0, 499, 1, 1]);
        for width in 1..30 {
            for height in 1..30 {
                for part in [0.3, 0.875, 1.0] {
                    let [left, top, wide, high] = crop((width, height), (7, 5), part);
                    assert!(wide > 0 && high > 0 && left + wide <= width && top + high <= height);
                    let prepare = Prepare {
                        fit: Fit::Crop(part),
                        ..Preset::Raw
                            .prepare(Some((5, 7)), None, Layout::ChannelsFirst)
                            .unwrap()
                    };
                    let flat = RgbImage::from_pixel(width, height, Rgb([9; 3]));
                    assert!(run(&prepare, flat).iter().all(|&value| value == 9.0));
                }
            }
        }
        let prepare = Prepare {
            fit: Fit::Crop(1.0),
            ..Preset::Raw
                .prepare(Some((1, 2)), Some(1), Layout::ChannelsFirst)
                .unwrap()
        };
        let numbers = GrayImage::from_fn(2, 4, |x, y| Luma([(10 * y + x) as u8]));
        assert_eq!(run(&prepare, numbers), [10.0, 11.0]);
    }

    #[test]
    fn numbers_that_lead_nowhere() {
        let good = Preset::Unit
            .prepare(Some((2, 2)), None, Layout::ChannelsFirst)
            .unwrap();
        for bad in [
            Prepare {
                size: (0, 2),
                ..good.clone()
            },
            Prepare {
                size: (2, 1 << 20),
                ..good.clone()
            },
            Prepare {
                scale: f32::NAN,
                ..good.clone()
            },
            Prepare {
                std: [1.0, 0.0, 1.0],
                ..good.clone()
            },
            Prepare {
                mean: [f32::INFINITY; 3],
                ..good.clone()
            },
            Prepare {
                fit: Fit::Crop(0.0),
                ..good.clone()
            },
            Prepare {
                fit: Fit::Crop(f64::NAN),
                ..good.clone()
            },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        let image = DynamicImage::from(RgbImage::new(2, 2));
        let short = good.run(image, &mut Resizer::new(), &mut [0.0; 11]);
        assert!(matches!(
            short,
            Err(Error::BufferLength {
                expected: 12,
                got: 11,
                ..
            })
        ));
    }
}
