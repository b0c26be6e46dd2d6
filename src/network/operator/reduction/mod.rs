//! Operators along axes: reductions, Softmax and its like, extremes and their places, running sums.

mod arg;
mod axes;
mod cum_sum;
mod reduce;
mod reduce_gradient;
mod softmax;
mod softmax_backward;
mod sweep;
mod top_k;

pub use arg::ArgExtreme;
pub use cum_sum::CumSum;
pub use reduce::{Reduce, ReduceKind};
pub use softmax::{Softmax, SoftmaxKind};
pub use softmax_backward::SoftmaxBackward;
pub use top_k::TopK;
