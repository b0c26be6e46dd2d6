//! The page as a person has it: cells, what is lit, controls; and what must hold of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use super::browser::{self, Browser};
use super::truth::{Case, Lit, Truth};

pub fn explain(arguments: &[String], page: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gemmconv"));
    command
        .arg("explain")
        .args(arguments)
        .arg("--html")
        .arg(page);
    command.output().expect("the program starts")
}

/// The page of these arguments, opened.
pub fn open(browser: &Browser, folder: &Path, arguments: &[String]) {
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
pub fn cells(browser: &Browser, part: &str) -> Vec<(usize, browser::Element)> {
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

pub fn lit(browser: &Browser) -> Lit {
    let mut lit = Lit::new();
    for pair in browser.run(LIT).as_array().expect("a list") {
        let part = pair[0].as_str().expect("a part").to_owned();
        let index = pair[1].as_u64().expect("a number") as usize;
        lit.entry(part).or_default().insert(index);
    }
    lit
}

pub fn text(browser: &Browser, id: &str) -> String {
    let text = browser.run(&format!(
        "return document.getElementById('{id}').textContent"
    ));
    text.as_str().expect("text").to_owned()
}

/// Every number that is shown is the library's.
pub fn check_numbers(browser: &Browser, truth: &Truth, case: &Case) {
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
pub fn check_hover(browser: &Browser, truth: &Truth, case: &Case, parts: &[&str]) {
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
pub fn set(browser: &Browser, control: &str, value: &str) {
    let field = browser.one(&format!("#{control}"));
    browser.run(&format!("document.getElementById('{control}').select()"));
    browser.type_into(&field, &format!("\u{e009}a\u{e000}{value}"));
}

/// Brings all controls to a case.
pub fn control(browser: &Browser, case: &Case) {
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
pub fn check_quiet(browser: &Browser) {
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
