//! Normalisations.

use std::sync::Arc;

use super::super::reader::NodeReader;
use super::super::writer::{NodeWriter, Write, Written};
use super::Build;
use crate::error::{Error, Result};
use crate::network::{
    GroupNormalization, InstanceNormalization, LayerNormalization, LpNormalization, Lrn,
    MeanVarianceNormalization, Operator, RmsNormalization,
};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[
    ("GroupNormalization", group),
    ("InstanceNormalization", instance),
    ("LRN", lrn),
    ("LayerNormalization", layer),
    ("LpNormalization", lp),
    ("MeanVarianceNormalization", mean_variance),
    ("RMSNormalization", rms),
];

/// The types of the sums, 1 (f32) or 11 (f64): what is computed here is as exact as either asks for.
fn stash_type(reader: &NodeReader) -> Result<()> {
    match reader.int("stash_type", 1)? {
        1 | 11 => Ok(()),
        other => Err(Error::Attribute {
            name: "stash_type".to_owned(),
            expected: "1 or 11".to_owned(),
            got: other.to_string(),
        }),
    }
}

/// Before version 21 scale and bias were those of groups.
fn group(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(3, 3)?;
    reader.expect_outputs(1)?;
    stash_type(reader)?;
    let groups = reader.required_int("num_groups")?;
    let groups = usize::try_from(groups).unwrap_or(0);
    let epsilon = reader.float("epsilon", 1e-5)?;
    let by_group = reader.opset() < 21;
    Ok(Arc::new(GroupNormalization::new(groups, epsilon, by_group)))
}

fn instance(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(3, 3)?;
    reader.expect_outputs(1)?;
    let epsilon = reader.float("epsilon", 1e-5)?;
    Ok(Arc::new(InstanceNormalization::new(epsilon)))
}

fn layer(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(2, 3)?;
    reader.expect_outputs(3)?;
    stash_type(reader)?;
    let (axis, epsilon) = (reader.int("axis", -1)?, reader.float("epsilon", 1e-5)?);
    let outputs = reader.outputs().max(1);
    Ok(Arc::new(LayerNormalization::new(axis, epsilon, outputs)))
}

fn lp(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(1, 1)?;
    reader.expect_outputs(1)?;
    let lp = LpNormalization::new(reader.int("axis", -1)?, reader.int("p", 2)?);
    Ok(Arc::new(lp))
}

fn lrn(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(1, 1)?;
    reader.expect_outputs(1)?;
    let (alpha, beta) = (reader.float("alpha", 1e-4)?, reader.float("beta", 0.75)?);
    let bias = reader.float("bias", 1.0)?;
    Ok(Arc::new(Lrn::new(
        reader.size("size", 0)?,
        alpha,
        beta,
        bias,
    )))
}

fn mean_variance(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(1, 1)?;
    reader.expect_outputs(1)?;
    let axes = reader.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    Ok(Arc::new(MeanVarianceNormalization::new(axes)))
}

fn rms(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(2, 2)?;
    reader.expect_outputs(1)?;
    stash_type(reader)?;
    let (axis, epsilon) = (reader.int("axis", -1)?, reader.float("epsilon", 1e-5)?);
    Ok(Arc::new(RmsNormalization::new(axis, epsilon)))
}

impl Write for GroupNormalization {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if self.by_group {
            return Err("scales of groups, which operator sets from 21 on do not have".to_owned());
        }
        node.since(21);
        node.float("epsilon", self.epsilon);
        node.size("num_groups", self.groups, 0)
    }
}

impl Write for InstanceNormalization {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.float("epsilon", self.epsilon);
        Ok(())
    }
}

impl Write for LayerNormalization {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis);
        node.float("epsilon", self.epsilon);
        Ok(())
    }
}

impl Write for LpNormalization {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis);
        node.int("p", self.p);
        Ok(())
    }
}

impl Write for Lrn {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.float("alpha", self.alpha);
        node.float("beta", self.beta);
        node.float("bias", self.bias);
        node.size("size", self.size, 0)
    }
}

impl Write for MeanVarianceNormalization {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.ints("axes", &self.axes);
        Ok(())
    }
}

impl Write for RmsNormalization {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.since(23);
        node.int("axis", self.axis);
        node.float("epsilon", self.epsilon);
        Ok(())
    }
}
