//! Bias, residual and activation on the way out: every recipe, both layouts, forward and transposed.

use gemmconv::{
    Activation, ConvGeometry, Epilogue, Layout, Pass, TransposedGeometry, TransposedOptions,
    TransposedPlan, reference,
};

use super::layer::{Layer, Shape, Way, assert_same};
use crate::support::{LAYOUTS, pool};

/// Factors and bounds that keep integers exact; a clamp with its ends swapped gives its upper end.
const ACTIVATIONS: [Activation<f32>; 6] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Clamp {
        low: -3.0,
        high: 5.0,
    },
    Activation::Clamp {
        low: 5.0,
        high: -1.0,
    },
    Activation::LeakyRelu { slope: 0.5 },
    Activation::LeakyRelu { slope: 2.0 },
];

/// Whole vectors and parts of them, every recipe, tiles that leave straight and through the buffer.
const SHAPES: [Shape; 10] = [
    Shape::dense(5, 19, [4, 9]),
    Shape::dense(16, 48, [3, 14]),
    Shape::dense(300, 17, [2, 3]),
    Shape::dense(9, 19, [5, 23]).dilation([2, 3]),
    Shape::dense(7, 33, [3, 7]).kernel([1, 1], 0),
    Shape::dense(6, 9, [5, 8]).stride(2),
    Shape::grouped(32, 1, 1, [5, 9]),
    Shape::grouped(17, 1, 2, [4, 6]).stride(2),
    Shape::grouped(5, 4, 3, [3, 8]),
    Shape::grouped(8, 4, 4, [5, 9]),
];

/// A tensor to be added, with numbers that no activation may lose: NaN, −0, infinities.
fn residual(length: usize) -> Vec<f32> {
    let special = [f32::NAN, -0.0, f32::INFINITY, f32::NEG_INFINITY];
    let value = |i: usize| match i % 11 {
        4 => special[i / 11 % 4],
        other => other as f32 - 5.0,
    };
    (0..length).map(value).collect()
}

/// The channel of each element of a result.
fn channels(layout: Layout, all: usize, length: usize, batch: usize) -> impl Fn(usize) -> usize {
    let positions = (length / batch.max(1) / all).max(1);
    move |index| match layout {
        Layout::ChannelsFirst => index / positions % all,
        Layout::ChannelsLast => index % all,
    }
}

/// Every epilogue with its result, from the bare sums.
fn each<'a>(
    bare: &[f32],
    bias: &'a [f32],
    residual: &'a [f32],
    channel: impl Fn(usize) -> usize,
    mut check: impl FnMut(&str, &Epilogue<'a, f32>, &[f32]),
) {
    for activation in ACTIVATIONS {
        for (with_bias, with_residual) in
            [(false, false), (true, false), (false, true), (true, true)]
        {
            let mut epilogue = Epilogue::none().activation(activation);
            let mut expected = bare.to_vec();
            if with_bias {
                epilogue = epilogue.bias(bias);
                let places = expected.iter_mut().enumerate();
                places.for_each(|(i, y)| *y += bias[channel(i)]);
            }
            if with_residual {
                epilogue = epilogue.residual(residual);
                expected.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
            }
            // By comparisons: every one is false for NaN, which so stays.
            let after = |y: f32| match activation {
                Activation::Relu if y < 0.0 => 0.0,
                Activation::Clamp { low, high } => {
                    let y = if y < low { low } else { y };
                    if y > high { high } else { y }
                }
                Activation::LeakyRelu { slope } if y < 0.0 => slope * y,
                _ => y,
            };
            expected.iter_mut().for_each(|y| *y = after(*y));
            let name = format!("{activation:?}, bias {with_bias}, residual {with_residual}");
            check(&name, &epilogue, &expected);
        }
    }
}

#[test]
fn forward() {
    let mut checks = 0;
    for (shape, layout) in SHAPES
        .iter()
        .flat_map(|shape| LAYOUTS.map(|layout| (shape, layout)))
    {
        let layer = Layer::new(shape.geometry(layout), 5);
        let bare = layer.answers().y;
        let residual = residual(bare.len());
        let channel = channels(layout, layer.bias.len(), bare.len(), shape.batch);
        for way in Way::all(&layer.geometry) {
            let plan = way.plan(&layer.geometry);
            let weights = plan.prepare(&layer.weight()).unwrap();
            each(
                &bare,
                &layer.bias,
                &residual,
                &channel,
                |name, epilogue, expected| {
                    let mut y = vec![f32::NAN; bare.len()];
                    pool(2).install(|| {
                        let mut scratch = vec![f32::NAN; plan.scratch_len(Pass::Forward)];
                        plan.forward_with_scratch(
                            &layer.x,
                            &weights,
                            epilogue,
                            &mut y,
                            &mut scratch,
                        )
                        .unwrap();
                    });
                    assert_same(&y, expected, || {
                        format!("{name}: {way}, {shape:?}, {}", layout.name())
                    });
                    checks += 1;
                },
            );
        }
    }
    assert!(checks >= 9 * 2 * 4 * 24, "{checks} checks");
}

/// The same where the twin's backward-input pass carries it, stride 1 and by phases.
#[test]
fn transposed_forward() {
    let mut checks = 0;
    for (shape, layout) in SHAPES
        .iter()
        .flat_map(|shape| LAYOUTS.map(|layout| (shape, layout)))
    {
        let options = TransposedOptions::new()
            .stride(shape.stride)
            .dilation(shape.dilation)
            .padding(shape.padding())
            .groups(shape.groups)
            .layout(layout);
        let (inputs, outputs) = (shape.groups * shape.channels, shape.groups * shape.outputs);
        let input = layout.shape(shape.batch, inputs, &shape.image);
        let weight = [inputs, shape.outputs, shape.kernel[0], shape.kernel[1]];
        let geometry = TransposedGeometry::new(&input, &weight, &options).unwrap();
        let twin: &ConvGeometry = geometry.twin();
        let layer = Layer::new(twin.clone(), 6);
        let mut bare = vec![f32::NAN; twin.input_len()];
        reference::backward_input(twin, &layer.w, &layer.dy, &mut bare);
        let bias: Vec<f32> = (0..outputs).map(|o| o as f32 % 5.0 - 2.0).collect();
        let residual = residual(bare.len());
        let channel = channels(layout, outputs, bare.len(), shape.batch);
        for way in Way::all(twin) {
            let plan = TransposedPlan::<f32>::new(&geometry, &way.options()).unwrap();
            let weights = plan.prepare(&layer.weight()).unwrap();
            each(
                &bare,
                &bias,
                &residual,
                &channel,
                |name, epilogue, expected| {
                    let mut y = vec![f32::NAN; bare.len()];
                    pool(2).install(|| {
                        let mut scratch = vec![f32::NAN; plan.scratch_len(Pass::Forward)];
                        plan.forward_with_scratch(
                            &layer.dy,
                            &weights,
                            epilogue,
                            &mut y,
                            &mut scratch,
                        )
                        .unwrap();
                    });
                    assert_same(&y, expected, || {
                        format!("{name}: transposed {way}, {shape:?}, {}", layout.name())
                    });
                    checks += 1;
                },
            );
        }
    }
    assert!(checks >= 9 * 2 * 4 * 24, "{checks} checks");
}
