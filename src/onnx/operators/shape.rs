//! Operators that move elements or make them.

use std::sync::Arc;

use ndarray::arr1;

use super::super::reader::NodeReader;
use super::super::tensor::number;
use super::super::writer::{NodeWriter, Write, Written};
use super::Build;
use crate::error::{Error, Result};
use crate::network::{
    CenterCropPad, Concat, ConstantOfShape, DepthToSpace, Dropout, Expand, EyeLike, Gather,
    GatherElements, GatherND, NonMaxSuppression, NonZero, OneHot, Operator, Range, Reduction,
    Reshape, ScatterElements, ScatterND, Shape, Size, Slice, SpaceToDepth, Split, Tile, Transpose,
    Trilu,
};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[
    ("CenterCropPad", center_crop_pad),
    ("Concat", concat),
    ("ConstantOfShape", constant_of_shape),
    ("DepthToSpace", depth_to_space),
    ("Dropout", dropout),
    ("Expand", expand),
    ("EyeLike", eye_like),
    ("Flatten", flatten),
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("Identity", identity),
    ("NonMaxSuppression", non_max_suppression),
    ("NonZero", non_zero),
    ("OneHot", one_hot),
    ("Range", range),
    ("Reshape", reshape),
    ("Scatter", scatter_elements),
    ("ScatterElements", scatter_elements),
    ("ScatterND", scatter_nd),
    ("Shape", shape),
    ("Size", size),
    ("Slice", slice),
    ("SpaceToDepth", space_to_depth),
    ("Split", split),
    ("Squeeze", squeeze),
    ("Tile", tile),
    ("Transpose", transpose),
    ("Trilu", trilu),
    ("Unsqueeze", unsqueeze),
];

/// The operator of a node with `inputs` inputs, all required, and one output.
fn simple(
    reader: &NodeReader,
    inputs: usize,
    operator: impl Operator,
) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(inputs, inputs)?;
    reader.expect_outputs(1)?;
    Ok(Arc::new(operator))
}

fn center_crop_pad(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 2, CenterCropPad::new(reader.ints("axes")?))
}

fn concat(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    let count = reader.inputs().max(1);
    simple(reader, count, Concat::new(reader.required_int("axis")?))
}

fn constant_of_shape(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    let value = reader.tensor("value")?;
    let value = value.unwrap_or_else(|| arr1(&[0.0f32]).into_dyn().into());
    simple(reader, 1, ConstantOfShape::new(value)?)
}

/// Before version 11 there was no mode.
fn depth_to_space(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    let block = block_size(reader)?;
    let modes = [("DCR", true), ("CRD", false)];
    let blocks_first = match reader.opset() {
        ..11 => true,
        _ => reader.choice("mode", &modes)?,
    };
    simple(reader, 1, DepthToSpace::new(block, blocks_first))
}

fn space_to_depth(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 1, SpaceToDepth::new(block_size(reader)?))
}

fn block_size(reader: &NodeReader) -> Result<usize> {
    let block = reader.required_int("blocksize")?;
    usize::try_from(block).map_err(|_| Error::Attribute {
        name: "blocksize".to_owned(),
        expected: "1 or more".to_owned(),
        got: block.to_string(),
    })
}

/// Before version 12 the ratio was an attribute, and nothing was ever dropped.
fn dropout(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_outputs(2)?;
    let mask = reader.outputs() > 1;
    if reader.opset() < 12 {
        reader.expect_inputs(1, 1)?;
        reader.ignore(&["ratio"]);
        return Ok(Arc::new(Dropout::new(None, mask)));
    }
    reader.expect_inputs(1, 3)?;
    // numpy's generator takes 32 bits.
    let seed = reader.optional_int("seed")?.map(|seed| seed as u32);
    Ok(Arc::new(Dropout::new(seed, mask)))
}

fn expand(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 2, Expand::new())
}

fn eye_like(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    let eye = EyeLike::new(reader.dtype("dtype")?, reader.int("k", 0)?);
    simple(reader, 1, eye)
}

fn flatten(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 1, Reshape::flatten(reader.int("axis", 1)?))
}

fn gather(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 2, Gather::new(reader.int("axis", 0)?))
}

fn gather_elements(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 2, GatherElements::new(reader.int("axis", 0)?))
}

fn gather_nd(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 2, GatherND::new(reader.size("batch_dims", 0)?))
}

fn identity(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 1, Reshape::identity())
}

fn non_max_suppression(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(2, 5)?;
    reader.expect_outputs(1)?;
    let centered = reader.flag("center_point_box", false)?;
    Ok(Arc::new(NonMaxSuppression::new(centered)))
}

fn non_zero(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 1, NonZero)
}

fn one_hot(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 3, OneHot::new(reader.int("axis", -1)?))
}

/// Since version 27 there is a type for computing with 16-bit floats, of which no ranges are made here.
fn range(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.ignore(&["stash_type"]);
    simple(reader, 3, Range)
}

fn reshape(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 2, Reshape::new(reader.flag("allowzero", false)?))
}

fn reduction(reader: &NodeReader) -> Result<Reduction> {
    let reductions = [
        ("none", Reduction::None),
        ("add", Reduction::Add),
        ("mul", Reduction::Mul),
        ("max", Reduction::Max),
        ("min", Reduction::Min),
    ];
    reader.choice("reduction", &reductions)
}

fn scatter_elements(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    let scatter = ScatterElements::new(reader.int("axis", 0)?, reduction(reader)?);
    simple(reader, 3, scatter)
}

fn scatter_nd(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 3, ScatterND::new(reduction(reader)?))
}

fn shape(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    let shape = Shape::new(reader.int("start", 0)?, reader.optional_int("end")?);
    simple(reader, 1, shape)
}

fn size(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 1, Size)
}

/// Before version 10 starts, ends and axes were attributes.
fn slice(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_outputs(1)?;
    if reader.opset() < 10 {
        reader.expect_inputs(1, 1)?;
        reader.set_integers(1, reader.required_ints("starts")?)?;
        reader.set_integers(2, reader.required_ints("ends")?)?;
        reader.ints_as_input("axes", 3)?;
    } else {
        reader.expect_inputs(3, 5)?;
    }
    Ok(Arc::new(Slice::new()))
}

/// Before version 13 the sizes were an attribute; since version 18 the last part may be smaller.
fn split(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    let axis = reader.int("axis", 0)?;
    let wanted = reader.outputs();
    let (outputs, even) = match reader.opset() {
        ..13 => {
            reader.expect_inputs(1, 1)?;
            reader.ints_as_input("split", 1)?;
            (wanted, true)
        }
        13..18 => (wanted, true),
        _ => match reader.optional_int("num_outputs")? {
            None => (wanted, false),
            Some(_) if reader.has_input(1) => {
                return Err(Error::OptionConflict {
                    first: "split",
                    second: "num_outputs",
                });
            }
            Some(_) => (reader.size("num_outputs", 0)?, false),
        },
    };
    reader.expect_inputs(1, 2)?;
    reader.expect_outputs(outputs)?;
    Ok(Arc::new(Split::new(axis, outputs, even)))
}

/// Before version 13 the axes were an attribute.
fn axes(reader: &NodeReader, required: usize) -> Result<()> {
    reader.expect_outputs(1)?;
    if reader.opset() >= 13 {
        return reader.expect_inputs(required, 2);
    }
    reader.expect_inputs(1, 1)?;
    match required {
        2 => reader.set_integers(1, reader.required_ints("axes")?),
        _ => reader.ints_as_input("axes", 1),
    }
}

fn squeeze(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    axes(reader, 1)?;
    Ok(Arc::new(Reshape::squeeze()))
}

fn unsqueeze(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    axes(reader, 2)?;
    Ok(Arc::new(Reshape::unsqueeze()))
}

fn tile(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    simple(reader, 2, Tile::new())
}

fn transpose(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    let transpose = match reader.sizes("perm")? {
        Some(permutation) => Transpose::new(permutation),
        None => Transpose::reversed(),
    };
    simple(reader, 1, transpose)
}

fn trilu(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(1, 2)?;
    reader.expect_outputs(1)?;
    Ok(Arc::new(Trilu::new(reader.flag("upper", true)?)))
}

impl Write for Concat {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis());
        Ok(())
    }
}

impl Write for Dropout {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if let Some(seed) = self.seed {
            node.int("seed", seed.into());
        }
        Ok(())
    }
}

/// Reshape, Flatten, Squeeze, Unsqueeze, Identity.
impl Write for Reshape {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.flag("allowzero", self.allows_zero());
        if let Some(axis) = self.flatten_axis() {
            node.int("axis", axis);
        }
        if let Some(shape) = self.target() {
            let sizes = shape.iter().map(|&size| i64::try_from(size));
            let sizes: Vec<i64> = sizes
                .collect::<std::result::Result<_, _>>()
                .map_err(|_| format!("the shape {shape:?}"))?;
            // No size is taken for a copy of another one.
            node.flag("allowzero", sizes.contains(&0));
            node.set_input(1, ndarray::Array1::from(sizes).into_dyn());
        }
        Ok(())
    }
}

impl Write for Transpose {
    fn write(&self, node: &mut NodeWriter) -> Written {
        match &self.permutation {
            Some(permutation) => node.sizes("perm", permutation),
            None => Ok(()),
        }
    }
}

impl Write for Trilu {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("upper", self.upper.into());
        Ok(())
    }
}

impl Write for CenterCropPad {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.since(18);
        if let Some(axes) = &self.axes {
            node.ints("axes", axes);
        }
        Ok(())
    }
}

impl Write for ConstantOfShape {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.tensor("value", &self.value)
    }
}

impl Write for DepthToSpace {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.string("mode", if self.blocks_first { "DCR" } else { "CRD" });
        node.size("blocksize", self.block, 0)
    }
}

impl Write for Expand {
    fn write(&self, _node: &mut NodeWriter) -> Written {
        Ok(())
    }
}

impl Write for NonMaxSuppression {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.flag("center_point_box", self.centered);
        Ok(())
    }
}

impl Write for NonZero {
    fn write(&self, _node: &mut NodeWriter) -> Written {
        Ok(())
    }
}

impl Write for Range {
    fn write(&self, _node: &mut NodeWriter) -> Written {
        Ok(())
    }
}

impl Write for Size {
    fn write(&self, _node: &mut NodeWriter) -> Written {
        Ok(())
    }
}

impl Write for Slice {
    fn write(&self, _node: &mut NodeWriter) -> Written {
        Ok(())
    }
}

impl Write for Tile {
    fn write(&self, _node: &mut NodeWriter) -> Written {
        Ok(())
    }
}

impl Write for EyeLike {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if let Some(dtype) = self.dtype {
            node.int("dtype", number(dtype).into());
        }
        node.int("k", self.diagonal);
        Ok(())
    }
}

impl Write for Gather {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis);
        Ok(())
    }
}

impl Write for GatherElements {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis);
        Ok(())
    }
}

impl Write for OneHot {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis);
        Ok(())
    }
}

impl Write for GatherND {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.size("batch_dims", self.batch_dims, 0)
    }
}

/// How updates join what they meet.
fn write_reduction(node: &mut NodeWriter, reduction: Reduction) {
    let name = match reduction {
        Reduction::None => return,
        Reduction::Add => "add",
        Reduction::Mul => "mul",
        Reduction::Max => "max",
        Reduction::Min => "min",
    };
    if matches!(reduction, Reduction::Max | Reduction::Min) {
        node.since(18);
    }
    node.string("reduction", name);
}

impl Write for ScatterElements {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis);
        write_reduction(node, self.reduction);
        Ok(())
    }
}

impl Write for ScatterND {
    fn write(&self, node: &mut NodeWriter) -> Written {
        write_reduction(node, self.reduction);
        Ok(())
    }
}

impl Write for Shape {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("start", self.start);
        if let Some(end) = self.end {
            node.int("end", end);
        }
        Ok(())
    }
}

impl Write for SpaceToDepth {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.size("blocksize", self.block, 0)
    }
}

impl Write for Split {
    /// Without sizes the number of parts is an attribute, since operator set 18.
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis);
        if !node.has_input(1) {
            node.since(18);
            node.size("num_outputs", self.outputs, 0)?;
        }
        Ok(())
    }
}
