//! What a training run leaves to look at.
//!
//! ```text
//! records of epochs ───► progress.rs   a bar an epoch, a line after it
//! ```

pub mod progress;
