//! Models that others recorded inputs and outputs of: the operator cases of the ONNX standard, its nine "light"
//! topologies, and trained networks.
//!
//! Every case passes, or stands in [`MISSES`] with the reason. A miss that passes is an error too, so that the
//! list stays true.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use crate::common::data;
use gemmconv::Error;
use gemmconv::network::{Network, NetworkOptions, Tensor};
use gemmconv::onnx::{
    ImportOptions, Tolerance, Verdict, compare, export_bytes, import, models, read_tensor_file,
    verify, verify_sets,
};
use ndarray::ArrayD;

/// Cases that do not pass, by folder and name, with the reason.
const MISSES: &[(&str, &str)] = &[];

/// Recorded sets that other weights than the model's made, with how far off they are.
const OTHER_WEIGHTS: &[(&str, f64)] = &[
    // Of the trained network in f32; the model has its weights rounded to f16.
    ("squeezenet1.1_fp32/test_data_set_0", 1.5e-4),
];

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
    judge(folder, &verdicts(&path, Tolerance::OPERATOR));
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

/// Trained networks: no element is further off than 1e-5 of the largest in its tensor, or 1e-7.
#[test]
fn trained_networks() {
    let Some(path) = data("models") else {
        return;
    };
    let sums = |atol| Tolerance {
        rtol: 0.0,
        atol,
        of_largest: 1e-5,
    };
    let (mut found, mut exceptions) = (BTreeMap::new(), 0);
    for model in models(&path).unwrap() {
        let folder = model
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        let verify = |tolerance| {
            let (import, network) = (ImportOptions::new(), NetworkOptions::new());
            verify_sets(&model, &import, &network, tolerance)
        };
        let sets = match verify(sums(1e-7)) {
            Ok(sets) => sets,
            Err(error) => {
                let what = error.to_string();
                found.insert(folder.to_owned(), Verdict::Failed { what });
                continue;
            }
        };
        for (at, (set, verdict)) in sets.into_iter().enumerate() {
            let name = format!("{folder}/{}", set.file_name().unwrap().to_str().unwrap());
            let other = OTHER_WEIGHTS.iter().find(|(known, _)| *known == name);
            let verdict = match other {
                None => verdict,
                Some((_, off)) => {
                    exceptions += 1;
                    assert!(matches!(verdict, Verdict::Failed { .. }), "{name}");
                    verify(sums(*off)).unwrap().swap_remove(at).1
                }
            };
            if let Verdict::Passed { largest } = verdict {
                say(&format!("    {name}: {largest:.1e} of the largest value"));
            }
            found.insert(name, verdict);
        }
    }
    assert_eq!(exceptions, OTHER_WEIGHTS.len());
    judge("models", &found);
}

/// Operators that are read but have no form in a file that is written, or not always: `Align` stands for the broadcasting
/// of old operator sets, `Resize` is Upsample's.
const UNWRITTEN: &[&str] = &["Align", "Col2Im", "DeformConv", "MaxUnpool", "Resize"];

/// Every case that can be read is written, read again, and makes what was recorded.
#[cfg(unix)]
#[test]
fn what_is_written_again_passes_too() {
    let Some(path) = data("onnx-conformance") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (mut written, mut left, mut wrong) = (0, BTreeMap::<String, usize>::new(), Vec::new());
    for model in models(&path).unwrap() {
        let graph = import(&model, &ImportOptions::new()).unwrap();
        let bytes = match export_bytes(&graph) {
            Ok(bytes) => bytes,
            Err(Error::UnwritableOperators { list }) => {
                for what in list {
                    let operator = what.split(' ').next().unwrap().to_owned();
                    *left.entry(operator).or_default() += 1;
                    say(&format!("    {}: {what}", model.display()));
                }
                continue;
            }
            Err(error) => panic!("{}: {error}", model.display()),
        };
        let case = model.parent().unwrap();
        let copy = folder.path().join(case.file_name().unwrap());
        std::fs::create_dir(&copy).unwrap();
        std::fs::write(copy.join("model.onnx"), bytes).unwrap();
        for entry in std::fs::read_dir(case).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                let recorded = entry.path().canonicalize().unwrap();
                std::os::unix::fs::symlink(recorded, copy.join(entry.file_name())).unwrap();
            }
        }
        written += 1;
    }
    for (name, verdict) in verdicts(folder.path(), Tolerance::OPERATOR) {
        if !matches!(verdict, Verdict::Passed { .. }) {
            wrong.push(format!("{name}: {verdict:?}"));
        }
    }
    say(&format!("{written} cases written again; not {left:?}"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let left: Vec<&str> = left.keys().map(String::as_str).collect();
    assert_eq!(left, UNWRITTEN);
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
    match compare(&outputs[0].1, &expected, Tolerance::OPERATOR) {
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
