//! NaN and infinities meet what they would meet in the loops, and nothing else.

use gemmconv::{
    Activation, Epilogue, TransposedGeometry, TransposedOptions, TransposedPlan, Wanted,
};
use ndarray::{ArrayD, ArrayView, IxDyn};

use super::layer::{Layer, Shape, Way};
use crate::support::{LAYOUTS, pool};

const SHAPES: [Shape; 9] = [
    Shape::dense(3, 18, [5, 6]),
    Shape::dense(16, 16, [4, 7]).stride(2),
    Shape::dense(5, 7, [5, 6]).kernel([1, 1], 1),
    Shape::dense(5, 7, [5, 6]).kernel([1, 1], 1).stride(2),
    Shape::grouped(16, 1, 1, [6, 9]),
    Shape::grouped(32, 1, 1, [7, 8]).stride(2),
    Shape::grouped(16, 1, 1, [6, 17]).kernel([5, 5], 2),
    Shape::grouped(9, 1, 2, [5, 6]),
    Shape::grouped(4, 4, 4, [5, 6]).stride(2),
];

/// What an element is; finite sums of reals may be rounded in any order.
fn kind(value: f32) -> &'static str {
    match value {
        _ if value.is_nan() => "NaN",
        f32::INFINITY => "inf",
        f32::NEG_INFINITY => "-inf",
        _ => "finite",
    }
}

#[track_caller]
fn assert_kinds(got: &[f32], expected: &[f32], what: &str) {
    let wrong = (0..expected.len()).filter(|&i| kind(got[i]) != kind(expected[i]));
    let wrong: Vec<usize> = wrong.collect();
    assert!(
        got.len() == expected.len() && wrong.is_empty(),
        "{what}: {} wrong, element {} is {}, expected {}",
        wrong.len(),
        wrong[0],
        got[wrong[0]],
        expected[wrong[0]]
    );
}

fn array(shape: Vec<usize>, data: &[f32]) -> ArrayD<f32> {
    ArrayView::from_shape(IxDyn(&shape), data)
        .unwrap()
        .to_owned()
}

/// One special number in one operand, at its beginning, in its middle or at its end.
fn each_fault(layer: &Layer) -> Vec<(String, Layer)> {
    let mut faults = Vec::new();
    for (number, operand) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
        .into_iter()
        .flat_map(|number| ["x", "w", "dy"].map(|operand| (number, operand)))
    {
        for part in 0..3 {
            let mut faulty = layer.clone();
            let data = match operand {
                "x" => &mut faulty.x,
                "w" => &mut faulty.w,
                _ => &mut faulty.dy,
            };
            let at = (data.len() - 1) * part / 2;
            data[at] = number;
            faults.push((format!("{operand}[{at}] = {number}"), faulty));
        }
    }
    faults
}

#[test]
fn all_passes() {
    for (shape, layout) in SHAPES
        .iter()
        .flat_map(|shape| LAYOUTS.map(|layout| (shape, layout)))
    {
        let mut plain = Layer::new(shape.geometry(layout), 8);
        // No weight and no gradient is zero: what zeros of the padding meet is told apart from what they do not.
        plain
            .w
            .iter_mut()
            .for_each(|w| *w = if *w == 0.0 { 1.0 } else { *w });
        for (fault, layer) in each_fault(&plain) {
            let expected = layer.answers();
            let geometry = &layer.geometry;
            let x = array(geometry.input_shape(), &layer.x);
            let dy = array(geometry.output_shape(), &layer.dy);
            for way in Way::native(geometry).into_iter().filter(Way::is_exact) {
                let name = |what| format!("{what}: {fault}, {way}, {shape:?}, {}", layout.name());
                let plan = way.plan(geometry);
                let weights = plan.prepare(&layer.weight()).unwrap();
                let (y, gradients) = pool(2).install(|| {
                    (
                        plan.forward(&x, &weights, &Epilogue::none()).unwrap(),
                        plan.backward(&x, &weights, &dy, Wanted::ALL).unwrap(),
                    )
                });
                assert_kinds(y.as_slice().unwrap(), &expected.y, &name("y"));
                let dx = gradients.d_input.unwrap();
                assert_kinds(dx.as_slice().unwrap(), &expected.dx, &name("dx"));
                let dw = gradients.d_weight.unwrap();
                assert_kinds(dw.as_slice().unwrap(), &expected.dw, &name("dw"));
                assert_kinds(&gradients.d_bias.unwrap(), &expected.db, &name("db"));
            }
        }
    }
}

/// A transposed convolution with an infinite weight: its epilogue is still carried out, and results that the weight
/// does not reach are exact.
#[test]
fn transposed_with_an_infinite_weight() {
    for (stride, layout) in [1, 2]
        .into_iter()
        .flat_map(|stride| LAYOUTS.map(|layout| (stride, layout)))
    {
        let options = TransposedOptions::new()
            .stride(stride)
            .padding(1)
            .layout(layout);
        let input = layout.shape(2, 3, &[4, 5]);
        let geometry = TransposedGeometry::new(&input, &[3, 5, 3, 3], &options).unwrap();
        let mut layer = Layer::new(geometry.twin().clone(), 9);
        // The first tap of the first input for the second output.
        layer.w[9] = f32::INFINITY;
        layer.dy.iter_mut().for_each(|x| *x = x.abs() + 1.0);
        let bias = [1.0, 2.0, 3.0, 4.0, 5.0];
        let bare = layer.answers().dx;
        let positions = bare.len() / 2 / 5;
        let expected: Vec<f32> = (0..bare.len())
            .map(|i| {
                let channel = match layout {
                    gemmconv::Layout::ChannelsFirst => i / positions % 5,
                    gemmconv::Layout::ChannelsLast => i % 5,
                };
                let y: f32 = bare[i] + bias[channel] + (i % 3) as f32;
                y.max(0.0)
            })
            .collect();
        assert!(expected.iter().any(|y| y.is_infinite()) && !expected.iter().any(|y| y.is_nan()));
        let residual: Vec<f32> = (0..bare.len()).map(|i| (i % 3) as f32).collect();
        let ways = Way::all(geometry.twin());
        for way in ways.into_iter().filter(Way::is_exact) {
            let plan = TransposedPlan::<f32>::new(&geometry, &way.options()).unwrap();
            let mut weights = plan.prepare(&ArrayD::ones(vec![3, 5, 3, 3])).unwrap();
            // Replaced weights may be infinite too.
            plan.update(&mut weights, &layer.weight()).unwrap();
            let epilogue = Epilogue::none()
                .bias(&bias)
                .residual(&residual)
                .activation(Activation::Relu);
            let y = plan
                .forward(&array(input.clone(), &layer.dy), &weights, &epilogue)
                .unwrap();
            let name = format!("{way}, stride {stride}, {}", layout.name());
            super::layer::assert_same(y.as_slice().unwrap(), &expected, || name.clone());
        }
    }
}
