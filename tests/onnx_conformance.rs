//! Models that others recorded inputs and outputs of: the operator cases of the ONNX standard, its nine "light"
//! topologies, and trained networks.
//!
//! Every case passes, or stands in [`MISSES`] with the reason. A miss that passes is an error too, so that the
//! list stays true.

#![cfg(feature = "onnx")]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use common::data;
use gemmconv::network::{Network, NetworkOptions, Tensor};
use gemmconv::onnx::{
    ImportOptions, Tolerance, Verdict, compare, import, models, read_tensor_file, verify,
};
use ndarray::ArrayD;

/// Cases that do not pass, by folder and name, with the reason.
const MISSES: &[(&str, &str)] = &[];

/// Where only sums of f32 are ordered otherwise, as a part of the largest value.
const SUMS: f64 = 1e-5;

/// Says what came out, past the capture of the test harness.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Counts the verdicts of a folder, prints them, and fails on what is not as listed.
fn judge(folder: &str, verdicts: &BTreeMap<String, Verdict>) {
    let (mut passed, mut failed, mut unsupported) = (0, 0, 0);
    let (mut missing, mut wrong) = (BTreeMap::<&str, usize>::new(), Vec::new());
    for (name, verdict) in verdicts {
        let full = format!("{folder}/{name}");
        let miss = MISSES.iter().find(|(known, _)| *known == full);
        match (verdict, miss) {
            (Verdict::Passed { .. }, None) => passed += 1,
            (Verdict::Passed { .. }, Some(_)) => {
                wrong.push(format!("{full} passes, but is listed as a miss"));
            }
            (Verdict::Failed { .. }, Some(_)) => failed += 1,
            (Verdict::Failed { what }, None) => {
                failed += 1;
                wrong.push(format!("{full}: {what}"));
            }
            (Verdict::Unsupported { operators }, miss) => {
                unsupported += 1;
                for operator in operators {
                    let operator = operator.split(' ').next().unwrap_or(operator);
                    *missing.entry(operator).or_default() += 1;
                }
                if miss.is_none() {
                    wrong.push(format!("{full}: unsupported {}", operators.join(", ")));
                }
            }
        }
    }
    say(&format!(
        "{folder}: {passed} passed, {failed} failed, {unsupported} unsupported"
    ));
    for (operator, count) in missing {
        say(&format!("    {operator}: {count} nodes"));
    }
    assert!(!verdicts.is_empty(), "{folder} holds no model");
    assert!(
        wrong.is_empty(),
        "{} of {} cases are not as listed:\n{}",
        wrong.len(),
        verdicts.len(),
        wrong.join("\n")
    );
}

/// Every model below a folder, by the name of its own folder.
fn verdicts(folder: &Path, tolerance: Tolerance) -> BTreeMap<String, Verdict> {
    let mut verdicts = BTreeMap::new();
    for model in models(folder).unwrap() {
        let name = model.parent().unwrap().file_name().unwrap();
        let verdict = verify(
            &model,
            &ImportOptions::new(),
            &NetworkOptions::new(),
            tolerance,
        );
        let name = name.to_str().unwrap().to_owned();
        assert!(verdicts.insert(name, verdict).is_none());
    }
    verdicts
}

fn cases(folder: &str) {
    let Some(path) = data(&format!("onnx-conformance/{folder}")) else {
        return;
    };
    judge(folder, &verdicts(&path, Tolerance::default()));
}

#[test]
fn convolution_and_pooling() {
    cases("1-conv-pool");
}

#[test]
fn operators_of_networks() {
    cases("2-cnn-inference");
}

#[test]
fn layers_that_pytorch_wrote() {
    cases("5-pytorch-converted");
}

#[test]
fn operators_that_pytorch_wrote() {
    cases("5-pytorch-operator");
}

#[test]
fn simple_models() {
    cases("5-simple");
}

/// Trained networks. Besides the tolerance of the runner, no element is further off than sums of f32 explain.
#[test]
fn trained_networks() {
    let Some(path) = data("models") else {
        return;
    };
    let path = path.as_path();
    let mut found = BTreeMap::new();
    for model in models(path).unwrap() {
        let folder = model.parent().unwrap();
        found.extend(verdicts(
            folder,
            Tolerance {
                rtol: 1e-3,
                atol: 1e-4,
            },
        ));
    }
    for (name, verdict) in &mut found {
        if let Verdict::Passed { largest } = verdict {
            say(&format!(
                "{name}: largest difference {largest:.1e} of the largest value"
            ));
            if *largest > SUMS {
                *verdict = Verdict::Failed {
                    what: format!("a difference of {largest:e} of the largest value"),
                };
            }
        }
    }
    judge("models", &found);
}

/// What a light model makes of 0/n, 1/n, …, (n − 1)/n, against what is recorded.
fn light(model: &Path) -> Verdict {
    let failed = |what: String| Verdict::Failed { what };
    let graph = match import(model, &ImportOptions::new()) {
        Ok(graph) => graph,
        Err(error) => return failed(error.to_string()),
    };
    let network = Network::new(graph).unwrap();
    let graph = network.graph();
    let [input] = graph.inputs() else {
        return failed(format!("{} inputs", graph.inputs().len()));
    };
    let dims = input.dims.as_ref().unwrap();
    let shape: Vec<usize> = dims
        .iter()
        .map(|dim| match dim {
            gemmconv::network::Dim::Size(size) => *size,
            gemmconv::network::Dim::Free(_) => 1,
        })
        .collect();
    let len: usize = shape.iter().product();
    let elements = (0..len).map(|at| at as f32 / len as f32).collect();
    let image: Tensor = ArrayD::from_shape_vec(shape, elements).unwrap().into();
    let outputs = match network.run(&[(graph.name(input.value), image)]) {
        Ok(outputs) => outputs,
        Err(error) => return failed(error.to_string()),
    };
    let stem = model.file_stem().unwrap().to_str().unwrap();
    let expected = model.with_file_name(format!("{stem}_output_0.pb"));
    let (_, expected) = read_tensor_file(&expected).unwrap();
    match compare(&outputs[0].1, &expected, Tolerance::default()) {
        Ok(largest) => Verdict::Passed { largest },
        Err(what) => failed(what),
    }
}

#[test]
fn light_topologies() {
    let Some(path) = data("onnx-conformance/light") else {
        return;
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&path).unwrap() {
        let model = entry.unwrap().path();
        if model
            .extension()
            .is_some_and(|extension| extension == "onnx")
        {
            let name = model.file_stem().unwrap().to_str().unwrap().to_owned();
            found.insert(name, light(&model));
        }
    }
    assert_eq!(found.len(), 9);
    judge("light", &found);
}
