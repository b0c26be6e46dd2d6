//! Planning for the sizes of inputs, and running.

use gemmconv::network::{Conv, DType, Dim, Graph, Network, NetworkOptions, Tensor};
use gemmconv::{ConvOptions, Error, conv2d};
use ndarray::{Array4, ArrayD, IxDyn};

use super::{close, random};

fn four(array: &ArrayD<f32>) -> Array4<f32> {
    array.clone().into_dimensionality().unwrap()
}

fn batch() -> Dim {
    Dim::Free("batch".to_owned())
}

fn image(batch: Dim) -> Option<Vec<Dim>> {
    Some(vec![batch, Dim::Size(3), Dim::Size(8), Dim::Size(8)])
}

/// x ─ conv a ─┬─ conv b ─ conv c (b as its residual) ─► "c"
///             └─ conv d ─► "d"; "a" comes out too
fn branches() -> (Graph, [ArrayD<f32>; 4]) {
    let weights = [[5, 3, 3, 3], [5, 5, 3, 3], [5, 5, 1, 1], [4, 5, 3, 3]];
    let weights: Vec<ArrayD<f32>> = (0..)
        .zip(&weights)
        .map(|(seed, shape)| random(shape, seed))
        .collect();
    let weights: [ArrayD<f32>; 4] = weights.try_into().unwrap();
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, image(batch()));
    let mut constant =
        |name: &str, index: usize| graph.constant(name, Tensor::from(weights[index].clone()));
    let (wa, wb, wc, wd) = (
        constant("wa", 0),
        constant("wb", 1),
        constant("wc", 2),
        constant("wd", 3),
    );
    let same = || Conv::new(ConvOptions::new().padding(1));
    let a = graph.node("a", same(), &[x, wa]);
    let b = graph.node("b", same(), &[a, wb]);
    let c = graph.node("c", Conv::new(ConvOptions::new()), &[b, wc]);
    let d = graph.node("d", same().kernel(vec![3, 3]), &[a, wd]);
    for value in [c, d, a] {
        graph.output(value);
    }
    (graph, weights)
}

fn expected(x: &ArrayD<f32>, weights: &[ArrayD<f32>; 4]) -> [ArrayD<f32>; 3] {
    let conv = |x: &Array4<f32>, index: usize, pad: usize| {
        conv2d(
            x,
            &four(&weights[index]),
            None,
            &ConvOptions::new().padding(pad),
        )
        .unwrap()
    };
    let a = conv(&four(x), 0, 1);
    let c = conv(&conv(&a, 1, 1), 2, 0);
    [c, conv(&a, 3, 1), a].map(Array4::into_dyn)
}

#[test]
fn any_batch_size_in_any_order_and_on_many_threads() {
    let (graph, weights) = branches();
    let network = Network::new(graph).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (network, weights) = (&network, &weights);
            scope.spawn(move || {
                for (round, batch) in [1, 3, 0, 1, 7, 3].into_iter().enumerate() {
                    let x = random(&[batch, 3, 8, 8], thread * 100 + round as u64);
                    let outputs = network.run(&[("x", Tensor::from(x.clone()))]).unwrap();
                    let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
                    assert_eq!(names, ["c", "d", "a"]);
                    for ((_, got), expected) in outputs.iter().zip(&expected(&x, weights)) {
                        close(got, expected);
                    }
                }
            });
        }
    });
}

#[test]
fn a_session_runs_in_buffers_that_are_kept() {
    let (graph, weights) = branches();
    let network = Network::new(graph).unwrap();
    let x = random(&[2, 3, 8, 8], 1);
    let given = [("x", Tensor::from(x.clone()))];
    let session = network.session(&given).unwrap();
    assert!(session.arena_bytes() < session.activation_bytes());
    let mut buffers = session.buffers().unwrap();
    for _ in 0..3 {
        session.run(&[given[0].1.view()], &mut buffers).unwrap();
        for (got, expected) in buffers.outputs().iter().zip(&expected(&x, &weights)) {
            close(got, expected);
        }
    }
    let other = network
        .session(&[("x", Tensor::from(random(&[1, 3, 8, 8], 1)))])
        .unwrap();
    let mut small = other.buffers().unwrap();
    assert!(session.run(&[given[0].1.view()], &mut small).is_err());
    assert!(other.run(&[given[0].1.view()], &mut small).is_err());
}

#[test]
fn weights_may_be_inputs() {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F64, None);
    let w = graph.input("w", DType::F64, None);
    let y = graph.node("y", Conv::new(ConvOptions::new().stride(2)), &[x, w]);
    graph.output(y);
    let network = Network::new(graph).unwrap();
    for seed in 0..3 {
        let x = random(&[2, 3, 9, 9], seed).mapv(f64::from);
        let w = random(&[4, 3, 3, 3], seed + 9).mapv(f64::from);
        let outputs = network
            .run(&[
                ("w", Tensor::from(w.clone())),
                ("x", Tensor::from(x.clone())),
            ])
            .unwrap();
        let (x, w): (Array4<f64>, Array4<f64>) = (
            x.into_dimensionality().unwrap(),
            w.into_dimensionality().unwrap(),
        );
        let expected = conv2d(&x, &w, None, &ConvOptions::new().stride(2)).unwrap();
        assert_eq!(outputs[0].1.array::<f64>().unwrap(), &expected.into_dyn());
    }
}

#[test]
fn inputs_that_are_outputs_and_defaults() {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::I64, Some(vec![Dim::Free(String::new())]));
    let k = graph.default_input("k", Tensor::from(ArrayD::from_elem(IxDyn(&[2]), 7i64)));
    graph.output(x);
    graph.output(k);
    let network = Network::new(graph).unwrap();
    let numbers = |value: i64, len: usize| Tensor::from(ArrayD::from_elem(IxDyn(&[len]), value));
    let outputs = network.run(&[("x", numbers(3, 5))]).unwrap();
    assert_eq!(outputs[0].1, numbers(3, 5));
    assert_eq!(outputs[1].1, numbers(7, 2));
    let outputs = network
        .run(&[("x", numbers(3, 0)), ("k", numbers(9, 2))])
        .unwrap();
    assert_eq!(outputs[0].1, numbers(3, 0));
    assert_eq!(outputs[1].1, numbers(9, 2));
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, image(batch()));
    let r = graph.input("r", DType::F32, image(batch()));
    graph.output(x);
    graph.output(r);
    let network = Network::new(graph).unwrap();
    let f32s = |shape: &[usize]| Tensor::from(ArrayD::<f32>::zeros(IxDyn(shape)));
    let run = |x: Tensor, r: Tensor| network.run(&[("x", x), ("r", r)]).unwrap_err();
    let message = run(f32s(&[2, 3, 8, 8]), f32s(&[3, 3, 8, 8])).to_string();
    assert_eq!(
        message,
        "input \"r\" has size 3 on axis 0, expected 2, which is \"batch\" of input \"x\""
    );
    assert!(matches!(
        run(f32s(&[2, 3, 8, 8]), f32s(&[2, 3, 8, 9])),
        Error::InputSize {
            axis: 3,
            expected: 8,
            got: 9,
            ..
        }
    ));
    assert!(matches!(
        run(f32s(&[2, 3, 8]), f32s(&[2, 3, 8, 8])),
        Error::InputRank { expected: 4, .. }
    ));
    let wrong = Tensor::zeros(DType::F64, &[2, 3, 8, 8]).unwrap();
    assert!(matches!(
        run(wrong, f32s(&[2, 3, 8, 8])),
        Error::InputType {
            expected: "f32",
            got: "f64",
            ..
        }
    ));
    let x = f32s(&[2, 3, 8, 8]);
    assert_eq!(
        network.run(&[("x", &x)]).unwrap_err(),
        Error::InputMissing {
            input: "r".to_owned()
        }
    );
    assert_eq!(
        network
            .run(&[("x", &x), ("y", &x)])
            .unwrap_err()
            .to_string(),
        "there is no input \"y\"; the inputs are x, r"
    );
    assert!(matches!(
        network.run(&[("x", &x), ("x", &x)]),
        Err(Error::InputTwice { .. })
    ));
}

#[test]
fn memory_is_limited_before_it_is_taken() {
    let (graph, _) = branches();
    let options = NetworkOptions::new().memory_limit(1 << 20);
    let network = Network::with_options(graph, options).unwrap();
    network
        .run(&[("x", Tensor::from(random(&[1, 3, 8, 8], 1)))])
        .unwrap();
    let large = network.run(&[("x", Tensor::from(random(&[900, 3, 8, 8], 1)))]);
    let Err(Error::Node { source, .. }) = large else {
        panic!("{large:?}");
    };
    assert!(matches!(*source, Error::MemoryBudget { budget, .. } if budget == 1 << 20));
    let mut graph = Graph::new();
    graph.constant("much", Tensor::zeros(DType::U8, &[2048, 1024]).unwrap());
    let options = NetworkOptions::new().memory_limit(1 << 20);
    assert!(matches!(
        Network::with_options(graph, options),
        Err(Error::MemoryBudget { needed, .. }) if needed == 2 << 20
    ));
}

#[test]
fn graphs_that_contradict_themselves_are_refused() {
    let refused = |graph: Graph| match Network::new(graph) {
        Err(Error::Model { what }) => what,
        other => panic!("{other:?}"),
    };
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, None);
    let later = graph.value("later");
    let y = graph.node("y", Conv::new(ConvOptions::new()), &[x, later]);
    graph.output(y);
    assert!(refused(graph).contains("\"later\""));
    let mut graph = Graph::new();
    let never = graph.value("never");
    graph.output(never);
    assert!(refused(graph).contains("\"never\""));
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, None);
    graph.input("x", DType::F32, None);
    graph.output(x);
    assert!(refused(graph).contains("two inputs"));
    let foreign = x;
    let mut graph = Graph::new();
    graph.output(foreign);
    assert!(refused(graph).contains("not there"));
}

#[test]
fn errors_name_the_node() {
    let (graph, _) = branches();
    let mut graph = graph;
    graph.set_dims("x", None).unwrap();
    assert!(matches!(
        graph.set_dims("z", None),
        Err(Error::InputUnknown { .. })
    ));
    let network = Network::new(graph).unwrap();
    let error = network
        .run(&[("x", Tensor::from(random(&[1, 4, 8, 8], 0)))])
        .unwrap_err();
    assert!(
        error.to_string().starts_with("node \"a\" (Conv): "),
        "{error}"
    );
    let error = network
        .run(&[("x", Tensor::from(random(&[4], 0)))])
        .unwrap_err();
    assert!(
        error.to_string().starts_with("node \"a\" (Conv): "),
        "{error}"
    );
}
