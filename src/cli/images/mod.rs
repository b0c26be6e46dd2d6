//! `gemmconv classify` and `gemmconv features`: many pictures through a network.
//!
//! ```text
//! paths ─► pipeline: decode beside network, in order ─► rows | an array     kill it at any moment:
//!                                                       append, in order    --resume finds the rows that are whole
//! ```

mod args;
mod classify;
mod features;
mod paths;
mod progress;
mod resume;
mod rows;

pub(super) use classify::{ClassifyArgs, run as classify};
pub(super) use features::{FeaturesArgs, run as features};
