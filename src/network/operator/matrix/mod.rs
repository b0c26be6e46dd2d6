//! Matrix products.

mod gemm;
mod matmul;
mod product;

pub use gemm::Gemm;
pub use matmul::MatMul;
