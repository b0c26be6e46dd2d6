//! Running a plan fails only on buffers of the wrong shape or length, and says which: each CVE of a gradient with
//! mismatched shapes (CVE-2021-29520, -29540, -29579, CVE-2022-35969, -35999, -29196) is one of these.

use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, Element, Epilogue, Error, Layout, Pass, PlanOptions,
    RecipeKind, Result, TransposedGeometry, TransposedOptions, TransposedPlan,
};
use ndarray::ArrayD;

use crate::support::{Failures, takes};

/// Lengths that differ from `right` by everything from nothing to much.
fn wrong(right: usize) -> [usize; 5] {
    [0, 1, right - 1, right + 1, 2 * right]
}

fn length(what: &'static str, expected: usize, got: usize) -> Error {
    Error::BufferLength {
        what,
        expected,
        got,
    }
}

fn expect(failures: &mut Failures, name: &str, got: Result<()>, expected: Error) {
    failures.check(got.as_ref() == Err(&expected), || {
        format!("{name}: {got:?}, expected {expected:?}")
    });
}

/// The recipes that `geometry` can be forced to.
fn taken<T: Element>(geometry: &ConvGeometry) -> Vec<RecipeKind> {
    let recipes = RecipeKind::ALL.into_iter();
    recipes
        .filter(|&recipe| takes::<T>(recipe, geometry))
        .collect()
}

/// `[2, 4, 6, 5]` with `[6, 2, 3, 3]` in two groups.
fn geometry() -> ConvGeometry {
    ConvGeometry::new(
        &[2, 4, 6, 5],
        &[6, 2, 3, 3],
        &ConvOptions::new().groups(2).padding(1),
    )
    .unwrap()
}

#[test]
fn slices_of_the_wrong_length() {
    let mut failures = Failures::new();
    let geometry = geometry();
    let (x, w, y, o) = (2 * 4 * 30, 6 * 18, 2 * 6 * 30, 6);
    assert_eq!(
        [
            geometry.input_len(),
            geometry.weight_len(),
            geometry.output_len()
        ],
        [x, w, y]
    );
    let of = |length: usize| vec![0.0f32; length];
    let recipes = taken::<f32>(&geometry);
    for recipe in recipes {
        let plan = ConvPlan::<f32>::new(&geometry, &PlanOptions::new().recipe(recipe)).unwrap();
        let weights = plan
            .prepare(&ArrayD::zeros(geometry.weight_shape()))
            .unwrap();
        let scratch = Pass::ALL.map(|pass| plan.scratch_len(pass));
        let forward = |x, bias: Option<usize>, residual: Option<usize>, y, scratch| {
            let (bias, residual) = (bias.map(of), residual.map(of));
            let epilogue = Epilogue {
                bias: bias.as_deref(),
                residual: residual.as_deref(),
                ..Epilogue::none()
            };
            plan.forward_with_scratch(&of(x), &weights, &epilogue, &mut of(y), &mut of(scratch))
        };
        let input = |dy, dx, scratch| {
            plan.backward_input_with_scratch(&of(dy), &weights, &mut of(dx), &mut of(scratch))
        };
        let weight = |x, dy, dw, db: Option<usize>, scratch| {
            let mut db = db.map(of);
            plan.backward_weight_with_scratch(
                &of(x),
                &of(dy),
                &mut of(dw),
                db.as_deref_mut(),
                &mut of(scratch),
            )
        };
        let mut check = |name: &str, got, what, right, wrong| {
            expect(
                &mut failures,
                &format!("{recipe}: {name}"),
                got,
                length(what, right, wrong),
            );
        };
        for n in wrong(x) {
            check(
                "forward x",
                forward(n, None, None, y, scratch[0]),
                "input",
                x,
                n,
            );
            check("input dx", input(y, n, scratch[1]), "input gradient", x, n);
            check("weight x", weight(n, y, w, None, scratch[2]), "input", x, n);
        }
        for n in wrong(y) {
            check(
                "forward y",
                forward(x, None, None, n, scratch[0]),
                "output",
                y,
                n,
            );
            check(
                "forward residual",
                forward(x, Some(o), Some(n), y, scratch[0]),
                "residual",
                y,
                n,
            );
            check("input dy", input(n, x, scratch[1]), "output gradient", y, n);
            check(
                "weight dy",
                weight(x, n, w, Some(o), scratch[2]),
                "output gradient",
                y,
                n,
            );
            check(
                "bias dy",
                plan.backward_bias_into(&of(n), &mut of(o)),
                "output gradient",
                y,
                n,
            );
        }
        for n in wrong(w) {
            check(
                "weight dw",
                weight(x, y, n, Some(o), scratch[2]),
                "weight gradient",
                w,
                n,
            );
        }
        for n in wrong(o) {
            check(
                "forward bias",
                forward(x, Some(n), None, y, scratch[0]),
                "bias",
                o,
                n,
            );
            check(
                "weight db",
                weight(x, y, w, Some(n), scratch[2]),
                "bias gradient",
                o,
                n,
            );
            check(
                "bias db",
                plan.backward_bias_into(&of(y), &mut of(n)),
                "bias gradient",
                o,
                n,
            );
        }
        // Less scratch than one thread needs; the loops need none.
        let least = Pass::ALL.map(|pass| plan.min_scratch_len(pass));
        if recipe == RecipeKind::Naive {
            assert_eq!(least, [0; 3]);
            continue;
        }
        for (n, pass) in [0, 1, 2]
            .into_iter()
            .flat_map(|pass| [0, 1, least[pass] - 1].map(|n| (n, pass)))
        {
            let got = match pass {
                0 => forward(x, None, None, y, n),
                1 => input(y, x, n),
                _ => weight(x, y, w, None, n),
            };
            check("scratch", got, "scratch", least[pass], n);
        }
    }
    failures.finish(4 * 5 * 12);
}

/// The arrays' own shapes: another size, another order of axes, another rank, an empty one.
#[test]
fn arrays_of_the_wrong_shape() {
    let mut failures = Failures::new();
    let geometry = geometry();
    let (x, w, y) = (
        geometry.input_shape(),
        geometry.weight_shape(),
        geometry.output_shape(),
    );
    let of = |shape: &[usize]| ArrayD::<f32>::zeros(shape);
    let recipes = taken::<f32>(&geometry);
    for recipe in recipes {
        let plan = ConvPlan::<f32>::new(&geometry, &PlanOptions::new().recipe(recipe)).unwrap();
        let weights = plan.prepare(&of(&w)).unwrap();
        let none = Epilogue::none();
        for wrong in [
            &[2, 4, 5, 6][..],
            &[2, 4, 6, 6],
            &[1, 4, 6, 5],
            &[0, 4, 6, 5],
            &[1, 1, 1, 1],
            &[2, 4, 30],
            &[2, 4, 6, 5, 1],
            &[240],
            &[],
        ] {
            let refusal = |what, right: &Vec<usize>| match right.len() == wrong.len() {
                true => Error::Shape {
                    what,
                    expected: right.clone(),
                    got: wrong.to_vec(),
                },
                false => Error::Rank {
                    what,
                    expected: right.len(),
                    got: wrong.len(),
                },
            };
            let array = of(wrong);
            let cases = [
                (
                    "forward",
                    plan.forward(&array, &weights, &none).map(drop),
                    refusal("input", &x),
                ),
                (
                    "forward_into x",
                    plan.forward_into(&array, &weights, &none, &mut of(&y)),
                    refusal("input", &x),
                ),
                (
                    "forward_into y",
                    plan.forward_into(&of(&x), &weights, &none, &mut of(wrong)),
                    refusal("output", &y),
                ),
                (
                    "input",
                    plan.backward_input(&weights, &array).map(drop),
                    refusal("output gradient", &y),
                ),
                (
                    "input_into",
                    plan.backward_input_into(&weights, &of(&y), &mut of(wrong)),
                    refusal("input gradient", &x),
                ),
                (
                    "weight x",
                    plan.backward_weight(&array, &of(&y)).map(drop),
                    refusal("input", &x),
                ),
                (
                    "weight dy",
                    plan.backward_weight(&of(&x), &array).map(drop),
                    refusal("output gradient", &y),
                ),
                (
                    "weight_into",
                    plan.backward_weight_into(&of(&x), &of(&y), &mut of(wrong)),
                    refusal("weight gradient", &w),
                ),
                (
                    "bias",
                    plan.backward_bias(&array).map(drop),
                    refusal("output gradient", &y),
                ),
                (
                    "prepare",
                    plan.prepare(&array).map(drop),
                    refusal("weight", &w),
                ),
                (
                    "update",
                    plan.update(&mut weights.clone(), &array),
                    refusal("weight", &w),
                ),
            ];
            for (name, got, expected) in cases {
                expect(
                    &mut failures,
                    &format!("{recipe} {name} {wrong:?}"),
                    got,
                    expected,
                );
            }
        }
    }
    failures.finish(4 * 9 * 11);
}

/// Weights that were prepared for another layer, layout or flip.
#[test]
fn weights_of_another_plan() {
    let mut failures = Failures::new();
    let plan_of = |options: ConvOptions, shape: [usize; 4]| {
        let options = options.padding(1);
        let input = options.layout.shape(1, 4, &[5, 5]);
        let geometry = ConvGeometry::new(&input, &shape, &options).unwrap();
        ConvPlan::<f64>::new(&geometry, &PlanOptions::new().recipe(RecipeKind::Unfold)).unwrap()
    };
    let shape = [3, 4, 3, 3];
    let plain = plan_of(ConvOptions::new(), shape);
    let x = ArrayD::zeros(plain.geometry().input_shape());
    let others = [
        ("another kernel", plan_of(ConvOptions::new(), [3, 4, 2, 3])),
        ("more outputs", plan_of(ConvOptions::new(), [4, 4, 3, 3])),
        (
            "channels last",
            plan_of(ConvOptions::new().layout(Layout::ChannelsLast), shape),
        ),
        (
            "flipped",
            plan_of(ConvOptions::new().flip_kernel(true), shape),
        ),
    ];
    for (name, other) in others {
        let got = other.geometry().weight_shape();
        let weights = other.prepare(&ArrayD::zeros(got.as_slice())).unwrap();
        let expected = match got == shape {
            false => Error::Shape {
                what: "prepared weight",
                expected: shape.to_vec(),
                got,
            },
            true => Error::PreparedWeights {
                expected: "channels first",
                got: if name == "flipped" {
                    "channels first, flipped"
                } else {
                    "channels last"
                },
            },
        };
        expect(
            &mut failures,
            name,
            plain.forward(&x, &weights, &Epilogue::none()).map(drop),
            expected.clone(),
        );
        let dy = ArrayD::zeros(plain.geometry().output_shape());
        expect(
            &mut failures,
            name,
            plain.backward_input(&weights, &dy).map(drop),
            expected.clone(),
        );
        let mut updated = weights.clone();
        expect(
            &mut failures,
            name,
            plain.update(&mut updated, &ArrayD::zeros(shape.as_slice())),
            expected,
        );
    }
    // The same weights serve another image size and batch.
    let weights = plain.prepare(&ArrayD::zeros(shape.as_slice())).unwrap();
    let other = ConvGeometry::new(&[7, 4, 9, 3], &shape, &ConvOptions::new()).unwrap();
    let other =
        ConvPlan::<f64>::new(&other, &PlanOptions::new().recipe(RecipeKind::Unfold)).unwrap();
    let served = other.forward(
        &ArrayD::zeros([7, 4, 9, 3].as_slice()),
        &weights,
        &Epilogue::none(),
    );
    failures.check(served.is_ok(), || format!("{served:?}"));
    failures.finish(13);
}

#[test]
fn transposed_slices_and_arrays() {
    let mut failures = Failures::new();
    let options = TransposedOptions::new().stride(2).groups(2);
    let geometry = TransposedGeometry::new(&[2, 4, 3, 3], &[4, 3, 2, 2], &options).unwrap();
    let (x, w, y, o) = (72, 48, 2 * 6 * 36, 6);
    assert_eq!(geometry.output_shape(), [2, 6, 6, 6]);
    let of = |length: usize| vec![0.0f64; length];
    for recipe in taken::<f64>(geometry.twin()) {
        let plan =
            TransposedPlan::<f64>::new(&geometry, &PlanOptions::new().recipe(recipe)).unwrap();
        let weights = plan
            .prepare(&ArrayD::zeros([4, 3, 2, 2].as_slice()))
            .unwrap();
        let scratch = Pass::ALL.map(|pass| plan.scratch_len(pass));
        // (x, dy, dx, y, dw, db, bias, residual)
        let run = |right: [usize; 8]| {
            let [x, dy, dx, y, dw, db, bias, residual] = right.map(of);
            let [mut y, mut dx, mut dw, mut db] = [y, dx, dw, db];
            let epilogue = Epilogue::none().bias(&bias).residual(&residual);
            plan.forward_with_scratch(&x, &weights, &epilogue, &mut y, &mut of(scratch[0]))?;
            plan.backward_input_with_scratch(&dy, &weights, &mut dx, &mut of(scratch[1]))?;
            plan.backward_weight_with_scratch(&x, &dy, &mut dw, Some(&mut db), &mut of(scratch[2]))
        };
        let right = [x, y, x, y, w, o, o, y];
        failures.check(run(right) == Ok(()), || {
            format!("{recipe}: {:?}", run(right))
        });
        for place in 0..right.len() {
            for n in wrong(right[place]) {
                let mut lengths = right;
                lengths[place] = n;
                let got = run(lengths);
                let typed = matches!(got, Err(Error::BufferLength { expected, got, .. }) if expected == right[place] && got == n);
                failures.check(typed, || {
                    format!("{recipe}: buffer {place} of {n}: {got:?}")
                });
            }
        }
        for wrong in [&[2, 6, 6, 5][..], &[2, 4, 6, 6], &[0, 6, 6, 6], &[432]] {
            let dy = ArrayD::zeros(wrong);
            let x = ArrayD::zeros(geometry.input_shape());
            for got in [
                plan.backward_input(&weights, &dy).map(drop),
                plan.backward_weight(&x, &dy).map(drop),
                plan.backward_bias(&dy).map(drop),
            ] {
                let typed = matches!(
                    got,
                    Err(Error::Shape {
                        what: "output gradient",
                        ..
                    } | Error::Rank {
                        what: "output gradient",
                        ..
                    })
                );
                failures.check(typed, || format!("{recipe}: dy {wrong:?}: {got:?}"));
            }
        }
    }
    failures.finish(2 * (8 * 5 + 4 * 3));
}
