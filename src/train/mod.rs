//! Networks that learn from examples.
//!
//! ```text
//! data set ──► order, augment ──► batch ──► network: forward, loss, backward ──► gradients ──► optimizer
//!              by the seed        bounded   one session, one arena                clipped       parameters
//!                                 queue                                                         checkpoint
//! ```

mod record;

pub use record::{EpochRecord, TrainingLog, read_log};
