//! Arrays of any strides, for operands and results, and options in any form.

use gemmconv::{ConvOptions, ConvPlan, Element, Epilogue, PerAxis, conv};
use ndarray::{ArrayD, Ix1, Slice};

use super::table::everywhere;
use crate::support::{Answers, Operands, Random, largest, vector};

/// An array of `shape` with other strides: axes reversed in memory, every second element, backwards.
fn backwards<T: Element>(shape: &[usize]) -> ArrayD<T> {
    let doubled: Vec<usize> = shape.iter().rev().map(|length| 2 * length).collect();
    let mut array = ArrayD::from_elem(doubled, T::NAN).reversed_axes();
    array.slice_each_axis_inplace(|_| Slice::new(0, None, -2));
    assert_eq!(array.shape(), shape);
    assert!(
        array
            .strides()
            .iter()
            .zip(shape)
            .all(|(&stride, &length)| stride < 0 || length == 1)
    );
    array
}

/// The elements of `array` in such strides.
fn strided<T: Element>(array: &ArrayD<T>) -> ArrayD<T> {
    let mut copy = backwards(array.shape());
    copy.assign(array);
    copy
}

/// Any strides give the bits of the same numbers in standard order, and results may have any strides too.
#[test]
fn views_of_any_strides() {
    everywhere(|failures, name, case, geometry, way| {
        let operands = Operands::<f32>::integers(22, geometry);
        let expected = operands.conv(geometry, way);
        let (x, w, dy) = (
            strided(&operands.x),
            strided(&operands.w),
            strided(&operands.dy),
        );
        let bias = strided(&vector(operands.b.clone()))
            .into_dimensionality::<Ix1>()
            .unwrap();
        let y = conv(&x, &w, Some(&bias), &case.options).unwrap();
        failures.equal(&format!("{name}: one call"), &y, &expected.y);
        let plan = ConvPlan::new(geometry, &way.options()).unwrap();
        let weights = plan.prepare(&w).unwrap();
        let epilogue = Epilogue::none().bias(&operands.b);
        let (mut y, mut dx, mut dw) = (
            backwards(y.shape()),
            backwards(x.shape()),
            backwards(w.shape()),
        );
        let db = way.run(|| {
            plan.forward_into(&x, &weights, &epilogue, &mut y).unwrap();
            plan.backward_input_into(&weights, &dy, &mut dx).unwrap();
            plan.backward_weight_into(&x, &dy, &mut dw).unwrap();
            vector(plan.backward_bias(&dy).unwrap())
        });
        let got = Answers { y, dx, dw, db };
        for ((what, got), (_, expected)) in got.named().into_iter().zip(expected.named()) {
            failures.equal(&format!("{name}: {what}"), got, expected);
        }
    });
}

/// Options as lists and as one number agree.
#[test]
fn one_number_serves_every_axis() {
    let x = Random::new(23).integers::<f32>(&[1, 2, 9, 8, 7]);
    let w = Random::new(24).integers::<f32>(&[3, 2, 2, 2, 2]);
    let one = ConvOptions::new().stride(2).dilation(3).padding(1);
    let listed = ConvOptions::new()
        .stride(PerAxis::list(&[2, 2, 2]))
        .dilation([3, 3, 3])
        .padding([(1, 1), (1, 1), (1, 1)]);
    let y = conv(&x, &w, None, &one).unwrap();
    assert_eq!(y, conv(&x, &w, None, &listed).unwrap());
    assert!(largest(&y) > 0.0);
}
