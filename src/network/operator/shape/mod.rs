//! Operators that move elements, or make them out of nothing; none computes with them.

mod blocks;
mod concat;
mod dropout;
mod dropout_training;
mod gather;
mod gather_backward;
mod gather_nd;
mod indicator;
mod make;
mod non_max_suppression;
mod reshape;
mod scatter;
mod slice;
mod slice_backward;
mod transpose;
mod trilu;

pub use blocks::{CenterCropPad, DepthToSpace, SpaceToDepth};
pub use concat::{Concat, Split};
pub use dropout::Dropout;
pub use dropout_training::{DropoutBackward, DropoutTraining};
pub use gather::{Gather, GatherElements};
pub use gather_backward::GatherBackward;
pub use gather_nd::GatherND;
pub use indicator::{EyeLike, NonZero, OneHot};
pub use make::{ConstantOfShape, Range, Shape, Size};
pub use non_max_suppression::NonMaxSuppression;
pub use reshape::Reshape;
pub use scatter::{Reduction, ScatterElements, ScatterND};
pub use slice::{Expand, Slice, Tile};
pub use slice_backward::SliceBackward;
pub use transpose::Transpose;
pub use trilu::Trilu;
