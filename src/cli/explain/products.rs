//! The matrices of a scene, and the sums behind single numbers.

use std::collections::HashMap;

use super::grid::{Block, Cell, Extent, Hue, Mark, Table, number};
use super::terminal::{MOST_PLANES, Scene};

/// The most rows of a matrix.
const MOST_ROWS: usize = 27;

/// The most columns of a matrix, however long the line.
const MOST_COLUMNS: usize = 64;

/// The most lines of sums.
const MOST_SUMS: usize = 30;

/// The most terms of a sum that is written out.
const MOST_TERMS: usize = 27;

impl Scene<'_> {
    /// A cell of X̂; the padding is a sign there.
    pub(super) fn patch_cell(&self, row: usize, p: usize) -> Cell {
        match self.patch_mark(row, p) {
            (mark, true) => Cell::of(self.model.patches[[row, p]], mark),
            (mark, false) => Cell::sign("·", mark),
        }
    }

    /// A cell of dX̂; what it has for the padding is dropped.
    pub(super) fn d_patch_cell(&self, row: usize, p: usize) -> Cell {
        Cell::of(self.model.d_patches[[row, p]], self.patch_mark(row, p).0)
    }

    /// The mark of a cell of the patch matrix, and whether it holds a pixel.
    fn patch_mark(&self, row: usize, p: usize) -> (Mark, bool) {
        let ([_, width], _) = self.model.padded();
        let source = self.model.sources[[row % self.model.geometry.patch().taps(), p]];
        let holds = self.model.pixel(source / width, source % width).is_some();
        match self.mark(p, row < self.model.geometry.patch_len()) {
            Mark::Plain if !holds => (Mark::Faint, holds),
            mark => (mark, holds),
        }
    }

    pub(super) fn output_cell(
        &self,
        group: usize,
        row: usize,
        p: usize,
        done: Option<usize>,
        values: &ndarray::Array2<f64>,
    ) -> Cell {
        if done.is_some_and(|done| p >= done) {
            return Cell::sign("_", Mark::Faint);
        }
        let output = group * self.model.geometry.outputs_per_group() + row;
        Cell::of(values[[output, p]], self.mark(p, group == 0))
    }

    /// A factor of a product, or its result.
    pub(super) fn matrix(
        &self,
        name: &str,
        letters: &str,
        side: Side,
        group: usize,
        cell: &dyn Fn(usize, usize) -> Cell,
    ) -> Table {
        let geometry = &self.model.geometry;
        let (k, p, o) = (
            geometry.patch_len(),
            geometry.positions(),
            geometry.outputs_per_group(),
        );
        let (rows, columns) = match side {
            Side::Weight => (o, k),
            Side::TransposedWeight => (k, o),
            Side::Patches => (k, p),
            Side::Transposed => (p, k),
            Side::Output => (o, p),
        };
        let (row, column) = match side {
            Side::Weight | Side::TransposedWeight => (0, 0),
            Side::Patches | Side::Output => (0, self.at),
            Side::Transposed => (self.at, 0),
        };
        let of_group = match geometry.groups() {
            1 => String::new(),
            _ => format!("group {group}: "),
        };
        let extent = Extent {
            sizes: [rows, columns],
            at: [row, column],
            most: [MOST_ROWS, MOST_COLUMNS],
        };
        let title = format!("{of_group}{name} ({letters} = {rows} × {columns})");
        let hue = match side {
            Side::Weight | Side::TransposedWeight => Hue::Weights,
            Side::Patches | Side::Transposed => Hue::Image,
            Side::Output => Hue::Output,
        };
        Table::fitted(title, hue, extent, self.line, cell)
    }

    /// The sums behind the outputs of the position.
    pub(super) fn products(&self) -> Block {
        let model = self.model;
        let columns = model.geometry.patch().outputs()[1];
        let outputs = model.geometry.outputs_per_group();
        let place = format!("{}, {}", self.at / columns, self.at % columns);
        let k = model.geometry.patch_len();
        let mut lines = Vec::new();
        for o in 0..outputs.min(MOST_PLANES) {
            let rows = model.rows_of(o);
            let patch = model.patches.column(self.at);
            let factors = model
                .weights
                .row(o)
                .into_iter()
                .zip(patch.iter().skip(rows.start));
            let terms = factors.map(|(w, x)| format!("{}·{}", signed(*w), signed(*x)));
            let channel = match model.geometry.output_channels() {
                1 => String::new(),
                _ => format!("{o}; "),
            };
            lines.push(format!(
                "Y[{channel}{place}] = {} = {}",
                sum(terms, k),
                number(model.y[[o, self.at]])
            ));
        }
        lines
    }

    /// The sums that fold makes, a line for each pixel.
    pub(super) fn folds(&self, folded: &ndarray::Array3<f64>) -> Block {
        let model = self.model;
        let taps = model.geometry.patch().taps();
        let ([_, width], [top, left]) = model.padded();
        let pixel = |i: usize, j: usize| (i + top) * width + j + left;
        let (channels, height, columns) = folded.dim();
        let mut meetings: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
        for ((_, i, j), _) in folded.indexed_iter().take(MOST_SUMS) {
            meetings.insert(pixel(i, j), Vec::new());
        }
        for ((tap, p), source) in model.sources.indexed_iter() {
            if p < self.done
                && let Some(places) = meetings.get_mut(source)
            {
                places.push((p, tap));
            }
        }
        meetings
            .values_mut()
            .for_each(|places| places.sort_unstable());

        let mut lines = vec![self.paint.title("dX = fold(dX̂): what overlaps is added")];
        for ((c, i, j), &value) in folded.indexed_iter().take(MOST_SUMS) {
            let places = &meetings[&pixel(i, j)];
            let term = |&(p, tap): &(usize, usize)| signed(model.d_patches[[c * taps + tap, p]]);
            let told = match places.len() {
                0 => "nothing reaches it: 0".to_owned(),
                1 => number(value),
                count => format!(
                    "{} = {}",
                    sum(places.iter().map(term), count),
                    number(value)
                ),
            };
            let channel = match channels {
                1 => String::new(),
                _ => format!("{c}; "),
            };
            lines.push(format!("dX[{channel}{i}, {j}] = {told}"));
        }
        let left_out = (channels * height * columns).saturating_sub(MOST_SUMS);
        if left_out > 0 {
            lines.push(self.paint.faint(&format!("… {left_out} more pixels")));
        }
        lines
    }
}

/// Which matrix of the products.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Weight,
    TransposedWeight,
    Patches,
    Transposed,
    Output,
}

/// `a + b + …`, of `count` terms.
fn sum(terms: impl Iterator<Item = String>, count: usize) -> String {
    let mut shown: Vec<String> = terms.take(MOST_TERMS).collect();
    if count > MOST_TERMS {
        shown.push(format!("… {} more", count - MOST_TERMS));
    }
    shown.join(" + ")
}

/// A number that may follow a sign.
fn signed(value: f64) -> String {
    let text = number(value);
    if text.starts_with('-') {
        format!("({text})")
    } else {
        text
    }
}
