//! Matrix products.

use std::sync::Arc;

use super::Build;
use crate::error::Result;
use crate::network::{Einsum, Gemm, MatMul, Operator};
use crate::onnx::reader::NodeReader;
use crate::onnx::writer::{NodeWriter, Write, Written};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] =
    &[("Einsum", einsum), ("Gemm", gemm), ("MatMul", matmul)];

fn einsum(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    let count = node.inputs().max(1);
    node.expect_inputs(count, count)?;
    node.expect_outputs(1)?;
    Ok(Arc::new(Einsum::new(node.required_string("equation")?)?))
}

fn gemm(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2, 3)?;
    node.expect_outputs(1)?;
    if node.opset() < 7 {
        // C is broadcast where it has to be, today without being told.
        node.flag("broadcast", false)?;
    }
    Ok(Arc::new(Gemm::new(
        node.float("alpha", 1.0)?,
        node.float("beta", 1.0)?,
        node.flag("transA", false)?,
        node.flag("transB", false)?,
    )))
}

fn matmul(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2, 2)?;
    node.expect_outputs(1)?;
    Ok(Arc::new(MatMul::new()))
}

impl Write for Einsum {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.string("equation", self.equation());
        Ok(())
    }
}

impl Write for Gemm {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.float("alpha", self.alpha);
        node.float("beta", self.beta);
        node.flag("transA", self.transpose_a);
        node.flag("transB", self.transpose_b);
        Ok(())
    }
}

impl Write for MatMul {
    fn write(&self, _node: &mut NodeWriter) -> Written {
        Ok(())
    }
}
