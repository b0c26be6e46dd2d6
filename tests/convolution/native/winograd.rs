//! What Winograd's algorithm promises of numbers: see `Accuracy`.

use gemmconv::kernel::Isa;
use gemmconv::{
    Accuracy, ConvGeometry, ConvOptions, ConvPlan, Epilogue, Error, Layout, Pass, PlanOptions,
    RecipeKind, Wanted, reference,
};
use ndarray::{ArrayD, ArrayView, IxDyn};

use super::layer::{Layer, Shape};
use crate::support::{LAYOUTS, winograd};

const KINDS: [(RecipeKind, usize); 2] = [(RecipeKind::WinogradF2, 2), (RecipeKind::WinogradF4, 4)];

fn array(shape: Vec<usize>, data: &[f32]) -> ArrayD<f32> {
    ArrayView::from_shape(IxDyn(&shape), data)
        .unwrap()
        .to_owned()
}

/// y and dx of a layer by a recipe.
fn results(layer: &Layer, kind: RecipeKind, isa: Isa) -> [Vec<f32>; 2] {
    let geometry = &layer.geometry;
    let options = PlanOptions::new().recipe(kind).isa(isa);
    let plan = ConvPlan::new(geometry, &options).unwrap();
    for pass in [Pass::Forward, Pass::BackwardInput] {
        assert_eq!(plan.recipe_of(pass).kind(), kind);
    }
    let weights = plan.prepare(&layer.weight()).unwrap();
    let (x, dy) = (
        array(geometry.input_shape(), &layer.x),
        array(geometry.output_shape(), &layer.dy),
    );
    let y = plan.forward(&x, &weights, &Epilogue::none()).unwrap();
    let gradients = plan.backward(&x, &weights, &dy, Wanted::ALL).unwrap();
    [y, gradients.d_input.unwrap()].map(|results| results.into_raw_vec_and_offset().0)
}

/// The same by the loops in f64.
pub fn exact(layer: &Layer) -> [Vec<f64>; 2] {
    let wide = |data: &[f32]| -> Vec<f64> { data.iter().copied().map(f64::from).collect() };
    let (x, w, dy) = (wide(&layer.x), wide(&layer.w), wide(&layer.dy));
    let mut results = [vec![f64::NAN; dy.len()], vec![f64::NAN; x.len()]];
    reference::forward(&layer.geometry, &x, &w, None, &mut results[0]);
    reference::backward_input(&layer.geometry, &w, &dy, &mut results[1]);
    results
}

fn root_mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    (values.map(|value| value * value).sum::<f64>() / count).sqrt()
}

pub fn reals(geometry: ConvGeometry, seed: u64) -> Layer {
    let mut layer = Layer::new(geometry, seed);
    let mut random = fastrand::Rng::with_seed(seed);
    for data in [&mut layer.x, &mut layer.w, &mut layer.dy] {
        data.iter_mut()
            .for_each(|value| *value = 2.0 * random.f32() - 1.0);
    }
    layer
}

/// Root mean square of the errors of y and of dx by a recipe, and the largest.
fn errors(layer: &Layer, expected: &[Vec<f64>; 2], kind: RecipeKind, isa: Isa) -> [[f64; 2]; 2] {
    let got = results(layer, kind, isa);
    std::array::from_fn(|pass| {
        let pairs = got[pass].iter().zip(&expected[pass]);
        let errors = pairs.map(|(&got, expected)| f64::from(got) - expected);
        let largest = errors.clone().fold(0.0, |most: f64, e| most.max(e.abs()));
        [root_mean(errors), largest]
    })
}

/// The errors of each kind are at most so many times those of the direct recipe.
pub fn check_errors(
    layer: &Layer,
    expected: &[Vec<f64>; 2],
    isa: Isa,
    kinds: [(RecipeKind, [f64; 2]); 2],
    name: &str,
) {
    let direct = errors(layer, expected, RecipeKind::Direct, isa);
    for (kind, most) in kinds {
        let got = errors(layer, expected, kind, isa);
        for pass in 0..2 {
            let times = [0, 1].map(|of| got[pass][of] / direct[pass][of]);
            let name = format!(
                "{kind} on {isa}, {name}, {}, {}",
                Pass::ALL[pass],
                layer.geometry.layout().name()
            );
            println!("{name}: errors {times:.2?} times those of direct");
            assert!(
                times[0] <= most[0] && times[1] <= most[1],
                "{name}: errors {times:?} times those of direct"
            );
        }
    }
}

/// The figures that `Accuracy` gives, with room for other random numbers: those by which `Fast` is the default.
#[test]
fn errors_are_what_the_documentation_says() {
    for (channels, outputs, image, dilation) in [
        (64, 64, 28, [1, 1]),
        (128, 96, 14, [1, 1]),
        (17, 33, 28, [1, 1]),
        (512, 64, 7, [1, 1]),
        (1024, 33, 14, [1, 1]),
        (64, 64, 28, [2, 2]),
        (96, 33, 26, [3, 5]),
    ] {
        for layout in LAYOUTS {
            let shape = Shape {
                batch: 1,
                ..Shape::dense(channels, outputs, [image, image]).dilation(dilation)
            };
            let layer = reals(shape.geometry(layout), 3);
            let expected = exact(&layer);
            for isa in Isa::available() {
                // Without fused multiply-adds the transforms round more often.
                let most = if isa == Isa::Portable {
                    [2.8, 4.5]
                } else {
                    [2.5, 4.0]
                };
                let kinds = [
                    (RecipeKind::WinogradF4, most),
                    (RecipeKind::WinogradF2, [1.0, 1.5]),
                ];
                check_errors(&layer, &expected, isa, kinds, &format!("{shape:?}"));
            }
        }
    }
}

/// Stride 2 has fewer points, which round less.
#[test]
fn errors_with_stride_2_are_hardly_more_than_those_of_direct() {
    for (channels, side) in [(64, 28), (128, 14), (17, 28), (512, 9)] {
        for layout in LAYOUTS {
            let shape = Shape::dense(channels, 48, [side, side]).stride(2);
            let layer = reals(shape.geometry(layout), 5);
            let kinds = [
                (RecipeKind::WinogradF4, [1.5, 2.5]),
                (RecipeKind::WinogradF2, [1.0, 1.5]),
            ];
            let name = format!("{shape:?}");
            check_errors(&layer, &exact(&layer), Isa::selected(), kinds, &name);
        }
    }
}

/// Pixels and weights of 10⁻¹⁵ to 10¹⁵ beside each other: the error stays within what the sizes in a tile allow, and
/// tiles without large numbers are as good as ever.
#[test]
fn a_wide_range_costs_digits_within_a_tile_alone() {
    const DILATIONS: [[usize; 2]; 6] = [[1, 1], [2, 2], [1, 1], [3, 2], [1, 4], [6, 1]];
    for (seed, layout) in (0..6).flat_map(|seed| LAYOUTS.map(|layout| (seed, layout))) {
        let shape = Shape {
            batch: 1,
            ..Shape::dense(5, 7, [13, 14]).dilation(DILATIONS[seed as usize])
        };
        let mut layer = reals(shape.geometry(layout), seed);
        let mut random = fastrand::Rng::with_seed(seed);
        for data in [&mut layer.x, &mut layer.w, &mut layer.dy] {
            data.iter_mut()
                .for_each(|value| *value *= 10f32.powi(random.i32(-15..=15)));
        }
        let expected = exact(&layer);
        let sources = [(Pass::Forward, &layer.x), (Pass::BackwardInput, &layer.dy)];
        for (kind, size) in KINDS {
            for isa in Isa::available() {
                let got = results(&layer, kind, isa);
                for ((pass, source), (got, expected)) in
                    sources.into_iter().zip(got.iter().zip(&expected))
                {
                    let bounds = winograd::bounds(&layer.geometry, pass, size, source, &layer.w);
                    for (i, (&got, expected)) in got.iter().zip(expected).enumerate() {
                        let error = (f64::from(got) - expected).abs();
                        assert!(
                            error <= bounds[i],
                            "{kind} on {isa}, {pass}: element {i} is {got:e}, expected {expected:e} within {:e}",
                            bounds[i]
                        );
                    }
                }
            }
        }
    }
}

/// The place of `[image, channel, row, column]` in a batch of so many channels and pixels.
pub fn place(
    layout: Layout,
    channels: usize,
    [rows, columns]: [usize; 2],
    [image, channel, row, column]: [usize; 4],
) -> usize {
    match layout {
        Layout::ChannelsFirst => ((image * channels + channel) * rows + row) * columns + column,
        Layout::ChannelsLast => ((image * rows + row) * columns + column) * channels + channel,
    }
}

/// Results of `faulty` that are not finite in the loops are not finite here, and those whose tiles do not read the number
/// that is not, by `reads(pass, [image, channel, row, column], R)`, are as those of `plain`.
pub fn check_spread(
    [plain, faulty]: [&Layer; 2],
    name: &str,
    reads: impl Fn(Pass, [usize; 4], (RecipeKind, usize)) -> bool,
) {
    let (geometry, loops) = (&faulty.geometry, faulty.answers());
    let sizes = [
        [0, 1].map(|axis: usize| geometry.axes()[axis].output()),
        [0, 1].map(|axis: usize| geometry.axes()[axis].input()),
    ];
    let channels = [geometry.output_channels(), geometry.input_channels()];
    for kind in KINDS {
        for isa in Isa::available() {
            let (got, without) = (results(faulty, kind.0, isa), results(plain, kind.0, isa));
            for (index, loops) in [&loops.y, &loops.dx].into_iter().enumerate() {
                let (pass, channels, [rows, columns]) =
                    (Pass::ALL[index], channels[index], sizes[index]);
                for i in 0..loops.len() {
                    let (plane, pixel) = (i / (rows * columns), i % (rows * columns));
                    let result = [
                        plane / channels,
                        plane % channels,
                        pixel / columns,
                        pixel % columns,
                    ];
                    let i = place(geometry.layout(), channels, [rows, columns], result);
                    let (got, without) = (got[index][i], without[index][i]);
                    let name = || format!("{} on {isa}, {name}, {pass}, {result:?}", kind.0);
                    assert!(
                        loops[i].is_finite() || !got.is_finite(),
                        "{}: {} in the loops, {got} here",
                        name(),
                        loops[i]
                    );
                    if !reads(pass, result, kind) {
                        assert_eq!(got, without, "{}", name());
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_within_its_tile() {
    let image = [11, 13];
    for ((number, dilation), layout) in [
        (f32::NAN, [1, 1]),
        (f32::INFINITY, [1, 1]),
        (f32::NEG_INFINITY, [1, 1]),
        (f32::NAN, [2, 3]),
        (f32::INFINITY, [1, 5]),
    ]
    .into_iter()
    .flat_map(|fault| LAYOUTS.map(|layout| (fault, layout)))
    {
        let shape = Shape {
            batch: 2,
            ..Shape::dense(3, 5, image).dilation(dilation)
        };
        for at in [[0, 0], [3, 4], [7, 8], [10, 12], [5, 6]] {
            let plain = Layer::new(shape.geometry(layout), 4);
            let mut faulty = plain.clone();
            faulty.x[place(layout, 3, image, [1, 2, at[0], at[1]])] = number;
            faulty.dy[place(layout, 5, image, [1, 4, at[0], at[1]])] = number;
            let name = format!("{number} in {at:?}, dilation {dilation:?}");
            check_spread([&plain, &faulty], &name, |_, result, (_, size)| {
                // A tile reads one pixel more on each side, and of its own phase alone.
                let reads = |axis: usize| {
                    let (result, at) = (result[axis + 2], at[axis]);
                    let (at, phase) = (at / dilation[axis], at % dilation[axis]);
                    let first = result / dilation[axis] / size * size;
                    result % dilation[axis] == phase
                        && (first..first + size + 2).contains(&(at + 1))
                };
                result[0] == 1 && reads(0) && reads(1)
            });
        }
    }
}

/// Arrays that do not stay in the caches ask memory for what comes next; one image does.
#[test]
fn a_large_batch_is_its_images_one_by_one() {
    const BATCH: usize = 5;
    for stride in [1, 2] {
        let geometry = |batch: usize| {
            let options = ConvOptions::new()
                .layout(Layout::ChannelsLast)
                .padding(1)
                .stride(stride);
            ConvGeometry::new(&[batch, 128, 120, 32], &[32, 32, 3, 3], &options).unwrap()
        };
        let whole = Layer::new(geometry(BATCH), 7);
        let part = |data: &[f32], image: usize| {
            let length = data.len() / BATCH;
            data[image * length..][..length].to_vec()
        };
        let isas = Isa::available();
        for isa in isas.into_iter().filter(|&isa| isa != Isa::Portable) {
            for (kind, _) in KINDS {
                let together = results(&whole, kind, isa);
                for image in 0..BATCH {
                    let mut alone = Layer::new(geometry(1), 7);
                    alone.w.clone_from(&whole.w);
                    alone.x = part(&whole.x, image);
                    alone.dy = part(&whole.dy, image);
                    let alone = results(&alone, kind, isa);
                    for (pass, alone) in alone.iter().enumerate() {
                        assert!(
                            *alone == part(&together[pass], image),
                            "{kind} on {isa}, stride {stride}, {}, image {image}",
                            Pass::ALL[pass]
                        );
                    }
                }
            }
        }
    }
}

/// Taps so far apart that the middle one alone meets the image: channels last nothing between them is touched; channels
/// first their window is refused.
#[test]
fn taps_may_lie_far_apart() {
    for dilation in [[1 << 20, 1 << 40], [1 << 61, 1]] {
        let shape = Shape::dense(17, 5, [4, 6]).dilation(dilation);
        for (kind, _) in KINDS {
            let geometry = shape.geometry(Layout::ChannelsFirst);
            let refused = ConvPlan::<f32>::new(&geometry, &PlanOptions::new().recipe(kind));
            let Err(Error::Unsupported { what, wanted }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(what, kind.name());
            assert_eq!(wanted, "a tile does not fit the scratch limit");
            let layer = Layer::new(shape.geometry(Layout::ChannelsLast), 5);
            let loops = layer.answers();
            for isa in Isa::available() {
                for (got, expected) in results(&layer, kind, isa).iter().zip([&loops.y, &loops.dx])
                {
                    for (&got, &expected) in got.iter().zip(expected) {
                        let name = || format!("{kind} on {isa}: {got}, expected {expected}");
                        assert!((got - expected).abs() < 1e-3, "{}", name());
                    }
                }
            }
        }
    }
}

/// `Exact` never takes it; `Fast` does, and says what it costs.
#[test]
fn the_accuracy_decides() {
    for (layout, dilation) in LAYOUTS
        .into_iter()
        .flat_map(|layout| [[1, 1], [2, 2]].map(|dilation| (layout, dilation)))
    {
        let shape = Shape::dense(64, 64, [28, 28]).dilation(dilation);
        let geometry = shape.geometry(layout);
        let plan = |accuracy| {
            ConvPlan::<f32>::new(&geometry, &PlanOptions::new().accuracy(accuracy)).unwrap()
        };
        let (exact, fast) = (plan(Accuracy::Exact), plan(Accuracy::Fast));
        for pass in Pass::ALL {
            assert!(exact.recipe_of(pass).kind().is_exact());
        }
        assert_eq!(fast.recipe_of(Pass::Forward).kind(), RecipeKind::WinogradF4);
        let why = fast.explain(Pass::Forward).why;
        assert!(why.contains("Winograd's algorithm F(4×4, 3×3)"), "{why}");
        assert!(why.contains("errors about 2.3 times"), "{why}");
        let phases = why.contains("tiles in each of 2 × 2 phases");
        assert_eq!(phases, dilation == [2, 2], "{why}");
        let why = exact.explain(Pass::Forward).why;
        assert!(why.contains("but not exact"), "{why}");
        // A recipe that is asked for is taken anyway.
        let options = PlanOptions::new()
            .accuracy(Accuracy::Exact)
            .recipe(RecipeKind::WinogradF2);
        let forced = ConvPlan::<f32>::new(&geometry, &options).unwrap();
        assert_eq!(
            forced.recipe_of(Pass::Forward).kind(),
            RecipeKind::WinogradF2
        );
    }
}
