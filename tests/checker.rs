//! The one checker: every recipe × engine × pass × layout × element type, over random geometries, with
//! buffers poisoned by NaN, on one and on two threads, against the reference loops.
//!
//! Operands are small integers, so every sum is exact and every comparison is for equality.

use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, Element, EngineKind, Epilogue, Layout, Padding,
    PaddingMode, Pass, PlanOptions, RecipeKind, reference,
};
use ndarray::{ArrayView, IxDyn};
use rayon::ThreadPool;

const MODES: [PaddingMode; 5] = [
    PaddingMode::Zeros,
    PaddingMode::Constant(2.0),
    PaddingMode::Reflect,
    PaddingMode::Replicate,
    PaddingMode::Circular,
];

#[derive(Debug, Clone)]
struct Case {
    input: Vec<usize>,
    weight: Vec<usize>,
    options: ConvOptions,
    scratch_limit: usize,
    seed: u64,
}

impl Case {
    /// A request that may be impossible: tiny sizes, so that every edge is near.
    fn random(random: &mut fastrand::Rng) -> Self {
        let rank = random.usize(1..=3);
        let most = [24, 9, 6][rank - 1];
        let mut draw = |low: usize, high: usize| {
            (0..rank)
                .map(|_| random.usize(low..=high))
                .collect::<Vec<_>>()
        };
        let (spatial, kernel) = (draw(1, most), draw(1, 4));
        let (stride, dilation) = (draw(1, 3), draw(1, 2));
        let pads: Vec<(usize, usize)> = draw(0, 3).into_iter().zip(draw(0, 3)).collect();
        let padding = match random.u8(0..6) {
            0 => Padding::SameUpper,
            1 => Padding::SameLower,
            2 => Padding::Valid,
            _ => Padding::from(pads.as_slice()),
        };
        let groups = [1, 1, 1, 2, 3, 4][random.usize(0..6)];
        let (channels, outputs) = (groups * random.usize(1..=3), groups * random.usize(1..=3));
        let layout = if random.bool() {
            Layout::ChannelsFirst
        } else {
            Layout::ChannelsLast
        };
        let options = ConvOptions::new()
            .stride(stride.as_slice())
            .dilation(dilation.as_slice())
            .padding(padding)
            .padding_mode(MODES[random.usize(0..MODES.len())])
            .groups(groups)
            .layout(layout)
            .flip_kernel(random.u8(0..4) == 0);
        Self {
            input: layout.shape(random.usize(0..4), channels, &spatial),
            weight: [&[outputs, channels / groups], kernel.as_slice()].concat(),
            options,
            scratch_limit: [16, 64, 300, 4096, 1 << 20][random.usize(0..5)],
            seed: random.u64(..),
        }
    }
}

fn integers<T: Element>(random: &mut fastrand::Rng, length: usize) -> Vec<T> {
    (0..length)
        .map(|_| T::from_f64(f64::from(random.i32(-4..=4))))
        .collect()
}

/// What every recipe must give, bit for bit.
struct Expected<T> {
    y: Vec<T>,
    dx: Vec<T>,
    dw: Vec<T>,
    db: Vec<T>,
}

fn run<T: Element>(case: &Case, geometry: &ConvGeometry, pools: &[ThreadPool]) {
    let mut random = fastrand::Rng::with_seed(case.seed);
    let x: Vec<T> = integers(&mut random, geometry.input_len());
    let w: Vec<T> = integers(&mut random, geometry.weight_len());
    let bias: Vec<T> = integers(&mut random, geometry.output_channels());
    let dy: Vec<T> = integers(&mut random, geometry.output_len());
    let mut expected = Expected {
        y: vec![T::NAN; geometry.output_len()],
        dx: vec![T::NAN; geometry.input_len()],
        dw: vec![T::NAN; geometry.weight_len()],
        db: vec![T::NAN; geometry.output_channels()],
    };
    reference::forward(geometry, &x, &w, Some(&bias), &mut expected.y);
    reference::backward_input(geometry, &w, &dy, &mut expected.dx);
    reference::backward_weight(geometry, &x, &dy, &mut expected.dw);
    reference::backward_bias(geometry, &dy, &mut expected.db);
    for recipe in RecipeKind::ALL {
        // The naive recipe is the judge itself behind a plan: a part of the cases shows that the plan is right.
        if recipe == RecipeKind::Naive && !case.seed.is_multiple_of(16) {
            continue;
        }
        for engine in EngineKind::available() {
            // The loops know neither engines nor threads.
            let pools = if recipe == RecipeKind::Naive {
                &pools[..1]
            } else {
                pools
            };
            for pool in pools {
                let options = PlanOptions::new()
                    .engine(engine)
                    .recipe(recipe)
                    .scratch_limit(case.scratch_limit)
                    .serial_below(0);
                let plan = ConvPlan::<T>::new(geometry, &options)
                    .unwrap_or_else(|error| panic!("{error}: {case:?}"));
                let weight = ArrayView::from_shape(IxDyn(&case.weight), &w).unwrap();
                let weights = plan.prepare(&weight).unwrap();
                let poisoned = |length: usize| vec![T::NAN; length];
                let name = format!(
                    "{recipe} {engine} {} threads {case:?}",
                    pool.current_num_threads()
                );
                pool.install(|| {
                    let scratch = |pass| {
                        let lanes = plan.scratch_len(pass);
                        assert!(
                            plan.explain(pass).scratch_bytes
                                <= case.scratch_limit.max(size_of::<T>()),
                            "{name}"
                        );
                        poisoned(lanes)
                    };
                    let mut y = poisoned(expected.y.len());
                    let epilogue = Epilogue::none().bias(&bias);
                    plan.forward_with_scratch(
                        &x,
                        &weights,
                        &epilogue,
                        &mut y,
                        &mut scratch(Pass::Forward),
                    )
                    .unwrap();
                    assert_eq!(y, expected.y, "forward: {name}");
                    let mut dx = poisoned(expected.dx.len());
                    plan.backward_input_with_scratch(
                        &dy,
                        &weights,
                        &mut dx,
                        &mut scratch(Pass::BackwardInput),
                    )
                    .unwrap();
                    assert_eq!(dx, expected.dx, "backward input: {name}");
                    let (mut dw, mut db) =
                        (poisoned(expected.dw.len()), poisoned(expected.db.len()));
                    let mut work = scratch(Pass::BackwardWeight);
                    plan.backward_weight_with_scratch(&x, &dy, &mut dw, Some(&mut db), &mut work)
                        .unwrap();
                    assert_eq!(dw, expected.dw, "backward weight: {name}");
                    assert_eq!(db, expected.db, "backward bias: {name}");
                });
            }
        }
    }
}

fn pools() -> [ThreadPool; 2] {
    [1, 2].map(|threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    })
}

/// 20 000 geometries that exist, out of as many requests as that takes.
#[test]
fn every_recipe_agrees_with_the_loops() {
    let pools = pools();
    let mut random = fastrand::Rng::with_seed(2026);
    let (mut checked, mut refused) = (0, 0);
    while checked < 20_000 {
        let case = Case::random(&mut random);
        match ConvGeometry::new(&case.input, &case.weight, &case.options) {
            Ok(geometry) => {
                run::<f32>(&case, &geometry, &pools);
                run::<f64>(&case, &geometry, &pools);
                checked += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(
        refused < 2 * checked,
        "{refused} requests refused: the generator has gone astray"
    );
}

/// Sizes around the blocks of the tiles and of the engines, in two dimensions.
#[test]
fn sizes_around_every_threshold() {
    let pools = pools();
    let options = |layout| ConvOptions::new().padding(1).layout(layout);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for channels in [1, 15, 16, 17, 29] {
            for side in [1, 2, 13, 14, 15, 22, 23] {
                for (batch, outputs) in [(1, 7), (2, 16), (3, 33)] {
                    let case = Case {
                        input: layout.shape(batch, channels, &[side, side]),
                        weight: vec![outputs, channels, 3, 3],
                        options: options(layout),
                        scratch_limit: 1 << 20,
                        seed: (channels * side) as u64,
                    };
                    let geometry =
                        ConvGeometry::new(&case.input, &case.weight, &case.options).unwrap();
                    run::<f32>(&case, &geometry, &pools);
                }
            }
        }
    }
}
