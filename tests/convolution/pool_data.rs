//! Pooling against what PyTorch and TensorFlow computed.
//!
//! One known difference: where a window holds several NaN, PyTorch's index is the last one's, ours and
//! TensorFlow's the first one's. The PyTorch cases here hold no NaN, the TensorFlow ones do.

use crate::common::{assert_close, data, json, sizes, tensors};
use gemmconv::pool::{adaptive_avg_pool_backward, avg_pool_backward, max_pool_backward};
use gemmconv::{
    Element, Layout, Padding, PerAxis, PoolOptions, adaptive_avg_pool, avg_pool, max_pool,
    max_pool_with_indices,
};
use ndarray::{ArrayD, ArrayViewD, IxDyn};
use serde_json::Value;

/// The same batch with its channels last: a view of other strides.
fn channels_last<T>(array: &ArrayD<T>) -> ArrayViewD<'_, T> {
    let rank = array.ndim();
    let axes: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    array.view().permuted_axes(IxDyn(&axes))
}

/// One number, or one per axis.
fn per_axis(value: &Value) -> PerAxis {
    match value.as_u64() {
        Some(number) => PerAxis::all(number as usize),
        None => PerAxis::list(&sizes(value)),
    }
}

fn torch_options(attrs: &Value) -> PoolOptions {
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
    options
}

/// x, y, gy and dx of a case, and the indices of a maximum, all channels first.
struct Torch {
    name: String,
    attrs: Value,
    x: ArrayD<f64>,
    y: ArrayD<f64>,
    d_output: ArrayD<f64>,
    d_input: ArrayD<f64>,
    indices: Option<ArrayD<usize>>,
}

impl Torch {
    /// Both layouts; the inputs of the second are views that are not in standard order.
    fn check<T: Element>(&self, operator: &str, rtol: f64) {
        let (x, d_output) = (self.x.mapv(T::from_f64), self.d_output.mapv(T::from_f64));
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let last = layout == Layout::ChannelsLast;
            let (x, dy) = match last {
                true => (channels_last(&x), channels_last(&d_output)),
                false => (x.view(), d_output.view()),
            };
            let what = format!("{} {} {}", self.name, T::NAME, layout.name());
            let (y, dx) = match operator {
                "max_pool2d" => {
                    let options = torch_options(&self.attrs).layout(layout);
                    let (y, indices) = max_pool_with_indices(&x, &options).unwrap();
                    assert_eq!(max_pool(&x, &options).unwrap(), y, "{what}");
                    let expected = self.indices.as_ref().expect("a maximum comes with indices");
                    match last {
                        true => assert_eq!(indices, channels_last(expected), "{what}"),
                        false => assert_eq!(indices, *expected, "{what}"),
                    }
                    let dx = max_pool_backward(&dy, &indices, x.shape(), &options).unwrap();
                    (y, dx)
                }
                "avg_pool2d" => {
                    let options = torch_options(&self.attrs).layout(layout);
                    let dx = avg_pool_backward(&dy, x.shape(), &options).unwrap();
                    (avg_pool(&x, &options).unwrap(), dx)
                }
                "adaptive_avg_pool2d" => {
                    let outputs = per_axis(&self.attrs["output"]);
                    let dx = adaptive_avg_pool_backward(&dy, x.shape(), layout).unwrap();
                    (adaptive_avg_pool(&x, outputs, layout).unwrap(), dx)
                }
                other => panic!("{}: nothing here computes {other}", self.name),
            };
            let (y, dx) = (y.mapv(T::to_f64), dx.mapv(T::to_f64));
            let (expected_y, expected_dx) = match last {
                true => (
                    channels_last(&self.y).to_owned(),
                    channels_last(&self.d_input).to_owned(),
                ),
                false => (self.y.clone(), self.d_input.clone()),
            };
            // A maximum is an element, without any rounding.
            let y_rtol = if operator == "max_pool2d" { 0.0 } else { rtol };
            assert_close(&format!("y of {what}"), &y, &expected_y, y_rtol, y_rtol);
            assert_close(&format!("dx of {what}"), &dx, &expected_dx, rtol, rtol);
        }
    }
}

#[test]
fn pytorch_cases() {
    let Some(folder) = data("torch-layers") else {
        return;
    };
    let manifest = json(&folder.join("MANIFEST.json"));
    let mut seen = std::collections::BTreeMap::new();
    for case in manifest.as_array().unwrap() {
        let operator = case["op"].as_str().unwrap();
        if !operator.contains("pool") {
            continue;
        }
        let name = case["file"].as_str().unwrap();
        let file = tensors(&folder.join(name));
        let torch = Torch {
            name: name.to_owned(),
            attrs: case["attrs"].clone(),
            x: file["x"].f64(),
            y: file["y"].f64(),
            d_output: file["gy"].f64(),
            d_input: file["dx"].f64(),
            indices: file.get("indices").map(|tensor| tensor.indices()),
        };
        // Sums of at most 16 terms and a division: PyTorch's own tolerance for f32, some ulp for f64.
        torch.check::<f32>(operator, 1.3e-6);
        torch.check::<f64>(operator, 1e-14);
        *seen.entry(operator.to_owned()).or_insert(0) += 1;
    }
    for operator in ["max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"] {
        assert!(
            seen.contains_key(operator),
            "no case of {operator} among {seen:?}"
        );
    }
}

fn tensorflow_padding(padding: &Value, rank: usize) -> Padding {
    match padding.as_str() {
        Some("VALID") => Padding::Valid,
        Some("SAME") => Padding::SameUpper,
        Some(other) => panic!("padding {other}"),
        None => {
            // One pair per axis of the array, batch and channels too.
            let pairs: Vec<Vec<usize>> = padding.as_array().unwrap().iter().map(sizes).collect();
            assert_eq!(pairs.len(), rank + 2);
            let pairs: Vec<(usize, usize)> = pairs[1..=rank]
                .iter()
                .map(|pair| (pair[0], pair[1]))
                .collect();
            Padding::from(pairs.as_slice())
        }
    }
}

/// The input that a TensorFlow test fills by a rule.
fn tensorflow_fill(rule: &str, shape: &[usize]) -> ArrayD<f64> {
    let count: usize = shape.iter().product();
    let values = match rule {
        "1..n" => (0..count).map(|i| (i + 1) as f64).collect(),
        _ => {
            let factor = rule
                .strip_prefix("(((i+128)%255)-127)*")
                .and_then(|rest| rest.strip_suffix(" for i in 0..n (NHWC order)"))
                .unwrap_or_else(|| panic!("fill {rule}"));
            let factor: f64 = factor.parse().unwrap();
            (0..count)
                .map(|i| (((i + 128) % 255) as f64 - 127.0) * factor)
                .collect()
        }
    };
    ArrayD::from_shape_vec(IxDyn(shape), values).unwrap()
}

#[test]
fn tensorflow_known_answers() {
    let Some(path) = data("tf-known-answers/tf_known_answers.json") else {
        return;
    };
    let mut seen = 0;
    for case in json(&path).as_array().unwrap() {
        let operator = case["op"].as_str().unwrap();
        if !operator.contains("pool") {
            continue;
        }
        let shape = sizes(&case["input_shape"]);
        let options = PoolOptions::new(PerAxis::list(&sizes(&case["ksize"])))
            .stride(PerAxis::list(&sizes(&case["strides"])))
            .padding(tensorflow_padding(&case["padding"], shape.len() - 2))
            .count_include_pad(false)
            .layout(Layout::ChannelsLast);
        let x = tensorflow_fill(case["fill"].as_str().unwrap(), &shape);
        let what = case["source"].as_str().unwrap();
        let (y, y_single) = match operator {
            "max_pool" | "max_pool3d" => (
                max_pool(&x, &options).unwrap_or_else(|error| panic!("{what}: {error}")),
                max_pool(&x.mapv(|value| value as f32), &options).unwrap(),
            ),
            "avg_pool(exclude_pad)" | "avg_pool3d(exclude_pad)" => (
                avg_pool(&x, &options).unwrap_or_else(|error| panic!("{what}: {error}")),
                avg_pool(&x.mapv(|value| value as f32), &options).unwrap(),
            ),
            other => panic!("{what}: nothing here computes {other}"),
        };
        let expected: Vec<f64> = case["expected"]
            .as_array()
            .unwrap()
            .iter()
            .map(number)
            .collect();
        let expected = ArrayD::from_shape_vec(y.shape(), expected)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        // The literals are short decimals of exact averages.
        assert_close(what, &y, &expected, 1e-7, 0.0);
        assert_close(what, &y_single.mapv(f64::from), &expected, 1e-6, 0.0);
        seen += 1;
    }
    assert!(seen > 0, "no pooling case in {}", path.display());
}

/// A number, or the word for one.
fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("NaN") => f64::NAN,
        Some(other) => panic!("{other} is not a number of these files"),
        None => value.as_f64().unwrap(),
    }
}

/// Ties and NaN: the gradient goes to the first maximum in row-major order, or to the first NaN.
#[test]
fn tensorflow_maximum_gradients() {
    let Some(path) = data("tf-known-answers/tf_maxpool_grad_direct.json") else {
        return;
    };
    let cases = json(&path);
    let cases = cases.as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let array = |values: &str, shape: &str| {
            let values: Vec<f64> = case[values]
                .as_array()
                .unwrap()
                .iter()
                .map(number)
                .collect();
            ArrayD::from_shape_vec(IxDyn(&sizes(&case[shape])), values).unwrap()
        };
        let size = |name: &str| case[name].as_u64().unwrap() as usize;
        let options = PoolOptions::new([size("window_rows"), size("window_cols")])
            .stride([size("row_stride"), size("col_stride")])
            .padding(tensorflow_padding(&case["padding"], 2))
            .layout(Layout::ChannelsLast);
        let x = array("input_data", "input_sizes");
        let what = case["source"].as_str().unwrap();
        let (_, indices) = max_pool_with_indices(&x, &options).unwrap();
        let d_output = array("output_backprop", "output_sizes");
        let d_input = max_pool_backward(&d_output, &indices, x.shape(), &options).unwrap();
        // Sums of small integers: exact.
        let expected = array("expected_input_backprop", "input_sizes");
        assert_close(what, &d_input, &expected, 0.0, 0.0);
    }
}
