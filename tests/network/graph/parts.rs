//! Batches that go through a network in parts.

use std::sync::Arc;

use gemmconv::network::{
    BatchNormalization, Binary, Concat, Conv, DType, Gemm, Graph, MatMul, Network, NetworkOptions,
    Operator, Pool, Reshape, Session, Softmax, SoftmaxKind, Tensor, Transpose, Unary, ValueId,
};
use gemmconv::{ConvOptions, PoolOptions};
use ndarray::{ArrayD, Axis, concatenate};
use rayon::ThreadPoolBuilder;

use super::{close, random};

const IMAGES: usize = 6;

fn constant(graph: &mut Graph, name: &str, shape: &[usize]) -> ValueId {
    graph.constant(name, Tensor::from(random(shape, name.len() as u64)))
}

/// A residual, branches that are joined, a head; two outputs, one of them pixels.
fn classifier() -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, None);
    let same = || Conv::new(ConvOptions::new().padding(1));
    let w = constant(&mut graph, "w", &[16, 3, 3, 3]);
    let a = graph.node("a", same(), &[x, w]);
    let a = graph.node("relu", Unary::Relu, &[a]);
    let w = constant(&mut graph, "ww", &[16, 16, 3, 3]);
    let b = graph.node("b", same(), &[a, w]);
    let sum = graph.node("sum", Binary::Add, &[b, a]);
    let joined = graph.node("joined", Concat::new(1), &[sum, a]);
    let small = graph.node(
        "small",
        Pool::max(PoolOptions::new([2, 2]).stride(2)),
        &[joined],
    );
    let shift = constant(&mut graph, "shift", &[32, 1, 1]);
    let small = graph.node("shifted", Binary::Mul, &[small, shift]);
    graph.output(small);
    let mean = graph.node("mean", Pool::global_average(), &[small]);
    let flat = graph.node("flat", Reshape::flatten(1), &[mean]);
    let w = constant(&mut graph, "weights", &[32, 10]);
    let scores = graph.node("scores", Gemm::new(1.0, 1.0, false, false), &[flat, w]);
    let y = graph.node("y", Softmax::new(SoftmaxKind::Softmax, -1), &[scores]);
    graph.output(y);
    graph
}

fn arrays(outputs: Vec<(String, Tensor)>) -> Vec<ArrayD<f32>> {
    let array = |tensor: Tensor| tensor.array::<f32>().unwrap().to_owned();
    outputs
        .into_iter()
        .map(|(_, tensor)| array(tensor))
        .collect()
}

fn session(network: &Network, x: &ArrayD<f32>) -> Arc<Session> {
    network.session(&[("x", Tensor::from(x.clone()))]).unwrap()
}

#[test]
fn parts_give_what_images_give_alone_on_any_number_of_threads() {
    let x = random(&[IMAGES, 3, 64, 64], 1);
    let network = Network::new(classifier()).unwrap();
    let part = session(&network, &x).part().unwrap();
    assert!(part < IMAGES && IMAGES.is_multiple_of(part), "{part}");
    let run = |threads: usize, x: &ArrayD<f32>| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let inputs = [("x", Tensor::from(x.clone()))];
        arrays(pool.unwrap().install(|| network.run(&inputs).unwrap()))
    };
    let whole = run(1, &x);
    assert_eq!(whole[0].shape(), [IMAGES, 32, 32, 32]);
    for threads in [2, 3, 8] {
        assert_eq!(run(threads, &x), whole, "{threads} threads");
    }
    for image in 0..IMAGES {
        let alone = run(
            2,
            &x.slice_axis(Axis(0), (image..image + 1).into()).to_owned(),
        );
        for (whole, alone) in whole.iter().zip(alone) {
            let image = whole.slice_axis(Axis(0), (image..image + 1).into());
            close(&Tensor::from(image.to_owned()), &alone);
        }
    }
    let halves = [0..2, 2..6].map(|range| x.slice_axis(Axis(0), range.into()).to_owned());
    let halves = halves.map(|x| run(2, &x)[1].clone());
    let joined = concatenate(Axis(0), &[halves[0].view(), halves[1].view()]).unwrap();
    close(&Tensor::from(whole[1].clone()), &joined);
}

/// What a session says of itself is of the whole batch, and each layer is timed once.
#[test]
fn tables_are_of_the_whole_batch() {
    let x = random(&[IMAGES, 3, 64, 64], 1);
    let network = Network::new(classifier()).unwrap();
    let parts = session(&network, &x);
    let plain = NetworkOptions::new().rewrite(false);
    let plain = Network::with_options(classifier(), plain).unwrap();
    let plain = session(&plain, &x);
    assert_eq!(plain.part(), None);
    let shapes = |session: &Session| session.output_facts().collect::<Vec<_>>();
    assert_eq!(shapes(&parts), shapes(&plain));
    let operations = |session: &Session| {
        session
            .layers()
            .map(|layer| layer.multiply_adds)
            .sum::<u64>()
    };
    assert!(operations(&parts) > 0);
    let conv = |session: &Session| session.layers().next().unwrap().multiply_adds;
    assert_eq!(conv(&parts), conv(&plain));
    for layer in parts.layers() {
        assert_eq!(layer.outputs[0].shape[0], IMAGES, "{}", layer.name);
    }
    let mut buffers = parts.buffers().unwrap();
    let x = Tensor::from(x);
    parts.run(&[x.view()], &mut buffers).unwrap();
    let before = buffers.outputs().to_vec();
    let times = parts.profile(&[x.view()], &mut buffers).unwrap();
    assert_eq!(times.len(), parts.layers().count());
    assert!(times.iter().all(|time| !time.is_zero()));
    assert_eq!(before, buffers.outputs());
}

/// The images of a part of a network that ends in what `end` adds.
fn part(end: impl Fn(&mut Graph, ValueId) -> ValueId) -> Option<usize> {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, None);
    let x = graph.node("large", Unary::Relu, &[x]);
    let x = graph.node("larger", Unary::Abs, &[x]);
    let y = end(&mut graph, x);
    graph.output(y);
    let network = Network::new(graph).unwrap();
    session(&network, &random(&[IMAGES, 3, 256, 256], 2)).part()
}

fn part_with(operator: impl Operator + Clone) -> Option<usize> {
    part(|graph, x| graph.node("y", operator.clone(), &[x]))
}

/// Networks whose images depend on each other, or whose outputs are no batches.
#[test]
fn images_that_depend_on_each_other_stay_together() {
    assert!(part_with(Unary::Neg).is_some());
    assert!(part_with(Softmax::new(SoftmaxKind::Softmax, 1)).is_some());
    assert_eq!(part_with(Softmax::new(SoftmaxKind::Softmax, 0)), None);
    assert!(part_with(Transpose::new([0, 2, 3, 1])).is_some());
    assert_eq!(part_with(Transpose::new([1, 0, 2, 3])), None);
    assert_eq!(part_with(Reshape::flatten(0)), None);
    let windows = || PoolOptions::new([2, 2]);
    assert!(part_with(Pool::max(windows())).is_some());
    assert_eq!(part_with(Pool::max_with_indices(windows(), false)), None);
    assert!(part(|graph, x| graph.node("y", Concat::new(1), &[x, x])).is_some());
    assert_eq!(
        part(|graph, x| graph.node("y", Concat::new(0), &[x, x])),
        None
    );
    let shifted = |shape: &[usize]| {
        part(|graph, x| {
            let shift = constant(graph, "shift", shape);
            graph.node("y", Binary::Add, &[x, shift])
        })
    };
    assert!(shifted(&[3, 1, 1]).is_some());
    assert_eq!(shifted(&[IMAGES, 1, 1, 1]), None);
    let product = |shape: &[usize]| {
        part(|graph, x| {
            let b = constant(graph, "b", shape);
            graph.node("y", MatMul::new(), &[x, b])
        })
    };
    assert!(product(&[256, 8]).is_some());
    assert_eq!(product(&[IMAGES, 1, 256, 8]), None);
    let normalised = |training: Option<f32>| {
        part(|graph, x| {
            let numbers = ["a", "b", "c", "d"].map(|name| constant(graph, name, &[3]));
            let numbers = numbers.map(|value| graph.node("abs", Unary::Abs, &[value]));
            let [a, b, c, d] = numbers;
            let norm = match training {
                None => BatchNormalization::new(1e-5),
                Some(momentum) => BatchNormalization::new(1e-5).training(momentum),
            };
            graph.node("y", norm, &[x, a, b, c, d])
        })
    };
    assert!(normalised(None).is_some());
    assert_eq!(normalised(Some(0.9)), None);
}
