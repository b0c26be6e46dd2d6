//! CONVOLUTION: a plan, decided once, run as often as one likes.
//!
//! ```text
//! ConvPlan::new(geometry, options)  ─►  prepare(weights)  ─►  forward / backward_input / backward_weight
//! each pass:   pass(..)  allocates its result        pass_into(..)  writes into the caller's array
//!              pass_with_scratch(..)  takes slices in standard layout, allocates nothing
//! ```

mod epilogue;
mod functions;
mod local;
mod plan;
pub mod reference;
mod transposed;
mod unfold_gemm;
mod weights;

pub use epilogue::{Activation, Epilogue};
pub use functions::{
    conv, conv_transpose, conv_transpose1d, conv_transpose2d, conv_transpose3d, conv1d, conv2d,
    conv3d,
};
pub use local::LocalPlan;
pub use plan::{ConvPlan, Gradients, Wanted};
pub use transposed::TransposedPlan;
pub use weights::PreparedWeights;
