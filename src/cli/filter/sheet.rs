//! The contact sheet: the picture and every feature map side by side, each with its name below.
//!
//! ```text
//! ┌──────────┐ ┌──────────┐ ┌──────────┐
//! │          │ │          │ │          │   panels of one size, pictures shrunk to fit, never enlarged
//! └──────────┘ └──────────┘ └──────────┘
//!     input        blur        sobel-x     caption, and below it how numbers became brightness
//! ```

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage};
use plotters_backend::FontTransform;
use plotters_backend::text_anchor::{HPos, Pos, VPos};

use super::picture::on_white;
use crate::cli::draw::{Canvas, FAINT, Font, INK, PAPER, cut, grid};

/// Space around and between panels.
const GAP: u32 = 14;

/// Height of the two lines of a caption.
const CAPTION: u32 = 40;

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
    let mut sheet = Canvas::new(width, height, PAPER);
    for (index, panel) in panels.iter().enumerate() {
        let left = GAP + (index % columns) as u32 * (cell_width + GAP);
        let top = GAP + (index / columns) as u32 * (cell_height + CAPTION + GAP);
        let x = left + (cell_width - panel.image.width()) / 2;
        let y = top + (cell_height - panel.image.height()) / 2;
        imageops::replace(&mut sheet.0, &panel.image, i64::from(x), i64::from(y));
        let middle = (left + cell_width / 2) as i32;
        let base = (top + cell_height) as i32;
        for (text, font, colour, below) in [
            (&panel.caption, Font::BOLD, INK, 12),
            (&panel.note, Font::SMALL, FAINT, 28),
        ] {
            let place = (middle, base + below);
            caption(&mut sheet, text, font, colour, place, cell_width);
        }
    }
    Ok(sheet.0.into())
}

/// One line in the middle of a panel, cut to its width.
fn caption(
    sheet: &mut Canvas,
    text: &str,
    font: Font,
    colour: Rgb<u8>,
    place: (i32, i32),
    width: u32,
) {
    let text = cut(text, (width / font.width()) as usize);
    let anchor = Pos::new(HPos::Center, VPos::Center);
    sheet.text(&text, font, colour, place, anchor, FontTransform::None);
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(count(INK.0) > 100);
        // Nothing of the long caption spills over the margins.
        let margin = sheet
            .enumerate_pixels()
            .filter(|(x, y, _)| *x < GAP || *y < GAP);
        assert!(margin.into_iter().all(|(_, _, pixel)| *pixel == PAPER));
    }
}
