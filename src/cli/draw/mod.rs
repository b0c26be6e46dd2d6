//! What the program's pictures share: colours, text, grids, and charts that become SVG or PNG by the same code.
//!
//! ```text
//! chart ──► DrawingArea ──┬─► SVGBackend ──► text of SVG
//!                         └─► Raster ──► Canvas (RGB) ──► PNG
//! ```

mod canvas;
mod raster;

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use image::{ImageFormat, Rgb, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(crate) use self::canvas::{Canvas, Font, cut, wrapped};
use self::raster::Raster;
use super::model::write_file;

/// Colours of what lines and bars stand for in the order they appear, distinct to colour-blind eyes (Okabe and Ito).
pub(crate) const COLOURS: [RGBColor; 7] = [
    RGBColor(150, 150, 150),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// Lines behind what is drawn.
pub(crate) const GRID: RGBColor = RGBColor(215, 215, 215);

/// Text of charts.
pub(crate) const CHART_INK: RGBColor = RGBColor(40, 40, 40);

/// Sheets of pictures: their ground, their text, and what is less important.
pub(crate) const PAPER: Rgb<u8> = Rgb([250, 250, 248]);
pub(crate) const INK: Rgb<u8> = Rgb([30, 32, 36]);
pub(crate) const FAINT: Rgb<u8> = Rgb([120, 122, 126]);

/// Width over height that a grid comes closest to.
const ASPECT: f64 = 4.0 / 3.0;

pub(crate) type Area<B> = DrawingArea<B, Shift>;
pub(crate) type Drawn<B> =
    std::result::Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// The text of an SVG picture of `size` pixels.
///
/// # Errors
/// What the drawing library refuses.
pub(crate) fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&Area<SVGBackend<'_>>) -> Result<()>,
) -> Result<String> {
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        draw(&area)?;
        told(area.present())?;
    }
    Ok(picture)
}

/// The pixels of a picture of `size`.
///
/// # Errors
/// What the drawing library refuses.
pub(crate) fn pixels(
    size: (u32, u32),
    draw: impl FnOnce(&Area<Raster<'_>>) -> Result<()>,
) -> Result<RgbImage> {
    let mut canvas = Canvas::new(size.0, size.1, Rgb([255; 3]));
    {
        let area = Raster::new(&mut canvas).into_drawing_area();
        draw(&area)?;
        told(area.present())?;
    }
    Ok(canvas.0)
}

/// The drawing library's error, without its backend's type.
pub(crate) fn told<T, E: std::error::Error + Send + Sync>(
    drawn: std::result::Result<T, DrawingAreaErrorKind<E>>,
) -> Result<T> {
    drawn.map_err(|error| anyhow!("drawing the chart: {error}"))
}

/// Text of `size` pixels beside a point, at half its height; plotters' own unit is 1.24 pixels.
pub(crate) fn text<B: DrawingBackend>(
    area: &Area<B>,
    content: &str,
    at: (i32, i32),
    size: i32,
    side: HPos,
) -> Drawn<B> {
    let style = ("sans-serif", f64::from(size) * 1.24)
        .into_font()
        .color(&CHART_INK)
        .pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(content.to_owned(), at, style))
}

/// Writes `image` as PNG, whole or not at all.
///
/// # Errors
/// What the encoder or the disk refuses.
pub(crate) fn write_png(path: &Path, image: &RgbImage) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    image
        .write_to(&mut bytes, ImageFormat::Png)
        .with_context(|| format!("cannot write {}", path.display()))?;
    write_file(path, bytes.get_ref())
}

/// Columns and rows for `count` cells, so that the whole comes closest to [`ASPECT`] with the fewest gaps.
pub(crate) fn grid(count: usize, cell_width: u32, cell_height: u32) -> (usize, usize) {
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
    fn the_same_chart_becomes_svg_and_pixels() {
        fn draw<B: DrawingBackend>(area: &Area<B>) -> Drawn<B> {
            area.fill(&WHITE)?;
            text(area, "a < b", (20, 10), 12, HPos::Left)
        }
        let picture = svg((80, 20), |area| told(draw(area))).unwrap();
        assert!(picture.contains("a &lt; b"), "{picture}");
        let picture = pixels((80, 20), |area| told(draw(area))).unwrap();
        let ink = Rgb([CHART_INK.0, CHART_INK.1, CHART_INK.2]);
        let inked = picture
            .enumerate_pixels()
            .filter(|(.., pixel)| **pixel == ink);
        let columns: Vec<u32> = inked.map(|(x, ..)| x).collect();
        assert!(columns.len() > 20 && columns.iter().all(|&x| (20..60).contains(&x)));
    }
}
