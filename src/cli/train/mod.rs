//! What a training run leaves to look at.
//!
//! ```text
//! records of epochs ─┬─► progress.rs   a bar an epoch, a line after it
//!                    └─► curves.rs     loss and accuracy against the epoch: curves.svg, curves.png
//! first weights ───────► filters.rs    each filter as a small picture
//! activations ─────────► maps.rs       each channel as a small picture beside the input
//! true × predicted ────► confusion.rs  a matrix of colours and counts; a table for the terminal
//! ```

mod axis;
pub mod confusion;
pub mod curves;
pub mod filters;
pub mod maps;
pub mod progress;
mod tiles;
