//! Locally connected layers: a convolution with a weight matrix of its own at every position.
//!
//! ```text
//! x [N, C, in…]   w [P, O, K]   b [P, O]   y [N, O, out…]        K = C/g · taps, in the order (c, taps)
//! for each position p:   Y_p (O × N) = W_p (O × K) · X̂_p (K × N) + b_p
//!                        dX̂_p = W_pᵀ · dY_p, then fold          dW_p = dY_p · X̂_pᵀ
//! ```
//!
//! The weights are read once and are far larger than the images, so channels last is computed channels
//! first on a copy of the image. Source: Keras 2, `LocallyConnected2D`.

use std::borrow::Cow;
use std::ops::Range;

use ndarray::{
    Array, Array2, Array3, ArrayRef, ArrayRef2, ArrayRef3, ArrayView3, Axis, Dimension, s,
};

use super::arrays::array;
use crate::element::{Element, collected, filled, standard};
use crate::error::{Error, Result, check_shape, product as checked_product, sum};
use crate::gemm::{Engine, EngineKind, product};
use crate::geometry::{ConvGeometry, Layout, PatchGeometry};
use crate::parallel::{Lanes, threads_from, try_for_each_tile};
use crate::plan::{PlanOptions, RecipeKind};
use crate::unfold::{Block, fold_tile, planes, planes_mut, unfold_tile};

/// A locally connected layer whose sizes are checked.
#[derive(Clone, Debug)]
pub struct LocalPlan<T: Element> {
    geometry: ConvGeometry,
    /// The patches, channels first whatever the layout.
    patch: PatchGeometry,
    engine_kind: EngineKind,
    engine: &'static dyn Engine<T>,
    /// Positions and images whose patches are unfolded at a time.
    positions: usize,
    images: usize,
    serial_below: u128,
}

impl<T: Element> LocalPlan<T> {
    /// Plans a layer with the sizes of `geometry`; the kernel is not shared between positions.
    ///
    /// Scratch is at most the limit a thread, but never less than one patch, K elements. There are no forms
    /// that write into the caller's buffers: the weights outweigh everything else.
    ///
    /// # Errors
    /// An engine that is not compiled in or whose integers are too small; a flipped kernel; weights
    /// beyond the address space or the memory budget.
    pub fn new(geometry: &ConvGeometry, options: &PlanOptions) -> Result<Self> {
        if geometry.flip {
            return Err(Error::Unsupported {
                what: "a locally connected layer",
                wanted: "the kernel is flipped",
            });
        }
        if options
            .recipe
            .is_some_and(|recipe| recipe != RecipeKind::Unfold)
        {
            return Err(Error::Unsupported {
                what: "a locally connected layer",
                wanted: "the recipe is not unfold",
            });
        }
        let engine = options.engine.engine::<T>()?;
        let (k, positions) = (geometry.patch_len(), geometry.positions());
        let weights = checked_product("weight", &[positions, geometry.outputs, k])?;
        let elements = sum(
            "plan",
            &[weights, geometry.input_len(), geometry.output_len(), k],
        )?;
        let needed = checked_product("plan", &[elements, size_of::<T>()])?;
        if needed > options.memory_budget {
            return Err(Error::MemoryBudget {
                needed,
                budget: options.memory_budget,
            });
        }
        let largest = positions
            .max(geometry.patch.pixels())
            .saturating_mul(geometry.outputs.max(geometry.patch.channels));
        if largest > engine.limit() {
            return Err(Error::EngineDimension {
                engine: engine.name(),
                got: largest,
                limit: engine.limit(),
            });
        }
        let patches = (options.scratch_elements::<T>() / k).max(1);
        let images = patches.min(geometry.batch()).max(1);
        Ok(Self {
            geometry: geometry.clone(),
            patch: PatchGeometry {
                layout: Layout::ChannelsFirst,
                ..geometry.patch.clone()
            },
            engine_kind: options.engine,
            engine,
            positions: (patches / images).clamp(1, positions.div_ceil(8).max(1)),
            images,
            serial_below: options.serial_below,
        })
    }

    /// The sizes.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The shape of the weights, `[P, O, K]`.
    pub fn weight_shape(&self) -> [usize; 3] {
        [
            self.geometry.positions(),
            self.geometry.outputs,
            self.geometry.patch_len(),
        ]
    }

    /// The shape of the bias, `[P, O]`.
    pub fn bias_shape(&self) -> [usize; 2] {
        [self.geometry.positions(), self.geometry.outputs]
    }

    fn parallel(&self) -> bool {
        threads_from(self.geometry.operations() / 2, self.serial_below) > 1
    }

    /// Scratch for every thread that may work.
    fn scratch(&self) -> Result<(Vec<T>, usize)> {
        let lane = self.images * self.geometry.patch_len() * self.positions;
        let threads = threads_from(self.geometry.operations() / 2, self.serial_below);
        Ok((filled(lane * threads, T::ZERO)?, lane))
    }

    /// A batch of `channels` channels, channels first, in standard order.
    fn channels_first<'d, D: Dimension>(
        &self,
        channels: usize,
        data: &'d ArrayRef<T, D>,
    ) -> Result<Cow<'d, [T]>> {
        let data = standard(data)?;
        if self.geometry.layout() == Layout::ChannelsFirst {
            return Ok(data);
        }
        let elements = data.len() / channels / self.geometry.batch().max(1);
        let view = planes(
            Layout::ChannelsLast,
            [self.geometry.batch(), channels, elements],
            &data,
        )?;
        collected(view.len(), view.iter().copied()).map(Cow::Owned)
    }

    /// A batch that was computed channels first, in the caller's layout.
    fn in_layout<D: Dimension>(
        &self,
        shape: &[usize],
        channels: usize,
        data: Vec<T>,
    ) -> Result<Array<T, D>> {
        if self.geometry.layout() == Layout::ChannelsFirst {
            return array(shape, data);
        }
        let elements = data.len() / channels / self.geometry.batch().max(1);
        let view = planes(
            Layout::ChannelsFirst,
            [self.geometry.batch(), channels, elements],
            &data,
        )?;
        let view = view.permuted_axes([0, 2, 1]);
        array(shape, collected(view.len(), view.iter().copied())?)
    }

    /// X̂ of one group at positions `at`, of images `from..from + count`: `[images, K, positions]` in `scratch`.
    fn unfold<'s>(
        &self,
        x: &[T],
        group: usize,
        at: &Range<usize>,
        images: &Range<usize>,
        scratch: &'s mut [T],
    ) -> Result<ArrayView3<'s, T>> {
        let (k, per_group) = (
            self.geometry.patch_len(),
            self.geometry.channels_per_group(),
        );
        let shape = [images.len(), k, at.len()];
        let used = &mut scratch[..shape.iter().product()];
        let pad = T::from_f64(self.patch.mode.constant());
        let mut tiles = planes_mut(Layout::ChannelsFirst, shape, used)?;
        for (mut tile, image) in tiles.outer_iter_mut().zip(images.clone()) {
            let first = image * self.geometry.positions();
            let block = Block {
                channels: group * per_group..(group + 1) * per_group,
                rows: 0..k,
                columns: first + at.start..first + at.end,
            };
            unfold_tile(&self.patch, x, &block, pad, &mut tile);
        }
        planes(Layout::ChannelsFirst, shape, used)
    }

    /// The images, a block at a time.
    fn image_blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let (batch, step) = (self.geometry.batch(), self.images);
        (0..batch)
            .step_by(step)
            .map(move |begin| begin..(begin + step).min(batch))
    }

    /// Y: at every position a product of its own, plus the bias `[P, O]`.
    ///
    /// # Errors
    /// Shapes that do not fit the geometry; no memory for the result or the scratch.
    pub fn forward<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        weight: &ArrayRef3<T>,
        bias: Option<&ArrayRef2<T>>,
    ) -> Result<Array<T, D>> {
        check_shape("input", &self.geometry.input_shape(), x.shape())?;
        check_shape("weight", &self.weight_shape(), weight.shape())?;
        if let Some(bias) = bias {
            check_shape("bias", &self.bias_shape(), bias.shape())?;
        }
        let (outputs, channels) = (self.geometry.outputs_per_group(), self.geometry.outputs);
        let x = self.channels_first(self.patch.channels, x)?;
        let mut y = filled(self.geometry.output_len(), T::ZERO)?;
        let (mut scratch, lane) = self.scratch()?;
        let lanes = Lanes::new(&mut scratch, lane, usize::MAX);
        let _one_thread = self.engine_kind.one_thread();
        let shape = [self.geometry.batch(), channels, self.geometry.positions()];
        let planes = planes_mut(Layout::ChannelsFirst, shape, &mut y)?;
        let block = [shape[0], outputs, self.positions];
        try_for_each_tile(
            planes,
            block,
            self.parallel(),
            &|[_, first, p], mut tile| {
                let at = p..p + tile.len_of(Axis(2));
                lanes.with(|scratch| {
                    for images in self.image_blocks() {
                        let patches = self.unfold(&x, first / outputs, &at, &images, scratch)?;
                        for (index, p) in at.clone().enumerate() {
                            let weight = weight.slice(s![p, first..first + outputs, ..]);
                            let target = tile
                                .slice_mut(s![images.clone(), .., index])
                                .reversed_axes();
                            // (O × K) · (K × N) -> (O × N)
                            product(
                                self.engine,
                                weight,
                                patches.slice(s![.., .., index]).reversed_axes(),
                                T::ZERO,
                                target,
                            )?;
                        }
                    }
                    if let Some(bias) = bias {
                        let bias = bias.slice(s![at.clone(), first..first + outputs]);
                        tile += &bias.reversed_axes();
                    }
                    Ok(())
                })
            },
        )?;
        self.in_layout(&self.geometry.output_shape(), channels, y)
    }

    /// The gradient of the input.
    ///
    /// # Errors
    /// Shapes that do not fit the geometry; no memory for the result or the scratch.
    pub fn backward_input<D: Dimension>(
        &self,
        weight: &ArrayRef3<T>,
        d_output: &ArrayRef<T, D>,
    ) -> Result<Array<T, D>> {
        check_shape(
            "output gradient",
            &self.geometry.output_shape(),
            d_output.shape(),
        )?;
        check_shape("weight", &self.weight_shape(), weight.shape())?;
        let (outputs, per_group) = (
            self.geometry.outputs_per_group(),
            self.geometry.channels_per_group(),
        );
        let (positions, k) = (self.geometry.positions(), self.geometry.patch_len());
        let dy = self.channels_first(self.geometry.outputs, d_output)?;
        let dy = planes(
            Layout::ChannelsFirst,
            [self.geometry.batch(), self.geometry.outputs, positions],
            &dy,
        )?;
        let mut dx = filled(self.geometry.input_len(), T::ZERO)?;
        let (mut scratch, lane) = self.scratch()?;
        let lanes = Lanes::new(&mut scratch, lane, usize::MAX);
        let _one_thread = self.engine_kind.one_thread();
        let shape = [self.patch.batch, self.patch.channels, self.patch.pixels()];
        let planes = planes_mut(Layout::ChannelsFirst, shape, &mut dx)?;
        // Images and groups of dX are disjoint; positions are not, so one task goes through all of them.
        try_for_each_tile(
            planes,
            [self.images, per_group, shape[2]],
            self.parallel(),
            &|[image, channel, _], mut tile| {
                let group = channel / per_group;
                let outputs = group * outputs..(group + 1) * outputs;
                let images = image..image + tile.len_of(Axis(0));
                lanes.with(|scratch| {
                    for begin in (0..positions).step_by(self.positions) {
                        let at = begin..(begin + self.positions).min(positions);
                        let shape = [images.len(), k, at.len()];
                        let used = &mut scratch[..shape.iter().product()];
                        let mut patches = planes_mut(Layout::ChannelsFirst, shape, used)?;
                        for (index, p) in at.clone().enumerate() {
                            let weight = weight.slice(s![p, outputs.clone(), ..]).reversed_axes();
                            let dy = dy
                                .slice(s![images.clone(), outputs.clone(), p])
                                .reversed_axes();
                            let target = patches.slice_mut(s![.., .., index]).reversed_axes();
                            // (K × O) · (O × N) -> (K × N)
                            product(self.engine, weight, dy, T::ZERO, target)?;
                        }
                        for (tile_of_image, n) in patches.outer_iter().zip(images.clone()) {
                            let block = Block {
                                channels: channel..channel + per_group,
                                rows: 0..k,
                                columns: n * positions + at.start..n * positions + at.end,
                            };
                            fold_tile(&self.patch, &block, tile_of_image, image, &mut tile);
                        }
                    }
                    Ok(())
                })
            },
        )?;
        self.in_layout(&self.geometry.input_shape(), self.patch.channels, dx)
    }

    /// The gradient of the weight, `[P, O, K]`.
    ///
    /// # Errors
    /// Shapes that do not fit the geometry; no memory for the result or the scratch.
    pub fn backward_weight<D: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        d_output: &ArrayRef<T, D>,
    ) -> Result<Array3<T>> {
        check_shape("input", &self.geometry.input_shape(), x.shape())?;
        check_shape(
            "output gradient",
            &self.geometry.output_shape(),
            d_output.shape(),
        )?;
        let outputs = self.geometry.outputs_per_group();
        let [positions, channels, k] = self.weight_shape();
        let x = self.channels_first(self.patch.channels, x)?;
        let dy = self.channels_first(channels, d_output)?;
        let dy = planes(
            Layout::ChannelsFirst,
            [self.geometry.batch(), channels, positions],
            &dy,
        )?;
        let mut dw = filled(positions * channels * k, T::ZERO)?;
        let (mut scratch, lane) = self.scratch()?;
        let lanes = Lanes::new(&mut scratch, lane, usize::MAX);
        let _one_thread = self.engine_kind.one_thread();
        let planes = planes_mut(Layout::ChannelsFirst, [positions, channels, k], &mut dw)?;
        try_for_each_tile(
            planes,
            [self.positions, outputs, k],
            self.parallel(),
            &|[p, first, _], mut tile| {
                let at = p..p + tile.len_of(Axis(0));
                lanes.with(|scratch| {
                    let mut beta = T::ZERO;
                    for images in self.image_blocks() {
                        let patches = self.unfold(&x, first / outputs, &at, &images, scratch)?;
                        for (index, p) in at.clone().enumerate() {
                            let dy = dy
                                .slice(s![images.clone(), first..first + outputs, p])
                                .reversed_axes();
                            let target = tile.index_axis_mut(Axis(0), index);
                            // (O × N) · (N × K) -> (O × K)
                            product(
                                self.engine,
                                dy,
                                patches.slice(s![.., .., index]),
                                beta,
                                target,
                            )?;
                        }
                        beta = T::ONE;
                    }
                    Ok(())
                })
            },
        )?;
        array(&self.weight_shape(), dw)
    }

    /// The gradient of the bias, `[P, O]`: the sum of dY over the images.
    ///
    /// # Errors
    /// A gradient of another shape than the output's.
    pub fn backward_bias<D: Dimension>(&self, d_output: &ArrayRef<T, D>) -> Result<Array2<T>> {
        check_shape(
            "output gradient",
            &self.geometry.output_shape(),
            d_output.shape(),
        )?;
        let dy = standard(d_output)?;
        let shape = [
            self.geometry.batch(),
            self.geometry.outputs,
            self.geometry.positions(),
        ];
        let mut sums = filled(shape[1] * shape[2], T::ZERO)?;
        for image in planes(self.geometry.layout(), shape, &dy)?.outer_iter() {
            for (sum, &value) in sums.iter_mut().zip(image.reversed_axes().iter()) {
                *sum += value;
            }
        }
        array(&self.bias_shape(), sums)
    }
}
