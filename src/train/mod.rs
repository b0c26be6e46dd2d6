//! Networks that learn from examples.
//!
//! ```text
//! data set ──► order, augment ──► batch ──► network: forward, loss, backward ──► gradients ──► optimizer
//!              by the seed        bounded   one session, one arena                clipped       parameters
//!                                 queue                                                         checkpoint
//! ```

pub mod checkpoint;
pub mod clip;
pub mod initialise;
pub mod optimizer;
pub mod schedule;
pub mod weights;

mod text;
