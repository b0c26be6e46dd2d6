//! Convolution and its relatives.

mod conv;
mod prepared;

pub use conv::Conv;
