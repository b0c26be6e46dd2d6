//! `gemmconv classify` and `gemmconv features` as a person calls them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use crate::common::data;
use crate::drawn;
use gemmconv::data::npy;
use gemmconv::onnx::read_tensor_file;
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

fn program(command: &str, arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_gemmconv"));
    program.arg(command).args(arguments);
    program
}

/// What a run printed; it must have ended with `status`, and without a panic.
fn ended(status: i32, output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
    assert!(!err.contains("panicked"), "{err}");
    (out, err)
}

fn expect(status: i32, command: &str, arguments: &[&str]) -> (String, String) {
    ended(
        status,
        &program(command, arguments)
            .output()
            .expect("the program starts"),
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name in UTF-8")
}

/// A folder with the network that names colours, its labels, and pictures.
struct Desk {
    folder: tempfile::TempDir,
    model: PathBuf,
    labels: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let labels = folder.path().join("labels.txt");
        fs::write(&labels, "red\nleaf, green\nblue\n").unwrap();
        fs::create_dir(folder.path().join("photos")).unwrap();
        Self {
            model: drawn::write_colours(folder.path()),
            labels,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn photo(&self, name: &str, picture: impl Into<DynamicImage>) -> PathBuf {
        let path = self.path("photos").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.into().save(&path).unwrap();
        path
    }

    /// Red, green and blue ones of several sizes and kinds, and one that is none.
    fn photos(&self) {
        self.photo("a red.png", plain([255, 0, 0], 20, 10));
        self.photo("b/green.jpg", plain([0, 255, 0], 64, 64));
        self.photo("c.bmp", plain([0, 0, 255], 8, 8));
        fs::write(self.path("photos/d, broken.png"), "no picture").unwrap();
        self.photo("e.png", GrayImage::from_pixel(9, 9, Luma([128])));
    }

    fn arguments(&self) -> Vec<&str> {
        vec![
            "--model",
            text(&self.model),
            "--labels",
            text(&self.labels),
            "--preset",
            "unit",
        ]
    }
}

fn plain(colour: [u8; 3], width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, Rgb(colour))
}

/// e⁴ / (e⁴ + 2), what the network gives for a pure colour.
const PURE: &str = "0.964663";

#[test]
fn a_row_for_each_picture() {
    let desk = Desk::new();
    desk.photos();
    let (photos, csv) = (desk.path("photos"), desk.path("photos/out.csv"));
    let run = |extra: &[&str]| {
        let arguments = [&desk.arguments()[..], extra, &[text(&photos)]].concat();
        expect(1, "classify", &arguments)
    };
    let photo = |name: &str| photos.join(name).display().to_string();
    let expected = format!(
        "path,error,class_1,label_1,probability_1,class_2,label_2,probability_2\n\
         {},,0,red,{PURE},1,\"leaf, green\",0.017668\n\
         {},,1,\"leaf, green\",0.964\n\
         {},,2,blue,{PURE},0,red,0.017668\n\
         \"{}\",\"no picture in a format that is read (png, jpg, tif, bmp, webp, gif, pnm)\",,,,,,\n\
         {},,0,red,0.333333,1,\"leaf, green\",0.333333\n",
        photo("a red.png"),
        photo("b/green.jpg"),
        photo("c.bmp"),
        photo("d, broken.png"),
        photo("e.png"),
    );
    // A second run finds the rows of the first in the folder, and leaves them out.
    for batch in ["1", "3", "16"] {
        let (out, err) = run(&["--top", "2", "--batch", batch, "-o", text(&csv)]);
        let rows = fs::read_to_string(&csv).unwrap();
        // A JPEG is not quite what was drawn.
        for (row, expected) in rows.lines().zip(expected.lines()) {
            assert!(row.starts_with(expected), "{rows}");
        }
        assert_eq!(rows.lines().count(), 6);
        assert!(
            out.starts_with("4 done, 1 failed, ") && out.contains("images/s"),
            "{out}"
        );
        assert!(err.contains("d, broken.png: no picture"), "{err}");
    }
    fs::remove_file(&csv).unwrap();
    let (out, err) = run(&[]);
    assert!(
        out.lines()
            .next()
            .unwrap()
            .ends_with("a red.png: red 96.5 %; leaf, green 1.8 %; blue 1.8 %"),
        "{out}"
    );
    assert!(
        out.lines().nth(3).unwrap().contains("error: no picture"),
        "{out}"
    );
    assert!(err.contains("4 done, 1 failed"), "{err}");

    let jsonl = desk.path("out.jsonl");
    run(&["-k", "1", "-o", text(&jsonl)]);
    let rows = fs::read_to_string(&jsonl).unwrap();
    let rows: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    assert_eq!(rows.len(), 5);
    assert_eq!(
        rows[2]["predictions"],
        serde_json::json!([{"class": 2, "label": "blue", "probability": 0.964663}])
    );
    assert_eq!(rows[3]["path"], photo("d, broken.png"));
    assert!(rows[3].get("predictions").is_none());
}

/// Files, folders, what is missing, and names on standard input, in the order given.
#[test]
fn pictures_are_listed_in_order() {
    let desk = Desk::new();
    let red = desk.photo("red.png", plain([255, 0, 0], 8, 8));
    let blue = desk.photo("blue.png", plain([0, 0, 255], 8, 8));
    let (csv, list) = (desk.path("out.csv"), desk.path("list"));
    let missing = desk.path("missing.png");
    fs::write(
        &list,
        format!("{}\r\n\n{}\n{}", text(&blue), text(&missing), text(&red)),
    )
    .unwrap();
    let folder = desk.path("photos");
    let arguments = desk.arguments();
    let arguments = [
        &arguments[..],
        &["-o", text(&csv), text(&red), "-", text(&folder)],
    ]
    .concat();
    let output = program("classify", &arguments)
        .stdin(File::open(&list).unwrap())
        .output()
        .unwrap();
    ended(1, &output);
    let rows = fs::read_to_string(&csv).unwrap();
    let labels: Vec<&str> = rows
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(3).unwrap())
        .collect();
    assert_eq!(labels, ["red", "blue", "", "red", "blue", "red"], "{rows}");
}

#[test]
fn what_does_not_fit_is_said() {
    let desk = Desk::new();
    let red = desk.photo("red.png", plain([255, 0, 0], 8, 8));
    let two = desk.path("two.txt");
    fs::write(&two, "one\ntwo\n").unwrap();
    let (model, red) = (text(&desk.model), text(&red));
    for (status, arguments, expected) in [
        (
            1,
            vec!["--labels", text(&two)],
            "2 labels, the model has 3 classes",
        ),
        (1, vec!["--labels", "/none.txt"], "/none.txt"),
        (
            1,
            vec!["--colour", "grey"],
            "3 channels, pictures are prepared with 1",
        ),
        (1, vec!["--size", "9"], "size 9 on axis 2, expected 8"),
        (
            1,
            vec!["--layout", "nhwc"],
            "as channels first it would fit",
        ),
        (1, vec!["--tensor", "positive"], "gives no classes"),
        (1, vec!["--tensor", "none"], "no value \"none\""),
        (2, vec!["--preset", "magic"], "imagenet-caffe"),
        (2, vec!["-o", "rows.xyz"], "--format"),
        (2, vec!["-o", red, "--format", "csv"], "written over"),
        (2, vec!["--resume"], "--output"),
        (2, vec!["--std", "0x"], "not a finite number"),
        (1, vec!["--std", "0"], "std is 0"),
    ] {
        let preset: &[&str] = match arguments[0] {
            "--preset" => &[],
            _ => &["--preset", "unit"],
        };
        let arguments = [&["--model", model, red][..], preset, &arguments].concat();
        let (_, err) = expect(status, "classify", &arguments);
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
    let (out, _) = expect(0, "classify", &["--model", model, "--preset", "unit", red]);
    assert!(out.contains("class 0 96.5 %"), "{out}");
}

/// Damaged pictures of all kinds, and some that claim to be huge: each has its row, and none is lost.
#[test]
fn broken_pictures_cost_only_themselves() {
    let desk = Desk::new();
    let red = desk.photo("red.png", plain([255, 0, 0], 8, 8));
    let csv = desk.path("out.csv");
    let mut folders = Vec::new();
    for name in ["bad/images", "bad/png", "bad/bombs"] {
        let Some(folder) = data(name) else {
            return;
        };
        folders.push(folder);
    }
    let mut arguments = desk.arguments();
    arguments.extend(["-o", text(&csv), text(&red)]);
    arguments.extend(folders.iter().map(|folder| text(folder)));
    arguments.push(text(&red));
    let (out, err) = expect(1, "classify", &arguments);
    let rows = fs::read_to_string(&csv).unwrap();
    let files: usize = folders
        .iter()
        .map(|folder| fs::read_dir(folder).unwrap().count())
        .sum();
    assert_eq!(rows.lines().count(), 1 + files + 2, "{rows}");
    assert!(rows.lines().last().unwrap().contains(PURE), "{rows}");
    for row in rows.lines().filter(|row| row.contains("bad/bombs")) {
        assert!(
            row.ends_with(",,,,,,,,,") && !row.contains(",,,,,,,,,,"),
            "{row}"
        );
    }
    let failed = rows
        .lines()
        .skip(1)
        .filter(|row| row.ends_with(",,,,,,,,,"))
        .count();
    assert!(
        out.contains(&format!("{} done, {failed} failed", files + 2 - failed)),
        "{out}"
    );
    assert!(failed > 40, "{err}");
}

/// The recorded scores of `set`, as probabilities.
fn recorded(set: &Path) -> Vec<f64> {
    let (_, scores) = read_tensor_file(&set.join("output_0.pb")).unwrap();
    let scores: Vec<f64> = scores
        .array::<f32>()
        .unwrap()
        .iter()
        .map(|&score| score.into())
        .collect();
    let sum: f64 = scores.iter().sum();
    if (sum - 1.0).abs() < 1e-3 {
        return scores;
    }
    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Trained networks see on photographs what was recorded elsewhere, with the same five classes and probabilities,
/// whether the file fixes a batch of one or leaves it free.
#[test]
fn subjects_of_photographs() {
    let (Some(models), Some(images)) = (data("models"), data("images")) else {
        return;
    };
    let labels = models.join("imagenet_synset.txt");
    let folder = tempfile::tempdir().unwrap();
    let jsonl = folder.path().join("rows.jsonl");
    for (network, preset, photos) in [
        (
            "squeezenet1.1_fp32",
            "imagenet-caffe",
            &[
                ("kitten_224.png", 1, "tabby"),
                ("coffee.png", 2, "espresso"),
                ("chelsea.png", 3, "Egyptian cat"),
                ("fish_720.png", 4, "barracouta"),
            ][..],
        ),
        (
            "mobilenetv2_dequantized_f32",
            "imagenet-torchvision",
            &[
                ("coffee.png", 0, "espresso"),
                ("kitten_224.png", 1, "tabby"),
                ("chelsea.png", 2, "Egyptian cat"),
            ],
        ),
    ] {
        let folder = models.join(network);
        let model = folder.join("model.onnx");
        let paths: Vec<PathBuf> = photos.iter().map(|(name, ..)| images.join(name)).collect();
        for batch in ["1", "2"] {
            let mut arguments = vec!["--model", text(&model), "--labels", text(&labels)];
            arguments.extend(["--preset", preset, "--batch", batch, "-o", text(&jsonl)]);
            arguments.extend(paths.iter().map(|path| text(path)));
            expect(0, "classify", &arguments);
            let rows = fs::read_to_string(&jsonl).unwrap();
            assert_eq!(rows.lines().count(), photos.len());
            for (row, (photo, set, subject)) in rows.lines().zip(photos) {
                let row: Value = serde_json::from_str(row).unwrap();
                let guesses = row["predictions"].as_array().unwrap();
                let label = guesses[0]["label"].as_str().unwrap();
                assert!(label.contains(subject), "{network}, {photo}: {label}");
                let expected = recorded(&folder.join(format!("test_data_set_{set}")));
                let mut order: Vec<usize> = (0..expected.len()).collect();
                order.sort_by(|&a, &b| expected[b].total_cmp(&expected[a]));
                for (guess, class) in guesses.iter().zip(order) {
                    assert_eq!(guess["class"], class, "{network}, {photo}: {row}");
                    let probability = guess["probability"].as_f64().unwrap();
                    let difference = (probability - expected[class]).abs();
                    assert!(
                        difference < 1e-3,
                        "{network}, {photo}: {probability}, {}",
                        expected[class]
                    );
                }
            }
        }
    }
}

/// A long list of pictures for `command`, run once as a whole, and once killed ten times while it works and resumed.
/// `files` of the two must be equal.
fn killed_and_resumed(desk: &Desk, command: &str, extra: &[&str], files: &[&str], seed: u64) {
    let list = desk.path("list");
    let run = |folder: &str| {
        let output = desk.path(folder).join(files[0]);
        let mut program = program(command, &["--model", text(&desk.model), "--preset", "unit"]);
        program
            .args(extra)
            .args(["--batch", "4", "--resume", "-", "-o"])
            .arg(output);
        program.stdin(File::open(&list).unwrap());
        program.stdout(Stdio::null()).stderr(Stdio::null());
        program
    };
    let read = |folder: &str| -> Vec<Vec<u8>> {
        let read = |file: &&str| fs::read(desk.path(folder).join(file)).unwrap();
        files.iter().map(read).collect()
    };
    let clean = |folder: &str| {
        let _ = fs::remove_dir_all(desk.path(folder));
        fs::create_dir(desk.path(folder)).unwrap();
    };
    clean("once");
    clean("killed");
    let begin = Instant::now();
    assert_eq!(run("once").status().unwrap().code(), Some(1));
    let longest = begin.elapsed();
    let expected = read("once");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut killed, mut ended) = (0, 0);
    while killed < 10 {
        let mut child = run("killed").spawn().unwrap();
        thread::sleep(longest.mul_f64(random.f64() * 0.6));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            killed += 1;
            continue;
        }
        // It was complete: the next one begins again.
        assert!(read("killed") == expected, "{command}: the files differ");
        clean("killed");
        ended += 1;
        assert!(ended < 100, "{command}: always done before it was killed");
    }
    assert_eq!(run("killed").status().unwrap().code(), Some(1));
    assert!(read("killed") == expected, "{command}: the files differ");
}

#[test]
fn killed_and_resumed_nothing_is_lost_or_repeated() {
    let desk = Desk::new();
    let mut photos = vec![desk.path("photos/broken.png")];
    fs::write(&photos[0], "no picture").unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    for index in 0..20u32 {
        // Noise, so that every picture has numbers of its own.
        let noise = RgbImage::from_fn(100 + index, 90, |_, _| {
            Rgb(std::array::from_fn(|_| random.u8(..)))
        });
        photos.push(desk.photo(&format!("{index}, noise.png"), noise));
    }
    let names = (0..1500).map(|row| text(&photos[row * 5 % photos.len()]));
    fs::write(desk.path("list"), names.collect::<Vec<_>>().join("\n")).unwrap();
    killed_and_resumed(&desk, "classify", &["--top", "2"], &["rows.csv"], 11);
    killed_and_resumed(&desk, "classify", &["--top", "1"], &["rows.jsonl"], 12);
    let features = ["--tensor", "mean"];
    killed_and_resumed(&desk, "features", &features, &["rows.npy", "rows.csv"], 13);
}

#[test]
fn resuming_takes_the_same_pictures() {
    let desk = Desk::new();
    desk.photos();
    let (photos, csv) = (desk.path("photos"), desk.path("rows.csv"));
    let arguments = [
        &desk.arguments()[..],
        &["-o", text(&csv), "--resume", text(&photos)],
    ]
    .concat();
    expect(1, "classify", &arguments);
    let rows = fs::read(&csv).unwrap();
    let (out, _) = expect(1, "classify", &arguments);
    assert!(out.starts_with("5 done before, 0 done, 0 failed"), "{out}");
    desk.photo("a first.png", plain([0, 0, 0], 8, 8));
    let (_, err) = expect(1, "classify", &arguments);
    assert!(
        err.contains("a red.png") && err.contains("a first.png"),
        "{err}"
    );
    let (_, err) = expect(1, "classify", &[&arguments[..], &["--top", "1"]].concat());
    assert!(err.contains("its columns"), "{err}");
    assert_eq!(fs::read(&csv).unwrap(), rows);
}

/// A row of numbers for each picture, NaN for a broken one, the names beside them.
#[test]
fn features_are_one_array() {
    let desk = Desk::new();
    desk.photos();
    let (photos, array) = (desk.path("photos"), desk.path("out/features.npy"));
    fs::create_dir(desk.path("out")).unwrap();
    let arguments = [
        "--model",
        text(&desk.model),
        "--preset",
        "unit",
        "-o",
        text(&array),
        text(&photos),
    ];
    expect(
        1,
        "features",
        &[&arguments[..], &["--tensor", "mean"]].concat(),
    );
    let tensor = npy::read(&fs::read(&array).unwrap()).unwrap();
    let tensor = tensor.array::<f32>().unwrap();
    assert_eq!(tensor.shape(), [5, 3, 1, 1]);
    let row = |index: usize| {
        (0..3)
            .map(|channel| tensor[[index, channel, 0, 0]])
            .collect::<Vec<_>>()
    };
    assert_eq!(row(0), [4.0, 0.0, 0.0]);
    assert_eq!(row(2), [0.0, 0.0, 4.0]);
    assert!(row(3).iter().all(|value| value.is_nan()));
    let index = fs::read_to_string(desk.path("out/features.csv")).unwrap();
    assert_eq!(index.lines().count(), 6);
    assert!(
        index.lines().nth(4).unwrap().contains("no picture"),
        "{index}"
    );
    expect(1, "features", &arguments);
    let tensor = npy::read(&fs::read(&array).unwrap()).unwrap();
    assert_eq!(tensor.shape(), [5, 3]);
    let named = [&arguments[..4], &["-o", "x.txt", text(&photos)]].concat();
    let (_, err) = expect(2, "features", &named);
    assert!(err.contains(".npy"), "{err}");
}
