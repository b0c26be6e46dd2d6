//! Any numbers whatever: a result or a typed error, never a panic, never an endless loop.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gemmconv::kernel::Isa;
use gemmconv::{
    Axis, ConvGeometry, ConvOptions, ConvPlan, Element, Epilogue, Error, Layout, LocalPlan,
    Padding, PaddingMode, Pass, PatchGeometry, PerAxis, PlanOptions, RecipeKind,
    TransposedGeometry, TransposedOptions, TransposedPlan, receptive_field,
};
use ndarray::ArrayD;

use crate::support::Random;

/// Small numbers, the edges of the integers, and sizes whose products wrap.
const NUMBERS: [usize; 24] = [
    0,
    1,
    1,
    1,
    2,
    2,
    2,
    3,
    3,
    4,
    5,
    7,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) + 1,
    1 << 40,
    1 << 53,
    1 << 61,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    usize::MAX - 1,
    usize::MAX,
];

const MODES: [PaddingMode; 5] = [
    PaddingMode::Zeros,
    PaddingMode::Constant(f64::NAN),
    PaddingMode::Reflect,
    PaddingMode::Replicate,
    PaddingMode::Circular,
];

/// Numbers for a list; most of them small, so that some requests are possible.
fn list(random: &mut Random, length: usize) -> Vec<usize> {
    let wild = random.choose(&[false, false, true]);
    let numbers = if wild { &NUMBERS[..] } else { &NUMBERS[1..12] };
    (0..length).map(|_| random.choose(numbers)).collect()
}

fn per_axis(random: &mut Random, rank: usize) -> PerAxis {
    match random.choose(&[0, 0, 0, 1, 2]) {
        0 => PerAxis::list(&list(random, rank)),
        1 => PerAxis::all(list(random, 1)[0]),
        _ => {
            let length = random.choose(&[0, 1, 2, 3, 4, 9]);
            PerAxis::list(&list(random, length))
        }
    }
}

fn padding(random: &mut Random, rank: usize) -> Padding {
    match random.choose(&[0, 1, 2, 3, 3, 3]) {
        0 => Padding::Valid,
        1 => Padding::SameUpper,
        2 => Padding::SameLower,
        _ => {
            let (before, after) = (list(random, rank), list(random, rank));
            let pads: Vec<_> = before.into_iter().zip(after).collect();
            Padding::Explicit(PerAxis::list(&pads))
        }
    }
}

fn plan_options(random: &mut Random) -> PlanOptions {
    let (forced, limit) = (random.choose(&RecipeKind::ALL), random.choose(&NUMBERS));
    let recipe = random.choose(&[None, None, Some(forced)]);
    let limit = random.choose(&[limit, 1 << 12, 1 << 20]);
    PlanOptions {
        recipe,
        ..PlanOptions::new()
            .isa(random.choose(&Isa::available()))
            .scratch_limit(limit)
            .memory_budget(1 << 16)
            .serial_below(random.choose(&[0, u128::MAX]))
    }
}

/// Plans `geometry` and, where it is small, runs everything on zeros.
fn run<T: Element>(geometry: &ConvGeometry, options: &PlanOptions) -> Result<bool, Error> {
    let plan = ConvPlan::<T>::new(geometry, options)?;
    for pass in Pass::ALL {
        assert!(!plan.explain(pass).to_string().is_empty());
    }
    if geometry.operations() > 1 << 18 {
        return Ok(false);
    }
    let zeros = |shape: Vec<usize>| ArrayD::from_elem(shape, T::ZERO);
    let (x, w, dy) = (
        zeros(geometry.input_shape()),
        zeros(geometry.weight_shape()),
        zeros(geometry.output_shape()),
    );
    let weights = plan.prepare(&w)?;
    plan.forward(&x, &weights, &Epilogue::none())?;
    plan.backward_input(&weights, &dy)?;
    plan.backward_weight(&x, &dy)?;
    plan.backward_bias(&dy)?;
    Ok(true)
}

/// One random request of a convolution: whether something was computed.
fn convolution(random: &mut Random) -> Result<bool, Error> {
    let rank = random.choose(&[0, 1, 1, 1, 2, 2, 3, 4]);
    let groups = random.choose(&[1, 1, 1, 2, 0, usize::MAX]);
    let mut input = list(random, rank + 2);
    let length = random.choose(&[rank + 2, rank + 2, rank + 2, rank + 2, 0, 3]);
    let mut weight = list(random, length);
    let layout = random.choose(&[Layout::ChannelsFirst, Layout::ChannelsLast]);
    if random.choose(&[true, true, false]) && weight.len() > 1 && input.len() > 1 {
        // Channels that fit.
        let channels = if layout == Layout::ChannelsFirst {
            1
        } else {
            input.len() - 1
        };
        input[channels] = weight[1].saturating_mul(groups);
        weight[0] = weight[0].saturating_mul(groups);
    }
    let options = ConvOptions {
        stride: per_axis(random, rank),
        dilation: per_axis(random, rank),
        padding: padding(random, rank),
        padding_mode: random.choose(&MODES),
        groups,
        layout,
        flip_kernel: random.choose(&[false, true]),
    };
    let patch = PatchGeometry::new(&input, weight.get(2..).unwrap_or(&[]), &options);
    let geometry = ConvGeometry::new(&input, &weight, &options)?;
    // The window of a convolution that is possible is possible by itself.
    patch?;
    let few = list(random, rank);
    let fewer = geometry.clone().with_outputs(&few);
    let chosen = plan_options(random);
    let local = LocalPlan::<f32>::new(&geometry, &chosen);
    if local.is_ok() {
        assert!(geometry.flips_kernel() == options.flip_kernel && !options.flip_kernel);
    }
    if let Ok(fewer) = fewer {
        let _ = run::<f32>(&fewer, &chosen)?;
    }
    match random.choose(&[true, false]) {
        true => run::<f32>(&geometry, &chosen),
        false => run::<f64>(&geometry, &chosen),
    }
}

/// One random request of a transposed convolution.
fn transposed(random: &mut Random) -> Result<bool, Error> {
    let rank = random.choose(&[0, 1, 1, 1, 2, 2, 3, 4]);
    let (mut input, mut weight) = (list(random, rank + 2), list(random, rank + 2));
    let layout = random.choose(&[Layout::ChannelsFirst, Layout::ChannelsLast]);
    let groups = random.choose(&[1, 1, 1, 2, 0, usize::MAX]);
    if random.choose(&[true, true, false]) {
        weight[0] = weight[0].saturating_mul(groups);
        let channels = if layout == Layout::ChannelsFirst {
            1
        } else {
            input.len() - 1
        };
        input[channels] = weight[0];
    }
    let options = TransposedOptions {
        stride: per_axis(random, rank),
        dilation: per_axis(random, rank),
        padding: padding(random, rank),
        output_padding: match random.choose(&[true, false]) {
            true => PerAxis::all(0),
            false => per_axis(random, rank),
        },
        output_size: match random.choose(&[true, true, false]) {
            true => None,
            false => Some(per_axis(random, rank)),
        },
        groups,
        layout,
    };
    let geometry = TransposedGeometry::new(&input, &weight, &options)?;
    assert_eq!(geometry.input_shape(), input);
    let plan = TransposedPlan::<f32>::new(&geometry, &plan_options(random))?;
    if geometry.twin().operations() > 1 << 18 {
        return Ok(false);
    }
    let weights = plan.prepare(&ArrayD::zeros(weight))?;
    let y = plan.forward(&ArrayD::zeros(input), &weights, &Epilogue::none())?;
    plan.backward_input(&weights, &y)?;
    Ok(true)
}

/// One random axis, and the receptive field of a few.
fn axes(random: &mut Random) -> Result<bool, Error> {
    let mut layers = Vec::new();
    for number in 0..3 {
        let n = list(random, 6);
        layers.push(Axis::new(number, n[0], n[1], n[2], n[3], (n[4], n[5]))?);
    }
    receptive_field(&layers)?;
    layers[0].with_output(0, random.choose(&NUMBERS))?;
    Ok(true)
}

#[test]
fn any_numbers_give_a_result_or_an_error() {
    type Request = fn(&mut Random) -> Result<bool, Error>;
    let kinds: [(&str, Request); 3] = [
        ("convolution", convolution),
        ("transposed", transposed),
        ("axes", axes),
    ];
    for (name, request) in kinds {
        let (mut computed, mut refused) = (0, 0);
        for seed in 0..30_000 {
            let result = catch_unwind(AssertUnwindSafe(|| request(&mut Random::new(seed))));
            match result.unwrap_or_else(|_| panic!("{name}: seed {seed} panicked")) {
                Ok(done) => computed += usize::from(done),
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
        assert!(
            computed > 500 && refused > 5000,
            "{name}: {computed} computed, {refused} refused"
        );
    }
}
