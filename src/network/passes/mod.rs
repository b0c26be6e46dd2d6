//! What is done to a graph before it is made ready to run, a file each.
//!
//! ```text
//! without sizes, once      unused          nodes that nothing reads are dropped
//!                          scale_shift     BatchNormalization and its like into the convolution before it
//! with sizes, a session    copies          nodes that only copy are left out
//!                          gates           x · Sigmoid(x) and its like are one function
//!                          relu_of_maximum gradients of Relu before a maximum, behind it
//!                          pad             into the convolution after it
//!                          taps            of convolutions that meet nothing but padding are cut
//!                          epilogue        sums and activations into the convolution or the product before them
//!                          norm_epilogue   sums and Relu into the batch normalisation before them, in training
//!                          channels_last   once for the whole graph
//!                          means           of all pixels are GlobalAveragePool there
//!                          transposes      two into one, and none where nothing moves
//!                          concat          convolutions write their channels beside each other
//! ```
//!
//! Each change is written down in [`Draft::changes`].

mod channels_last;
mod concat;
mod copies;
mod edit;
mod epilogue;
mod gates;
mod means;
mod norm_epilogue;
mod pad;
mod relu_of_maximum;
mod scale_shift;
mod taps;
mod transposes;
mod unused;

use super::draft::{Bounds, Draft};
use crate::error::Result;

/// The passes that need no sizes.
pub(super) fn without_sizes(draft: &mut Draft, bounds: &Bounds) -> Result<()> {
    unused::run(draft);
    if bounds.rewrite {
        scale_shift::run(draft)?;
    }
    Ok(())
}

/// The passes over a draft that is inferred.
pub(super) fn with_sizes(draft: &mut Draft, bounds: &Bounds) -> Result<()> {
    unused::run(draft);
    if bounds.rewrite {
        copies::run(draft)?;
        gates::run(draft)?;
        relu_of_maximum::run(draft);
        pad::run(draft)?;
        taps::run(draft)?;
        epilogue::run(draft)?;
        norm_epilogue::run(draft)?;
        channels_last::run(draft, bounds)?;
        means::run(draft)?;
        transposes::run(draft)?;
        copies::run(draft)?;
        concat::run(draft)?;
        unused::run(draft);
    }
    Ok(())
}
