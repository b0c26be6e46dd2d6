//! Gradients by central differences in f64: ε = 1e-6, |d| ≤ 1e-5 + 1e-3 |reference|.

use gemmconv::{Activation, ConvOptions, ConvPlan, Epilogue, TransposedPlan};
use ndarray::{ArrayD, IxDyn};

use super::table::{Case, on, table};
use super::transposed::TRANSPOSED;
use crate::support::{Failures, LAYOUTS, Operands, Random, Way, dot, vector};

/// (f(v + ε) − f(v − ε)) / 2ε for every element of `values`, in which f may not be linear.
fn central_differences(
    values: &ArrayD<f64>,
    mut f: impl FnMut(&ArrayD<f64>) -> f64,
) -> ArrayD<f64> {
    const EPSILON: f64 = 1e-6;
    let mut moved = values.clone();
    ArrayD::from_shape_fn(values.raw_dim(), |index| {
        let mut at = |value: f64| {
            moved[index.clone()] = value;
            f(&moved)
        };
        let (above, below) = (
            at(values[index.clone()] + EPSILON),
            at(values[index.clone()] - EPSILON),
        );
        moved[index.clone()] = values[index.clone()];
        (above - below) / (2.0 * EPSILON)
    })
}

/// PyTorch's tolerance for gradients.
fn near(expected: f64, _: &IxDyn) -> f64 {
    1e-5 + 1e-3 * expected.abs()
}

/// L = ⟨dy, conv(x, w) + b⟩: every gradient, every rank and padding content, by differences.
#[test]
fn gradients_agree_with_central_differences() {
    on::<f64>(&table(), &[1], |failures, name, _, geometry, way| {
        let operands = Operands::<f64>::reals(10, geometry);
        let answers = operands.conv(geometry, way);
        let plan = ConvPlan::new(geometry, &way.options()).unwrap();
        let loss = |x: &ArrayD<f64>, w: &ArrayD<f64>, b: &[f64]| {
            let y = plan
                .forward(x, &plan.prepare(w).unwrap(), &Epilogue::none().bias(b))
                .unwrap();
            dot(&y, &operands.dy)
        };
        let (x, w, b) = (&operands.x, &operands.w, vector(operands.b.clone()));
        let dx = central_differences(x, |x| loss(x, w, &operands.b));
        let dw = central_differences(w, |w| loss(x, w, &operands.b));
        let db = central_differences(&b, |b| loss(x, w, b.as_slice().unwrap()));
        failures.within(&format!("{name}: dx"), &answers.dx, &dx, near);
        failures.within(&format!("{name}: dw"), &answers.dw, &dw, near);
        failures.within(&format!("{name}: db"), &answers.db, &db, near);
    });
}

/// The same of transposed convolutions.
#[test]
fn transposed_gradients_agree_with_central_differences() {
    let mut failures = Failures::new();
    for (case, layout) in TRANSPOSED
        .iter()
        .flat_map(|case| LAYOUTS.map(|layout| (case, layout)))
    {
        let geometry = case.geometry(layout);
        for way in Way::on::<f64>(geometry.twin(), &[1]) {
            let mut random = Random::new(11);
            let operands = Operands {
                x: random.reals(&geometry.input_shape()),
                w: random.reals(case.weight),
                b: random.reals(&[case.outputs()]).into_raw_vec_and_offset().0,
                dy: random.reals(&geometry.output_shape()),
            };
            let answers = operands.transposed(&geometry, way);
            let plan = TransposedPlan::new(&geometry, &way.options()).unwrap();
            let loss = |x: &ArrayD<f64>, w: &ArrayD<f64>, b: &[f64]| {
                let y = plan
                    .forward(x, &plan.prepare(w).unwrap(), &Epilogue::none().bias(b))
                    .unwrap();
                dot(&y, &operands.dy)
            };
            let (x, w, b) = (&operands.x, &operands.w, vector(operands.b.clone()));
            let name = format!("{case:?}, {} ({way})", layout.name());
            let dx = central_differences(x, |x| loss(x, w, &operands.b));
            failures.within(&format!("{name}: dx"), &answers.dx, &dx, near);
            let dw = central_differences(w, |w| loss(x, w, &operands.b));
            failures.within(&format!("{name}: dw"), &answers.dw, &dw, near);
            let db = central_differences(&b, |b| loss(x, w, b.as_slice().unwrap()));
            failures.within(&format!("{name}: db"), &answers.db, &db, near);
        }
    }
    failures.finish(TRANSPOSED.len() * 2 * 2 * 3);
}

pub const ACTIVATIONS: [Activation<f64>; 4] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Clamp {
        low: -0.5,
        high: 1.0,
    },
    Activation::LeakyRelu { slope: 0.25 },
];

/// L = ⟨g, activation(conv(x, w) + b + r)⟩: the passes applied to g · activation′ give its gradients.
#[test]
fn gradients_through_an_epilogue_agree_with_central_differences() {
    let mut failures = Failures::new();
    for layout in LAYOUTS {
        let case = Case::new(
            &[2, 2, 4, 5],
            &[3, 2, 3, 2],
            ConvOptions::new().padding(1).layout(layout),
        );
        let geometry = case.geometry();
        let operands = Operands::<f64>::reals(13, &geometry);
        let residual = Random::new(14).reals::<f64>(&geometry.output_shape());
        let ways = Way::on::<f64>(&geometry, &[1]);
        for (activation, way) in ACTIVATIONS
            .into_iter()
            .flat_map(|activation| ways.iter().map(move |&way| (activation, way)))
        {
            let plan = ConvPlan::new(&geometry, &way.options()).unwrap();
            let forward = |x: &ArrayD<f64>, w: &ArrayD<f64>, activation| {
                let epilogue = Epilogue::none()
                    .bias(&operands.b)
                    .residual(residual.as_slice().unwrap());
                plan.forward(
                    x,
                    &plan.prepare(w).unwrap(),
                    &epilogue.activation(activation),
                )
                .unwrap()
            };
            let loss =
                |x: &ArrayD<f64>, w: &ArrayD<f64>| dot(&forward(x, w, activation), &operands.dy);
            let (x, w) = (&operands.x, &operands.w);
            let sums = forward(x, w, Activation::Identity);
            let edges = [0.0, -0.5, 1.0];
            assert!(
                sums.iter()
                    .all(|y| edges.iter().all(|edge| (y - edge).abs() > 1e-4)),
                "a sum sits on an edge"
            );
            let slope = sums.mapv(|y| match activation {
                Activation::Relu => f64::from(u8::from(y > 0.0)),
                Activation::Clamp { low, high } => f64::from(u8::from(low < y && y < high)),
                Activation::LeakyRelu { slope } if y < 0.0 => slope,
                _ => 1.0,
            });
            let dy = &operands.dy * &slope;
            let name = format!("{activation:?}, {} ({way})", layout.name());
            let dx = plan.backward_input(&plan.prepare(w).unwrap(), &dy).unwrap();
            failures.within(
                &format!("{name}: dx"),
                &dx,
                &central_differences(x, |x| loss(x, w)),
                near,
            );
            let dw = plan.backward_weight(x, &dy).unwrap();
            failures.within(
                &format!("{name}: dw"),
                &dw,
                &central_differences(w, |w| loss(x, w)),
                near,
            );
        }
    }
    failures.finish(2 * 4 * 2 * 2);
}
