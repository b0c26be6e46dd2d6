//! Networks from ONNX files.
//!
//! ```text
//! bytes ──► wire: lengths, nesting ──► messages ──► tensors, nodes ──► Graph
//!           and memory, checked        proto.rs     NodeReader and
//!                                                   operators/
//! ```
//!
//! What a file claims is checked against the file before anything is allocated for it.

mod builder;
mod functions;
mod import;
mod operators;
mod proto;
mod reader;
mod source;
mod tensor;
mod verify;
mod wire;

pub use import::{DEFAULT_MEMORY_LIMIT, ImportOptions, OPERATOR_SETS, import, import_bytes};
pub use tensor::{read_tensor, write_tensor};
pub use verify::{Tolerance, Verdict, compare, models, read_tensor_file, verify, verify_sets};
