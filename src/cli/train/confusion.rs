//! The confusion matrix: how many examples of each class were taken for which, `counts[true][predicted]`.
//!
//! ```text
//!            predicted
//!             a    b    c          colour = √(count / sum of the row)
//! true   a  ███        ░░          the root makes rare errors visible
//!        b       ███               the diagonal is what was right
//!        c  ░░       ███
//! ```

use std::path::Path;

use anyhow::Result;
use image::{Rgb, RgbImage};
use ndarray::{ArrayView2, Axis};
use plotters_backend::FontTransform;
use plotters_backend::text_anchor::{HPos, Pos, VPos};

use crate::cli::draw::{Canvas, FAINT, Font, INK, PAPER, cut, write_png};
use crate::cli::model::aligned;
use crate::cli::printable;
use crate::error::Error;

/// Pixels of the matrix, and of a cell, at most.
const MATRIX: u32 = 900;
const CELL: u32 = 54;
/// Smaller cells have no numbers.
const NUMBERED: u32 = 20;
/// Letters of a class's name.
const NAME: usize = 18;
/// Above this many classes the matrix is not drawn: each would be less than a pixel.
pub const MOST_CLASSES: usize = 4096;
/// Above this many there is no table: its lines would not fit a terminal.
pub const TABLE_CLASSES: usize = 20;

const MARGIN: u32 = 16;
/// Of the title, and the words above the columns and left of the rows.
const TITLE: u32 = 34;
const HEADING: u32 = 22;
/// Right of the matrix: the scale of colours.
const SCALE: u32 = 90;

const WHITE: Rgb<u8> = Rgb([255; 3]);
/// The colours of ColorBrewer's Blues, light to dark, which are told apart without seeing red or green.
const BLUES: [[u8; 3]; 6] = [
    [247, 251, 255],
    [209, 226, 243],
    [154, 200, 224],
    [82, 156, 204],
    [28, 108, 177],
    [8, 48, 107],
];

/// Checked counts.
struct Confusion<'a> {
    counts: ArrayView2<'a, u64>,
    names: Vec<String>,
    /// Of each row, and of all.
    sums: Vec<u64>,
    all: u64,
    right: u64,
}

/// Writes the matrix as PNG; `names` are those of the classes.
///
/// # Errors
/// Those of [`pixels`]; whatever the file system says.
pub fn write(path: &Path, counts: ArrayView2<'_, u64>, names: &[String]) -> Result<()> {
    write_png(path, &pixels(counts, names)?)
}

/// The matrix with its names, and numbers where they fit.
///
/// # Errors
/// No class; a matrix that is not square; another number of names; more than [`MOST_CLASSES`] classes; counts whose
/// sum is beyond 64 bits.
pub fn pixels(counts: ArrayView2<'_, u64>, names: &[String]) -> crate::Result<RgbImage> {
    Confusion::new(counts, names)?.draw()
}

/// The matrix as lines of text, each class with its share of right answers; none for more than [`TABLE_CLASSES`].
///
/// # Errors
/// Those of [`pixels`].
pub fn table(counts: ArrayView2<'_, u64>, names: &[String]) -> crate::Result<Option<Vec<String>>> {
    let confusion = Confusion::new(counts, names)?;
    Ok((names.len() <= TABLE_CLASSES).then(|| confusion.table()))
}

impl<'a> Confusion<'a> {
    fn new(counts: ArrayView2<'a, u64>, names: &[String]) -> crate::Result<Self> {
        let classes = names.len();
        if classes == 0 {
            return Err(Error::ZeroCount { what: "classes" });
        }
        let (rows, columns) = counts.dim();
        if (rows, columns) != (classes, classes) {
            return Err(Error::Shape {
                what: "the confusion matrix",
                expected: vec![classes, classes],
                got: vec![rows, columns],
            });
        }
        if classes > MOST_CLASSES {
            let what = format!(
                "a confusion matrix of {classes} classes, at most {MOST_CLASSES} can be drawn"
            );
            return Err(Error::Data { what });
        }
        let rows = counts.axis_iter(Axis(0));
        let sums = rows.map(|row| sum(row.iter()));
        let sums = sums.collect::<crate::Result<Vec<u64>>>()?;
        Ok(Self {
            counts,
            names: names.iter().map(|name| printable(name)).collect(),
            all: sum(sums.iter())?,
            right: sum(counts.diag().iter())?,
            sums,
        })
    }

    /// What part of the examples of a class was taken for another.
    fn share(&self, row: usize, column: usize) -> f64 {
        match self.sums[row] {
            0 => 0.0,
            sum => self.counts[[row, column]] as f64 / sum as f64,
        }
    }

    fn title(&self) -> String {
        format!(
            "accuracy {} ({} of {})",
            percent(self.right, self.all),
            self.right,
            self.all
        )
    }

    fn draw(&self) -> crate::Result<RgbImage> {
        let classes = self.names.len();
        let overflow = |_| Error::Overflow {
            what: "a confusion matrix",
        };
        let count = u32::try_from(classes).map_err(overflow)?;
        let cell = (MATRIX / count).clamp(1, CELL);
        let font = Font::of_height(cell).unwrap_or(Font::of_size(8.0, false));
        let names: Vec<String> = self.names.iter().map(|name| cut(name, NAME)).collect();
        let longest = names
            .iter()
            .map(|name| font.measure(name))
            .max()
            .unwrap_or(0);
        let upright = longest + 4 <= cell;
        let above = if upright { font.height() } else { longest } + 6;
        let plan = Plan {
            cell,
            font,
            upright,
            left: MARGIN + HEADING + longest + 8,
            top: MARGIN + TITLE + HEADING + above,
            extent: count * cell,
            // Where cells are lower than letters, not every class has its name.
            apart: (font.height() + 1).div_ceil(cell) as usize,
        };
        let title = self.title();
        let width = (plan.left + plan.extent + SCALE).max(2 * MARGIN + Font::BOLD.measure(&title));
        let height = plan.top + plan.extent.max(120) + MARGIN;
        let mut canvas = Canvas::new(width, height, PAPER);
        canvas.line(&title, Font::BOLD, INK, place(MARGIN, MARGIN));
        plan.headings(&mut canvas);
        plan.names(&mut canvas, &names);
        for row in 0..classes {
            for column in 0..classes {
                self.cell(&mut canvas, &plan, (row, column));
            }
        }
        plan.scale(&mut canvas);
        Ok(canvas.0)
    }

    fn cell(&self, canvas: &mut Canvas, plan: &Plan, (row, column): (usize, usize)) {
        let colour = colour(self.share(row, column));
        let (x, y) = plan.corner((row, column));
        // A gap between cells, where they are large enough.
        let size = plan.cell - u32::from(plan.cell >= 8);
        canvas.fill((x, y), (size, size), colour);
        if plan.cell < NUMBERED {
            return;
        }
        let count = self.counts[[row, column]];
        let text = count.to_string();
        let fonts = [Font::SMALL, Font::of_size(8.0, false)];
        let Some(font) = fonts
            .into_iter()
            .find(|font| font.measure(&text) + 2 <= size)
        else {
            return;
        };
        let ink = match (count, dark(colour)) {
            (0, _) => FAINT,
            (_, true) => WHITE,
            (_, false) => INK,
        };
        let middle = place(x + size / 2, y + size / 2);
        let anchor = Pos::new(HPos::Center, VPos::Center);
        canvas.text(&text, font, ink, middle, anchor, FontTransform::None);
    }

    fn table(&self) -> Vec<String> {
        let names = self.names.iter().map(|name| cut(name, NAME));
        let heading = ["true \\ predicted".to_owned()].into_iter();
        let heading = heading.chain(names.clone()).chain(["right".to_owned()]);
        let mut rows: Vec<Vec<String>> = vec![heading.collect()];
        for (row, name) in names.enumerate() {
            let counts = self.counts.row(row);
            let right = percent(counts[row], self.sums[row]);
            let cells = counts.iter().map(u64::to_string);
            rows.push([name].into_iter().chain(cells).chain([right]).collect());
        }
        let mut right = vec![true; self.names.len() + 2];
        right[0] = false;
        let mut lines = aligned(&rows, &right);
        lines.push(self.title());
        lines
    }
}

fn sum<'a>(mut counts: impl Iterator<Item = &'a u64>) -> crate::Result<u64> {
    let sum = counts.try_fold(0u64, |sum, &count| sum.checked_add(count));
    sum.ok_or(Error::Overflow {
        what: "the counts of a confusion matrix",
    })
}

/// Where what lies in the picture.
struct Plan {
    cell: u32,
    /// Of names.
    font: Font,
    /// Whether names of columns are not turned.
    upright: bool,
    left: u32,
    top: u32,
    /// Of the matrix.
    extent: u32,
    /// Every so manyth class has its name.
    apart: usize,
}

impl Plan {
    fn corner(&self, (row, column): (usize, usize)) -> (u32, u32) {
        // There are at most `MOST_CLASSES` of either.
        let along = |index: usize| index as u32 * self.cell;
        (self.left + along(column), self.top + along(row))
    }

    fn headings(&self, canvas: &mut Canvas) {
        let mut put = |text, at, anchor, turn| {
            canvas.text(text, Font::SMALL, FAINT, at, anchor, turn);
        };
        let centred = |v_pos| Pos::new(HPos::Center, v_pos);
        let middle = self.extent / 2;
        let (across, down) = (self.left + middle, self.top + middle);
        let at = place(across, MARGIN + TITLE);
        put("predicted", at, centred(VPos::Top), FontTransform::None);
        let at = place(MARGIN, down);
        put("true", at, centred(VPos::Top), FontTransform::Rotate270);
    }

    fn names(&self, canvas: &mut Canvas, names: &[String]) {
        for (index, name) in names.iter().enumerate().step_by(self.apart) {
            let (x, y) = self.corner((index, index));
            let mut put = |at, anchor, turn| canvas.text(name, self.font, INK, at, anchor, turn);
            let at = place(self.left - 6, y + self.cell / 2);
            let anchor = Pos::new(HPos::Right, VPos::Center);
            put(at, anchor, FontTransform::None);
            let at = place(x + self.cell / 2, self.top - 5);
            match self.upright {
                true => put(
                    at,
                    Pos::new(HPos::Center, VPos::Bottom),
                    FontTransform::None,
                ),
                false => {
                    let anchor = Pos::new(HPos::Left, VPos::Center);
                    put(at, anchor, FontTransform::Rotate270);
                }
            }
        }
    }

    /// What the colours mean.
    fn scale(&self, canvas: &mut Canvas) {
        let (x, height) = (self.left + self.extent + 20, self.extent.clamp(100, 300));
        for (line, words) in [(36, "share of"), (22, "the row")] {
            canvas.line(words, Font::SMALL, FAINT, place(x, self.top - line));
        }
        for y in 0..height {
            let root = 1.0 - f64::from(y) / f64::from(height - 1);
            canvas.fill((x, self.top + y), (14, 1), colour(root * root));
        }
        for (percent, share) in [
            ("100 %", 1.0),
            ("50 %", 0.5),
            ("20 %", 0.2),
            ("5 %", 0.05),
            ("0", 0.0),
        ] {
            let down = (f64::from(height - 1) * (1.0 - f64::sqrt(share))).round();
            let at = place(x + 19, self.top + down as u32);
            let anchor = Pos::new(HPos::Left, VPos::Center);
            canvas.text(percent, Font::SMALL, FAINT, at, anchor, FontTransform::None);
        }
    }
}

/// A picture has less than 2³¹ pixels a side.
fn place(x: u32, y: u32) -> (i32, i32) {
    (x as i32, y as i32)
}

/// Of a share of a row.
fn colour(share: f64) -> Rgb<u8> {
    let at = share.clamp(0.0, 1.0).sqrt() * (BLUES.len() - 1) as f64;
    let index = (at as usize).min(BLUES.len() - 2);
    let (from, to) = (BLUES[index], BLUES[index + 1]);
    let mixed = |channel: usize| {
        let (from, to) = (f64::from(from[channel]), f64::from(to[channel]));
        (from + (to - from) * (at - index as f64)).round() as u8
    };
    Rgb([0, 1, 2].map(mixed))
}

/// Whether white is easier to read on it than black.
fn dark(Rgb([red, green, blue]): Rgb<u8>) -> bool {
    299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue) < 140_000
}

fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        whole => format!("{:.2} %", 100.0 * part as f64 / whole as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, arr2};

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("class {index}")).collect()
    }

    /// The matrix of a picture: where it begins, and its cells' distance.
    fn frame(image: &RgbImage, classes: u32) -> (u32, u32, u32) {
        // The first cell is right in every matrix here: the darkest blue, before that of the scale.
        let darkest = |&(.., pixel): &(u32, u32, &Rgb<u8>)| pixel.0 == BLUES[5];
        let (x, y, _) = image.enumerate_pixels().find(darkest).unwrap();
        (x, y, (MATRIX / classes).min(CELL))
    }

    #[test]
    fn cells_have_the_colours_of_their_shares() {
        let counts = arr2(&[[9, 0, 0], [25, 75, 0], [0, 0, 0]]);
        let short = ["a", "b", "c"].map(str::to_owned);
        let image = pixels(counts.view(), &short).unwrap();
        let (left, top, cell) = frame(&image, 3);
        let corner = |row: u32, column: u32| {
            image
                .get_pixel(left + column * cell + 1, top + row * cell + 1)
                .0
        };
        assert_eq!(corner(0, 0), BLUES[5]);
        assert_eq!([corner(0, 1), corner(1, 2), corner(2, 2)], [BLUES[0]; 3]);
        // √0.25 lies half way between the third and the fourth colour.
        assert_eq!(corner(1, 0), [118, 178, 214]);
        assert_eq!(corner(1, 1), colour(0.75).0);
        // White numbers on dark cells, none of them elsewhere.
        let inside = |row: u32, column: u32, colour: [u8; 3]| {
            let (x, y) = (left + column * cell, top + row * cell);
            let places = (0..53).flat_map(|dy| (0..53).map(move |dx| (dx, dy)));
            let pixels = places.map(|(dx, dy)| image.get_pixel(x + dx, y + dy).0);
            pixels.filter(|&pixel| pixel == colour).count()
        };
        assert!(inside(0, 0, WHITE.0) > 10 && inside(1, 0, INK.0) > 10);
        assert!(inside(0, 1, FAINT.0) > 10);
        assert_eq!(inside(1, 0, WHITE.0), 0);
    }

    #[test]
    fn ten_classes_have_numbers_and_a_hundred_have_colours() {
        for (classes, cell, numbered) in [(10, 54, true), (100, 9, false)] {
            let mut counts = Array2::<u64>::eye(classes) * 950;
            counts[[1, 2]] = 50;
            let image = pixels(counts.view(), &names(classes)).unwrap();
            let (left, top, size) = frame(&image, classes as u32);
            assert_eq!(size, cell);
            let last = (classes as u32 - 1) * cell;
            assert_eq!(image.get_pixel(left + last, top + last).0, BLUES[5]);
            let corner = image.get_pixel(left + 2 * cell, top + cell);
            assert_eq!(*corner, colour(0.05));
            let white = image.pixels().filter(|&&pixel| pixel == WHITE).count();
            assert_eq!(white > 0, numbered);
            assert!(image.width() < 1300 && image.height() < 1300);
        }
    }

    #[test]
    fn any_number_of_classes_is_drawn() {
        for classes in [1, 2, 20, 37, 300, 1000, 1500] {
            let counts = Array2::<u64>::eye(classes) * 7;
            let image = pixels(counts.view(), &names(classes)).unwrap();
            let (left, top, cell) = frame(&image, classes as u32);
            let cell = cell.max(1);
            let last = (classes as u32 - 1) * cell;
            assert_eq!(
                image.get_pixel(left + last, top + last).0,
                BLUES[5],
                "{classes}"
            );
            assert_eq!(
                table(counts.view(), &names(classes)).unwrap().is_some(),
                classes <= 20
            );
        }
        let huge = arr2(&[[u64::MAX / 2, 0], [1, u64::MAX / 2]]);
        let long = ["x".repeat(500), "a\u{1b}[2J\nb".to_owned()];
        pixels(huge.view(), &long).unwrap();
        let lines = table(huge.view(), &long).unwrap().unwrap();
        assert!(lines.iter().all(|line| !line.contains(char::is_control)));
    }

    #[test]
    fn the_table_is_aligned_and_says_what_was_right() {
        let counts = arr2(&[[95, 5, 0], [0, 1000, 0], [0, 0, 0]]);
        let names = ["cat", "dog", "ox"].map(str::to_owned);
        assert_eq!(
            table(counts.view(), &names).unwrap().unwrap(),
            [
                "true \\ predicted  cat   dog  ox     right",
                "cat                95     5   0   95.00 %",
                "dog                 0  1000   0  100.00 %",
                "ox                  0     0   0         -",
                "accuracy 99.55 % (1095 of 1100)",
            ]
        );
    }

    #[test]
    fn what_is_no_confusion_matrix_is_refused() {
        let refused = |counts: &Array2<u64>, count: usize| {
            let error = pixels(counts.view(), &names(count)).unwrap_err();
            assert_eq!(table(counts.view(), &names(count)).unwrap_err(), error);
            error
        };
        let error = refused(&Array2::zeros((0, 0)), 0);
        assert!(matches!(error, Error::ZeroCount { what: "classes" }));
        for (shape, count) in [((2, 3), 2), ((2, 2), 3), ((0, 0), 1)] {
            let error = refused(&Array2::zeros(shape), count);
            assert!(matches!(error, Error::Shape { .. }), "{error}");
        }
        let error = refused(&arr2(&[[u64::MAX, 1], [0, 0]]), 2);
        assert!(matches!(error, Error::Overflow { .. }));
        let error = refused(&arr2(&[[u64::MAX, 0], [0, 1]]), 2);
        assert!(matches!(error, Error::Overflow { .. }));
        let many = ndarray::arr0(0u64);
        let many = many.broadcast((5000, 5000)).unwrap();
        assert!(
            pixels(many, &names(5000))
                .unwrap_err()
                .to_string()
                .contains("4096")
        );
        // Nothing was tested.
        let zero = Array2::zeros((2, 2));
        pixels(zero.view(), &names(2)).unwrap();
        let lines = table(zero.view(), &names(2)).unwrap().unwrap();
        assert_eq!(lines.last().unwrap(), "accuracy - (0 of 0)");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.png");
        write(&path, zero.view(), &names(2)).unwrap();
        let image = image::open(&path).unwrap().into_rgb8();
        assert_eq!(image, pixels(zero.view(), &names(2)).unwrap());
    }
}
