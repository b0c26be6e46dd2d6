//! Convolution, transposed and deformable convolution, batch normalisation, padding.

use std::sync::Arc;

use ndarray::arr0;

use super::super::reader::NodeReader;
use super::Build;
use super::window::{padding, per_axis};
use crate::error::Result;
use crate::geometry::{ConvOptions, TransposedOptions};
use crate::network::{BatchNormalization, Conv, ConvTranspose, DeformConv, Operator, Pad, PadMode};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[
    ("BatchNormalization", batch_normalization),
    ("Conv", conv),
    ("ConvTranspose", conv_transpose),
    ("DeformConv", deform_conv),
    ("Pad", pad),
];

fn conv(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(2, 3)?;
    reader.expect_outputs(1)?;
    let options = ConvOptions::new()
        .stride(per_axis(reader, "strides", 1)?)
        .dilation(per_axis(reader, "dilations", 1)?)
        .padding(padding(reader)?)
        .groups(reader.size("group", 1)?);
    let conv = Conv::new(options);
    Ok(match reader.sizes("kernel_shape")? {
        Some(kernel) => Arc::new(conv.kernel(kernel)),
        None => Arc::new(conv),
    })
}

fn conv_transpose(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(2, 3)?;
    reader.expect_outputs(1)?;
    let options = TransposedOptions::new()
        .stride(per_axis(reader, "strides", 1)?)
        .dilation(per_axis(reader, "dilations", 1)?)
        .padding(padding(reader)?)
        .output_padding(per_axis(reader, "output_padding", 0)?)
        .groups(reader.size("group", 1)?);
    let mut layer = ConvTranspose::new(options);
    if let Some(kernel) = reader.sizes("kernel_shape")? {
        layer = layer.kernel(kernel);
    }
    if let Some(shape) = reader.sizes("output_shape")? {
        layer = layer.output_shape(shape);
    }
    Ok(Arc::new(layer))
}

fn deform_conv(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(3, 5)?;
    reader.expect_outputs(1)?;
    let options = ConvOptions::new()
        .stride(per_axis(reader, "strides", 1)?)
        .dilation(per_axis(reader, "dilations", 1)?)
        .padding(padding(reader)?)
        .groups(reader.size("group", 1)?);
    let layer = DeformConv::new(options, reader.size("offset_group", 1)?);
    Ok(match reader.sizes("kernel_shape")? {
        Some(kernel) => Arc::new(layer.kernel(kernel)),
        None => Arc::new(layer),
    })
}

/// Before version 14 more than one output, or `is_test` = 0, means training; then there were four more outputs.
fn batch_normalization(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(5, 5)?;
    let mut operator = BatchNormalization::new(reader.float("epsilon", 1e-5)?);
    let momentum = reader.float("momentum", 0.9)?;
    if reader.opset() < 9 && !reader.flag("spatial", true)? {
        operator = operator.every_element();
    }
    let training = match reader.opset() {
        ..7 => !reader.flag("is_test", false)?,
        7..14 => reader.outputs() > 1,
        14.. => reader.flag("training_mode", false)?,
    };
    if training {
        operator = operator.training(momentum);
        if reader.opset() < 14 {
            operator = operator.saving();
        }
    }
    reader.expect_outputs(match (training, reader.opset() < 14) {
        (false, _) => 1,
        (true, false) => 3,
        (true, true) => 5,
    })?;
    Ok(Arc::new(operator))
}

/// Before version 11 pads and value were attributes.
fn pad(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_outputs(1)?;
    let modes = [
        ("constant", PadMode::Constant),
        ("reflect", PadMode::Reflect),
        ("edge", PadMode::Edge),
        ("wrap", PadMode::Wrap),
    ];
    let known = if reader.opset() < 19 { 3 } else { 4 };
    let mode = reader.choice("mode", &modes[..known])?;
    if reader.opset() < 11 {
        reader.expect_inputs(1, 1)?;
        reader.set_integers(1, reader.required_ints("pads")?)?;
        reader.set_input(2, arr0(reader.float("value", 0.0)?).into_dyn())?;
    } else {
        reader.expect_inputs(2, if reader.opset() < 18 { 3 } else { 4 })?;
    }
    Ok(Arc::new(Pad::new(mode)))
}
