//! The one checker: every recipe × engine × pass × layout × element type, over random geometries, with
//! buffers poisoned by NaN, on one and on two threads, against the reference loops.
//!
//! Operands are small integers, so every sum is exact and every comparison is for equality.

use std::collections::HashMap;

use crate::support::{fourier, takes, winograd};
use gemmconv::kernel::Isa;
use gemmconv::{
    Axis, ConvGeometry, ConvOptions, ConvPlan, Element, EngineKind, Epilogue, Error, Explanation,
    Layout, Padding, PaddingMode, Pass, PlanOptions, Recipe, RecipeKind, reference,
};
use ndarray::{ArrayView, IxDyn};
use rayon::ThreadPool;

/// Scratch with which no recipe may complain of too little.
const ENOUGH: usize = 64 << 10;

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
            scratch_limit: [16, 300, 4096, ENOUGH, 1 << 20][random.usize(0..5)],
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

/// What ran because it was asked for: (recipe of a pass, instruction set) → passes. The instruction set of an engine is not ours.
#[derive(Default)]
struct Tally(HashMap<(Pass, RecipeKind, &'static str), usize>);

impl Tally {
    fn add(&mut self, explanation: &Explanation) {
        let recipe = &explanation.recipe;
        let isa = recipe.isa().map_or("any", |isa| isa.name());
        *self
            .0
            .entry((explanation.pass, recipe.kind(), isa))
            .or_default() += 1;
    }

    /// Every native recipe ran `at_least` so often in every pass on every instruction set.
    fn assert_all_ran(&self, at_least: &[(RecipeKind, usize)]) {
        for (&(kind, least), isa) in at_least
            .iter()
            .flat_map(|pair| Isa::available().into_iter().map(move |isa| (pair, isa)))
        {
            for pass in Pass::ALL {
                let ran = self.0.get(&(pass, kind, isa.name())).copied().unwrap_or(0);
                assert!(
                    ran >= least,
                    "{kind} {pass} on {isa}: {ran} runs, {:?}",
                    self.0
                );
            }
        }
    }
}

/// Every recipe with the engines that it knows, and the plan's own choice.
fn candidates(case: &Case) -> Vec<(Option<RecipeKind>, EngineKind)> {
    let mut candidates = Vec::new();
    for recipe in RecipeKind::ALL {
        // The naive recipe is the judge itself behind a plan: a part of the cases shows that the plan is right.
        if recipe == RecipeKind::Naive && !case.seed.is_multiple_of(16) {
            continue;
        }
        let mut engines = EngineKind::available();
        if !recipe.uses_engine() {
            // One of them runs the passes that a native recipe leaves to `unfold`.
            engines = vec![engines[case.seed as usize / 7 % engines.len()]];
        }
        candidates.extend(engines.into_iter().map(|engine| (Some(recipe), engine)));
    }
    candidates.push((None, EngineKind::default()));
    candidates
}

/// What a plan may not refuse, and the reason it must give where a pass falls to `unfold`.
fn check_choice<T: Element>(
    case: &Case,
    plan: &ConvPlan<T>,
    recipe: Option<RecipeKind>,
    tally: &mut Tally,
) {
    for pass in Pass::ALL {
        let explanation = plan.explain(pass);
        if recipe.is_some() {
            tally.add(&explanation);
        }
        let kind = explanation.recipe.kind();
        let name = format!("{explanation} {case:?}");
        assert!(
            explanation.scratch_bytes <= case.scratch_limit.max(size_of::<T>()),
            "{name}"
        );
        let asked = recipe.is_some_and(|recipe| recipe == kind);
        assert_eq!(explanation.why.starts_with("asked for"), asked, "{name}");
        let fell = kind == RecipeKind::Unfold && recipe != Some(kind);
        let refused = recipe.is_some() && !asked;
        assert_eq!(explanation.refused.is_some(), refused, "{name}");
        if recipe.is_none() {
            assert!(explanation.why.starts_with("estimated"), "{name}");
        }
        let lacks = |kind: &RecipeKind| explanation.why.contains(&format!("no {kind}: "));
        let lacks = RecipeKind::ALL.iter().any(lacks);
        if !fell {
            assert!(recipe.is_none() || asked, "{name}");
        } else if recipe.is_none() && !lacks {
            // The choice between recipes that can all run.
        } else if recipe == Some(RecipeKind::Fft) && pass == Pass::BackwardWeight {
            assert!(
                explanation.why.contains("it makes no gradients of weights"),
                "{name}"
            );
        } else if recipe.is_some_and(|recipe| !recipe.is_exact())
            && pass == Pass::BackwardInput
            && (recipe == Some(RecipeKind::Fft) && explanation.why.contains("the stride is not 1")
                || explanation.why.contains("the stride is 2 and the padding"))
        {
            // Fourier transforms know no stride; tiles of Winograd's algorithm begin with a middle tap.
            let odd = |axis: &Axis| axis.pad().0 % 2 == 1;
            assert!(
                recipe == Some(RecipeKind::Fft) || !plan.geometry().axes().iter().all(odd),
                "{name}"
            );
        } else if size_of::<T>() == size_of::<f32>() && case.scratch_limit >= ENOUGH {
            // Padding that is a copy of pixels: a pixel's gradient comes from several places of the window.
            let copies = !matches!(
                case.options.padding_mode,
                PaddingMode::Zeros | PaddingMode::Constant(_)
            );
            assert!(copies && pass == Pass::BackwardInput, "{name}");
            assert!(
                explanation
                    .why
                    .contains("the padding is read from the image"),
                "{name}"
            );
        } else if recipe.is_none() && size_of::<T>() == size_of::<f64>() {
            assert!(
                explanation.why.contains("the elements are not f32"),
                "{name}"
            );
        }
    }
}

/// Every number is what is expected, or as near to it as its bound says.
#[track_caller]
fn check<T: Element>(
    got: &[T],
    expected: &[T],
    bounds: Option<&Vec<f64>>,
    name: impl Fn() -> String,
) {
    let Some(bounds) = bounds else {
        return assert_eq!(got, expected, "{}", name());
    };
    assert!(got.len() == expected.len() && got.len() == bounds.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got.to_f64() - expected.to_f64()).abs();
        assert!(
            error <= bounds[i],
            "{}: element {i} is {got:?}, expected {expected:?} within {}",
            name(),
            bounds[i]
        );
    }
}

fn run<T: Element>(case: &Case, geometry: &ConvGeometry, pools: &[ThreadPool], tally: &mut Tally) {
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
    let sets = Isa::available();
    // The case that comes next has the next instruction set.
    let isa = sets[(case.seed % sets.len() as u64) as usize];
    for (recipe, engine) in candidates(case) {
        let options = PlanOptions {
            recipe,
            ..PlanOptions::new()
                .engine(engine)
                .isa(isa)
                .scratch_limit(case.scratch_limit)
                .serial_below(0)
        };
        let plan = match ConvPlan::<T>::new(geometry, &options) {
            Ok(plan) => plan,
            Err(Error::Unsupported { what, .. })
                if recipe.is_some_and(|recipe| recipe.name() == what) =>
            {
                let able = recipe.is_some_and(|recipe| takes::<T>(recipe, geometry));
                assert!(
                    !able || case.scratch_limit < ENOUGH,
                    "{what} was refused: {case:?}"
                );
                continue;
            }
            Err(error) => panic!("{error}: {case:?}"),
        };
        check_choice(case, &plan, recipe, tally);
        // All others are exact on integers.
        let rounding = Pass::ALL.map(|pass| {
            let single = |values: &[T]| -> Vec<f32> {
                values.iter().map(|value| value.to_f64() as f32).collect()
            };
            match (plan.recipe_of(pass), pass) {
                (Recipe::Fft(tiles), Pass::Forward) => {
                    Some(fourier::bounds(geometry, pass, tiles, &x, &w))
                }
                (Recipe::Fft(tiles), _) => Some(fourier::bounds(geometry, pass, tiles, &dy, &w)),
                (recipe, _) if recipe.kind() != RecipeKind::WinogradF4 => None,
                (_, Pass::Forward) => Some(winograd::bounds(
                    geometry,
                    pass,
                    4,
                    &single(&x),
                    &single(&w),
                )),
                (_, Pass::BackwardInput) => Some(winograd::bounds(
                    geometry,
                    pass,
                    4,
                    &single(&dy),
                    &single(&w),
                )),
                (_, Pass::BackwardWeight) => Some(winograd::weight_bounds(
                    geometry,
                    4,
                    &single(&x),
                    &single(&dy),
                )),
            }
        });
        let weight = ArrayView::from_shape(IxDyn(&case.weight), &w).unwrap();
        let weights = plan.prepare(&weight).unwrap();
        // The loops know no threads, and what the plan chooses has just run on all of them.
        let other = case.seed as usize / 2 % pools.len();
        let pools = match recipe {
            Some(RecipeKind::Naive) => &pools[..1],
            Some(_) => pools,
            None => &pools[other..=other],
        };
        for pool in pools {
            let name = || {
                let threads = pool.current_num_threads();
                format!("{recipe:?} {engine} {isa} {threads} threads {case:?}")
            };
            let poisoned = |length: usize| vec![T::NAN; length];
            pool.install(|| {
                let scratch = |pass| poisoned(plan.scratch_len(pass));
                let mut y = poisoned(expected.y.len());
                let epilogue = Epilogue::none().bias(&bias);
                let mut work = scratch(Pass::Forward);
                plan.forward_with_scratch(&x, &weights, &epilogue, &mut y, &mut work)
                    .unwrap();
                check(&y, &expected.y, rounding[0].as_ref(), || {
                    format!("forward: {}", name())
                });
                let mut dx = poisoned(expected.dx.len());
                let mut work = scratch(Pass::BackwardInput);
                plan.backward_input_with_scratch(&dy, &weights, &mut dx, &mut work)
                    .unwrap();
                check(&dx, &expected.dx, rounding[1].as_ref(), || {
                    format!("backward input: {}", name())
                });
                let (mut dw, mut db) = (poisoned(expected.dw.len()), poisoned(expected.db.len()));
                let mut work = scratch(Pass::BackwardWeight);
                plan.backward_weight_with_scratch(&x, &dy, &mut dw, Some(&mut db), &mut work)
                    .unwrap();
                check(&dw, &expected.dw, rounding[2].as_ref(), || {
                    format!("backward weight: {}", name())
                });
                assert_eq!(db, expected.db, "backward bias: {}", name());
            });
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
    let mut tally = Tally::default();
    while checked < 20_000 {
        let case = Case::random(&mut random);
        match ConvGeometry::new(&case.input, &case.weight, &case.options) {
            Ok(geometry) => {
                run::<f32>(&case, &geometry, &pools, &mut tally);
                run::<f64>(&case, &geometry, &pools, &mut tally);
                checked += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(
        refused < 2 * checked,
        "{refused} requests refused: the generator has gone astray"
    );
    tally.assert_all_ran(&[
        (RecipeKind::Direct, 1900),
        (RecipeKind::Pointwise, 270),
        (RecipeKind::Grouped, 720),
    ]);
}

/// Random 3 × 3 layers of stride 1 or 2: tiles cut by every edge, channels around every vector, all contents of the padding,
/// phases of dilated kernels with several tiles, one, and none.
#[test]
fn tiles_of_winograd() {
    let pools = pools();
    let mut random = fastrand::Rng::with_seed(9);
    let mut tally = Tally::default();
    let mut checked = 0;
    while checked < 1500 {
        let groups = [1, 1, 2, 3][random.usize(0..4)];
        let layout = [Layout::ChannelsFirst, Layout::ChannelsLast][random.usize(0..2)];
        let spatial = [random.usize(1..=14), random.usize(1..=22)];
        let mut channels = || groups * [1, 2, 3, 5, 15, 16, 17, 33][random.usize(0..8)];
        let (inputs, outputs) = (channels(), channels());
        let dilated = random.bool();
        let dilation = [0, 1].map(|_| if dilated { random.usize(1..=5) } else { 1 });
        let mut pad = || (random.usize(0..=4), random.usize(0..=4));
        let pads = [pad(), pad()].map(|(before, after)| {
            let wider = if dilated { random.usize(0..=3) } else { 0 };
            (before + wider, after + wider)
        });
        let strided = !dilated && random.u8(0..3) == 0;
        let options = ConvOptions::new()
            .padding(pads)
            .stride(if strided { 2 } else { 1 })
            .dilation(dilation)
            .padding_mode(MODES[random.usize(0..MODES.len())])
            .groups(groups)
            .layout(layout)
            .flip_kernel(random.u8(0..4) == 0);
        let case = Case {
            input: layout.shape(random.usize(0..5), inputs, &spatial),
            weight: vec![outputs, inputs / groups, 3, 3],
            options,
            // The windows of dilated kernels are large: the lowest limit is too low for some.
            scratch_limit: if dilated {
                [ENOUGH - 1, 1 << 19, 4 << 20][random.usize(0..3)]
            } else {
                [ENOUGH, 1 << 17, 4 << 20][random.usize(0..3)]
            },
            seed: random.u64(..),
        };
        if let Ok(geometry) = ConvGeometry::new(&case.input, &case.weight, &case.options) {
            run::<f32>(&case, &geometry, &pools, &mut tally);
            checked += 1;
        }
    }
    tally.assert_all_ran(&[(RecipeKind::WinogradF2, 150), (RecipeKind::WinogradF4, 150)]);
}

/// Random kernels that are cut into pieces, and kernels of one row or column, in images and on lines.
#[test]
fn pieces_of_winograd() {
    const KERNELS: [&[usize]; 16] = [
        &[1, 3],
        &[3, 1],
        &[1, 7],
        &[7, 1],
        &[1, 5],
        &[4, 1],
        &[1, 10],
        &[35, 1],
        &[5, 5],
        &[4, 3],
        &[3, 7],
        &[7, 7],
        &[3],
        &[5],
        &[7],
        &[16],
    ];
    let pools = pools();
    let mut random = fastrand::Rng::with_seed(11);
    let mut tally = Tally::default();
    let mut checked = 0;
    while checked < 700 {
        let kernel = KERNELS[random.usize(0..KERNELS.len())];
        let groups = [1, 1, 1, 2][random.usize(0..4)];
        let layout = [Layout::ChannelsFirst, Layout::ChannelsLast][random.usize(0..2)];
        let mut channels = || groups * [1, 2, 3, 5, 15, 17, 33][random.usize(0..7)];
        let (inputs, outputs) = (channels(), channels());
        let dilated = random.u8(0..4) == 0;
        let (mut spatial, mut dilation, mut pads) = (Vec::new(), Vec::new(), Vec::new());
        for &taps in kernel {
            spatial.push(random.usize(1..=14));
            dilation.push(if dilated { random.usize(1..=3) } else { 1 });
            let mut pad = || random.usize(0..=taps / 2 + 1);
            pads.push((pad(), pad()));
        }
        let options = ConvOptions::new()
            .padding(&pads[..])
            .dilation(&dilation[..])
            .padding_mode(MODES[random.usize(0..MODES.len())])
            .groups(groups)
            .layout(layout)
            .flip_kernel(random.u8(0..4) == 0);
        let case = Case {
            input: layout.shape(random.usize(0..4), inputs, &spatial),
            weight: [&[outputs, inputs / groups], kernel].concat(),
            options,
            scratch_limit: 4 << 20,
            seed: random.u64(..),
        };
        if let Ok(geometry) = ConvGeometry::new(&case.input, &case.weight, &case.options) {
            run::<f32>(&case, &geometry, &pools, &mut tally);
            checked += 1;
        }
    }
    tally.assert_all_ran(&[(RecipeKind::WinogradF2, 70), (RecipeKind::WinogradF4, 70)]);
}

/// Random layers of stride 1 with large kernels: several tiles and one, channels around every vector and panel, all
/// contents of the padding, one to three axes, f32 and f64.
#[cfg(feature = "fft")]
#[test]
fn tiles_of_fourier_transforms() {
    let pools = pools();
    let mut random = fastrand::Rng::with_seed(12);
    let mut tally = Tally::default();
    let mut checked = 0;
    while checked < 400 {
        let rank = random.usize(1..=3);
        let groups = [1, 1, 2, 5][random.usize(0..4)];
        let layout = [Layout::ChannelsFirst, Layout::ChannelsLast][random.usize(0..2)];
        let (most, taps) = ([150, 24, 9][rank - 1], [40, 9, 4][rank - 1]);
        let mut draw = |low: usize, high: usize| {
            (0..rank)
                .map(|_| random.usize(low..=high))
                .collect::<Vec<_>>()
        };
        let (spatial, kernel, dilation) = (draw(1, most), draw(1, taps), draw(1, 2));
        let pads: Vec<_> = draw(0, 6).into_iter().zip(draw(0, 6)).collect();
        let depthwise = random.u8(0..4) == 0;
        let mut channels = || match depthwise {
            true => groups,
            false => groups * [1, 2, 3, 8, 17, 33][random.usize(0..6)],
        };
        let (inputs, outputs) = (channels(), channels());
        let options = ConvOptions::new()
            .padding(pads.as_slice())
            .dilation(dilation.as_slice())
            .padding_mode(MODES[random.usize(0..MODES.len())])
            .groups(groups)
            .layout(layout)
            .flip_kernel(random.u8(0..4) == 0);
        let case = Case {
            input: layout.shape(random.usize(0..4), inputs, &spatial),
            weight: [&[outputs, inputs / groups], kernel.as_slice()].concat(),
            options,
            scratch_limit: [1 << 18, 1 << 20, 16 << 20][random.usize(0..3)],
            seed: random.u64(..),
        };
        if let Ok(geometry) = ConvGeometry::new(&case.input, &case.weight, &case.options) {
            if geometry.operations() > 20_000_000 {
                continue;
            }
            run::<f32>(&case, &geometry, &pools, &mut tally);
            run::<f64>(&case, &geometry, &pools, &mut tally);
            checked += 1;
        }
    }
    for pass in [Pass::Forward, Pass::BackwardInput] {
        for isa in Isa::available() {
            let key = (pass, RecipeKind::Fft, isa.name());
            let ran = tally.0.get(&key).copied().unwrap_or(0);
            assert!(ran >= 60, "{pass} on {isa}: {ran} runs");
        }
    }
}

/// Sizes around the blocks of the tiles and of the engines, in two dimensions.
#[test]
fn sizes_around_every_threshold() {
    let pools = pools();
    let mut tally = Tally::default();
    let mut seed = 0;
    let options = |layout| ConvOptions::new().padding(1).layout(layout);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for channels in [1, 15, 16, 17, 29] {
            for side in [1, 2, 13, 14, 15, 22, 23] {
                for (batch, outputs) in [(1, 7), (2, 16), (3, 33)] {
                    seed += 1;
                    let case = Case {
                        input: layout.shape(batch, channels, &[side, side]),
                        weight: vec![outputs, channels, 3, 3],
                        options: options(layout),
                        scratch_limit: 1 << 20,
                        seed,
                    };
                    let geometry =
                        ConvGeometry::new(&case.input, &case.weight, &case.options).unwrap();
                    run::<f32>(&case, &geometry, &pools, &mut tally);
                }
            }
        }
    }
    tally.assert_all_ran(&[(RecipeKind::Direct, 60)]);
}

/// Layers of groups of one, four or eight, whose kernels slide along lines: kernels, strides, pads, channels beyond the
/// last whole vector, and widths around the tiles of seven and eight.
#[test]
fn depthwise_lines() {
    let pools = pools();
    let mut tally = Tally::default();
    let mut random = fastrand::Rng::with_seed(7);
    let kernels = [(3, 3), (5, 5), (7, 7), (1, 3), (4, 5), (9, 7), (3, 2)].map(|taps| (1, taps));
    let small = [4, 8]
        .into_iter()
        .flat_map(|group| [(3, 3), (1, 3), (4, 2), (2, 1), (5, 5)].map(|taps| (group, taps)));
    for (group, (rows, columns)) in kernels.into_iter().chain(small) {
        for (stride, width) in [1, 2].into_iter().flat_map(|stride| {
            [1, 2, 5, 7, 8, 9, 14, 15, 16, 17, 22, 29].map(move |width| (stride, width))
        }) {
            // Pixels 2 KiB apart crowd the cache and are copied.
            let crowded = group == 1 && rows * columns <= 25 && random.u8(0..3) == 0;
            let channels = if crowded {
                512
            } else {
                // Whole vectors, and channels beyond the last one.
                let counts: [usize; 6] = match group {
                    1 => [16, 48, 24, 17, 37, 72],
                    4 => [16, 48, 24, 20, 36, 52],
                    _ => [16, 48, 24, 40, 56, 104],
                };
                random.choice(counts).unwrap_or(16)
            };
            let height = random.usize(1..=19);
            let mut pad = |taps: usize| (random.usize(0..=taps), random.usize(0..=taps));
            let pads = [pad(rows), pad(columns)];
            let options = ConvOptions::new()
                .stride([stride, stride])
                .padding(pads)
                .groups(channels / group)
                .layout(Layout::ChannelsLast)
                .flip_kernel(random.bool());
            let case = Case {
                input: vec![random.usize(1..=2), height, width, channels],
                weight: vec![channels, group, rows, columns],
                options,
                scratch_limit: 1 << 20,
                seed: random.u64(..),
            };
            // Kernels larger than the padded image are refused.
            if let Ok(geometry) = ConvGeometry::new(&case.input, &case.weight, &case.options) {
                run::<f32>(&case, &geometry, &pools, &mut tally);
            }
        }
    }
    // Strides of rows beside those of columns, even beyond any image: what no tap reads is not copied. The first three do
    // not stay in the caches and ask memory for what comes next. The last ones have about as many weights as a vector may
    // have that begins among the lanes of another.
    for (image, channels, group, taps, strides) in [
        ([5, 29, 29], 512, 1, [3, 3], [1, 1]),
        ([5, 29, 29], 512, 1, [5, 5], [2, 2]),
        ([9, 59, 41], 56, 8, [3, 3], [1, 1]),
        ([1, 11, 9], 512, 1, [3, 3], [2, 1]),
        ([1, 11, 9], 512, 1, [3, 3], [1, 2]),
        ([1, 11, 9], 512, 1, [5, 5], [4, 1]),
        ([1, 11, 9], 512, 1, [3, 3], [5, 1]),
        ([1, 11, 9], 512, 1, [3, 3], [1 << 61, 1]),
        ([1, 19, 9], 17, 1, [18, 7], [1, 1]),
        ([1, 19, 9], 17, 1, [19, 7], [1, 1]),
        ([1, 19, 9], 24, 8, [5, 3], [1, 1]),
        ([1, 19, 9], 24, 8, [6, 3], [1, 1]),
    ] {
        let options = ConvOptions::new()
            .stride(strides)
            .padding([(1, 1), (1, 1)])
            .groups(channels / group)
            .layout(Layout::ChannelsLast);
        let case = Case {
            input: [&image[..], &[channels]].concat(),
            weight: vec![channels, group, taps[0], taps[1]],
            options,
            // Patches of a pass whose stride is too large are unfolded.
            scratch_limit: ENOUGH - 1,
            seed: random.u64(..),
        };
        let geometry = ConvGeometry::new(&case.input, &case.weight, &case.options).unwrap();
        run::<f32>(&case, &geometry, &pools, &mut tally);
    }
    tally.assert_all_ran(&[(RecipeKind::Grouped, 80)]);
}

/// Channels cut for threads, at every number of vectors; depth that is not there but strides or pads; windows as
/// large as the image, whose sums need more room than their blocks.
#[test]
fn cuts_for_threads_and_corners_of_depthwise() {
    let pools = [3, 4].map(|threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    });
    let mut tally = Tally::default();
    let mut check = |input: Vec<usize>, weight: Vec<usize>, options: ConvOptions| {
        // The seed chooses the instruction set.
        for seed in 0..3 {
            let case = Case {
                input: input.clone(),
                weight: weight.clone(),
                options: options.clone(),
                scratch_limit: 1 << 20,
                seed,
            };
            let geometry = ConvGeometry::new(&case.input, &case.weight, &case.options).unwrap();
            run::<f32>(&case, &geometry, &pools, &mut tally);
        }
    };
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let options = ConvOptions::new().padding(1).layout(layout);
        for vectors in 1..=16 {
            let channels = 16 * vectors;
            let shape = |channels| layout.shape(1, channels, &[5, 5]);
            check(shape(4), vec![channels, 4, 3, 3], options.clone());
            check(shape(channels), vec![4, channels, 3, 3], options.clone());
            check(
                shape(3),
                vec![channels - 3, 3, 1, 1],
                ConvOptions::new().layout(layout),
            );
        }
    }
    let last = ConvOptions::new().layout(Layout::ChannelsLast).groups(16);
    for (side, kernel) in [(7, 7), (4, 3), (5, 5), (3, 3)] {
        check(
            vec![1, side, side, 16],
            vec![16, 1, kernel, kernel],
            last.clone(),
        );
    }
    for (pads, stride) in [
        ((1, 0), 3),
        ((0, 1), 1),
        ((0, 1), 3),
        ((0, 0), 2),
        ((1, 1), 2),
    ] {
        let options = last
            .clone()
            .stride([stride, 1, 1])
            .padding([pads, (1, 1), (1, 1)]);
        check(vec![2, 1, 6, 6, 16], vec![16, 1, 1, 3, 3], options);
    }
}
