//! Graphs that are written and read again: the same outputs bit for bit, and the same bytes from then on.

use gemmconv::network::*;
use gemmconv::onnx::{ImportOptions, export, export_bytes, import, import_bytes};
use gemmconv::{
    Activation, ConvOptions, Error, Layout, Padding, PaddingMode, PoolOptions, TransposedOptions,
};
use ndarray::{ArrayD, IxDyn};

/// Numbers in −1..1 that differ from seed to seed.
fn numbers(seed: u64, shape: &[usize]) -> Tensor {
    let mut random = fastrand::Rng::with_seed(seed);
    ArrayD::from_shape_simple_fn(IxDyn(shape), || 2.0 * random.f32() - 1.0).into()
}

fn integers(values: &[i64]) -> Tensor {
    ndarray::arr1(values).into_dyn().into()
}

fn scalar(value: f32) -> Tensor {
    ndarray::arr0(value).into_dyn().into()
}

/// A graph with the input "x" of these axes; 0 stands for one called "N".
fn graph(axes: &[usize]) -> (Graph, ValueId) {
    let mut graph = Graph::new();
    let dims = axes.iter().map(|&size| match size {
        0 => Dim::Free("N".to_owned()),
        size => Dim::Size(size),
    });
    let x = graph.input("x", DType::F32, Some(dims.collect()));
    (graph, x)
}

fn read(bytes: &[u8]) -> Graph {
    import_bytes(bytes, &ImportOptions::new()).unwrap()
}

/// Elements of f32 by their bits, so that NaN equals itself.
fn bits(outputs: &[(String, Tensor)]) -> Vec<(String, Vec<usize>, String)> {
    let bits = |tensor: &Tensor| match tensor.array::<f32>() {
        Some(array) => format!("{:?}", array.mapv(f32::to_bits)),
        None => format!("{tensor:?}"),
    };
    let outputs = outputs.iter();
    outputs
        .map(|(name, tensor)| (name.clone(), tensor.shape().to_vec(), bits(tensor)))
        .collect()
}

/// Writes, reads and runs, as it is and rewritten; the bytes.
fn comes_back(graph: &Graph, inputs: &[(&str, Tensor)]) -> Vec<u8> {
    let bytes = export_bytes(graph).unwrap();
    assert_eq!(bytes, export_bytes(graph).unwrap());
    let again = read(&bytes);
    for rewrite in [false, true] {
        let run = |graph: &Graph| {
            let options = NetworkOptions::new().rewrite(rewrite);
            let network = Network::with_options(graph.clone(), options).unwrap();
            bits(&network.run(inputs).unwrap())
        };
        assert_eq!(run(graph), run(&again));
    }
    assert!(export_bytes(&again).unwrap() == bytes, "other bytes");
    bytes
}

/// Adds an operator with its constants, and makes it an output.
fn probe(graph: &mut Graph, operator: impl Operator, x: ValueId, constants: &[Tensor]) {
    let number = graph.nodes().len();
    let mut inputs = vec![x];
    for (index, constant) in constants.iter().enumerate() {
        inputs.push(graph.constant(format!("c{number}.{index}"), constant.clone()));
    }
    let output = graph.node(format!("y{number}"), operator, &inputs);
    graph.output(output);
}

#[test]
fn a_network_for_pictures() {
    let (mut graph, x) = graph(&[0, 3, 21, 18]);
    let conv = |graph: &mut Graph, name: &str, options, x, weight: &[usize]| {
        let w = graph.constant(format!("{name}.weight"), numbers(1, weight));
        let b = graph.constant(format!("{name}.bias"), numbers(2, &weight[..1]));
        graph.node(name, Conv::new(options), &[x, w, b])
    };
    let options = ConvOptions::new().stride(2).padding(Padding::SameUpper);
    let value = conv(&mut graph, "first", options, x, &[8, 3, 3, 3]);
    let mut inputs = vec![value];
    for (index, name) in ["scale", "shift", "mean", "variance"].iter().enumerate() {
        let numbers = numbers(3 + index as u64, &[8]);
        let numbers = numbers.array::<f32>().unwrap().mapv(f32::abs);
        inputs.push(graph.constant(*name, Tensor::from(numbers)));
    }
    let value = graph.node("norm", BatchNormalization::new(1e-3), &inputs);
    let value = graph.node("relu", Unary::Relu, &[value]);
    let pool = PoolOptions::new(3).stride(2).padding(1).ceil_mode(true);
    let pooled = graph.node("pool", Pool::max(pool), &[value]);
    let options = ConvOptions::new()
        .groups(4)
        .dilation([2, 1])
        .padding([(1, 3), (0, 2)]);
    let left = conv(&mut graph, "left", options, pooled, &[12, 2, 3, 3]);
    let right = graph.node("leaky", Unary::LeakyRelu { alpha: 0.1 }, &[pooled]);
    let value = graph.node("joined", Concat::new(1), &[left, right]);
    let options = TransposedOptions::new()
        .stride(2)
        .padding(1)
        .output_padding([1, 0]);
    let w = graph.constant("up.weight", numbers(9, &[20, 5, 3, 3]));
    let value = graph.node("up", ConvTranspose::new(options), &[value, w]);
    let average = PoolOptions::new([3, 2]).count_include_pad(false).padding(1);
    let value = graph.node("average", Pool::average(average), &[value]);
    let value = graph.node("global", Pool::global_average(), &[value]);
    let value = graph.node("flat", Reshape::flatten(1), &[value]);
    let value = graph.node("dropped", Dropout::new(None, false), &[value]);
    let w = graph.constant("linear.weight", numbers(10, &[4, 5]));
    let b = graph.constant("linear.bias", numbers(11, &[4]));
    let value = graph.node("linear", Gemm::new(0.5, 2.0, false, true), &[value, w, b]);
    let value = graph.node(
        "scores",
        Softmax::new(SoftmaxKind::LogSoftmax, -1),
        &[value],
    );
    graph.output(value);
    graph.output(pooled);
    for batch in [1, 3] {
        comes_back(&graph, &[("x", numbers(12, &[batch, 3, 21, 18]))]);
    }
    let again = read(&export_bytes(&graph).unwrap());
    assert_eq!(again.inputs()[0].dims, graph.inputs()[0].dims);
    let names = |graph: &Graph| -> Vec<String> {
        graph.nodes().iter().map(|node| node.name.clone()).collect()
    };
    assert_eq!(names(&again), names(&graph));
}

/// One, two and three axes, every form of padding, options for all axes and for each.
#[test]
fn windows_of_all_kinds() {
    for spatial in [&[11][..], &[9, 10], &[6, 5, 7]] {
        let rank = spatial.len();
        let (mut graph, x) = graph(&[&[2, 4], spatial].concat());
        let pairs = [(1, 2), (0, 1), (2, 0)];
        let weight = |inputs: usize| numbers(1, &[&[4, inputs], &vec![3; rank][..]].concat());
        for padding in [
            Padding::Valid,
            Padding::SameUpper,
            Padding::SameLower,
            Padding::from(1),
            Padding::Explicit(pairs[..rank].into()),
        ] {
            let options = ConvOptions::new().stride(2).padding(padding);
            let conv = Conv::new(options.clone()).kernel(vec![3; rank]);
            probe(&mut graph, conv, x, &[weight(4)]);
            let dilated = options.stride(1).dilation(&[2, 1, 2][..rank]).groups(2);
            probe(&mut graph, Conv::new(dilated), x, &[weight(2)]);
            let options = TransposedOptions::new().stride(3).padding(padding);
            probe(
                &mut graph,
                ConvTranspose::new(options.clone()),
                x,
                &[weight(2)],
            );
            let wished = spatial.iter().map(|size| 3 * size + 1).collect();
            let wished = ConvTranspose::new(options).output_shape(wished);
            probe(&mut graph, wished, x, &[weight(4)]);
            let windows = PoolOptions::new(3).padding(padding);
            probe(&mut graph, Pool::max(windows.clone()), x, &[]);
            probe(&mut graph, Pool::average(windows.clone()), x, &[]);
            let windows = windows.stride(&[2, 1, 3][..rank]).ceil_mode(true);
            probe(&mut graph, Pool::lp(windows.clone(), 3.0), x, &[]);
            let dilated = windows.dilation(2).count_include_pad(false);
            probe(&mut graph, Pool::average(dilated.clone()), x, &[]);
            let indices = graph.value(format!("indices{}", graph.nodes().len()));
            let maxima = graph.value(format!("maxima{}", graph.nodes().len()));
            graph.push(Node {
                name: String::new(),
                operator: std::sync::Arc::new(Pool::max_with_indices(dilated, true)),
                inputs: vec![Some(x)],
                outputs: vec![Some(maxima), Some(indices)],
            });
            graph.output(indices);
        }
        probe(&mut graph, Pool::global_max(), x, &[]);
        probe(&mut graph, Pool::global_lp(1.0), x, &[]);
        comes_back(&graph, &[("x", numbers(2, &[&[2, 4], spatial].concat()))]);
    }
}

/// What a convolution does beyond ONNX's becomes nodes behind it.
#[test]
fn activations_and_sums_of_convolutions() {
    let (mut graph, x) = graph(&[0, 4, 8, 8]);
    let w = graph.constant("w", numbers(1, &[4, 4, 3, 3]));
    let b = graph.constant("b", numbers(2, &[4]));
    for (index, activation) in [
        Activation::Identity,
        Activation::Relu,
        Activation::Clamp {
            low: -0.5,
            high: 1.5,
        },
        Activation::LeakyRelu { slope: 0.2 },
    ]
    .into_iter()
    .enumerate()
    {
        let conv = Conv::new(ConvOptions::new().padding(1)).activation(activation);
        let summed = graph.node(format!("summed{index}"), conv.clone(), &[x, w, b, x]);
        let alone = graph.node(format!("alone{index}"), conv, &[summed, w, b]);
        let up = ConvTranspose::new(TransposedOptions::new()).activation(activation);
        let up = graph.node(format!("up{index}"), up, &[alone, w, b]);
        graph.output(up);
    }
    comes_back(&graph, &[("x", numbers(3, &[2, 4, 8, 8]))]);
}

#[test]
fn functions_of_elements() {
    let (mut graph, x) = graph(&[3, 5]);
    let (alpha, beta, gamma, bias, lambd) = (0.7, 0.3, 1.3, 0.1, 0.2);
    for unary in [
        Unary::Abs,
        Unary::Acos,
        Unary::Acosh,
        Unary::Asin,
        Unary::Asinh,
        Unary::Atan,
        Unary::Atanh,
        Unary::Ceil,
        Unary::Celu { alpha },
        Unary::Cos,
        Unary::Cosh,
        Unary::Elu { alpha },
        Unary::Erf,
        Unary::Exp,
        Unary::Floor,
        Unary::Gelu { tanh: false },
        Unary::Gelu { tanh: true },
        Unary::HardSigmoid { alpha, beta },
        Unary::HardSwish,
        Unary::LeakyRelu { alpha },
        Unary::Log,
        Unary::Mish,
        Unary::Neg,
        Unary::Reciprocal,
        Unary::Relu,
        Unary::Round,
        Unary::Selu { alpha, gamma },
        Unary::Shrink { bias, lambd },
        Unary::Sigmoid,
        Unary::Sign,
        Unary::Sin,
        Unary::Sinh,
        Unary::Softplus,
        Unary::Softsign,
        Unary::Sqrt,
        Unary::Swish { alpha },
        Unary::Tan,
        Unary::Tanh,
        Unary::ThresholdedRelu { alpha },
    ] {
        probe(&mut graph, unary, x, &[]);
    }
    for binary in [
        Binary::Add,
        Binary::Div,
        Binary::Mod { fmod: true },
        Binary::Mul,
        Binary::PRelu,
        Binary::Pow,
        Binary::Sub,
        Binary::Less,
        Binary::GreaterOrEqual,
        Binary::Equal,
    ] {
        probe(&mut graph, binary, x, &[numbers(7, &[5])]);
    }
    for variadic in [Variadic::Max, Variadic::Mean, Variadic::Min, Variadic::Sum] {
        probe(
            &mut graph,
            variadic,
            x,
            &[numbers(8, &[5]), numbers(9, &[3, 1])],
        );
    }
    probe(&mut graph, Clip::new(), x, &[]);
    probe(&mut graph, Clip::new(), x, &[scalar(-0.5), scalar(0.5)]);
    probe(&mut graph, Cast::To(DType::I32), x, &[]);
    probe(&mut graph, Cast::Like, x, &[integers(&[1])]);
    probe(&mut graph, Special::IsNaN, x, &[]);
    let infinite = Special::IsInf {
        negative: false,
        positive: true,
    };
    probe(&mut graph, infinite, x, &[]);
    comes_back(&graph, &[("x", numbers(10, &[3, 5]))]);
}

#[test]
fn functions_of_integers_and_truth() {
    let mut graph = Graph::new();
    let dims = || Some(vec![Dim::Size(4)]);
    let a = graph.input("a", DType::U8, dims());
    let b = graph.input("b", DType::U8, dims());
    for (index, binary) in [
        Binary::BitShift { left: true },
        Binary::BitShift { left: false },
        Binary::BitwiseAnd,
        Binary::BitwiseOr,
        Binary::BitwiseXor,
        Binary::Mod { fmod: false },
    ]
    .into_iter()
    .enumerate()
    {
        let output = graph.node(format!("bits{index}"), binary, &[a, b]);
        graph.output(output);
    }
    let inverted = graph.node("inverted", Unary::BitwiseNot, &[a]);
    let less = graph.node("less", Binary::Less, &[a, b]);
    let equal = graph.node("equal", Binary::Equal, &[a, b]);
    let either = graph.node("either", Binary::Or, &[less, equal]);
    let both = graph.node("both", Binary::And, &[less, equal]);
    let one = graph.node("one", Binary::Xor, &[less, both]);
    let not = graph.node("not", Unary::Not, &[one]);
    let chosen = graph.node("chosen", Where::new(), &[either, inverted, b]);
    for output in [inverted, not, chosen] {
        graph.output(output);
    }
    let bytes = |values: [u8; 4]| Tensor::from(ndarray::arr1(&values).into_dyn());
    let inputs = [("a", bytes([1, 7, 3, 200])), ("b", bytes([2, 7, 1, 3]))];
    comes_back(&graph, &inputs);
}

#[test]
fn shapes_and_matrices() {
    let (mut graph, x) = graph(&[0, 4, 6, 1]);
    for shape in [&[0, -1][..], &[-1, 2, 12]] {
        probe(&mut graph, Reshape::new(false), x, &[integers(shape)]);
    }
    probe(&mut graph, Reshape::new(true), x, &[integers(&[2, 24])]);
    probe(&mut graph, Reshape::to([2, 3, 8]), x, &[]);
    probe(&mut graph, Reshape::flatten(-2), x, &[]);
    probe(&mut graph, Reshape::squeeze(), x, &[integers(&[3])]);
    probe(&mut graph, Reshape::squeeze(), x, &[]);
    probe(&mut graph, Reshape::unsqueeze(), x, &[integers(&[0, -1])]);
    probe(&mut graph, Reshape::identity(), x, &[]);
    probe(&mut graph, Transpose::new([0, 2, 3, 1]), x, &[]);
    probe(&mut graph, Transpose::reversed(), x, &[]);
    probe(&mut graph, MatMul::new(), x, &[numbers(1, &[4, 1, 5])]);
    probe(&mut graph, Trilu::new(true), x, &[]);
    probe(&mut graph, Trilu::new(false), x, &[integers(&[-1])]);
    let einsum = Einsum::new(" n c ... , c D -> n ... D").unwrap();
    probe(&mut graph, einsum, x, &[numbers(1, &[4, 5])]);
    probe(&mut graph, Softmax::new(SoftmaxKind::Hardmax, 1), x, &[]);
    probe(
        &mut graph,
        Softmax::flattened(SoftmaxKind::Softmax, 2),
        x,
        &[],
    );
    let pads = integers(&[0, 0, 2, 0, 0, 0, 1, 0]);
    for mode in [
        PadMode::Constant,
        PadMode::Reflect,
        PadMode::Edge,
        PadMode::Wrap,
    ] {
        probe(&mut graph, Pad::new(mode), x, std::slice::from_ref(&pads));
    }
    let value = [pads, scalar(0.5)];
    probe(&mut graph, Pad::new(PadMode::Constant), x, &value);
    let some = [integers(&[1, 2]), scalar(0.0), integers(&[-2])];
    probe(&mut graph, Pad::new(PadMode::Constant), x, &some);
    comes_back(&graph, &[("x", numbers(2, &[2, 4, 6, 1]))]);
}

#[test]
fn regions_of_images() {
    let (mut graph, x) = graph(&[0, 3, 9, 8]);
    let corners = [0.0f32, 1.0, 7.5, 6.0, -2.0, 3.0, 4.25, 20.0];
    let rois = ArrayD::from_shape_vec(IxDyn(&[2, 4]), corners.to_vec()).unwrap();
    let constants = [rois.into(), integers(&[1, 0])];
    probe(&mut graph, RoiAlign::new([1, 1]), x, &constants);
    let other = RoiAlign::new([3, 2]).samples(2).scale(0.5);
    let other = other.half_pixel(false).maximum(true);
    probe(&mut graph, other, x, &constants);
    comes_back(&graph, &[("x", numbers(1, &[2, 3, 9, 8]))]);
}

/// How many boxes are found, and so what is planned, depends on the elements.
#[test]
fn boxes_that_overlap() {
    let (mut graph, x) = graph(&[1, 0, 4]);
    let constants = [
        numbers(1, &[1, 2, 5]),
        integers(&[3]),
        scalar(0.25),
        scalar(-0.5),
    ];
    probe(&mut graph, NonMaxSuppression::new(false), x, &constants);
    probe(&mut graph, NonMaxSuppression::new(true), x, &constants[..2]);
    let (first, second) = (numbers(2, &[1, 5, 4]), numbers(3, &[1, 5, 4]));
    comes_back(&graph, &[("x", first.clone())]);
    let network = Network::new(graph).unwrap();
    let found = |boxes: Tensor| network.run(&[("x", boxes)]).unwrap().swap_remove(0).1;
    assert_ne!(found(first), found(second));
}

/// f64, inputs that may be left out, constants that come out, values nobody reads.
#[test]
fn what_goes_in_and_out() {
    let mut graph = Graph::new();
    let double = |seed: u64, shape: &[usize]| {
        let numbers = numbers(seed, shape);
        Tensor::from(numbers.array::<f32>().unwrap().mapv(f64::from))
    };
    let x = graph.input(
        "x",
        DType::F64,
        Some(vec![Dim::Size(1), Dim::Size(2), Dim::Size(5)]),
    );
    let w = graph.default_input("w", double(1, &[2, 2, 3]));
    graph.constant("unread", double(2, &[1000]));
    let clamp = Activation::Clamp {
        low: -0.25,
        high: 0.25,
    };
    let conv = Conv::new(ConvOptions::new().stride(2)).activation(clamp);
    let y = graph.node("y", conv, &[x, w]);
    let constant = graph.constant("constant", integers(&[1, 2, 3]));
    graph.output(y);
    graph.output(constant);
    graph.output(w);
    let bytes = comes_back(&graph, &[("x", double(3, &[1, 2, 5]))]);
    assert!(bytes.len() < 1000, "{} bytes", bytes.len());
    let both = [("x", double(3, &[1, 2, 5])), ("w", double(4, &[2, 2, 3]))];
    comes_back(&graph, &both);
}

/// Values without a name, and several of one name.
#[test]
fn names_are_made_unique() {
    let (mut graph, x) = graph(&[2]);
    let a = graph.constant("y", numbers(1, &[2]));
    let b = graph.constant("", numbers(2, &[2]));
    let c = graph.constant("", numbers(3, &[2]));
    let mut value = x;
    for constant in [a, b, c] {
        value = graph.node("x", Binary::Add, &[value, constant]);
    }
    let y = graph.node("y", Unary::Exp, &[value]);
    graph.output(y);
    comes_back(&graph, &[("x", numbers(4, &[2]))]);
    graph.output(value);
    let message = export_bytes(&graph).unwrap_err().to_string();
    assert!(message.contains("\"x\" is no name"), "{message}");
}

/// Everything that cannot be written is told at once, with its node and the reason.
#[test]
fn operators_without_a_form() {
    let (mut graph, x) = graph(&[1, 4, 8, 8]);
    let w = graph.constant("w", numbers(1, &[4, 4, 3, 3]));
    let relu = graph.node("relu", Unary::Relu, &[x]);
    let size = graph.node("aligned", Align::new(1), &[relu]);
    let flipped = ConvOptions::new().flip_kernel(true);
    let turned = ConvOptions::new().layout(Layout::ChannelsLast);
    let mirrored = ConvOptions::new()
        .padding(1)
        .padding_mode(PaddingMode::Reflect);
    let mut last = size;
    for (name, options) in [("a", flipped), ("b", turned), ("c", mirrored)] {
        last = graph.node(name, Conv::new(options), &[x, w]);
    }
    let divided = PoolOptions::new(2).divisor_override(3);
    graph.node("d", Pool::average(divided), &[x]);
    graph.node("e", Pool::lp(PoolOptions::new(2), 1.5), &[x]);
    graph.node("f", Softmax::flattened(SoftmaxKind::Softmax, 1), &[x]);
    graph.node(
        "g",
        BatchNormalization::new(1e-5).every_element(),
        &[x, w, w, w, w],
    );
    graph.output(last);
    let Err(Error::UnwritableOperators { list }) = export_bytes(&graph) else {
        panic!("it was written");
    };
    let expected = [
        "Align (aligned)",
        "Conv (a): a flipped kernel",
        "Conv (b): channels last",
        "Conv (c): reflect padding",
        "AveragePool (d): the divisor 3",
        "LpPool (e): the exponent 1.5, which is no integer",
        "Softmax (f): lanes over all axes from 1 on",
        "BatchNormalization (g): every element for itself",
    ];
    assert_eq!(list, expected);
}

/// A file is whole or not there.
#[test]
fn files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let (mut graph, x) = graph(&[0, 2]);
    probe(&mut graph, Unary::Exp, x, &[]);
    std::fs::write(&path, "something else").unwrap();
    export(&graph, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), export_bytes(&graph).unwrap());
    assert_eq!(
        import(&path, &ImportOptions::new()).unwrap().nodes().len(),
        1
    );

    let Err(Error::Io { path: named, .. }) = export(&graph, folder.path().join("none/model.onnx"))
    else {
        panic!("it was written");
    };
    assert!(named.ends_with("none/model.onnx"));
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert!(matches!(export(&graph, &taken), Err(Error::Io { .. })));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}
