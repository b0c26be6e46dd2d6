//! Operators along axes: reductions, Softmax and its like, extremes and their places, running sums.

mod arg;
mod axes;
mod cum_sum;
mod reduce;
mod softmax;
mod sweep;
mod top_k;

pub use arg::ArgExtreme;
pub use cum_sum::CumSum;
pub use reduce::{Reduce, ReduceKind};
pub use softmax::{Softmax, SoftmaxKind};
pub use top_k::TopK;
