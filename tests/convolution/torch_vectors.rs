//! PyTorch's answers on strange shapes: 84 cases of y, dx, dw and db, in both layouts, by every recipe and engine.
//!
//! ```text
//! *.int    integers        f32 and f64, bit for bit
//! *.real   f32 operands    f32: |d| ≤ 1e-5 · max|ref|, and |d| ≤ 1.3e-6 |ref| + a for sums of at most 1000 terms
//!          f64 answers     f64: |d| ≤ 1e-13 · max|ref|
//! ```
//!
//! a = 1e-5, and 2e-5 for the plain loops: in the largest cases one running sum of 338 or 585 products of normal
//! numbers passes 30, where one f32 step is 1.9e-6, and among five thousand such sums the worst is 1.7e-5 off. The
//! products add up blocks, which keeps them within 1e-5.

use crate::support::{
    Answers, Failures, LAYOUTS, Operands, Way, from_layout, largest, to_layout, vector,
};
use gemmconv::{
    ConvGeometry, ConvOptions, Element, Layout, Padding, PerAxis, TransposedGeometry,
    TransposedOptions,
};
use ndarray::ArrayD;
use serde_json::Value;

const CASES: usize = 84;

/// The sizes of a case.
enum Geometry {
    Conv(ConvGeometry),
    Transposed(TransposedGeometry),
}

impl Geometry {
    fn new(case: &Value, input: &[usize], weight: &[usize], layout: Layout) -> Self {
        let list = |key: &str| crate::common::sizes(&case[key]);
        let pads: Vec<_> = case["pads"]
            .as_array()
            .unwrap()
            .iter()
            .map(crate::common::sizes)
            .map(|pad| (pad[0], pad[1]))
            .collect();
        let padding = Padding::from(pads.as_slice());
        let (stride, dilation) = (
            PerAxis::list(&list("stride")),
            PerAxis::list(&list("dilation")),
        );
        let groups = case["groups"].as_u64().unwrap() as usize;
        match case["op"].as_str().unwrap() {
            "conv" => {
                let options = ConvOptions::new()
                    .stride(stride)
                    .dilation(dilation)
                    .padding(padding);
                Self::Conv(
                    ConvGeometry::new(input, weight, &options.groups(groups).layout(layout))
                        .unwrap(),
                )
            }
            "conv_transpose" => {
                let options = TransposedOptions::new()
                    .stride(stride)
                    .dilation(dilation)
                    .padding(padding)
                    .output_padding(PerAxis::list(&list("output_padding")))
                    .groups(groups)
                    .layout(layout);
                Self::Transposed(TransposedGeometry::new(input, weight, &options).unwrap())
            }
            other => panic!("unknown operator {other}"),
        }
    }

    fn run<T: Element>(&self, operands: &Operands<T>, way: Way) -> Answers<T> {
        match self {
            Self::Conv(geometry) => operands.conv(geometry, way),
            Self::Transposed(geometry) => operands.transposed(geometry, way),
        }
    }

    /// The convolution that computes.
    fn conv(&self) -> &ConvGeometry {
        match self {
            Self::Conv(geometry) => geometry,
            Self::Transposed(geometry) => geometry.twin(),
        }
    }

    /// Terms of the longest sum behind y, dx, dw and db.
    fn terms(&self) -> [usize; 4] {
        let conv = self.conv();
        let taps: usize = conv.weight_shape()[2..].iter().product();
        let (forward, backward) = (conv.patch_len(), conv.outputs_per_group() * taps);
        let positions = conv.batch() * conv.positions();
        match self {
            Self::Conv(_) => [forward, backward, positions, positions],
            Self::Transposed(_) => [
                backward,
                forward,
                positions,
                conv.batch() * conv.patch().pixels(),
            ],
        }
    }
}

/// A case as the file has it: channels first, exact in f64.
struct Case {
    name: String,
    manifest: Value,
    operands: Operands<f64>,
    expected: Answers<f64>,
    bias: bool,
}

fn cases() -> Option<Vec<Case>> {
    let folder = crate::common::data("torch-vectors")?;
    let manifest = crate::common::json(&folder.join("MANIFEST.json"));
    let cases = manifest.as_array().unwrap().iter().map(|entry| {
        let file = entry["file"].as_str().unwrap();
        let tensors = crate::common::tensors(&folder.join(file));
        let tensor = |name: &str| tensors.get(name).map(crate::common::Tensor::f64);
        let (x, w, y) = (
            tensor("x").unwrap(),
            tensor("w").unwrap(),
            tensor("y").unwrap(),
        );
        for (name, array) in [("x", &x), ("w", &w), ("y", &y)] {
            assert_eq!(
                array.shape(),
                crate::common::sizes(&entry[name]),
                "{file}: {name} against the manifest"
            );
        }
        let channels = y.shape()[1];
        let bias = tensor("b");
        assert_eq!(bias.is_some(), entry["bias"].as_bool().unwrap(), "{file}");
        let has_bias = bias.is_some();
        Case {
            name: file.trim_end_matches(".safetensors").to_owned(),
            operands: Operands {
                x,
                w,
                b: bias.map_or(vec![0.0; channels], |bias| bias.into_raw_vec_and_offset().0),
                dy: tensor("gy").unwrap(),
            },
            expected: Answers {
                y,
                dx: tensor("dx").unwrap(),
                dw: tensor("dw").unwrap(),
                // Without a bias there is nothing to compare with.
                db: tensor("db").unwrap_or_else(|| vector(Vec::new())),
            },
            bias: has_bias,
            manifest: entry.clone(),
        }
    });
    Some(cases.collect())
}

/// Takes (what, got, expected, terms of the sum).
type Judge<'j, T> = dyn FnMut(String, &ArrayD<T>, &ArrayD<f64>, usize) + 'j;

/// Runs `case` in `T` in one layout, by every way, and hands (what, got, expected, terms) to `judge`.
fn each_answer<T: Element>(case: &Case, layout: Layout, judge: &mut Judge<'_, T>) {
    let mut operands = case.operands.map(T::from_f64);
    operands.x = to_layout(layout, &operands.x);
    operands.dy = to_layout(layout, &operands.dy);
    let geometry = Geometry::new(
        &case.manifest,
        operands.x.shape(),
        operands.w.shape(),
        layout,
    );
    for way in Way::on::<T>(geometry.conv(), &[1, 2]) {
        let mut answers = geometry.run(&operands, way);
        answers.y = from_layout(layout, &answers.y);
        answers.dx = from_layout(layout, &answers.dx);
        let pairs = answers
            .named()
            .into_iter()
            .zip(case.expected.named())
            .zip(geometry.terms());
        for (((name, got), (_, expected)), terms) in pairs {
            if name == "db" && !case.bias {
                continue;
            }
            let what = format!(
                "{} {name} ({}, {}, {way})",
                case.name,
                T::NAME,
                layout.name()
            );
            judge(what, got, expected, terms);
        }
    }
}

/// Answers a case has: four, or three without a bias.
fn answers(cases: &[&Case]) -> usize {
    cases.iter().map(|case| 3 + usize::from(case.bias)).sum()
}

#[test]
fn integers_agree_bit_for_bit() {
    let Some(cases) = cases() else { return };
    assert_eq!(cases.len(), CASES);
    let cases: Vec<&Case> = cases
        .iter()
        .filter(|case| case.name.ends_with(".int"))
        .collect();
    assert_eq!(cases.len(), CASES / 2);
    let mut failures = Failures::new();
    for case in &cases {
        for layout in LAYOUTS {
            each_answer::<f32>(case, layout, &mut |what, got, expected, _| {
                failures.equal(&what, got, &expected.mapv(|value| value as f32));
            });
            each_answer::<f64>(case, layout, &mut |what, got, expected, _| {
                failures.equal(&what, got, expected)
            });
        }
    }
    failures.finish(answers(&cases) * (Way::FEWEST + Way::FEWEST_F64) * LAYOUTS.len());
}

#[test]
fn reals_agree_within_the_tolerance() {
    let Some(cases) = cases() else { return };
    let cases: Vec<&Case> = cases
        .iter()
        .filter(|case| case.name.ends_with(".real"))
        .collect();
    assert_eq!(cases.len(), CASES / 2);
    let mut failures = Failures::new();
    for case in &cases {
        for layout in LAYOUTS {
            each_answer::<f32>(case, layout, &mut |what, got, expected, terms| {
                let most = 1e-5 * largest(expected);
                // One running sum, and transforms beside the sums, round more.
                let more = what.contains("naive") || what.contains("winograd");
                let atol = if more { 2e-5 } else { 1e-5 };
                failures.within(&what, got, expected, |reference, _| match terms {
                    ..=1000 => most.min(1.3e-6 * reference.abs() + atol),
                    _ => most,
                });
            });
            each_answer::<f64>(case, layout, &mut |what, got, expected, _| {
                let most = 1e-13 * largest(expected);
                failures.within(&what, got, expected, |_, _| most);
            });
        }
    }
    failures.finish(answers(&cases) * (Way::FEWEST + Way::FEWEST_F64) * LAYOUTS.len());
}
