//! Adjoints and linearity: ⟨conv x, dy⟩ = ⟨x, dx⟩ = ⟨w, dw⟩, ⟨unfold x, u⟩ = ⟨x, fold u⟩, conv(ax + bx′) = a conv x + b conv x′;
//! and the epilogue.

use gemmconv::unfold::{PatchOrder, fold, unfold};
use gemmconv::{Activation, ConvGeometry, ConvPlan, Epilogue, Layout};
use ndarray::{ArrayD, Axis, IxDyn};

use super::derivatives::ACTIVATIONS;
use super::table::{everywhere, on, table, without_constant};
use crate::support::{Failures, Operands, Random, dot, from_layout, vector};

/// ⟨conv x, dy⟩ = ⟨x, backward_input dy⟩ without the constant, = ⟨w, backward_weight⟩ with it; db = Σ dy.
#[test]
fn each_gradient_is_the_adjoint_of_the_forward_pass() {
    everywhere(|failures, name, case, geometry, way| {
        let mut operands = Operands::<f64>::integers(1, geometry);
        operands.b.fill(0.0);
        let answers = operands.conv(geometry, way);
        let linear = operands.conv(&without_constant(case).geometry(), way);
        let products = [
            dot(&linear.y, &operands.dy) - dot(&operands.x, &answers.dx),
            dot(&answers.y, &operands.dy) - dot(&operands.w, &answers.dw),
        ];
        failures.check(products == [0.0; 2], || {
            format!("{name}: ⟨y, dy⟩ − … = {products:?}")
        });
        let dy = from_layout(case.options.layout, &operands.dy);
        let sums = vector(dy.axis_iter(Axis(1)).map(|channel| channel.sum()).collect());
        failures.equal(name, &answers.db, &sums);
    });
}

/// ⟨unfold x, u⟩ = ⟨x, fold u⟩, both orders of the patch matrix.
#[test]
fn fold_is_the_adjoint_of_unfold() {
    let mut failures = Failures::new();
    for (seed, case) in table().iter().map(without_constant).enumerate() {
        for order in [
            PatchOrder::ElementsByPositions,
            PatchOrder::PositionsByElements,
        ] {
            let mut random = Random::new(seed as u64);
            let geometry = case.geometry();
            let x = random.integers::<f64>(&geometry.input_shape());
            let kernel = &case.weight[2..];
            let patches = unfold(&x, kernel, &case.options, order).unwrap();
            let u = random.integers::<f64>(patches.shape());
            let u3 = u.clone().into_dimensionality().unwrap();
            let back = fold(
                &u3,
                IxDyn(&geometry.input_shape()),
                kernel,
                &case.options,
                order,
            )
            .unwrap();
            let (left, right) = (dot(&patches.into_dyn(), &u), dot(&x, &back));
            failures.check(left == right, || {
                format!("{case:?} {order:?}: {left} ≠ {right}")
            });
        }
    }
    failures.finish(400);
}

/// conv(2x − 3x′, w) = 2 conv(x, w) − 3 conv(x′, w), and the same in w.
#[test]
fn the_forward_pass_is_linear_in_image_and_kernel() {
    everywhere(|failures, name, case, geometry, way| {
        let zero_padded = without_constant(case).geometry();
        let mut first = Operands::<f64>::integers(2, geometry);
        first.b.fill(0.0);
        let second = Operands {
            b: first.b.clone(),
            ..Operands::integers(3, geometry)
        };
        let mixed = |a: &ArrayD<f64>, b: &ArrayD<f64>| 2.0 * a - 3.0 * b;
        let y = |x: &ArrayD<f64>, w: &ArrayD<f64>, geometry: &ConvGeometry| {
            let operands = Operands {
                x: x.clone(),
                w: w.clone(),
                ..first.clone()
            };
            operands.conv(geometry, way).y
        };
        let (x, w) = (&first.x, &first.w);
        let in_x = y(&mixed(x, &second.x), w, &zero_padded);
        failures.equal(
            name,
            &in_x,
            &mixed(&y(x, w, &zero_padded), &y(&second.x, w, &zero_padded)),
        );
        let in_w = y(x, &mixed(w, &second.w), geometry);
        failures.equal(
            name,
            &in_w,
            &mixed(&y(x, w, geometry), &y(x, &second.w, geometry)),
        );
    });
}

/// The epilogue in the forward pass is bias, residual and activation done afterwards, by hand.
#[test]
fn an_epilogue_is_what_it_says() {
    on::<f64>(&table(), &[1, 2], |failures, name, case, geometry, way| {
        let operands = Operands::<f64>::integers(12, geometry);
        let residual = &operands.dy;
        let plan = ConvPlan::new(geometry, &way.options()).unwrap();
        let weights = plan.prepare(&operands.w).unwrap();
        let bare = way
            .run(|| plan.forward(&operands.x, &weights, &Epilogue::none()))
            .unwrap();
        let channels = match case.options.layout {
            Layout::ChannelsFirst => 1,
            Layout::ChannelsLast => bare.ndim() - 1,
        };
        for activation in ACTIVATIONS {
            for (with_bias, with_residual) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let mut epilogue = Epilogue::none().activation(activation);
                let mut expected = bare.clone();
                if with_bias {
                    epilogue = epilogue.bias(&operands.b);
                    for (mut channel, &b) in expected.axis_iter_mut(Axis(channels)).zip(&operands.b)
                    {
                        channel += b;
                    }
                }
                if with_residual {
                    epilogue = epilogue.residual(residual.as_slice().unwrap());
                    expected += residual;
                }
                expected.mapv_inplace(|y| match activation {
                    Activation::Relu => f64::max(y, 0.0),
                    Activation::Clamp { low, high } => y.clamp(low, high),
                    Activation::LeakyRelu { slope } if y < 0.0 => slope * y,
                    _ => y,
                });
                let got = way
                    .run(|| plan.forward(&operands.x, &weights, &epilogue))
                    .unwrap();
                let what =
                    format!("{name}, {activation:?}, bias {with_bias}, residual {with_residual}");
                failures.equal(&what, &got, &expected);
            }
        }
    });
}
