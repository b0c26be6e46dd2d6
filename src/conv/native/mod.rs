//! The native recipes: products that read their patches out of the image.
//!
//! ```text
//! Sweep         y (positions × channels)   ← window of x · weights        forward; backward input by phases
//! Correlation   dw (patch × outputs)       ← window of xᵀ · panel of dy   backward weight, and the bias beside it
//! OuterSum      dw (outputs × channels)    ← dyᵀ · panel of x             the same for kernels of one tap
//! ```
//!
//! All cut their work into blocks (`plan/blocks.rs`), copy the window of the source that a block reads into
//! scratch, and hand it to the one product of `kernel/` with tables of offsets. Recipes differ in the numbers of
//! their blocks and in what the lanes of a vector are:
//!
//! ```text
//! direct, pointwise    lanes are output channels, and each pixel meets all of them
//! grouped              lanes are output channels, and each meets the pixel of its own group
//! ```

mod backward_weight;
mod exact;
mod outer_sum;
mod pack;
mod shares;
mod sweep;
mod winograd;

pub(super) use backward_weight::Correlation;
pub(super) use outer_sum::OuterSum;
pub(super) use shares::WeightGradient;
pub(super) use sweep::{Finale, Sweep};
pub(super) use winograd::{Winograd, WinogradKernels, WinogradWeight};

use ndarray::{ArrayViewMut4, s};

use crate::error::{Error, Result};
use crate::geometry::Layout;

/// Elements of images that do not stay in the second-level cache: half of 2 MiB. To ask for fewer ahead costs depthwise
/// lines a sixth.
const FAR: usize = (1 << 20) / size_of::<f32>();

/// Elements of arrays that do not stay near in the third-level cache either.
const FARTHER: usize = 8 * FAR;

/// `scratch` from its first cache line on.
fn aligned(scratch: &mut [f32]) -> &mut [f32] {
    let skip = scratch.as_ptr().align_offset(64).min(scratch.len());
    &mut scratch[skip..]
}

/// Where the result of a pass lies: a range of the channels of a batch, in a layout of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) layout: Layout,
    /// The first channel.
    pub(crate) first: usize,
    /// The channels of the batch.
    pub(crate) channels: usize,
}

impl Target {
    /// A batch of `channels` channels for itself.
    pub(crate) fn whole(layout: Layout, channels: usize) -> Self {
        Self {
            layout,
            first: 0,
            channels,
        }
    }
}

/// A result as `[images, channels, rows, columns]`; what is one row to the caller need not be one of the image.
fn batch_mut(
    target: Target,
    [images, channels, rows, columns]: [usize; 4],
    data: &mut [f32],
) -> Result<ArrayViewMut4<'_, f32>> {
    let got = data.len();
    let all = target.channels;
    let view = match target.layout {
        Layout::ChannelsFirst => ArrayViewMut4::from_shape([images, all, rows, columns], data),
        Layout::ChannelsLast => ArrayViewMut4::from_shape([images, rows, columns, all], data)
            .map(|view| view.permuted_axes([0, 3, 1, 2])),
    };
    let end = target.first + channels;
    match view {
        Ok(view) if end <= all => Ok(view.slice_move(s![.., target.first..end, .., ..])),
        _ => Err(Error::BufferLength {
            what: "result",
            expected: images * all.max(end) * rows * columns,
            got,
        }),
    }
}
