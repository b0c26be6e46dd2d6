//! Memory: budgets in numbers, scratch limits that hold, and refused allocations that end as errors.

use gemmconv::operator::convolution_matrix;
use gemmconv::unfold::{PatchOrder, fold, unfold};
use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, Element, EngineKind, Epilogue, Error, Layout, LocalPlan,
    Pass, PlanOptions, RecipeKind, Result, TransposedGeometry, TransposedOptions, TransposedPlan,
    conv, conv_transpose,
};
use ndarray::{ArrayD, ArrayView, IxDyn};

use crate::support::{Failures, takes};

/// Elements that no address space of today has room for: 2⁴⁶ · 4 bytes and more.
const HUGE: usize = 1 << 46;

/// A view of `shape` on a single zero.
fn zeros<'z, T: Element>(zero: &'z ArrayD<T>, shape: &[usize]) -> ArrayView<'z, T, IxDyn> {
    zero.broadcast(shape).unwrap()
}

/// No budget, and the engine whose integers are as wide as the machine's.
fn unlimited() -> PlanOptions {
    PlanOptions::new()
        .memory_budget(usize::MAX)
        .engine(EngineKind::MatrixMultiply)
}

/// The least budget is the number in the error: exactly as much is enough, one byte less is not.
#[test]
fn the_budget_is_counted_in_bytes() {
    let mut failures = Failures::new();
    let geometry = ConvGeometry::new(&[2, 3, 9, 9], &[4, 3, 3, 3], &ConvOptions::new()).unwrap();
    fn needed<T: Element>(geometry: &ConvGeometry, options: &PlanOptions) -> usize {
        match ConvPlan::<T>::new(geometry, &options.clone().memory_budget(0)) {
            Err(Error::MemoryBudget { needed, budget: 0 }) => needed,
            other => panic!("{other:?}"),
        }
    }
    // The weights as they are and as they are prepared.
    let elements = geometry.input_len() + geometry.output_len() + 2 * geometry.weight_len();
    for recipe in RecipeKind::ALL
        .into_iter()
        .filter(|&recipe| takes::<f32>(recipe, &geometry))
    {
        let options = PlanOptions::new().recipe(recipe);
        let single = needed::<f32>(&geometry, &options);
        let (least, budget) = (single, single - 1);
        failures.check(least >= 4 * elements, || format!("{recipe}: {single}"));
        if takes::<f64>(recipe, &geometry) {
            let double = needed::<f64>(&geometry, &options);
            failures.check(double >= 8 * elements, || format!("{recipe}: {double}"));
            let exact =
                recipe != RecipeKind::Naive || (single, double) == (4 * elements, 8 * elements);
            failures.check(exact, || format!("{single}, {double}"));
        }
        let enough = ConvPlan::<f32>::new(&geometry, &options.clone().memory_budget(least));
        failures.check(enough.is_ok(), || format!("{recipe}: {enough:?}"));
        let refused = ConvPlan::<f32>::new(&geometry, &options.memory_budget(budget)).map(drop);
        failures.check(
            refused
                == Err(Error::MemoryBudget {
                    needed: least,
                    budget,
                }),
            || format!("{refused:?}"),
        );
    }
    failures.finish(3 * 3 + 2 * 2);
}

/// Legal sizes with absurd results, refused before anything is allocated (ORT 559756819f, our own 2²⁰ of padding).
#[test]
fn more_than_the_budget() {
    let mut failures = Failures::new();
    let budget = gemmconv::plan::DEFAULT_MEMORY_BUDGET;
    type Case<'c> = (&'c str, &'c [usize], &'c [usize], usize, usize);
    let pads: [Case; 3] = [
        (
            "2²⁰ on each side",
            &[1, 1, 4, 4],
            &[1, 1, 3, 3],
            1 << 20,
            1 << 44,
        ),
        ("2⁴⁰ on each side", &[1, 1, 4], &[1, 1, 3], 1 << 40, 1 << 43),
        (
            "1000 on each side, rank 3",
            &[8, 1, 4, 4, 4],
            &[8, 1, 3, 3, 3],
            1000,
            1 << 40,
        ),
    ];
    for (name, input, weight, pad, at_least) in pads {
        let options = ConvOptions::new().padding(pad);
        let geometry = ConvGeometry::new(input, weight, &options).unwrap();
        let refused = |result: Result<()>| matches!(result, Err(Error::MemoryBudget { needed, budget: of }) if of == budget && needed >= at_least);
        let (x, w) = (ArrayD::<f32>::zeros(input), ArrayD::zeros(weight));
        let plan = ConvPlan::<f32>::new(&geometry, &PlanOptions::new()).map(drop);
        failures.check(refused(plan.clone()), || format!("{name}: {plan:?}"));
        let one = conv(&x, &w, None, &options).map(drop);
        failures.check(refused(one.clone()), || format!("{name}: {one:?}"));
    }
    let local =
        ConvGeometry::new(&[1, 64, 512, 512], &[64, 64, 3, 3], &ConvOptions::new()).unwrap();
    let local = LocalPlan::<f32>::new(&local, &PlanOptions::new()).map(drop);
    // A quarter of a million positions with 36 864 weights each, beside them input, output and one patch.
    let needed = (510 * 510 * 64 * 64 * 9 + 64 * 512 * 512 + 64 * 510 * 510 + 64 * 9) * 4;
    failures.check(needed < budget && local.is_ok(), || format!("{local:?}"));
    let less = PlanOptions::new().memory_budget(needed - 1);
    let geometry =
        ConvGeometry::new(&[1, 64, 512, 512], &[64, 64, 3, 3], &ConvOptions::new()).unwrap();
    let refused = LocalPlan::<f32>::new(&geometry, &less).map(drop);
    failures.check(
        refused
            == Err(Error::MemoryBudget {
                needed,
                budget: needed - 1,
            }),
        || format!("{refused:?}"),
    );
    let x = ArrayD::<f64>::zeros([1, 1, 2].as_slice());
    let far = TransposedOptions::new().stride(1 << 40);
    let refused = conv_transpose(&x, &ArrayD::ones([1, 1, 1].as_slice()), None, &far).map(drop);
    failures.check(matches!(refused, Err(Error::MemoryBudget { .. })), || {
        format!("{refused:?}")
    });
    failures.finish(9);
}

/// Without a budget the allocator has the last word, and its refusal is an error: for every buffer whose size the
/// caller chooses, and for copies of views that are larger than the memory behind them.
#[test]
fn refused_allocations_are_errors() {
    let zero = ArrayD::from_elem(IxDyn(&[]), 0.0f32);
    let one = zeros(&zero, &[1, 1, 1]);
    let plan = |input: &[usize], weight: &[usize], options: &ConvOptions| {
        ConvPlan::<f32>::new(
            &ConvGeometry::new(input, weight, options).unwrap(),
            &unlimited(),
        )
        .unwrap()
    };
    let none = Epilogue::none();
    // One position reads the first of very many pixels; many positions come from padding; many outputs.
    let wide = plan(&[1, 1, HUGE], &[1, 1, 1], &ConvOptions::new().stride(HUGE));
    let padded = plan(
        &[1, 1, 4],
        &[1, 1, 1],
        &ConvOptions::new().padding([(HUGE, 0)]),
    );
    let many = plan(&[1, 1, 1], &[HUGE, 1, 1], &ConvOptions::new());
    let weights = wide.prepare(&one).unwrap();
    let (x, dy, x4) = (
        zeros(&zero, &[1, 1, HUGE]),
        zeros(&zero, &[1, 1, HUGE + 4]),
        zeros(&zero, &[1, 1, 4]),
    );
    let far = TransposedOptions::new().stride(HUGE);
    let far = TransposedGeometry::new(&[1, 1, 2], &[1, 1, 1], &far).unwrap();
    let far = TransposedPlan::<f32>::new(&far, &unlimited()).unwrap();
    let square = ConvGeometry::new(&[1, 1, 1 << 28], &[1, 1, 1], &ConvOptions::new()).unwrap();
    let taps = ConvOptions::new().padding([(HUGE, 0)]).stride(HUGE);
    let taps = ConvGeometry::new(&[1, 1, 1], &[1, 1, HUGE], &taps).unwrap();
    let elements = PatchOrder::ElementsByPositions;
    let local_geometry = ConvGeometry::new(
        &[1, 1, 4],
        &[1, 1, 1],
        &ConvOptions::new().padding([(HUGE, 0)]),
    )
    .unwrap();
    let local = LocalPlan::<f32>::new(&local_geometry, &unlimited()).unwrap();
    let local_weight = zeros(&zero, &[HUGE + 4, 1, 1])
        .into_dimensionality()
        .unwrap();
    let cases: Vec<(&str, Result<()>)> = vec![
        ("output", padded.forward(&x4, &weights, &none).map(drop)),
        (
            "copy of the input",
            wide.forward(&x, &weights, &none).map(drop),
        ),
        (
            "input gradient",
            wide.backward_input(&weights, &one).map(drop),
        ),
        (
            "copy of the output gradient",
            padded.backward_input(&weights, &dy).map(drop),
        ),
        (
            "copy of the input, for the weight",
            wide.backward_weight(&x, &one).map(drop),
        ),
        (
            "copy of the output gradient, for the weight",
            padded.backward_weight(&x4, &dy).map(drop),
        ),
        (
            "copy of the output gradient, for the bias",
            padded.backward_bias(&dy).map(drop),
        ),
        (
            "prepared weights",
            many.prepare(&zeros(&zero, &[HUGE, 1, 1])).map(drop),
        ),
        (
            "weight gradient",
            many.backward_weight(&one, &zeros(&zero, &[1, HUGE, 1]))
                .map(drop),
        ),
        (
            "transposed output",
            far.forward(&zeros(&zero, &[1, 1, 2]), &weights, &none)
                .map(drop),
        ),
        (
            "unfold",
            unfold(
                &x4,
                &[1],
                &ConvOptions::new().padding([(HUGE, 0)]),
                elements,
            )
            .map(drop),
        ),
        (
            "copy, for unfold",
            unfold(&x, &[1], &ConvOptions::new().stride(HUGE), elements).map(drop),
        ),
        (
            "fold",
            fold(
                &one.clone().into_dimensionality().unwrap(),
                IxDyn(&[1, 1, HUGE]),
                &[1],
                &ConvOptions::new().stride(HUGE),
                elements,
            )
            .map(drop),
        ),
        (
            "convolution matrix",
            convolution_matrix(&square, &one).map(drop),
        ),
        (
            "its sources",
            convolution_matrix(&taps, &zeros(&zero, &[1, 1, HUGE])).map(drop),
        ),
        (
            "local output",
            local.forward(&x4, &local_weight, None).map(drop),
        ),
        (
            "local weight gradient",
            local.backward_weight(&x4, &dy).map(drop),
        ),
        (
            "local input gradient, copy",
            local.backward_input(&local_weight, &dy).map(drop),
        ),
    ];
    let mut failures = Failures::new();
    for (name, result) in cases {
        let refused = matches!(result, Err(Error::Allocation { bytes }) if bytes >= HUGE);
        failures.check(refused, || format!("{name}: {result:?}"));
    }
    failures.finish(18);
}

/// BLAS counts in 32 bits: what does not fit is refused, not cut off.
#[test]
fn dimensions_beyond_an_engine() {
    let x = ConvGeometry::new(
        &[1, 1, 4],
        &[1, 1, 1],
        &ConvOptions::new().padding([(1 << 32, 0)]),
    )
    .unwrap();
    for engine in EngineKind::available() {
        let limit = engine.engine::<f32>().unwrap().limit();
        let got = (1 << 32) + 4;
        let options = unlimited().engine(engine).recipe(RecipeKind::Unfold);
        let plan = ConvPlan::<f32>::new(&x, &options).map(drop);
        match engine {
            EngineKind::Blas if limit < got => {
                let engine = "blas";
                assert_eq!(plan, Err(Error::EngineDimension { engine, got, limit }));
            }
            _ => assert_eq!(plan, Ok(())),
        }
    }
}

/// The native recipes count in 32 bits: what they cannot reach falls to `unfold`, with the reason. Nothing here is
/// large but the numbers.
#[test]
#[cfg(target_pointer_width = "64")]
fn offsets_beyond_32_bits() {
    let plan = |shape: [usize; 4], outputs: usize, layout: Layout, options: PlanOptions| {
        let input = layout.shape(shape[0], shape[1], &shape[2..]);
        let weight = [outputs, shape[1], 1, 1];
        let in_layout = ConvOptions::new().layout(layout);
        let geometry = ConvGeometry::new(&input, &weight, &in_layout).unwrap();
        ConvPlan::<f32>::new(&geometry, &options).unwrap()
    };
    let (side, weight) = (1 << 16, Pass::BackwardWeight);
    // dY of 2³³ and of 2³⁶ elements.
    for (shape, outputs) in [([1, 1, side, side], 2), ([1, 16, side, side], 16)] {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let plan = plan(shape, outputs, layout, unlimited());
            let explanation = plan.explain(weight);
            assert_eq!(explanation.recipe.kind(), RecipeKind::Unfold);
            let why = "no pointwise: offsets need more than 32 bits";
            assert!(explanation.why.contains(why), "{explanation}");
        }
    }
    // Half of it still fits, and so do many images, of which a block is a few.
    let pointwise = unlimited().recipe(RecipeKind::Pointwise);
    for shape in [[1, 1, side, side / 2], [side, 16, 1 << 8, 1 << 6]] {
        let plan = plan(shape, 1, Layout::ChannelsFirst, pointwise.clone());
        assert_eq!(plan.recipe_of(weight).kind(), RecipeKind::Pointwise);
    }
}

/// Layers whose whole patch matrix crashed others (oneDNN 122, pytorch 9404, executorch 20653, ggml 907) are planned
/// with the scratch that was allowed.
#[test]
fn scratch_stays_within_its_limit() {
    let mut failures = Failures::new();
    let layers: [(&str, &[usize], &[usize], ConvOptions); 5] = [
        (
            "oneDNN 122",
            &[10, 32, 81, 980],
            &[32, 32, 21, 11],
            ConvOptions::new(),
        ),
        (
            "pytorch 9404",
            &[1, 64, 1167, 1167],
            &[64, 64, 5, 5],
            ConvOptions::new().dilation(2),
        ),
        (
            "executorch 20653",
            &[1, 64, 256, 256],
            &[64, 64, 3, 3],
            ConvOptions::new().padding(1),
        ),
        (
            "small maps",
            &[64, 512, 7, 7],
            &[512, 512, 3, 3],
            ConvOptions::new().padding(1),
        ),
        (
            "1-D, long kernel",
            &[4, 8, 100_000],
            &[16, 8, 5000],
            ConvOptions::new(),
        ),
    ];
    for (name, input, weight, options) in layers {
        let geometry = ConvGeometry::new(input, weight, &options).unwrap();
        for limit in [0, 1, 100, 1 << 14, 1 << 20, 1 << 24, usize::MAX] {
            let options = PlanOptions::new()
                .recipe(RecipeKind::Unfold)
                .scratch_limit(limit);
            let plan = ConvPlan::<f32>::new(&geometry, &options).unwrap();
            for pass in Pass::ALL {
                let explanation = plan.explain(pass);
                // One element is the least there can be.
                let kept = explanation.scratch_bytes <= limit.max(4);
                failures.check(kept, || {
                    format!("{name}, {pass}: {} of {limit}", explanation.scratch_bytes)
                });
                let whole = 4
                    * (weight[1] * weight[2..].iter().product::<usize>()) as u128
                    * (geometry.batch() * geometry.positions()) as u128;
                failures.check(explanation.patch_matrix_bytes == whole, || {
                    format!("{name}: {explanation}")
                });
                let lengths = (plan.min_scratch_len(pass), plan.scratch_len(pass));
                failures.check(
                    lengths.0 * 4 == explanation.scratch_bytes && lengths.0 <= lengths.1,
                    || format!("{name}, {pass}: {lengths:?}"),
                );
            }
        }
    }
    failures.finish(5 * 7 * 3 * 3);
}

/// What a plan says about itself is true and legible.
#[test]
fn explanations_carry_the_numbers() {
    let geometry = ConvGeometry::new(
        &[2, 6, 10, 10],
        &[8, 3, 3, 3],
        &ConvOptions::new().groups(2),
    )
    .unwrap();
    for recipe in RecipeKind::ALL
        .into_iter()
        .filter(|&recipe| takes::<f32>(recipe, &geometry))
    {
        let plan = ConvPlan::<f32>::new(&geometry, &PlanOptions::new().recipe(recipe)).unwrap();
        for (pass, product) in Pass::ALL
            .into_iter()
            .zip([(4, 128, 27), (27, 128, 4), (4, 27, 128)])
        {
            let explanation = plan.explain(pass);
            let text = explanation.to_string();
            assert_eq!(explanation.product, product, "{text}");
            assert_eq!(explanation.operations, 2 * 2 * 8 * 64 * 27);
            assert_eq!(explanation.bytes_moved, 4 * (1200 + 216 + 1024));
            // The gradient of the weights is left to another.
            let left = recipe == RecipeKind::Fft && pass == Pass::BackwardWeight;
            let uses_engine = left || recipe.uses_engine();
            assert_eq!(explanation.engine.is_some(), uses_engine);
            let (m, n, k) = product;
            let why = if left { "no fft" } else { "asked for" };
            for part in [
                pass.to_string(),
                recipe.to_string(),
                format!("m {m} n {n} k {k}"),
                why.to_owned(),
            ] {
                assert!(text.contains(&part), "`{part}` is missing in:\n{text}");
            }
        }
    }
    let free = ConvPlan::<f32>::new(&geometry, &PlanOptions::new()).unwrap();
    assert!(
        !free
            .explain(Pass::Forward)
            .to_string()
            .contains("asked for")
    );
}
