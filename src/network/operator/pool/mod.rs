//! Pooling: maximum, average and Lp, over windows that slide or that are the whole image; and MaxUnpool.

mod backward;
mod extremes;
mod pooling;
mod unpool;

pub use backward::PoolBackward;
pub use pooling::Pool;
pub use unpool::MaxUnpool;
