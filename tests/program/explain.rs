//! `gemmconv explain` as a person calls it; its numbers against the library's.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use gemmconv::unfold::{PatchOrder, unfold};
use gemmconv::{ConvGeometry, ConvOptions, ConvPlan, Epilogue, Padding, PlanOptions, Wanted};
use ndarray::{Array2, Array3, Array4, Axis, array, s};
use ndarray_npy::WriteNpyExt;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gemmconv"));
    command.arg("explain").args(arguments);
    command
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env("COLUMNS", "100");
    command
}

fn ran(mut command: Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// Runs the program, which must end with `status` and without a panic.
fn expect(status: i32, arguments: &[&str]) -> (String, String) {
    checked(status, ran(command(arguments)))
}

fn checked(status: i32, output: Output) -> (String, String) {
    let [out, err] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
    assert!(!err.contains("panicked"), "{err}");
    (out, err)
}

/// The slides' example: rows and columns from 0 to 8, a kernel from 0 to 3.
const SLIDE: &str = "\
stride 1, padding 0, dilation 1, groups 1
output rows: ⌊(3 + 0 − 2) / 1⌋ + 1 = 2
output columns: ⌊(3 + 0 − 2) / 1⌋ + 1 = 2

image X 3×3   kernel W 2×2   output Y 2×2
[0][1] 2      [0][1]         [19] 25
[3][4] 5      [2][3]          37  43
 6  7  8

W (O × K = 1 × 4)   X̂ = im2col(X) (K × P = 4 × 4)   Y = W · X̂ (O × P = 1 × 4)
[0][1][2][3]        [0] 1  3  4                     [19] 25  37  43
                    [1] 2  4  5
                    [3] 4  6  7
                    [4] 5  7  8

Y[0, 0] = 0·0 + 1·1 + 2·3 + 3·4 = 19
";

#[test]
fn the_slides_example() {
    let (out, err) = expect(0, &["--input", "3x3", "--kernel", "2x2"]);
    assert_eq!((out.as_str(), err.as_str()), (SLIDE, ""));
    let given = ["--input", "0 1 2; 3 4 5; 6 7 8", "-k", "0 1; 2 3"];
    assert_eq!(expect(0, &given).0, SLIDE);
    // Two channels, the second of them one more: 56 72 104 120.
    let (out, _) = expect(0, &["--input", "3", "--kernel", "2", "--channels", "2"]);
    assert!(out.contains("56") && out.contains(" 72  104  120"), "{out}");
    assert!(
        out.contains("Y[0, 0] = 0·0 + 1·1 + 2·3 + 3·4 + 1·1 + 2·2 + 3·4 + 4·5 = 56"),
        "{out}"
    );
}

#[test]
fn the_way_back_of_the_slides_example() {
    let (out, _) = expect(0, &["--input", "3", "--kernel", "2", "--backward"]);
    let sums = "\
dX = fold(dX̂): what overlaps is added
dX[0, 0] = 0
dX[0, 1] = 1 + 0 = 1
dX[0, 2] = 2
dX[1, 0] = 2 + 0 = 2
dX[1, 1] = 3 + 4 + 3 + 0 = 10
dX[1, 2] = 6 + 4 = 10
dX[2, 0] = 6
dX[2, 1] = 9 + 8 = 17
dX[2, 2] = 12
";
    assert!(out.starts_with(SLIDE) && out.ends_with(sums), "{out}");
    assert!(out.contains(" 27  37  57  67"), "{out}");
}

/// The numbers below a title, without what stands beside them; a dot is a zero of the padding.
fn table(out: &str, title: &str) -> Vec<Vec<f64>> {
    let lines: Vec<&str> = out.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains(title))
        .unwrap_or_else(|| panic!("no {title} in {out}"));
    // Columns count characters as a terminal does: the circumflex over X takes none.
    let columns = |text: &str| text.chars().filter(|&symbol| symbol != '\u{302}').count();
    let from = lines[at].find(title).unwrap();
    let begin = columns(&lines[at][..from]);
    // The next table begins behind a gap.
    let next = lines[at][from..].find("   ").and_then(|gap| {
        let rest = &lines[at][from + gap..];
        Some(from + gap + rest.find(|symbol| symbol != ' ')?)
    });
    let end = next.map_or(usize::MAX, |next| columns(&lines[at][..next]));
    let body = lines[at + 1..].iter().take_while(|line| !line.is_empty());
    let rows = body.map(|line| {
        let cells: String = line
            .chars()
            .enumerate()
            .filter(|(column, _)| (begin..end).contains(column))
            .map(|(_, c)| c)
            .collect();
        let cells = cells.replace(['[', ']'], " ").replace('·', "0");
        cells
            .split_whitespace()
            .map(|cell| cell.parse().unwrap_or_else(|_| panic!("{cell} in {out}")))
            .collect()
    });
    rows.filter(|row: &Vec<f64>| !row.is_empty()).collect()
}

fn rows(array: &Array2<f64>) -> Vec<Vec<f64>> {
    array.outer_iter().map(|row| row.to_vec()).collect()
}

/// A convolution: arguments, sizes, counts of channels, outputs and groups, and the library's options for the same.
struct Case {
    arguments: &'static [&'static str],
    input: [usize; 2],
    kernel: [usize; 2],
    counts: [usize; 3],
    options: ConvOptions,
}

/// What the library says of it, as matrices.
struct Truth {
    y: Array2<f64>,
    patches: Array2<f64>,
    d_output: Array2<f64>,
    d_weight: Array2<f64>,
    d_input: Array3<f64>,
}

impl Case {
    fn printed(&self) -> String {
        let size = |[rows, columns]: [usize; 2]| format!("{rows}x{columns}");
        let values = [size(self.input), size(self.kernel)].into_iter();
        let values = values.chain(self.counts.map(|count| count.to_string()));
        let names = ["--input", "--kernel", "--channels", "--outputs", "--groups"];
        let values: Vec<String> = values.collect();
        let pairs = names.into_iter().zip(&values);
        let mut arguments: Vec<&str> = pairs.flat_map(|(name, value)| [name, value]).collect();
        arguments.push("--backward");
        arguments.extend(self.arguments);
        let mut wide = command(&arguments);
        wide.env("COLUMNS", "1000");
        checked(0, ran(wide)).0
    }

    fn truth(&self) -> Truth {
        let ([channels, outputs, groups], [height, width], [kh, kw]) =
            (self.counts, self.input, self.kernel);
        let x = Array4::from_shape_fn((1, channels, height, width), |(_, c, i, j)| {
            (c + i * width + j) as f64
        });
        let w = Array4::from_shape_fn((outputs, channels / groups, kh, kw), |(o, c, i, j)| {
            (o + c + i * kw + j) as f64
        });
        let geometry = ConvGeometry::new(x.shape(), w.shape(), &self.options).unwrap();
        let plan = ConvPlan::new(&geometry, &PlanOptions::new()).unwrap();
        let weights = plan.prepare(&w).unwrap();
        let (k, positions) = (geometry.patch_len(), geometry.positions());
        let y = plan.forward(&x, &weights, &Epilogue::none()).unwrap();
        let d_output = Array2::from_shape_fn((outputs, positions), |(o, p)| (o + p + 1) as f64);
        let shaped = d_output.to_shape(y.dim()).unwrap().to_owned();
        let gradients = plan.backward(&x, &weights, &shaped, Wanted::ALL).unwrap();
        let order = PatchOrder::ElementsByPositions;
        let patches = unfold(&x, &self.kernel, &self.options, order).unwrap();
        let d_weight = gradients.d_weight.unwrap();
        Truth {
            y: y.into_shape_with_order((outputs, positions)).unwrap(),
            patches: patches.index_axis_move(Axis(0), 0),
            d_output,
            d_weight: d_weight.into_shape_with_order((outputs, k)).unwrap(),
            d_input: gradients.d_input.unwrap().index_axis_move(Axis(0), 0),
        }
    }
}

/// The sums of fold: each equals its terms and what the library folds. Returns how many there are.
fn check_sums(out: &str, d_input: &Array3<f64>) -> usize {
    let lines = out.lines().filter_map(|line| line.strip_prefix("dX["));
    let checks = lines.map(|line| {
        let (place, sum) = line.split_once("] = ").unwrap();
        let (terms, sum) = sum.split_once(" = ").unwrap_or((sum, sum));
        let sum = sum.rsplit(' ').next().unwrap();
        if !terms.starts_with("nothing") {
            let terms = terms.split(" + ").map(|term| term.parse::<f64>().unwrap());
            assert_eq!(terms.sum::<f64>().to_string(), sum, "{line}");
        }
        let place = place.split([',', ';', ' ']).filter(|part| !part.is_empty());
        let place: Vec<usize> = place.map(|part| part.parse().unwrap()).collect();
        let [i, j] = place[place.len() - 2..] else {
            panic!("{line}")
        };
        let channel = if place.len() == 3 { place[0] } else { 0 };
        assert_eq!(
            sum.parse::<f64>().unwrap(),
            d_input[[channel, i, j]],
            "{line}"
        );
    });
    checks.count()
}

/// Every table and every sum against the library.
#[test]
fn numbers_are_the_librarys() {
    let case = |arguments, input, kernel, counts, options| Case {
        arguments,
        input,
        kernel,
        counts,
        options,
    };
    let new = ConvOptions::new;
    let same = new().padding(Padding::SameUpper);
    let cases = [
        case(
            &["--stride", "2"],
            [5, 5],
            [3, 3],
            [1, 1, 1],
            new().stride(2),
        ),
        case(
            &["--padding", "1,2"],
            [3, 4],
            [3, 2],
            [1, 1, 1],
            new().padding([1, 2]),
        ),
        case(
            &["--padding", "same", "--stride", "2"],
            [4, 5],
            [3, 3],
            [1, 2, 1],
            same.stride(2),
        ),
        case(
            &["--dilation", "2,1"],
            [5, 4],
            [2, 3],
            [2, 1, 1],
            new().dilation([2, 1]),
        ),
        case(
            &["--stride", "3"],
            [5, 5],
            [2, 2],
            [1, 1, 1],
            new().stride(3),
        ),
        case(&[], [3, 3], [2, 2], [4, 2, 2], new().groups(2)),
    ];
    for case in cases {
        let (out, truth) = (case.printed(), case.truth());
        let groups = case.counts[2];
        for group in 0..groups {
            for (name, array) in [
                ("Y = W · X̂", &truth.y),
                ("X̂ = im2col(X)", &truth.patches),
                ("dW = dY · X̂ᵀ", &truth.d_weight),
                ("dY (O × P", &truth.d_output),
            ] {
                let title = match groups {
                    1 => name.to_owned(),
                    _ => format!("group {group}: {name}"),
                };
                let each = array.nrows() / groups;
                let part = array.slice(s![group * each..(group + 1) * each, ..]);
                assert_eq!(
                    table(&out, &title),
                    rows(&part.to_owned()),
                    "{title}\n{out}"
                );
            }
        }
        assert_eq!(
            check_sums(&out, &truth.d_input),
            truth.d_input.len().min(30),
            "{out}"
        );
    }
}

#[test]
fn files_names_and_several_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let npy = |array: ndarray::ArrayD<f32>| {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        bytes
    };
    let image = put(
        "image.npy",
        npy(array![[[1f32, 2.], [3., 4.]], [[5., 6.], [7., 8.]]].into_dyn()),
    );
    let bank = put(
        "bank.npy",
        npy(Array4::from_shape_fn((3, 2, 1, 1), |(o, c, _, _)| (o * 10 + c) as f32).into_dyn()),
    );
    let (out, _) = expect(0, &["--input", &image, "--kernel", &bank]);
    assert_eq!(
        table(&out, "Y = W · X̂"),
        [
            [5., 6., 7., 8.],
            [65., 86., 107., 128.],
            [125., 166., 207., 248.]
        ]
    );
    let (out, _) = expect(0, &["--input", &image, "--kernel", "2; | -0.5;"]);
    assert_eq!(table(&out, "Y = W · X̂"), [[-0.5, 1., 2.5, 4.]]);
    let (out, _) = expect(
        0,
        &["--input", "3", "--kernel", "sobel-x", "--kernel", "SOBEL-Y"],
    );
    assert_eq!(table(&out, "Y = W · X̂"), [[8.], [24.]]);
    let broken = put("broken.npy", b"\x93NUMPY".to_vec());
    let infinite = put("infinite.npy", npy(array![[f32::INFINITY]].into_dyn()));
    let five = put("five.npy", npy(ndarray::ArrayD::zeros(vec![1; 5])));
    let two = put("two.npy", npy(ndarray::ArrayD::zeros(vec![2, 1, 3, 3])));
    for (file, words) in [
        (&broken, "broken.npy"),
        (&infinite, "not finite"),
        (&five, "neither an image nor kernels"),
        (&two, "2 images are given, one is explained"),
    ] {
        let (out, err) = expect(2, &["--input", file, "--kernel", "1"]);
        assert!(out.is_empty() && err.contains(words), "{err}");
    }
}

#[test]
fn what_makes_no_convolution_is_told_in_words() {
    let huge = "99999999999999999999999";
    for (arguments, words) in [
        (
            &["--input", "3", "--kernel", "7"][..],
            "kernel extent 7 exceeds padded input 3 on axis 0",
        ),
        (&["--stride", "0"], "stride is zero on axis 0"),
        (&["--dilation", "1,0"], "dilation is zero on axis 1"),
        (&["--kernel", "2x0"], "kernel is zero on axis 1"),
        (&["--groups", "0"], "the number of groups is zero"),
        (&["--outputs", "0"], "the number of output channels is zero"),
        (&["--channels", "0"], "the number of input channels is zero"),
        (
            &["--input", "2x2", "--channels", "3", "--groups", "2"],
            "2 groups do not divide 3 input channels",
        ),
        (
            &["--outputs", "3", "--groups", "2"],
            "2 groups do not divide 3 output channels",
        ),
        (&["--channels", "2", "-k", "1 2"], "weight"),
        (
            &["--input", "1 2", "--channels", "2", "-k", "1;"],
            "--channels 2, but the input has 1",
        ),
        (
            &["-k", "1;", "-k", "2;", "--outputs", "3"],
            "--outputs 3, but there are 2 kernels",
        ),
        (&["--input", "1 2; 3"], "row 2 has 1 numbers, row 1 has 2"),
        (&["--input", "abc"], "abc"),
        (&["--input", huge], "largest size"),
        (
            &["--input", "18446744073709551615"],
            "does not fit the address space",
        ),
        (
            &["--input", "100000"],
            "the padded image has 10000000000 numbers, too many to explain: at most 4194304",
        ),
        (
            &[
                "--input",
                "3",
                "-k",
                "2",
                "--padding",
                "18446744073709551615",
            ],
            "does not fit the address space",
        ),
        (&["--input", "1500", "-k", "5"], "the patch matrix has"),
        (
            &["--input", "600", "-k", "5", "--outputs", "400"],
            "the output has",
        ),
        (
            &["--input", "200", "-k", "9", "--outputs", "100"],
            "the product takes",
        ),
        (
            &["--input", "4", "-k", "4", "--outputs", "5000000"],
            "the weights have",
        ),
        (&["--padding", "-1"], "unexpected argument '-1'"),
        (&["--stride", "1.5"], "not a whole number"),
        (&["--color", "never", "--html", "x"], "--html"),
    ] {
        let (out, err) = expect(2, arguments);
        assert!(
            out.is_empty() && err.contains(words),
            "{arguments:?}: {err}"
        );
    }
}

#[test]
fn long_sides_are_summarised() {
    let (out, _) = expect(0, &["--input", "600x700", "-k", "3", "--backward"]);
    assert!(
        out.contains("image X 600×700") && out.contains("(K × P = 9 × 417404)"),
        "{out}"
    );
    assert!(
        out.contains('…') && out.contains('⋮') && out.contains("… 419970 more pixels"),
        "{out}"
    );
    assert!(out.lines().count() < 250, "{out}");
    let tables = out.lines().filter(|line| !line.starts_with(['Y', 'd']));
    for line in tables {
        assert!(line.chars().count() <= 110, "{line}");
    }
    let (out, _) = expect(
        0,
        &[
            "--input",
            "4",
            "-k",
            "2",
            "--channels",
            "12",
            "--groups",
            "12",
        ],
    );
    assert!(
        out.contains("… 8 more channels") && out.contains("4 of 12 groups follow"),
        "{out}"
    );
    // An image that is all padding.
    let (out, _) = expect(
        0,
        &["--input", "0", "-k", "2", "--padding", "1", "--backward"],
    );
    assert!(out.contains("Y[0, 0] = 0·0 + 1·0 + 2·0 + 3·0 = 0"), "{out}");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let plain = ["--input", "3", "-k", "2"];
    let colours = ["--input", "3", "-k", "2", "--color", "always"];
    assert!(!expect(0, &plain).0.contains('\u{1b}'));
    let (coloured, _) = expect(0, &colours);
    assert!(coloured.contains("\u{1b}[46m"), "{coloured:?}");
    let bare: Vec<String> = coloured
        .lines()
        .map(|line| console::strip_ansi_codes(line).trim_end().to_owned())
        .collect();
    assert_eq!(bare.join("\n") + "\n", SLIDE);
    let never = ["--input", "3", "-k", "2", "--color", "never"];
    let mut forced = command(&never);
    forced.env("CLICOLOR_FORCE", "1");
    assert_eq!(checked(0, ran(forced)).0, SLIDE);
}

#[test]
fn every_step_is_printed_where_nobody_presses_keys() {
    let (out, _) = expect(0, &["--input", "3", "-k", "2", "--step", "--backward"]);
    let titles: Vec<&str> = out
        .lines()
        .filter(|line| line.contains(", position "))
        .collect();
    let expected = ["forward", "backward"]
        .map(|pass| (1..=4).map(move |at| format!("{pass}, position {at} of 4")));
    assert_eq!(titles, expected.into_iter().flatten().collect::<Vec<_>>());
    // What is not computed yet is not shown; the sum of the step is.
    let second = out
        .split("position 2 of 4")
        .nth(1)
        .unwrap()
        .split("position 3 of 4")
        .next()
        .unwrap();
    assert!(
        second.contains(" 0 [1] _  _") && second.contains(" 19 [25]"),
        "{second}"
    );
    assert!(
        second.contains("Y[0, 1] = 0·1 + 1·2 + 2·4 + 3·5 = 25"),
        "{second}"
    );
    assert!(!second.contains("37"), "{second}");
    // Folding two columns: (0, 1, 2, 3) and (0, 2, 4, 6).
    let folded = out.split("backward, position 2 of 4").nth(1).unwrap();
    assert!(folded.contains("dX[1, 1] = 3 + 4 = 7"), "{folded}");
}

/// What the program writes to a terminal, which `script` makes, while these keys are pressed.
fn in_terminal(arguments: &str, no_colour: bool, keys: &[&str]) -> Option<String> {
    let line = format!("{} explain {arguments}", env!("CARGO_BIN_EXE_gemmconv"));
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm");
    command.env_remove("CLICOLOR_FORCE").env_remove("NO_COLOR");
    if no_colour {
        command.env("NO_COLOR", "1");
    }
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut script = match started {
        Ok(script) => script,
        Err(error) => {
            let message = format!("script cannot be started ({error}): terminals are NOT tested");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
            eprintln!("{message}");
            return None;
        }
    };
    let mut stdin = script.stdin.take().unwrap();
    let mut stdout = script.stdout.take().unwrap();
    let mut out = Vec::new();
    let mut block = [0; 4096];
    for key in keys {
        // Each key waits for its question.
        let asked = |out: &[u8]| String::from_utf8_lossy(out).ends_with("q: end\r\n");
        while !asked(&out) {
            let count = stdout.read(&mut block).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&out));
            out.extend_from_slice(&block[..count]);
        }
        out.extend_from_slice(b"\n");
        stdin.write_all(key.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }
    stdout.read_to_end(&mut out).unwrap();
    let status = script.wait().unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(status.success(), "{out}");
    Some(out)
}

/// In a terminal Enter goes on and q ends.
#[test]
fn keys_step_in_a_terminal() {
    let step = "--input 3 -k 2 --step";
    let Some(out) = in_terminal(step, false, &["\r", "\r", "q"]) else {
        return;
    };
    assert!(
        out.contains("position 3 of 4") && !out.contains("position 4 of 4"),
        "{out}"
    );
    let out = in_terminal(step, false, &["\r", " ", "\u{1b}[C", "\r"]).unwrap();
    assert!(out.contains("position 4 of 4"), "{out}");
}

#[test]
fn a_terminal_has_colours_unless_it_must_not() {
    let Some(out) = in_terminal("--input 3 -k 2", false, &[]) else {
        return;
    };
    assert!(out.contains("\u{1b}[46m"), "{out}");
    let out = in_terminal("--input 3 -k 2", true, &[]).unwrap();
    assert!(!out.contains('\u{1b}') && out.contains("[19] 25"), "{out}");
    let out = in_terminal("--input 3 -k 2 --color never", false, &[]).unwrap();
    assert!(!out.contains('\u{1b}'), "{out}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = command(&["--input", "12", "-k", "3", "--step", "--backward"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).as_ref()
        ),
        (Some(0), "")
    );
}

#[test]
fn pictures_hold_the_numbers_and_mark_one_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slide.svg");
    let name = path.to_str().unwrap();
    let draw = |at: &str| {
        let arguments = ["--input", "3", "-k", "2", "--at", at, "--svg", name];
        assert_eq!(expect(0, &arguments), (String::new(), String::new()));
        fs::read_to_string(&path).unwrap()
    };
    let svg = draw("1,0");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in [
        "19",
        "25",
        "37",
        "43",
        "Y[1, 0] = 0·3 + 1·4 + 2·6 + 3·7 = 37",
    ] {
        assert!(svg.contains(&format!("\n{text}\n")), "{text} in {svg}");
    }
    // A patch of four in the image and in X̂, the output in its plane and in the product.
    let lit = |svg: &str| ["#0A6AA6", "#00775A"].map(|colour| svg.matches(colour).count());
    assert_eq!(lit(&svg), [8, 2], "{svg}");
    let other = draw("0,0");
    assert_eq!(lit(&other), [8, 2]);
    assert_ne!(other, svg);
    assert_eq!(draw("1,0"), svg);
    let back = ["--input", "3", "-k", "2", "--backward", "--svg", name];
    expect(0, &back);
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .contains("gradient of the image dX 3×3")
    );
    let (_, err) = expect(
        2,
        &["--input", "3", "-k", "2", "--at", "2,0", "--svg", name],
    );
    assert_eq!(err, "error: --at 2,0 is outside the output of 2 × 2\n");
    let (out, _) = expect(0, &["--input", "3", "-k", "2", "--at", "1,1"]);
    assert!(
        out.ends_with("Y[1, 1] = 0·4 + 1·5 + 2·7 + 3·8 = 43\n"),
        "{out}"
    );
    assert!(
        out.contains(" 3 [4][5]") && out.contains(" 6 [7][8]"),
        "{out}"
    );
}

#[test]
fn pages_are_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let name = page.to_str().unwrap();
    fs::write(&page, "precious").unwrap();
    let (_, err) = expect(2, &["--input", "3", "-k", "4", "--html", name]);
    assert!(err.contains("kernel extent 4"), "{err}");
    let (_, err) = expect(2, &["--input", "2000", "-k", "1", "--html", name]);
    assert!(
        err.contains("the padded image has 4000000 numbers, too many to explain: at most 1048576"),
        "{err}"
    );
    assert_eq!(fs::read_to_string(&page).unwrap(), "precious");

    assert_eq!(
        expect(0, &["--input", "1 2; 3 4", "-k", "0.5;", "--html", name]),
        (String::new(), String::new())
    );
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
    assert!(!html.contains("{{") && !html.contains("http://") && !html.contains("https://"));
    let data = html
        .split("id=\"data\">")
        .nth(1)
        .unwrap()
        .split("</script>")
        .next()
        .unwrap();
    assert!(!data.contains('<'));
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        data["given"]["x"],
        serde_json::json!({"shape": [1, 2, 2], "values": [1.0, 2.0, 3.0, 4.0]})
    );
    assert_eq!(data["given"]["w"]["values"], serde_json::json!([0.5]));
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside the page"
    );

    for place in [
        folder.path().join("none/page.html"),
        folder.path().to_path_buf(),
    ] {
        let (out, err) = expect(1, &["--html", place.to_str().unwrap()]);
        assert!(out.is_empty() && err.starts_with("error: "), "{err}");
    }
    assert_eq!(
        expect(1, &["--html", "/dev/null"]).1,
        "error: cannot write /dev/null: /dev/null exists and is not a regular file\n"
    );
}
