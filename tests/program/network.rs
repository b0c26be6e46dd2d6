//! `gemmconv run`, `verify` and `inspect` as a person calls them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::data;
use crate::drawn;
use gemmconv::data::npy;
use gemmconv::network::Tensor;
use gemmconv::onnx::{read_tensor_file, write_tensor};
use ndarray::{Array4, ArrayD, Axis};
use serde_json::Value;

/// Runs the program; it must end with `status`, and without a panic.
fn expect(status: i32, arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gemmconv"))
        .args(arguments)
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}\n{out}{err}"
    );
    assert!(!err.contains("panicked"), "{arguments:?}\n{err}");
    (out, err)
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a name in UTF-8")
}

/// Red 0.5, green 0.25 and blue 0.
fn image() -> Tensor {
    let image = Array4::from_shape_fn((1, 3, drawn::SIDE, drawn::SIDE), |(_, channel, _, _)| {
        [0.5f32, 0.25, 0.0][channel]
    });
    image.into_dyn().into()
}

/// softmax(4 · (0.5, 0.25, 0)).
fn expected() -> [f64; 3] {
    let powers = [2f64, 1.0, 0.0].map(f64::exp);
    powers.map(|power| power / powers.iter().sum::<f64>())
}

fn floats(path: &Path) -> ArrayD<f32> {
    let tensor = npy::read(&fs::read(path).unwrap()).unwrap();
    tensor.array::<f32>().expect("f32").clone()
}

#[test]
fn tensors_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let model = drawn::write_colours(folder.path());
    let (npy, pb) = (folder.path().join("x.npy"), folder.path().join("x=1.pb"));
    fs::write(&npy, npy::write(&image()).unwrap()).unwrap();
    fs::write(&pb, write_tensor("x", &image()).unwrap()).unwrap();
    let results = folder.path().join("results/deep");
    for input in [
        format!("x={}", name(&npy)),
        format!("x={}", name(&pb)),
        name(&npy).to_owned(),
        name(&pb).to_owned(),
    ] {
        let arguments = [
            "run",
            name(&model),
            "--input",
            &input,
            "--output-dir",
            name(&results),
        ];
        let (out, _) = expect(0, &arguments);
        assert!(out.starts_with("scores  f32 1x3  "), "{out}");
        let scores = floats(&results.join("scores.npy"));
        assert_eq!(scores.shape(), [1, 3]);
        for (&got, expected) in scores.iter().zip(expected()) {
            assert!(
                (f64::from(got) - expected).abs() < 1e-6,
                "{got}, {expected}"
            );
        }
        fs::remove_dir_all(&results).unwrap();
    }
    // Something in the middle, alone, as the other kind of file.
    let input = format!("x={}", name(&npy));
    let run = ["run", name(&model), "-i", &input, "-d", name(&results)];
    expect(
        0,
        &[
            &run[..],
            &["--output", "positive", "--output", "mean", "--format", "pb"],
        ]
        .concat(),
    );
    assert!(!results.join("scores.pb").exists());
    let (known, mean) = read_tensor_file(&results.join("mean.pb")).unwrap();
    assert_eq!(known, "mean");
    assert_eq!(
        mean.array::<f32>().unwrap().as_slice().unwrap(),
        [2.0, 1.0, 0.0]
    );
    let (_, positive) = read_tensor_file(&results.join("positive.pb")).unwrap();
    assert_eq!(positive.shape(), [1, 3, 8, 8]);
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = drawn::write_colours(folder.path());
    let put = |name: &str, tensor: &Tensor| {
        let path = folder.path().join(name);
        fs::write(&path, npy::write(tensor).unwrap()).unwrap();
        format!("x={}", path.display())
    };
    let narrow = put(
        "narrow.npy",
        &Array4::<f32>::zeros((1, 3, 8, 7)).into_dyn().into(),
    );
    let double = put(
        "double.npy",
        &Array4::<f64>::zeros((1, 3, 8, 8)).into_dyn().into(),
    );
    let good = put("good.npy", &image());
    let none = format!("x={}", folder.path().join("none.npy").display());
    let other = good.replacen('x', "y", 1);
    let text = folder.path().join("text.npy");
    fs::write(&text, "no array").unwrap();
    let text = format!("x={}", text.display());
    let results = folder.path().join("results");
    for (status, inputs, expected) in [
        (1, &[&narrow][..], "size 7 on axis 3, expected 8"),
        (1, &[&double], "type f64, expected f32"),
        (1, &[&good, &good], "given twice"),
        (2, &[&none], "none.npy"),
        (2, &[&other], "no input \"y\"; the inputs are x"),
        (2, &[&text], "not a .npy file"),
    ] {
        let mut arguments = vec!["run", name(&model), "-d", name(&results)];
        for input in inputs {
            arguments.extend(["-i", input]);
        }
        let (_, err) = expect(status, &arguments);
        assert!(err.contains(expected), "{err}");
        assert!(!results.exists());
    }
    let run = ["run", name(&model), "-i", &good, "-d", name(&results)];
    let (_, err) = expect(1, &[&run[..], &["-o", "nothing"]].concat());
    assert!(
        err.contains("no value \"nothing\"") && err.contains("scores"),
        "{err}"
    );
    let (_, err) = expect(
        1,
        &[
            "run",
            name(folder.path()),
            "-i",
            &good,
            "-d",
            name(&results),
        ],
    );
    assert!(err.contains("no regular file"), "{err}");
}

/// A model that passes, one that does not, and one with operators that are not there.
#[test]
fn recorded_cases() {
    let folder = tempfile::tempdir().unwrap();
    let case = |case: &str, last: &str, scores: [f32; 3]| {
        let set = folder.path().join(case).join("test_data_set_0");
        fs::create_dir_all(&set).unwrap();
        fs::write(set.join("../model.onnx"), drawn::colours(last)).unwrap();
        let scores = ndarray::arr2(&[scores]).into_dyn().into();
        fs::write(set.join("input_0.pb"), write_tensor("x", &image()).unwrap()).unwrap();
        fs::write(
            set.join("output_0.pb"),
            write_tensor("scores", &scores).unwrap(),
        )
        .unwrap();
    };
    let right = expected().map(|value| value as f32);
    case("deep/down/right", "Softmax", right);
    case(
        "deep/wrong",
        "Softmax",
        [right[0] + 0.01, right[1], right[2]],
    );
    case("other", "Frobnicate", right);
    let at = |name: &str| folder.path().join(name).display().to_string();

    let (out, _) = expect(1, &["verify", name(folder.path())]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(
        lines[0].starts_with("passed ") && lines[0].contains("right/model.onnx"),
        "{out}"
    );
    assert!(
        lines[1].starts_with("failed ") && lines[1].contains("1 of 3 elements"),
        "{out}"
    );
    assert!(
        lines[2].starts_with("unsupported ") && lines[2].contains("Frobnicate"),
        "{out}"
    );
    assert!(lines[2].contains("node of scores"), "{out}");
    assert_eq!(lines[3], "1 passed, 1 failed, 1 unsupported");

    let (out, _) = expect(
        0,
        &[
            "verify",
            &at("deep"),
            &at("other"),
            "--rtol",
            "0.05",
            "--json",
        ],
    );
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["verdict"], "passed");
    assert!(lines[0]["largest"].as_f64().unwrap() < 1e-6);
    assert_eq!(lines[1]["verdict"], "passed");
    assert_eq!(lines[2]["verdict"], "unsupported");
    assert_eq!(
        lines[3],
        serde_json::json!({"passed": 2, "failed": 0, "unsupported": 1})
    );

    fs::create_dir(folder.path().join("empty")).unwrap();
    let (out, _) = expect(
        1,
        &[
            "verify",
            &at("empty"),
            &at("missing"),
            &at("deep/down/right/model.onnx"),
        ],
    );
    assert!(
        out.ends_with("1 passed, 2 failed, 0 unsupported\n"),
        "{out}"
    );
    expect(2, &["verify", &at("deep"), "--atol", "-1"]);
}

#[test]
fn layers_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = drawn::write_colours(folder.path());
    let dot = folder.path().join("graph.dot");
    let (out, _) = expect(0, &["inspect", name(&model), "--dot", name(&dot)]);
    let row = |operator: &str| {
        let line = out.lines().find(|line| line.contains(operator));
        line.unwrap_or_else(|| panic!("{operator}: {out}"))
    };
    assert!(
        out.starts_with("input   x  f32 1x3x8x8\noutput  scores  f32 1x3\n"),
        "{out}"
    );
    // 3 x 3 weights; 2 operations for each and each of 64 pixels.
    assert!(
        row("Conv").contains("node of scaled") && row("Conv").contains("1.15 k"),
        "{out}"
    );
    assert!(row("Conv").ends_with("1x1"), "{out}");
    assert!(row("Relu").contains("fused"), "{out}");
    assert!(row("Softmax").contains("1x3"), "{out}");
    assert!(
        out.contains("5 layers") && out.contains("9 parameters"),
        "{out}"
    );
    let dot = fs::read_to_string(dot).unwrap();
    assert!(
        dot.starts_with("digraph") && dot.contains("layer0 -> layer1 [label=\"1x3x8x8\"]"),
        "{dot}"
    );
    let (out, _) = expect(0, &["inspect", name(&model), "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["multiply_adds"], 9 * 64);
    assert_eq!(report["layers"][0]["recipe"], "pointwise");
    assert_eq!(report["layers"][1]["recipe"], Value::Null);
    assert_eq!(
        report["layers"][1]["receptive_field"],
        serde_json::json!([1, 1])
    );

    fs::write(&model, drawn::colours("Frobnicate")).unwrap();
    let (_, err) = expect(1, &["inspect", name(&model)]);
    assert!(
        err.contains("Frobnicate") && err.contains("node of scores"),
        "{err}"
    );
    let (_, err) = expect(
        2,
        &[
            "inspect",
            name(&drawn::write_colours(folder.path())),
            "--shape",
            "y=1x2",
        ],
    );
    assert!(err.contains("the inputs are x"), "{err}");
}

/// Trained networks: the recorded cases pass, and the numbers are those that others counted.
#[test]
fn trained_networks() {
    let Some(models) = data("models") else {
        return;
    };
    for (network, parameters) in [("squeezenet1.1_fp32", 1_235_496), ("mnist-8", 5_994)] {
        let folder = models.join(network);
        let (out, _) = expect(0, &["verify", name(&folder), "--atol", "1e-4"]);
        assert!(
            out.ends_with("1 passed, 0 failed, 0 unsupported\n"),
            "{out}"
        );
        let model = folder.join("model.onnx");
        let (out, _) = expect(0, &["inspect", name(&model), "--json"]);
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["parameters"], parameters, "{network}");
        let set = folder.join("test_data_set_1");
        let results = tempfile::tempdir().unwrap();
        let input = set.join("input_0.pb");
        let arguments = [
            "run",
            name(&model),
            "-i",
            name(&input),
            "-d",
            name(results.path()),
        ];
        expect(0, &arguments);
        let output = report["outputs"][0]["name"].as_str().unwrap();
        let got = floats(&results.path().join(format!("{output}.npy")));
        let (_, expected) = read_tensor_file(&set.join("output_0.pb")).unwrap();
        let expected = expected.array::<f32>().unwrap();
        assert_eq!(got.shape(), expected.shape());
        let top = |scores: &ArrayD<f32>| {
            let scores = scores.view().into_shape_with_order(scores.len()).unwrap();
            let places = scores.axis_iter(Axis(0)).enumerate();
            let best = places.max_by(|a, b| a.1.first().unwrap().total_cmp(b.1.first().unwrap()));
            best.unwrap().0
        };
        assert_eq!(top(&got), top(expected), "{network}");
    }
}
