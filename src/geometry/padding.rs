//! How much padding, and what stands in it.

use super::PerAxis;

/// How much padding an axis gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// None: the kernel stays inside the input (TensorFlow's and ONNX's `VALID`).
    Valid,
    /// Output length ⌈input / stride⌉; an odd element goes to the end (`SAME`, `SAME_UPPER`).
    SameUpper,
    /// Output length ⌈input / stride⌉; an odd element goes to the beginning (`SAME_LOWER`).
    SameLower,
    /// Numbers of elements before and after, per axis.
    Explicit(PerAxis<(usize, usize)>),
}

impl Padding {
    /// As many elements before as after, per axis: PyTorch's `padding=`.
    pub fn symmetric(pad: impl Into<PerAxis<usize>>) -> Self {
        let pad: PerAxis<usize> = pad.into();
        Self::Explicit(pad.map(|elements| (elements, elements)))
    }
}

impl From<usize> for Padding {
    fn from(pad: usize) -> Self {
        Self::symmetric(pad)
    }
}

impl<const N: usize> From<[usize; N]> for Padding {
    fn from(pad: [usize; N]) -> Self {
        Self::symmetric(pad)
    }
}

impl<const N: usize> From<[(usize, usize); N]> for Padding {
    fn from(pad: [(usize, usize); N]) -> Self {
        Self::Explicit(pad.into())
    }
}

impl From<&[(usize, usize)]> for Padding {
    fn from(pad: &[(usize, usize)]) -> Self {
        Self::Explicit(pad.into())
    }
}

/// What stands in the padding.
///
/// Zeros and constants take part in the arithmetic as explicit numbers: an infinite weight over zero
/// padding gives NaN, in every recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum PaddingMode {
    /// 0 0 | a b c | 0 0
    #[default]
    Zeros,
    /// v v | a b c | v v
    Constant(f64),
    /// c b | a b c | b a: mirrored at the edge element, which is not repeated.
    Reflect,
    /// a a | a b c | c c: the edge element repeated.
    Replicate,
    /// b c | a b c | a b: the image repeated.
    Circular,
}

impl PaddingMode {
    /// The name used in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Zeros => "zeros",
            Self::Constant(_) => "constant",
            Self::Reflect => "reflect",
            Self::Replicate => "replicate",
            Self::Circular => "circular",
        }
    }

    /// The number in the padding, where it is a number.
    pub fn constant(&self) -> f64 {
        match self {
            Self::Constant(value) => *value,
            _ => 0.0,
        }
    }

    /// Whether padding is read from the image.
    pub fn reads_image(&self) -> bool {
        !matches!(self, Self::Zeros | Self::Constant(_))
    }

    /// The most padding an axis of `input` elements can have on one side.
    pub(crate) fn limit(&self, input: usize) -> usize {
        match self {
            Self::Zeros | Self::Constant(_) => usize::MAX,
            Self::Reflect => input.saturating_sub(1),
            Self::Replicate if input == 0 => 0,
            Self::Replicate => usize::MAX,
            Self::Circular => input,
        }
    }

    /// The input element that stands at `position` (negative: before the first), if any does.
    ///
    /// `position` may lie one padding outside `0..input`, no further.
    #[inline]
    pub(crate) fn source(&self, position: isize, input: usize) -> Option<usize> {
        // One comparison: a negative position is a huge one.
        if (position as usize) < input {
            Some(position as usize)
        } else {
            self.outside(position, input as isize)
        }
    }

    /// [`source`](Self::source) of a position outside the input, the rare case.
    #[cold]
    fn outside(&self, position: isize, length: isize) -> Option<usize> {
        let inside = match self {
            Self::Zeros | Self::Constant(_) => return None,
            Self::Reflect if position < 0 => -position,
            Self::Reflect => 2 * (length - 1) - position,
            Self::Replicate => position.clamp(0, length - 1),
            Self::Circular if position < 0 => position + length,
            Self::Circular => position - length,
        };
        Some(inside as usize)
    }
}
