//! How a batch lies in memory, and what a convolution is asked for.

use super::{Padding, PaddingMode, PerAxis};
use crate::error::{Error, Result};

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

    /// The error for an input whose channels are `expected` only in the other layout.
    pub(super) fn check_channels(&self, input: &[usize], expected: usize) -> Result<()> {
        let (_, got, _) = self.parts(input);
        let (_, swapped, _) = self.other().parts(input);
        if got != expected && swapped == expected {
            return Err(Error::LayoutMismatch {
                what: "input",
                shape: input.to_vec(),
                given: self.name(),
                other: self.other().name(),
                expected,
                got,
            });
        }
        Ok(())
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
