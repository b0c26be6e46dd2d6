//! `*_with_scratch` allocates nothing.
//!
//! What is counted is everything that this crate asks for, on every thread. Two others allocate
//! inside a call and are told apart:
//!
//! * `matrixmultiply` takes a packing buffer for each product and frees it at its end. It alone asks for memory
//!   aligned to 16 bytes or more, so those requests are counted by themselves: as many freed as taken, none
//!   larger than its blocks of A and B. (BLAS takes its buffers from elsewhere; the loops need none.)
//! * rayon allocates when a call enters its pool from outside, and when a thread's queue grows. Inside `install`,
//!   after a warm-up, it does neither; so nothing is allowed for it.

use crate::counting::counted;
use crate::support::takes;
use gemmconv::{
    Activation, ConvGeometry, ConvOptions, ConvPlan, Element, EngineKind, Epilogue, Layout, Pass,
    PlanOptions, PreparedWeights, RecipeKind, Result, TransposedGeometry, TransposedOptions,
    TransposedPlan,
};
use ndarray::ArrayD;
use rayon::ThreadPoolBuilder;

/// Most bytes of one packing buffer: A in blocks of 64 × 256 and B of 256 × 1024 in f32, twice that in f64.
const MOST_PACKED: usize = 2 * 4 * (256 * 1024 + 2 * 64 * 256);

/// Allocations of this crate during `work`, and packing buffers taken.
fn allocations(work: impl FnOnce() -> Result<()>) -> (usize, usize) {
    let (result, counts) = counted(work);
    result.unwrap();
    assert_eq!(
        counts.packed, counts.packed_freed,
        "packing buffers taken and freed"
    );
    assert!(counts.packed_largest <= MOST_PACKED);
    (counts.taken, counts.packed)
}

/// Everything that the passes of one layer read and write, made beforehand.
struct Buffers<T> {
    x: Vec<T>,
    bias: Vec<T>,
    residual: Vec<T>,
    y: Vec<T>,
    dx: Vec<T>,
    dw: Vec<T>,
    db: Vec<T>,
    scratch: [Vec<T>; 3],
}

impl<T: Element> Buffers<T> {
    fn new([x, w, y, channels]: [usize; 4], scratch: [usize; 3]) -> Self {
        let some = |length: usize| {
            (0..length)
                .map(|i| T::from_f64((i % 7) as f64 - 3.0))
                .collect::<Vec<T>>()
        };
        Self {
            x: some(x),
            bias: some(channels),
            residual: some(y),
            y: some(y),
            dx: some(x),
            dw: some(w),
            db: some(channels),
            scratch: scratch.map(some),
        }
    }

    /// Bias, residual and ReLU, and the slices that a forward pass takes.
    fn forward(
        &mut self,
        run: impl FnOnce(&[T], &Epilogue<'_, T>, &mut [T], &mut [T]) -> Result<()>,
    ) -> Result<()> {
        let epilogue = Epilogue::none()
            .bias(&self.bias)
            .residual(&self.residual)
            .activation(Activation::Relu);
        run(&self.x, &epilogue, &mut self.y, &mut self.scratch[0])
    }
}

fn conv_passes<T: Element>(
    plan: &ConvPlan<T>,
    weights: &PreparedWeights<T>,
    b: &mut Buffers<T>,
) -> Result<()> {
    b.forward(|x, epilogue, y, scratch| {
        plan.forward_with_scratch(x, weights, epilogue, y, scratch)
    })?;
    plan.backward_input_with_scratch(&b.residual, weights, &mut b.dx, &mut b.scratch[1])?;
    plan.backward_weight_with_scratch(
        &b.x,
        &b.residual,
        &mut b.dw,
        Some(&mut b.db),
        &mut b.scratch[2],
    )?;
    plan.backward_bias_into(&b.residual, &mut b.db)
}

fn transposed_passes<T: Element>(
    plan: &TransposedPlan<T>,
    weights: &PreparedWeights<T>,
    b: &mut Buffers<T>,
) -> Result<()> {
    b.forward(|x, epilogue, y, scratch| {
        plan.forward_with_scratch(x, weights, epilogue, y, scratch)
    })?;
    plan.backward_input_with_scratch(&b.residual, weights, &mut b.dx, &mut b.scratch[1])?;
    plan.backward_weight_with_scratch(
        &b.x,
        &b.residual,
        &mut b.dw,
        Some(&mut b.db),
        &mut b.scratch[2],
    )?;
    plan.backward_bias_into(&b.residual, &mut b.db)
}

fn taken<T: Element>(options: &PlanOptions, geometry: &ConvGeometry) -> bool {
    options
        .recipe
        .is_none_or(|recipe| takes::<T>(recipe, geometry))
}

/// Runs all passes of a convolution and of a transposed one, and hands what they allocated to `report`.
fn measure<T: Element>(
    name: &str,
    (input, extent): (&[usize], usize),
    options: &PlanOptions,
    conv: &ConvOptions,
    report: &mut Report,
) {
    let layout = conv.layout;
    let (n, c, o, g) = (input[0], input[1], 12, conv.groups);
    let kernel = vec![extent; input.len() - 2];
    let shape = layout.shape(n, c, &input[2..]);
    let weight = [&[o, c / g], kernel.as_slice()].concat();
    let geometry = ConvGeometry::new(&shape, &weight, conv).unwrap();
    if !taken::<T>(options, &geometry) {
        return;
    }
    let plan = ConvPlan::<T>::new(&geometry, options).unwrap();
    let packs = |pass| plan.explain(pass).engine == Some("matrixmultiply");
    report.engine_packs = Pass::ALL.into_iter().any(packs);
    let some = |shape: &[usize]| ArrayD::from_elem(shape, T::from_f64(0.5));
    let mut weights = plan.prepare(&some(&weight)).unwrap();
    let lengths = [
        geometry.input_len(),
        geometry.weight_len(),
        geometry.output_len(),
        o,
    ];
    let mut buffers = Buffers::new(lengths, Pass::ALL.map(|pass| plan.scratch_len(pass)));
    conv_passes(&plan, &weights, &mut buffers).unwrap();
    report.add(
        name,
        "conv",
        options,
        allocations(|| conv_passes(&plan, &weights, &mut buffers)),
    );
    let other = some(&weight);
    report.add(
        name,
        "update",
        options,
        allocations(|| plan.update(&mut weights, &other)),
    );

    let weight = [&[c, o / g], kernel.as_slice()].concat();
    // Fourier transforms know no strides, tiles of Winograd's algorithm that of 3 × 3 taps alone.
    let tiles = [RecipeKind::WinogradF2, RecipeKind::WinogradF4].map(Some);
    let stride = match options.recipe {
        Some(RecipeKind::Fft) => 1,
        recipe if tiles.contains(&recipe) && kernel != [3, 3] => 1,
        _ => 2,
    };
    let transposed = TransposedOptions::new()
        .stride(stride)
        .padding(extent / 2)
        .groups(g)
        .layout(layout);
    let geometry = TransposedGeometry::new(&shape, &weight, &transposed).unwrap();
    let plan = TransposedPlan::<T>::new(&geometry, options).unwrap();
    let packs = |pass| plan.explain(pass).engine == Some("matrixmultiply");
    report.engine_packs = Pass::ALL.into_iter().any(packs);
    let weights = plan.prepare(&some(&weight)).unwrap();
    let lengths = [
        shape.iter().product(),
        weight.iter().product(),
        geometry.output_shape().iter().product(),
        o,
    ];
    let mut buffers = Buffers::new(lengths, Pass::ALL.map(|pass| plan.scratch_len(pass)));
    transposed_passes(&plan, &weights, &mut buffers).unwrap();
    report.add(
        name,
        "transposed",
        options,
        allocations(|| transposed_passes(&plan, &weights, &mut buffers)),
    );
}

/// What was counted; filled while nothing is measured.
struct Report {
    failures: Vec<String>,
    measured: usize,
    packed: usize,
    /// Whether the plan that is measured multiplies with the engine that packs.
    engine_packs: bool,
}

impl Report {
    fn add(
        &mut self,
        name: &str,
        what: &str,
        options: &PlanOptions,
        (own, packed): (usize, usize),
    ) {
        self.measured += 1;
        self.packed += packed;
        let recipe = options
            .recipe
            .map_or("the plan's choice", |recipe| recipe.name());
        if own > 0 {
            let (engine, threads) = (options.engine, rayon::current_num_threads());
            self.failures.push(format!(
                "{name}, {what}, {recipe}, {engine}, {threads} threads: {own} allocations"
            ));
        }
        if packed > 0 && !self.engine_packs {
            self.failures.push(format!(
                "{name}, {what}, {recipe}: {packed} packing buffers"
            ));
        }
    }
}

/// Every layer, recipe and engine, on the pool in force.
fn measure_all(report: &mut Report) {
    let same = ConvOptions::new().padding(1);
    let layers: [(&str, &[usize], usize, ConvOptions); 8] = [
        ("3×3", &[2, 16, 24, 24], 3, same.clone()),
        ("3×3, small images", &[9, 16, 5, 5], 3, same.clone()),
        ("1×1", &[2, 16, 9, 9], 1, ConvOptions::new()),
        (
            "groups, stride",
            &[2, 12, 17, 15],
            3,
            same.clone().groups(4).stride(2),
        ),
        ("flip", &[1, 4, 9, 9], 3, same.clone().flip_kernel(true)),
        (
            "3×3, dilation",
            &[2, 16, 14, 15],
            3,
            same.clone().dilation(2),
        ),
        ("rank 1", &[2, 8, 200], 3, same.clone().dilation(2)),
        ("rank 3", &[1, 4, 6, 7, 8], 3, same),
    ];
    for (name, input, extent, conv) in &layers {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let conv = conv.clone().layout(layout);
            let name = format!("{name}, {}", layout.name());
            for recipe in RecipeKind::ALL.into_iter().map(Some).chain([None]) {
                for engine in EngineKind::available() {
                    let options = PlanOptions {
                        recipe,
                        ..PlanOptions::new().engine(engine).serial_below(0)
                    };
                    measure::<f32>(&name, (input, *extent), &options, &conv, report);
                    // A tile of transforms is no smaller.
                    let limit = match recipe {
                        Some(RecipeKind::Fft) => 1 << 20,
                        _ => 1 << 14,
                    };
                    measure::<f64>(
                        &name,
                        (input, *extent),
                        &options.scratch_limit(limit),
                        &conv,
                        report,
                    );
                }
            }
        }
    }
}

pub fn passes_with_scratch_allocate_nothing() {
    // The counters count.
    assert_eq!(
        allocations(|| {
            std::hint::black_box(vec![1u8; 10]);
            Ok(())
        }),
        (1, 0)
    );
    let mut report = Report {
        failures: Vec::new(),
        measured: 0,
        packed: 0,
        engine_packs: false,
    };
    for threads in [1, 2] {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| measure_all(&mut report));
    }
    assert!(report.failures.is_empty(), "{}", report.failures.join("\n"));
    assert!(report.packed > 0, "no product was ever packed");
    // Loops, engines and the plan's choice: every layer in both types; direct: in f32; grouped: one layer in f32;
    // pointwise: the one of one tap; both kinds of Winograd's tiles: six layers; Fourier transforms: those without a
    // stride, in both types.
    let transformed = if cfg!(feature = "fft") { 7 * 2 } else { 0 };
    let plans = 3 * 8 * 2 + 8 + 1 + 1 + 2 * 6 + transformed;
    assert_eq!(
        report.measured,
        2 * 2 * plans * EngineKind::available().len() * 3
    );
}
