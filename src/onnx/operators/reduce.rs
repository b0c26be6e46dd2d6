//! Reductions, Softmax and its like, extremes and their places.

use std::sync::Arc;

use super::Build;
use crate::error::Result;
use crate::network::{
    ArgExtreme, CumSum, Operator, Reduce, ReduceKind, Softmax, SoftmaxKind, TopK,
};
use crate::onnx::reader::NodeReader;
use crate::onnx::writer::{NodeWriter, Write, Written};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[
    ("ArgMax", |node| arg(node, true)),
    ("ArgMin", |node| arg(node, false)),
    ("CumSum", cum_sum),
    ("Hardmax", |node| softmax(node, SoftmaxKind::Hardmax)),
    ("LogSoftmax", |node| softmax(node, SoftmaxKind::LogSoftmax)),
    ("ReduceL1", |node| reduce(node, ReduceKind::L1)),
    ("ReduceL2", |node| reduce(node, ReduceKind::L2)),
    ("ReduceLogSum", |node| reduce(node, ReduceKind::LogSum)),
    ("ReduceLogSumExp", |node| {
        reduce(node, ReduceKind::LogSumExp)
    }),
    ("ReduceMax", |node| reduce(node, ReduceKind::Max)),
    ("ReduceMean", |node| reduce(node, ReduceKind::Mean)),
    ("ReduceMin", |node| reduce(node, ReduceKind::Min)),
    ("ReduceProd", |node| reduce(node, ReduceKind::Prod)),
    ("ReduceSum", |node| reduce(node, ReduceKind::Sum)),
    ("ReduceSumSquare", |node| {
        reduce(node, ReduceKind::SumSquare)
    }),
    ("Softmax", |node| softmax(node, SoftmaxKind::Softmax)),
    ("TopK", top_k),
];

fn arg(node: &NodeReader, largest: bool) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1, 1)?;
    node.expect_outputs(1)?;
    Ok(Arc::new(ArgExtreme::new(
        largest,
        node.int("axis", 0)?,
        node.flag("keepdims", true)?,
        node.flag("select_last_index", false)?,
    )))
}

fn cum_sum(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2, 2)?;
    node.expect_outputs(1)?;
    let (exclusive, reverse) = (node.flag("exclusive", false)?, node.flag("reverse", false)?);
    Ok(Arc::new(CumSum::new(exclusive, reverse)))
}

/// Before operator set 13 lanes run over all axes from the given one on.
fn softmax(node: &NodeReader, kind: SoftmaxKind) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1, 1)?;
    node.expect_outputs(1)?;
    Ok(Arc::new(match node.opset() {
        13.. => Softmax::new(kind, node.int("axis", -1)?),
        _ => Softmax::flattened(kind, node.int("axis", 1)?),
    }))
}

/// The axes are an input of ReduceSum from operator set 13 on, of the others from 18 on.
fn reduce(node: &NodeReader, reduction: ReduceKind) -> Result<Arc<dyn Operator>> {
    let since = if reduction == ReduceKind::Sum { 13 } else { 18 };
    let reduce = Reduce::new(reduction, node.flag("keepdims", true)?);
    node.expect_outputs(1)?;
    if node.opset() >= since {
        node.expect_inputs(1, 2)?;
        let none = node.flag("noop_with_empty_axes", false)?;
        return Ok(Arc::new(reduce.none_if_empty(none)));
    }
    node.expect_inputs(1, 1)?;
    node.ints_as_input("axes", 1)?;
    Ok(Arc::new(reduce))
}

/// k is an input from operator set 10 on.
fn top_k(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    node.expect_outputs(2)?;
    if node.opset() < 10 {
        node.expect_inputs(1, 1)?;
        node.set_integers(1, vec![node.required_int("k")?])?;
    } else {
        node.expect_inputs(2, 2)?;
    }
    // Without `sorted` any order will do.
    node.flag("sorted", true)?;
    let largest = node.flag("largest", true)?;
    Ok(Arc::new(TopK::new(node.int("axis", -1)?, largest)))
}

impl Write for Softmax {
    /// Since operator set 13 lanes run along one axis: the same where nothing lies behind it.
    fn write(&self, node: &mut NodeWriter) -> Written {
        if self.flatten {
            let shape = node.fact(0).map(|fact| &fact.shape[..]);
            let behind = shape.and_then(|shape| {
                let rank = i64::try_from(shape.len()).ok()?;
                let axis = if self.axis < 0 {
                    self.axis + rank
                } else {
                    self.axis
                };
                shape.get(usize::try_from(axis).ok()?.checked_add(1)?..)
            });
            if behind.is_none_or(|sizes| sizes.iter().any(|&size| size != 1)) {
                return Err(format!("lanes over all axes from {} on", self.axis));
            }
        }
        node.int("axis", self.axis);
        Ok(())
    }
}

impl Write for ArgExtreme {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis);
        node.int("keepdims", self.keep_axes.into());
        node.flag("select_last_index", self.last);
        Ok(())
    }
}

impl Write for CumSum {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.flag("exclusive", self.exclusive);
        node.flag("reverse", self.reverse);
        Ok(())
    }
}

impl Write for Reduce {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if self.reduction != ReduceKind::Sum {
            // Their axes were an attribute before.
            node.since(18);
        }
        node.int("keepdims", self.keep_axes.into());
        node.flag("noop_with_empty_axes", self.none_if_empty);
        Ok(())
    }
}

impl Write for TopK {
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.int("axis", self.axis);
        node.int("largest", self.largest.into());
        Ok(())
    }
}
