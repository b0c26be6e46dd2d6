//! The sizes of a pooling, rank 1 to 3: sliding windows, adaptive ones, and the whole image.
//!
//! ```text
//! x [N, C, in…]   y [N, C, out…]                      (channels last: [N, in…, C], [N, out…, C])
//! sliding   output = ⌊(padded − extent) / stride⌋ + 1, or ⌈…⌉ + 1 in ceil mode, one less where the
//!           last window would start at or behind the end of the input: start ≥ pad_before + input
//! adaptive  window o = ⌊o · in / out⌋ .. ⌈(o + 1) · in / out⌉
//! global    adaptive with one output
//! ```
//!
//! Padding is never an element: it cannot win a maximum and adds nothing to a sum. Only the divisor
//! of an average may count it. As in a convolution, ranks below three get trivial axes in front.

use super::{Axis, Divisor, Layout, Padding, PaddingMode, PerAxis, WindowAxis};
use crate::error::{Error, Result, product};

/// The options of a pooling, with PyTorch's names and defaults.
///
/// ```
/// use gemmconv::{Padding, PoolOptions};
/// let halved = PoolOptions::new(2);
/// let overlapping = PoolOptions::new([3, 3]).stride(2).padding(1).ceil_mode(true);
/// let tensorflow = PoolOptions::new(3).stride(2).padding(Padding::SameUpper).count_include_pad(false);
/// # let _ = (halved, overlapping, tensorflow);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PoolOptions {
    /// Taps of the window, one for all axes or one per axis.
    pub kernel_size: PerAxis,
    /// Distance between neighbouring windows; the kernel size by default.
    pub stride: Option<PerAxis>,
    /// How much padding; none by default. Always below the window's extent.
    pub padding: Padding,
    /// Distance between neighbouring taps; 1 (none) by default.
    pub dilation: PerAxis,
    /// Whether a last window may hang over the end of the padded input; no by default.
    pub ceil_mode: bool,
    /// Whether the divisor of an average counts padding (never what lies behind it); yes by default,
    /// as in PyTorch. TensorFlow's averages and ONNX's default do not count it.
    pub count_include_pad: bool,
    /// A divisor for averages in place of the count; not zero.
    pub divisor_override: Option<i64>,
    /// How input and output lie in memory; channels first by default.
    pub layout: Layout,
}

impl PoolOptions {
    /// Windows of `kernel_size`, as far apart as they are long, no padding, channels first.
    pub fn new(kernel_size: impl Into<PerAxis>) -> Self {
        Self {
            kernel_size: kernel_size.into(),
            stride: None,
            padding: Padding::Valid,
            dilation: PerAxis::all(1),
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
            layout: Layout::ChannelsFirst,
        }
    }
    /// Sets the stride, one for all axes or one per axis.
    pub fn stride(mut self, stride: impl Into<PerAxis>) -> Self {
        self.stride = Some(stride.into());
        self
    }
    /// Sets the padding: a number, one per axis, `(before, after)` per axis, or a [`Padding`].
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }
    /// Sets the dilation, one for all axes or one per axis; 1 is none.
    pub fn dilation(mut self, dilation: impl Into<PerAxis>) -> Self {
        self.dilation = dilation.into();
        self
    }
    /// Sets whether a last window may hang over the end.
    pub fn ceil_mode(mut self, ceil: bool) -> Self {
        self.ceil_mode = ceil;
        self
    }
    /// Sets whether the divisor of an average counts padding.
    pub fn count_include_pad(mut self, include: bool) -> Self {
        self.count_include_pad = include;
        self
    }
    /// Sets the divisor of an average; may be negative, not zero.
    pub fn divisor_override(mut self, divisor: i64) -> Self {
        self.divisor_override = Some(divisor);
        self
    }
    /// Sets the memory layout of input and output.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }
}

/// The sizes of a pooling; see the file head for the letters.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolGeometry {
    rank: usize,
    batch: usize,
    channels: usize,
    /// Three axes; the first `3 − rank` are trivial.
    pub(crate) axes: [WindowAxis; 3],
    pub(crate) divisor: Divisor,
    layout: Layout,
}

impl PoolGeometry {
    /// Windows as `options` says, sliding over a batch of shape `input`.
    ///
    /// A batch of 0 images, or of 0 channels, has an empty output.
    ///
    /// # Errors
    /// A rank other than 1 to 3; an option that lists values for another rank; kernel size, stride,
    /// dilation or an input length = 0; extent > padded input; padding ≥ extent on either side;
    /// a divisor of 0; a size beyond the address space.
    ///
    /// ```
    /// use gemmconv::{PoolGeometry, PoolOptions};
    /// let options = PoolOptions::new(3).stride(2);
    /// assert_eq!(PoolGeometry::new(&[1, 64, 112, 112], &options)?.output_shape(), [1, 64, 55, 55]);
    /// let options = options.ceil_mode(true);
    /// assert_eq!(PoolGeometry::new(&[1, 64, 112, 112], &options)?.output_shape(), [1, 64, 56, 56]);
    /// # Ok::<(), gemmconv::Error>(())
    /// ```
    pub fn new(input: &[usize], options: &PoolOptions) -> Result<Self> {
        let rank = spatial_rank(input)?;
        let divisor = match options.divisor_override {
            Some(0) => {
                return Err(Error::Parameter {
                    what: "divisor_override",
                    got: 0.0,
                    expected: "a number other than zero",
                });
            }
            Some(divisor) => Divisor::Fixed(divisor),
            None if options.count_include_pad => Divisor::CountPadded,
            None => Divisor::CountInput,
        };
        Self::from_axes(input, options.layout, divisor, |axis, length| {
            sliding(axis, rank, length, options).map(WindowAxis::Sliding)
        })
    }

    /// `output_size` windows per axis that together cover the input, which they share as evenly as
    /// whole elements allow; neighbours may overlap by one element.
    ///
    /// # Errors
    /// A rank other than 1 to 3; `output_size` listed for another rank; an input or output length
    /// = 0; a size beyond the address space.
    pub fn adaptive(
        input: &[usize],
        output_size: impl Into<PerAxis>,
        layout: Layout,
    ) -> Result<Self> {
        let (rank, output_size) = (spatial_rank(input)?, output_size.into());
        Self::from_axes(input, layout, Divisor::CountInput, |axis, length| {
            let output = output_size.get("output size", rank, axis)?;
            if output == 0 {
                return Err(Error::Zero {
                    what: "output size",
                    axis,
                });
            }
            // `taps` multiplies them.
            product("adaptive window", &[length, output])?;
            Ok(WindowAxis::Adaptive {
                input: length,
                output,
            })
        })
    }

    /// One window: the whole image.
    ///
    /// # Errors
    /// Those of [`PoolGeometry::adaptive`].
    pub fn global(input: &[usize], layout: Layout) -> Result<Self> {
        Self::adaptive(input, 1, layout)
    }

    fn from_axes(
        input: &[usize],
        layout: Layout,
        divisor: Divisor,
        windows: impl Fn(usize, usize) -> Result<WindowAxis>,
    ) -> Result<Self> {
        let (batch, channels, spatial) = layout.parts(input);
        let rank = spatial.len();
        let mut axes = [WindowAxis::TRIVIAL; 3];
        for (axis, &length) in spatial.iter().enumerate() {
            if length == 0 {
                return Err(Error::Zero {
                    what: "input",
                    axis,
                });
            }
            axes[3 - rank + axis] = windows(axis, length)?;
        }
        // Every product that later code multiplies without a check.
        for (what, length) in [
            ("input", WindowAxis::input as fn(&WindowAxis) -> usize),
            ("output", WindowAxis::output),
        ] {
            let [d, h, w] = axes.map(|axis| length(&axis));
            product(
                what,
                &[batch.max(1), channels.max(1), d, h, w, size_of::<f64>()],
            )?;
        }
        let [d, h, w] = axes.map(|axis| axis.longest());
        product("window", &[d, h, w])?;
        Ok(Self {
            rank,
            batch,
            channels,
            axes,
            divisor,
            layout,
        })
    }

    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.rank
    }
    /// Number of images, N.
    pub fn batch(&self) -> usize {
        self.batch
    }
    /// Number of channels, C.
    pub fn channels(&self) -> usize {
        self.channels
    }
    /// The memory layout of input and output.
    pub fn layout(&self) -> Layout {
        self.layout
    }
    /// What the sum of a window is divided by to make an average.
    pub fn divisor(&self) -> Divisor {
        self.divisor
    }
    /// Input lengths, outermost first.
    pub fn inputs(&self) -> Vec<usize> {
        self.axes[3 - self.rank..]
            .iter()
            .map(WindowAxis::input)
            .collect()
    }
    /// Output lengths, outermost first.
    pub fn outputs(&self) -> Vec<usize> {
        self.axes[3 - self.rank..]
            .iter()
            .map(WindowAxis::output)
            .collect()
    }
    /// The spatial axes, outermost first, where their windows slide.
    #[cfg(feature = "network")]
    pub(crate) fn sliding(&self) -> Option<Vec<Axis>> {
        let axes = self.axes[3 - self.rank..].iter();
        axes.map(|axis| match axis {
            WindowAxis::Sliding(axis) => Some(*axis),
            WindowAxis::Adaptive { .. } => None,
        })
        .collect()
    }
    /// The shape of the input.
    pub fn input_shape(&self) -> Vec<usize> {
        self.layout.shape(self.batch, self.channels, &self.inputs())
    }
    /// The shape of the output.
    pub fn output_shape(&self) -> Vec<usize> {
        self.layout
            .shape(self.batch, self.channels, &self.outputs())
    }
    /// Elements of one channel of one image: the product of the input lengths.
    pub fn pixels(&self) -> usize {
        self.axes.iter().map(WindowAxis::input).product()
    }
    /// Windows of one channel of one image: the product of the output lengths.
    pub fn positions(&self) -> usize {
        self.axes.iter().map(WindowAxis::output).product()
    }
    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.channels * self.pixels()
    }
    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.channels * self.positions()
    }
    /// The most elements that one pass visits: outputs times the taps of the largest window.
    pub fn operations(&self) -> u128 {
        let window: usize = self.axes.iter().map(WindowAxis::longest).product();
        (self.output_len() as u128).saturating_mul(window as u128)
    }
}

/// The number of spatial axes of a batch of shape `input`, one to three.
pub(crate) fn spatial_rank(input: &[usize]) -> Result<usize> {
    let rank = input.len().saturating_sub(2);
    if !(1..=3).contains(&rank) {
        return Err(Error::SpatialRank { got: rank });
    }
    Ok(rank)
}

/// The sliding windows of one axis.
fn sliding(axis: usize, rank: usize, length: usize, options: &PoolOptions) -> Result<Axis> {
    let kernel = options.kernel_size.get("kernel size", rank, axis)?;
    let stride = match &options.stride {
        Some(stride) => stride.get("stride", rank, axis)?,
        None => kernel,
    };
    let dilation = options.dilation.get("dilation", rank, axis)?;
    let shape = [kernel, stride, dilation];
    let floor = Axis::padded(
        axis,
        rank,
        length,
        shape,
        &options.padding,
        &PaddingMode::Zeros,
    )?;
    let extent = floor.extent();
    if let Some(pad) = [floor.pad_before, floor.pad_after]
        .into_iter()
        .find(|&pad| pad >= extent)
    {
        return Err(Error::PoolPadding { axis, pad, extent });
    }
    if !options.ceil_mode {
        return Ok(floor);
    }
    // Rounding up adds a window where floor left a rest, unless that window starts behind the input.
    let rest = (floor.pad_before + length + floor.pad_after - extent) % stride;
    let start = floor.output.checked_mul(stride);
    if rest == 0 || start.is_none_or(|start| start >= floor.pad_before + length) {
        return Ok(floor);
    }
    Ok(Axis {
        output: floor.output + 1,
        ..floor
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(input: usize, options: &PoolOptions) -> usize {
        PoolGeometry::new(&[1, 1, input], options)
            .unwrap()
            .outputs()[0]
    }

    #[test]
    fn stride_defaults_to_the_kernel() {
        assert_eq!(outputs(8, &PoolOptions::new(2)), 4);
        assert_eq!(outputs(9, &PoolOptions::new(2)), 4);
        assert_eq!(outputs(9, &PoolOptions::new(2).ceil_mode(true)), 5);
        assert_eq!(outputs(9, &PoolOptions::new(3).stride(1)), 7);
    }

    /// • a b c d e •  with two taps, three apart: [• a] [c d], and a third would start in the padding.
    #[test]
    fn no_window_starts_behind_the_input() {
        let options = PoolOptions::new(2).stride(3).padding(1).ceil_mode(true);
        assert_eq!(outputs(5, &options), 2);
        // One more element, and it starts on that.
        assert_eq!(outputs(6, &options), 3);
        // A stride beyond the whole input leaves one window.
        let far = PoolOptions::new(2).stride(usize::MAX).ceil_mode(true);
        assert_eq!(outputs(5, &far), 1);
    }

    #[test]
    fn same_padding_and_ceil_mode_agree() {
        for input in 1..12 {
            for (kernel, stride) in [(1, 2), (2, 2), (3, 2), (2, 3), (3, 1), (4, 3)] {
                for padding in [Padding::SameUpper, Padding::SameLower] {
                    let options = PoolOptions::new(kernel).stride(stride).padding(padding);
                    assert_eq!(outputs(input, &options), input.div_ceil(stride));
                    assert_eq!(
                        outputs(input, &options.ceil_mode(true)),
                        input.div_ceil(stride)
                    );
                }
            }
        }
    }

    fn taps(axis: &WindowAxis) -> Vec<Vec<usize>> {
        (0..axis.output())
            .map(|o| axis.taps(o).positions().collect())
            .collect()
    }

    #[test]
    fn adaptive_windows_share_elements_where_they_must() {
        let windows = |input, output| {
            taps(
                &PoolGeometry::adaptive(&[1, 1, input], output, Layout::ChannelsFirst)
                    .unwrap()
                    .axes[2],
            )
        };
        assert_eq!(windows(6, 3), [[0, 1], [2, 3], [4, 5]]);
        assert_eq!(windows(5, 2), [[0, 1, 2], [2, 3, 4]]);
        assert_eq!(windows(2, 3), [vec![0], vec![0, 1], vec![1]]);
        assert_eq!(windows(7, 1), [[0, 1, 2, 3, 4, 5, 6]]);
    }

    /// Dilation reaches over an input shorter than the gap: the second window has no tap inside.
    #[test]
    fn a_dilated_window_can_miss_the_input() {
        let options = PoolOptions::new(2).stride(1).dilation(3).padding([(3, 3)]);
        let geometry = PoolGeometry::new(&[1, 1, 1], &options).unwrap();
        assert_eq!(taps(&geometry.axes[2]), [vec![0], vec![], vec![], vec![0]]);
        let axis = &geometry.axes[2];
        assert_eq!(
            (
                axis.counted(1, Divisor::CountPadded),
                axis.counted(1, Divisor::CountInput)
            ),
            (2, 0)
        );
    }

    /// a b c d e f •  with three taps, two apart: the last window [e f •] ends in the padding, or behind it.
    #[test]
    fn what_hangs_over_is_not_counted() {
        let options = PoolOptions::new(3)
            .stride(2)
            .padding([(0, 1)])
            .ceil_mode(true);
        let axis = PoolGeometry::new(&[1, 1, 6], &options).unwrap().axes[2];
        assert_eq!(taps(&axis), [vec![0, 1, 2], vec![2, 3, 4], vec![4, 5]]);
        let counts = |divisor| [0, 1, 2].map(|o| axis.counted(o, divisor));
        assert_eq!(counts(Divisor::CountPadded), [3, 3, 3]);
        assert_eq!(counts(Divisor::CountInput), [3, 3, 2]);
        let axis = PoolGeometry::new(&[1, 1, 6], &options.padding(0))
            .unwrap()
            .axes[2];
        assert_eq!(
            [0, 1, 2].map(|o| axis.counted(o, Divisor::CountPadded)),
            [3, 3, 2]
        );
        assert!(!axis.is_uniform(Divisor::CountPadded));
    }

    #[test]
    fn wrong_numbers_are_typed_errors() {
        let error =
            |input: &[usize], options: &PoolOptions| PoolGeometry::new(input, options).unwrap_err();
        let image = [1, 1, 4, 4];
        assert_eq!(
            error(&image, &PoolOptions::new(3).padding([(0, 0), (0, 3)])).to_string(),
            "pooling padding 3 on axis 1 must be below the window extent 3"
        );
        assert_eq!(
            error(&image, &PoolOptions::new([3, 5])).to_string(),
            "kernel extent 5 exceeds padded input 4 on axis 1"
        );
        let zero = |what, axis| Error::Zero { what, axis };
        assert_eq!(error(&image, &PoolOptions::new(0)), zero("kernel", 0));
        assert_eq!(
            error(&image, &PoolOptions::new(2).stride([1, 0])),
            zero("stride", 1)
        );
        assert_eq!(
            error(&image, &PoolOptions::new(2).dilation(0)),
            zero("dilation", 0)
        );
        assert_eq!(
            error(&[1, 1, 4, 0], &PoolOptions::new(2).padding(1)),
            zero("input", 1)
        );
        assert!(matches!(
            error(&image, &PoolOptions::new([2, 2, 2])),
            Error::OptionRank {
                option: "kernel size",
                expected: 2,
                got: 3
            }
        ));
        for rank in [0, 1, 2, 6] {
            assert!(matches!(
                error(&[4; 6][..rank], &PoolOptions::new(2)),
                Error::SpatialRank { .. }
            ));
        }
        assert!(matches!(
            error(&image, &PoolOptions::new(2).divisor_override(0)),
            Error::Parameter {
                what: "divisor_override",
                ..
            }
        ));
    }

    #[test]
    fn sizes_beyond_the_address_space_are_typed_errors() {
        let overflow = |input: &[usize], options: &PoolOptions| {
            assert!(
                matches!(
                    PoolGeometry::new(input, options),
                    Err(Error::Overflow { .. })
                ),
                "{options:?}"
            );
        };
        let huge = 1 << 62;
        overflow(&[1, 1, 4], &PoolOptions::new(3).padding(huge));
        overflow(&[1, 1, 4], &PoolOptions::new(3).dilation(huge));
        overflow(&[1, 1, 4], &PoolOptions::new(usize::MAX));
        overflow(&[huge, 1, 4], &PoolOptions::new(2));
        overflow(&[0, huge, 4], &PoolOptions::new(2));
        // A huge kernel over as much padding: more outputs than can be addressed.
        overflow(
            &[1, 1, 4],
            &PoolOptions::new(1 << 61).stride(1).padding((1 << 61) - 1),
        );
        let adaptive = PoolGeometry::adaptive(&[1, 1, 1 << 40], 1 << 40, Layout::ChannelsFirst);
        assert!(matches!(adaptive, Err(Error::Overflow { .. })));
        let none = PoolGeometry::adaptive(&[1, 1, 4], 0, Layout::ChannelsFirst);
        assert!(matches!(
            none,
            Err(Error::Zero {
                what: "output size",
                axis: 0
            })
        ));
    }

    #[test]
    fn nothing_in_nothing_out() {
        for shape in [[0, 3, 8, 8], [2, 0, 8, 8]] {
            let geometry = PoolGeometry::new(&shape, &PoolOptions::new(2)).unwrap();
            assert_eq!(geometry.output_shape(), [shape[0], shape[1], 4, 4]);
            assert_eq!((geometry.output_len(), geometry.operations()), (0, 0));
        }
    }
}
