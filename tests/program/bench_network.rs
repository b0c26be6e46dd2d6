//! `gemmconv bench --model` as a person or another program calls it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::data;
use crate::drawn;
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

/// `gemmconv bench --budget 0 --model MODEL …`: five runs.
fn bench(status: i32, model: &Path, arguments: &[&str]) -> (String, String) {
    let bench = ["bench", "--budget", "0", "--model", name(model)];
    expect(status, &[&bench, arguments].concat())
}

/// The object of `--json -`, which is alone in its line and there is no other.
fn object(model: &Path, arguments: &[&str]) -> Value {
    let (out, _) = bench(0, model, &[arguments, &["--json", "-"]].concat());
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a name in UTF-8")
}

fn number(object: &Value, key: &str) -> f64 {
    object[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key}: {object}"))
}

/// What must hold of every report.
fn check(report: &Value) {
    let [median, p90, p99, least] = [
        "median_seconds",
        "p90_seconds",
        "p99_seconds",
        "min_seconds",
    ]
    .map(|key| number(report, key));
    assert!(0.0 < least && least <= median && median <= p90 && p90 <= p99);
    let images = number(report, "images_per_second") * median;
    assert!((images / number(report, "batch") - 1.0).abs() < 1e-9);
    let operations = number(report, "gflops") * median * 1e9;
    assert!((operations - number(report, "operations")).abs() <= 1e-6 * operations);
    assert!(number(report, "peak_gflops") > 0.0);
    assert!(number(report, "import_seconds") > 0.0 && number(report, "planning_seconds") > 0.0);
    assert!(report["arena_bytes"].is_u64() && report["activation_bytes"].is_u64());
    assert!(["AVX-512F", "AVX2+FMA", "portable"].contains(&report["isa"].as_str().unwrap()));
}

#[test]
fn the_numbers_agree_with_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let model = drawn::write_colours(folder.path());
    // The file fixes one picture; it can be planned for others.
    for (batch, threads) in [("1", "1"), ("4", "2")] {
        let report = object(&model, &["--batch", batch, "--threads", threads]);
        check(&report);
        assert_eq!(report["model"], name(&model));
        assert_eq!(report["batch"].to_string(), batch);
        assert_eq!(report["threads"].to_string(), threads);
        assert_eq!(report["runs"], 5);
        assert!(report.get("layers").is_none());
        // The 1 x 1 convolution of 3 channels to 3, of which there are 64 pixels a picture.
        let pictures = batch.parse::<u64>().unwrap();
        assert_eq!(report["operations"], 2 * 9 * 64 * pictures);
        assert!(report["activation_bytes"].as_u64().unwrap() >= pictures * 3 * 4);
    }
    assert_eq!(object(&model, &[])["batch"], 1, "what the file says");
    let exact = object(&model, &["--accuracy", "exact"]);
    check(&exact);
}

#[test]
fn a_table_for_people_and_an_object_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let model = drawn::write_colours(folder.path());
    let json = folder.path().join("report.json");
    let (out, _) = bench(0, &model, &["--batch", "2", "--json", name(&json)]);
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    check(&report);
    assert!(
        out.starts_with(&format!(
            "{}, batch 2, 1 thread\ninput  x  f32  2x3x8x8\n\n",
            name(&model)
        )),
        "{out}"
    );
    let titles: Vec<&str> = out
        .lines()
        .skip(3)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        titles,
        [
            "images/s",
            "runs",
            "median",
            "p90",
            "p99",
            "least",
            "GFLOP/s",
            "arena",
            "activations",
            "import",
            "planning"
        ]
    );
    // The same run, to three digits.
    let shown = out.lines().find(|line| line.starts_with("images/s"));
    let shown: f64 = shown
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|text| text.parse().ok())
        .unwrap();
    assert!((shown / number(&report, "images_per_second") - 1.0).abs() < 0.006);
}

#[test]
fn sizes_that_are_free_are_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("any.onnx");
    fs::write(&model, drawn::colours_of_any_size()).unwrap();
    let pixels =
        |arguments: &[&str]| object(&model, arguments)["operations"].as_u64().unwrap() / 18;
    assert_eq!(pixels(&[]), 224 * 224);
    assert_eq!(pixels(&["--batch", "2"]), 2 * 224 * 224);
    let shape = ["--batch", "3", "--shape", "x=1x3x5x7"];
    assert_eq!(pixels(&shape), 3 * 5 * 7);
    let (out, _) = bench(0, &model, &shape);
    assert!(out.contains("input  x  f32  3x3x5x7"), "{out}");
}

#[test]
fn every_layer_that_runs_has_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let model = drawn::write_colours(folder.path());
    let svg = folder.path().join("layers.svg");
    profiled(&model, &["--batch", "2"]);
    let (out, _) = bench(0, &model, &["--profile", "--svg", name(&svg)]);
    let heading = |titles: &[&str]| {
        let line = |line: &&str| line.split_whitespace().eq(titles.iter().copied());
        out.lines().position(|text| line(&text)).expect(&out)
    };
    let layers = heading(&[
        "share", "ms", "GFLOP/s", "operator", "output", "recipe", "name",
    ]);
    let sums = heading(&["share", "ms", "GFLOP/s", "layers", "operator"]);
    let conv = out.lines().nth(layers + 1).unwrap();
    assert!(
        conv.contains("Conv") && conv.contains("1x3x8x8") && conv.ends_with("node of scaled"),
        "{out}"
    );
    let last = out.lines().last().unwrap();
    let shown = sums - layers - 2;
    assert!(
        last.trim_start().starts_with("100.0%") && last.ends_with(&format!("{shown}  all layers")),
        "{out}"
    );
    let picture = fs::read_to_string(&svg).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"));
    for text in ["colours.onnx, batch 1", "node of scaled 1x3x8x8", "Softmax"] {
        assert!(picture.contains(text), "{text}: {picture}");
    }
}

/// The layers of the profile are those that `inspect` says are run, and their shares are all of the time.
fn profiled(model: &Path, arguments: &[&str]) {
    let report = object(model, &[arguments, &["--profile"]].concat());
    check(&report);
    let layers = report["layers"].as_array().unwrap();
    let (mut shares, mut operations) = (0.0, 0.0);
    for layer in layers {
        let seconds = number(layer, "median_seconds");
        assert!(seconds > 0.0 && layer["operator"].is_string() && layer["recipe"].is_string());
        assert!(layer["shape"].is_array(), "{layer}");
        shares += number(layer, "share");
        operations += number(layer, "gflops") * seconds * 1e9;
    }
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    assert!((operations / number(&report, "operations") - 1.0).abs() < 1e-6);
    let (out, _) = expect(0, &["inspect", name(model), "--json"]);
    let inspected: Value = serde_json::from_str(&out).unwrap();
    let run = inspected["layers"].as_array().unwrap().iter();
    let run: Vec<&Value> = run.filter(|layer| !layer["recipe"].is_null()).collect();
    assert!(!run.is_empty());
    for layer in run {
        let found = layers.iter().find(|found| found["name"] == layer["name"]);
        assert!(found.is_some(), "{layer} is not in {layers:?}");
    }
}

#[test]
fn a_model_that_cannot_take_the_batch_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("fixed.onnx");
    let one = |shape: &[i64]| fs::write(&model, drawn::reshaped(shape)).unwrap();
    one(&[1, 192]);
    assert_eq!(object(&model, &[])["batch"], 1);
    let (_, err) = bench(1, &model, &["--batch", "4"]);
    assert_eq!(err.matches("768").count(), 1, "said once: {err}");
    for text in [
        "fixed.onnx",
        "a batch of 1",
        "for 4",
        "node of scores",
        "192",
        "768",
    ] {
        assert!(err.contains(text), "{text}: {err}");
    }
    // It can be planned, but makes one row of all pictures.
    one(&[1, -1]);
    let (_, err) = bench(1, &model, &["--batch", "4"]);
    for text in ["\"scores\"", "1x768", "batch of 4"] {
        assert!(err.contains(text), "{text}: {err}");
    }
    one(&[-1, 192]);
    assert_eq!(object(&model, &["--batch", "4"])["batch"], 4);
}

#[test]
fn what_is_wrong_is_said_with_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let model = drawn::write_colours(folder.path());
    let any = folder.path().join("any.onnx");
    fs::write(&any, drawn::colours_of_any_size()).unwrap();
    let unknown = folder.path().join("unknown.onnx");
    fs::write(&unknown, drawn::colours("Frobnicate")).unwrap();
    let text = folder.path().join("text.onnx");
    fs::write(&text, "no model").unwrap();
    let none = folder.path().join("none.onnx");
    let svg = folder.path().join("x.svg");
    for (status, model, arguments, expected) in [
        (1, &none, &[][..], &["none.onnx"][..]),
        (1, &text, &[], &["text.onnx"]),
        (1, &unknown, &[], &["Frobnicate", "node of scores"]),
        (1, &folder.path().to_path_buf(), &[], &["no regular file"]),
        (2, &model, &["--batch", "0"], &["'0'", "--batch"]),
        (2, &model, &["--batch", "x"], &["--batch"]),
        (2, &model, &["--threads", "0"], &["--threads"]),
        (
            2,
            &model,
            &["--shape", "y=1x2"],
            &["colours.onnx", "\"y\"", "the inputs are x"],
        ),
        (2, &model, &["--shape", "x"], &["NAME=1x3x224x224"]),
        (
            2,
            &model,
            &["--shape", "x=2x3x8x8", "--batch", "4"],
            &["batch of 4", "x 2x3x8x8"],
        ),
        (
            1,
            &model,
            &["--shape", "x=1x3x9x8"],
            &["size 9 on axis 2, expected 8"],
        ),
        (1, &model, &["--shape", "x=1x3"], &["colours.onnx", "4"]),
        (
            1,
            &any,
            &["--shape", "x=1x4x9x9"],
            &["size 4 on axis 1, expected 3"],
        ),
        (
            2,
            &any,
            &["--memory", "1", "--batch", "2"],
            &["any.onnx", "1204224", "1048576"],
        ),
        (
            2,
            &model,
            &["--batch", "18446744073709551615"],
            &["colours.onnx"],
        ),
        (2, &model, &["--batch", "99999999999"], &["4294967296"]),
        (1, &any, &["--memory", "1"], &["any.onnx", "1048576"]),
        (2, &model, &["--svg", name(&svg)], &["--profile"]),
        (
            2,
            &model,
            &["--profile", "--svg", name(&model)],
            &["--model and --svg"],
        ),
        (2, &model, &["--json", "none/x.json"], &["none/x.json"]),
    ] {
        let (out, err) = bench(status, model, arguments);
        assert!(out.is_empty(), "{arguments:?}: {out}");
        for text in expected {
            assert!(err.contains(text), "{arguments:?}, {text}: {err}");
        }
    }
    assert!(!svg.exists());
}

#[test]
fn options_of_the_other_kind_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = drawn::write_colours(folder.path());
    for arguments in [
        &["--problem", "mb1ic3ih9oc4kh3"][..],
        &["--problems", "list.txt"],
        &["--suite", "vgg16"],
        &["--direction", "forward"],
        &["--recipe", "naive"],
        &["--engine", "all"],
        &["--layout", "nhwc"],
        &["--check"],
    ] {
        let (_, err) = bench(2, &model, arguments);
        assert!(
            err.contains("cannot be used with") && err.contains(arguments[0]),
            "{err}"
        );
    }
    for arguments in [&["--profile"][..], &["--shape", "x=1"]] {
        let (_, err) = expect(2, &[&["bench"][..], arguments].concat());
        assert!(err.contains("--model <FILE>"), "{err}");
    }
    let (help, _) = expect(0, &["bench", "--help"]);
    for text in [
        "Networks:",
        "--model <FILE>",
        "--shape <NAME=SHAPE>",
        "--profile",
        "4096",
    ] {
        assert!(help.contains(text), "{text}: {help}");
    }
}

/// Trained networks, whose layers the passes join and rearrange.
#[test]
fn trained_networks() {
    let Some(models) = data("models") else {
        return;
    };
    for network in ["squeezenet1.1_fp32", "mnist-8"] {
        profiled(
            &models.join(network).join("model.onnx"),
            &["--threads", "2"],
        );
    }
}
