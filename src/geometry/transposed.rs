//! The sizes of a transposed convolution: those of the convolution whose input gradient it is.
//!
//! ```text
//! x [N, I, in…]   w [I, O/g, kernel…]   y [N, O, out…]
//! out = (in − 1) · stride + extent − pad_before − pad_after + output_padding
//! ```
//!
//! The *twin* is the convolution from y to x with the same weights: it maps `[N, O, out…]` to
//! `[N, I, in…]`, and its backward-input pass is this layer's forward pass.

use super::{ConvGeometry, ConvOptions, Layout, Padding, PaddingMode, PerAxis};
use crate::error::{Error, Result, product, sum};

/// The options of a transposed convolution, with PyTorch's names and defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct TransposedOptions {
    /// Stride of the twin: how far apart inputs land in the output; 1 by default.
    pub stride: PerAxis,
    /// Distance between neighbouring taps; 1 (none) by default.
    pub dilation: PerAxis,
    /// How much of the full output is cut off; none by default. `SameUpper` and `SameLower` make the
    /// output `input · stride` long, as ONNX has it.
    pub padding: Padding,
    /// Elements added at the end of the output, below max(stride, dilation); 0 by default.
    pub output_padding: PerAxis,
    /// The output size wished for, instead of `output_padding`.
    pub output_size: Option<PerAxis>,
    /// Number of groups; 1 by default.
    pub groups: usize,
    /// How input and output lie in memory; channels first by default.
    pub layout: Layout,
}

impl Default for TransposedOptions {
    fn default() -> Self {
        Self {
            stride: PerAxis::all(1),
            dilation: PerAxis::all(1),
            padding: Padding::Valid,
            output_padding: PerAxis::all(0),
            output_size: None,
            groups: 1,
            layout: Layout::ChannelsFirst,
        }
    }
}

impl TransposedOptions {
    /// Stride 1, nothing cut, nothing added, one group, channels first.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the stride.
    pub fn stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.stride = stride.into();
        self
    }
    /// Sets the dilation; 1 is none.
    pub fn dilation(mut self, dilation: impl Into<PerAxis>) -> Self {
        self.dilation = dilation.into();
        self
    }
    /// Sets the padding that is cut off.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }
    /// Sets the output padding.
    pub fn output_padding(mut self, padding: impl Into<PerAxis>) -> Self {
        self.output_padding = padding.into();
        self
    }
    /// Sets the output size wished for.
    pub fn output_size(mut self, size: impl Into<PerAxis>) -> Self {
        self.output_size = Some(size.into());
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
}

/// The sizes of a transposed convolution; see the file head for the letters.
#[derive(Clone, Debug, PartialEq)]
pub struct TransposedGeometry {
    twin: ConvGeometry,
}

impl TransposedGeometry {
    /// The geometry of `input` (in the layout of `options`) with `weight` = `[I, O/g, kernel…]`.
    ///
    /// # Errors
    /// Those of [`ConvGeometry::new`]; output padding ≥ max(stride, dilation); a wished output size
    /// that no output padding reaches; an empty output.
    pub fn new(input: &[usize], weight: &[usize], options: &TransposedOptions) -> Result<Self> {
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
        if options.groups == 0 {
            return Err(Error::ZeroCount { what: "groups" });
        }
        let (batch, channels, spatial) = options.layout.parts(input);
        if channels == 0 {
            return Err(Error::ZeroCount {
                what: "input channels",
            });
        }
        options.layout.check_channels(input, weight[0])?;
        if channels != weight[0] {
            let mut expected = weight.to_vec();
            expected[0] = channels;
            return Err(Error::Shape {
                what: "weight",
                expected,
                got: weight.to_vec(),
            });
        }
        if weight[1] == 0 {
            return Err(Error::ZeroCount {
                what: "output channels",
            });
        }
        if channels % options.groups != 0 {
            return Err(Error::Groups {
                what: "input channels",
                channels,
                groups: options.groups,
            });
        }
        let outputs = product("output channels", &[weight[1], options.groups])?;
        let mut output = Vec::with_capacity(rank);
        let mut pads = Vec::with_capacity(rank);
        for (axis, (&length, &kernel)) in spatial.iter().zip(&weight[2..]).enumerate() {
            let (size, pad) = Self::axis(axis, rank, length, kernel, options)?;
            output.push(size);
            pads.push(pad);
        }
        let conv = ConvOptions {
            stride: options.stride,
            dilation: options.dilation,
            padding: Padding::Explicit(PerAxis::list(&pads)),
            padding_mode: PaddingMode::Zeros,
            groups: options.groups,
            layout: options.layout,
            flip_kernel: false,
        };
        let shape = options.layout.shape(batch, outputs, &output);
        // Output padding at or above the stride gives the twin positions that this layer has no input for.
        let twin = ConvGeometry::new(&shape, weight, &conv)?.with_outputs(spatial)?;
        Ok(Self { twin })
    }

    /// Output length and padding of one axis.
    fn axis(
        axis: usize,
        rank: usize,
        input: usize,
        kernel: usize,
        options: &TransposedOptions,
    ) -> Result<(usize, (usize, usize))> {
        let stride = options.stride.get("stride", rank, axis)?;
        let dilation = options.dilation.get("dilation", rank, axis)?;
        let extra = options.output_padding.get("output padding", rank, axis)?;
        let wished = options
            .output_size
            .map(|size| size.get("output size", rank, axis))
            .transpose()?;
        for (what, value) in [
            ("kernel", kernel),
            ("stride", stride),
            ("dilation", dilation),
            ("input", input),
        ] {
            if value == 0 {
                return Err(Error::Zero { what, axis });
            }
        }
        let limit = stride.max(dilation);
        if extra >= limit && extra > 0 {
            return Err(Error::OutputPadding {
                axis,
                got: extra,
                limit,
            });
        }
        if wished.is_some() && extra > 0 {
            return Err(Error::OptionConflict {
                first: "output size",
                second: "output padding",
            });
        }
        let extent = sum(WHAT, &[product(WHAT, &[dilation, kernel - 1])?, 1])?;
        let full = sum(WHAT, &[product(WHAT, &[input - 1, stride])?, extent])?;
        let pad = match &options.padding {
            Padding::Valid => (0, 0),
            Padding::Explicit(pad) => pad.get("padding", rank, axis)?,
            same => {
                let target = wished.map_or_else(|| product(WHAT, &[input, stride]), Ok)?;
                // A kernel shorter than the stride falls short of it: then the output is lengthened.
                if wished.is_none() && full < target {
                    return Ok((target, (0, 0)));
                }
                same_cut(same, sum(WHAT, &[full, extra])?.saturating_sub(target))
            }
        };
        let cut = sum(WHAT, &[pad.0, pad.1])?;
        let output = match wished {
            Some(size) => reach(axis, full, cut, limit, size)?,
            None => sum(WHAT, &[full, extra])?.saturating_sub(cut),
        };
        if output == 0 {
            return Err(Error::OutputSize {
                axis,
                got: 0,
                min: 1,
                max: full,
            });
        }
        Ok((output, pad))
    }

    /// The convolution whose backward-input pass this is.
    pub fn twin(&self) -> &ConvGeometry {
        &self.twin
    }
    /// The shape of the input.
    pub fn input_shape(&self) -> Vec<usize> {
        self.twin.output_shape()
    }
    /// The shape of the weight, `[I, O/g, kernel…]`.
    pub fn weight_shape(&self) -> Vec<usize> {
        self.twin.weight_shape()
    }
    /// The shape of the output.
    pub fn output_shape(&self) -> Vec<usize> {
        self.twin.input_shape()
    }
    /// Number of output channels.
    pub fn output_channels(&self) -> usize {
        self.twin.input_channels()
    }
}

/// What [`Error::Overflow`] names.
const WHAT: &str = "transposed output";

/// `cut` elements, half on each side; the odd one at the end, or at the beginning for `SameLower`.
fn same_cut(same: &Padding, cut: usize) -> (usize, usize) {
    match same {
        Padding::SameLower => (cut.div_ceil(2), cut / 2),
        _ => (cut / 2, cut.div_ceil(2)),
    }
}

/// `size`, if an output padding below `limit` makes it out of `full − cut`.
fn reach(axis: usize, full: usize, cut: usize, limit: usize, size: usize) -> Result<usize> {
    // The cut may exceed the full output: count below zero.
    let base = full as i128 - cut as i128;
    let missing = size as i128 - base;
    if size == 0 || missing < 0 || missing >= limit as i128 {
        return Err(Error::OutputSize {
            axis,
            got: size,
            min: full.saturating_sub(cut).max(1),
            max: (base + limit as i128 - 1).max(0) as usize,
        });
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(input: usize, kernel: usize, options: TransposedOptions) -> Result<usize> {
        TransposedGeometry::new(&[1, 2, input], &[2, 3, kernel], &options)
            .map(|geometry| geometry.output_shape()[2])
    }

    #[test]
    fn output_sizes() {
        let options = TransposedOptions::new;
        assert_eq!(output(4, 3, options()), Ok(6));
        assert_eq!(output(4, 3, options().stride(2)), Ok(9));
        assert_eq!(output(4, 3, options().stride(2).padding(1)), Ok(7));
        assert_eq!(
            output(4, 3, options().stride(2).padding(1).output_padding(1)),
            Ok(8)
        );
        assert_eq!(
            output(4, 3, options().stride(2).padding(1).output_size(8)),
            Ok(8)
        );
        assert_eq!(
            output(4, 3, options().stride(1).dilation(3).output_padding(2)),
            Ok(12)
        );
        assert_eq!(
            output(4, 3, options().stride(2).padding(Padding::SameUpper)),
            Ok(8)
        );
        assert_eq!(
            output(4, 1, options().stride(3).padding(Padding::SameUpper)),
            Ok(12)
        );
    }

    #[test]
    fn impossible_sizes_are_errors() {
        let options = TransposedOptions::new;
        assert!(matches!(
            output(4, 3, options().stride(2).output_padding(2)),
            Err(Error::OutputPadding {
                got: 2,
                limit: 2,
                ..
            })
        ));
        assert!(matches!(
            output(4, 3, options().stride(2).output_size(12)),
            Err(Error::OutputSize {
                got: 12,
                min: 9,
                max: 10,
                ..
            })
        ));
        assert!(output(1, 3, options().padding(2)).is_err());
        assert!(output(4, 3, options().output_size(6).output_padding(1)).is_err());
        assert!(output(usize::MAX / 2, 3, options().stride(4)).is_err());
    }
}
