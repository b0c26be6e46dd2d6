//! THEORY: the same maps as explicit matrices, for small sizes, for proof and for teaching.

mod matrix;

pub use matrix::convolution_matrix;
