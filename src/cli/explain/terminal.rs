//! The picture in the terminal: image, kernels and output, then the products.
//!
//! ```text
//! image X      kernel W    output Y
//! [0] [1]  2   [0] [1]     [19] 25
//! [3] [4]  5   [2] [3]      37  43         W (O × K) · X̂ (K × P) = Y (O × P)
//!  6   7   8                               Y[0, 0] = 0·0 + 1·1 + 2·3 + 3·4 = 19
//! ```
//!
//! One position is marked in all of them. Nothing is computed here; `products` draws the matrices.

use std::ops::Range;

use anyhow::Result;
use ndarray::Array3;

use super::grid::{Block, Cell, Extent, Hue, Mark, Paint, Table, beside};
use super::model::Model;
use super::products::Side;

/// The most channels, kernels and groups that are shown.
pub(super) const MOST_PLANES: usize = 4;

/// The most rows or columns of a plane.
const MOST_SIDE: usize = 16;

/// One position of one model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'m> {
    pub model: &'m Model,
    /// The position that is marked.
    pub at: usize,
    /// Positions that are computed, in order.
    pub done: usize,
    /// Characters of a line.
    pub line: usize,
    pub paint: Paint,
}

impl Scene<'_> {
    /// Sizes, and how the output's come about.
    pub fn sizes(&self) -> Block {
        let geometry = &self.model.geometry;
        let axes = geometry.axes();
        let pair = |value: &dyn Fn(&crate::Axis) -> String| {
            let [rows, columns] = [value(&axes[0]), value(&axes[1])];
            if rows == columns {
                rows
            } else {
                format!("{rows} × {columns}")
            }
        };
        let pad = |axis: &crate::Axis| match axis.pad() {
            (before, after) if before == after => before.to_string(),
            (before, after) => format!("{before} + {after}"),
        };
        let mut lines = vec![format!(
            "stride {}, padding {}, dilation {}, groups {}",
            pair(&|axis| axis.stride().to_string()),
            pair(&pad),
            pair(&|axis| axis.dilation().to_string()),
            geometry.groups()
        )];
        for (axis, name) in axes.iter().zip(["rows", "columns"]) {
            let (before, after) = axis.pad();
            lines.push(format!(
                "output {name}: ⌊({} + {} − {}) / {}⌋ + 1 = {}",
                axis.input(),
                before as u128 + after as u128,
                axis.extent(),
                axis.stride(),
                axis.output()
            ));
        }
        lines.push(String::new());
        lines
    }

    /// The forward pass.
    pub fn forward(&self) -> Block {
        let mut lines = self.lines(&self.forward_tables());
        lines.extend(self.products());
        lines
    }

    /// Image, kernels and output, then the product of each group.
    pub fn forward_tables(&self) -> Vec<Vec<Table>> {
        let model = self.model;
        let per_group = model.geometry.outputs_per_group();
        let mut rows = vec![
            [
                self.images("image X", &|c, [i, j]| model.x[[c, i, j]]),
                self.kernels("kernel W", Mark::Kernel, &|o, k| model.weights[[o, k]]),
                self.outputs("output Y", Some(self.done), &|o, p| model.y[[o, p]]),
            ]
            .concat(),
        ];
        for group in self.groups(&mut rows) {
            let first = model.rows_of(group * per_group).start;
            rows.push(vec![
                self.matrix("W", "O × K", Side::Weight, group, &|row, k| {
                    let mark = match group + row {
                        0 => Mark::Kernel,
                        _ => Mark::Plain,
                    };
                    Cell::of(model.weights[[group * per_group + row, k]], mark)
                }),
                self.matrix(
                    "X̂ = im2col(X)",
                    "K × P",
                    Side::Patches,
                    group,
                    &|row, p| match p < self.done {
                        true => self.patch_cell(first + row, p),
                        false => Cell::sign("_", Mark::Faint),
                    },
                )
                .behind("·"),
                self.matrix("Y = W · X̂", "O × P", Side::Output, group, &|row, p| {
                    self.output_cell(group, row, p, Some(self.done), &model.y)
                })
                .behind("="),
            ]);
        }
        rows
    }

    /// The gradients, dX̂ folded as far as it is done.
    ///
    /// # Errors
    /// No memory for the folded part.
    pub fn backward(&self) -> Result<Block> {
        let folded = self.folded()?;
        let mut lines = self.lines(&self.backward_tables(&folded));
        lines.extend(self.folds(&folded));
        Ok(lines)
    }

    /// dX as far as it is done.
    ///
    /// # Errors
    /// No memory for it.
    pub fn folded(&self) -> Result<Array3<f64>> {
        match self.done == self.model.geometry.positions() {
            true => Ok(self.model.d_input.clone()),
            false => self.model.folded(self.done),
        }
    }

    /// The gradients of output, kernels and image, then the products of each group.
    pub fn backward_tables(&self, folded: &Array3<f64>) -> Vec<Vec<Table>> {
        let model = self.model;
        let per_group = model.geometry.outputs_per_group();
        let mut rows = vec![
            [
                self.outputs("gradient of the output dY", None, &|o, p| {
                    model.d_output[[o, p]]
                }),
                self.kernels("gradient of the kernel dW", Mark::Plain, &|o, k| {
                    model.d_weight[[o, k]]
                }),
                self.images("gradient of the image dX", &|c, [i, j]| folded[[c, i, j]]),
            ]
            .concat(),
        ];
        for group in self.groups(&mut rows) {
            let first = model.rows_of(group * per_group).start;
            let of_group = |row: usize| group * per_group + row;
            let d_output = self.matrix("dY", "O × P", Side::Output, group, &|row, p| {
                self.output_cell(group, row, p, None, &model.d_output)
            });
            rows.push(vec![
                d_output.clone(),
                self.matrix("X̂ᵀ", "P × K", Side::Transposed, group, &|p, row| {
                    self.patch_cell(first + row, p)
                })
                .behind("·"),
                self.matrix(
                    "dW = dY · X̂ᵀ",
                    "O × K",
                    Side::Weight,
                    group,
                    &|row, k| Cell::of(model.d_weight[[of_group(row), k]], Mark::Plain),
                )
                .behind("="),
            ]);
            rows.push(vec![
                self.matrix(
                    "Wᵀ",
                    "K × O",
                    Side::TransposedWeight,
                    group,
                    &|k, row| Cell::of(model.weights[[of_group(row), k]], Mark::Plain),
                ),
                d_output.behind("·"),
                self.matrix(
                    "dX̂ = Wᵀ · dY",
                    "K × P",
                    Side::Patches,
                    group,
                    &|row, p| self.d_patch_cell(first + row, p),
                )
                .behind("="),
            ]);
        }
        rows
    }

    /// Rows of tables, each as far as the line goes.
    fn lines(&self, rows: &[Vec<Table>]) -> Block {
        let mut lines = Vec::new();
        for row in rows {
            let blocks = row.iter().map(|table| table.block(self.paint)).collect();
            lines.extend(beside(blocks, self.line));
            lines.push(String::new());
        }
        lines
    }

    /// The groups that are shown; says how many are not.
    fn groups(&self, rows: &mut Vec<Vec<Table>>) -> Range<usize> {
        let groups = self.model.geometry.groups();
        if groups > MOST_PLANES {
            let words = format!("… the products of {MOST_PLANES} of {groups} groups follow");
            rows.push(vec![Table::note(words)]);
        }
        0..groups.min(MOST_PLANES)
    }

    /// The channels of an image, with the padding around it.
    fn images(&self, name: &str, value: &dyn Fn(usize, [usize; 2]) -> f64) -> Vec<Table> {
        let model = self.model;
        let ([height, width], _) = model.padded();
        let channels = model.geometry.input_channels();
        // In ascending order, as taps are.
        let met: Vec<usize> = model.sources.column(self.at).to_vec();
        let in_group = model.geometry.channels_per_group();
        let at = [met[0] / width, met[0] % width];
        (0..channels.min(MOST_PLANES))
            .map(|c| {
                let title = plane_title(name, c, channels, &model.x.shape()[1..]);
                self.plane(title, Hue::Image, [height, width], at, &|i, j| {
                    let is_met = c < in_group && met.binary_search(&(i * width + j)).is_ok();
                    let mark = if is_met { Mark::Patch } else { Mark::Plain };
                    match model.pixel(i, j) {
                        Some(pixel) => Cell::of(value(c, pixel), mark),
                        None if is_met => Cell::sign("·", mark),
                        None => Cell::sign("·", Mark::Faint),
                    }
                })
            })
            .chain(self.omitted(channels, "channels"))
            .collect()
    }

    /// The kernels, or their gradients.
    fn kernels(&self, name: &str, first: Mark, value: &dyn Fn(usize, usize) -> f64) -> Vec<Table> {
        let geometry = &self.model.geometry;
        let (outputs, channels) = (geometry.output_channels(), geometry.channels_per_group());
        let [height, width] = [geometry.axes()[0].kernel(), geometry.axes()[1].kernel()];
        let mut tables = Vec::new();
        for o in 0..outputs.min(MOST_PLANES) {
            for c in 0..channels.min(MOST_PLANES) {
                let which = match (outputs, channels) {
                    (1, 1) => String::new(),
                    (_, 1) => format!(" {o}"),
                    (1, _) => format!(", channel {c}"),
                    _ => format!(" {o}, channel {c}"),
                };
                let title = format!("{name}{which} {height}×{width}");
                tables.push(
                    self.plane(title, Hue::Weights, [height, width], [0, 0], &|i, j| {
                        let k = (c * height + i) * width + j;
                        Cell::of(value(o, k), if o == 0 { first } else { Mark::Plain })
                    }),
                );
            }
        }
        tables.extend(self.omitted(outputs, "kernels"));
        tables.extend(self.omitted(channels, "channels of each"));
        tables
    }

    /// The channels of an output, or its gradient.
    fn outputs(
        &self,
        name: &str,
        done: Option<usize>,
        value: &dyn Fn(usize, usize) -> f64,
    ) -> Vec<Table> {
        let axes = self.model.geometry.axes();
        let sides = [axes[0].output(), axes[1].output()];
        let outputs = self.model.geometry.output_channels();
        let per_group = self.model.geometry.outputs_per_group();
        let at = [self.at / sides[1], self.at % sides[1]];
        (0..outputs.min(MOST_PLANES))
            .map(|o| {
                let title = plane_title(name, o, outputs, &sides);
                self.plane(
                    title,
                    Hue::Output,
                    sides,
                    at,
                    &|i, j| match i * sides[1] + j {
                        p if done.is_some_and(|done| p >= done) => Cell::sign("_", Mark::Faint),
                        p => Cell::of(value(o, p), self.mark(p, o / per_group == 0)),
                    },
                )
            })
            .chain(self.omitted(outputs, "channels"))
            .collect()
    }

    pub(super) fn mark(&self, position: usize, concerned: bool) -> Mark {
        if position == self.at && concerned {
            Mark::Patch
        } else {
            Mark::Plain
        }
    }

    fn omitted(&self, count: usize, what: &str) -> Option<Table> {
        let left = count.checked_sub(MOST_PLANES).filter(|&left| left > 0)?;
        Some(Table::note(format!("… {left} more {what}")))
    }

    fn plane(
        &self,
        title: String,
        hue: Hue,
        sizes: [usize; 2],
        at: [usize; 2],
        cell: &dyn Fn(usize, usize) -> Cell,
    ) -> Table {
        let most = [MOST_SIDE, MOST_SIDE];
        Table::fitted(title, hue, Extent { sizes, at, most }, self.line, cell)
    }
}

fn plane_title(name: &str, plane: usize, planes: usize, sides: &[usize]) -> String {
    let which = if planes == 1 {
        String::new()
    } else {
        format!(", channel {plane}")
    };
    format!("{name}{which} {}×{}", sides[0], sides[1])
}
