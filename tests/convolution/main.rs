//! Convolution, pooling and their matrices: one program, so that the plans are compiled once for all of it.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod behaviour;
#[cfg(feature = "cli")]
mod benchdnn_shapes;
mod checker;
mod laws;
mod local_and_matrix;
mod native;
mod operator;
mod pool;
mod pool_data;
mod slides;
mod tf_known_answers;
mod torch_vectors;
