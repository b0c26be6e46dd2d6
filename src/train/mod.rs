//! Networks that learn from examples.
//!
//! ```text
//! data set ──► order, augment ──► batch ──► network: forward, loss, backward ──► gradients ──► optimizer
//!              by the seed        bounded   one session, one arena                clipped       parameters
//!                                 queue                                                         checkpoint
//! ```

pub mod architectures;
pub mod checkpoint;
pub mod clip;
pub mod epoch;
pub mod initialise;
pub mod layers;
pub mod loader;
pub mod metrics;
pub mod optimizer;
pub mod schedule;
pub mod weights;

mod evaluate;
mod fit;
mod graph;
mod head;
mod model;
mod record;
mod text;
mod trainer;

pub use evaluate::evaluate;
pub use fit::{Ended, Fit, FitOptions, Go, Progress, Running, Watch};
pub use graph::{free_batch, images_input, scores};
pub use head::replace_head;
pub use metrics::Metrics;
pub use model::{Model, Parameter, Statistic};
pub use record::{EpochRecord, TrainingLog, read_log};
pub use trainer::{StepReport, Trainer, TrainerOptions};
