//! One spatial axis of a sliding window.
//!
//! ```text
//! padded  = pad_before + input + pad_after
//! extent  = dilation · (kernel − 1) + 1
//! output  = ⌊(padded − extent) / stride⌋ + 1
//! source(k, o) = o · stride + k · dilation − pad_before      (tap k of output o)
//! valid(k)     = { o : 0 ≤ source(k, o) < input }            (one interval)
//! ```

use std::ops::Range;

use super::{Padding, PaddingMode};
use crate::error::{Error, Result, product, sum};

/// One spatial axis: input, kernel, stride, dilation, padding per side, output.
///
/// Built by [`Axis::new`], so the numbers always fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    pub(crate) input: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    pub(crate) pad_before: usize,
    pub(crate) pad_after: usize,
    pub(crate) output: usize,
}

impl Axis {
    /// An axis that is not there: one element, one tap.
    pub(crate) const TRIVIAL: Self = Self {
        input: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        pad_before: 0,
        pad_after: 0,
        output: 1,
    };

    /// The axis number `axis` with `pad = (before, after)`; dilation 1 is none.
    ///
    /// # Errors
    /// `kernel`, `stride` or `dilation` = 0; extent > padded input; a sum beyond the address space.
    pub fn new(
        axis: usize,
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        pad: (usize, usize),
    ) -> Result<Self> {
        let extent = extent(axis, kernel, stride, dilation)?;
        let padded = sum("padded input", &[pad.0, input, pad.1])?;
        if extent > padded {
            return Err(Error::KernelTooLarge {
                axis,
                extent,
                padded,
            });
        }
        Ok(Self {
            input,
            kernel,
            stride,
            dilation,
            pad_before: pad.0,
            pad_after: pad.1,
            output: (padded - extent) / stride + 1,
        })
    }

    /// The axis with its padding taken from `padding`, filled as `mode` says.
    pub(crate) fn padded(
        axis: usize,
        rank: usize,
        input: usize,
        [kernel, stride, dilation]: [usize; 3],
        padding: &Padding,
        mode: &PaddingMode,
    ) -> Result<Self> {
        let extent = extent(axis, kernel, stride, dilation)?;
        let pad = match padding {
            Padding::Valid => (0, 0),
            Padding::Explicit(pad) => pad.get("padding", rank, axis)?,
            Padding::SameUpper | Padding::SameLower => {
                let output = input.div_ceil(stride);
                let reach = match output {
                    0 => 0,
                    _ => sum(
                        "padded input",
                        &[product("padded input", &[output - 1, stride])?, extent],
                    )?,
                };
                let total = reach.saturating_sub(input);
                match padding {
                    Padding::SameLower => (total.div_ceil(2), total / 2),
                    _ => (total / 2, total.div_ceil(2)),
                }
            }
        };
        let limit = mode.limit(input);
        if let Some(pad) = [pad.0, pad.1].into_iter().find(|&pad| pad > limit) {
            return Err(Error::PaddingTooLarge {
                mode: mode.name(),
                axis,
                pad,
                input,
                limit,
            });
        }
        Self::new(axis, input, kernel, stride, dilation, pad)
    }

    /// The same axis with only its first `output` positions.
    ///
    /// This is what a negative padding at the end means, and how a transposed convolution with output
    /// padding at or above its stride finds its forward twin.
    ///
    /// # Errors
    /// `output` = 0 or above the number of positions there are.
    pub fn with_output(self, axis: usize, output: usize) -> Result<Self> {
        if output == 0 || output > self.output {
            return Err(Error::OutputSize {
                axis,
                got: output,
                min: 1,
                max: self.output,
            });
        }
        Ok(Self { output, ..self })
    }

    /// Input length.
    pub fn input(&self) -> usize {
        self.input
    }
    /// Number of taps.
    pub fn kernel(&self) -> usize {
        self.kernel
    }
    /// Distance between neighbouring outputs, in input elements.
    pub fn stride(&self) -> usize {
        self.stride
    }
    /// Distance between neighbouring taps, in input elements; 1 is none.
    pub fn dilation(&self) -> usize {
        self.dilation
    }
    /// Padding before and after the input.
    pub fn pad(&self) -> (usize, usize) {
        (self.pad_before, self.pad_after)
    }
    /// Number of outputs.
    pub fn output(&self) -> usize {
        self.output
    }
    /// dilation · (kernel − 1) + 1.
    pub fn extent(&self) -> usize {
        self.dilation * (self.kernel - 1) + 1
    }

    /// The input position that tap `k` of output `o` reads; negative or ≥ input inside the padding.
    #[inline]
    pub(crate) fn position(&self, k: usize, o: usize) -> isize {
        (o * self.stride + k * self.dilation) as isize - self.pad_before as isize
    }

    /// The outputs whose tap `k` lies inside the input.
    pub(crate) fn valid(&self, k: usize) -> Range<usize> {
        let tap = k * self.dilation;
        let begin = self.pad_before.saturating_sub(tap).div_ceil(self.stride);
        let end = (self.input + self.pad_before)
            .saturating_sub(tap)
            .div_ceil(self.stride);
        let begin = begin.min(self.output);
        begin..end.clamp(begin, self.output)
    }

    /// The taps that remain where those at either end that lie outside the input at every output are cut, each with
    /// `dilation` of the padding on its side: the outputs are the same. All, where none lies inside.
    #[cfg(feature = "network")]
    pub(crate) fn inside(&self) -> Range<usize> {
        let inside = |&k: &usize| !self.valid(k).is_empty();
        let mut taps = 0..self.kernel;
        let Some(first) = taps.find(inside) else {
            return 0..self.kernel;
        };
        let last = taps.rfind(inside).unwrap_or(first);
        let begin = first.min(self.pad_before / self.dilation);
        let most = self.pad_after / self.dilation;
        begin..(last + 1).max(self.kernel.saturating_sub(most))
    }

    /// Whether one tap sits on every element: nothing is unfolded on this axis.
    pub(crate) fn is_identity(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.pad_before == 0 && self.output == self.input
    }
}

/// dilation · (kernel − 1) + 1, all three at least one.
fn extent(axis: usize, kernel: usize, stride: usize, dilation: usize) -> Result<usize> {
    for (what, value) in [
        ("kernel", kernel),
        ("stride", stride),
        ("dilation", dilation),
    ] {
        if value == 0 {
            return Err(Error::Zero { what, axis });
        }
    }
    sum(
        "kernel extent",
        &[product("kernel extent", &[dilation, kernel - 1])?, 1],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(input: usize, kernel: usize, stride: usize, pad: usize) -> usize {
        Axis::new(0, input, kernel, stride, 1, (pad, pad))
            .unwrap()
            .output
    }

    /// The course's table: n, f, s, p → ⌊(n + 2p − f) / s⌋ + 1.
    #[test]
    fn output_sizes_of_the_slides() {
        assert_eq!(output(6, 3, 1, 0), 4);
        assert_eq!(output(6, 3, 1, 1), 6);
        assert_eq!(output(7, 3, 2, 0), 3);
        assert_eq!(output(7, 3, 2, 1), 4);
        assert_eq!(output(5, 2, 1, 0), 4);
        assert_eq!(output(39, 3, 1, 0), 37);
        assert_eq!(output(37, 5, 2, 0), 17);
        assert_eq!(output(17, 5, 2, 0), 7);
    }

    fn same(
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        padding: Padding,
    ) -> (usize, usize, usize) {
        let axis = Axis::padded(
            0,
            1,
            input,
            [kernel, stride, dilation],
            &padding,
            &PaddingMode::Zeros,
        )
        .unwrap();
        (axis.pad_before, axis.pad_after, axis.output)
    }

    #[test]
    fn same_with_stride_dilation_and_even_kernels() {
        assert_eq!(same(5, 3, 1, 1, Padding::SameUpper), (1, 1, 5));
        assert_eq!(same(5, 2, 1, 1, Padding::SameUpper), (0, 1, 5));
        assert_eq!(same(5, 2, 1, 1, Padding::SameLower), (1, 0, 5));
        assert_eq!(same(28, 5, 2, 1, Padding::SameUpper), (1, 2, 14));
        assert_eq!(same(28, 5, 2, 1, Padding::SameLower), (2, 1, 14));
        // Dilation widens the kernel, so it widens the padding.
        assert_eq!(same(9, 3, 1, 2, Padding::SameUpper), (2, 2, 9));
        assert_eq!(same(9, 4, 2, 3, Padding::SameUpper), (4, 5, 5));
        // A stride beyond the kernel needs none.
        assert_eq!(same(9, 2, 4, 1, Padding::SameUpper), (0, 1, 3));
        assert_eq!(same(8, 2, 4, 1, Padding::SameLower), (0, 0, 2));
    }

    /// • a b c d • with three taps: the first misses one output on the left, the last one on the right.
    #[test]
    fn valid_interval_of_each_tap() {
        let axis = Axis::new(0, 4, 3, 1, 1, (1, 1)).unwrap();
        assert_eq!(axis.output, 4);
        assert_eq!(
            [axis.valid(0), axis.valid(1), axis.valid(2)],
            [1..4, 0..4, 0..3]
        );
    }

    #[test]
    fn valid_agrees_with_the_definition() {
        for input in 0..7 {
            for kernel in 1..5 {
                for stride in 1..4 {
                    for dilation in 1..4 {
                        for pad in [(0, 0), (1, 0), (0, 2), (3, 4), (9, 9)] {
                            let Ok(axis) = Axis::new(0, input, kernel, stride, dilation, pad)
                            else {
                                continue;
                            };
                            for k in 0..kernel {
                                let inside: Vec<usize> = (0..axis.output)
                                    .filter(|&o| (0..input as isize).contains(&axis.position(k, o)))
                                    .collect();
                                assert_eq!(
                                    axis.valid(k).collect::<Vec<_>>(),
                                    inside,
                                    "{axis:?} tap {k}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[cfg(feature = "network")]
    #[test]
    fn taps_at_the_ends_that_lie_outside_are_cut_with_their_padding() {
        let inside = |input, [kernel, stride, dilation]: [usize; 3], pad| {
            let axis = Axis::new(0, input, kernel, stride, dilation, pad).unwrap();
            axis.inside()
        };
        // The outer taps meet padding alone; one pixel more, and they meet a pixel.
        assert_eq!(inside(14, [3, 1, 24], (24, 24)), 1..2);
        assert_eq!(inside(14, [3, 1, 14], (14, 14)), 1..2);
        assert_eq!(inside(15, [3, 1, 14], (14, 14)), 0..3);
        assert_eq!(inside(2, [3, 2, 1], (1, 1)), 1..3);
        // No tap lies inside: strides step over the only pixel.
        assert_eq!(inside(1, [2, 4, 4], (2, 9)), 0..2);
        assert_eq!(inside(0, [3, 1, 1], (1, 2)), 0..3);
        let cases = [(0, 0), (1, 0), (0, 2), (3, 4), (9, 9)];
        for (input, pad) in (0..7).flat_map(|input| cases.map(|pad| (input, pad))) {
            for sizes in (0..100).map(|at| [1 + at % 5, 1 + at / 5 % 4, 1 + at / 20]) {
                let [kernel, stride, dilation] = sizes;
                let Ok(axis) = Axis::new(0, input, kernel, stride, dilation, pad) else {
                    continue;
                };
                let kept = axis.inside();
                assert!(!kept.is_empty() && kept.end <= kernel, "{axis:?}");
                let taken = [kept.start, kernel - kept.end].map(|taps| taps * dilation);
                assert!(taken[0] <= pad.0 && taken[1] <= pad.1, "{axis:?}");
                let pad = (pad.0 - taken[0], pad.1 - taken[1]);
                let cut = Axis::new(0, input, kept.len(), stride, dilation, pad).unwrap();
                assert_eq!(cut.output, axis.output);
                for k in 0..kernel {
                    if kept.contains(&k) {
                        assert_eq!(cut.valid(k - kept.start), axis.valid(k), "{axis:?}");
                    } else {
                        assert!(axis.valid(k).is_empty(), "{axis:?} tap {k}");
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_numbers_are_typed_errors() {
        let new = |input, kernel, stride, dilation, pad| {
            Axis::new(1, input, kernel, stride, dilation, pad)
        };
        assert_eq!(
            new(4, 7, 1, 1, (0, 0)).unwrap_err().to_string(),
            "kernel extent 7 exceeds padded input 4 on axis 1"
        );
        assert_eq!(
            new(4, 0, 1, 1, (0, 0)),
            Err(Error::Zero {
                what: "kernel",
                axis: 1
            })
        );
        assert_eq!(
            new(4, 1, 0, 1, (0, 0)),
            Err(Error::Zero {
                what: "stride",
                axis: 1
            })
        );
        assert_eq!(
            new(4, 1, 1, 0, (0, 0)),
            Err(Error::Zero {
                what: "dilation",
                axis: 1
            })
        );
        assert_eq!(
            new(4, 1, 1, 1, (usize::MAX, 1)),
            Err(Error::Overflow {
                what: "padded input"
            })
        );
        assert_eq!(
            new(4, usize::MAX / 2, 1, 7, (0, 0)),
            Err(Error::Overflow {
                what: "kernel extent"
            })
        );
        assert_eq!(
            new(4, 3, 1, 1 << 62, (0, 0)),
            Err(Error::Overflow {
                what: "kernel extent"
            })
        );
    }

    #[test]
    fn reflect_needs_image_to_reflect() {
        let padded = |mode| Axis::padded(0, 1, 3, [3, 1, 1], &Padding::symmetric(3), &mode);
        assert!(matches!(
            padded(PaddingMode::Reflect),
            Err(Error::PaddingTooLarge { limit: 2, .. })
        ));
        assert!(padded(PaddingMode::Circular).is_ok());
        assert!(padded(PaddingMode::Replicate).is_ok());
        let empty = Axis::padded(
            0,
            1,
            0,
            [1, 1, 1],
            &Padding::symmetric(1),
            &PaddingMode::Replicate,
        );
        assert!(matches!(
            empty,
            Err(Error::PaddingTooLarge { limit: 0, .. })
        ));
    }
}
