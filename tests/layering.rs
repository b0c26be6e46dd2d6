//! Modules use only what stands before them in the pipeline: the `crate::` and `super::` paths of `src` say so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The modules from left to right; each may use those before it and itself.
const ORDER: [&str; 17] = [
    "error", "element", "parallel", "geometry", "gemm", "kernel", "unfold", "plan", "conv", "pool",
    "operator", "network", "onnx", "data", "train", "infer", "cli",
];

/// The root and the program join everything together.
const EXEMPT: [&str; 2] = ["lib.rs", "main.rs"];

/// Every `.rs` file below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `text` without comments, and with strings emptied.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if let Some(literal) = character(rest) {
            rest = &rest[literal..];
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = &rest[hashes + 2..];
            rest = body
                .find(&close)
                .map_or("", |end| &body[end + close.len()..]);
        } else if next == '"' {
            rest = string_end(&rest[1..]);
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    code
}

/// The length of a character literal at the start of `text`; none for a lifetime.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    let mut places = body.char_indices();
    let (_, first) = places.next()?;
    if first == '\\' {
        places.next()?;
        return Some(1 + 2 + body[2..].find('\'')? + 1);
    }
    let (at, second) = places.next()?;
    (second == '\'').then_some(1 + at + 1)
}

/// The number of hashes of a raw string at the start of `text`.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// What follows the end of a string whose opening quote has been read.
fn string_end(text: &str) -> &str {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

/// `code` without the items that `#[cfg(test)]` stands above: each ends at its `;` or its closing brace.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        let item = &rest[at + MARK.len()..];
        let mut depth = 0;
        let end = item.char_indices().find(|&(_, character)| {
            depth += match character {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0 && matches!(character, ';' | '}')
        });
        rest = end.map_or("", |(at, _)| &item[at + 1..]);
    }
    kept + rest
}

/// The first names of every path below `prefix`, those of `prefix::{a::b, c}` among them.
fn names_below(code: &str, prefix: &str) -> Vec<String> {
    let name = |text: &str| {
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        text[..end].to_owned()
    };
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
            continue; // the tail of a longer name or path
        }
        let rest = code[at + prefix.len()..].trim_start();
        match rest.strip_prefix('{') {
            None => names.push(name(rest)),
            Some(list) => {
                let mut depth = 1;
                let mut start = 0;
                for (at, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 || (depth == 1 && character == ',') {
                        names.push(name(list[start..at].trim_start()));
                        start = at + 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Which module each name that `lib.rs` re-exports comes from.
fn root_names(root: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for statement in root.split(';') {
        let Some((_, path)) = statement.split_once("pub use ") else {
            continue;
        };
        let Some((module, items)) = path.trim().split_once("::") else {
            continue;
        };
        for item in items
            .trim_matches(|c: char| c.is_whitespace() || matches!(c, '{' | '}'))
            .split(',')
        {
            // `a as b` is known as b, `a::b` as b.
            let item = item.rsplit(" as ").next().unwrap_or(item);
            let item = item.rsplit("::").next().unwrap_or(item).trim();
            names.insert(item.to_owned(), module.to_owned());
        }
    }
    names
}

/// The arrows of one file, `(from, to)`, that point the wrong way or nowhere, and how many arrows it has.
fn wrong_arrows(file: &Path, code: &str, root: &BTreeMap<String, String>) -> (Vec<String>, usize) {
    let parts: Vec<&str> = file.iter().map(|part| part.to_str().unwrap()).collect();
    let module = parts[0].trim_end_matches(".rs");
    let Some(rank) = ORDER.iter().position(|&name| name == module) else {
        return (
            vec![format!(
                "{}: `{module}` is not in the order of this test",
                file.display()
            )],
            0,
        );
    };
    // `mod.rs` stands for its folder.
    let depth = parts.len() - usize::from(parts.last() == Some(&"mod.rs"));
    let up = "super::".repeat(depth);
    let mut used = names_below(code, "crate::");
    used.extend(names_below(code, &up));
    let mut wrong = Vec::new();
    for name in &used {
        let target = root.get(name).unwrap_or(name);
        match ORDER.iter().position(|known| known == target) {
            Some(other) if other <= rank => {}
            Some(_) => wrong.push(format!(
                "{}: {module} uses {target} (as `{name}`)",
                file.display()
            )),
            None => wrong.push(format!(
                "{}: `crate::{name}` is no module of the order",
                file.display()
            )),
        }
    }
    (wrong, used.len())
}

#[test]
fn arrows_point_from_right_to_left() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |path: &Path| without_tests(&code(&std::fs::read_to_string(path).unwrap()));
    let root = root_names(&read(&folder.join("lib.rs")));
    let mut files = Vec::new();
    sources(&folder, &mut files);
    files.sort();
    let (mut wrong, mut arrows) = (Vec::new(), 0);
    for path in &files {
        let file = path.strip_prefix(&folder).unwrap();
        if EXEMPT.iter().any(|&name| file == Path::new(name)) {
            continue;
        }
        let (found, count) = wrong_arrows(file, &read(path), &root);
        wrong.extend(found);
        arrows += count;
    }
    assert!(
        wrong.is_empty(),
        "{} wrong arrows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // The core alone has more than a hundred.
    assert!(
        files.len() > 30 && arrows > 100,
        "{arrows} arrows in {} files",
        files.len()
    );
}

/// The test above finds what it looks for, and nothing in comments, strings and tests.
#[test]
fn a_wrong_arrow_is_found() {
    let root = root_names("mod x; pub use conv::{ConvPlan, Epilogue as E}; pub use error::Error;");
    let wrong = |file: &str, text: &str| {
        wrong_arrows(Path::new(file), &without_tests(&code(text)), &root)
            .0
            .len()
    };
    for (file, text, expected) in [
        ("geometry/axis.rs", "use crate::error::Error;", 0),
        ("geometry/axis.rs", "use crate::conv::ConvPlan;", 1),
        ("geometry/axis.rs", "fn f() -> crate::ConvPlan {}", 1),
        ("geometry/axis.rs", "use crate::E;", 1),
        (
            "geometry/axis.rs",
            "use crate::{error::{Error, Result}, plan::{Pass, Tiles}, gemm};",
            2,
        ),
        ("geometry/axis.rs", "use super::super::unfold;", 1),
        ("geometry/axis.rs", "use super::conv::ConvGeometry;", 0),
        ("geometry/mod.rs", "use super::unfold::fold;", 1),
        ("gemm/blas/linked.rs", "use super::super::Engine;", 0),
        ("gemm/blas/linked.rs", "use super::super::super::conv;", 1),
        ("element.rs", "use super::geometry;", 1),
        (
            "plan/mod.rs",
            "// use crate::conv;\n/* crate::conv */ /// [`crate::conv`]\n",
            0,
        ),
        (
            "plan/mod.rs",
            "const A: &str = \"crate::conv \\\" crate::pool\"; const B: char = '\"'; use crate::conv;",
            1,
        ),
        (
            "plan/mod.rs",
            "fn f<'a>(x: &'a str) -> char { '\\'' } #[cfg(test)] mod t { use crate::conv; } fn g() {}",
            0,
        ),
        (
            "plan/mod.rs",
            "#[cfg(test)] use crate::conv; use crate::pool;",
            1,
        ),
        ("plan/mod.rs", "const A: &str = r#\"crate::conv\"#;", 0),
        (
            "cli/bench.rs",
            "use crate::conv::ConvPlan; use crate::plan;",
            0,
        ),
        ("plan/mod.rs", "use crate::nowhere;", 1),
        ("elsewhere/mod.rs", "", 1),
    ] {
        assert_eq!(wrong(file, text), expected, "{file}: {text}");
    }
}
