//! Convolution as the three products, with patches unfolded tile by tile.
//!
//! ```text
//! forward          for each tile of Y:        Y (O × p)  ← Σ_rows  W (O × rows) · X̂ (rows × p);   epilogue
//! backward input   for each channel block:    dX ← Σ_tiles fold( Wᵀ (rows × O) · dY (O × p) )
//! backward weight  for each row block:        dW (O × rows) ← Σ_tiles  dY (O × p) · X̂ᵀ (p × rows)
//! ```
//!
//! Deviations made for speed:
//! 1. Tiles are cut by [`Tiles`]; parallel tasks are disjoint parts of the output, so nothing is
//!    added across threads and no order depends on them.
//! 2. Channels first, several small images share one product: its result (or the output gradient)
//!    passes through a staging block, `[O, images · P]`.
//! 3. Where the image is its own patch matrix, nothing is unfolded or folded.
//!
//! Both layouts run the same code: matrices are views, and channels last only changes their strides.
//! A *sheet* is the batch as `[images, channels, columns]` of which a product sees one image: `[N, C, P]`
//! channels first, `[1, C, N · P]` channels last.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis, s};

use super::epilogue::Epilogue;
use crate::element::Element;
use crate::error::Result;
use crate::gemm::{Engine, product};
use crate::geometry::{ConvGeometry, Layout};
use crate::parallel::{Lanes, try_for_each_tile};
use crate::plan::{Patches, Tiles};
use crate::unfold::{Block, fold_tile, planes, planes_mut, unfold_tile};

/// One pass of one geometry, ready to run.
pub(super) struct Job<'a, T> {
    pub(super) geometry: &'a ConvGeometry,
    pub(super) tiles: &'a Tiles,
    pub(super) engine: &'a dyn Engine<T>,
    pub(super) parallel: bool,
}

/// Blocks of `0..total`, `step` long.
fn blocks(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(step.max(1))
        .map(move |begin| begin..(begin + step).min(end))
}

impl<T: Element> Job<'_, T> {
    fn last(&self) -> bool {
        self.geometry.layout() == Layout::ChannelsLast
    }

    /// The shape of a sheet of `channels` channels over the output positions.
    fn sheet(&self, channels: usize) -> [usize; 3] {
        let (batch, positions) = (self.geometry.batch(), self.geometry.positions());
        if self.last() {
            [1, channels, batch * positions]
        } else {
            [batch, channels, positions]
        }
    }

    /// `data` (a batch over the output positions) as a sheet.
    fn sheet_of<'d>(&self, channels: usize, data: &'d [T]) -> Result<ArrayView3<'d, T>> {
        planes(self.geometry.layout(), self.sheet(channels), data)
    }

    /// The columns of the whole batch, cut as the tiles say; a cut never falls inside a shared tile.
    fn column_blocks(&self, columns: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<T> {
        let positions = self.geometry.positions();
        let step = self.tiles.columns;
        // Channels first, a tile is a part of one image or a number of whole ones.
        let outer = if self.last() || self.tiles.images > 1 {
            columns.len().max(1)
        } else {
            positions
        };
        blocks(columns, outer).flat_map(move |image| blocks(image, step))
    }

    /// X̂ of one group: rows `rows` of its patch, `columns` of the batch. `scratch` holds it if it is unfolded.
    fn patches<'d>(
        &self,
        x: &'d [T],
        group: usize,
        rows: &Range<usize>,
        columns: &Range<usize>,
        scratch: &'d mut [T],
    ) -> Result<ArrayView2<'d, T>> {
        let channels = self.geometry.channels_per_group();
        let first = group * channels;
        if self.tiles.patches == Patches::Image {
            // One tap: the row of a patch is the channel.
            let sheet = self.sheet_of(self.geometry.input_channels(), x)?;
            return Ok(self.part(&sheet, first + rows.start..first + rows.end, columns));
        }
        let shape = [rows.len(), columns.len()];
        let mut tile = tile_mut(self.last(), shape, scratch)?;
        let block = Block {
            channels: first..first + channels,
            rows: rows.clone(),
            columns: columns.clone(),
        };
        let pad = T::from_f64(self.geometry.patch.mode.constant());
        unfold_tile(&self.geometry.patch, x, &block, pad, &mut tile);
        tile_ref(self.last(), shape, scratch)
    }

    /// `channels` × `columns` of a sheet; the columns lie in one image of it.
    fn part<'d>(
        &self,
        sheet: &ArrayView3<'d, T>,
        channels: Range<usize>,
        columns: &Range<usize>,
    ) -> ArrayView2<'d, T> {
        let per_image = sheet.len_of(Axis(2)).max(1);
        let (image, start) = (columns.start / per_image, columns.start % per_image);
        let image = sheet.index_axis_move(Axis(0), image);
        image.slice_move(s![channels, start..start + columns.len()])
    }

    /// dY of one group (O/g × columns), staged in `scratch` where the columns span images.
    fn output_gradient<'d>(
        &self,
        dy: &ArrayView3<'d, T>,
        group: usize,
        columns: &Range<usize>,
        scratch: &'d mut [T],
    ) -> Result<ArrayView2<'d, T>> {
        let outputs = self.geometry.outputs_per_group();
        let channels = group * outputs..(group + 1) * outputs;
        if self.tiles.staged == 0 {
            return Ok(self.part(dy, channels, columns));
        }
        let positions = self.geometry.positions();
        let mut staged = tile_mut(false, [outputs, columns.len()], scratch)?;
        let first = columns.start / positions;
        for (index, mut target) in staged.axis_chunks_iter_mut(Axis(1), positions).enumerate() {
            target.assign(&dy.slice(s![first + index, channels.clone(), ..]));
        }
        tile_ref(false, [outputs, columns.len()], scratch)
    }

    /// Scratch for the patch tile, and the rest for staging.
    fn split<'s>(&self, scratch: &'s mut [T]) -> (&'s mut [T], &'s mut [T]) {
        let staging = self.tiles.staged * self.tiles.columns;
        let tile = scratch.len() - staging.min(scratch.len());
        scratch.split_at_mut(tile)
    }

    /// Y ← W · unfold(X), then the epilogue. `w` is O × K in the order of the patches.
    pub(super) fn forward(
        &self,
        x: &[T],
        w: &[T],
        epilogue: &Epilogue<'_, T>,
        y: &mut [T],
        lanes: &Lanes<'_, T>,
    ) -> Result<()> {
        let (outputs, k) = (self.geometry.outputs_per_group(), self.geometry.patch_len());
        let shape = self.sheet(self.geometry.output_channels());
        let weights = matrix([self.geometry.output_channels(), k], w)?;
        let residual = epilogue
            .residual
            .map(|residual| planes(self.geometry.layout(), shape, residual))
            .transpose()?;
        let y = planes_mut(self.geometry.layout(), shape, y)?;
        let images = if self.last() { 1 } else { self.tiles.images };
        let (groups, task) = (
            [images, outputs, self.tiles.columns],
            [images, self.tiles.outputs, self.tiles.columns],
        );
        // Groups first, then blocks of channels inside each: a block never spans two groups.
        try_for_each_tile(
            y,
            groups,
            self.parallel,
            &|[image, channel, position], group_tile| {
                let columns = image * shape[2] + position;
                let columns =
                    columns..columns + group_tile.len_of(Axis(0)) * group_tile.len_of(Axis(2));
                try_for_each_tile(
                    group_tile,
                    task,
                    self.parallel,
                    &|[_, block, _], mut tile| {
                        let first = channel + block;
                        let weights = weights.slice(s![first..first + tile.len_of(Axis(1)), ..]);
                        lanes.with(|scratch| {
                            self.forward_tile(
                                x,
                                weights,
                                channel / outputs,
                                &columns,
                                &mut tile,
                                scratch,
                            )?;
                            epilogue.apply([image, first, position], residual.as_ref(), &mut tile);
                            Ok(())
                        })
                    },
                )
            },
        )
    }

    /// One tile of Y: `[images, outputs, positions]`.
    fn forward_tile(
        &self,
        x: &[T],
        weights: ArrayView2<'_, T>,
        group: usize,
        columns: &Range<usize>,
        tile: &mut ArrayViewMut3<'_, T>,
        scratch: &mut [T],
    ) -> Result<()> {
        let (patches, staging) = self.split(scratch);
        let shares = tile.len_of(Axis(0)) > 1;
        let mut beta = T::ZERO;
        for rows in blocks(0..weights.ncols(), self.tiles.rows) {
            let weights = weights.slice(s![.., rows.clone()]);
            let patches = self.patches(x, group, &rows, columns, patches)?;
            let target = if shares {
                tile_mut(false, [weights.nrows(), columns.len()], staging)?
            } else {
                tile.index_axis_mut(Axis(0), 0)
            };
            // (O × rows) · (rows × p) -> (O × p)
            product(self.engine, weights, patches, beta, target)?;
            beta = T::ONE;
        }
        if shares {
            let staged = tile_ref(false, [weights.nrows(), columns.len()], staging)?;
            let positions = tile.len_of(Axis(2));
            for (mut image, part) in tile
                .outer_iter_mut()
                .zip(staged.axis_chunks_iter(Axis(1), positions))
            {
                image.assign(&part);
            }
        }
        Ok(())
    }

    /// dX ← fold(Wᵀ · dY). `w` is O × K in the order of the patches.
    pub(super) fn backward_input(
        &self,
        w: &[T],
        dy: &[T],
        dx: &mut [T],
        lanes: &Lanes<'_, T>,
    ) -> Result<()> {
        let (outputs, per_group) = (
            self.geometry.outputs_per_group(),
            self.geometry.channels_per_group(),
        );
        let weights = matrix(
            [self.geometry.output_channels(), self.geometry.patch_len()],
            w,
        )?;
        let dy = self.sheet_of(self.geometry.output_channels(), dy)?;
        let image_is_patches = self.tiles.patches == Patches::Image;
        let patch = &self.geometry.patch;
        let shape = match image_is_patches {
            true => self.sheet(patch.channels),
            false => [patch.batch, patch.channels, patch.pixels()],
        };
        let columns = if image_is_patches {
            self.tiles.columns
        } else {
            shape[2]
        };
        let images = if image_is_patches && self.last() {
            1
        } else {
            self.tiles.images
        };
        let dx = planes_mut(self.geometry.layout(), shape, dx)?;
        // Groups first, then blocks of channels inside each: a block never spans two groups.
        try_for_each_tile(
            dx,
            [images, per_group, columns],
            self.parallel,
            &|[image, channel, column], group_tile| {
                let group = channel / per_group;
                let weights = weights.slice(s![group * outputs..(group + 1) * outputs, ..]);
                try_for_each_tile(
                    group_tile,
                    [images, self.tiles.channels, columns],
                    self.parallel,
                    &|[_, block, _], mut tile| {
                        lanes.with(|scratch| match image_is_patches {
                            true => {
                                let columns = image * shape[2] + column;
                                let columns = columns..columns + tile.len_of(Axis(2));
                                let channels = block..block + tile.len_of(Axis(1));
                                let dy = self.output_gradient(&dy, group, &columns, &mut [])?;
                                // (C/g × O) · (O × p) -> (C/g × p)
                                let target = tile.index_axis_mut(Axis(0), 0);
                                product(
                                    self.engine,
                                    weights.slice(s![.., channels]).reversed_axes(),
                                    dy,
                                    T::ZERO,
                                    target,
                                )?;
                                Ok(())
                            }
                            false => self.backward_input_tile(
                                weights, &dy, group, block, image, &mut tile, scratch,
                            ),
                        })
                    },
                )
            },
        )
    }

    /// One block of channels of one group of dX: `[images, channels, pixels]`.
    #[allow(clippy::too_many_arguments)] // the coordinates of one task
    fn backward_input_tile(
        &self,
        weights: ArrayView2<'_, T>,
        dy: &ArrayView3<'_, T>,
        group: usize,
        first_channel: usize,
        first_image: usize,
        tile: &mut ArrayViewMut3<'_, T>,
        scratch: &mut [T],
    ) -> Result<()> {
        tile.fill(T::ZERO);
        let patch = &self.geometry.patch;
        let (taps, positions) = (patch.taps(), patch.positions());
        let (images, channels, _) = tile.dim();
        let channel = group * self.geometry.channels_per_group() + first_channel;
        let (patches, staging) = self.split(scratch);
        for columns in
            self.column_blocks(first_image * positions..(first_image + images) * positions)
        {
            let dy = self.output_gradient(dy, group, &columns, staging)?;
            for rows in blocks(0..channels * taps, self.tiles.rows) {
                // Channels last has whole groups for tasks, so `first_channel` is 0 there.
                let first_row = first_channel * taps;
                let weights = weights.slice(s![.., first_row + rows.start..first_row + rows.end]);
                let shape = [rows.len(), columns.len()];
                // (rows × O) · (O × p) -> (rows × p)
                let target = tile_mut(self.last(), shape, patches)?;
                product(self.engine, weights.reversed_axes(), dy, T::ZERO, target)?;
                let block = Block {
                    channels: channel..channel + channels,
                    rows,
                    columns: columns.clone(),
                };
                fold_tile(
                    patch,
                    &block,
                    tile_ref(self.last(), shape, patches)?,
                    first_image,
                    tile,
                );
            }
        }
        Ok(())
    }

    /// dW ← dY · unfold(X)ᵀ. `dw` is O × K in the order of the patches.
    pub(super) fn backward_weight(
        &self,
        x: &[T],
        dy: &[T],
        dw: &mut [T],
        lanes: &Lanes<'_, T>,
    ) -> Result<()> {
        let (outputs, k) = (self.geometry.outputs_per_group(), self.geometry.patch_len());
        let dy = self.sheet_of(self.geometry.output_channels(), dy)?;
        let all = self.geometry.batch() * self.geometry.positions();
        let dw = planes_mut(
            Layout::ChannelsFirst,
            [1, self.geometry.output_channels(), k],
            dw,
        )?;
        try_for_each_tile(
            dw,
            [1, outputs, self.tiles.rows],
            self.parallel,
            &|[_, output, row], mut tile| {
                let group = output / outputs;
                let mut tile = tile.index_axis_mut(Axis(0), 0);
                let rows = row..row + tile.ncols();
                lanes.with(|scratch| {
                    let (patches, staging) = self.split(scratch);
                    let mut beta = T::ZERO;
                    for columns in self.column_blocks(0..all) {
                        let patches = self.patches(x, group, &rows, &columns, patches)?;
                        let dy = self.output_gradient(&dy, group, &columns, staging)?;
                        // (O × p) · (p × rows) -> (O × rows)
                        product(
                            self.engine,
                            dy,
                            patches.reversed_axes(),
                            beta,
                            tile.view_mut(),
                        )?;
                        beta = T::ONE;
                    }
                    if beta == T::ZERO {
                        tile.fill(T::ZERO); // an empty batch
                    }
                    Ok(())
                })
            },
        )
    }
}

/// `data` as a row-major matrix.
fn matrix<T>(shape: [usize; 2], data: &[T]) -> Result<ArrayView2<'_, T>> {
    tile_ref(false, shape, data)
}

/// The beginning of `scratch` as rows × columns, columns contiguous channels first, rows contiguous channels last.
fn tile_mut<T>(
    last: bool,
    [rows, columns]: [usize; 2],
    scratch: &mut [T],
) -> Result<ArrayViewMut2<'_, T>> {
    let got = scratch.len();
    let shape = if last {
        [columns, rows]
    } else {
        [rows, columns]
    };
    let view = scratch
        .get_mut(..rows * columns)
        .and_then(|data| ArrayViewMut2::from_shape(shape, data).ok());
    let view = view.ok_or(crate::Error::BufferLength {
        what: "scratch",
        expected: rows * columns,
        got,
    })?;
    Ok(if last { view.reversed_axes() } else { view })
}

/// [`tile_mut`] to read from.
fn tile_ref<T>(
    last: bool,
    [rows, columns]: [usize; 2],
    scratch: &[T],
) -> Result<ArrayView2<'_, T>> {
    let shape = if last {
        [columns, rows]
    } else {
        [rows, columns]
    };
    let view = scratch
        .get(..rows * columns)
        .and_then(|data| ArrayView2::from_shape(shape, data).ok());
    let view = view.ok_or(crate::Error::BufferLength {
        what: "scratch",
        expected: rows * columns,
        got: scratch.len(),
    })?;
    Ok(if last { view.reversed_axes() } else { view })
}
