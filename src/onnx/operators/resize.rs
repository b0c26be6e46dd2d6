//! Resizing, sampling, and patches folded into images.

use std::sync::Arc;

use ndarray::Array1;

use super::super::reader::NodeReader;
use super::Build;
use super::window::{padding, per_axis};
use crate::error::Result;
use crate::geometry::ConvOptions;
use crate::network::{
    AspectRatio, Col2Im, Coordinates, GridPadding, GridSample, Interpolation, NearestMode,
    Operator, Resize, ResizeOptions,
};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[
    ("Col2Im", col2im),
    ("GridSample", grid_sample),
    ("Resize", resize),
    ("Upsample", upsample),
];

/// Before version 11 there were no coordinates but the asymmetric ones, and scales were the second input.
fn resize(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    if reader.opset() < 11 {
        return upsample(reader);
    }
    reader.expect_inputs(1, 4)?;
    reader.expect_outputs(1)?;
    let coordinates = [
        ("half_pixel", Coordinates::HalfPixel),
        ("half_pixel_symmetric", Coordinates::HalfPixelSymmetric),
        ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
        ("align_corners", Coordinates::AlignCorners),
        ("asymmetric", Coordinates::Asymmetric),
        ("tf_half_pixel_for_nn", Coordinates::TfHalfPixelForNn),
        ("tf_crop_and_resize", Coordinates::CropAndResize),
    ];
    let nearest = [
        ("round_prefer_floor", NearestMode::RoundPreferFloor),
        ("round_prefer_ceil", NearestMode::RoundPreferCeil),
        ("floor", NearestMode::Floor),
        ("ceil", NearestMode::Ceil),
    ];
    let policies = [
        ("stretch", AspectRatio::Stretch),
        ("not_larger", AspectRatio::NotLarger),
        ("not_smaller", AspectRatio::NotSmaller),
    ];
    let nearest = Interpolation::Nearest(reader.choice("nearest_mode", &nearest)?);
    let cubic = Interpolation::Cubic(reader.float("cubic_coeff_a", -0.75)?);
    let modes = [
        ("nearest", nearest),
        ("linear", Interpolation::Linear),
        ("cubic", cubic),
    ];
    Ok(Arc::new(Resize::new(ResizeOptions {
        interpolation: reader.choice("mode", &modes)?,
        coordinates: reader.choice("coordinate_transformation_mode", &coordinates)?,
        antialias: reader.flag("antialias", false)?,
        axes: reader.ints("axes")?,
        exclude_outside: reader.flag("exclude_outside", false)?,
        extrapolation_value: reader.float("extrapolation_value", 0.0)?,
        aspect_ratio: reader.choice("keep_aspect_ratio_policy", &policies)?,
    })))
}

/// Before version 9 the scales were an attribute.
fn upsample(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_outputs(1)?;
    let modes = [
        ("nearest", Interpolation::Nearest(NearestMode::Floor)),
        ("linear", Interpolation::Linear),
        ("bilinear", Interpolation::Linear),
    ];
    let options = ResizeOptions {
        interpolation: reader.choice("mode", &modes)?,
        coordinates: Coordinates::Asymmetric,
        ..ResizeOptions::default()
    };
    if reader.opset() < 9 {
        reader.expect_inputs(1, 1)?;
        let scales = reader.floats("scales")?.unwrap_or_default();
        reader.set_input(1, Array1::from(scales).into_dyn())?;
    } else {
        reader.expect_inputs(2, 2)?;
    }
    Ok(Arc::new(Resize::by_scales(options)))
}

fn col2im(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(3, 3)?;
    reader.expect_outputs(1)?;
    let options = ConvOptions::new()
        .stride(per_axis(reader, "strides", 1)?)
        .dilation(per_axis(reader, "dilations", 1)?)
        .padding(padding(reader)?);
    Ok(Arc::new(Col2Im::new(options)))
}

/// Before version 20 the modes had the names that they have for images.
fn grid_sample(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(2, 2)?;
    reader.expect_outputs(1)?;
    let (linear, cubic) = (Interpolation::Linear, Interpolation::Cubic(-0.75));
    // The coordinates are rounded to the nearest even number; the mode of rounding has no part in it.
    let nearest = Interpolation::Nearest(NearestMode::RoundPreferFloor);
    let modes = match reader.opset() {
        ..20 => [
            ("bilinear", linear),
            ("nearest", nearest),
            ("bicubic", cubic),
        ],
        _ => [("linear", linear), ("nearest", nearest), ("cubic", cubic)],
    };
    let paddings = [
        ("zeros", GridPadding::Zeros),
        ("border", GridPadding::Border),
        ("reflection", GridPadding::Reflection),
    ];
    Ok(Arc::new(GridSample::new(
        reader.choice("mode", &modes)?,
        reader.choice("padding_mode", &paddings)?,
        reader.flag("align_corners", false)?,
    )))
}
