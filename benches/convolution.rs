//! unfold, fold, and each pass: the naive loops against the engines, and against the bare product.
//!
//! `cargo bench` runs all of it; `cargo bench -- forward` only the forward pass. One thread, caches warm, plan,
//! weights, output and scratch made outside the timing.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gemmconv::gemm::multiply;
use gemmconv::unfold::{PatchOrder, fold_into, unfold_into};
use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, EngineKind, Epilogue, Pass, PlanOptions, RecipeKind,
};
use ndarray::{Array2, Array3, Array4, ArrayD, IxDyn};

/// Name, input, weight, stride, padding: layers of ResNet-50, and one small enough for the loops.
type Layer = (&'static str, [usize; 4], [usize; 4], usize, usize);

const LAYERS: [Layer; 6] = [
    ("lenet_5x5_6_16", [1, 6, 14, 14], [16, 6, 5, 5], 1, 0),
    ("resnet_3x3_64_56", [1, 64, 56, 56], [64, 64, 3, 3], 1, 1),
    (
        "resnet_3x3_128_28",
        [1, 128, 28, 28],
        [128, 128, 3, 3],
        1,
        1,
    ),
    (
        "resnet_3x3_256_14",
        [1, 256, 14, 14],
        [256, 256, 3, 3],
        1,
        1,
    ),
    ("resnet_3x3_512_7", [1, 512, 7, 7], [512, 512, 3, 3], 1, 1),
    (
        "resnet_1x1_256_64_56",
        [1, 256, 56, 56],
        [64, 256, 1, 1],
        1,
        0,
    ),
];

fn geometry(&(_, input, weight, stride, padding): &Layer) -> ConvGeometry {
    let options = ConvOptions::new().stride(stride).padding(padding);
    ConvGeometry::new(&input, &weight, &options).expect("the layers above exist")
}

fn random(shape: &[usize]) -> ArrayD<f32> {
    let mut random = fastrand::Rng::with_seed(1);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || random.f32() - 0.5)
}

/// The plans worth timing: the loops where they take less than about 0.1 s, every engine, and the plan's own choice.
fn plans(geometry: &ConvGeometry) -> Vec<(String, ConvPlan<f32>)> {
    let options = PlanOptions::new().serial_below(u128::MAX);
    let mut plans = Vec::new();
    if geometry.operations() < 250_000_000 {
        plans.push((
            "naive".to_owned(),
            options.clone().recipe(RecipeKind::Naive),
        ));
    }
    for engine in EngineKind::available() {
        let unfold = options.clone().engine(engine).recipe(RecipeKind::Unfold);
        plans.push((format!("unfold {engine}"), unfold));
    }
    plans.push(("chosen".to_owned(), options));
    let plan = |(name, options)| {
        (
            name,
            ConvPlan::new(geometry, &options).expect("a plan for a small layer"),
        )
    };
    plans.into_iter().map(plan).collect()
}

fn passes(criterion: &mut Criterion) {
    for layer in &LAYERS {
        let geometry = geometry(layer);
        let (x, w) = (
            random(&geometry.input_shape()),
            random(&geometry.weight_shape()),
        );
        let dy = random(&geometry.output_shape());
        let (x, dy) = (
            x.as_slice().expect("standard"),
            dy.as_slice().expect("standard"),
        );
        for pass in Pass::ALL {
            let mut group = criterion.benchmark_group(format!("{pass}/{}", layer.0));
            group
                .sample_size(10)
                .throughput(Throughput::Elements(geometry.operations() as u64));
            for (name, plan) in plans(&geometry) {
                let weights = plan.prepare(&w).expect("weights of the geometry's shape");
                let mut scratch = vec![0.0; plan.scratch_len(pass)];
                let mut y = vec![0.0; geometry.output_len()];
                let mut dx = vec![0.0; geometry.input_len()];
                let mut dw = vec![0.0; geometry.weight_len()];
                group.bench_function(name, |bencher| {
                    bencher.iter(|| match pass {
                        Pass::Forward => plan.forward_with_scratch(
                            x,
                            &weights,
                            &Epilogue::none(),
                            &mut y,
                            &mut scratch,
                        ),
                        Pass::BackwardInput => {
                            plan.backward_input_with_scratch(dy, &weights, &mut dx, &mut scratch)
                        }
                        Pass::BackwardWeight => {
                            plan.backward_weight_with_scratch(x, dy, &mut dw, None, &mut scratch)
                        }
                    });
                });
            }
            group.finish();
        }
    }
}

/// The product alone, on the same m, n, k as the forward pass.
fn products(criterion: &mut Criterion) {
    for layer in &LAYERS {
        let geometry = geometry(layer);
        let (m, n, k) = (
            geometry.output_channels(),
            geometry.positions(),
            geometry.patch_len(),
        );
        let a = Array2::from_elem((m, k), 0.5f32);
        let b = Array2::from_elem((k, n), 0.5f32);
        let mut c = Array2::zeros((m, n));
        let mut group = criterion.benchmark_group(format!("product/{}", layer.0));
        group
            .sample_size(10)
            .throughput(Throughput::Elements(geometry.operations() as u64));
        for kind in EngineKind::available() {
            let engine = kind.engine::<f32>().expect("an available engine");
            let _one_thread = kind.one_thread();
            group.bench_function(BenchmarkId::from_parameter(kind), |bencher| {
                bencher.iter(|| multiply(engine, a.view(), b.view(), 0.0, c.view_mut()));
            });
        }
        group.finish();
    }
}

fn patches(criterion: &mut Criterion) {
    // The first group to run: everything after it finds this pool.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global();
    let layer = &LAYERS[2];
    let geometry = geometry(layer);
    let patch = geometry.patch();
    let mut x: Array4<f32> = random(&geometry.input_shape())
        .into_dimensionality()
        .expect("four axes");
    let mut patches = Array3::zeros((1, patch.patch_len(), patch.positions()));
    let order = PatchOrder::ElementsByPositions;
    let mut group = criterion.benchmark_group(format!("patches/{}", layer.0));
    group.throughput(Throughput::Bytes((patches.len() * size_of::<f32>()) as u64));
    group.bench_function("unfold", |bencher| {
        bencher.iter(|| unfold_into(patch, &x, order, &mut patches))
    });
    group.bench_function("fold", |bencher| {
        bencher.iter(|| fold_into(patch, &patches, order, &mut x))
    });
    group.finish();
}

criterion_group!(benches, patches, products, passes);
criterion_main!(benches);
