//! Picture files: bytes to 8-bit pixels, upright.
//!
//! ```text
//! open    header only: width, height, bytes when decoded    nothing large is allocated yet
//! decode  [H, W] grey or [H, W, 3] red, green, blue         opacity is dropped, 16 bits are rounded to 8
//! ```

use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};

use super::{failed, regular, unreadable, within};
use crate::element::reserved;
use crate::error::{Error, Result};

/// Bytes that decoding a picture may take where the caller says nothing.
pub const DEFAULT_PICTURE_LIMIT: u64 = 512 << 20;

/// A picture of which only the header has been read.
pub struct Opened<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    orientation: Orientation,
    file_bytes: u64,
}

/// The bytes of a picture file, unless there are more than `limit`.
///
/// # Errors
/// A file that cannot be read or is no regular one; more bytes than the limit.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, len) = regular(path)?;
    within(len, limit, || "the file".to_owned())?;
    let mut bytes = reserved(usize::try_from(len).unwrap_or(usize::MAX))?;
    file.take(len)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(path, &error))?;
    Ok(bytes)
}

/// Reads the header of the picture in `bytes`.
///
/// # Errors
/// No picture of a format that is read; one that takes more than `limit` bytes to decode.
pub fn open(bytes: &[u8], limit: u64) -> Result<Opened<'_>> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|error| unreadable(error.to_string()))?;
    opened(reader, bytes.len() as u64, limit)
}

/// Height and width of the picture in a file, upright, from its header alone.
///
/// # Errors
/// A file that cannot be read, and as [`open`].
pub fn file_size(path: &Path, limit: u64) -> Result<(u32, u32)> {
    let (file, len) = regular(path)?;
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
    let reader = reader.map_err(|error| failed(path, &error))?;
    Ok(opened(reader, len, limit)?.size())
}

fn opened<'a>(
    mut reader: ImageReader<impl BufRead + Seek + 'a>,
    file_bytes: u64,
    limit: u64,
) -> Result<Opened<'a>> {
    match reader.format() {
        Some(format) if format.reading_enabled() => {}
        format => {
            let name = format.and_then(|format| format.extensions_str().first());
            return Err(unreadable(match name {
                Some(name) => format!("a {name} picture, which is not read ({READABLE})"),
                None => format!("no picture in a format that is read ({READABLE})"),
            }));
        }
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(limit);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| explain(&error))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(unreadable(format!("no pixels: {width} x {height}")));
    }
    // A broken note about the camera's orientation is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let opened = Opened {
        decoder: Box::new(decoder),
        orientation,
        file_bytes,
    };
    within(opened.decoding_bytes(), limit, || {
        format!("decoding {width} x {height} pixels")
    })?;
    Ok(opened)
}

impl Opened<'_> {
    /// The most bytes that decoding takes: the file, the samples, and beside them first the decoder's own (a
    /// progressive JPEG's coefficients have 16 bits), then the pixels made of them and turned upright.
    pub fn decoding_bytes(&self) -> u64 {
        self.decoder
            .total_bytes()
            .saturating_mul(3)
            .saturating_add(self.file_bytes)
    }

    /// Height and width, upright.
    pub fn size(&self) -> (u32, u32) {
        let (width, height) = self.decoder.dimensions();
        match self.orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (width, height),
            _ => (height, width),
        }
    }

    /// Decodes the picture: `ImageLuma8` or `ImageRgb8`.
    ///
    /// # Errors
    /// A broken or truncated file.
    pub fn decode(self) -> Result<DynamicImage> {
        let mut image =
            DynamicImage::from_decoder(self.decoder).map_err(|error| explain(&error))?;
        image = match image.color().has_color() {
            true => DynamicImage::ImageRgb8(image.into_rgb8()),
            false => DynamicImage::ImageLuma8(image.into_luma8()),
        };
        image.apply_orientation(self.orientation);
        Ok(image)
    }
}

/// Formats that are read, for messages.
const READABLE: &str = "png, jpg, tif, bmp, webp, gif, pnm";

/// The decoder's error in words for the person whose file it is.
fn explain(error: &ImageError) -> Error {
    unreadable(match error {
        ImageError::Limits(error) => format!("more memory is needed than is allowed: {error}"),
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            format!("cut short or broken: {error}")
        }
        ImageError::Unsupported(error) => format!("something that is not read: {error}"),
        error => format!("broken: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, ImageFormat, Luma, LumaA, Rgb, RgbImage};

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn decode(bytes: &[u8]) -> Result<DynamicImage> {
        open(bytes, DEFAULT_PICTURE_LIMIT)?.decode()
    }

    #[test]
    fn eight_bits_grey_or_colour() {
        let red = RgbImage::from_pixel(3, 2, Rgb([200, 10, 0]));
        let image = decode(&encoded(red.clone(), ImageFormat::Png)).unwrap();
        assert_eq!(image, DynamicImage::ImageRgb8(red));
        let deep = image::ImageBuffer::from_pixel(2, 2, Luma([257u16 * 9]));
        let image = decode(&encoded(deep, ImageFormat::Png)).unwrap();
        assert_eq!(image.as_luma8().unwrap().get_pixel(1, 1), &Luma([9]));
        let faint = GrayAlphaImage::from_pixel(2, 2, LumaA([7, 0]));
        let image = decode(&encoded(faint, ImageFormat::Png)).unwrap();
        assert_eq!(image.as_luma8().unwrap().get_pixel(0, 0), &Luma([7]));
    }

    #[test]
    fn sizes_are_upright() {
        let wide = encoded(RgbImage::new(8, 5), ImageFormat::Jpeg);
        // Exif's tag 0x0112: 6 is a quarter turn.
        let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let mut turned = wide[..2].to_vec();
        turned.extend([0xff, 0xe1, 0, exif.len() as u8 + 2]);
        turned.extend(exif);
        turned.extend(&wide[2..]);
        for (bytes, size) in [(wide, (5, 8)), (turned, (8, 5))] {
            let opened = open(&bytes, DEFAULT_PICTURE_LIMIT).unwrap();
            assert_eq!(opened.size(), size);
            let image = opened.decode().unwrap();
            assert_eq!((image.height(), image.width()), size);
        }
    }

    #[test]
    fn what_is_no_picture_is_said() {
        let good = encoded(RgbImage::new(9, 9), ImageFormat::Png);
        for len in 0..good.len() - 12 {
            assert!(decode(&good[..len]).is_err(), "{len} bytes");
        }
        let error = decode(b"plain text").unwrap_err().to_string();
        assert!(error.contains("no picture"), "{error}");
        let error = open(&good, 300).err().unwrap().to_string();
        assert!(error.contains("9 x 9") && error.contains("300"), "{error}");
        let missing = read_file(Path::new("/nowhere/a.png"), 9).unwrap_err();
        assert!(matches!(missing, Error::Io { .. }));
        assert!(read_file(Path::new("."), 9).is_err());
    }
}
