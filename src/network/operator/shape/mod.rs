//! Operators that move elements, or make them out of nothing; none computes with them.

mod reshape;
mod transpose;

pub use reshape::Reshape;
pub use transpose::Transpose;
