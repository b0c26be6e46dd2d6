//! Pooling: maximum, average and Lp, over windows that slide or that are the whole image; and MaxUnpool.

mod extremes;
mod pooling;
mod unpool;

pub use pooling::Pool;
pub use unpool::MaxUnpool;
