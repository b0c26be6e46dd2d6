//! CONVOLUTION: a plan, decided once, run as often as one likes.
//!
//! ```text
//! ConvPlan::new(geometry, options)  ─►  prepare(weights)  ─►  forward / backward_input / backward_weight
//! each pass:   pass(..)  allocates its result        pass_into(..)  writes into the caller's array
//!              pass_with_scratch(..)  takes slices in standard layout, allocates nothing
//! the bias gradient needs no scratch: backward_bias_into(..) takes slices
//! ```

mod arrays;
mod epilogue;
mod forward;
#[cfg(feature = "fft")]
mod fourier;
mod functions;
mod gradients;
mod local;
mod native;
mod plan;
pub mod reference;
mod sums;
mod transposed;
mod unfold_gemm;
mod ways;
mod weights;

pub use epilogue::{Activation, Epilogue};
pub use functions::{
    conv, conv_transpose, conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d,
    conv3d,
};
pub use gradients::{Gradients, Wanted};
pub use local::LocalPlan;
#[cfg(feature = "network")]
pub(crate) use native::Target;
pub use plan::ConvPlan;
pub use transposed::TransposedPlan;
pub use weights::PreparedWeights;
