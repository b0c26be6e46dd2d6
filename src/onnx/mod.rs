//! Networks from ONNX files.
//!
//! ```text
//! bytes ──► wire: lengths, nesting ──► messages ──► tensors, nodes ──► Graph
//!           and memory, checked        proto.rs     NodeReader and
//!                                                   operators/
//! ```
//!
//! What a file claims is checked against the file before anything is allocated for it.

mod external;
mod operators;
mod proto;
mod reader;
mod tensor;
mod wire;

pub use tensor::{read_tensor, write_tensor};
