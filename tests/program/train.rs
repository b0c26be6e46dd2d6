//! `gemmconv train`, `evaluate` and `export` as a person calls them, on a small data set that the test draws.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

const SIDE: usize = 12;
const TRAIN: usize = 192;
const TEST: usize = 60;
const EPOCHS: usize = 3;
const BATCH: usize = 16;

/// Bars that lie, bars that stand, and crosses, in noise: an idx data set.
fn data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    let mut random = Rng::with_seed(5);
    for (part, count) in [("train", TRAIN), ("t10k", TEST)] {
        let mut images = header(3, &[count, SIDE, SIDE]);
        let mut labels = header(1, &[count]);
        for example in 0..count {
            let class = example % 3;
            let (x, y) = (random.usize(2..SIDE - 2), random.usize(2..SIDE - 2));
            for pixel in 0..SIDE * SIDE {
                let (row, column) = (pixel / SIDE, pixel % SIDE);
                let inside = |at: usize| (1..SIDE - 1).contains(&at);
                let lies = class != 1 && row == y && inside(column);
                let stands = class != 0 && column == x && inside(row);
                images.push(match lies || stands {
                    true => 255,
                    false => random.u8(..60),
                });
            }
            labels.push(class as u8);
        }
        fs::write(data.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(data.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
    data
}

fn header(axes: u8, sizes: &[usize]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, axes];
    for &size in sizes {
        bytes.extend(u32::try_from(size).unwrap().to_be_bytes());
    }
    bytes
}

/// A folder with data.
struct Desk {
    folder: tempfile::TempDir,
    data: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path());
        Self { folder, data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_gemmconv"));
        program.args(arguments).current_dir(self.folder.path());
        program
    }

    /// `more` has the last word on every option.
    fn train(&self, out: &str, more: &[&str]) -> Command {
        let (epochs, batch) = (EPOCHS.to_string(), BATCH.to_string());
        let mut program = self.program(&["train", "--out", out]);
        for (name, value) in [
            ("--data", "data"),
            ("--arch", "mnist-cnn"),
            ("--epochs", epochs.as_str()),
            ("--batch", batch.as_str()),
            ("--lr", "0.02"),
        ] {
            if !more.contains(&name) {
                program.args([name, value]);
            }
        }
        program.args(more);
        program
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// What a run printed; it must have ended with `status`, and without a panic.
fn ended(status: i32, output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
    assert!(!err.contains("panicked"), "{err}");
    (out, err)
}

fn expect(status: i32, program: &mut Command) -> (String, String) {
    ended(status, &program.output().expect("the program starts"))
}

fn losses(log: &[u8]) -> Vec<(f64, f64)> {
    let lines = std::str::from_utf8(log).unwrap().lines();
    lines
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            let number = |key: &str| record[key].as_f64().unwrap();
            (number("train_loss"), number("test_accuracy"))
        })
        .collect()
}

#[test]
fn a_network_learns_and_leaves_what_it_promises() {
    let desk = Desk::new();
    let (_, err) = expect(0, &mut desk.train("one", &["--threads", "1"]));
    assert!(
        err.contains("epoch 3/3") && err.contains("model.onnx"),
        "{err}"
    );
    let log = losses(&desk.read("one/log.jsonl"));
    assert_eq!(log.len(), EPOCHS);
    assert!(log[2].0 < log[0].0 && log[2].1 > 0.95, "{log:?}");
    for name in ["curves.png", "confusion.png", "filters.png", "features.png"] {
        image::load_from_memory(&desk.read(&format!("one/{name}"))).unwrap();
    }
    assert!(
        String::from_utf8(desk.read("one/curves.svg"))
            .unwrap()
            .contains("<svg")
    );
    assert_eq!(desk.read("one/labels.txt"), b"0\n1\n2\n");

    // The same bits on two threads.
    expect(0, &mut desk.train("two", &["--threads", "2"]));
    assert!(desk.read("one/model.onnx") == desk.read("two/model.onnx"));
    assert_eq!(log, losses(&desk.read("two/log.jsonl")));

    // Another seed is another network.
    expect(
        0,
        &mut desk.train("other", &["--seed", "1", "--epochs", "1"]),
    );
    assert!(desk.read("one/network.onnx") != desk.read("other/network.onnx"));

    // What the folder and the file say is the same, and what the log said.
    let evaluated = |model: &str| {
        let arguments = ["evaluate", model, "--data", "data", "--json"];
        let (out, _) = expect(0, &mut desk.program(&arguments));
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let (folder, file) = (evaluated("one"), evaluated("one/model.onnx"));
    assert_eq!(folder, file);
    assert_eq!(file["examples"], TEST);
    assert_eq!(file["accuracy"].as_f64().unwrap(), log[2].1);
    let (out, _) = expect(0, &mut desk.program(&["evaluate", "one", "--data", "data"]));
    assert!(out.contains("of 60 images of 1×12×12 right"), "{out}");

    expect(
        0,
        &mut desk.program(&["export", "one", "-o", "exported.onnx"]),
    );
    assert!(desk.read("exported.onnx") == desk.read("one/model.onnx"));

    // The network can be trained on, with its first layer as it is.
    let more = [
        "--arch",
        "one/model.onnx",
        "--freeze",
        "conv1",
        "--lr",
        "0.002",
    ];
    let (_, err) = expect(
        0,
        desk.train("tuned", &more).args(["--schedule", "constant"]),
    );
    assert!(!err.contains("made anew"), "{err}");
    assert!(losses(&desk.read("tuned/log.jsonl"))[0].1 > 0.95);
}

#[test]
fn killed_at_any_moment_it_goes_on_to_the_same_bits() {
    let desk = Desk::new();
    let every = [
        "--checkpoint-every",
        "1",
        "--optimizer",
        "adam",
        "--lr",
        "0.003",
        "--augment",
        "shift:1,flip",
    ];
    expect(0, &mut desk.train("whole", &every));
    let mut random = Rng::with_seed(11);
    let (mut kills, begun) = (0, Instant::now());
    loop {
        let mut program = desk.train("killed", &every);
        let checkpoints = fs::read_dir(desk.path("killed/checkpoints"));
        let there = checkpoints.is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("step-")
            })
        });
        if there {
            program.arg("--resume");
        }
        program.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        if kills < 10 {
            thread::sleep(Duration::from_millis(random.u64(60..400)));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
        }
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            break;
        }
        if output.status.code().is_some() {
            ended(0, &output);
        }
        assert!(begun.elapsed() < Duration::from_secs(300));
    }
    assert!(kills > 0);
    assert!(desk.read("whole/model.onnx") == desk.read("killed/model.onnx"));
    assert_eq!(
        losses(&desk.read("whole/log.jsonl")),
        losses(&desk.read("killed/log.jsonl"))
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let desk = Desk::new();
    let mut program = desk.train("run", &["--epochs", "200", "--schedule", "constant"]);
    let mut child = program.stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !desk.path("run/log.jsonl").exists() || desk.read("run/log.jsonl").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(20));
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let (_, err) = ended(130, &child.wait_with_output().unwrap());
    assert!(err.contains("--resume") && err.contains("saved"), "{err}");
    let lines = losses(&desk.read("run/log.jsonl")).len() as u64;
    let epochs = (lines + 1).to_string();
    let (_, err) = expect(
        0,
        &mut desk.train(
            "run",
            &["--epochs", &epochs, "--schedule", "constant", "--resume"],
        ),
    );
    assert!(err.contains("going on from"), "{err}");
}

#[test]
fn what_is_wrong_is_said() {
    let desk = Desk::new();
    expect(0, &mut desk.train("run", &["--epochs", "1"]));
    let said = |status: i32, program: &mut Command, words: &[&str]| {
        let (_, err) = expect(status, program);
        for word in words {
            assert!(err.contains(word), "{word:?} is not in {err}");
        }
    };
    said(
        2,
        &mut desk.train("a", &["--lr", "0"]),
        &["--lr 0", "above 0"],
    );
    said(2, &mut desk.train("a", &["--lr", "nan"]), &["--lr"]);
    said(
        2,
        &mut desk.train("a", &["--optimizer", "sgd:speed=1"]),
        &["speed", "momentum"],
    );
    said(2, &mut desk.train("a", &["--smoothing", "1"]), &["below 1"]);
    said(
        1,
        &mut desk.train("a", &["--arch", "resnet-1000"]),
        &["resnet20", "mnist-cnn"],
    );
    said(
        1,
        &mut desk.train("a", &["--batch", "1000"]),
        &["1000", "192"],
    );
    said(
        1,
        &mut desk.train("a", &["--freeze", "cnov"]),
        &["cnov", "conv1.weight"],
    );
    said(
        1,
        &mut desk.train("a", &["--data", "nowhere"]),
        &["nowhere"],
    );
    // A training is not overwritten, nor taken up as another one.
    said(1, &mut desk.train("run", &[]), &["--resume"]);
    said(1, &mut desk.train("a", &["--resume"]), &["no checkpoint"]);
    said(
        1,
        &mut desk.train("run", &["--resume", "--batch", "8", "--optimizer", "adam"]),
        &["--batch was 16, now it is 8", "--optimizer was sgd"],
    );
    // A loss that is no number: where, when, and what is left.
    said(
        1,
        &mut desk.train("wild", &["--lr", "1e18"]),
        &["the loss of step", "not finite", "conv"],
    );
    let labels = desk.data.join("t10k-labels-idx1-ubyte");
    let kept = fs::read(&labels).unwrap();
    fs::remove_file(&labels).unwrap();
    said(1, &mut desk.train("b", &[]), &["test", "t10k-labels"]);
    fs::write(&labels, kept).unwrap();
    fs::write(desk.data.join("train-labels-idx1-ubyte"), {
        let mut labels = header(1, &[TRAIN]);
        labels.extend((0..TRAIN).map(|example| (example % 3) as u8 * 100));
        labels
    })
    .unwrap();
    said(1, &mut desk.train("b", &[]), &["class"]);
}
