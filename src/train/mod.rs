//! Networks that learn from examples.
//!
//! ```text
//! data set ──► order, augment ──► batch ──► network: forward, loss, backward ──► gradients ──► optimizer
//!              by the seed        bounded   one session, one arena                clipped       parameters
//!                                 queue                                                         checkpoint
//! ```
//!
//! ```
//! use gemmconv::network::Tensor;
//! use gemmconv::train::layers::{Sequential, conv, flatten, linear, relu};
//! use gemmconv::train::{Model, Trainer, TrainerOptions};
//! use ndarray::{Array1, ArrayD};
//!
//! // Two kinds of pictures: dark on the left, dark on the right.
//! let images = ArrayD::from_shape_fn(vec![8, 1, 4, 4], |at| f32::from(u8::from((at[0] + at[3] / 2) % 2 == 0)));
//! let classes = Array1::from_shape_fn(8, |image| (image % 2) as i64).into_dyn();
//! let (images, classes) = (Tensor::from(images), Tensor::from(classes));
//!
//! let layers = Sequential::new().then(conv(4, 3).padding(1)).then(relu()).then(flatten()).then(linear(2));
//! let mut trainer = Trainer::new(Model::new(layers.graph(&[1, 4, 4], 0)?)?, TrainerOptions::new())?;
//! let first = trainer.step(&images, &classes, 0.05)?.loss;
//! for _ in 0..20 {
//!     trainer.step(&images, &classes, 0.05)?;
//! }
//! assert!(trainer.step(&images, &classes, 0.05)?.loss < 0.1 * first);
//! # Ok::<(), gemmconv::Error>(())
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
pub use head::{flatten_scores, replace_head};
pub use metrics::Metrics;
pub use model::{Model, Parameter, Statistic};
pub use record::{EpochRecord, TrainingLog, read_log};
pub use trainer::{StepReport, Trainer, TrainerOptions};
