//! Operators of networks and their gradients against what PyTorch computed in f64.
//!
//! Each case is a graph whose loss is Σ y · gy, run in f64 and in f32, as it is and rewritten. Tolerances are those of
//! the elements: `atol + rtol |expected|`, 1e-12 of both in f64; in f32 a few roundings of the largest numbers in a sum.
//!
//! Two kinds of files are tested elsewhere: adaptive pooling, which is no operator of ONNX, in `pool_data.rs`, and the
//! training run in `train_torch.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::{assert_close, data, json, tensors};
use gemmconv::network::{
    BatchNormTraining, BatchNormalization, Binary, Clip, CrossEntropy, DType, Graph, Network,
    NetworkOptions, Node, Operator, Pool, Reduce, ReduceKind, Softmax, SoftmaxKind, Tensor, Unary,
    ValueId,
};
use gemmconv::{Padding, PerAxis, PoolOptions};
use ndarray::{ArrayD, IxDyn};
use serde_json::Value;

/// Everything by its name.
type Arrays = BTreeMap<String, ArrayD<f64>>;

/// How a case is run.
#[derive(Clone, Copy, Debug)]
struct Way {
    dtype: DType,
    rewrite: bool,
}

const WAYS: [Way; 3] = [
    Way {
        dtype: DType::F64,
        rewrite: false,
    },
    Way {
        dtype: DType::F32,
        rewrite: false,
    },
    Way {
        dtype: DType::F32,
        rewrite: true,
    },
];

impl Way {
    fn tensor(self, array: &ArrayD<f64>) -> Tensor {
        match self.dtype {
            DType::F64 => array.clone().into(),
            _ => array.mapv(|value| value as f32).into(),
        }
    }

    /// Tolerances where f32 has these.
    fn limits(self, singles: (f64, f64)) -> (f64, f64) {
        match self.dtype {
            DType::F64 => (1e-12, 1e-12),
            _ => singles,
        }
    }
}

fn double(tensor: &Tensor) -> ArrayD<f64> {
    match tensor.array::<f64>() {
        Some(array) => array.clone(),
        None => tensor.array::<f32>().unwrap().mapv(f64::from),
    }
}

/// A graph that is put together.
struct Case {
    way: Way,
    graph: Graph,
    given: Vec<(String, Tensor)>,
}

impl Case {
    fn new(way: Way) -> Self {
        Self {
            way,
            graph: Graph::new(),
            given: Vec::new(),
        }
    }

    fn input(&mut self, name: &str, array: &ArrayD<f64>) -> ValueId {
        self.given.push((name.to_owned(), self.way.tensor(array)));
        self.graph.input(name, self.way.dtype, None)
    }

    fn number(&mut self, name: &str, value: f64) -> ValueId {
        let number = self.way.tensor(&ArrayD::from_elem(IxDyn(&[]), value));
        self.graph.constant(name, number)
    }

    /// All outputs; with the gradients of Σ y · gy in `of`, which have the name `d NAME`, where something is asked for.
    fn run(mut self, y: ValueId, gy: &ArrayD<f64>, of: &[ValueId]) -> Arrays {
        self.graph.output(y);
        let gy = self.input("gy", gy);
        let product = self.graph.node("product", Binary::Mul, &[y, gy]);
        let sum = Reduce::new(ReduceKind::Sum, false);
        let loss = self.graph.node("loss", sum, &[product]);
        self.run_loss(loss, of)
    }

    fn run_loss(mut self, loss: ValueId, of: &[ValueId]) -> Arrays {
        self.graph.output(loss);
        let options = NetworkOptions::new().rewrite(self.way.rewrite);
        let network = Network::with_gradients(self.graph, loss, of, options).unwrap();
        let made = network.run(&self.given).unwrap();
        let made = made.into_iter();
        made.map(|(name, tensor)| (name, double(&tensor))).collect()
    }
}

fn per_axis(value: &Value) -> PerAxis {
    match value.as_u64() {
        Some(number) => PerAxis::all(number as usize),
        None => PerAxis::list(&crate::common::sizes(value)),
    }
}

fn pooling(operator: &str, attrs: &Value) -> Pool {
    let mut options = PoolOptions::new(per_axis(&attrs["kernel"]))
        .stride(per_axis(&attrs["stride"]))
        .padding(Padding::symmetric(per_axis(&attrs["padding"])))
        .ceil_mode(attrs["ceil_mode"].as_bool().unwrap());
    if let Some(include) = attrs.get("count_include_pad") {
        options = options.count_include_pad(include.as_bool().unwrap());
    }
    if let Some(divisor) = attrs.get("divisor_override").and_then(Value::as_i64) {
        options = options.divisor_override(divisor);
    }
    if let Some(dilation) = attrs.get("dilation") {
        options = options.dilation(per_axis(dilation));
    }
    match operator {
        "max_pool2d" => Pool::max(options),
        _ => Pool::average(options),
    }
}

/// One input, one output, both ways.
fn plain(what: &str, way: Way, operator: impl Operator, case: &Arrays, limits: (f64, f64)) {
    // An alpha of 0.01 is an f32, as in ONNX.
    let (rtol, atol) = match what.contains("leaky_relu") {
        true => limits,
        false => way.limits(limits),
    };
    let ones = ArrayD::ones(case["y"].raw_dim());
    let mut graph = Case::new(way);
    let x = graph.input("x", &case["x"]);
    let y = graph.graph.node("y", operator, &[x]);
    let made = graph.run(y, case.get("gy").unwrap_or(&ones), &[x]);
    assert_close(what, &made["y"], &case["y"], rtol, atol);
    assert_close(&format!("{what} dx"), &made["d x"], &case["dx"], rtol, atol);
}

/// Relu6 is a Clip with two constants.
fn relu6(what: &str, way: Way, case: &Arrays) {
    let mut graph = Case::new(way);
    let x = graph.input("x", &case["x"]);
    let bounds = [graph.number("low", 0.0), graph.number("high", 6.0)];
    let y = graph.graph.node("y", Clip, &[x, bounds[0], bounds[1]]);
    let ones = ArrayD::ones(case["y"].raw_dim());
    let made = graph.run(y, &ones, &[x]);
    assert_close(what, &made["y"], &case["y"], 0.0, 0.0);
    assert_close(&format!("{what} dx"), &made["d x"], &case["dx"], 0.0, 0.0);
}

fn activation(name: &str) -> Unary {
    match name {
        "relu" => Unary::Relu,
        "tanh" => Unary::Tanh,
        "silu" => Unary::Swish { alpha: 1.0 },
        "leaky_relu" => Unary::LeakyRelu { alpha: 0.01 },
        "elu" => Unary::Elu { alpha: 1.0 },
        "softplus" => Unary::Softplus,
        other => panic!("what is {other}?"),
    }
}

fn batch_norm(what: &str, way: Way, attrs: &Value, case: &Arrays) {
    // Epsilon is an f32, as in ONNX: a part in 2²⁵ of it is all that differs.
    let (rtol, atol) = match way.dtype {
        DType::F64 => (1e-9, 1e-9),
        _ => (2e-5, 2e-5),
    };
    let epsilon = attrs["eps"].as_f64().unwrap() as f32;
    let mut graph = Case::new(way);
    let inputs = ["x", "w", "b"].map(|name| graph.input(name, &case[name]));
    let names = ["mean", "variance"];
    let y = ["y", names[0], names[1]].map(|name| graph.graph.value(name));
    graph.graph.push(Node {
        name: "y".to_owned(),
        operator: Arc::new(BatchNormTraining::new(epsilon)),
        inputs: inputs.map(Some).to_vec(),
        outputs: y.map(Some).to_vec(),
    });
    graph.graph.output(y[1]);
    graph.graph.output(y[2]);
    let made = graph.run(y[0], &case["gy"], &inputs);
    assert_close(what, &made["y"], &case["y_train"], rtol, atol);
    for (gradient, expected) in [("d x", "dx"), ("d w", "dw"), ("d b", "db")] {
        let what = format!("{what} {expected}");
        assert_close(&what, &made[gradient], &case[expected], rtol, atol);
    }
    // Running numbers move towards those of the batch.
    let momentum = attrs["momentum"].as_f64().unwrap();
    for (name, [before, after]) in names.into_iter().zip([["rm0", "rm1"], ["rv0", "rv1"]]) {
        let moved = &case[before] * (1.0 - momentum) + &made[name] * momentum;
        assert_close(&format!("{what} {after}"), &moved, &case[after], rtol, atol);
    }
    let mut graph = Case::new(way);
    let inputs = ["x", "w", "b", "rm0", "rv0"];
    let inputs = inputs.map(|name| graph.input(name, &case[name]));
    let y = graph
        .graph
        .node("y", BatchNormalization::new(epsilon), &inputs);
    let made = graph.run(y, &case["gy"], &inputs[..3]);
    assert_close(
        &format!("{what} eval"),
        &made["y"],
        &case["y_eval"],
        rtol,
        atol,
    );
}

fn cross_entropy(what: &str, way: Way, classes: &ArrayD<usize>, case: &Arrays) {
    let (rtol, atol) = way.limits((2e-6, 2e-7));
    let mut graph = Case::new(way);
    let x = graph.input("x", &case["x"]);
    let targets: Tensor = classes.mapv(|class| class as i64).into();
    graph.given.push(("classes".to_owned(), targets));
    let targets = graph.graph.input("classes", DType::I64, None);
    let operator = CrossEntropy::default();
    let loss = graph.graph.node("loss", operator, &[x, targets]);
    let made = graph.run_loss(loss, &[x]);
    let loss = made["loss"].sum();
    let loss = ArrayD::from_elem(IxDyn(&[1]), loss);
    assert_close(what, &loss, &case["loss"], rtol, atol);
    assert_close(&format!("{what} dx"), &made["d x"], &case["dx"], rtol, atol);
    // The same by an operator of ONNX: −log p of the right classes, their mean.
    let (rtol, atol) = way.limits((2e-6, 1e-5));
    let mut gy = ArrayD::zeros(case["x"].raw_dim());
    for (row, &class) in classes.iter().enumerate() {
        gy[[row, class]] = -1.0 / classes.len() as f64;
    }
    let logarithms = Softmax::new(SoftmaxKind::LogSoftmax, 1);
    let mut graph = Case::new(way);
    let x = graph.input("x", &case["x"]);
    let y = graph.graph.node("y", logarithms, &[x]);
    let made = graph.run(y, &gy, &[x]);
    assert_close(
        &format!("{what} log"),
        &made["y"],
        &case["log_softmax"],
        rtol,
        atol,
    );
    assert_close(
        &format!("{what} log dx"),
        &made["d x"],
        &case["dx"],
        rtol,
        atol,
    );
    // p (g − Σ p g), p being what PyTorch made.
    let p = &case["softmax"];
    let gy = ArrayD::from_shape_fn(p.raw_dim(), |at| (at[1] % 7) as f64 - 3.0 + at[0] as f64);
    let sums = (p * &gy)
        .sum_axis(ndarray::Axis(1))
        .insert_axis(ndarray::Axis(1));
    let expected = p * &(&gy - &sums);
    let mut graph = Case::new(way);
    let x = graph.input("x", &case["x"]);
    let y = graph
        .graph
        .node("y", Softmax::new(SoftmaxKind::Softmax, 1), &[x]);
    let made = graph.run(y, &gy, &[x]);
    assert_close(&format!("{what} softmax"), &made["y"], p, rtol, atol);
    assert_close(
        &format!("{what} softmax dx"),
        &made["d x"],
        &expected,
        rtol,
        atol,
    );
}

/// All cases of the manifest, each by an operator.
#[test]
fn pytorch() {
    let Some(folder) = data("torch-layers") else {
        return;
    };
    let manifest = json(&folder.join("MANIFEST.json"));
    let mut counts = BTreeMap::<String, usize>::new();
    for entry in manifest.as_array().unwrap() {
        let (name, operator) = (
            entry["file"].as_str().unwrap(),
            entry["op"].as_str().unwrap(),
        );
        let attrs = &entry["attrs"];
        let held = tensors(&folder.join(name));
        let floats = |name: &&String| !matches!(name.as_str(), "indices" | "target");
        let case: Arrays = held
            .keys()
            .filter(floats)
            .map(|name| (name.clone(), held[name].f64()))
            .collect();
        for way in WAYS {
            let what = format!("{name} {way:?}");
            match operator {
                "max_pool2d" => plain(&what, way, pooling(operator, attrs), &case, (0.0, 2e-6)),
                "avg_pool2d" => plain(&what, way, pooling(operator, attrs), &case, (2e-6, 2e-6)),
                "batch_norm" => batch_norm(&what, way, attrs, &case),
                "softmax_cross_entropy(mean)" => {
                    cross_entropy(&what, way, &held["target"].indices(), &case);
                }
                "relu6" => relu6(&what, way, &case),
                "adaptive_avg_pool2d" | "training_trajectory" => continue,
                // Near ±1 the roundings of y are those of 1 − y², which is the slope of tanh.
                other => plain(&what, way, activation(other), &case, (2e-6, 4e-7)),
            }
            *counts.entry(operator.to_owned()).or_default() += 1;
        }
    }
    println!("{counts:?}");
    for operator in ["max_pool2d", "avg_pool2d", "batch_norm", "relu", "relu6"] {
        assert!(counts.contains_key(operator), "no case of {operator}");
    }
}
