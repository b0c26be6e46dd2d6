//! Faults that were found in this crate, each with the request that showed it.

use gemmconv::gemm::multiply;
use gemmconv::{
    Activation, ConvGeometry, ConvOptions, ConvPlan, EngineKind, Epilogue, Error, Layout,
    LocalPlan, Padding, Pass, PlanOptions, RecipeKind, conv,
};
use ndarray::{Array1, Array2, ArrayD, IxDyn, arr0};

/// A dilation whose every tap but one lies far outside a same-size input: the shift of the plane overflowed.
#[test]
fn a_dilation_beyond_the_image() {
    let options = ConvOptions::new()
        .dilation([1 << 58, 1])
        .padding(Padding::SameUpper);
    let x = ArrayD::<f32>::ones(IxDyn(&[1, 1, 16, 16]));
    let w = ArrayD::ones(IxDyn(&[1, 1, 2, 1]));
    let y = conv(&x, &w, None, &options).unwrap();
    // Both taps lie 2⁵⁷ rows away.
    assert_eq!(y, x * 0.0);
}

/// Empty products: the BLAS engine called itself for ever.
#[test]
fn engines_and_empty_matrices() {
    for kind in EngineKind::available() {
        let engine = kind.engine::<f64>().unwrap();
        for (m, k, n) in [(0, 3, 2), (2, 3, 0), (0, 0, 0), (2, 0, 2)] {
            let (a, b) = (Array2::ones((m, k)), Array2::ones((k, n)));
            let mut c = Array2::from_elem((m, n), f64::NAN);
            multiply(engine, a.view(), b.view(), 0.0, c.view_mut()).unwrap();
            assert_eq!(c, Array2::<f64>::zeros((m, n)), "{kind} {m} {k} {n}");
            engine
                .product(a.view(), b.view(), 0.0, c.view_mut())
                .unwrap();
        }
    }
}

/// An operand that no engine can describe must be copied, and a copy of 4 TiB is an error, not the end.
#[test]
fn a_broadcast_operand_of_terabytes() {
    let one = arr0(1.0f32);
    let a = one.broadcast((1 << 20, 1 << 20)).unwrap();
    let b = Array2::<f32>::ones((1 << 20, 1));
    let mut c = Array2::zeros((1 << 20, 1));
    for kind in EngineKind::available() {
        if kind == EngineKind::Blas {
            let refused = multiply(kind.engine().unwrap(), a, b.view(), 0.0, c.view_mut());
            assert!(
                matches!(refused, Err(Error::Allocation { .. })),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn clamp_is_its_formula_even_with_its_ends_swapped() {
    let clamp = Activation::Clamp {
        low: 5.0,
        high: 1.0,
    };
    assert_eq!([0.0, 3.0, 9.0].map(|x| clamp.apply(x)), [1.0; 3]);
}

/// A recipe that is forced runs or is refused.
#[test]
fn a_forced_recipe_of_a_local_layer() {
    let geometry = ConvGeometry::new(&[1, 1, 4], &[1, 1, 3], &ConvOptions::new()).unwrap();
    let naive = PlanOptions::new().recipe(RecipeKind::Naive);
    assert!(matches!(
        LocalPlan::<f32>::new(&geometry, &naive),
        Err(Error::Unsupported { .. })
    ));
    assert!(
        LocalPlan::<f32>::new(&geometry, &PlanOptions::new().recipe(RecipeKind::Unfold)).is_ok()
    );
}

/// Channels last, the weight gradient of an engine is reordered in scratch that all threads share: the budget and the
/// explanation count it.
#[test]
fn shared_scratch_is_counted() {
    let geometry = |layout: Layout| {
        let input = layout.shape(1, 64, &[8, 8]);
        ConvGeometry::new(&input, &[64, 64, 3, 3], &ConvOptions::new().layout(layout)).unwrap()
    };
    for (layout, shared) in [
        (Layout::ChannelsFirst, 0),
        (Layout::ChannelsLast, 64 * 64 * 9),
    ] {
        let plan = ConvPlan::<f32>::new(
            &geometry(layout),
            &PlanOptions::new()
                .recipe(RecipeKind::Unfold)
                .serial_below(u128::MAX),
        )
        .unwrap();
        let explanation = plan.explain(Pass::BackwardWeight);
        assert_eq!(explanation.shared_bytes, shared * 4);
        let lane = explanation.scratch_bytes / 4;
        assert_eq!(plan.scratch_len(Pass::BackwardWeight), shared + lane);
        assert_eq!(plan.min_scratch_len(Pass::BackwardWeight), shared + lane);
    }
}

/// A view that repeats one number over more memory than there is.
#[test]
fn a_broadcast_image_of_terabytes() {
    let one = Array1::<f32>::ones(1);
    let x = one.broadcast((1usize << 20, 1, 1 << 20)).unwrap();
    let w = ndarray::Array3::<f32>::ones((1, 1, 1));
    let refused = conv(&x, &w, None, &ConvOptions::new()).map(drop);
    assert!(
        matches!(refused, Err(Error::MemoryBudget { .. })),
        "{refused:?}"
    );
    let geometry = ConvGeometry::new(x.shape(), w.shape(), &ConvOptions::new()).unwrap();
    let plan =
        ConvPlan::<f32>::new(&geometry, &PlanOptions::new().memory_budget(usize::MAX)).unwrap();
    let refused = plan
        .forward(&x, &plan.prepare(&w).unwrap(), &Epilogue::none())
        .map(drop);
    assert!(
        matches!(refused, Err(Error::Allocation { .. })),
        "{refused:?}"
    );
}
