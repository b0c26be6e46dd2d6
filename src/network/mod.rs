//! A graph of operators, planned for the shapes of its inputs and run in one arena.
//!
//! ```text
//! Graph ──► infer ──► fold ──► fuse ──► channels last ──► memory ──► Session: run(inputs) -> outputs
//!           shapes    what is  BN, Pad,  once for the     arena
//!                     constant epilogue  whole graph      by lifetimes
//! ```

mod draft;
mod gradient;
mod graph;
mod lane;
mod layout;
mod memory;
mod model;
mod operator;
mod parts;
mod passes;
mod session;
mod table;
#[macro_use]
mod tensor;

pub use draft::Change;
pub use gradient::Backward;
pub use graph::{Dim, Graph, Input, Node, ValueId};
pub use model::{DEFAULT_MEMORY_LIMIT, Network, NetworkOptions};
pub use operator::*;
pub use session::{Buffers, Session};
pub use table::{Layer, LayerOutput};
pub use tensor::{DType, Scalar, Tensor, View, ViewMut};
