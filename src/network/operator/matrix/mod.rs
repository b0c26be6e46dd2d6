//! Matrix products.

mod einsum;
mod gemm;
mod linear;
mod matmul;
mod product;

pub use einsum::Einsum;
pub use gemm::Gemm;
pub(crate) use linear::Linear;
pub use matmul::MatMul;
