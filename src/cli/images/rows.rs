//! A row for each picture: CSV, a JSON object a line, or a line for people.

use std::path::Path;

use clap::ValueEnum;
use serde_json::json;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Csv,
    Jsonl,
    Text,
}

/// A class that a picture may be of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Guess<'l> {
    pub class: usize,
    pub label: Option<&'l str>,
    pub probability: f32,
}

impl Format {
    /// That of the file's extension.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "txt" => Some(Self::Text),
            _ => None,
        }
    }

    /// What stands above the rows, with its end of line.
    pub fn header(self, top: usize) -> String {
        match self {
            Self::Csv => {
                let columns =
                    (1..=top).map(|rank| format!(",class_{rank},label_{rank},probability_{rank}"));
                format!("path,error{}\n", columns.collect::<String>())
            }
            Self::Jsonl | Self::Text => String::new(),
        }
    }

    /// The row of a picture with its end of line. `guesses` has `top` elements.
    pub fn row(self, path: &str, guesses: Result<&[Guess], &str>, top: usize) -> String {
        match (self, guesses) {
            (Self::Csv, Ok(guesses)) => {
                let guesses = guesses.iter().map(|guess| {
                    let label = quoted(guess.label.unwrap_or(""));
                    format!(",{},{label},{:.6}", guess.class, guess.probability)
                });
                format!("{},{}\n", quoted(path), guesses.collect::<String>())
            }
            (Self::Csv, Err(error)) => {
                format!("{},{}{}\n", quoted(path), quoted(error), ",,,".repeat(top))
            }
            (Self::Jsonl, Ok(guesses)) => {
                let guesses = guesses.iter().map(|guess| {
                    json!({
                        "class": guess.class,
                        "label": guess.label,
                        "probability": (f64::from(guess.probability) * 1e6).round() / 1e6,
                    })
                });
                let guesses = guesses.collect::<Vec<_>>();
                format!("{}\n", json!({"path": path, "predictions": guesses}))
            }
            (Self::Jsonl, Err(error)) => format!("{}\n", json!({"path": path, "error": error})),
            (Self::Text, Ok(guesses)) => {
                let guesses = guesses.iter().map(|guess| {
                    let percent = 100.0 * guess.probability;
                    match guess.label {
                        Some(label) => format!("{label} {percent:.1} %"),
                        None => format!("class {} {percent:.1} %", guess.class),
                    }
                });
                let line = format!("{path}: {}", guesses.collect::<Vec<_>>().join("; "));
                format!("{}\n", crate::cli::printable(&line))
            }
            (Self::Text, Err(error)) => {
                let line = format!("{path}: error: {error}");
                format!("{}\n", crate::cli::printable(&line))
            }
        }
    }
}

/// A field of RFC 4180.
pub(super) fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUESS: Guess = Guess {
        class: 281,
        label: Some("tabby, tabby cat"),
        probability: 0.943_211_9,
    };

    #[test]
    fn rows_of_each_kind() {
        let csv = Format::Csv;
        assert_eq!(csv.header(1), "path,error,class_1,label_1,probability_1\n");
        assert_eq!(
            csv.row("a \"b\".png", Ok(&[GUESS]), 1),
            "\"a \"\"b\"\".png\",,281,\"tabby, tabby cat\",0.943212\n"
        );
        assert_eq!(
            csv.row("a.png", Err("cut short"), 2),
            "a.png,cut short,,,,,,\n"
        );
        let jsonl = Format::Jsonl;
        assert_eq!(
            jsonl.row("a\n.png", Ok(&[GUESS]), 1),
            "{\"path\":\"a\\n.png\",\"predictions\":[{\"class\":281,\"label\":\"tabby, tabby cat\",\
             \"probability\":0.943212}]}\n"
        );
        assert_eq!(
            jsonl.row("a", Err("no"), 1),
            "{\"error\":\"no\",\"path\":\"a\"}\n"
        );
        let bare = Guess {
            label: None,
            ..GUESS
        };
        assert_eq!(
            Format::Text.row("a\n", Ok(&[bare]), 1),
            "a\u{fffd}: class 281 94.3 %\n"
        );
        for format in [Format::Csv, Format::Jsonl, Format::Text] {
            let name = format!("x.{format:?}").replace("Text", "txt");
            assert_eq!(Format::of(Path::new(&name)), Some(format));
        }
        assert_eq!(Format::of(Path::new("x.npy")), None);
    }
}
