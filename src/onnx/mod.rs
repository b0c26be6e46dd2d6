//! Networks from ONNX files.
//!
//! ```text
//! bytes ──► wire: lengths, nesting ──► messages ──► tensors, nodes ──► Graph      import
//!           and memory, checked        proto.rs     NodeReader and
//! bytes ◄───────────────────────────── messages ◄── NodeWriter, operators/ ◄── Graph   export
//! ```
//!
//! What a file claims is checked against the file before anything is allocated for it.

mod builder;
mod export;
mod functions;
mod import;
mod operators;
mod proto;
mod reader;
mod source;
mod tensor;
mod verify;
mod wire;
mod writer;

pub use export::{IR_VERSION, OPERATOR_SET, export, export_bytes};
pub use import::{DEFAULT_MEMORY_LIMIT, ImportOptions, OPERATOR_SETS, import, import_bytes};
pub use tensor::{read_tensor, write_tensor};
pub use verify::{Tolerance, Verdict, compare, models, read_tensor_file, verify, verify_sets};
