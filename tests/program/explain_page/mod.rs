//! The page of `gemmconv explain --html` in a real browser: what lights up is what the library computes.

mod browser;
mod looks;
mod page;
mod truth;

use std::collections::BTreeSet;

use browser::{Browser, Driver};
use page::{check_hover, check_numbers, check_quiet, control, explain, lit, open, set, text};
use serde_json::Value;
use truth::{CASES, Case, Lit, PLAIN, Truth};

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
