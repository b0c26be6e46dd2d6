//! Integers for floats and back.

use std::sync::Arc;

use super::super::reader::NodeReader;
use super::super::tensor::number;
use super::super::writer::{NodeWriter, Write, Written};
use super::Build;
use crate::error::{Error, Result};
use crate::network::{DType, DequantizeLinear, Grain, Operator, QuantizeLinear};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[
    ("DequantizeLinear", dequantize),
    ("QuantizeLinear", quantize),
];

/// A type whose number 0 means that none is said.
fn said(reader: &NodeReader, name: &str) -> Result<Option<DType>> {
    match reader.int(name, 0)? {
        0 => Ok(None),
        _ => reader.dtype(name),
    }
}

/// Fails where an attribute asks for another type than f32.
fn single(reader: &NodeReader, name: &str) -> Result<()> {
    match said(reader, name)? {
        None | Some(DType::F32) => Ok(()),
        Some(other) => Err(Error::Attribute {
            name: name.to_owned(),
            expected: "f32".to_owned(),
            got: other.name().to_owned(),
        }),
    }
}

fn quantize(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(2, 3)?;
    // It concerns floats of 8 bits only.
    reader.flag("saturate", true)?;
    single(reader, "precision")?;
    Ok(Arc::new(QuantizeLinear::new(
        reader.int("axis", 1)?,
        reader.size("block_size", 0)?,
        said(reader, "output_dtype")?,
    )))
}

fn dequantize(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(2, 3)?;
    single(reader, "output_dtype")?;
    Ok(Arc::new(DequantizeLinear::new(
        reader.int("axis", 1)?,
        reader.size("block_size", 0)?,
    )))
}

impl Write for QuantizeLinear {
    fn write(&self, node: &mut NodeWriter) -> Written {
        write_grain(node, self.grain)?;
        if let Some(dtype) = self.output {
            node.since(21);
            node.int("output_dtype", number(dtype).into());
        }
        Ok(())
    }
}

impl Write for DequantizeLinear {
    fn write(&self, node: &mut NodeWriter) -> Written {
        write_grain(node, self.grain)
    }
}

fn write_grain(node: &mut NodeWriter, grain: Grain) -> Written {
    node.int("axis", grain.axis);
    if grain.block > 0 {
        node.since(21);
    }
    node.size("block_size", grain.block, 0)
}
