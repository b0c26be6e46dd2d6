//! The contact sheet: the picture and every feature map side by side, each with its name below.
//!
//! ```text
//! ┌──────────┐ ┌──────────┐ ┌──────────┐
//! │          │ │          │ │          │   panels of one size, pictures shrunk to fit, never enlarged
//! └──────────┘ └──────────┘ └──────────┘
//!     input        blur        sobel-x     caption, and below it how numbers became brightness
//! ```

use anyhow::{Context, Result};
use embedded_graphics::mono_font::ascii::{FONT_7X13, FONT_9X18_BOLD};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{
    DrawTarget, Drawable, OriginDimensions, Pixel, Point, RgbColor, Size,
};
use embedded_graphics::text::{Alignment, Text};
use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage};

use super::picture::on_white;

/// Space around and between panels.
const GAP: u32 = 14;

/// Height of the two lines of a caption.
const CAPTION: u32 = 40;

/// Width over height that the sheet comes closest to.
const ASPECT: f64 = 4.0 / 3.0;

const PAPER: Rgb<u8> = Rgb([250, 250, 248]);
const INK: Rgb888 = Rgb888::new(30, 32, 36);
const FAINT: Rgb888 = Rgb888::new(120, 122, 126);

/// One picture of the sheet.
pub struct Panel {
    image: RgbImage,
    caption: String,
    note: String,
}

impl Panel {
    /// A panel of at most `side` pixels a side. Shrinking happens here, so that large pictures are not kept.
    pub fn new(image: DynamicImage, side: u32, caption: &str, note: String) -> Self {
        let flat = if image.color().has_alpha() {
            on_white(&image)
        } else {
            image
        };
        let shrunk = match flat.width().max(flat.height()) {
            longest if longest <= side => flat,
            // resize() keeps the proportions; Lanczos keeps thin edges visible.
            _ => flat.resize(side, side, FilterType::Lanczos3),
        };
        Self {
            image: shrunk.into_rgb8(),
            caption: caption.into(),
            note,
        }
    }
}

/// The sheet of `panels`, in reading order.
///
/// # Errors
/// A sheet too large for an image's 32 bits.
pub fn compose(panels: &[Panel]) -> Result<DynamicImage> {
    let cell_width = panels
        .iter()
        .map(|panel| panel.image.width())
        .max()
        .unwrap_or(1)
        .max(100);
    let cell_height = panels
        .iter()
        .map(|panel| panel.image.height())
        .max()
        .unwrap_or(1);
    let (columns, rows) = grid(panels.len(), cell_width, cell_height + CAPTION);
    let extent = |count: usize, cell: u32| -> Option<u32> {
        u32::try_from(count)
            .ok()?
            .checked_mul(cell.checked_add(GAP)?)?
            .checked_add(GAP)
    };
    let width =
        extent(columns, cell_width).context("the sheet is too wide; try --panel with less")?;
    let height = extent(rows, cell_height + CAPTION)
        .context("the sheet is too high; try --panel with less")?;
    let mut sheet = Canvas(RgbImage::from_pixel(width, height, PAPER));
    for (index, panel) in panels.iter().enumerate() {
        let left = GAP + (index % columns) as u32 * (cell_width + GAP);
        let top = GAP + (index / columns) as u32 * (cell_height + CAPTION + GAP);
        let x = left + (cell_width - panel.image.width()) / 2;
        let y = top + (cell_height - panel.image.height()) / 2;
        imageops::replace(&mut sheet.0, &panel.image, i64::from(x), i64::from(y));
        let middle = (left + cell_width / 2) as i32;
        let base = (top + cell_height) as i32;
        sheet.line(
            &panel.caption,
            &FONT_9X18_BOLD,
            INK,
            Point::new(middle, base + 17),
            cell_width,
        );
        sheet.line(
            &panel.note,
            &FONT_7X13,
            FAINT,
            Point::new(middle, base + 32),
            cell_width,
        );
    }
    Ok(sheet.0.into())
}

/// Columns and rows for `count` cells, so that the whole comes closest to [`ASPECT`] with the fewest gaps.
fn grid(count: usize, cell_width: u32, cell_height: u32) -> (usize, usize) {
    let count = count.max(1);
    let misfit = |columns: usize| {
        let rows = count.div_ceil(columns);
        let aspect =
            (columns as f64 * f64::from(cell_width)) / (rows as f64 * f64::from(cell_height));
        let empty = (columns * rows - count) as f64 / count as f64;
        (aspect / ASPECT).ln().abs() + empty
    };
    // More columns than 4 √count are never nearer than 4 √count are, for cells of usual proportions.
    let most = count.min(4 * (count as f64).sqrt().ceil() as usize);
    let columns = (1..=most)
        .min_by(|&a, &b| misfit(a).total_cmp(&misfit(b)))
        .unwrap_or(1);
    (columns, count.div_ceil(columns))
}

/// An image that embedded-graphics draws on.
struct Canvas(RgbImage);

impl Canvas {
    /// One centred line, cut to the width of its panel; what the font lacks becomes `?`.
    fn line(&mut self, text: &str, font: &MonoFont, color: Rgb888, place: Point, width: u32) {
        let room = (width / font.character_size.width) as usize;
        let mut text: Vec<char> = text
            .chars()
            .map(|symbol| if symbol.is_control() { ' ' } else { symbol })
            .collect();
        if text.len() > room {
            text.truncate(room.saturating_sub(3));
            text.extend("...".chars());
        }
        let text: String = text.into_iter().collect();
        let style = MonoTextStyle::new(font, color);
        match Text::with_alignment(&text, place, style, Alignment::Center).draw(self) {
            Ok(_) => {}
            Err(never) => match never {},
        }
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Self::Error> {
        for Pixel(Point { x, y }, color) in pixels {
            // A negative coordinate becomes a huge one, which is outside as well.
            if let Some(pixel) = self.0.get_pixel_mut_checked(x as u32, y as u32) {
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_pictures_stand_three_by_three() {
        assert_eq!(grid(9, 320, 280), (3, 3));
        assert_eq!(grid(1, 320, 280), (1, 1));
        assert_eq!(grid(2, 320, 280), (2, 1));
        for count in 1..200 {
            let (columns, rows) = grid(count, 320, 280);
            assert!(
                columns * rows >= count && columns * (rows - 1) < count,
                "{count}: {columns} x {rows}"
            );
        }
    }

    #[test]
    fn a_sheet_holds_pictures_of_different_sizes_and_their_captions() {
        let wide = DynamicImage::from(RgbImage::from_pixel(400, 100, Rgb([255, 0, 0])));
        let tiny = DynamicImage::from(RgbImage::from_pixel(1, 1, Rgb([0, 0, 255])));
        let caption = "x".repeat(500);
        let sheet = compose(&[
            Panel::new(wide, 200, &caption, String::new()),
            Panel::new(tiny, 200, "line\nbreak", "note".into()),
        ]);
        let sheet = sheet.unwrap().into_rgb8();
        let count = |color: [u8; 3]| sheet.pixels().filter(|pixel| pixel.0 == color).count();
        assert_eq!(count([255, 0, 0]), 200 * 50);
        assert_eq!(count([0, 0, 255]), 1);
        assert!(count([INK.r(), INK.g(), INK.b()]) > 100);
        // Nothing of the long caption spills over the margins.
        let margin = sheet
            .enumerate_pixels()
            .filter(|(x, y, _)| *x < GAP || *y < GAP);
        assert!(margin.into_iter().all(|(_, _, pixel)| *pixel == PAPER));
    }
}
