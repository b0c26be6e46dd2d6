//! The sizes of a convolution, rank 1 to 3, checked once for every entry point.
//!
//! ```text
//! x [N, C, in…]   w [O, C/g, kernel…]   y [N, O, out…]        (channels last: [N, in…, C], [N, out…, O])
//! K = C/g · taps      the length of a patch
//! P = out₀ · out₁ · … the positions of one image
//! ```
//!
//! Ranks below three are padded in front with axes of one element and one tap, so that every loop
//! behind this file has three spatial axes and no cases.

use super::{Axis, Padding, PaddingMode, PerAxis};
use crate::error::{Error, Result, product};

/// How an image batch lies in memory. Never guessed: the caller says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[N, C, …spatial]` (NCHW, PyTorch's and ONNX's).
    #[default]
    ChannelsFirst,
    /// `[N, …spatial, C]` (NHWC, TensorFlow's).
    ChannelsLast,
}

impl Layout {
    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ChannelsFirst => "channels first",
            Self::ChannelsLast => "channels last",
        }
    }

    /// The shape of a batch in this layout.
    pub fn shape(&self, batch: usize, channels: usize, spatial: &[usize]) -> Vec<usize> {
        match self {
            Self::ChannelsFirst => [&[batch, channels], spatial].concat(),
            Self::ChannelsLast => [&[batch], spatial, &[channels]].concat(),
        }
    }

    /// Batch, channels and spatial lengths of a shape with at least two axes.
    pub(crate) fn parts<'s>(&self, shape: &'s [usize]) -> (usize, usize, &'s [usize]) {
        let last = shape.len() - 1;
        match self {
            Self::ChannelsFirst => (shape[0], shape[1], &shape[2..]),
            Self::ChannelsLast => (shape[0], shape[last], &shape[1..last]),
        }
    }

    fn other(&self) -> Self {
        match self {
            Self::ChannelsFirst => Self::ChannelsLast,
            Self::ChannelsLast => Self::ChannelsFirst,
        }
    }
}

/// The options of a convolution, with PyTorch's names and defaults.
///
/// ```
/// use gemmconv::{ConvOptions, Padding, PaddingMode};
/// let options = ConvOptions::new().stride([2, 1]).padding(Padding::SameUpper).dilation(2);
/// let mirrored = ConvOptions::new().padding(1).padding_mode(PaddingMode::Reflect);
/// # let _ = (options, mirrored);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConvOptions {
    /// Distance between neighbouring outputs; 1 by default.
    pub stride: PerAxis,
    /// Distance between neighbouring taps; 1 (none) by default.
    pub dilation: PerAxis,
    /// How much padding; none by default.
    pub padding: Padding,
    /// What stands in the padding; zeros by default.
    pub padding_mode: PaddingMode,
    /// Number of groups; 1 by default.
    pub groups: usize,
    /// How input and output lie in memory; channels first by default.
    pub layout: Layout,
    /// True convolution: the kernel is flipped along every spatial axis. By default it is not, which
    /// is cross-correlation, what every deep-learning library calls convolution.
    pub flip_kernel: bool,
}

impl Default for ConvOptions {
    fn default() -> Self {
        Self {
            stride: PerAxis::all(1),
            dilation: PerAxis::all(1),
            padding: Padding::Valid,
            padding_mode: PaddingMode::Zeros,
            groups: 1,
            layout: Layout::ChannelsFirst,
            flip_kernel: false,
        }
    }
}

impl ConvOptions {
    /// Stride 1, no padding, no dilation, one group, channels first, no flip.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the stride, one for all axes or one per axis.
    pub fn stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.stride = stride.into();
        self
    }
    /// Sets the dilation, one for all axes or one per axis; 1 is none.
    pub fn dilation(mut self, dilation: impl Into<PerAxis>) -> Self {
        self.dilation = dilation.into();
        self
    }
    /// Sets the padding: a number, one per axis, `(before, after)` per axis, or a [`Padding`].
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }
    /// Sets what stands in the padding.
    pub fn padding_mode(mut self, mode: PaddingMode) -> Self {
        self.padding_mode = mode;
        self
    }
    /// Sets the number of groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
    /// Sets the memory layout of input and output.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }
    /// Chooses true convolution (flipped kernel).
    pub fn flip_kernel(mut self, flip: bool) -> Self {
        self.flip_kernel = flip;
        self
    }
}

/// What [`unfold`](PatchGeometry) needs to know: the image batch and the sliding window.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchGeometry {
    pub(crate) rank: usize,
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    /// Three axes; the first `3 − rank` are trivial.
    pub(crate) axes: [Axis; 3],
    pub(crate) mode: PaddingMode,
    pub(crate) layout: Layout,
}

impl PatchGeometry {
    /// The window `kernel` over a batch of shape `input`.
    ///
    /// # Errors
    /// A rank other than 1 to 3; zero channels, kernel, stride or dilation; a kernel larger than the
    /// padded input; padding that its content cannot fill; a size beyond the address space.
    pub fn new(input: &[usize], kernel: &[usize], options: &ConvOptions) -> Result<Self> {
        let rank = kernel.len();
        if !(1..=3).contains(&rank) {
            return Err(Error::SpatialRank { got: rank });
        }
        if input.len() != rank + 2 {
            return Err(Error::Rank {
                what: "input",
                expected: rank + 2,
                got: input.len(),
            });
        }
        let (batch, channels, spatial) = options.layout.parts(input);
        if channels == 0 {
            return Err(Error::ZeroCount { what: "input channels" });
        }
        let mut axes = [Axis::TRIVIAL; 3];
        for (axis, (&length, &taps)) in spatial.iter().zip(kernel).enumerate() {
            let stride = options.stride.get("stride", rank, axis)?;
            let dilation = options.dilation.get("dilation", rank, axis)?;
            axes[3 - rank + axis] = Axis::padded(
                axis,
                rank,
                length,
                [taps, stride, dilation],
                &options.padding,
                &options.padding_mode,
            )?;
        }
        Self {
            rank,
            batch,
            channels,
            axes,
            mode: options.padding_mode,
            layout: options.layout,
        }
        .checked()
    }

    /// The same geometry with only the first `outputs` positions of each axis.
    ///
    /// # Errors
    /// A wrong number of values, or one that is 0 or above what there is.
    pub fn with_outputs(mut self, outputs: &[usize]) -> Result<Self> {
        if outputs.len() != self.rank {
            return Err(Error::OptionRank {
                option: "output size",
                expected: self.rank,
                got: outputs.len(),
            });
        }
        for (axis, &output) in outputs.iter().enumerate() {
            let slot = &mut self.axes[3 - self.rank + axis];
            *slot = slot.with_output(axis, output)?;
        }
        Ok(self)
    }

    /// Every product that later code multiplies without a check.
    fn checked(self) -> Result<Self> {
        let [d, h, w] = self.axes;
        let bytes = size_of::<f64>();
        product(
            "input",
            &[
                self.batch.max(1),
                self.channels,
                d.input.max(1),
                h.input.max(1),
                w.input.max(1),
                bytes,
            ],
        )?;
        product("positions", &[self.batch.max(1), d.output, h.output, w.output, bytes])?;
        product("patch", &[self.channels, d.kernel, h.kernel, w.kernel, bytes])?;
        Ok(self)
    }

    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.rank
    }
    /// Number of images, N.
    pub fn batch(&self) -> usize {
        self.batch
    }
    /// Number of input channels, C.
    pub fn channels(&self) -> usize {
        self.channels
    }
    /// The memory layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }
    /// What stands in the padding.
    pub fn padding_mode(&self) -> PaddingMode {
        self.mode
    }
    /// The spatial axes, outermost first.
    pub fn axes(&self) -> &[Axis] {
        &self.axes[3 - self.rank..]
    }
    /// Taps of one channel: the product of the kernel lengths.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }
    /// Positions of one image, P: the product of the output lengths.
    pub fn positions(&self) -> usize {
        self.axes.iter().map(|axis| axis.output).product()
    }
    /// Elements of one channel of one image: the product of the input lengths.
    pub fn pixels(&self) -> usize {
        self.axes.iter().map(|axis| axis.input).product()
    }
    /// The length of a whole patch, C · taps.
    pub fn patch_len(&self) -> usize {
        self.channels * self.taps()
    }
    /// Elements of the whole input.
    pub fn input_len(&self) -> usize {
        self.batch * self.channels * self.pixels()
    }
    /// The shape of the input.
    pub fn input_shape(&self) -> Vec<usize> {
        let spatial: Vec<usize> = self.axes().iter().map(|axis| axis.input).collect();
        self.layout.shape(self.batch, self.channels, &spatial)
    }
    /// Kernel lengths, outermost first.
    pub fn kernel(&self) -> Vec<usize> {
        self.axes().iter().map(|axis| axis.kernel).collect()
    }
    /// Output lengths, outermost first.
    pub fn outputs(&self) -> Vec<usize> {
        self.axes().iter().map(|axis| axis.output).collect()
    }
    /// Whether the patch matrix is the image itself: one tap, stride 1, no padding.
    pub fn is_identity(&self) -> bool {
        self.axes.iter().all(Axis::is_identity)
    }
}

/// The sizes of a convolution; see the file head for the letters.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvGeometry {
    pub(crate) patch: PatchGeometry,
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
    pub(crate) flip: bool,
}

impl ConvGeometry {
    /// The geometry of `input` (in the layout of `options`) convolved with `weight` = `[O, C/g, kernel…]`.
    ///
    /// # Errors
    /// Those of [`PatchGeometry::new`]; a weight of another rank or with other channels; zero groups
    /// or output channels; groups that do not divide C or O.
    ///
    /// ```
    /// use gemmconv::{ConvGeometry, ConvOptions};
    /// let geometry = ConvGeometry::new(&[1, 3, 6, 6], &[4, 3, 3, 3], &ConvOptions::new())?;
    /// assert_eq!(geometry.output_shape(), [1, 4, 4, 4]);
    /// assert_eq!(geometry.parameters(true), 112); // (3 · 3 · 3 + 1) · 4
    /// # Ok::<(), gemmconv::Error>(())
    /// ```
    pub fn new(input: &[usize], weight: &[usize], options: &ConvOptions) -> Result<Self> {
        let rank = input.len().wrapping_sub(2);
        if !(1..=3).contains(&rank) {
            return Err(Error::SpatialRank {
                got: input.len().saturating_sub(2),
            });
        }
        if weight.len() != rank + 2 {
            return Err(Error::Rank {
                what: "weight",
                expected: rank + 2,
                got: weight.len(),
            });
        }
        let (outputs, per_group) = (weight[0], weight[1]);
        let groups = options.groups;
        if groups == 0 {
            return Err(Error::ZeroCount { what: "groups" });
        }
        if outputs == 0 {
            return Err(Error::ZeroCount {
                what: "output channels",
            });
        }
        let (_, channels, _) = options.layout.parts(input);
        if channels == 0 {
            return Err(Error::ZeroCount { what: "input channels" });
        }
        for (what, count) in [("input channels", channels), ("output channels", outputs)] {
            if count % groups != 0 {
                // A wrong layout shows itself here too.
                Self::check_channels(input, per_group, options)?;
                return Err(Error::Groups {
                    what,
                    channels: count,
                    groups,
                });
            }
        }
        Self::check_channels(input, per_group, options)?;
        if channels / groups != per_group {
            let mut expected = weight.to_vec();
            expected[1] = channels / groups;
            return Err(Error::Shape {
                what: "weight",
                expected,
                got: weight.to_vec(),
            });
        }
        let patch = PatchGeometry::new(input, &weight[2..], options)?;
        Self {
            patch,
            outputs,
            groups,
            flip: options.flip_kernel,
        }
        .checked()
    }

    /// The same geometry with only the first `outputs` positions of each axis.
    ///
    /// # Errors
    /// Those of [`PatchGeometry::with_outputs`].
    pub fn with_outputs(mut self, outputs: &[usize]) -> Result<Self> {
        self.patch = self.patch.with_outputs(outputs)?;
        Ok(self)
    }

    /// The error for channels that only fit the other layout.
    fn check_channels(input: &[usize], per_group: usize, options: &ConvOptions) -> Result<()> {
        let (expected, layout) = (per_group.saturating_mul(options.groups), options.layout);
        let (_, got, _) = layout.parts(input);
        let (_, swapped, _) = layout.other().parts(input);
        if got != expected && swapped == expected {
            return Err(Error::LayoutMismatch {
                what: "input",
                shape: input.to_vec(),
                given: layout.name(),
                other: layout.other().name(),
                expected,
                got,
            });
        }
        Ok(())
    }

    fn checked(self) -> Result<Self> {
        let bytes = size_of::<f64>();
        product(
            "output",
            &[self.patch.batch.max(1), self.outputs, self.positions(), bytes],
        )?;
        product("weight", &[self.outputs, self.patch_len(), bytes])?;
        Ok(self)
    }

    /// The image batch and the sliding window.
    pub fn patch(&self) -> &PatchGeometry {
        &self.patch
    }
    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.patch.rank
    }
    /// Number of images, N.
    pub fn batch(&self) -> usize {
        self.patch.batch
    }
    /// Number of input channels, C.
    pub fn input_channels(&self) -> usize {
        self.patch.channels
    }
    /// Number of output channels, O.
    pub fn output_channels(&self) -> usize {
        self.outputs
    }
    /// Number of groups, g.
    pub fn groups(&self) -> usize {
        self.groups
    }
    /// The memory layout of input and output.
    pub fn layout(&self) -> Layout {
        self.patch.layout
    }
    /// Whether the kernel is flipped (true convolution).
    pub fn flips_kernel(&self) -> bool {
        self.flip
    }
    /// The spatial axes, outermost first.
    pub fn axes(&self) -> &[Axis] {
        self.patch.axes()
    }
    /// The length of one group's patch, K = C/g · taps.
    pub fn patch_len(&self) -> usize {
        self.channels_per_group() * self.patch.taps()
    }
    /// Positions of one image, P.
    pub fn positions(&self) -> usize {
        self.patch.positions()
    }
    /// Input channels of one group, C/g.
    pub fn channels_per_group(&self) -> usize {
        self.patch.channels / self.groups
    }
    /// Output channels of one group, O/g.
    pub fn outputs_per_group(&self) -> usize {
        self.outputs / self.groups
    }
    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.patch.input_len()
    }
    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.patch.batch * self.outputs * self.positions()
    }
    /// Elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.outputs * self.patch_len()
    }
    /// The shape of the input.
    pub fn input_shape(&self) -> Vec<usize> {
        self.patch.input_shape()
    }
    /// The shape of the weight, `[O, C/g, kernel…]` in both layouts.
    pub fn weight_shape(&self) -> Vec<usize> {
        [
            &[self.outputs, self.channels_per_group()],
            self.patch.kernel().as_slice(),
        ]
        .concat()
    }
    /// The shape of the output.
    pub fn output_shape(&self) -> Vec<usize> {
        self.layout().shape(self.batch(), self.outputs, &self.patch.outputs())
    }
    /// Number of parameters: O · K, and O more with a bias.
    pub fn parameters(&self, bias: bool) -> usize {
        self.weight_len() + if bias { self.outputs } else { 0 }
    }
    /// Floating-point operations of one pass of the direct algorithm: 2 · N · O · P · K.
    pub fn operations(&self) -> u128 {
        [self.batch(), self.outputs, self.positions(), self.patch_len()]
            .iter()
            .fold(2, |product: u128, &factor| product.saturating_mul(factor as u128))
    }
}
