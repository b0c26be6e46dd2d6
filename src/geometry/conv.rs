//! The sizes of a convolution, rank 1 to 3, checked once for every entry point.
//!
//! ```text
//! x [N, C, in…]   w [O, C/g, kernel…]   y [N, O, out…]        (channels last: [N, in…, C], [N, out…, O])
//! K = C/g · taps      the length of a patch
//! P = out₀ · out₁ · … the positions of one image
//! ```

use super::{Axis, ConvOptions, Layout, PatchGeometry};
use crate::error::{Error, Result, product};

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
            return Err(Error::ZeroCount {
                what: "input channels",
            });
        }
        // First of all, for a wrong layout can look like groups that do not divide.
        options
            .layout
            .check_channels(input, per_group.saturating_mul(groups))?;
        for (what, count) in [("input channels", channels), ("output channels", outputs)] {
            if count % groups != 0 {
                return Err(Error::Groups {
                    what,
                    channels: count,
                    groups,
                });
            }
        }
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

    fn checked(self) -> Result<Self> {
        let bytes = size_of::<f64>();
        product(
            "output",
            &[
                self.patch.batch.max(1),
                self.outputs,
                self.positions(),
                bytes,
            ],
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
        self.layout()
            .shape(self.batch(), self.outputs, &self.patch.outputs())
    }
    /// Whether the patches order the weights otherwise than `[O, C/g, kernel…]` does.
    pub(crate) fn reorders_weights(&self) -> bool {
        let last = self.layout() == Layout::ChannelsLast;
        (last || self.flip) && self.patch.taps() > 1
    }
    /// Number of parameters: O · K, and O more with a bias.
    pub fn parameters(&self, bias: bool) -> usize {
        self.weight_len() + if bias { self.outputs } else { 0 }
    }
    /// Floating-point operations of one pass of the direct algorithm: 2 · N · O · P · K.
    pub fn operations(&self) -> u128 {
        [
            self.batch(),
            self.outputs,
            self.positions(),
            self.patch_len(),
        ]
        .iter()
        .fold(2, |product: u128, &factor| {
            product.saturating_mul(factor as u128)
        })
    }
}
