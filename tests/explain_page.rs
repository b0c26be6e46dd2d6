//! The page of `gemmconv explain --html` in a real browser: what lights up is what the library computes.
#![cfg(feature = "cli")]

mod browser;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use browser::{Browser, Driver};
use gemmconv::unfold::{PatchOrder, unfold};
use gemmconv::{ConvGeometry, ConvOptions, ConvPlan, Epilogue, Padding, PlanOptions, Wanted};
use image::{Rgb, RgbImage};
use ndarray::{Array2, Array4};
use serde_json::Value;

/// Sets of element numbers by the part of the page.
type Lit = BTreeMap<String, BTreeSet<usize>>;

/// A convolution, as the arguments and the controls say it.
#[derive(Clone, Copy, Debug)]
struct Case {
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    /// None is `same`.
    padding: Option<[usize; 2]>,
    dilation: [usize; 2],
    channels: usize,
    outputs: usize,
    groups: usize,
}

const PLAIN: Case = Case {
    input: [3, 3],
    kernel: [2, 2],
    stride: [1, 1],
    padding: Some([0, 0]),
    dilation: [1, 1],
    channels: 1,
    outputs: 1,
    groups: 1,
};

const CASES: [Case; 6] = [
    PLAIN,
    Case {
        input: [5, 4],
        kernel: [3, 2],
        stride: [2, 1],
        padding: Some([1, 0]),
        ..PLAIN
    },
    Case {
        input: [5, 5],
        padding: None,
        stride: [2, 2],
        ..PLAIN
    },
    Case {
        input: [5, 6],
        dilation: [2, 3],
        ..PLAIN
    },
    Case {
        input: [3, 2],
        channels: 4,
        outputs: 2,
        groups: 2,
        ..PLAIN
    },
    Case {
        input: [7, 7],
        stride: [3, 3],
        channels: 2,
        outputs: 2,
        ..PLAIN
    },
];

impl Case {
    fn arguments(&self) -> Vec<String> {
        let pair = |[rows, columns]: [usize; 2]| format!("{rows},{columns}");
        let size = |[rows, columns]: [usize; 2]| format!("{rows}x{columns}");
        let options = [
            ("--input", size(self.input)),
            ("--kernel", size(self.kernel)),
            ("--stride", pair(self.stride)),
            ("--padding", self.padding.map_or("same".to_owned(), pair)),
            ("--dilation", pair(self.dilation)),
            ("--channels", self.channels.to_string()),
            ("--outputs", self.outputs.to_string()),
            ("--groups", self.groups.to_string()),
        ];
        options
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect()
    }
}

/// What the library says of a case.
struct Truth {
    geometry: ConvGeometry,
    /// The pixel of the padded image, counted over all channels, in each place of the patch matrix.
    pixels: Array2<usize>,
    /// Pixels that are not padding.
    inner: BTreeSet<usize>,
    /// The numbers of each part, in the order of its elements.
    numbers: BTreeMap<&'static str, BTreeMap<usize, f64>>,
}

impl Truth {
    fn new(case: &Case) -> Self {
        let padding = match case.padding {
            Some(padding) => Padding::symmetric(padding),
            None => Padding::SameUpper,
        };
        let options = ConvOptions::new()
            .stride(case.stride)
            .dilation(case.dilation)
            .padding(padding)
            .groups(case.groups);
        let [height, width] = case.input;
        let x = Array4::from_shape_fn((1, case.channels, height, width), |(_, c, i, j)| {
            (c + i * width + j) as f64
        });
        let [kh, kw] = case.kernel;
        let w = Array4::from_shape_fn(
            (case.outputs, case.channels / case.groups, kh, kw),
            |(o, c, i, j)| (o + c + i * kw + j) as f64,
        );
        let geometry = ConvGeometry::new(x.shape(), w.shape(), &options).unwrap();
        let plan = ConvPlan::new(&geometry, &PlanOptions::new()).unwrap();
        let weights = plan.prepare(&w).unwrap();
        let y = plan.forward(&x, &weights, &Epilogue::none()).unwrap();
        let positions = geometry.positions();
        let mut next = 0;
        let d_output = y.mapv(|_| {
            next += 1;
            ((next - 1) / positions + (next - 1) % positions + 1) as f64
        });
        let gradients = plan.backward(&x, &weights, &d_output, Wanted::ALL).unwrap();
        let order = PatchOrder::ElementsByPositions;
        let patches = unfold(&x, &case.kernel, &options, order).unwrap();

        // The padded image, whose elements are their own numbers.
        let axes = geometry.axes();
        let side = |axis: usize| axes[axis].pad().0 + axes[axis].input() + axes[axis].pad().1;
        let (rows, columns) = (side(0), side(1));
        let number = |c: usize, i: usize, j: usize| (c * rows + i) * columns + j;
        let padded = Array4::from_shape_fn((1, case.channels, rows, columns), |(_, c, i, j)| {
            number(c, i, j) as f64
        });
        let places = unfold(
            &padded,
            &case.kernel,
            &options.padding(Padding::Valid),
            order,
        )
        .unwrap();
        let pixels = places
            .index_axis_move(ndarray::Axis(0), 0)
            .mapv(|number| number as usize);

        let (top, left) = (axes[0].pad().0, axes[1].pad().0);
        let image = |values: &Array4<f64>| {
            let placed = values
                .indexed_iter()
                .map(|((_, c, i, j), &v)| (number(c, i + top, j + left), v));
            placed.collect::<BTreeMap<_, _>>()
        };
        let list = |values: Vec<f64>| values.into_iter().enumerate().collect::<BTreeMap<_, _>>();
        let inner: BTreeSet<usize> = image(&x).into_keys().collect();
        let mut with_padding: BTreeMap<usize, f64> = (0..case.channels * rows * columns)
            .map(|n| (n, 0.0))
            .collect();
        with_padding.extend(image(&x));
        let y = list(y.iter().copied().collect());
        let w = list(w.iter().copied().collect());
        let numbers = BTreeMap::from([
            ("image", with_padding),
            ("kernel", w.clone()),
            ("weights", w),
            ("output", y.clone()),
            ("product", y),
            ("patches", list(patches.iter().copied().collect())),
            ("d-output", list(d_output.iter().copied().collect())),
            (
                "d-kernel",
                list(gradients.d_weight.unwrap().iter().copied().collect()),
            ),
            ("d-image", image(&gradients.d_input.unwrap())),
        ]);
        Self {
            geometry,
            pixels,
            inner,
            numbers,
        }
    }

    /// Lights the parts of an element's four sets.
    fn lit(
        &self,
        image: BTreeSet<usize>,
        weights: BTreeSet<usize>,
        patches: BTreeSet<usize>,
        output: BTreeSet<usize>,
    ) -> Lit {
        let inner = image.intersection(&self.inner).copied().collect();
        let parts = [
            ("image", image),
            ("d-image", inner),
            ("kernel", weights.clone()),
            ("weights", weights.clone()),
            ("d-kernel", weights),
            ("patches", patches.clone()),
            ("d-patches", patches),
            ("output", output.clone()),
            ("product", output.clone()),
            ("d-output", output),
        ];
        let parts = parts.into_iter().filter(|(_, set)| !set.is_empty());
        parts.map(|(part, set)| (part.to_owned(), set)).collect()
    }

    /// What an element of a part must light.
    fn expected(&self, part: &str, index: usize) -> Lit {
        let (k, p) = (self.geometry.patch_len(), self.geometry.positions());
        let per_group = self.geometry.outputs_per_group();
        let outputs_of = |row: usize| (row / k * per_group)..((row / k + 1) * per_group);
        let one = BTreeSet::from([index]);
        match part {
            "output" | "product" | "d-output" => {
                let (o, at) = (index / p, index % p);
                let rows = o / per_group * k..(o / per_group + 1) * k;
                let image = rows.clone().map(|row| self.pixels[[row, at]]).collect();
                let patches = rows.map(|row| row * p + at).collect();
                self.lit(image, (o * k..(o + 1) * k).collect(), patches, one)
            }
            "image" | "d-image" => {
                let met = self
                    .pixels
                    .indexed_iter()
                    .filter(|&(_, &pixel)| pixel == index);
                let met: Vec<(usize, usize)> = met.map(|(place, _)| place).collect();
                let patches = met.iter().map(|(row, at)| row * p + at).collect();
                let output = met
                    .iter()
                    .flat_map(|&(row, at)| outputs_of(row).map(move |o| o * p + at));
                self.lit(one, BTreeSet::new(), patches, output.collect())
            }
            "kernel" | "weights" | "d-kernel" => {
                let o = index / k;
                let row = o / per_group * k + index % k;
                let image = self.pixels.row(row).iter().copied().collect();
                let patches = (row * p..(row + 1) * p).collect();
                self.lit(image, one, patches, (o * p..(o + 1) * p).collect())
            }
            "patches" | "d-patches" => {
                let (row, at) = (index / p, index % p);
                let weights = outputs_of(row).map(|o| o * k + row % k).collect();
                let output = outputs_of(row).map(|o| o * p + at).collect();
                self.lit(
                    BTreeSet::from([self.pixels[[row, at]]]),
                    weights,
                    one,
                    output,
                )
            }
            part => panic!("there is no part {part}"),
        }
    }
}

fn explain(arguments: &[String], page: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gemmconv"));
    command
        .arg("explain")
        .args(arguments)
        .arg("--html")
        .arg(page);
    command.output().expect("the program starts")
}

/// The page of these arguments, opened.
fn open(browser: &Browser, folder: &Path, arguments: &[String]) {
    let page = folder.join("page.html");
    let done = explain(arguments, &page);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    browser.go(&format!("file://{}", page.display()));
}

/// The cells of a part and their element numbers.
fn cells(browser: &Browser, part: &str) -> Vec<(usize, browser::Element)> {
    let numbers = browser.run(&format!(
        "return [...document.querySelectorAll('[data-part={part}] .cell')].map((cell) => Number(cell.dataset.index))"
    ));
    let numbers = numbers
        .as_array()
        .expect("a list")
        .iter()
        .map(|n| n.as_u64().unwrap() as usize);
    let elements = browser.all(&format!("[data-part={part}] .cell"));
    numbers.zip(elements).collect()
}

const LIT: &str = "return [...document.querySelectorAll('.cell.lit')].map((cell) =>
    [cell.closest('[data-part]').dataset.part, Number(cell.dataset.index)])";

fn lit(browser: &Browser) -> Lit {
    let mut lit = Lit::new();
    for pair in browser.run(LIT).as_array().expect("a list") {
        let part = pair[0].as_str().expect("a part").to_owned();
        let index = pair[1].as_u64().expect("a number") as usize;
        lit.entry(part).or_default().insert(index);
    }
    lit
}

fn text(browser: &Browser, id: &str) -> String {
    let text = browser.run(&format!(
        "return document.getElementById('{id}').textContent"
    ));
    text.as_str().expect("text").to_owned()
}

/// Every number that is shown is the library's.
fn check_numbers(browser: &Browser, truth: &Truth, case: &Case) {
    for (part, numbers) in &truth.numbers {
        let shown = browser.run(&format!(
            "return [...document.querySelectorAll('[data-part={part}] .cell')].map((cell) =>
                [Number(cell.dataset.index), Number(cell.textContent)])"
        ));
        let pairs = shown.as_array().expect("a list").iter();
        let shown: BTreeMap<usize, f64> = pairs
            .map(|pair| {
                (
                    pair[0].as_u64().unwrap() as usize,
                    pair[1].as_f64().unwrap(),
                )
            })
            .collect();
        assert_eq!(&shown, numbers, "{part} of {case:?}");
    }
}

/// The mouse on every cell of these parts.
fn check_hover(browser: &Browser, truth: &Truth, case: &Case, parts: &[&str]) {
    for part in parts {
        for (index, cell) in cells(browser, part) {
            browser.hover(&cell);
            assert_eq!(
                lit(browser),
                truth.expected(part, index),
                "{part} {index} of {case:?}"
            );
            let told = text(browser, "told");
            assert!(
                !told.is_empty() && !told.contains("NaN") && !told.contains("undefined"),
                "{told}"
            );
        }
    }
    browser.move_to(2, 2);
    assert_eq!(lit(browser), Lit::new(), "the mouse is elsewhere");
}

/// Puts a value into a control as a person does: marks all, types over it.
fn set(browser: &Browser, control: &str, value: &str) {
    let field = browser.one(&format!("#{control}"));
    browser.run(&format!("document.getElementById('{control}').select()"));
    browser.type_into(&field, &format!("\u{e009}a\u{e000}{value}"));
}

/// Brings all controls to a case.
fn control(browser: &Browser, case: &Case) {
    let values =
        "return Object.fromEntries([...document.querySelectorAll('#controls input')].map((input) =>
        [input.id, input.type === 'checkbox' ? String(input.checked) : input.value]))";
    let mut now = browser.run(values);
    for (id, wanted) in [("apart", true), ("same", case.padding.is_none())] {
        if now[id].as_str() != Some(&wanted.to_string()) {
            browser.click(&browser.one(&format!("#{id}")));
            now = browser.run(values);
        }
    }
    let pairs = [
        ("input", case.input),
        ("kernel", case.kernel),
        ("stride", case.stride),
        ("dilation", case.dilation),
    ];
    let pairs = pairs
        .into_iter()
        .chain(case.padding.map(|padding| ("padding", padding)));
    let sides = pairs.flat_map(|(name, [rows, columns])| {
        [
            (format!("{name}-rows"), rows),
            (format!("{name}-columns"), columns),
        ]
    });
    let counts = [
        ("channels".to_owned(), case.channels),
        ("outputs".to_owned(), case.outputs),
        ("groups".to_owned(), case.groups),
    ];
    for (id, value) in sides.chain(counts) {
        if now[&id].as_str() != Some(&value.to_string()) {
            set(browser, &id, &value.to_string());
        }
    }
}

/// No complaint, and nothing asked of a network.
fn check_quiet(browser: &Browser) {
    let (complaints, requests) = browser.complaints_and_requests();
    assert_eq!(complaints, Vec::<String>::new());
    assert!(!requests.is_empty(), "the page itself is a request");
    for request in requests {
        assert!(
            request.starts_with("\"file://") || request.starts_with("\"data:"),
            "{request}"
        );
    }
}

#[test]
fn what_lights_up_is_what_the_library_computes() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(1400, 3600, false);
    for case in &CASES {
        open(&browser, folder.path(), &case.arguments());
        let truth = Truth::new(case);
        check_numbers(&browser, &truth, case);
        check_hover(&browser, &truth, case, &["output", "image", "kernel"]);
        check_quiet(&browser);
    }
}

#[test]
fn live_controls_draw_what_the_library_computes() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(1400, 3600, false);
    open(&browser, folder.path(), &PLAIN.arguments());
    for case in CASES.iter().rev() {
        control(&browser, case);
        assert_eq!(text(&browser, "message"), "", "{case:?}");
        let truth = Truth::new(case);
        check_numbers(&browser, &truth, case);
        check_hover(
            &browser,
            &truth,
            case,
            &["product", "d-output", "weights", "d-kernel"],
        );
        if case.channels == 1 {
            check_hover(&browser, &truth, case, &["patches", "d-patches", "d-image"]);
        }
    }
    check_quiet(&browser);
}

/// The parts with cells that wait to be computed.
fn pending(browser: &Browser) -> BTreeSet<String> {
    let parts = browser.run(
        "return [...document.querySelectorAll('.cell.pending')].map((cell) => cell.closest('[data-part]').dataset.part)",
    );
    let parts = parts.as_array().expect("a list").iter();
    parts
        .map(|part| part.as_str().unwrap().to_owned())
        .collect()
}

fn set_of(parts: &[&str]) -> BTreeSet<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

const HOME: &str = "\u{e011}";
const END: &str = "\u{e010}";
const RIGHT: &str = "\u{e014}";
const DOWN: &str = "\u{e015}";
const TAB: &str = "\u{e004}";
const ESCAPE: &str = "\u{e00c}";

#[test]
fn the_slider_plays_from_end_to_end() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(1400, 1600, false);
    open(&browser, folder.path(), &PLAIN.arguments());
    let truth = Truth::new(&PLAIN);
    let slider = browser.one("#step");
    let products = ["product", "output", "d-kernel", "d-patches"];
    assert_eq!(
        (pending(&browser), text(&browser, "phase")),
        (set_of(&[]), "All done".to_owned())
    );

    browser.type_into(&slider, HOME);
    assert_eq!(
        pending(&browser),
        set_of(&[&products[..], &["patches"]].concat())
    );
    assert_eq!(
        (lit(&browser), text(&browser, "phase")),
        (Lit::new(), "im2col: position 0 of 4".to_owned())
    );
    // im2col: the second patch and its column, nothing of the products.
    browser.type_into(&slider, &RIGHT.repeat(2));
    let column = truth.expected("output", 1);
    let of_column: Lit = ["image", "patches"]
        .map(|part| (part.to_owned(), column[part].clone()))
        .into();
    assert_eq!(
        (lit(&browser), text(&browser, "phase")),
        (of_column, "im2col: position 2 of 4".to_owned())
    );
    // The product: its third output.
    browser.type_into(&slider, &RIGHT.repeat(5));
    let mut third = truth.expected("output", 2);
    third.retain(|part, _| !part.starts_with("d-"));
    assert_eq!(
        (lit(&browser), text(&browser, "phase")),
        (third, "GEMM: output 3 of 4".to_owned())
    );
    assert!(
        text(&browser, "told").ends_with(" = 37 = 0·3 + 1·4 + 2·6 + 3·7"),
        "{}",
        text(&browser, "told")
    );
    // col2im: what two columns add up to, by hand: dX̂ has the columns (0, 1, 2, 3) and (0, 2, 4, 6).
    browser.type_into(&slider, &RIGHT.repeat(3));
    assert_eq!(text(&browser, "phase"), "col2im: position 2 of 4");
    let sums = browser.run("return [...document.querySelectorAll('[data-part=d-image] .cell')].map((cell) => cell.textContent)");
    assert_eq!(
        sums,
        serde_json::json!(["0", "1", "2", "2", "7", "6", "0", "0", "0"])
    );
    let only: BTreeSet<String> = lit(&browser).into_keys().collect();
    assert_eq!(only, set_of(&["d-image", "d-patches"]));
    browser.type_into(&slider, END);
    assert_eq!(
        (pending(&browser), lit(&browser)),
        (set_of(&[]), Lit::new())
    );
    check_numbers(&browser, &truth, &PLAIN);

    // The button begins again, and ends by itself.
    let play = browser.one("#play");
    browser.click(&play);
    assert_ne!(pending(&browser), set_of(&[]));
    let begin = std::time::Instant::now();
    while text(&browser, "phase") != "All done" {
        assert!(
            begin.elapsed().as_secs() < 90,
            "{}",
            text(&browser, "phase")
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(
        browser.run("return document.getElementById('play').getAttribute('aria-label')"),
        "Play"
    );
    check_quiet(&browser);
}

#[test]
fn keys_move_from_cell_to_cell() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(1400, 1600, false);
    open(&browser, folder.path(), &PLAIN.arguments());
    let truth = Truth::new(&PLAIN);
    let focus = "const at = document.activeElement;
        return [at.closest('[data-part]')?.dataset.part ?? at.id, Number(at.dataset.index ?? -1), at.getAttribute('aria-label')]";
    let mut reached = Vec::new();
    for _ in 0..80 {
        browser.press(TAB);
        reached = browser.run(focus).as_array().unwrap().clone();
        if reached[0] == "output" {
            break;
        }
    }
    assert_eq!(
        reached,
        [
            "output".into(),
            Value::from(0),
            "Output Y row 0, column 0: 19".into()
        ]
    );
    assert_eq!(lit(&browser), truth.expected("output", 0));
    browser.press(RIGHT);
    assert_eq!(lit(&browser), truth.expected("output", 1));
    browser.press(DOWN);
    assert_eq!(lit(&browser), truth.expected("output", 3));
    // At the border it stays.
    browser.press(DOWN);
    browser.press(RIGHT);
    assert_eq!(lit(&browser), truth.expected("output", 3));
    browser.press(HOME);
    assert_eq!(lit(&browser), truth.expected("output", 2));
    let ring = "const style = getComputedStyle(document.activeElement); return parseFloat(style.outlineWidth)";
    assert!(
        browser.run(ring).as_f64().unwrap() >= 2.0,
        "the focus is seen"
    );
    browser.press(ESCAPE);
    assert_eq!(lit(&browser), Lit::new());
    // Every cell can be reached, and says what it is; every control has a name.
    let nameless = "return [...document.querySelectorAll('[role=gridcell], [role=grid], button, input')].filter((element) =>
        !(element.getAttribute('aria-label') || element.textContent || element.labels?.length)).length";
    assert_eq!(browser.run(nameless), 0);
    let roles = "return [...document.querySelectorAll('[role=grid]')].every((grid) =>
        [...grid.children].every((row) => row.role === 'row' && row.querySelector('[role=gridcell]')) &&
        grid.querySelectorAll('[tabindex=\"0\"]').length === 1)";
    assert_eq!(browser.run(roles), true);
    check_quiet(&browser);
}

#[test]
fn settings_that_make_no_convolution_are_told_in_the_librarys_words() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(1400, 1600, false);
    open(&browser, folder.path(), &PLAIN.arguments());
    let wrong = [
        Case {
            kernel: [4, 2],
            ..PLAIN
        },
        Case {
            kernel: [2, 5],
            padding: Some([1, 0]),
            ..PLAIN
        },
        Case {
            dilation: [1, 3],
            ..PLAIN
        },
        Case {
            stride: [0, 1],
            ..PLAIN
        },
        Case {
            kernel: [2, 0],
            ..PLAIN
        },
        Case {
            dilation: [0, 0],
            padding: None,
            ..PLAIN
        },
        Case { groups: 0, ..PLAIN },
        Case { groups: 2, ..PLAIN },
        Case {
            groups: 2,
            channels: 2,
            ..PLAIN
        },
        Case {
            outputs: 0,
            ..PLAIN
        },
        Case {
            channels: 0,
            ..PLAIN
        },
        Case {
            input: [0, 3],
            ..PLAIN
        },
        Case {
            input: [2000, 2000],
            ..PLAIN
        },
        Case {
            input: [9999, 9999],
            channels: 9999,
            outputs: 9999,
            ..PLAIN
        },
        Case {
            input: [300, 300],
            kernel: [9, 9],
            ..PLAIN
        },
        Case {
            input: [900, 900],
            outputs: 8,
            ..PLAIN
        },
        Case {
            input: [30, 30],
            kernel: [10, 10],
            outputs: 999,
            ..PLAIN
        },
        Case {
            kernel: [3, 3],
            channels: 999,
            outputs: 999,
            ..PLAIN
        },
    ];
    let stale = "return [document.getElementById('stage').classList.contains('stale'),
        document.querySelectorAll('[data-part=output] .cell').length, document.getElementById('message').hidden]";
    for case in &wrong {
        control(&browser, case);
        let done = explain(&case.arguments(), &folder.path().join("none.html"));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{case:?}");
        assert!(!folder.path().join("none.html").exists(), "{case:?}");
        assert_eq!(
            format!("error: {}\n", text(&browser, "message")),
            said,
            "{case:?}"
        );
        // The last good picture stays, dimmed.
        assert_eq!(browser.run(stale)[0], true, "{case:?}");
        assert_ne!(browser.run(stale)[1], 0, "{case:?}");
        assert_eq!(browser.run(stale)[2], false, "{case:?}");
    }
    for typed in ["", "a", "-1", "1.5", "10000", "999999"] {
        control(&browser, &PLAIN);
        assert_eq!(text(&browser, "message"), "");
        set(
            &browser,
            "stride-rows",
            if typed.is_empty() { "\u{e017}" } else { typed },
        );
        let message = text(&browser, "message");
        let expected = ["not a whole number", "the largest size of this page"];
        assert!(
            expected.iter().any(|words| message.contains(words)),
            "{typed}: {message}"
        );
    }
    control(&browser, &PLAIN);
    assert_eq!(browser.run(stale)[0], false);
    check_numbers(&browser, &Truth::new(&PLAIN), &PLAIN);
    check_quiet(&browser);
}

/// A screenshot, kept under target/ for people to look at.
fn picture(browser: &Browser, name: &str) -> RgbImage {
    // Colours glide; the picture is taken when they have arrived.
    std::thread::sleep(std::time::Duration::from_millis(400));
    let (bytes, picture) = browser.screenshot();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("explain");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
    picture
}

/// Which part of a picture has exactly this colour.
fn share(picture: &RgbImage, colour: u32) -> f64 {
    let [_, red, green, blue] = colour.to_be_bytes();
    let same = picture
        .pixels()
        .filter(|&&pixel| pixel == Rgb([red, green, blue]));
    same.count() as f64 / f64::from(picture.width() * picture.height())
}

/// The ground, what is tinted and what is lit, in both themes.
const LIGHT: [(&str, u32); 7] = [
    ("ground", 0xf6f6f4),
    ("image", 0xe8f2f9),
    ("weights", 0xfcefe5),
    ("output", 0xe4f4ef),
    ("lit image", 0x0a6aa6),
    ("lit weights", 0xb84d05),
    ("lit output", 0x00775a),
];
const DARK: [(&str, u32); 7] = [
    ("ground", 0x121316),
    ("image", 0x182a37),
    ("weights", 0x33241a),
    ("output", 0x152f28),
    ("lit image", 0x62b6ec),
    ("lit weights", 0xf0a167),
    ("lit output", 0x46cfa5),
];

fn check_colours(picture: &RgbImage, theme: &[(&str, u32); 7], name: &str) {
    for (what, colour) in theme {
        let least = if *what == "ground" { 0.02 } else { 0.0002 };
        let share = share(picture, *colour);
        assert!(share > least, "{name}: {what} is {share} of the picture");
    }
}

#[test]
fn light_and_dark_by_the_system_and_by_the_button() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(1280, 1500, false);
    let case = Case {
        input: [5, 5],
        kernel: [3, 3],
        outputs: 2,
        padding: Some([1, 1]),
        stride: [2, 2],
        ..PLAIN
    };
    let prefer = |theme: &str| {
        let features =
            serde_json::json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        browser.chrome("Emulation.setEmulatedMedia", &features);
    };
    prefer("light");
    open(&browser, folder.path(), &case.arguments());
    let gradient = &cells(&browser, "d-kernel")[4].1;
    let output = &cells(&browser, "output")[4].1;
    browser.hover(output);
    check_colours(&picture(&browser, "light.png"), &LIGHT, "light");
    prefer("dark");
    browser.hover(output);
    check_colours(&picture(&browser, "dark.png"), &DARK, "dark");
    browser.click(&browser.one("#theme"));
    browser.hover(gradient);
    browser.hover(output);
    check_colours(
        &picture(&browser, "light-by-button.png"),
        &LIGHT,
        "light by the button",
    );
    assert_eq!(text(&browser, "theme"), "Dark");
    check_quiet(&browser);
}

/// The picture of the README: docs/images/explain.png is a copy of it.
#[test]
fn the_readmes_picture() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(1000, 1230, false);
    let case = Case {
        input: [4, 4],
        kernel: [3, 3],
        ..PLAIN
    };
    open(&browser, folder.path(), &case.arguments());
    browser.hover(&cells(&browser, "output")[3].1);
    let now = picture(&browser, "readme.png");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/explain.png");
    let committed = image::open(committed).unwrap().to_rgb8();
    assert_eq!(committed.dimensions(), now.dimensions());
    // Fonts differ from machine to machine; the colours of what is lit do not.
    for (what, colour) in LIGHT {
        let [now, then] = [&now, &committed].map(|picture| share(picture, colour));
        assert!(
            (now - then).abs() < 0.2 * then.max(0.01),
            "{what}: {now}, was {then}"
        );
    }
}

#[test]
fn a_finger_on_a_phone() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(390, 844, true);
    let small = Case {
        input: [5, 5],
        kernel: [3, 3],
        channels: 2,
        outputs: 2,
        ..PLAIN
    };
    let wide = Case {
        input: [12, 30],
        kernel: [7, 7],
        padding: None,
        ..PLAIN
    };
    for case in [small, wide] {
        open(&browser, folder.path(), &case.arguments());
        for step in ["", "document.getElementById('apart').click();"] {
            browser.run(step);
            let sizes = browser.run("return [document.documentElement.scrollWidth, innerWidth, document.body.scrollWidth]");
            assert_eq!(
                sizes,
                serde_json::json!([390, 390, 390]),
                "nothing is wider than the window"
            );
        }
        let outside = browser.run(
            "return [...document.querySelectorAll('button, input, h1, h2, figcaption')].filter((element) => {
                const box = element.getBoundingClientRect();
                return box.right > 391 || box.left < -1 }).map((element) => element.id || element.textContent)",
        );
        assert_eq!(outside, serde_json::json!([]));
    }
    open(&browser, folder.path(), &small.arguments());
    let truth = Truth::new(&small);
    for (part, at) in [("output", 4), ("image", 12), ("kernel", 0), ("patches", 20)] {
        let (index, cell) = cells(&browser, part)[at].clone();
        browser.run(&format!(
            "document.querySelectorAll('[data-part={part}] .cell')[{at}].scrollIntoView({{block: 'center', inline: 'center'}})"
        ));
        browser.tap(&cell);
        // What is tapped stays lit when the finger is gone.
        assert_eq!(lit(&browser), truth.expected(part, index), "{part} {at}");
    }
    browser.run("scrollTo(0, 0)");
    let (_, cell) = cells(&browser, "output")[4].clone();
    browser.run("document.querySelector('[data-part=output]').scrollIntoView({block: 'center'})");
    browser.tap(&cell);
    let shot = picture(&browser, "phone.png");
    assert_eq!(shot.dimensions(), (780, 1688));
    for (what, colour) in [LIGHT[0], LIGHT[6]] {
        assert!(share(&shot, colour) > 0.0, "{what}");
    }
    check_quiet(&browser);
}

/// Of a side that is long the ends are shown; what is shown is right.
#[test]
fn large_sizes_are_summarised() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(1400, 2000, false);
    let large = Case {
        input: [60, 200],
        kernel: [9, 9],
        channels: 6,
        outputs: 6,
        padding: Some([2, 2]),
        stride: [2, 3],
        ..PLAIN
    };
    let groups = Case {
        channels: 12,
        outputs: 12,
        groups: 12,
        ..PLAIN
    };
    for case in [large, groups] {
        open(&browser, folder.path(), &case.arguments());
        let truth = Truth::new(&case);
        let count = browser
            .run("return document.querySelectorAll('.cell').length")
            .as_u64()
            .unwrap();
        assert!(count < 20_000, "{count} cells");
        let shown = "return [...document.querySelectorAll('.cell')].map((cell) =>
            [cell.closest('[data-part]').dataset.part, Number(cell.dataset.index), cell.textContent])";
        for cell in browser.run(shown).as_array().unwrap() {
            let part = cell[0].as_str().unwrap();
            let Some(numbers) = truth.numbers.get(part) else {
                continue;
            };
            let expected = numbers[&(cell[1].as_u64().unwrap() as usize)];
            let got: f64 = cell[2].as_str().unwrap().parse().unwrap();
            // Large numbers are rounded to three digits.
            assert!(
                (got - expected).abs() <= 0.01 * expected.abs(),
                "{cell} {expected} {case:?}"
            );
        }
        let (index, corner) = cells(&browser, "output").pop().unwrap();
        browser.hover(&corner);
        let expected = truth.expected("output", index);
        for (part, lit) in lit(&browser) {
            assert!(
                lit.is_subset(&expected[&part]) && !lit.is_empty(),
                "{part} of {case:?}"
            );
        }
        let words = text(&browser, "stage");
        assert!(words.contains('…') && words.contains("more"), "{words}");
        picture(
            &browser,
            if case.groups == 1 {
                "large.png"
            } else {
                "groups.png"
            },
        );
    }
    check_quiet(&browser);
}

/// Numbers of one's own, which repeat where a size grows.
#[test]
fn given_numbers_are_drawn_and_repeated() {
    let Some(driver) = Driver::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let browser = driver.open(1400, 1600, false);
    let arguments = [
        "--input",
        "0.5 -1; 2 3 | 4 5; 6 7",
        "--kernel",
        "1 | -1",
        "--kernel",
        "2;|0.25",
    ]
    .map(str::to_owned);
    open(&browser, folder.path(), &arguments);
    let shown = |part: &str| {
        let texts = browser.run(&format!(
            "return [...document.querySelectorAll('[data-part={part}] .cell')].map((cell) => cell.textContent).join(' ')"
        ));
        texts.as_str().unwrap().to_owned()
    };
    assert_eq!(shown("image"), "0.5 -1 2 3 4 5 6 7");
    assert_eq!(shown("kernel"), "1 -1 2 0.25");
    assert_eq!(shown("output"), "-3.5 -6 -4 -4 2 -0.75 5.5 7.75");
    set(&browser, "input-rows", "3");
    assert_eq!(
        shown("image"),
        "0.5 -1 0.5 2 3 2 0.5 -1 0.5 4 5 4 6 7 6 4 5 4"
    );
    check_quiet(&browser);
}
