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
mod command;
mod confusion;
mod curves;
mod data;
mod evaluate;
mod export;
mod filters;
mod folder;
mod look;
mod maps;
mod progress;
mod tiles;

pub(crate) use command::{TrainArgs, run as train};
pub(crate) use evaluate::{EvaluateArgs, run as evaluate};
pub(crate) use export::{ExportArgs, run as export};
