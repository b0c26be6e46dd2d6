//! One block of the result: its window, then a product for each phase.

use std::ops::Range;

use ndarray::{ArrayView3, ArrayViewMut3, Axis, s};

use super::super::pack::Place;
use super::{Phase, Sweep};
use crate::kernel::{Far, Finish, Left, MOST_LANES, Map, Panels, Product, Turns};

/// Numbers of the weights of a phase that do not stay in the second-level cache from line to line: half of 2 MiB.
const MANY: usize = (1 << 20) / size_of::<f32>();

/// What is added to a part of the result, and its last function.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) residual: Option<ArrayView3<'a, f32>>,
    pub(super) map: Map,
}

impl Part<'_> {
    /// For some of its channels.
    pub(super) fn channels(&self, some: Range<usize>) -> Part<'_> {
        Part {
            bias: self.bias.map(|bias| &bias[some.clone()]),
            residual: (self.residual.as_ref()).map(|residual| residual.slice(s![.., some, ..])),
            map: self.map,
        }
    }
}

impl Sweep {
    /// One block of the result, channels `channel..` of it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn block(
        &self,
        x: &[f32],
        weights: &[f32],
        place: &Place,
        channel: usize,
        mut tile: ArrayViewMut3<'_, f32>,
        part: Part<'_>,
        scratch: &mut [f32],
    ) {
        let group = channel / self.results;
        let first = group * self.sources;
        let a: &[f32] = if !self.blocks.packed {
            &x[self.source.direct(place, first)..]
        } else {
            let window = &mut scratch[..self.blocks.window_len()];
            if self.blocks.plain {
                let channels = channel..channel + tile.len_of(Axis(1));
                self.source.pack(x, place, channels, &self.blocks, window);
            } else if self.blocks.grouped {
                let mut lanes = [0; MOST_LANES];
                let count = tile.len_of(Axis(1));
                for (lane, from) in lanes.iter_mut().enumerate().take(count) {
                    *from = (channel + lane) / self.results * self.sources;
                }
                let shape = [self.sources, self.blocks.pitch()];
                self.source
                    .pack_lanes(x, place, &lanes[..count], &self.blocks, shape, window);
            } else {
                let channels = first..first + self.sources;
                self.source.pack(x, place, channels, &self.blocks, window);
            }
            window
        };
        let (columns, column) = if self.blocks.grouped {
            (self.groups * self.results, channel)
        } else {
            (self.results, channel - group * self.results)
        };
        let padded = Panels::new(self.blocks.isa, self.left(), columns).columns();
        let terms: usize = self.phases.iter().map(|phase| phase.terms.len()).sum();
        for phase in &self.phases {
            let group = if self.blocks.grouped { 0 } else { group };
            let product = Product {
                left: self.left(),
                a,
                rows: &phase.rows,
                terms: &phase.terms,
                b: &weights[padded * (group * terms + phase.before)..]
                    [..padded * phase.terms.len()],
                apart: None,
                columns,
                turns: Turns::LONG,
                first: column,
                far: if !self.blocks.packed && self.is_far() {
                    Far::Rows
                } else {
                    Far::Nothing
                },
            };
            if self.phases.len() == 1 {
                self.whole(&product, tile.view_mut(), part);
            } else {
                self.panels_of_lines(&product, phase, place, &mut tile, part);
            }
        }
    }

    /// All positions of a tile in one product, or one for each image.
    fn whole(&self, product: &Product<'_>, mut tile: ArrayViewMut3<'_, f32>, part: Part<'_>) {
        // Channels last, the images of a block follow each other.
        let mut residual = part.residual;
        let merged = tile.merge_axes(Axis(0), Axis(2));
        if let (true, Some(residual)) = (merged, &mut residual) {
            residual.merge_axes(Axis(0), Axis(2));
        }
        let positions = tile.len_of(Axis(2));
        for (image, tile) in tile.axis_iter_mut(Axis(0)).enumerate() {
            let product = Product {
                rows: &product.rows[image * positions..(image + 1) * positions],
                ..*product
            };
            let finish = Finish {
                accumulate: false,
                bias: part.bias,
                residual: residual
                    .as_ref()
                    .map(|residual| residual.index_axis(Axis(0), image).reversed_axes()),
                map: part.map,
            };
            product.run(self.blocks.isa, tile.reversed_axes(), &finish);
        }
    }

    /// The positions of one phase, line by line; all lines meet one panel before the next where the weights are many,
    /// so that it is read once from beyond the second-level cache.
    fn panels_of_lines(
        &self,
        product: &Product<'_>,
        phase: &Phase,
        place: &Place,
        tile: &mut ArrayViewMut3<'_, f32>,
        part: Part<'_>,
    ) {
        let end = product.first + tile.len_of(Axis(1));
        if product.left != Left::Scalars || product.b.len() < MANY {
            return self.lines(product, phase, place, tile, part);
        }
        let panels = Panels::new(self.blocks.isa, product.left, product.columns);
        let wanted = panels
            .each()
            .filter(|(first, _)| (product.first..end).contains(first));
        for (first, width) in wanted {
            let some = first - product.first..(first + width).min(end) - product.first;
            let part = part.channels(some.clone());
            let mut tile = tile.slice_mut(s![.., some, ..]);
            let product = Product { first, ..*product };
            self.lines(&product, phase, place, &mut tile, part);
        }
    }

    /// The positions of one phase, line by line.
    fn lines(
        &self,
        product: &Product<'_>,
        phase: &Phase,
        place: &Place,
        tile: &mut ArrayViewMut3<'_, f32>,
        part: Part<'_>,
    ) {
        let counts = [0, 1, 2]
            .map(|axis| self.source.axes[axis].positions(phase.first[axis], place.lengths[axis]));
        if counts[2] == 0 {
            return;
        }
        let [_, rows, columns] = place.lengths;
        for image in 0..place.images {
            for z in 0..counts[0] {
                for y in 0..counts[1] {
                    let plane = phase.first[0] + z * self.steps[0];
                    let row = phase.first[1] + y * self.steps[1];
                    let begin = (plane * rows + row) * columns + phase.first[2];
                    let end = (plane * rows + row + 1) * columns;
                    let line = s![image, .., begin..end;self.steps[2]];
                    let at = image * self.strides.image
                        + z * self.source.axes[0].step * self.strides.axes[0]
                        + y * self.source.axes[1].step * self.strides.axes[1];
                    let product = Product {
                        a: &product.a[at..],
                        rows: &product.rows[..counts[2]],
                        ..*product
                    };
                    let finish = Finish {
                        accumulate: false,
                        bias: part.bias,
                        residual: part
                            .residual
                            .map(|residual| residual.slice_move(line).reversed_axes()),
                        map: part.map,
                    };
                    let tile = tile.slice_mut(line);
                    product.run(self.blocks.isa, tile.reversed_axes(), &finish);
                }
            }
        }
    }
}
