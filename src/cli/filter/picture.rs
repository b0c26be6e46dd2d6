//! Picture files: bytes to planes of numbers, and finished pictures back to files.
//!
//! ```text
//! open    header only: width, height, bytes when decoded    nothing large is allocated yet
//! decode  planes [C, 1, H, W] of f32 in 0..255              C = 1 grey, 3 colour; alpha kept apart
//! write   encode to a file beside the target, then rename   a failure leaves what was there before
//! ```
//!
//! Every colour channel is an image of its own in the batch, so that one convolution with one input
//! channel filters all of them. Numbers are the stored ones (gamma-encoded), 16 bits divided by 257.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::pnm::{PnmEncoder, PnmSubtype, SampleEncoding};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use ndarray::{Array2, Array4};

use crate::cli::bytes;
use crate::cli::part::Part;
use crate::element::reserved;

/// JPEG quality of what is written: above 90 the blocks no longer show on flat ground.
const JPEG_QUALITY: u8 = 92;

/// A decoded picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The colour channels, `[C, 1, H, W]`, in 0..255.
    pub planes: Array4<f32>,
    /// Opacity, `[H, W]`, in 0..255.
    pub alpha: Option<Array2<f32>>,
    /// Whether the file had more than 8 bits a sample.
    pub deep: bool,
}

/// A picture file of which only the header has been read.
pub struct Opened {
    decoder: Box<dyn ImageDecoder>,
    orientation: Orientation,
    file_bytes: u64,
}

/// Opens a picture and reads its header.
///
/// # Errors
/// A file that cannot be read or is not a picture; one whose decoded size is above `limit` bytes.
pub fn open(path: &Path, limit: u64) -> Result<Opened> {
    let facts = fs::metadata(path).context("cannot be read")?;
    // Opening a pipe that nobody writes to would wait for ever.
    ensure!(facts.is_file(), "is not a regular file");
    ensure!(
        facts.len() <= limit,
        "has {} on disk, the limit is {}; raise it with --memory",
        bytes(facts.len()),
        bytes(limit)
    );
    let file = File::open(path).context("cannot be read")?;
    let mut reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .context("cannot be read")?;
    match reader.format() {
        None => bail!("is not a picture in a format this program reads ({READABLE})"),
        Some(format) if !format.reading_enabled() => {
            let name = format
                .extensions_str()
                .first()
                .copied()
                .unwrap_or("unknown");
            bail!("is a {name} picture, which this program does not read ({READABLE})")
        }
        Some(_) => {}
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(limit);
    reader.limits(limits);
    let mut decoder = reader
        .into_decoder()
        .map_err(|error| explain(error, limit))?;
    let (width, height) = decoder.dimensions();
    ensure!(width > 0 && height > 0, "has no pixels: {width} x {height}");
    // A broken note about the camera's orientation is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let opened = Opened {
        decoder: Box::new(decoder),
        orientation,
        file_bytes: facts.len(),
    };
    ensure!(
        opened.decoding_bytes() <= limit,
        "is {width} x {height} pixels, which takes {} to decode; the limit is {}, raise it with --memory",
        bytes(opened.decoding_bytes()),
        bytes(limit)
    );
    Ok(opened)
}

impl Opened {
    /// Height and width, turned upright.
    pub fn size(&self) -> (usize, usize) {
        let (width, height) = self.decoder.dimensions();
        let (width, height) = (width as usize, height as usize);
        match self.orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (width, height),
            _ => (height, width),
        }
    }

    /// The number of colour channels: 1 or 3.
    pub fn channels(&self) -> usize {
        if self.decoder.color_type().has_color() {
            3
        } else {
            1
        }
    }

    /// Whether there is an opacity channel.
    pub fn has_alpha(&self) -> bool {
        self.decoder.color_type().has_alpha()
    }

    /// Bytes a pixel of a finished picture: 8 bits a sample, or 16 where the file has more than 8.
    pub fn finished_pixel(&self) -> u64 {
        let color = self.decoder.color_type();
        let samples = u64::from(color.channel_count());
        u64::from(color.bytes_per_pixel()).clamp(samples, 2 * samples)
    }

    /// What the decoded picture takes: f32 planes, and opacity.
    pub fn picture_bytes(&self) -> u64 {
        let (height, width) = self.size();
        let samples = u64::from(self.decoder.color_type().channel_count());
        (width as u64)
            .saturating_mul(height as u64)
            .saturating_mul(4 * samples)
    }

    /// The most memory that decoding takes: the file (some decoders hold it whole), the samples, and beside
    /// them first the decoder's own (a progressive JPEG's coefficients have 16 bits), then the planes.
    pub fn decoding_bytes(&self) -> u64 {
        let samples = self.decoder.total_bytes();
        samples
            .saturating_add(samples.saturating_mul(2).max(self.picture_bytes()))
            .saturating_add(self.file_bytes)
    }

    /// Decodes the picture.
    ///
    /// # Errors
    /// A broken or truncated file; memory that the allocator refuses.
    pub fn decode(self, limit: u64) -> Result<Picture> {
        let mut image =
            DynamicImage::from_decoder(self.decoder).map_err(|error| explain(error, limit))?;
        image.apply_orientation(self.orientation);
        from_image(&image)
    }
}

/// The planes of a decoded image.
///
/// # Errors
/// A sample type that is not known here; memory that the allocator refuses.
pub fn from_image(image: &DynamicImage) -> Result<Picture> {
    let size = (image.height() as usize, image.width() as usize);
    let deep = image.color().bytes_per_pixel() > image.color().channel_count();
    let color = image.color();
    match image {
        DynamicImage::ImageLuma8(buffer) => split(buffer.as_raw(), size, color, f32::from),
        DynamicImage::ImageLumaA8(buffer) => split(buffer.as_raw(), size, color, f32::from),
        DynamicImage::ImageRgb8(buffer) => split(buffer.as_raw(), size, color, f32::from),
        DynamicImage::ImageRgba8(buffer) => split(buffer.as_raw(), size, color, f32::from),
        DynamicImage::ImageLuma16(buffer) => split(buffer.as_raw(), size, color, from_16),
        DynamicImage::ImageLumaA16(buffer) => split(buffer.as_raw(), size, color, from_16),
        DynamicImage::ImageRgb16(buffer) => split(buffer.as_raw(), size, color, from_16),
        DynamicImage::ImageRgba16(buffer) => split(buffer.as_raw(), size, color, from_16),
        DynamicImage::ImageRgb32F(buffer) => {
            split(buffer.as_raw(), size, color, |sample: f32| sample * 255.0)
        }
        DynamicImage::ImageRgba32F(buffer) => {
            split(buffer.as_raw(), size, color, |sample: f32| sample * 255.0)
        }
        other => Err(anyhow!(
            "has samples of a type that is not known here: {:?}",
            other.color()
        )),
    }
    .map(|picture| Picture { deep, ..picture })
}

/// 65535 is 255.
fn from_16(sample: u16) -> f32 {
    f32::from(sample) / 257.0
}

/// Interleaved samples `[H, W, C (+ alpha)]` to planes `[C, 1, H, W]` and alpha `[H, W]`.
fn split<S: Copy>(
    samples: &[S],
    (height, width): (usize, usize),
    color: ColorType,
    to_f32: impl Fn(S) -> f32,
) -> Result<Picture> {
    let stored = usize::from(color.channel_count());
    let alphas = usize::from(color.has_alpha());
    let channels = stored - alphas;
    let plane = |channel: usize, into: &mut Vec<f32>| {
        into.extend(
            samples
                .iter()
                .skip(channel)
                .step_by(stored)
                .map(|&sample| to_f32(sample)),
        );
    };
    let pixels = samples.len() / stored;
    let mut colours = reserve(pixels * channels)?;
    (0..channels).for_each(|channel| plane(channel, &mut colours));
    let mut opacity = reserve(pixels * alphas)?;
    (channels..stored).for_each(|channel| plane(channel, &mut opacity));
    Ok(Picture {
        planes: Array4::from_shape_vec((channels, 1, height, width), colours)?,
        alpha: color
            .has_alpha()
            .then(|| Array2::from_shape_vec((height, width), opacity))
            .transpose()?,
        deep: false,
    })
}

/// An empty vector with room for `len` elements, or the error where the allocator refuses.
pub fn reserve<T>(len: usize) -> Result<Vec<T>> {
    Ok(reserved(len)?)
}

/// The decoder's error in words for the person whose file it is.
fn explain(error: ImageError, limit: u64) -> anyhow::Error {
    match error {
        ImageError::Limits(_) => {
            anyhow!(
                "takes more memory than the limit of {}; raise it with --memory",
                bytes(limit)
            )
        }
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            anyhow!("is cut short or broken: {error}")
        }
        ImageError::Unsupported(error) => {
            anyhow!("uses something this program does not read: {error}")
        }
        error => anyhow!("is broken: {error}"),
    }
}

/// Formats that are read, for messages.
const READABLE: &str = "png, jpg, tif, bmp, webp, gif, pnm";

/// Extensions that are written, for messages.
const WRITABLE: &str = "png, jpg, tif, bmp, webp, gif, pgm, ppm, pnm";

/// The format that an output name asks for.
///
/// # Errors
/// No extension, or one of a format that is not written.
pub fn output_format(path: &Path) -> Result<ImageFormat> {
    let Some(extension) = path.extension() else {
        bail!(
            "{} has no extension that says which format to write: one of {WRITABLE}",
            path.display()
        );
    };
    ImageFormat::from_extension(extension)
        .filter(|format| format.writing_enabled() && !is_extension(path, &["pbm", "pam"]))
        .with_context(|| {
            format!(
                "{} ends in .{}, which is not written; use one of {WRITABLE}",
                path.display(),
                extension.display()
            )
        })
}

fn is_extension(path: &Path, names: &[&str]) -> bool {
    path.extension().is_some_and(|extension| {
        names
            .iter()
            .any(|name| extension.eq_ignore_ascii_case(name))
    })
}

/// Writes `image` in the format of the extension of `path`, whole or not at all.
///
/// # Errors
/// An unknown extension; a target that is no regular file; whatever the disk or the encoder says.
pub fn write(image: DynamicImage, path: &Path) -> Result<()> {
    let format = output_format(path)?;
    let image = suited(image, format, path);
    let part = Part::beside(path)?;
    let mut file = BufWriter::new(part.file());
    encode(&image, format, path, &mut file)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.flush()
        .with_context(|| format!("cannot write {}", path.display()))?;
    drop(file);
    part.keep()
}

/// The image in a sample type that the format can hold.
fn suited(image: DynamicImage, format: ImageFormat, path: &Path) -> DynamicImage {
    let color = image.color();
    let holds_16 = matches!(
        format,
        ImageFormat::Png | ImageFormat::Tiff | ImageFormat::Pnm
    );
    let holds_alpha = !matches!(format, ImageFormat::Jpeg | ImageFormat::Pnm);
    let deep = color.bytes_per_pixel() > color.channel_count() && holds_16;
    let image = if color.has_alpha() && !holds_alpha {
        on_white(&image)
    } else {
        image
    };
    let alpha = image.color().has_alpha();
    let needs_colour = format == ImageFormat::Gif
        || is_extension(path, &["ppm"])
        || (alpha && matches!(format, ImageFormat::Tiff | ImageFormat::Bmp));
    let colour = (image.color().has_color() || needs_colour) && !is_extension(path, &["pgm"]);
    match (colour, alpha, deep) {
        (false, false, false) => image.into_luma8().into(),
        (false, true, false) => image.into_luma_alpha8().into(),
        (true, false, false) => image.into_rgb8().into(),
        (true, true, false) => image.into_rgba8().into(),
        (false, false, true) => image.into_luma16().into(),
        (false, true, true) => image.into_luma_alpha16().into(),
        (true, false, true) => image.into_rgb16().into(),
        (true, true, true) => image.into_rgba16().into(),
    }
}

/// The picture as it looks on white paper, without alpha.
pub fn on_white(image: &DynamicImage) -> DynamicImage {
    let mut samples = image.to_rgba16();
    for pixel in samples.pixels_mut() {
        let [red, green, blue, alpha] = pixel.0.map(u64::from);
        let over =
            |sample: u64| ((sample * alpha + 65_535 * (65_535 - alpha) + 32_767) / 65_535) as u16;
        pixel.0 = [over(red), over(green), over(blue), u16::MAX];
    }
    let flat = DynamicImage::from(samples);
    match (
        image.color().has_color(),
        image.color().bytes_per_pixel() > image.color().channel_count(),
    ) {
        (false, false) => flat.into_luma8().into(),
        (false, true) => flat.into_luma16().into(),
        (true, false) => flat.into_rgb8().into(),
        (true, true) => flat.into_rgb16().into(),
    }
}

fn encode(
    image: &DynamicImage,
    format: ImageFormat,
    path: &Path,
    file: &mut BufWriter<&File>,
) -> Result<()> {
    match format {
        ImageFormat::Jpeg => {
            image.write_with_encoder(JpegEncoder::new_with_quality(file, JPEG_QUALITY))?
        }
        ImageFormat::Pnm => {
            let subtype = match image.color().has_color() {
                true => PnmSubtype::Pixmap(SampleEncoding::Binary),
                false => PnmSubtype::Graymap(SampleEncoding::Binary),
            };
            image
                .write_with_encoder(PnmEncoder::new(file).with_subtype(subtype))
                .with_context(|| format!("as {}", path.display()))?;
        }
        format => image.write_to(file, format)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, Luma, LumaA, Rgb, Rgb32FImage, RgbImage};

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder for the test")
    }

    fn read(path: &Path) -> Picture {
        open(path, 1 << 30).unwrap().decode(1 << 30).unwrap()
    }

    #[test]
    fn every_written_format_is_read_again() {
        let folder = folder();
        let picture = RgbImage::from_fn(5, 3, |x, y| Rgb([40 * x as u8, 80 * y as u8, 200]));
        for name in [
            "a.png", "a.TIF", "a.bmp", "a.webp", "a.ppm", "a.pnm", "a.jpg", "a.jpeg", "a.gif",
            "a.pgm",
        ] {
            let path = folder.path().join(name);
            write(DynamicImage::from(picture.clone()), &path).unwrap();
            let again = read(&path);
            let channels = if name == "a.pgm" { 1 } else { 3 };
            assert_eq!(again.planes.dim(), (channels, 1, 3, 5), "{name}");
            if !["a.jpg", "a.jpeg", "a.pgm"].contains(&name) {
                assert_eq!(again.planes[[0, 0, 2, 4]], 160.0, "{name}");
                assert_eq!(again.planes[[1, 0, 2, 4]], 160.0, "{name}");
                assert_eq!(again.planes[[2, 0, 0, 0]], 200.0, "{name}");
            }
        }
        // Nothing but the pictures is left in the folder.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 10);
    }

    #[test]
    fn sixteen_bits_and_alpha_survive() {
        let folder = folder();
        for name in ["a.png", "a.tif"] {
            let path = folder.path().join(name);
            let image = DynamicImage::from(image::ImageBuffer::from_fn(3, 2, |x, _| {
                Luma([x as u16 * 257 + 1])
            }));
            write(image, &path).unwrap();
            let again = read(&path);
            assert!(again.deep && again.alpha.is_none());
            assert_eq!(again.planes[[0, 0, 1, 2]], 515.0 / 257.0);
        }
        let faint = DynamicImage::from(GrayAlphaImage::from_pixel(2, 2, LumaA([10, 128])));
        for name in ["b.png", "b.webp", "b.tif", "b.bmp"] {
            let path = folder.path().join(name);
            write(faint.clone(), &path).unwrap();
            let again = read(&path);
            assert_eq!(again.alpha.unwrap()[[1, 1]], 128.0, "{name}");
            assert_eq!(again.planes[[0, 0, 1, 1]], 10.0, "{name}");
        }
        // A format without opacity shows the picture as on white paper: (10·128 + 255·127) / 255.
        let path = folder.path().join("c.pgm");
        write(faint, &path).unwrap();
        assert_eq!(read(&path).planes[[0, 0, 0, 0]], 132.0);
    }

    #[test]
    fn floats_are_scaled_to_255() {
        let image = DynamicImage::from(Rgb32FImage::from_pixel(1, 1, Rgb([0.0, 0.5, 1.0])));
        let picture = from_image(&image).unwrap();
        assert_eq!(
            picture.planes.iter().copied().collect::<Vec<_>>(),
            [0.0, 127.5, 255.0]
        );
        assert!(picture.deep);
    }

    #[test]
    fn names_without_a_known_format_are_refused() {
        for name in ["a", "a.xyz", "a.pbm", "a.pam", "a.avif", ".png"] {
            assert!(output_format(Path::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let folder = folder();
        let path = folder.path().join("a.gif");
        fs::write(&path, b"what was there").unwrap();
        // A GIF's sides have 16 bits.
        let wide = DynamicImage::from(RgbImage::new(70_000, 1));
        assert!(write(wide, &path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"what was there");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let directory = folder.path().join("b.png");
        fs::create_dir(&directory).unwrap();
        assert!(write(DynamicImage::from(RgbImage::new(1, 1)), &directory).is_err());
    }

    #[test]
    fn a_picture_above_the_limit_is_refused_with_numbers() {
        let folder = folder();
        let path = folder.path().join("a.png");
        write(DynamicImage::from(RgbImage::new(1000, 1000)), &path).unwrap();
        let error = open(&path, 4 << 20).err().expect("refused").to_string();
        assert!(
            error.contains("1000 x 1000") && error.contains("4.00 MiB"),
            "{error}"
        );
        assert!(open(&folder.path().join("none.png"), 1 << 30).is_err());
        assert!(open(folder.path(), 1 << 30).is_err());
    }
}
