//! The windows of a pooling along one axis.
//!
//! ```text
//! sliding   window o has the taps o · stride + k · dilation − pad_before, k < kernel
//! adaptive  window o has the elements ⌊o · in / out⌋ .. ⌈(o + 1) · in / out⌉
//! ```
//!
//! Only taps inside the input are ever handed out: `0 ≤ tap < input`.

use super::Axis;

/// What the sum of a window is divided by to make an average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// The taps inside the padded input.
    CountPadded,
    /// The taps inside the input.
    CountInput,
    /// This number.
    Fixed(i64),
}

/// The windows along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowAxis {
    /// Equal windows at equal distances.
    Sliding(Axis),
    /// As many windows as wanted, as equal as they can be.
    Adaptive { input: usize, output: usize },
}

/// The taps of one window that lie inside the input: `first`, `first + step`, … (`count` of them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taps {
    pub(crate) first: usize,
    pub(crate) step: usize,
    pub(crate) count: usize,
}

impl Taps {
    /// The input positions, ascending.
    #[inline]
    pub(crate) fn positions(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |tap| self.first + tap * self.step)
    }
}

impl WindowAxis {
    /// An axis that is not there: one element, one tap.
    pub(crate) const TRIVIAL: Self = Self::Sliding(Axis::TRIVIAL);

    /// Input length.
    pub(crate) fn input(&self) -> usize {
        match self {
            Self::Sliding(axis) => axis.input,
            Self::Adaptive { input, .. } => *input,
        }
    }

    /// Number of windows.
    pub(crate) fn output(&self) -> usize {
        match self {
            Self::Sliding(axis) => axis.output,
            Self::Adaptive { output, .. } => *output,
        }
    }

    /// The most taps that a window has inside the input.
    pub(crate) fn longest(&self) -> usize {
        match self {
            Self::Sliding(axis) => axis.kernel.min(axis.input),
            Self::Adaptive { input, output } => (input.div_ceil(*output) + 1).min(*input),
        }
    }

    /// The taps of window `o` that lie inside the input.
    #[inline]
    pub(crate) fn taps(&self, o: usize) -> Taps {
        match *self {
            Self::Sliding(axis) => {
                let start = o * axis.stride;
                let begin = steps(axis.pad_before.saturating_sub(start), axis.dilation);
                let end = steps(
                    (axis.input + axis.pad_before).saturating_sub(start),
                    axis.dilation,
                )
                .min(axis.kernel);
                if begin >= end {
                    return Taps {
                        first: 0,
                        step: 1,
                        count: 0,
                    };
                }
                Taps {
                    first: start + begin * axis.dilation - axis.pad_before,
                    step: axis.dilation,
                    count: end - begin,
                }
            }
            Self::Adaptive { input, output } => {
                let first = o * input / output;
                Taps {
                    first,
                    step: 1,
                    count: ((o + 1) * input).div_ceil(output) - first,
                }
            }
        }
    }

    /// How many taps of window `o` the divisor of an average counts on this axis.
    pub(crate) fn counted(&self, o: usize, divisor: Divisor) -> usize {
        match (self, divisor) {
            (Self::Sliding(axis), Divisor::CountPadded) => {
                let rest = axis.pad_before + axis.input + axis.pad_after - o * axis.stride;
                steps(rest, axis.dilation).min(axis.kernel)
            }
            _ => self.taps(o).count,
        }
    }

    /// Whether [`counted`](Self::counted) is the same for all windows.
    pub(crate) fn is_uniform(&self, divisor: Divisor) -> bool {
        match self {
            // Windows between two whole ones are whole.
            Self::Sliding(axis) => [0, axis.output.saturating_sub(1)]
                .iter()
                .all(|&o| self.counted(o, divisor) == axis.kernel),
            Self::Adaptive { input, output } => input % output == 0,
        }
    }
}

/// ⌈length / step⌉ without a division for the usual step of 1.
#[inline]
fn steps(length: usize, step: usize) -> usize {
    if step == 1 {
        length
    } else {
        length.div_ceil(step)
    }
}
