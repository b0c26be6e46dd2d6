//! What the passes make of a graph computes the same, and they do what they are for.

use gemmconv::network::{
    BatchNormalization, Binary, Clip, Concat, Conv, ConvTranspose, DType, Graph, MatMul, Network,
    NetworkOptions, Operator, Pad, PadMode, Reduce, ReduceKind, Reshape, Tensor, Transpose, Unary,
    ValueId, Variadic,
};
use gemmconv::{ConvOptions, TransposedOptions};
use ndarray::{Array1, ArrayD, IxDyn};

use super::{close, random};

/// A graph under construction: constants get numbers of their own.
struct Builder {
    graph: Graph,
    constants: u64,
}

impl Builder {
    fn new() -> (Self, ValueId) {
        let mut graph = Graph::new();
        let x = graph.input("x", DType::F32, None);
        let constants = 0;
        (Self { graph, constants }, x)
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.constants += 1;
        let name = format!("constant {}", self.constants);
        self.graph.constant(name, tensor)
    }

    fn random(&mut self, shape: &[usize]) -> ValueId {
        let tensor = random(shape, self.constants).into();
        self.constant(tensor)
    }

    fn integers(&mut self, values: &[i64]) -> ValueId {
        self.constant(Array1::from(values.to_vec()).into_dyn().into())
    }

    fn conv(&mut self, name: &str, x: ValueId, [o, c, k]: [usize; 3]) -> ValueId {
        let weight = self.random(&[o, c, k, k]);
        let conv = Conv::new(ConvOptions::new().padding(k / 2));
        self.graph.node(name, conv, &[x, weight])
    }

    fn batch_norm(&mut self, name: &str, x: ValueId, channels: usize) -> ValueId {
        let positive = random(&[channels], 77).mapv(|value| value + 1.0);
        let inputs = [
            x,
            self.random(&[channels]),
            self.random(&[channels]),
            self.random(&[channels]),
            self.constant(positive.into()),
        ];
        self.graph
            .node(name, BatchNormalization::new(1e-3), &inputs)
    }

    fn node(&mut self, name: &str, operator: impl Operator, inputs: &[ValueId]) -> ValueId {
        self.graph.node(name, operator, inputs)
    }
}

/// Runs `graph` as it is and rewritten; the changes that were made.
fn same(mut builder: Builder, outputs: &[ValueId], shape: &[usize]) -> Vec<String> {
    outputs
        .iter()
        .for_each(|&output| builder.graph.output(output));
    let x = [("x", Tensor::from(random(shape, 99)))];
    let plain = NetworkOptions::new().rewrite(false);
    let plain = Network::with_options(builder.graph.clone(), plain).unwrap();
    let network = Network::new(builder.graph).unwrap();
    let expected = plain.run(&x).unwrap();
    // Twice: buffers are used again.
    for _ in 0..2 {
        for ((_, got), (_, expected)) in network.run(&x).unwrap().iter().zip(&expected) {
            close(got, expected.array().unwrap());
        }
    }
    let session = network.session(&x).unwrap();
    let changes = session.changes().iter();
    changes
        .map(|change| format!("{}: {}", change.pass, change.what))
        .collect()
}

#[test]
fn batch_norm_goes_into_convolutions() {
    let (mut b, x) = Builder::new();
    let first = b.conv("first", x, [6, 3, 3]);
    let normal = b.batch_norm("normal", first, 6);
    let weight = b.random(&[6, 2, 2, 2]);
    let bias = b.random(&[4]);
    let up = ConvTranspose::new(TransposedOptions::new().stride(2).groups(2));
    let up = b.node("up", up, &[normal, weight, bias]);
    let second = b.batch_norm("second", up, 4);
    // Read twice: it must stay.
    let third = b.conv("third", second, [5, 4, 1]);
    let stays = b.batch_norm("stays", third, 5);
    let changes = same(b, &[stays, third, second], &[2, 3, 6, 5]);
    assert!(changes.contains(&"scale_shift: normal (BatchNormalization) into first".to_owned()));
    assert!(changes.contains(&"scale_shift: second (BatchNormalization) into up".to_owned()));
    assert!(!changes.iter().any(|change| change.contains("stays")));
    // Both sides of the last are wanted with the channels first.
    assert!(
        changes.contains(&"channels_last: 3 nodes".to_owned()),
        "{changes:?}"
    );
}

#[test]
fn pads_go_into_convolutions() {
    for (mode, joins) in [
        (PadMode::Constant, true),
        (PadMode::Reflect, false),
        (PadMode::Edge, false),
        (PadMode::Wrap, false),
    ] {
        for own in [0, 1] {
            let (mut b, x) = Builder::new();
            let pads = b.integers(&[0, 0, 1, 2, 0, 0, 3, 0]);
            let padded = b.node("pad", Pad::new(mode), &[x, pads]);
            let weight = b.random(&[4, 3, 3, 3]);
            let conv = Conv::new(ConvOptions::new().padding(own));
            let y = b.node("conv", conv, &[padded, weight]);
            let changes = same(b, &[y], &[2, 3, 6, 7]);
            let joined = changes.contains(&"pad: pad into conv".to_owned());
            assert_eq!(joined, joins || own == 0, "{mode:?} {own} {changes:?}");
        }
    }
    // A number other than zero, channels that are padded, elements taken away.
    for (pads, value, joins) in [
        ([0, 0, 1, 1, 0, 0, 1, 1], 2.0f32, true),
        ([0, 1, 1, 1, 0, 0, 1, 1], 0.0, false),
        ([0, 0, -1, 1, 0, 0, 1, 1], 0.0, false),
    ] {
        let (mut b, x) = Builder::new();
        let inputs = [
            x,
            b.integers(&pads),
            b.constant(ArrayD::from_elem(IxDyn(&[]), value).into()),
        ];
        let padded = b.node("pad", Pad::new(PadMode::Constant), &inputs);
        let channels = 3 + usize::try_from(pads[1]).unwrap();
        let weight = b.random(&[4, channels, 3, 3]);
        let y = b.node("conv", Conv::new(ConvOptions::new()), &[padded, weight]);
        let changes = same(b, &[y], &[1, 3, 6, 7]);
        assert_eq!(
            changes.contains(&"pad: pad into conv".to_owned()),
            joins,
            "{pads:?}"
        );
    }
}

#[test]
fn nothing_is_turned_where_the_model_turns_itself() {
    let (mut b, x) = Builder::new();
    let first = b.node("to first", Transpose::new([0, 3, 1, 2]), &[x]);
    let y = b.conv("conv", first, [8, 3, 3]);
    let z = b.conv("conv 2", y, [8, 8, 1]);
    let last = b.node("to last", Transpose::new([0, 2, 3, 1]), &[z]);
    let changes = same(b, &[last], &[2, 6, 7, 3]);
    let merged = changes
        .iter()
        .filter(|change| change.starts_with("transposes"))
        .count();
    assert_eq!(merged, 2, "{changes:?}");
    let copies = changes
        .iter()
        .filter(|change| change.starts_with("copies"))
        .count();
    assert_eq!(copies, 2, "{changes:?}");
}

#[test]
fn copies_are_left_out_and_outputs_keep_their_names() {
    let (mut b, x) = Builder::new();
    let same_x = b.node("same x", Reshape::identity(), &[x]);
    let y = b.conv("conv", same_x, [4, 3, 3]);
    let one = b.node("one", Reshape::identity(), &[y]);
    let two = b.node("two", Reshape::identity(), &[one]);
    let three = b.node("three", Reshape::flatten(1), &[two]);
    let changes = same(b, &[two, same_x, three], &[2, 3, 4, 4]);
    let copies = changes
        .iter()
        .filter(|change| change.starts_with("copies"))
        .count();
    assert_eq!(copies, 2, "{changes:?}");
}

#[test]
fn values_in_both_layouts_and_what_nothing_reads() {
    let (mut b, x) = Builder::new();
    let y = b.conv("y", x, [4, 3, 3]);
    let never = b.conv("never", y, [4, 4, 3]);
    let flat = b.node("flat", Reshape::flatten(1), &[y]);
    let z = b.conv("z", y, [3, 4, 1]);
    let _ = never;
    let changes = same(b, &[flat, z, y], &[3, 3, 5, 4]);
    assert!(changes.contains(&"unused: never (Conv)".to_owned()));
    // One axis, three axes.
    let (mut b, x) = Builder::new();
    let weight = b.random(&[4, 2, 3]);
    let y = b.node("y", Conv::new(ConvOptions::new()), &[x, weight]);
    same(b, &[y], &[2, 2, 9]);
    let (mut b, x) = Builder::new();
    let weight = b.random(&[4, 2, 3, 2, 1]);
    let y = b.node("y", Conv::new(ConvOptions::new()), &[x, weight]);
    same(b, &[y], &[2, 2, 4, 5, 3]);
}

/// Lines of one pass.
fn of<'c>(changes: &'c [String], pass: &str) -> Vec<&'c str> {
    let lines = changes.iter().filter_map(|change| change.split_once(": "));
    lines
        .filter(|(name, _)| *name == pass)
        .map(|(_, what)| what)
        .collect()
}

#[test]
fn arithmetic_by_channel_goes_into_convolutions() {
    let (mut b, x) = Builder::new();
    let mut y = b.conv("conv", x, [4, 3, 3]);
    for (name, operator, shape) in [
        ("add", Binary::Add, &[4, 1, 1][..]),
        ("mul", Binary::Mul, &[1, 4, 1, 1]),
        ("sub", Binary::Sub, &[]),
        ("div", Binary::Div, &[1]),
    ] {
        let operand = b.random(shape);
        y = b.node(name, operator, &[y, operand]);
    }
    let first = b.random(&[1, 4, 1, 1]);
    y = b.node("from", Binary::Sub, &[first, y]);
    // Along the width, not the channels; a power; of more axes.
    let width = b.random(&[4]);
    let y = b.node("width", Binary::Add, &[y, width]);
    let changes = same(b, &[y], &[2, 3, 5, 4]);
    assert_eq!(of(&changes, "scale_shift").len(), 5, "{changes:?}");
    let (mut b, x) = Builder::new();
    let y = b.conv("conv", x, [4, 3, 3]);
    let one = b.random(&[1, 1, 1, 1, 1]);
    let y = b.node("add", Binary::Add, &[y, one]);
    let changes = same(b, &[y], &[2, 3, 5, 4]);
    assert!(of(&changes, "scale_shift").is_empty());
}

#[test]
fn residuals_and_activations_go_into_convolutions() {
    // A residual block, then one with a convolution on both sides, then a sum that stays.
    let (mut b, x) = Builder::new();
    let stem = b.conv("stem", x, [4, 3, 3]);
    let stem = b.node("stem relu", Unary::Relu, &[stem]);
    let one = b.conv("one", stem, [4, 4, 3]);
    let one = b.batch_norm("one norm", one, 4);
    let one = b.node("add one", Binary::Add, &[one, stem]);
    let one = b.node("one relu", Unary::Relu, &[one]);
    let left = b.conv("left", one, [4, 4, 3]);
    let right = b.conv("right", one, [4, 4, 1]);
    let two = b.node("add two", Variadic::Sum, &[left, right]);
    let low = b.constant(ArrayD::from_elem(IxDyn(&[]), 0.0f32).into());
    let high = b.constant(ArrayD::from_elem(IxDyn(&[]), 0.3f32).into());
    let two = b.node("clip", Clip::new(), &[two, low, high]);
    let three = b.conv("three", two, [4, 4, 3]);
    let row = b.conv("row", two, [1, 4, 1]);
    let three = b.node("broadcast", Binary::Add, &[three, row]);
    let slope = b.random(&[1]);
    let three = b.node("prelu", Binary::PRelu, &[three, slope]);
    let changes = same(b, &[three, one], &[2, 3, 5, 6]);
    assert_eq!(
        of(&changes, "residual"),
        ["add one (Add) into one", "add two (Sum) into right"]
    );
    assert_eq!(
        of(&changes, "activation"),
        [
            "stem relu (Relu) into stem",
            "one relu (Relu) into one",
            "clip (Clip) into right"
        ]
    );
    assert_eq!(of(&changes, "channels_last").len(), 1);
}

#[test]
fn biases_residuals_and_activations_go_into_products() {
    let (mut b, x) = Builder::new();
    let [weight, square] = [b.random(&[5, 7]), b.random(&[7, 7])];
    let first = b.node("first", MatMul::new(), &[x, weight]);
    let bias = b.random(&[1, 7]);
    let summed = b.node("summed", Binary::Add, &[bias, first]);
    let relu = b.node("relu", Unary::Relu, &[summed]);
    let second = b.node("second", MatMul::new(), &[relu, square]);
    let bias = b.random(&[7]);
    let more = b.node("more", Binary::Add, &[second, bias]);
    let end = b.node("end", Binary::Add, &[more, relu]);
    let changes = same(b, &[end], &[2, 3, 5]);
    assert_eq!(of(&changes, "bias").len(), 2, "{changes:?}");
    assert!(changes.contains(&"activation: relu (Relu) into first".to_owned()));
    assert!(changes.contains(&"residual: end (Add) into second".to_owned()));
    // One number for all, a column, a matrix: no bias. And what the caller wants stays.
    for shape in [&[1][..], &[3, 1], &[3, 7], &[2, 3, 7], &[1, 1, 1, 7]] {
        let (mut b, x) = Builder::new();
        let weight = b.random(&[5, 7]);
        let product = b.node("product", MatMul::new(), &[x, weight]);
        let other = b.random(shape);
        let sum = b.node("sum", Binary::Add, &[product, other]);
        let changes = same(b, &[sum], &[2, 3, 5]);
        assert!(of(&changes, "bias").is_empty(), "{shape:?} {changes:?}");
    }
    let (mut b, x) = Builder::new();
    let [weight, bias] = [b.random(&[5, 7]), b.random(&[7])];
    let product = b.node("product", MatMul::new(), &[x, weight]);
    let sum = b.node("sum", Binary::Add, &[product, bias]);
    let changes = same(b, &[product, sum], &[3, 5]);
    assert!(of(&changes, "bias").is_empty(), "{changes:?}");
}

#[test]
fn products_with_a_gate_are_one_function() {
    let number =
        |b: &mut Builder, value: f32| b.constant(ArrayD::from_elem(IxDyn(&[]), value).into());
    // Each makes y of x with names of its own; the function that it is.
    type Case = (
        fn(&mut Builder, ValueId, [ValueId; 4]) -> ValueId,
        &'static str,
    );
    let cases: [Case; 9] = [
        (
            |b, x, _| {
                let gate = b.node("gate", Unary::Sigmoid, &[x]);
                b.node("y", Binary::Mul, &[x, gate])
            },
            "Swish { alpha: 1.0 }",
        ),
        (
            |b, x, [slope, ..]| {
                let scaled = b.node("scaled", Binary::Mul, &[slope, x]);
                let gate = b.node("gate", Unary::Sigmoid, &[scaled]);
                b.node("y", Binary::Mul, &[gate, x])
            },
            "Swish { alpha: 1.7 }",
        ),
        (
            |b, x, _| {
                let (alpha, beta) = (1.0 / 6.0, 0.5);
                let gate = b.node("gate", Unary::HardSigmoid { alpha, beta }, &[x]);
                b.node("y", Binary::Mul, &[x, gate])
            },
            "HardSwish",
        ),
        (
            |b, x, _| {
                let soft = b.node("soft", Unary::Softplus, &[x]);
                let gate = b.node("gate", Unary::Tanh, &[soft]);
                b.node("y", Binary::Mul, &[x, gate])
            },
            "Mish",
        ),
        (
            |b, x, [_, root, one, half]| {
                let scaled = b.node("scaled", Binary::Div, &[x, root]);
                let erf = b.node("erf", Unary::Erf, &[scaled]);
                let gate = b.node("gate", Binary::Add, &[erf, one]);
                let product = b.node("product", Binary::Mul, &[x, gate]);
                b.node("y", Binary::Mul, &[product, half])
            },
            "Gelu { tanh: false }",
        ),
        (
            |b, x, [_, root, one, half]| {
                let scaled = b.node("scaled", Binary::Div, &[x, root]);
                let erf = b.node("erf", Unary::Erf, &[scaled]);
                let gate = b.node("gate", Binary::Add, &[one, erf]);
                let halved = b.node("halved", Binary::Mul, &[half, x]);
                b.node("y", Binary::Mul, &[halved, gate])
            },
            "Gelu { tanh: false }",
        ),
        // Not half of it, another slope, a gate of something else: left alone.
        (
            |b, x, [_, root, one, _]| {
                let scaled = b.node("scaled", Binary::Div, &[x, root]);
                let erf = b.node("erf", Unary::Erf, &[scaled]);
                let gate = b.node("gate", Binary::Add, &[erf, one]);
                b.node("y", Binary::Mul, &[x, gate])
            },
            "",
        ),
        (
            |b, x, _| {
                let (alpha, beta) = (0.2, 0.5);
                let gate = b.node("gate", Unary::HardSigmoid { alpha, beta }, &[x]);
                b.node("y", Binary::Mul, &[x, gate])
            },
            "",
        ),
        (
            |b, x, _| {
                let other = b.node("other", Unary::Exp, &[x]);
                let gate = b.node("gate", Unary::Sigmoid, &[other]);
                b.node("y", Binary::Mul, &[x, gate])
            },
            "",
        ),
    ];
    for (make, function) in cases {
        let (mut b, x) = Builder::new();
        let numbers = [1.7, std::f32::consts::SQRT_2, 1.0, 0.5];
        let numbers = numbers.map(|value| number(&mut b, value));
        // Not an input: in place.
        let moved = b.node("moved", Binary::Add, &[x, numbers[2]]);
        let y = make(&mut b, moved, numbers);
        let changes = same(b, &[y], &[2, 3, 5, 4]);
        match function {
            "" => assert!(of(&changes, "gates").is_empty(), "{changes:?}"),
            _ => assert_eq!(of(&changes, "gates"), [format!("y is {function}")]),
        }
    }
    // f64 keep their digits: what is exact there alone.
    for (slope, found) in [(0.75f64, true), (1.7, false)] {
        let mut graph = Graph::new();
        let x = graph.input("x", DType::F64, None);
        let slope = graph.constant("slope", Tensor::from(ArrayD::from_elem(IxDyn(&[]), slope)));
        let scaled = graph.node("scaled", Binary::Mul, &[x, slope]);
        let gate = graph.node("gate", Unary::Sigmoid, &[scaled]);
        let y = graph.node("y", Binary::Mul, &[x, gate]);
        graph.output(y);
        let network = Network::new(graph).unwrap();
        let x = Tensor::from(random(&[3, 5], 1).mapv(f64::from));
        let session = network.session(&[("x", x)]).unwrap();
        let swish = session
            .changes()
            .iter()
            .any(|change| change.pass == "gates");
        assert_eq!(swish, found);
    }
    // A gate that is read elsewhere, a constant that adds an axis.
    let (mut b, x) = Builder::new();
    let gate = b.node("gate", Unary::Sigmoid, &[x]);
    let y = b.node("y", Binary::Mul, &[x, gate]);
    assert!(of(&same(b, &[y, gate], &[3, 5]), "gates").is_empty());
    let (mut b, x) = Builder::new();
    let one = b.constant(ArrayD::from_elem(IxDyn(&[1, 1, 1]), 1.0f32).into());
    let gate = b.node("gate", Unary::Sigmoid, &[x]);
    let product = b.node("product", Binary::Mul, &[gate, one]);
    let y = b.node("y", Binary::Mul, &[x, product]);
    assert!(of(&same(b, &[y], &[3, 5]), "gates").is_empty());
}

#[test]
fn means_of_all_pixels_are_pooled() {
    let mean = || Reduce::new(ReduceKind::Mean, true);
    for (reduce, axes, pooled) in [
        (mean(), &[2i64, 3][..], true),
        (mean(), &[-1, -2], true),
        (mean(), &[3], false),
        (mean(), &[1, 2, 3], false),
        (Reduce::new(ReduceKind::Mean, false), &[2, 3], false),
        (Reduce::new(ReduceKind::Sum, true), &[2, 3], false),
    ] {
        let (mut b, x) = Builder::new();
        let first = b.conv("first", x, [6, 3, 3]);
        let axes = b.integers(axes);
        let y = b.node("y", reduce, &[first, axes]);
        let changes = same(b, &[y], &[2, 3, 5, 4]);
        let expected: &[&str] = if pooled {
            &["y is GlobalAveragePool"]
        } else {
            &[]
        };
        assert_eq!(of(&changes, "means"), expected);
    }
}

#[test]
fn what_is_wanted_or_read_elsewhere_is_not_changed() {
    let (mut b, x) = Builder::new();
    let y = b.conv("y", x, [3, 3, 3]);
    let relu = b.node("relu", Unary::Relu, &[y]);
    let twice = b.node("twice", Binary::Add, &[y, y]);
    let square = b.node("square", Binary::Mul, &[relu, relu]);
    let plus = b.node("plus", Binary::Add, &[y, x]);
    let leaky = b.node("leaky", Unary::LeakyRelu { alpha: 0.1 }, &[plus]);
    let changes = same(b, &[twice, square, leaky], &[2, 3, 5, 6]);
    assert!(of(&changes, "residual").is_empty() && of(&changes, "activation").is_empty());
    // The sum itself is wanted; its activation is not part of it.
    let (mut b, x) = Builder::new();
    let y = b.conv("y", x, [3, 3, 3]);
    let plus = b.node("plus", Binary::Add, &[x, y]);
    let relu = b.node("relu", Unary::Relu, &[plus]);
    let changes = same(b, &[plus, relu], &[1, 3, 5, 6]);
    assert_eq!(of(&changes, "residual"), ["plus (Add) into y"]);
    assert!(of(&changes, "activation").is_empty());
}

#[test]
fn what_is_concatenated_is_written_beside_each_other() {
    let (mut b, x) = Builder::new();
    let squeeze = b.conv("squeeze", x, [4, 3, 1]);
    let squeeze = b.node("relu", Unary::Relu, &[squeeze]);
    let left = b.conv("left", squeeze, [5, 4, 1]);
    let left = b.node("left relu", Unary::Relu, &[left]);
    let right = b.conv("right", squeeze, [6, 4, 3]);
    let more = b.conv("more", right, [2, 6, 3]);
    let other = b.conv("other", squeeze, [3, 4, 3]);
    // Not in the order in which they are made.
    let whole = b.node("whole", Concat::new(1), &[more, left, other]);
    let y = b.conv("y", whole, [3, 10, 3]);
    let rows = b.conv("rows", y, [3, 3, 1]);
    let rows = b.node("by rows", Concat::new(-2), &[rows, y]);
    let changes = same(b, &[rows, whole], &[2, 3, 5, 6]);
    assert_eq!(
        of(&changes, "concat"),
        [
            "whole at channel 2 from left",
            "whole at channel 0 from more",
            "whole at channel 7 from other"
        ]
    );
    assert!(of(&changes, "transposes").is_empty());
}
