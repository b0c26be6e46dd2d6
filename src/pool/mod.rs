//! POOLING: one number for each window of each channel, and the gradient of that.
//!
//! ```text
//! maximum  y = max x            dx at the maximum   += dy
//! average  y = Σ x / divisor    dx at every tap     += dy / divisor
//! Lp       y = (Σ |x|ᵖ)^(1/p)   dx at every tap     += dy · sign(x) · (|x| / y)^(p − 1)
//! ```
//!
//! Windows slide ([`PoolOptions`](crate::PoolOptions)), adapt to a wished output size, or are the
//! whole image; one [`PoolGeometry`](crate::PoolGeometry) holds all three, and every function with
//! `_into` in its name takes any of them with slices in standard order, in the geometry's layout.
//! The functions without it take arrays of any strides, of rank 3 to 5: `[N, C, …]`, or `[N, …, C]`.
//!
//! - Padding is no element: it never wins a maximum and adds nothing to a sum.
//! - Dilation over padding can leave a window with no element at all. Its maximum is −∞ with the index
//!   [`NO_ELEMENT`](crate::pool::NO_ELEMENT), its average and its Lp norm are 0, and it has no gradient.
//! - NaN wins a maximum, and passes through a sum as in IEEE arithmetic; so do infinities.
//! - Results are bitwise the same for every number of threads.

mod adaptive;
mod array;
mod average;
#[cfg(feature = "network")]
mod average_backward;
mod global;
mod lines;
mod lp;
mod max;
#[cfg(feature = "network")]
mod rows;
mod sum;
#[cfg(feature = "network")]
mod taps;
mod tile;
mod unpool;
mod window;

pub use adaptive::{
    adaptive_avg_pool, adaptive_avg_pool_backward, adaptive_max_pool, adaptive_max_pool_backward,
};
pub use average::{avg_pool, avg_pool_backward, avg_pool_backward_into, avg_pool_into};
#[cfg(feature = "network")]
pub(crate) use average_backward::avg_pool_rows_backward_into;
pub use global::{
    global_avg_pool, global_avg_pool_backward, global_lp_pool, global_lp_pool_backward,
    global_max_pool, global_max_pool_backward,
};
pub use lp::{lp_pool, lp_pool_backward, lp_pool_backward_into, lp_pool_into};
pub use max::{
    NO_ELEMENT, max_pool, max_pool_backward, max_pool_backward_into, max_pool_into,
    max_pool_with_indices, max_pool_with_indices_into,
};
#[cfg(feature = "network")]
pub(crate) use taps::{max_pool_taps_backward_into, max_pool_taps_into, window_taps};
pub use unpool::{max_unpool, max_unpool_backward};
