//! The literal answers of TensorFlow's own convolution tests: NHWC images, HWIO filters, VALID, SAME and
//! explicit padding.
//!
//! Each case runs with the padding by its name and again as explicit numbers, in both layouts, by every
//! recipe and engine, in f32 and f64.

use crate::support::{Failures, LAYOUTS, Operands, Way, from_layout};
use gemmconv::{ConvGeometry, ConvOptions, Element, Error, Layout, Padding, PerAxis};
use ndarray::{ArrayD, IxDyn};
use serde_json::Value;

/// What a case computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Forward,
    BackwardInput,
    BackwardFilter,
    Depthwise,
}

/// A case with everything in our order: channels first, `[O, I/g, kernel…]`.
struct Case {
    name: String,
    op: Op,
    x: ArrayD<f64>,
    w: ArrayD<f64>,
    /// The output gradient, where one is given.
    dy: Option<ArrayD<f64>>,
    expected: ArrayD<f64>,
    options: ConvOptions,
    paddings: Vec<Padding>,
}

/// `count` values as the case's words say: 1, 2, … or (1, 2, …) / count.
fn fill(words: &str, shape: &[usize]) -> ArrayD<f64> {
    let count: usize = shape.iter().product();
    let divisor = match words {
        "(1..n)/n for both tensors" => count.max(1) as f64,
        _ if words.starts_with("1..n") => 1.0,
        _ => panic!("unknown fill {words}"),
    };
    let values = (1..=count).map(|value| value as f64 / divisor).collect();
    ArrayD::from_shape_vec(IxDyn(shape), values).unwrap()
}

/// NHWC → NCHW, rank by rank.
fn batch(array: ArrayD<f64>) -> ArrayD<f64> {
    from_layout(Layout::ChannelsLast, &array)
}

/// [kernel…, I, O] → [O, I, kernel…]; depthwise [kernel…, C, multiplier] → [C · multiplier, 1, kernel…].
fn weights(op: Op, filter: ArrayD<f64>) -> ArrayD<f64> {
    let rank = filter.ndim() - 2;
    let spatial: Vec<usize> = (0..rank).collect();
    if op == Op::Depthwise {
        // Output channel c · multiplier + m: both axes in front, in this order, then made one.
        let axes = [&[rank, rank + 1], spatial.as_slice()].concat();
        let filter = filter.permuted_axes(axes);
        let shape = [
            &[filter.shape()[0] * filter.shape()[1], 1],
            &filter.shape()[2..],
        ]
        .concat();
        return filter
            .as_standard_layout()
            .into_owned()
            .into_shape_with_order(shape)
            .unwrap();
    }
    let axes = [&[rank + 1, rank], spatial.as_slice()].concat();
    filter.permuted_axes(axes).as_standard_layout().into_owned()
}

impl Case {
    fn new(entry: &Value) -> Option<Self> {
        let op = match entry["op"].as_str().unwrap() {
            "conv_fwd" => Op::Forward,
            "conv_bwd_input" => Op::BackwardInput,
            "conv_bwd_filter" => Op::BackwardFilter,
            "depthwise_conv" => Op::Depthwise,
            pool if pool.contains("pool") => return None,
            other => panic!("unknown operator {other}"),
        };
        let list = |key: &str| crate::common::sizes(&entry[key]);
        let words = entry["fill"].as_str().unwrap();
        let (input, filter) = (list("input_shape"), list("filter_shape"));
        let pads: Vec<_> = entry["pads"]
            .as_array()
            .unwrap()
            .iter()
            .map(crate::common::sizes)
            .map(|pad| (pad[0], pad[1]))
            .collect();
        let explicit = Padding::from(pads.as_slice());
        let paddings = match entry["padding"].as_str() {
            Some("VALID") => vec![Padding::Valid, explicit],
            Some("SAME") => vec![Padding::SameUpper, explicit],
            Some(other) => panic!("unknown padding {other}"),
            None => vec![explicit],
        };
        let groups = if op == Op::Depthwise {
            *input.last().unwrap()
        } else {
            1
        };
        let values: Vec<f64> = entry["expected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap())
            .collect();
        let gradient = matches!(op, Op::BackwardInput | Op::BackwardFilter)
            .then(|| fill(words, &list("output_shape")));
        let (x, w) = (
            batch(fill(words, &input)),
            weights(op, fill(words, &filter)),
        );
        let options = ConvOptions::new()
            .stride(PerAxis::list(&list("strides")))
            .dilation(PerAxis::list(&list("dilations")))
            .groups(groups);
        let in_tf_order =
            |shape: &[usize]| ArrayD::from_shape_vec(IxDyn(shape), values.clone()).unwrap();
        let expected = match op {
            Op::BackwardInput => batch(in_tf_order(&input)),
            Op::BackwardFilter => weights(op, in_tf_order(&filter)),
            Op::Forward | Op::Depthwise => {
                // The file gives no output shape here; the explicit pads fix it.
                let geometry =
                    ConvGeometry::new(x.shape(), w.shape(), &options.clone().padding(explicit));
                let shape = geometry.unwrap().output_shape();
                batch(in_tf_order(
                    &[&shape[..1], &shape[2..], &shape[1..2]].concat(),
                ))
            }
        };
        Some(Self {
            name: entry["source"].as_str().unwrap().to_owned(),
            op,
            x,
            w,
            dy: gradient.map(batch),
            expected,
            options,
            paddings,
        })
    }

    /// Every padding, layout and way in `T`.
    fn run<T: Element>(&self, failures: &mut Failures) {
        let whole = self.expected.iter().all(|value| value.fract() == 0.0);
        for (padding, layout) in self
            .paddings
            .iter()
            .flat_map(|padding| LAYOUTS.map(|layout| (padding, layout)))
        {
            let options = self.options.clone().padding(*padding).layout(layout);
            let x = crate::support::to_layout(layout, &self.x.mapv(T::from_f64));
            let geometry = ConvGeometry::new(x.shape(), self.w.shape(), &options).unwrap();
            let dy = match &self.dy {
                Some(dy) => crate::support::to_layout(layout, &dy.mapv(T::from_f64)),
                None => ArrayD::from_elem(geometry.output_shape(), T::ZERO),
            };
            let operands = Operands {
                x,
                w: self.w.mapv(T::from_f64),
                b: vec![T::ZERO; geometry.output_channels()],
                dy,
            };
            for way in Way::on::<T>(&geometry, &[1, 2]) {
                let answers = operands.conv(&geometry, way);
                let got = match self.op {
                    Op::Forward | Op::Depthwise => from_layout(layout, &answers.y),
                    Op::BackwardInput => from_layout(layout, &answers.dx),
                    Op::BackwardFilter => answers.dw,
                };
                let what = format!(
                    "{} {:?} ({padding:?}, {}, {way})",
                    self.name,
                    self.op,
                    layout.name()
                );
                // Whole numbers are exact; else TensorFlow's own tolerance.
                let rtol = if whole { 0.0 } else { 1e-5 };
                failures.within(&what, &got, &self.expected, |reference, _| {
                    rtol * reference.abs()
                });
            }
        }
    }
}

#[test]
fn tensorflows_answers() {
    let Some(path) = crate::common::data("tf-known-answers/tf_known_answers.json") else {
        return;
    };
    let entries = crate::common::json(&path);
    let entries = entries.as_array().unwrap();
    let cases: Vec<Case> = entries.iter().filter_map(Case::new).collect();
    let count = |op: Op| cases.iter().filter(|case| case.op == op).count();
    let counts = [
        Op::Forward,
        Op::BackwardInput,
        Op::BackwardFilter,
        Op::Depthwise,
    ]
    .map(count);
    assert_eq!((entries.len(), counts), (81, [26, 6, 7, 1]));
    let mut failures = Failures::new();
    let (mut runs, mut refused) = (0, 0);
    for case in &cases {
        if case.w.shape()[0] == 0 {
            // A filter without outputs: TensorFlow gives an empty gradient, we give an error.
            let refusal = ConvGeometry::new(case.x.shape(), case.w.shape(), &case.options);
            assert_eq!(
                refusal,
                Err(Error::ZeroCount {
                    what: "output channels"
                }),
                "{}",
                case.name
            );
            refused += 1;
            continue;
        }
        case.run::<f32>(&mut failures);
        case.run::<f64>(&mut failures);
        runs += case.paddings.len();
    }
    // 39 cases, all but one with two ways to say their padding, and one that is refused.
    assert_eq!((refused, runs), (1, 77));
    failures.finish(runs * LAYOUTS.len() * (Way::FEWEST + Way::FEWEST_F64));
}
