//! The sizes of an image batch and the window that slides over it: all that unfold needs to know.
//!
//! Ranks below three are padded in front with axes of one element and one tap, so that every loop
//! behind this file has three spatial axes and no cases.

use super::{Axis, ConvOptions, Layout, PaddingMode};
use crate::error::{Error, Result, product};

/// What [`unfold`](crate::unfold::unfold) needs to know: the image batch and the sliding window.
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
            return Err(Error::ZeroCount {
                what: "input channels",
            });
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
        product(
            "positions",
            &[self.batch.max(1), d.output, h.output, w.output, bytes],
        )?;
        product(
            "patch",
            &[self.channels, d.kernel, h.kernel, w.kernel, bytes],
        )?;
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
