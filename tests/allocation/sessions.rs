//! After its first run in its buffers a session allocates nothing.
//!
//! Inside a pool, for rayon allocates when a call enters its pool from outside.

use crate::counting::counted;
use gemmconv::network::{
    Binary, Concat, Conv, DType, Gemm, Graph, Network, Pool, Reshape, Tensor, Transpose, Unary,
};
use gemmconv::{ConvOptions, PoolOptions};
use ndarray::ArrayD;

fn tensor(shape: &[usize]) -> Tensor {
    let len = shape.iter().product::<usize>();
    let values = (0..len).map(|index| (index % 13) as f32 / 13.0 - 0.4);
    ArrayD::from_shape_vec(shape, values.collect())
        .unwrap()
        .into()
}

/// Convolutions of every kind, a residual, branches joined, pooling, turns that stay, a product.
fn network() -> Network {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, None);
    let mut count = 0;
    let mut constant = |graph: &mut Graph, shape: &[usize]| {
        count += 1;
        graph.constant(format!("constant {count}"), tensor(shape))
    };
    let same = || ConvOptions::new().padding(1);
    let w = constant(&mut graph, &[16, 3, 3, 3]);
    let stem = graph.node("stem", Conv::new(same()), &[x, w]);
    let stem = graph.node("relu", Unary::Relu, &[stem]);
    let w = constant(&mut graph, &[16, 1, 3, 3]);
    let deep = graph.node("depthwise", Conv::new(same().groups(16)), &[stem, w]);
    let w = constant(&mut graph, &[16, 16, 3, 3]);
    let sum = graph.node("3x3", Conv::new(same()), &[deep, w]);
    let sum = graph.node("add", Binary::Add, &[sum, stem]);
    let pooled = graph.node(
        "pool",
        Pool::max(PoolOptions::new([2, 2]).stride(2)),
        &[sum],
    );
    let w = constant(&mut graph, &[8, 16, 1, 1]);
    let left = graph.node("left", Conv::new(ConvOptions::new()), &[pooled, w]);
    let w = constant(&mut graph, &[8, 16, 3, 3]);
    let right = graph.node("right", Conv::new(same()), &[pooled, w]);
    let joined = graph.node("concat", Concat::new(1), &[left, right]);
    let soft = graph.node("sigmoid", Unary::Sigmoid, &[joined]);
    let rows = graph.node("rows", Transpose::new([0, 2, 1, 3]), &[soft]);
    graph.output(rows);
    let mean = graph.node("mean", Pool::global_average(), &[soft]);
    let flat = graph.node("flat", Reshape::flatten(1), &[mean]);
    let w = constant(&mut graph, &[16, 10]);
    let y = graph.node("fc", Gemm::new(1.0, 1.0, false, false), &[flat, w]);
    graph.output(y);
    Network::new(graph).unwrap()
}

pub fn runs_after_the_first_allocate_nothing() {
    let network = network();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            for batch in [1, 5, 8] {
                let x = [("x", tensor(&[batch, 3, 40, 40]))];
                let session = network.session(&x).unwrap();
                let mut buffers = session.buffers().unwrap();
                let views = [x[0].1.view()];
                // The queues of rayon's threads grow too.
                for _ in 0..20 {
                    session.run(&views, &mut buffers).unwrap();
                }
                let (_, counts) = counted(|| {
                    for _ in 0..5 {
                        session.run(&views, &mut buffers).unwrap();
                    }
                });
                assert_eq!(
                    counts.taken + counts.packed,
                    0,
                    "{threads} threads, {batch} images"
                );
            }
        });
    }
}
