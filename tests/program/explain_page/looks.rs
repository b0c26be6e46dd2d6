//! How the page looks: themes, a phone, sizes that are too large to draw whole.

use std::path::Path;

use image::{Rgb, RgbImage};

use super::browser::{Browser, Driver};
use super::page::{cells, check_quiet, lit, open, text};
use super::truth::{Case, PLAIN, Truth};

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
    // Fonts differ from machine to machine, and the height of lines with them; the colours of what is lit do not.
    assert_eq!(committed.width(), now.width());
    assert!(
        committed.height().abs_diff(now.height()) <= committed.height() / 50,
        "{} pixels high, was {}",
        now.height(),
        committed.height()
    );
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
