//! `gemmconv filter` as a person calls it, and its way through the library against other people's answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gemmconv::{
    ConvGeometry, ConvOptions, ConvPlan, Epilogue, Padding, PaddingMode, PlanOptions, RecipeKind,
};
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage, RgbaImage};
use ndarray::{Array2, Array3, Array4, array};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

fn filter(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gemmconv"))
        .arg("filter")
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// Runs the program; it must end with `status`, and without a panic.
fn expect(status: i32, arguments: &[&str]) -> (String, String) {
    let output = filter(arguments);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}\n{out}{err}"
    );
    assert!(
        !err.contains("panicked") && !err.contains("fault in this program"),
        "{arguments:?}\n{err}"
    );
    // What is to be said of the engine is said once; the tests look at the rest.
    let warnings: Vec<String> = gemmconv::EngineKind::default()
        .warning()
        .iter()
        .map(|warning| format!("warning: {warning}\n"))
        .collect();
    let rest = warnings
        .iter()
        .fold(err, |err, warning| err.replacen(warning, "", 1));
    (out, rest)
}

/// A library that is much slower than the CPU is warned about, in one line.
#[test]
fn a_slow_engine_is_warned_about_once() {
    let desk = Desk::new();
    let input = desk.put("a.png", picture(9, 9));
    let output = filter(&[&input, "-k", "blur", "-o", &desk.name("b.png")]);
    let err = String::from_utf8_lossy(&output.stderr);
    let expected = gemmconv::EngineKind::default().warning();
    let warnings: Vec<&str> = err
        .lines()
        .filter(|line| line.contains("OPENBLAS_CORETYPE"))
        .collect();
    assert_eq!(warnings.len(), usize::from(expected.is_some()), "{err}");
    if let Some(expected) = expected {
        assert_eq!(warnings, [format!("warning: {expected}")]);
    }
}

/// A colour picture in which a shift shows; at most 51 pixels high.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([(7 * x + 3 * y) as u8, (x * y) as u8, (250 - 5 * y) as u8])
    })
}

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder for the test"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name)
            .to_str()
            .expect("a name in UTF-8")
            .to_string()
    }

    fn put(&self, name: &str, picture: impl Into<DynamicImage>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        picture.into().save(&path).expect("a picture for the test");
        self.name(name)
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.path(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => names.push(path),
                }
            }
        }
        let root = self.path(folder);
        let mut names: Vec<String> = names
            .iter()
            .map(|path| {
                path.strip_prefix(&root)
                    .expect("below")
                    .display()
                    .to_string()
                    .replace('\\', "/")
            })
            .collect();
        names.sort();
        names
    }
}

fn open(path: impl AsRef<Path>) -> DynamicImage {
    image::open(path).expect("a picture")
}

#[test]
fn one_picture_and_one_kernel() {
    let desk = Desk::new();
    let source = picture(33, 21);
    let input = desk.put("a.png", source.clone());
    let (out, _) = expect(
        0,
        &[&input, "--kernel", "identity", "-o", &desk.name("same.png")],
    );
    assert!(out.contains("1 done, 0 failed, 1 file written"), "{out}");
    assert_eq!(open(desk.path("same.png")).into_rgb8(), source);

    // A shift to the left by one pixel; the last column is repeated.
    expect(
        0,
        &[
            &input,
            "-k",
            "0 0 0; 0 0 1; 0 0 0",
            "-o",
            &desk.name("left.png"),
        ],
    );
    let left = open(desk.path("left.png")).into_rgb8();
    assert!(
        left.enumerate_pixels()
            .all(|(x, y, pixel)| pixel == source.get_pixel((x + 1).min(32), y))
    );

    // Turned by 180 degrees it shifts to the right; zeros stand at the border if asked for.
    let turned = [
        "-k",
        "shift-left",
        "--true-convolution",
        "--padding-mode",
        "zeros",
    ];
    expect(
        0,
        &[&turned[..], &[&input, "-o", &desk.name("right.png")]].concat(),
    );
    let right = open(desk.path("right.png")).into_rgb8();
    assert!(right.enumerate_pixels().all(|(x, y, pixel)| match x {
        0 => pixel.0 == [0; 3],
        _ => pixel == source.get_pixel(x - 1, y),
    }));
}

#[test]
fn stride_padding_and_dilation_set_the_size() {
    let desk = Desk::new();
    let source = picture(33, 21);
    let input = desk.put("a.png", source.clone());
    for (options, size) in [
        (vec!["--stride", "2"], (17, 11)),
        (vec!["--stride", "2,1", "--padding", "valid"], (31, 10)),
        (vec!["--padding", "3,0"], (31, 25)),
        (vec!["--dilation", "4", "--padding", "valid"], (25, 13)),
    ] {
        expect(
            0,
            &[
                &options[..],
                &[&input, "-k", "blur", "-o", &desk.name("b.png")],
            ]
            .concat(),
        );
        let got = open(desk.path("b.png"));
        assert_eq!((got.width(), got.height()), size, "{options:?}");
    }
    expect(
        0,
        &[
            &input,
            "-k",
            "1",
            "--stride",
            "3",
            "--padding",
            "valid",
            "-o",
            &desk.name("third.png"),
        ],
    );
    let third = open(desk.path("third.png")).into_rgb8();
    assert!(
        third
            .enumerate_pixels()
            .all(|(x, y, pixel)| pixel == source.get_pixel(3 * x, 3 * y))
    );

    let (_, err) = expect(
        1,
        &[
            &input,
            "-k",
            "blur",
            "--dilation",
            "40",
            "--padding",
            "valid",
            "-o",
            &desk.name("no.png"),
        ],
    );
    assert!(
        err.contains("a.png") && err.contains("kernel extent 81 exceeds padded input 21"),
        "{err}"
    );
    let (_, err) = expect(
        1,
        &[
            &input,
            "-k",
            "blur",
            "--padding",
            "40",
            "--padding-mode",
            "reflect",
            "-o",
            &desk.name("no.png"),
        ],
    );
    assert!(err.contains("reflect padding of 40"), "{err}");
    expect(
        1,
        &[
            &input,
            "-k",
            "blur",
            "--padding",
            "18446744073709551615",
            "-o",
            &desk.name("no.png"),
        ],
    );
    expect(
        1,
        &[
            &input,
            "-k",
            "blur",
            "--padding",
            "1000000",
            "-o",
            &desk.name("no.png"),
        ],
    );
    assert!(!desk.path("no.png").exists());
}

#[test]
fn opacity_is_kept_and_follows_the_pixels() {
    let desk = Desk::new();
    let source = RgbaImage::from_fn(12, 9, |x, y| {
        image::Rgba([200, 100, 50, (20 * x + y) as u8])
    });
    let input = desk.put("a.png", source.clone());
    expect(0, &[&input, "-k", "gaussian", "-o", &desk.name("b.png")]);
    let same = open(desk.path("b.png")).into_rgba8();
    assert!(
        same.pixels().eq(source.pixels()),
        "a flat colour stays flat, opacity is not filtered"
    );
    expect(
        0,
        &[
            &input,
            "-k",
            "gaussian",
            "--padding",
            "valid",
            "--stride",
            "2",
            "-o",
            &desk.name("c.png"),
        ],
    );
    let small = open(desk.path("c.png")).into_rgba8();
    assert_eq!(small.dimensions(), (4, 3));
    assert!(
        small
            .enumerate_pixels()
            .all(|(x, y, pixel)| pixel == source.get_pixel(2 + 2 * x, 2 + 2 * y))
    );
    // A format without opacity: as on white paper, not black.
    expect(0, &[&input, "-k", "identity", "-o", &desk.name("d.jpg")]);
    assert!(
        open(desk.path("d.jpg"))
            .into_rgb8()
            .get_pixel(0, 0)
            .0
            .iter()
            .all(|&value| value > 240)
    );
}

#[test]
fn a_folder_keeps_its_names_and_a_file_that_is_no_picture_is_named() {
    let desk = Desk::new();
    desk.put("in/b.png", picture(8, 8));
    desk.put("in/a.bmp", picture(9, 8));
    desk.put("in/sub/b.png", picture(10, 8));
    fs::write(desk.path("in/notes.txt"), "no picture\u{1b}[2J").unwrap();
    fs::write(
        desk.path("in/cut.png"),
        &fs::read(desk.path("in/b.png")).unwrap()[..60],
    )
    .unwrap();

    let (out, err) = expect(
        1,
        &[&desk.name("in"), "-k", "edge", "-o", &desk.name("out")],
    );
    assert!(out.contains("2 done, 2 failed, 2 files written"), "{out}");
    for name in ["notes.txt", "cut.png"] {
        assert!(
            err.lines()
                .any(|line| line.starts_with("error: ") && line.contains(name)),
            "{name}: {err}"
        );
    }
    assert_eq!(desk.files("out"), ["a.bmp", "b.png"]);

    let (out, _) = expect(
        1,
        &[
            &desk.name("in"),
            "--recursive",
            "-k",
            "edge",
            "-o",
            &desk.name("all/deep"),
        ],
    );
    assert!(out.contains("3 done, 2 failed"), "{out}");
    assert_eq!(desk.files("all/deep"), ["a.bmp", "b.png", "sub/b.png"]);

    let missing = [
        &desk.name("in/b.png"),
        &desk.name("gone.png"),
        "-k",
        "edge",
        "-o",
        &desk.name("few"),
    ];
    let (out, err) = expect(1, &missing);
    assert!(
        out.contains("1 done, 1 failed") && err.contains("gone.png"),
        "{out}{err}"
    );
    assert_eq!(desk.files("few"), ["b.png"]);
}

#[test]
fn a_bank_gives_a_picture_for_every_kernel() {
    let desk = Desk::new();
    let source = picture(20, 16);
    let input = desk.put("a.png", source.clone());
    // Nine kernels, each with its one weight in another place.
    let bank = Array3::from_shape_fn((9, 3, 3), |(k, i, j)| i32::from(3 * i + j == k));
    ndarray_npy::write_npy(desk.path("shifts.npy"), &bank).unwrap();
    let kernels = [
        "-k",
        &desk.name("shifts.npy"),
        "-k",
        "blur",
        "-k",
        "1 2 1; 2 4 2; 1 2 1",
        "-k",
        "gaussian",
    ];
    let (out, _) = expect(
        0,
        &[&kernels[..], &[&input, "-o", &desk.name("out")]].concat(),
    );
    assert!(out.contains("12 files written"), "{out}");
    let mut expected: Vec<String> = (0..9).map(|k| format!("a-shifts-{k}.png")).collect();
    expected.extend(["a-blur.png", "a-gaussian.png", "a-kernel-11.png"].map(String::from));
    expected.sort();
    assert_eq!(desk.files("out"), expected);
    for k in 0..9i64 {
        let map = open(desk.path(&format!("out/a-shifts-{k}.png"))).into_rgb8();
        let place =
            |at: u32, step: i64, length: i64| (i64::from(at) + step).clamp(0, length - 1) as u32;
        assert!(
            map.enumerate_pixels().all(|(x, y, pixel)| pixel
                == source.get_pixel(place(x, k % 3 - 1, 20), place(y, k / 3 - 1, 16))),
            "kernel {k}"
        );
    }
    let (_, err) = expect(
        2,
        &[&kernels[..], &[&input, "-o", &desk.name("one.png")]].concat(),
    );
    assert!(err.contains("--sheet"), "{err}");
}

#[test]
fn a_contact_sheet_shows_every_feature_map() {
    let desk = Desk::new();
    let input = desk.put("a.png", RgbImage::from_pixel(60, 40, Rgb([0, 0, 255])));
    let kernels = ["-k", "identity", "-k", "blur", "-k", "gaussian"];
    expect(
        0,
        &[
            &kernels[..],
            &[&input, "--sheet", "-o", &desk.name("sheet.png")],
        ]
        .concat(),
    );
    let sheet = open(desk.path("sheet.png")).into_rgb8();
    let blue = sheet
        .pixels()
        .filter(|pixel| pixel.0 == [0, 0, 255])
        .count();
    assert_eq!(blue, 4 * 60 * 40, "the picture and three maps of it");
    let (_, err) = expect(
        0,
        &[
            &kernels[..],
            &[&input, &input, "--sheet", "-o", &desk.name("sheets")],
        ]
        .concat(),
    );
    assert!(err.is_empty(), "{err}");
    assert_eq!(desk.files("sheets"), ["a-sheet.png"]);
}

#[test]
fn what_is_read_is_never_overwritten() {
    let desk = Desk::new();
    let source = picture(8, 8);
    let input = desk.put("in/a.png", source.clone());
    let before = fs::read(&input).unwrap();
    for out in ["in/a.png", "in", "in/../in/a.png"] {
        let (_, err) = expect(2, &[&input, "-k", "blur", "-o", &desk.name(out)]);
        assert!(err.contains("would overwrite"), "{out}: {err}");
    }
    let (_, err) = expect(2, &[&input, "-k", "blur", "-o", &desk.name("a.xyz")]);
    assert!(err.contains("png, jpg"), "{err}");
    assert_eq!(fs::read(&input).unwrap(), before);
    assert_eq!(desk.files("in"), ["a.png"]);

    // Two pictures of one name, from two folders: both are kept.
    let other = desk.put("other/a.png", picture(9, 9));
    expect(
        0,
        &[&input, &other, "-k", "identity", "-o", &desk.name("out")],
    );
    assert_eq!(desk.files("out"), ["a.png", "a.png.png"]);
    assert_eq!(open(desk.path("out/a.png")).width(), 8);
    assert_eq!(open(desk.path("out/a.png.png")).width(), 9);
    // A second run replaces its own results and adds none.
    expect(0, &[&input, &other, "-k", "blur", "-o", &desk.name("out")]);
    assert_eq!(desk.files("out"), ["a.png", "a.png.png"]);
}

#[test]
fn gradients_are_shown_around_grey_or_as_magnitude() {
    let desk = Desk::new();
    let step = GrayImage::from_fn(40, 20, |x, _| {
        Luma([if (10..30).contains(&x) { 200 } else { 0 }])
    });
    let input = desk.put("a.png", step);
    let row = |show: &str| {
        expect(
            0,
            &[
                &input,
                "-k",
                "sobel-x",
                "--show",
                show,
                "-o",
                &desk.name("b.png"),
            ],
        );
        let shown = open(desk.path("b.png")).into_luma8();
        [0, 9, 20, 30].map(|x| shown.get_pixel(x, 10).0[0])
    };
    assert_eq!(row("auto"), [128, 255, 128, 1]);
    assert_eq!(row("signed"), [128, 255, 128, 1]);
    assert_eq!(row("magnitude"), [0, 255, 0, 255]);
    assert_eq!(row("clamp"), [0, 255, 0, 0]);
}

#[test]
fn the_comparison_finds_no_difference_that_matters() {
    let desk = Desk::new();
    let input = desk.put("a.png", picture(64, 48));
    let arguments = [
        &input,
        "-k",
        "sobel-x",
        "-k",
        "gaussian",
        "--compare",
        "--threads",
        "2",
    ];
    let (out, _) = expect(0, &[&arguments[..], &["-o", &desk.name("out")]].concat());
    assert!(
        out.contains("naive loops") && out.contains("times faster"),
        "{out}"
    );
    let line = out
        .lines()
        .find(|line| line.starts_with("largest difference"))
        .expect("a difference");
    let difference: f32 = line
        .split([' ', ','])
        .nth(2)
        .and_then(|word| word.parse().ok())
        .expect("a number");
    assert!(difference < 1e-3, "{line}");
}

/// The comparison names what ran: the plan's choice, or the recipe asked for and, where it calls one, its engine.
#[test]
fn the_comparison_names_the_recipe() {
    let desk = Desk::new();
    let input = desk.put("a.png", picture(64, 48));
    let compare = |more: &[&str]| {
        let arguments = [&input, "-k", "sobel-x", "--compare", "--threads", "1"];
        let out = desk.name("out.png");
        let (out, _) = expect(0, &[&arguments[..], more, &["-o", &out]].concat());
        let second = out.lines().nth(1).unwrap_or_default().to_owned();
        assert!(out.starts_with("naive loops "), "{out}");
        second.split("  ").next().unwrap_or_default().to_owned()
    };
    let geometry = ConvGeometry::new(
        &[3, 1, 48, 64],
        &[1, 1, 3, 3],
        &ConvOptions::new()
            .padding(1)
            .padding_mode(PaddingMode::Replicate),
    );
    let chosen = ConvPlan::<f32>::new(&geometry.unwrap(), &PlanOptions::new()).unwrap();
    let of_choice = compare(&[]);
    assert!(of_choice.starts_with(chosen.recipe().name()), "{of_choice}");
    assert_eq!(compare(&["--recipe", "auto"]), of_choice);
    for recipe in ["direct", "naive"] {
        assert_eq!(compare(&["--recipe", recipe]), recipe);
    }
    let unfold = ["--recipe", "unfold", "--engine", "matrixmultiply"];
    assert_eq!(compare(&unfold), "unfold on matrixmultiply");
    // A recipe that cannot is an error with the reason, for every picture.
    let arguments = [&input, "-k", "blur", "--recipe", "pointwise"];
    let (_, err) = expect(1, &[&arguments[..], &["-o", &desk.name("no.png")]].concat());
    let why = "pointwise is not possible: the kernel has several taps";
    assert!(err.contains(why), "{err}");
}

#[test]
fn mistakes_are_reported_before_anything_is_done() {
    let desk = Desk::new();
    let input = desk.put("a.png", picture(8, 8));
    let out = desk.name("out.png");
    for (kernel, word) in [
        ("1 2; 3", "row 2"),
        ("1 x", "\"x\""),
        ("", "empty"),
        ("sobel", "sobel-x"),
        ("inf 1", "finite"),
        ("gone.npy", "gone.npy"),
    ] {
        let (_, err) = expect(2, &[&input, "-k", kernel, "-o", &out]);
        assert!(err.contains(word), "{kernel}: {err}");
    }
    for wrong in [
        ["--stride", "0"],
        ["--dilation", "0"],
        ["--padding", "-1"],
        ["--padding-mode", "mirror"],
        ["--threads", "0"],
        ["--show", "loud"],
        ["--engine", "abacus"],
        ["--recipe", "magic"],
        ["--format", "x/../../../evil.png"],
        ["--format", "png"], // The name of a file says its format.
    ] {
        expect(
            2,
            &[&wrong[..], &[&input, "-k", "blur", "-o", &out]].concat(),
        );
    }
    expect(2, &[&input, "-k", "blur"]);
    expect(2, &["-k", "blur", "-o", &out]);
    let (names, _) = expect(0, &["--list-kernels"]);
    for name in [
        "identity",
        "gaussian",
        "sobel-y",
        "prewitt",
        "emboss",
        "shift-down",
    ] {
        assert!(names.contains(name), "{name}");
    }
    assert_eq!(desk.files(""), ["a.png"]);
}

#[test]
fn nothing_to_read_is_one_error_and_no_other() {
    let desk = Desk::new();
    desk.put("in/a.png", picture(8, 8));
    fs::create_dir(desk.path("empty")).unwrap();
    let out = desk.name("out.png");
    for name in ["nope.png", "empty"] {
        let (_, err) = expect(1, &[&desk.name(name), "-k", "blur", "-o", &out]);
        assert!(err.contains(name) && err.lines().count() == 1, "{err}");
    }
    // A folder with one picture is still a folder.
    let (_, err) = expect(2, &[&desk.name("in"), "-k", "blur", "-o", &out]);
    assert!(err.contains("those of a folder"), "{err}");
    assert_eq!(desk.files(""), ["in/a.png"]);
}

#[test]
fn results_among_the_pictures_are_warned_about_and_counted() {
    let desk = Desk::new();
    desk.put("in/a.png", picture(8, 8));
    // The second kernel is larger than the picture.
    let kernels = ["-k", "1", "-k", &["1"; 9].join(" "), "--padding", "valid"];
    let (out, err) = expect(
        1,
        &[&kernels[..], &[&desk.name("in"), "-o", &desk.name("in")]].concat(),
    );
    assert!(err.contains("warning: the results lie among"), "{err}");
    assert!(out.contains("0 done, 1 failed, 0 files written"), "{out}");

    // A folder in the way of the second result: the first is there, and counted.
    fs::create_dir_all(desk.path("out/a-blur.png")).unwrap();
    let kernels = ["-k", "identity", "-k", "blur", "--format", ".png"];
    let (out, err) = expect(
        1,
        &[&kernels[..], &[&desk.name("in"), "-o", &desk.name("out")]].concat(),
    );
    assert!(err.contains("not a regular file"), "{err}");
    assert!(out.contains("0 done, 1 failed, 1 file written"), "{out}");
    assert_eq!(desk.files("out"), ["a-identity.png"]);
}

#[test]
fn help_says_what_can_be_chosen_and_how_it_ends() {
    let (help, _) = expect(0, &["--help"]);
    for word in ["matrixmultiply", "Exit status", "metadata", "1e-4"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn broken_files_and_bombs_give_an_error_or_a_picture_soon() {
    for folder in ["bad/bombs", "bad/png", "bad/images"] {
        let Some(folder) = crate::common::data(folder) else {
            return;
        };
        let desk = Desk::new();
        let begin = Instant::now();
        let output = filter(&[
            folder.to_str().unwrap(),
            "-k",
            "gaussian",
            "-o",
            &desk.name("out"),
        ]);
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "{}: {:?}",
            folder.display(),
            begin.elapsed()
        );
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.code(), Some(1), "{out}{err}");
        assert!(
            !err.contains("panicked") && !err.contains("fault in this program"),
            "{err}"
        );
        assert!(
            !err.contains(|symbol: char| symbol.is_control() && symbol != '\n'),
            "{err}"
        );
        // Every file is a picture or named with the reason.
        let files = fs::read_dir(&folder).unwrap().count();
        let count = |word: &str| {
            let before = out
                .split(word)
                .next()
                .expect("split gives one part at least");
            before
                .rsplit([' ', '\n'])
                .find_map(|word| word.parse::<usize>().ok())
                .expect("a count")
        };
        assert_eq!(count(" done") + count(" failed"), files, "{out}");
        assert_eq!(
            err.lines()
                .filter(|line| line.starts_with("error: "))
                .count(),
            count(" failed"),
            "{err}"
        );
        if folder.ends_with("bombs") {
            assert_eq!(count(" failed"), files, "{err}");
        }
    }
}

// ---------------------------------------------------------------- other people's answers

/// Name, weights, and what comes out.
type Answer = (String, Array2<f32>, Array2<f32>);

/// `coins.png` as `[1, 1, H, W]`, and the answers for it.
fn answers() -> Option<(Array4<f32>, Vec<Answer>)> {
    let photograph = crate::common::data("images/coins.png")?;
    let bytes = fs::read(crate::common::data(
        "images/expected/coins_filters.safetensors",
    )?)
    .expect("the answers");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let kernels = &header.metadata().as_ref().expect("the kernels")["kernels"];
    let kernels: Value = serde_json::from_str(kernels).expect("JSON");
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let answers = tensors.iter().map(|(name, tensor)| {
        let rows = &kernels[name.split('.').next().expect("a name")];
        let size = rows.as_array().expect("rows").len();
        let weights = Array2::from_shape_fn((size, size), |(i, j)| {
            rows[i][j].as_f64().expect("a number") as f32
        });
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::I16 => tensor
                .data()
                .chunks_exact(2)
                .map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])))
                .collect(),
            Dtype::I32 => {
                let value = |b: &[u8]| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32;
                tensor.data().chunks_exact(4).map(value).collect()
            }
            other => panic!("{name} holds {other:?}"),
        };
        let shape = (tensor.shape()[0], tensor.shape()[1]);
        let expected = Array2::from_shape_vec(shape, values).expect("as many as the shape says");
        (name.to_string(), weights, expected)
    });
    let answers: Vec<_> = answers.collect();
    assert!(answers.len() >= 9, "only {} answers", answers.len());
    let grey = open(photograph).into_luma8();
    let (width, height) = (grey.width() as usize, grey.height() as usize);
    let samples = grey.into_raw().into_iter().map(f32::from).collect();
    let planes =
        Array4::from_shape_vec((1, 1, height, width), samples).expect("one sample a pixel");
    Some((planes, answers))
}

fn padding_of(name: &str) -> PaddingMode {
    match name.rsplit('.').next() {
        Some("same0") => PaddingMode::Zeros,
        Some("replicate") => PaddingMode::Replicate,
        _ => panic!("padding of {name}"),
    }
}

#[test]
fn the_library_gives_the_exact_integers() {
    let Some((planes, answers)) = answers() else {
        return;
    };
    for (name, weights, expected) in answers {
        let weights = weights
            .insert_axis(ndarray::Axis(0))
            .insert_axis(ndarray::Axis(0));
        let options = ConvOptions::new()
            .padding(Padding::SameUpper)
            .padding_mode(padding_of(&name));
        let geometry = ConvGeometry::new(planes.shape(), weights.shape(), &options).unwrap();
        // Tiles of 4 × 4 are transformed by fractions that are rounded, and so are waves.
        let taken = |recipe: &RecipeKind| {
            let rounds = matches!(recipe, RecipeKind::WinogradF4 | RecipeKind::Fft);
            !rounds && crate::support::takes::<f32>(*recipe, &geometry)
        };
        for recipe in RecipeKind::ALL.into_iter().filter(taken) {
            let plan = ConvPlan::new(&geometry, &PlanOptions::new().recipe(recipe)).unwrap();
            let prepared = plan.prepare(&weights).unwrap();
            let maps = plan.forward(&planes, &prepared, &Epilogue::none()).unwrap();
            assert_eq!(
                maps.slice(ndarray::s![0, 0, .., ..]),
                expected,
                "{name}, {recipe}"
            );
        }
    }
}

#[test]
fn the_program_writes_the_exact_integers() {
    let Some((_, answers)) = answers() else {
        return;
    };
    let photograph = crate::common::data("images/coins.png").unwrap();
    let desk = Desk::new();
    for (name, weights, expected) in answers {
        let kernel = weights
            .outer_iter()
            .map(|row| row.iter().map(f32::to_string).collect::<Vec<_>>().join(" "));
        let kernel = kernel.collect::<Vec<_>>().join("; ");
        let out = desk.name("map.png");
        expect(
            0,
            &[
                photograph.to_str().unwrap(),
                "-k",
                &kernel,
                "--show",
                "clamp",
                "--padding-mode",
                padding_of(&name).name(),
                "-o",
                &out,
            ],
        );
        let map = open(out);
        assert!(
            matches!(map, DynamicImage::ImageLuma8(_)),
            "{name}: grey stays grey"
        );
        let clamped: Vec<u8> = expected
            .iter()
            .map(|&value| value.clamp(0.0, 255.0) as u8)
            .collect();
        assert_eq!(map.into_luma8().into_raw(), clamped, "{name}");
    }
    // The slides' numbers, as a photograph of 3 × 3 pixels: [[19, 25], [37, 43]].
    let tiny = GrayImage::from_fn(3, 3, |x, y| Luma([(3 * y + x) as u8]));
    let input = desk.put("tiny.png", tiny);
    let arguments = ["-k", "0 1; 2 3", "--padding", "valid", "--show", "clamp"];
    expect(
        0,
        &[&arguments[..], &[&input, "-o", &desk.name("tiny-out.png")]].concat(),
    );
    let got = open(desk.path("tiny-out.png")).into_luma8();
    let got = Array2::from_shape_vec((2, 2), got.into_raw()).unwrap();
    assert_eq!(got, array![[19, 25], [37, 43]]);
}
