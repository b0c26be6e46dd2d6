//! What the figures are made of: lines, cells with numbers, arrows and text as SVG; panels of pictures as PNG.
//!
//! ```text
//! svg(size, |sheet| …)  ──► text of SVG, every coordinate a whole number
//! panels([picture …])   ──► one picture with a caption above each
//! ```

use std::cell::RefCell;

use anyhow::{Result, anyhow};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::iso_8859_1::FONT_9X15;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Pixel, Point, Size};
use embedded_graphics::text::{Baseline, Text as Letters};
use image::{Rgb, RgbImage};
use ndarray::{Array2, ArrayView2};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours that colour-blind eyes tell apart (Okabe and Ito).
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
pub const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub const RED: RGBColor = RGBColor(213, 94, 0);
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
pub const PINK: RGBColor = RGBColor(204, 121, 167);
pub const SKY: RGBColor = RGBColor(86, 180, 233);
/// Text, what is less important, lines between cells, and the ground.
pub const INK: RGBColor = RGBColor(30, 32, 36);
pub const FAINT: RGBColor = RGBColor(110, 112, 116);
pub const LINE: RGBColor = RGBColor(170, 172, 176);
pub const PAPER: RGBColor = RGBColor(250, 250, 248);

/// One colour after another, for things that belong to different windows.
pub const CYCLE: [RGBColor; 6] = [BLUE, RED, GREEN, ORANGE, PINK, SKY];

/// A colour laid over the paper.
pub fn tint(colour: RGBColor) -> RGBAColor {
    colour.mix(0.28)
}

/// A sheet of paper; the first error of the drawing library is kept for the end.
pub struct Sheet<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    failed: RefCell<Option<anyhow::Error>>,
}

/// The text of an SVG picture of `width` by `height`.
pub fn svg(width: u32, height: u32, draw: impl FnOnce(&Sheet)) -> Result<String> {
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, (width, height)).into_drawing_area();
        let sheet = Sheet {
            area,
            failed: RefCell::new(None),
        };
        sheet.keep(sheet.area.fill(&PAPER));
        draw(&sheet);
        sheet.keep(sheet.area.present());
        if let Some(error) = sheet.failed.into_inner() {
            return Err(error);
        }
    }
    Ok(picture)
}

impl Sheet<'_> {
    fn keep<E: std::error::Error + Send + Sync>(&self, drawn: Result<(), DrawingAreaErrorKind<E>>) {
        if let Err(error) = drawn {
            let mut failed = self.failed.borrow_mut();
            failed.get_or_insert_with(|| anyhow!("drawing: {error}"));
        }
    }

    pub fn fill(&self, x: i32, y: i32, size: (i32, i32), colour: impl Into<RGBAColor>) {
        let corners = [(x, y), (x + size.0, y + size.1)];
        let style = colour.into().filled();
        self.keep(self.area.draw(&Rectangle::new(corners, style)));
    }

    /// The border of a rectangle.
    pub fn frame(&self, x: i32, y: i32, size: (i32, i32), colour: RGBColor, width: u32) {
        let (right, bottom) = (x + size.0, y + size.1);
        // The last point closes the corner.
        let path = [
            (x, y),
            (right, y),
            (right, bottom),
            (x, bottom),
            (x, y),
            (right, y),
        ];
        self.path(&path, colour, width);
    }

    pub fn path(&self, points: &[(i32, i32)], colour: impl Into<RGBAColor>, width: u32) {
        let style = colour.into().stroke_width(width);
        self.keep(self.area.draw(&PathElement::new(points.to_vec(), style)));
    }

    pub fn polygon(&self, points: &[(i32, i32)], colour: impl Into<RGBAColor>) {
        let style = colour.into().filled();
        self.keep(self.area.draw(&Polygon::new(points.to_vec(), style)));
    }

    pub fn dot(&self, at: (i32, i32), radius: i32, colour: impl Into<RGBAColor>) {
        let style = colour.into().filled();
        self.keep(self.area.draw(&Circle::new(at, radius, style)));
    }

    /// A line with a head at its end.
    pub fn arrow(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) {
        const HEAD: f64 = 9.0;
        let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
        let length = dx.hypot(dy).max(1.0);
        let (dx, dy) = (dx / length, dy / length);
        let back = |along: f64, aside: f64| {
            let x = f64::from(to.0) - along * dx - aside * dy;
            let y = f64::from(to.1) - along * dy + aside * dx;
            (x.round() as i32, y.round() as i32)
        };
        self.path(&[from, back(HEAD - 1.0, 0.0)], colour, 2);
        self.polygon(&[to, back(HEAD, 4.5), back(HEAD, -4.5)], colour);
    }

    fn letters(&self, text: &str, at: (i32, i32), size: i32, side: HPos, ink: Ink) {
        // The library's unit of fonts is 1.24 pixels.
        let font = ("sans-serif", f64::from(size) * 1.24).into_font();
        let font = if ink.bold {
            font.style(FontStyle::Bold)
        } else {
            font
        };
        let style = font.color(&ink.colour).pos(Pos::new(side, VPos::Center));
        self.keep(self.area.draw(&Text::new(text.to_owned(), at, style)));
    }

    /// Text about a point.
    pub fn text(&self, text: &str, at: (i32, i32), size: i32, ink: impl Into<Ink>) {
        self.letters(text, at, size, HPos::Center, ink.into());
    }

    /// Text from a point to the right.
    pub fn text_right(&self, text: &str, at: (i32, i32), size: i32, ink: impl Into<Ink>) {
        self.letters(text, at, size, HPos::Left, ink.into());
    }

    /// Text that ends at a point.
    pub fn text_left(&self, text: &str, at: (i32, i32), size: i32, ink: impl Into<Ink>) {
        self.letters(text, at, size, HPos::Right, ink.into());
    }

    /// Lines between the cells, and a colour behind those that have one.
    pub fn cells(&self, grid: &Grid, colour: impl Fn(usize, usize) -> Option<RGBAColor>) {
        for row in 0..grid.rows {
            for column in 0..grid.columns {
                let (x, y) = grid.corner(row, column);
                self.fill(x, y, (grid.side, grid.side), RGBColor(255, 255, 255));
                if let Some(colour) = colour(row, column) {
                    self.fill(x, y, (grid.side, grid.side), colour);
                }
            }
        }
        for row in 0..=grid.rows {
            let y = grid.corner(row, 0).1;
            self.path(&[(grid.x, y), (grid.right(), y)], LINE, 1);
        }
        for column in 0..=grid.columns {
            let x = grid.corner(0, column).0;
            self.path(&[(x, grid.y), (x, grid.bottom())], LINE, 1);
        }
    }

    /// Cells with numbers in them.
    pub fn numbers(
        &self,
        grid: &Grid,
        values: ArrayView2<'_, f64>,
        colour: impl Fn(usize, usize) -> Option<RGBAColor>,
    ) {
        self.cells(grid, colour);
        let size = (grid.side * 9 / 20).min(18);
        for ((row, column), value) in values.indexed_iter() {
            self.text(&number(*value), grid.centre(row, column), size, INK);
        }
    }

    /// A thick border about some cells of a grid.
    pub fn window(&self, grid: &Grid, at: (usize, usize), size: (usize, usize), colour: RGBColor) {
        let (x, y) = grid.corner(at.0, at.1);
        let length = |cells: usize| cells as i32 * grid.side;
        self.frame(x, y, (length(size.1), length(size.0)), colour, 3);
    }
}

/// How text looks.
#[derive(Clone, Copy)]
pub struct Ink {
    colour: RGBColor,
    bold: bool,
}

impl From<RGBColor> for Ink {
    fn from(colour: RGBColor) -> Self {
        Self {
            colour,
            bold: false,
        }
    }
}

/// Thick letters.
pub fn bold(colour: RGBColor) -> Ink {
    Ink { colour, bold: true }
}

/// A number as short as it can be: 19, −1, 0.5.
pub fn number(value: f64) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    let text = format!("{}", rounded.abs());
    if rounded < 0.0 {
        format!("−{text}")
    } else {
        text
    }
}

/// Square cells.
#[derive(Clone, Copy)]
pub struct Grid {
    pub x: i32,
    pub y: i32,
    pub side: i32,
    pub rows: usize,
    pub columns: usize,
}

impl Grid {
    pub fn new(at: (i32, i32), side: i32, rows: usize, columns: usize) -> Self {
        Self {
            x: at.0,
            y: at.1,
            side,
            rows,
            columns,
        }
    }

    /// One for an array.
    pub fn of<T>(at: (i32, i32), side: i32, values: &Array2<T>) -> Self {
        Self::new(at, side, values.nrows(), values.ncols())
    }

    pub fn corner(&self, row: usize, column: usize) -> (i32, i32) {
        let length = |cells: usize| cells as i32 * self.side;
        (self.x + length(column), self.y + length(row))
    }

    pub fn centre(&self, row: usize, column: usize) -> (i32, i32) {
        let (x, y) = self.corner(row, column);
        (x + self.side / 2, y + self.side / 2)
    }

    pub fn right(&self) -> i32 {
        self.corner(0, self.columns).0
    }

    pub fn bottom(&self) -> i32 {
        self.corner(self.rows, 0).1
    }

    /// The middle of the upper border and that of the whole.
    pub fn middle(&self) -> (i32, i32) {
        ((self.x + self.right()) / 2, (self.y + self.bottom()) / 2)
    }
}

/// Whether a cell lies in the window that begins `at` and has this size.
pub fn within(row: usize, column: usize, at: (usize, usize), size: (usize, usize)) -> bool {
    (at.0..at.0 + size.0).contains(&row) && (at.1..at.1 + size.1).contains(&column)
}

/// Pictures of one size in `columns`, with a caption above each.
pub fn panels(columns: usize, pictures: &[(&str, RgbImage)]) -> RgbImage {
    const GAP: u32 = 10;
    const HEAD: u32 = 24;
    let width = pictures.iter().map(|(_, picture)| picture.width());
    let height = pictures.iter().map(|(_, picture)| picture.height());
    let (width, height) = (width.max().unwrap_or(1), height.max().unwrap_or(1));
    let (across, down) = (columns as u32, pictures.len().div_ceil(columns) as u32);
    let paper = Rgb([PAPER.0, PAPER.1, PAPER.2]);
    let mut sheet = Page(RgbImage::from_pixel(
        GAP + across * (width + GAP),
        down * (HEAD + height) + GAP,
        paper,
    ));
    for (index, (caption, picture)) in pictures.iter().enumerate() {
        let (column, row) = (index as u32 % across, index as u32 / across);
        let (x, y) = (GAP + column * (width + GAP), row * (HEAD + height));
        sheet.text(caption, (x as i32, y as i32 + 5));
        image::imageops::replace(&mut sheet.0, picture, i64::from(x), i64::from(y + HEAD));
    }
    sheet.0
}

/// A picture to write on.
struct Page(RgbImage);

impl Page {
    fn text(&mut self, text: &str, (x, y): (i32, i32)) {
        let style = MonoTextStyle::new(&FONT_9X15, Rgb888::new(INK.0, INK.1, INK.2));
        let letters = Letters::with_baseline(text, Point::new(x, y), style, Baseline::Top);
        match letters.draw(self) {
            Ok(_) => {}
            Err(never) => match never {},
        }
    }
}

impl OriginDimensions for Page {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Page {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Self::Error> {
        use embedded_graphics::prelude::RgbColor as _;
        for Pixel(Point { x, y }, colour) in pixels {
            let place = u32::try_from(x).ok().zip(u32::try_from(y).ok());
            let pixel = place.and_then(|(x, y)| self.0.get_pixel_mut_checked(x, y));
            if let Some(pixel) = pixel {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}
