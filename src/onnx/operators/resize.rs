//! Resizing, sampling, and patches folded into images.

use std::sync::Arc;

use ndarray::Array1;

use super::super::reader::NodeReader;
use super::super::writer::{NodeWriter, Write, Written};
use super::Build;
use super::window::{padding, per_axis};
use crate::error::Result;
use crate::geometry::ConvOptions;
use crate::network::{
    AspectRatio, Col2Im, Coordinates, GridPadding, GridSample, Interpolation, NearestMode,
    Operator, Resize, ResizeOptions, RoiAlign,
};

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[
    ("Col2Im", col2im),
    ("GridSample", grid_sample),
    ("Resize", resize),
    ("RoiAlign", roi_align),
    ("Upsample", upsample),
];

const COORDINATES: [(&str, Coordinates); 7] = [
    ("half_pixel", Coordinates::HalfPixel),
    ("half_pixel_symmetric", Coordinates::HalfPixelSymmetric),
    ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
    ("align_corners", Coordinates::AlignCorners),
    ("asymmetric", Coordinates::Asymmetric),
    ("tf_half_pixel_for_nn", Coordinates::TfHalfPixelForNn),
    ("tf_crop_and_resize", Coordinates::CropAndResize),
];

const NEAREST: [(&str, NearestMode); 4] = [
    ("round_prefer_floor", NearestMode::RoundPreferFloor),
    ("round_prefer_ceil", NearestMode::RoundPreferCeil),
    ("floor", NearestMode::Floor),
    ("ceil", NearestMode::Ceil),
];

const POLICIES: [(&str, AspectRatio); 3] = [
    ("stretch", AspectRatio::Stretch),
    ("not_larger", AspectRatio::NotLarger),
    ("not_smaller", AspectRatio::NotSmaller),
];

const PADDINGS: [(&str, GridPadding); 3] = [
    ("zeros", GridPadding::Zeros),
    ("border", GridPadding::Border),
    ("reflection", GridPadding::Reflection),
];

/// Before version 11 there were no coordinates but the asymmetric ones, and scales were the second input.
fn resize(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    if reader.opset() < 11 {
        return upsample(reader);
    }
    reader.expect_inputs(1, 4)?;
    reader.expect_outputs(1)?;
    let nearest = Interpolation::Nearest(reader.choice("nearest_mode", &NEAREST)?);
    let cubic = Interpolation::Cubic(reader.float("cubic_coeff_a", -0.75)?);
    let modes = [
        ("nearest", nearest),
        ("linear", Interpolation::Linear),
        ("cubic", cubic),
    ];
    Ok(Arc::new(Resize::new(ResizeOptions {
        interpolation: reader.choice("mode", &modes)?,
        coordinates: reader.choice("coordinate_transformation_mode", &COORDINATES)?,
        antialias: reader.flag("antialias", false)?,
        axes: reader.ints("axes")?,
        exclude_outside: reader.flag("exclude_outside", false)?,
        extrapolation_value: reader.float("extrapolation_value", 0.0)?,
        aspect_ratio: reader.choice("keep_aspect_ratio_policy", &POLICIES)?,
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
    Ok(Arc::new(GridSample::new(
        reader.choice("mode", &modes)?,
        reader.choice("padding_mode", &PADDINGS)?,
        reader.flag("align_corners", false)?,
    )))
}

/// Before version 16 coordinates were those of the output's pixels.
fn roi_align(reader: &NodeReader) -> Result<Arc<dyn Operator>> {
    reader.expect_inputs(3, 3)?;
    reader.expect_outputs(1)?;
    let coordinates = [("half_pixel", true), ("output_half_pixel", false)];
    let half_pixel = match reader.opset() {
        ..16 => false,
        _ => reader.choice("coordinate_transformation_mode", &coordinates)?,
    };
    let size = [
        reader.size("output_height", 1)?,
        reader.size("output_width", 1)?,
    ];
    let align = RoiAlign::new(size)
        .samples(reader.size("sampling_ratio", 0)?)
        .scale(reader.float("spatial_scale", 1.0)?)
        .half_pixel(half_pixel)
        .maximum(reader.choice("mode", &[("avg", false), ("max", true)])?);
    Ok(Arc::new(align))
}

/// The name of a choice.
fn name_of<T: PartialEq>(choices: &[(&'static str, T)], value: &T) -> &'static str {
    let found = choices.iter().find(|(_, choice)| choice == value);
    found.map_or("", |(name, _)| name)
}

impl Write for Resize {
    fn write(&self, node: &mut NodeWriter) -> Written {
        let options = &self.options;
        if self.scales_only {
            return Err("scales as the second input, as Upsample had them".to_owned());
        }
        match options.coordinates {
            Coordinates::TfHalfPixelForNn => {
                return Err("tf_half_pixel_for_nn, which operator set 13 left out".to_owned());
            }
            Coordinates::HalfPixelSymmetric => node.since(19),
            _ => {}
        }
        let coordinates = name_of(&COORDINATES, &options.coordinates);
        node.string("coordinate_transformation_mode", coordinates);
        match options.interpolation {
            Interpolation::Nearest(mode) => {
                node.string("mode", "nearest");
                node.string("nearest_mode", name_of(&NEAREST, &mode));
            }
            Interpolation::Linear => node.string("mode", "linear"),
            Interpolation::Cubic(slope) => {
                node.string("mode", "cubic");
                node.float("cubic_coeff_a", slope);
            }
        }
        node.flag("exclude_outside", options.exclude_outside);
        node.float("extrapolation_value", options.extrapolation_value);
        if options.antialias {
            node.since(18);
            node.flag("antialias", true);
        }
        if let Some(axes) = &options.axes {
            node.since(18);
            node.ints("axes", axes);
        }
        if options.aspect_ratio != AspectRatio::Stretch {
            node.since(18);
            let policy = name_of(&POLICIES, &options.aspect_ratio);
            node.string("keep_aspect_ratio_policy", policy);
        }
        Ok(())
    }
}

impl Write for GridSample {
    /// Since operator set 20 the modes have the names of `Resize`.
    fn write(&self, node: &mut NodeWriter) -> Written {
        node.since(20);
        let mode = match self.interpolation {
            Interpolation::Nearest(_) => "nearest",
            Interpolation::Linear => "linear",
            Interpolation::Cubic(_) => "cubic",
        };
        node.string("mode", mode);
        node.string("padding_mode", name_of(&PADDINGS, &self.padding));
        node.flag("align_corners", self.align_corners);
        Ok(())
    }
}

impl Write for RoiAlign {
    fn write(&self, node: &mut NodeWriter) -> Written {
        if !self.half_pixel {
            node.string("coordinate_transformation_mode", "output_half_pixel");
        }
        if self.maximum {
            node.string("mode", "max");
        }
        node.size("output_height", self.size[0], 1)?;
        node.size("output_width", self.size[1], 1)?;
        node.size("sampling_ratio", self.samples, 0)?;
        node.float("spatial_scale", self.scale);
        Ok(())
    }
}
