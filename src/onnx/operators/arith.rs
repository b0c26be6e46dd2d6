//! Elementwise operators, comparisons, casts.

use std::sync::Arc;

use super::Build;
use crate::error::{Error, Result};
use crate::network::{
    Align, Binary, Cast, Clip, Operator, Special, Tensor, Unary, Variadic, Where,
};
use crate::onnx::reader::NodeReader;
use crate::onnx::tensor::number;
use crate::onnx::writer::{NodeWriter, Write, Written};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[
    ("Abs", |node| unary(node, Unary::Abs)),
    ("Acos", |node| unary(node, Unary::Acos)),
    ("Acosh", |node| unary(node, Unary::Acosh)),
    ("Add", |node| binary(node, Binary::Add)),
    ("And", |node| binary(node, Binary::And)),
    ("Asin", |node| unary(node, Unary::Asin)),
    ("Asinh", |node| unary(node, Unary::Asinh)),
    ("Atan", |node| unary(node, Unary::Atan)),
    ("Atanh", |node| unary(node, Unary::Atanh)),
    ("BitShift", bit_shift),
    ("BitwiseAnd", |node| binary(node, Binary::BitwiseAnd)),
    ("BitwiseNot", |node| unary(node, Unary::BitwiseNot)),
    ("BitwiseOr", |node| binary(node, Binary::BitwiseOr)),
    ("BitwiseXor", |node| binary(node, Binary::BitwiseXor)),
    ("Cast", cast),
    ("CastLike", cast_like),
    ("Ceil", |node| unary(node, Unary::Ceil)),
    ("Celu", celu),
    ("Clip", clip),
    ("Cos", |node| unary(node, Unary::Cos)),
    ("Cosh", |node| unary(node, Unary::Cosh)),
    ("Div", |node| binary(node, Binary::Div)),
    ("Elu", |node| {
        let alpha = node.float("alpha", 1.0)?;
        unary(node, Unary::Elu { alpha })
    }),
    ("Equal", |node| binary(node, Binary::Equal)),
    ("Erf", |node| unary(node, Unary::Erf)),
    ("Exp", |node| unary(node, Unary::Exp)),
    ("Floor", |node| unary(node, Unary::Floor)),
    ("Gelu", |node| {
        let tanh = node.choice("approximate", &[("none", false), ("tanh", true)])?;
        unary(node, Unary::Gelu { tanh })
    }),
    ("Greater", |node| binary(node, Binary::Greater)),
    ("GreaterOrEqual", |node| {
        binary(node, Binary::GreaterOrEqual)
    }),
    ("HardSigmoid", |node| {
        let (alpha, beta) = (node.float("alpha", 0.2)?, node.float("beta", 0.5)?);
        unary(node, Unary::HardSigmoid { alpha, beta })
    }),
    ("HardSwish", |node| unary(node, Unary::HardSwish)),
    ("IsInf", is_inf),
    ("IsNaN", |node| one(node, Special::IsNaN)),
    ("LeakyRelu", |node| {
        let alpha = node.float("alpha", 0.01)?;
        unary(node, Unary::LeakyRelu { alpha })
    }),
    ("Less", |node| binary(node, Binary::Less)),
    ("LessOrEqual", |node| binary(node, Binary::LessOrEqual)),
    ("Log", |node| unary(node, Unary::Log)),
    ("Max", |node| variadic(node, Variadic::Max)),
    ("Mean", |node| variadic(node, Variadic::Mean)),
    ("Min", |node| variadic(node, Variadic::Min)),
    ("Mish", |node| unary(node, Unary::Mish)),
    ("Mod", |node| {
        let fmod = node.flag("fmod", false)?;
        binary(node, Binary::Mod { fmod })
    }),
    ("Mul", |node| binary(node, Binary::Mul)),
    ("Neg", |node| unary(node, Unary::Neg)),
    ("Not", |node| unary(node, Unary::Not)),
    ("Or", |node| binary(node, Binary::Or)),
    ("PRelu", |node| binary(node, Binary::PRelu)),
    ("Pow", |node| binary(node, Binary::Pow)),
    ("Reciprocal", |node| unary(node, Unary::Reciprocal)),
    ("Relu", |node| unary(node, Unary::Relu)),
    ("Round", |node| unary(node, Unary::Round)),
    ("Selu", |node| {
        let alpha = node.float("alpha", 1.673_263_2)?;
        let gamma = node.float("gamma", 1.050_701)?;
        unary(node, Unary::Selu { alpha, gamma })
    }),
    ("Shrink", |node| {
        let (bias, lambd) = (node.float("bias", 0.0)?, node.float("lambd", 0.5)?);
        unary(node, Unary::Shrink { bias, lambd })
    }),
    ("Sigmoid", |node| unary(node, Unary::Sigmoid)),
    ("Sign", |node| unary(node, Unary::Sign)),
    ("Sin", |node| unary(node, Unary::Sin)),
    ("Sinh", |node| unary(node, Unary::Sinh)),
    ("Softplus", |node| unary(node, Unary::Softplus)),
    ("Softsign", |node| unary(node, Unary::Softsign)),
    ("Sqrt", |node| unary(node, Unary::Sqrt)),
    ("Sub", |node| binary(node, Binary::Sub)),
    ("Sum", |node| variadic(node, Variadic::Sum)),
    ("Swish", |node| {
        let alpha = node.float("alpha", 1.0)?;
        unary(node, Unary::Swish { alpha })
    }),
    ("Tan", |node| unary(node, Unary::Tan)),
    ("Tanh", |node| unary(node, Unary::Tanh)),
    ("ThresholdedRelu", |node| {
        let alpha = node.float("alpha", 1.0)?;
        unary(node, Unary::ThresholdedRelu { alpha })
    }),
    ("Where", |node| {
        node.expect_inputs(3, 3)?;
        node.expect_outputs(1)?;
        Ok(Arc::new(Where::new()))
    }),
    ("Xor", |node| binary(node, Binary::Xor)),
];

fn one(node: &NodeReader, operator: impl Operator) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1, 1)?;
    node.expect_outputs(1)?;
    Ok(Arc::new(operator))
}

fn unary(node: &NodeReader, operator: Unary) -> Result<Arc<dyn Operator>> {
    one(node, operator)
}

/// Before operator set 7 the second operand lay along the axes of the first from `axis` on.
fn binary(node: &NodeReader, operator: Binary) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2, 2)?;
    node.expect_outputs(1)?;
    if node.opset() < 7 {
        node.flag("broadcast", false)?;
        let axis = match operator {
            Binary::PRelu => Some(1),
            _ => node.optional_int("axis")?,
        };
        if let Some(axis) = axis {
            node.before(1, Arc::new(Align::new(axis)), &[0]);
        }
    }
    Ok(Arc::new(operator))
}

/// A sum of two is an addition, which other operators can take in.
fn variadic(node: &NodeReader, operator: Variadic) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1, usize::MAX)?;
    node.expect_outputs(1)?;
    if operator == Variadic::Sum && node.inputs() == 2 {
        return binary(node, Binary::Add);
    }
    Ok(Arc::new(operator))
}

fn bit_shift(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    if !node.has("direction") {
        return Err(wrong("direction", "LEFT or RIGHT", "absent"));
    }
    let left = node.choice("direction", &[("LEFT", true), ("RIGHT", false)])?;
    binary(node, Binary::BitShift { left })
}

fn celu(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    let alpha = node.float("alpha", 1.0)?;
    if alpha == 0.0 {
        return Err(wrong("alpha", "another number than 0", "0"));
    }
    unary(node, Unary::Celu { alpha })
}

fn cast(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    // These say how floats of 8 bits are made, which are no type here.
    node.ignore(&["saturate", "round_mode"]);
    let to = node.dtype("to")?;
    one(
        node,
        Cast::To(to.ok_or_else(|| wrong("to", "an element type", "absent"))?),
    )
}

fn cast_like(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    node.ignore(&["saturate", "round_mode"]);
    node.expect_inputs(2, 2)?;
    node.expect_outputs(1)?;
    Ok(Arc::new(Cast::Like))
}

fn is_inf(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    let negative = node.flag("detect_negative", true)?;
    let positive = node.flag("detect_positive", true)?;
    one(node, Special::IsInf { negative, positive })
}

/// The bounds are inputs from operator set 11 on.
fn clip(node: &NodeReader) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1, if node.opset() < 11 { 1 } else { 3 })?;
    node.expect_outputs(1)?;
    if node.opset() < 11 {
        for (index, name) in [(1, "min"), (2, "max")] {
            if let Some(bound) = node.optional_float(name)? {
                node.set_input(index, Tensor::from(ndarray::arr0(bound).into_dyn()))?;
            }
        }
    }
    Ok(Arc::new(Clip::new()))
}

fn wrong(name: &str, expected: &str, got: &str) -> Error {
    Error::Attribute {
        name: name.to_owned(),
        expected: expected.to_owned(),
        got: got.to_owned(),
    }
}

impl Write for Unary {
    fn write(&self, node: &mut NodeWriter) -> Written {
        match *self {
            Self::Celu { alpha }
            | Self::Elu { alpha }
            | Self::LeakyRelu { alpha }
            | Self::ThresholdedRelu { alpha } => node.float("alpha", alpha),
            Self::Gelu { tanh } => {
                node.since(20);
                node.string("approximate", if tanh { "tanh" } else { "none" });
            }
            Self::HardSigmoid { alpha, beta } => {
                node.float("alpha", alpha);
                node.float("beta", beta);
            }
            Self::Selu { alpha, gamma } => {
                node.float("alpha", alpha);
                node.float("gamma", gamma);
            }
            Self::Shrink { bias, lambd } => {
                node.float("bias", bias);
                node.float("lambd", lambd);
            }
            Self::Swish { alpha } => {
                node.since(24);
                node.float("alpha", alpha);
            }
            Self::BitwiseNot | Self::Mish => node.since(18),
            _ => {}
        }
        Ok(())
    }
}

impl Write for Binary {
    fn write(&self, node: &mut NodeWriter) -> Written {
        match *self {
            Self::BitShift { left } => {
                node.string("direction", if left { "LEFT" } else { "RIGHT" });
            }
            Self::BitwiseAnd | Self::BitwiseOr | Self::BitwiseXor => node.since(18),
            Self::Mod { fmod } => node.flag("fmod", fmod),
            _ => {}
        }
        Ok(())
    }
}

impl Write for Variadic {
    fn write(&self, _node: &mut NodeWriter) -> Written {
        Ok(())
    }
}

impl Write for Cast {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if let Self::To(dtype) = *self {
            node.int("to", number(dtype).into());
        }
        Ok(())
    }
}

impl Write for Special {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if let Self::IsInf { negative, positive } = *self {
            node.int("detect_negative", negative.into());
            node.int("detect_positive", positive.into());
        }
        Ok(())
    }
}

impl Write for Where {
    fn write(&self, _node: &mut NodeWriter) -> Written {
        Ok(())
    }
}

impl Write for Clip {
    /// Bounds that were attributes are f32 here, whatever the elements; in a file they have the type of the elements.
    fn write(&self, node: &mut NodeWriter) -> Written {
        let Some(dtype) = node.fact(0).map(|fact| fact.dtype) else {
            return Ok(());
        };
        let bounds = [1, 2].map(|index| node.fact(index));
        match bounds
            .into_iter()
            .flatten()
            .find(|bound| bound.dtype != dtype)
        {
            None => Ok(()),
            Some(bound) => Err(format!(
                "bounds of {} for elements of {}",
                bound.dtype.name(),
                dtype.name()
            )),
        }
    }
}
