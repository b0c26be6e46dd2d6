//! Weight gradients that are summed in shares of the batch: the same answers, the same bits on any number of threads.

use gemmconv::{Pass, Wanted};
use ndarray::ArrayD;

use super::layer::{Layer, Shape, Way, assert_same};
use crate::support::{LAYOUTS, pool};

/// Layers whose batch is cut, also into shares of unequal length.
const SHAPES: [Shape; 5] = [
    Shape {
        batch: 11,
        stride: 2,
        ..Shape::dense(3, 16, [28, 29]).kernel([5, 5], 2)
    },
    Shape {
        batch: 9,
        ..Shape::dense(24, 40, [20, 20]).kernel([1, 1], 0)
    },
    Shape {
        batch: 17,
        ..Shape::grouped(32, 1, 1, [40, 40]).stride(2)
    },
    Shape {
        batch: 5,
        ..Shape::grouped(8, 4, 6, [30, 31])
    },
    Shape {
        batch: 16,
        ..Shape::grouped(48, 1, 2, [23, 23])
    },
];

#[test]
fn shares_sum_to_the_gradient() {
    let mut cut = 0;
    for (shape, layout) in SHAPES
        .iter()
        .flat_map(|shape| LAYOUTS.map(|layout| (shape, layout)))
    {
        let layer = Layer::new(shape.geometry(layout), 12);
        let expected = layer.answers();
        for way in Way::native(&layer.geometry) {
            let plan = way.plan(&layer.geometry);
            let name = format!("{way}, {shape:?}, {}", layout.name());
            let explained = plan.explain(Pass::BackwardWeight).to_string();
            cut += usize::from(explained.contains("shares of the batch"));
            for scratch in [
                plan.min_scratch_len(Pass::BackwardWeight),
                plan.scratch_len(Pass::BackwardWeight),
            ] {
                let mut scratch = vec![f32::NAN; scratch];
                let mut dw = vec![f32::NAN; layer.w.len()];
                let mut db = vec![f32::NAN; layer.bias.len()];
                for bias in [Some(&mut db[..]), None] {
                    let biased = bias.is_some();
                    plan.backward_weight_with_scratch(
                        &layer.x,
                        &layer.dy,
                        &mut dw,
                        bias,
                        &mut scratch,
                    )
                    .unwrap();
                    assert_same(&dw, &expected.dw, || format!("dw: {name}, bias {biased}"));
                }
                assert_same(&db, &expected.db, || format!("db: {name}"));
            }
        }
    }
    assert!(cut >= 2 * SHAPES.len(), "only {cut} plans cut their batch");
}

/// Real numbers, so that another order of any sum would show.
#[test]
fn bits_do_not_depend_on_threads() {
    for (shape, layout) in SHAPES
        .iter()
        .flat_map(|shape| LAYOUTS.map(|layout| (shape, layout)))
    {
        let geometry = shape.geometry(layout);
        let mut random = fastrand::Rng::with_seed(13);
        let mut draw =
            |shape: Vec<usize>| ArrayD::from_shape_simple_fn(shape, || random.f32() * 2.0 - 1.0);
        let (x, w, dy) = (
            draw(geometry.input_shape()),
            draw(geometry.weight_shape()),
            draw(geometry.output_shape()),
        );
        for way in Way::native(&geometry) {
            let plan = way.plan(&geometry);
            let weights = plan.prepare(&w).unwrap();
            let on = |threads: usize| {
                pool(threads).install(|| {
                    let gradients = plan.backward(&x, &weights, &dy, Wanted::ALL).unwrap();
                    (gradients.d_weight.unwrap(), gradients.d_bias.unwrap())
                })
            };
            let one = on(1);
            for threads in [2, 3] {
                assert_eq!(one, on(threads), "{way}, {shape:?}, {threads} threads");
            }
        }
    }
}
