//! Convolution and its relatives.
//!
//! ```text
//! conv.rs, transposed.rs    sizes ──► a plan
//! taps.rs                   taps of conv.rs that meet no pixel, cut
//! step.rs                   the plan as a step: weights prepared, epilogue, run
//! backward.rs               the gradients of conv.rs, as operators
//! local.rs                  locally connected layers with their gradients, by a plan of their own
//! deform.rs                 shifted taps, by itself
//! ```

mod backward;
mod conv;
mod deform;
mod local;
mod step;
mod taps;
mod transposed;
mod weights;

pub use backward::{ConvBackwardInput, ConvBackwardWeight};
pub use conv::Conv;
pub use deform::DeformConv;
pub use local::{LocallyConnected, LocallyConnectedBackwardInput, LocallyConnectedBackwardWeight};
pub use transposed::ConvTranspose;
pub(super) use weights::{Prepared, Prepares};
