//! Networks that learn from examples.
//!
//! ```text
//! data set ──► order, augment ──► batch ──► network: forward, loss, backward ──► gradients ──► optimizer
//!              by the seed        bounded   one session, one arena                clipped       parameters
//!                                 queue                                                         checkpoint
//! ```

pub mod architectures;
pub mod clip;
pub mod epoch;
pub mod initialise;
pub mod layers;
pub mod loader;
pub mod metrics;
pub mod optimizer;
pub mod schedule;

mod evaluate;
mod graph;
mod head;
mod model;
mod text;
mod trainer;

pub use evaluate::evaluate;
pub use graph::scores;
pub use head::replace_head;
pub use model::{Model, Parameter, Statistic};
pub use trainer::{StepReport, Trainer, TrainerOptions};
