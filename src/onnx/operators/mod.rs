//! How each operator of ONNX becomes one of a network, and back: a family a file, a table in each.
//!
//! A function of a table reads the attributes of a node in any version of the operator set and gives the
//! operator in its modern form. `Write` beside it does the opposite; [`write`] has a line for each type.

use std::any::Any;
use std::sync::Arc;

use super::reader::NodeReader;
use super::writer::{NodeWriter, Write, Written};
use crate::error::Result;
use crate::network::{
    ArgExtreme, BatchNormalization, Binary, Cast, CenterCropPad, Clip, Concat, ConstantOfShape,
    Conv, ConvTranspose, CumSum, DepthToSpace, DequantizeLinear, Dropout, Einsum, Expand, EyeLike,
    Gather, GatherElements, GatherND, Gemm, GridSample, GroupNormalization, InstanceNormalization,
    LayerNormalization, LpNormalization, Lrn, MatMul, MeanVarianceNormalization, NonMaxSuppression,
    NonZero, OneHot, Operator, Pad, Pool, QuantizeLinear, Range, Reduce, Reshape, Resize,
    RmsNormalization, RoiAlign, ScatterElements, ScatterND, Shape, Size, Slice, Softmax,
    SpaceToDepth, Special, Split, Tile, TopK, Transpose, Trilu, Unary, Variadic, Where,
};

mod arith;
mod constant;
mod conv;
mod matrix;
mod norm;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod shape;
mod window;

pub(super) use constant::constant;

/// Makes the operator of a node.
pub(super) type Build = fn(&NodeReader) -> Result<Arc<dyn Operator>>;

/// The names that each family knows.
const TABLES: [&[(&str, Build)]; 9] = [
    arith::TABLE,
    conv::TABLE,
    matrix::TABLE,
    norm::TABLE,
    pool::TABLE,
    quantize::TABLE,
    reduce::TABLE,
    resize::TABLE,
    shape::TABLE,
];

/// How the operator `name` is made, if it is known.
pub(super) fn find(name: &str) -> Option<Build> {
    let mut known = TABLES.iter().flat_map(|table| table.iter());
    known
        .find(|&&(known, _)| known == name)
        .map(|&(_, build)| build)
}

/// Whether nodes of the operator `name` can be read.
pub(super) fn is_known(name: &str) -> bool {
    name == "Constant" || find(name).is_some()
}

macro_rules! writable {
    ($($operator:ty),* $(,)?) => {
        /// Writes an operator; `None` where its type has no form in a file.
        pub(super) fn write(operator: &dyn Operator, node: &mut NodeWriter) -> Option<Written> {
            let operator: &dyn Any = operator;
            $(if let Some(operator) = operator.downcast_ref::<$operator>() {
                return Some(operator.write(node));
            })*
            None
        }
    };
}

writable![
    ArgExtreme,
    BatchNormalization,
    Binary,
    Cast,
    CenterCropPad,
    Clip,
    Concat,
    ConstantOfShape,
    Conv,
    ConvTranspose,
    CumSum,
    DepthToSpace,
    DequantizeLinear,
    Dropout,
    Einsum,
    Expand,
    EyeLike,
    Gather,
    GatherElements,
    GatherND,
    Gemm,
    GridSample,
    GroupNormalization,
    InstanceNormalization,
    LayerNormalization,
    LpNormalization,
    Lrn,
    MatMul,
    MeanVarianceNormalization,
    NonMaxSuppression,
    NonZero,
    OneHot,
    Pad,
    Pool,
    QuantizeLinear,
    Range,
    Reduce,
    Reshape,
    Resize,
    RmsNormalization,
    RoiAlign,
    ScatterElements,
    ScatterND,
    Shape,
    Size,
    Slice,
    Softmax,
    SpaceToDepth,
    Special,
    Split,
    Tile,
    TopK,
    Transpose,
    Trilu,
    Unary,
    Variadic,
    Where,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The documentation lists the operators that are there, each once, and no others.
    #[test]
    fn the_documentation_is_true() {
        let text = include_str!("../../../docs/onnx.md");
        let section = text
            .split("\n## ")
            .find(|part| part.starts_with("Operators"));
        let rows = section
            .unwrap()
            .lines()
            .filter(|line| line.starts_with("| "));
        let listed: Vec<&str> = rows
            .flat_map(|row| row.split('`').skip(1).step_by(2))
            .collect();
        let names = TABLES.iter().flat_map(|table| table.iter());
        let mut known: Vec<&str> = names.map(|&(name, _)| name).collect();
        known.push("Constant");
        let set = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(set(&listed), set(&known));
        assert_eq!(
            listed.len(),
            set(&listed).len(),
            "an operator is listed twice"
        );
        assert_eq!(
            known.len(),
            set(&known).len(),
            "two families have an operator"
        );
    }
}
