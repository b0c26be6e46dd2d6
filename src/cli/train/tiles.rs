//! Sheets of small pictures: a title, what the colours mean, perhaps a picture aside, then cells in a grid.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::cli::draw::{Canvas, FAINT, Font, INK, PAPER, cut, grid, wrapped};
use crate::error::{Error, Result};

/// Pixels between cells, and around the sheet.
const GAP: u32 = 4;
const MARGIN: u32 = 16;
/// Between title, notes and pictures.
const LINE: u32 = 16;
const TITLE: u32 = 24;
/// The text has this much room where the pictures take less.
const NARROW: u32 = 420;
/// Pixels that all cells of a sheet take together, as long as each can be seen.
const PIXELS: f64 = 900_000.0;
/// Elements of one cell before it is made larger or smaller.
const MOST_ELEMENTS: usize = 1 << 24;
/// More cells than these are not drawn.
pub(super) const MOST_CELLS: usize = 1024;

/// What is no finite number.
pub(super) const NOT_FINITE: Rgb<u8> = Rgb([204, 121, 167]);

/// The longest side of each of `count` cells, at most `most`.
pub(super) fn side(count: usize, most: u32) -> u32 {
    let share = PIXELS / count.max(1) as f64;
    (share.sqrt() as u32).clamp(16.min(most), most)
}

/// A picture of `height` × `width` elements, of which `colour` gives that at (row, column).
///
/// # Errors
/// No element, or more than a cell may have.
pub(super) fn picture(
    (height, width): (usize, usize),
    colour: impl Fn(usize, usize) -> Rgb<u8>,
) -> Result<RgbImage> {
    if height == 0 || width == 0 {
        return Err(Error::ZeroCount { what: "pixels" });
    }
    let elements = height.checked_mul(width);
    let size = u32::try_from(height).ok().zip(u32::try_from(width).ok());
    let Some(((high, wide), _)) = size.zip(elements.filter(|&count| count <= MOST_ELEMENTS)) else {
        return Err(Error::MemoryBudget {
            needed: elements.unwrap_or(usize::MAX).saturating_mul(3),
            budget: 3 * MOST_ELEMENTS,
        });
    };
    Ok(RgbImage::from_fn(wide, high, |x, y| {
        colour(y as usize, x as usize)
    }))
}

/// The picture with its longer side at most `side`: elements become squares, or several become one.
pub(super) fn fitted(picture: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height).max(1);
    if longest <= side {
        let factor = side / longest;
        return imageops::resize(
            picture,
            width * factor,
            height * factor,
            FilterType::Nearest,
        );
    }
    let shrunk = |length: u32| {
        let exact = u64::from(length) * u64::from(side) / u64::from(longest);
        u32::try_from(exact).unwrap_or(side).max(1)
    };
    imageops::resize(picture, shrunk(width), shrunk(height), FilterType::Triangle)
}

/// A value from 0 to 1 as a grey.
pub(super) fn grey(share: f64) -> u8 {
    // Casts of floats saturate.
    (255.0 * share).round() as u8
}

/// 3 significant digits, however small the number is.
pub(super) fn short(number: f64) -> String {
    match number.abs() {
        size if size > 0.0 && !(0.01..1e5).contains(&size) => format!("{number:.2e}"),
        _ => crate::cli::significant(number),
    }
}

/// A sheet of `cells`, which have one size, with a picture and its caption at their left.
pub(super) fn sheet(
    title: &str,
    note: &str,
    aside: Option<(&RgbImage, &str)>,
    cells: &[RgbImage],
) -> RgbImage {
    let (width, height) = cells.first().map_or((1, 1), RgbImage::dimensions);
    let (columns, rows) = grid(cells.len(), width + GAP, height + GAP);
    // A sheet has at most `MOST_CELLS` cells, and a side of a cell is bounded by `side`.
    let extent = |count: usize, length: u32| count as u32 * (length + GAP) - GAP;
    let (grid_width, grid_height) = (extent(columns, width), extent(rows, height));
    let (left, aside_height) = aside.map_or((MARGIN, 0), |(picture, caption)| {
        let width = picture.width().max(Font::SMALL.measure(caption));
        (2 * MARGIN + width, picture.height() + LINE)
    });
    let content = (left - MARGIN + grid_width).max(NARROW);
    let letters = |font: Font| (content / font.width()) as usize;
    let notes = wrapped(note, letters(Font::SMALL));
    let top = MARGIN + TITLE + LINE * notes.len() as u32 + 8;
    let bottom = top + grid_height.max(aside_height) + MARGIN;
    let mut canvas = Canvas::new(content + 2 * MARGIN, bottom, PAPER);
    let place = |x: u32, y: u32| (x as i32, y as i32);
    let title = cut(title, letters(Font::BOLD));
    canvas.line(&title, Font::BOLD, INK, place(MARGIN, MARGIN));
    for (index, line) in (0..).zip(&notes) {
        let y = MARGIN + TITLE + LINE * index;
        canvas.line(line, Font::SMALL, FAINT, place(MARGIN, y));
    }
    let mut put = |picture: &RgbImage, x: u32, y: u32| {
        imageops::replace(&mut canvas.0, picture, x.into(), y.into());
    };
    for (index, cell) in cells.iter().enumerate() {
        let x = left + (index % columns) as u32 * (width + GAP);
        put(cell, x, top + (index / columns) as u32 * (height + GAP));
    }
    if let Some((picture, caption)) = aside {
        put(picture, MARGIN, top);
        let below = place(MARGIN, top + picture.height() + 3);
        canvas.line(caption, Font::SMALL, FAINT, below);
    }
    canvas.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_enlarged_by_whole_numbers_or_shrunk() {
        let picture = RgbImage::from_fn(2, 3, |x, y| Rgb([x as u8 * 200, y as u8 * 100, 7]));
        let large = fitted(&picture, 11);
        assert_eq!(large.dimensions(), (6, 9));
        for (x, y, pixel) in large.enumerate_pixels() {
            assert_eq!(pixel, picture.get_pixel(x / 3, y / 3));
        }
        assert_eq!(fitted(&RgbImage::new(1000, 3), 50).dimensions(), (50, 1));
        assert_eq!(fitted(&RgbImage::new(50, 100), 50).dimensions(), (25, 50));
        assert_eq!(
            (side(1, 64), side(1000, 64), side(1 << 40, 64)),
            (64, 30, 16)
        );
    }

    #[test]
    fn sizes_that_no_cell_can_have_are_errors() {
        let black = |_, _| Rgb([0; 3]);
        assert!(matches!(
            picture((0, 4), black),
            Err(Error::ZeroCount { .. })
        ));
        for size in [(usize::MAX, 2), (1 << 20, 1 << 20), (1, usize::MAX)] {
            assert!(matches!(
                picture(size, black),
                Err(Error::MemoryBudget { .. })
            ));
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(0.0), "0.000");
        assert_eq!(short(0.1234), "0.123");
        assert_eq!(short(0.000_123_4), "1.23e-4");
        assert_eq!(short(1.5e9), "1.50e9");
    }

    #[test]
    fn a_sheet_has_room_for_its_words_and_cells() {
        let cell = RgbImage::from_pixel(10, 10, Rgb([1, 2, 3]));
        let aside = RgbImage::from_pixel(30, 20, Rgb([9, 9, 9]));
        let sheet = sheet(
            &"long title ".repeat(40),
            &"and a note ".repeat(20),
            Some((&aside, "input")),
            &vec![cell; 7],
        );
        let count = |colour| sheet.pixels().filter(|pixel| pixel.0 == colour).count();
        assert_eq!((count([1, 2, 3]), count([9, 9, 9])), (700, 600));
        assert!(count(INK.0) > 100 && count(FAINT.0) > 100);
        let edge = sheet.enumerate_pixels().filter(|&(x, y, _)| {
            x < MARGIN || y < MARGIN || x >= sheet.width() - MARGIN || y >= sheet.height() - MARGIN
        });
        assert!(edge.into_iter().all(|(.., pixel)| *pixel == PAPER));
        super::sheet("", "", None, &[]);
    }
}
