//! Matrix products.

mod einsum;
mod gemm;
mod matmul;
mod product;

pub use einsum::Einsum;
pub use gemm::Gemm;
pub use matmul::MatMul;
