//! `docs/lessons`: the figures are what the library draws, and nothing that a page names or links is missing.
//!
//! The listings are doc tests of the crate.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use figures::FIGURES;

#[path = "../../examples/lessons/figures/mod.rs"]
mod figures;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn lessons() -> PathBuf {
    root().join("docs/lessons")
}

/// Every page with its name, in order.
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(lessons()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            pages.push((name, fs::read_to_string(path).unwrap()));
        }
    }
    pages.sort();
    assert_eq!(pages.len(), 16, "15 chapters and the contents");
    pages
}

/// A page without its listings, which hold brackets of their own.
fn prose(page: &str) -> String {
    let parts = page.split("```").step_by(2);
    parts.collect()
}

/// `[text](target)` of a page, pictures included: whether it is one, text, target.
fn links(page: &str) -> Vec<(bool, String, String)> {
    let page = prose(page);
    let mut found = Vec::new();
    for (at, _) in page.match_indices("](") {
        let target = page[at + 2..].split_once(')').unwrap().0;
        let before = &page[..at];
        // The bracket that this one closes; a picture's text may hold pairs.
        let mut open = 1;
        let start = before.char_indices().rev().find(|&(_, symbol)| {
            match symbol {
                ']' => open += 1,
                '[' => open -= 1,
                _ => {}
            }
            open == 0
        });
        let start = start.expect("an opening bracket").0;
        let picture = before[..start].ends_with('!');
        found.push((picture, before[start + 1..].to_owned(), target.to_owned()));
    }
    // Pictures with a width of their own are HTML.
    for tag in page.split("<img ").skip(1) {
        let tag = tag.split_once('>').unwrap().0;
        let attribute = |name: &str| {
            let value = tag.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
            value
                .and_then(|rest| rest.split_once('"'))
                .unwrap()
                .0
                .to_owned()
        };
        found.push((true, attribute("alt"), attribute("src")));
    }
    found
}

/// The anchors of a page as GitHub makes them of its headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let page = prose(page);
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|&symbol| {
            symbol.is_alphanumeric() || symbol == ' ' || symbol == '-' || symbol == '_'
        });
        kept.map(|symbol| if symbol == ' ' { '-' } else { symbol })
            .collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn figures_are_what_the_library_draws() {
    let differences = figures::differences(&lessons().join("images")).unwrap();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What is drawn anew is the same; a number or a place that differs is found, rounding is not.
#[test]
fn other_figures_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    figures::write(folder.path()).unwrap();
    assert_eq!(figures::differences(folder.path()).unwrap(), [""; 0]);
    let change = |name: &str, from: &str, to: &str| {
        let path = folder.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{name}: no {from:?}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
        figures::differences(folder.path()).unwrap()
    };
    assert_eq!(change("03-flip.svg", "x=\"25\"", "x=\"26\""), [""; 0]);
    let found = change("03-flip.svg", "x=\"26\"", "x=\"29\"");
    assert!(
        found.len() == 1 && found[0].starts_with("03-flip.svg: "),
        "{found:?}"
    );
    assert_eq!(change("03-flip.svg", "x=\"29\"", "x=\"25\""), [""; 0]);
    let found = change("03-corr2d.svg", "\n43\n", "\n44\n");
    assert!(
        found.len() == 1 && found[0].starts_with("03-corr2d.svg: "),
        "{found:?}"
    );
    assert_eq!(change("03-corr2d.svg", "\n44\n", "\n43\n"), [""; 0]);
    fs::remove_file(folder.path().join("01-waldo.png")).unwrap();
    let template = folder.path().join("01-template.png");
    let mut picture = image::open(&template).unwrap().to_rgb8();
    picture.get_pixel_mut(3, 5)[1] ^= 32;
    picture.save(&template).unwrap();
    let found = figures::differences(folder.path()).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].contains("pixel (3, 5)"), "{found:?}");
}

/// Each figure stands on a page with a text for those who cannot see it; no file is left over.
#[test]
fn every_figure_is_shown_and_described() {
    let mut shown = BTreeSet::new();
    for (name, page) in pages() {
        for (picture, text, target) in links(&page) {
            if picture {
                assert!(text.len() >= 20, "{name}: {target} has the text {text:?}");
                let file = target.strip_prefix("images/").unwrap();
                // A chapter's figures are its own.
                assert_eq!(file[..2], name[..2], "{name}: {file}");
                shown.insert(file.to_owned());
            }
        }
    }
    let drawn: BTreeSet<_> = FIGURES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(shown, drawn);
    let files = fs::read_dir(lessons().join("images")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), drawn);
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for (name, page) in pages() {
        for (_, _, target) in links(&page) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = match path {
                "" => lessons().join(&name),
                path => lessons().join(path),
            };
            assert!(file.exists(), "{name}: {target}");
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&file).unwrap());
                assert!(anchors.contains(anchor), "{name}: {target} of {anchors:?}");
            }
            count += 1;
        }
    }
    assert!(count > 300, "{count} links found");
}

/// Each chapter leads to the next and to the one before, at its head and at its foot, and has its parts.
#[test]
fn chapters_are_built_alike() {
    let pages = pages();
    let chapters = &pages[..15];
    for (index, (name, page)) in chapters.iter().enumerate() {
        let neighbours = [index.checked_sub(1), Some(index + 1)];
        for neighbour in neighbours.into_iter().flatten() {
            if let Some((other, _)) = chapters.get(neighbour) {
                let lines = page
                    .lines()
                    .filter(|line| line.contains("[Contents](README.md)"));
                let links = lines.filter(|line| line.contains(&format!("]({other})")));
                assert_eq!(links.count(), 2, "{name}: {other}");
            }
        }
        assert!(page.starts_with(&format!("# {}. ", index + 1)), "{name}");
        for part in [
            "**The idea.**",
            "\n```rust\n",
            "## Exercise",
            "<summary>Answer</summary>",
            "## The real thing",
            "../../src/",
        ] {
            assert!(page.contains(part), "{name}: no {part:?}");
        }
        for listing in page.split("```rust\n").skip(1) {
            let listing = listing.split_once("```").unwrap().0;
            assert!(
                listing.contains("assert"),
                "{name}: a listing that proves nothing:\n{listing}"
            );
        }
        for attribute in ["rust,", "ignore", "no_run"] {
            assert!(
                !page.contains(&format!("```{attribute}")),
                "{name}: {attribute}"
            );
        }
    }
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (name, _) in chapters {
        let stem = name.strip_suffix(".md").unwrap();
        assert!(
            library.contains(&format!("\"{stem}\"")),
            "{name} is no doc test"
        );
    }
}

/// The rows of the table of concepts: cells, without the head.
fn concepts() -> Vec<Vec<String>> {
    let page = fs::read_to_string(lessons().join("README.md")).unwrap();
    let (_, table) = page.split_once("| concept | chapter |").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        row.trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

/// What stands between backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// All source of the library.
fn source() -> String {
    let mut text = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                None => folders.push(path),
                Some(_) => text += &fs::read_to_string(path).unwrap(),
            }
        }
    }
    text
}

/// What the course has, as the first column of the table names it.
const CONCEPTS: &str = "fully connected, parameters, Waldo, locality, equivariance, invariance, \
    cross-correlation, true convolution, corr2d, edges, blur, outline, shift kernel, learning a kernel, \
    filter bank, feature map, channels, stride, padding, VALID, SAME, output size, 1 × 1, depthwise, \
    separable, grouped, dilated, transposed, locally connected, pooling, vectorisation, im2col, GEMM, dK, dX, \
    as products, fold, receptive field, LeNet, Inception, flatten, global pooling, softmax, Toeplitz, \
    circulant, composition, Fourier";

/// Each concept of the course has a chapter, something that does it, and a test; all of them exist.
#[test]
fn every_concept_is_done_and_proved() {
    let rows = concepts();
    for concept in CONCEPTS.split(", ") {
        let named = rows.iter().any(|row| row[0].contains(concept));
        assert!(named, "no row for {concept}");
    }
    let source = source();
    let program = env!("CARGO_BIN_EXE_gemmconv");
    let help = Command::new(program).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for row in &rows {
        let [concept, chapter, does, proves] = row.as_slice() else {
            panic!("{row:?}");
        };
        assert!(chapter.starts_with('['), "{concept}: {chapter}");
        assert!(names(does).count() > 0, "{concept}: nothing does it");
        for name in names(does) {
            let there = match name.strip_prefix("gemmconv ") {
                Some(command) => is_command(&help, command),
                None => is_declared(&source, name),
            };
            assert!(there, "{concept}: no {name}");
        }
        let tests = links(proves);
        assert!(!tests.is_empty(), "{concept}: nothing proves it");
        for (_, text, target) in tests {
            assert!(is_test(&text, &target), "{concept}: no {text} at {target}");
        }
    }
}

fn is_command(help: &str, command: &str) -> bool {
    let mut words = help.lines().map(|line| line.split_whitespace().next());
    words.any(|word| word == Some(command))
}

/// Whether the last part of a path is declared somewhere: a function, a type, or a variant.
fn is_declared(source: &str, path: &str) -> bool {
    let name = path.rsplit("::").next().unwrap();
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let declared = |kind: &str| {
        let start = format!("{kind} {name}");
        let mut found = source.match_indices(&start);
        found.any(|(at, start)| ends(&source[at + start.len()..]))
    };
    let variant = source.contains(&format!("\n    {name},\n"));
    variant
        || ["pub fn", "pub struct", "pub enum"]
            .into_iter()
            .any(declared)
}

/// Whether a cell's link leads to a listing, or to the file of the test of its name.
fn is_test(text: &str, target: &str) -> bool {
    if text == "listing" {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        return has_listing(file, anchor);
    }
    let file = fs::read_to_string(lessons().join(target)).unwrap();
    let name = names(text).next().unwrap();
    // In a module of tests, or in a file of its own.
    let forms = ["#[test]\nfn ", "#[test]\n    fn "];
    let mut forms = forms.iter().map(|form| format!("{form}{name}()"));
    forms.any(|form| file.contains(&form))
}

/// Whether the part of a chapter under a heading, or the chapter, has a listing.
fn has_listing(file: &str, anchor: &str) -> bool {
    let page = fs::read_to_string(lessons().join(file)).unwrap();
    let mut parts = page.split("\n## ");
    if anchor.is_empty() {
        return page.contains("```rust\n");
    }
    parts.any(|part| {
        let heading = part.lines().next().unwrap_or("");
        anchors(&format!("## {heading}")).contains(anchor) && part.contains("```rust\n")
    })
}
