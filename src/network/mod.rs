//! A graph of operators, planned for the shapes of its inputs and run in one arena.
//!
//! ```text
//! Graph ──► infer ──► fold ──► fuse ──► channels last ──► memory ──► Session: run(inputs) -> outputs
//!           shapes    what is  BN, Pad,  once for the     arena
//!                     constant epilogue  whole graph      by lifetimes
//! ```

mod graph;
mod operator;
#[macro_use]
mod tensor;

pub use graph::{Dim, Graph, Input, Node, ValueId};
pub use operator::{Fact, Facts, Operator, Step};
pub use tensor::{DType, Scalar, Tensor, View, ViewMut};
