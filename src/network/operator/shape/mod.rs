//! Operators that move elements, or make them out of nothing; none computes with them.

mod blocks;
mod concat;
mod dropout;
mod gather;
mod make;
mod reshape;
mod scatter;
mod slice;
mod transpose;

pub use blocks::{CenterCropPad, DepthToSpace, SpaceToDepth};
pub use concat::{Concat, Split};
pub use dropout::Dropout;
pub use gather::{Gather, GatherElements, GatherND};
pub use make::{ConstantOfShape, EyeLike, NonZero, OneHot, Range, Shape, Size};
pub use reshape::Reshape;
pub use scatter::{Reduction, ScatterElements, ScatterND};
pub use slice::{Expand, Slice, Tile};
pub use transpose::Transpose;
