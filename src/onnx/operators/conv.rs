//! Convolution, transposed and deformable convolution, batch normalisation, padding.

use std::sync::Arc;

use ndarray::arr0;

use super::super::reader::NodeReader;
use super::super::writer::{Extra, NodeWriter, Write, Written, float};
use super::Build;
use super::window::{padding, per_axis, rank, write_padding, write_per_axis};
use crate::conv::Activation;
use crate::error::Result;
use crate::geometry::{ConvOptions, Layout, PaddingMode, TransposedOptions};
use crate::network::{
    BatchNormalization, Conv, ConvTranspose, DType, DeformConv, Operator, Pad, PadMode, Tensor,
};

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

/// The contents of a padding; the last one since version 19.
const PAD_MODES: [(&str, PadMode); 4] = [
    ("constant", PadMode::Constant),
    ("reflect", PadMode::Reflect),
    ("edge", PadMode::Edge),
    ("wrap", PadMode::Wrap),
];

/// Before version 11 pads and value were attributes.
fn pad(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_outputs(1)?;
    let known = if reader.opset() < 19 { 3 } else { 4 };
    let mode = reader.choice("mode", &PAD_MODES[..known])?;
    if reader.opset() < 11 {
        reader.expect_inputs(1, 1)?;
        reader.set_integers(1, reader.required_ints("pads")?)?;
        reader.set_input(2, arr0(reader.float("value", 0.0)?).into_dyn())?;
    } else {
        reader.expect_inputs(2, if reader.opset() < 18 { 3 } else { 4 })?;
    }
    Ok(Arc::new(Pad::new(mode)))
}

impl Write for Conv {
    fn write(&self, node: &mut NodeWriter) -> Written {
        let options = &self.options;
        if options.layout != Layout::ChannelsFirst || self.output.is_some() {
            return Err("channels last".to_owned());
        }
        if self.slot.is_some() {
            return Err("some channels of a larger result".to_owned());
        }
        if options.flip_kernel {
            return Err("a flipped kernel".to_owned());
        }
        if options.padding_mode != PaddingMode::Zeros {
            return Err(format!("{} padding", options.padding_mode.name()));
        }
        write_kernel(node, self.kernel.as_deref())?;
        let rank = rank(node, None);
        write_per_axis(node, "strides", &options.stride, 1, rank)?;
        write_per_axis(node, "dilations", &options.dilation, 1, rank)?;
        write_padding(node, &options.padding, rank)?;
        node.size("group", options.groups, 1)?;
        write_epilogue(node, self.activation);
        Ok(())
    }
}

impl Write for ConvTranspose {
    fn write(&self, node: &mut NodeWriter) -> Written {
        let options = &self.options;
        if options.layout != Layout::ChannelsFirst {
            return Err("channels last".to_owned());
        }
        if options.output_size.is_some() {
            return Err("an output size beside its padding".to_owned());
        }
        write_kernel(node, self.kernel.as_deref())?;
        let rank = rank(node, None);
        write_per_axis(node, "strides", &options.stride, 1, rank)?;
        write_per_axis(node, "dilations", &options.dilation, 1, rank)?;
        write_per_axis(node, "output_padding", &options.output_padding, 0, rank)?;
        if let Some(shape) = &self.wished {
            node.sizes("output_shape", shape)?;
        }
        write_padding(node, &options.padding, rank)?;
        node.size("group", options.groups, 1)?;
        write_epilogue(node, self.activation);
        Ok(())
    }
}

fn write_kernel(node: &mut NodeWriter, kernel: Option<&[usize]>) -> Written {
    match kernel {
        Some(kernel) => node.sizes("kernel_shape", kernel),
        None => Ok(()),
    }
}

/// The residual of a convolution, its fourth input, and its activation are operators of their own.
fn write_epilogue(node: &mut NodeWriter, activation: Activation<f32>) {
    if node.has_input(3) {
        node.then("Add", Vec::new(), vec![Extra::Moved(3)]);
    }
    let double = node.fact(0).is_some_and(|fact| fact.dtype == DType::F64);
    let constant = |value: f32| -> Tensor {
        match double {
            true => arr0(f64::from(value)).into_dyn().into(),
            false => arr0(value).into_dyn().into(),
        }
    };
    match activation {
        Activation::Identity => {}
        Activation::Relu => node.then("Relu", Vec::new(), Vec::new()),
        Activation::Clamp { low, high } => {
            let bounds = [low, high].map(|bound| Extra::Constant(constant(bound)));
            node.then("Clip", Vec::new(), bounds.into());
        }
        Activation::LeakyRelu { slope } => {
            node.then("LeakyRelu", vec![float("alpha", slope)], Vec::new());
        }
    }
}

impl Write for BatchNormalization {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if self.last {
            return Err("channels last".to_owned());
        }
        if !self.spatial {
            return Err("every element for itself".to_owned());
        }
        // Both came as f32.
        node.float("epsilon", self.epsilon as f32);
        if let Some(momentum) = self.training {
            if self.outputs > 2 {
                return Err("mean and variance of the batch as outputs".to_owned());
            }
            node.float("momentum", momentum as f32);
            node.int("training_mode", 1);
        }
        Ok(())
    }
}

impl Write for Pad {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if self.last {
            return Err("channels last".to_owned());
        }
        if node.has_input(3) {
            node.since(18);
        }
        if self.mode == PadMode::Wrap {
            node.since(19);
        }
        let name = PAD_MODES.iter().find(|&&(_, mode)| mode == self.mode);
        node.string("mode", name.expect("every mode has its name").0);
        Ok(())
    }
}
