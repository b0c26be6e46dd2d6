//! Rows: one measurement each, as a line of JSON or as a line of a table with a bar.
//!
//! The table is fitted to the terminal before the first row is known: every column but the name and
//! the bar has a fixed width. Where little is left for the bar, columns that say the same in every row
//! move into the heading.

use std::io::{self, IsTerminal};

use console::{Alignment, pad_str};
use serde::Serialize;

use super::measure::FEWEST_RUNS;
use crate::cli::{bytes, printable, significant};

/// One measurement. The fields up to `chosen` are the keys of its JSON object, in this order.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// The descriptor as written.
    pub problem: String,
    pub name: Option<String>,
    pub direction: String,
    /// The recipe that ran; never "auto".
    pub recipe: String,
    /// None where the recipe has no matrix product.
    pub engine: Option<String>,
    pub layout: &'static str,
    pub threads: usize,
    pub batch: usize,
    pub median_seconds: f64,
    pub min_seconds: f64,
    pub runs: usize,
    pub gflops: f64,
    /// Of all threads together.
    pub peak_gflops: f64,
    pub scratch_bytes: usize,
    pub max_error: Option<f64>,
    pub rms_error: Option<f64>,
    /// Whether the recipe is the one that a plan takes by itself.
    pub chosen: bool,
    /// Number of the problem.
    #[serde(skip)]
    pub case: usize,
    /// Median seconds of the naive loops, where they ran.
    #[serde(skip)]
    pub naive_seconds: Option<f64>,
}

impl Row {
    /// The name, or the descriptor, as it can be shown.
    pub(crate) fn label(&self) -> String {
        printable(self.name.as_deref().unwrap_or(&self.problem))
    }
    /// Share of the measured peak, 1 for all of it.
    pub(crate) fn share(&self) -> f64 {
        self.gflops / self.peak_gflops
    }
    /// `unfold`, or `unfold (auto)` where a plan takes it by itself.
    pub(crate) fn recipe_label(&self) -> String {
        format!("{}{}", self.recipe, if self.chosen { AUTO } else { "" })
    }
    fn times_naive(&self) -> Option<f64> {
        self.naive_seconds.map(|naive| naive / self.median_seconds)
    }
}

/// What follows the name of a recipe that a plan takes by itself.
pub(crate) const AUTO: &str = " (auto)";

/// What the rows of a table will hold at most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    pub labels: Vec<String>,
    pub directions: Vec<String>,
    pub recipes: Vec<String>,
    pub engines: Vec<String>,
    /// Whether results are compared with the reference.
    pub check: bool,
}

/// A column: title, width, and how a row fills it.
struct Column {
    title: &'static str,
    width: usize,
    alignment: Alignment,
    cell: fn(&Row) -> String,
}

/// The table's layout.
pub(crate) struct Table {
    columns: Vec<Column>,
    /// Width of the bar.
    bar: usize,
    /// What moved out of the columns.
    constant: Vec<String>,
}

/// A name is shown up to here, a descriptor without name too.
const WIDEST_NAME: usize = 40;
const READABLE_NAME: usize = 20;
const NARROWEST_NAME: usize = 12;
const WIDEST_BAR: usize = 40;
/// Where the bar would be shorter, columns that say nothing new make room for it.
const WANTED_BAR: usize = 20;
const NARROWEST_BAR: usize = 4;
/// Spaces between columns.
const GAP: usize = 2;

impl Table {
    /// A layout for `contents` on a terminal `width` characters wide.
    pub(crate) fn new(contents: &Contents, width: usize) -> Self {
        let widest = |texts: &[String], title: &str| {
            let texts = texts.iter().map(|text| console::measure_text_width(text));
            texts.max().unwrap_or(0).max(title.len())
        };
        let text = |title, texts: &[String], cell| Column {
            title,
            width: widest(texts, title),
            alignment: Alignment::Left,
            cell,
        };
        let number = |title, width, cell| Column {
            title,
            width,
            alignment: Alignment::Right,
            cell,
        };
        let mut columns = vec![
            text("problem", &contents.labels, Row::label),
            text("direction", &contents.directions, |row| {
                row.direction.clone()
            }),
            text("recipe", &contents.recipes, Row::recipe_label),
            text("engine", &contents.engines, |row| {
                row.engine.clone().unwrap_or_else(|| "-".to_owned())
            }),
            number("time", 8, |row| {
                let mark = if row.runs < FEWEST_RUNS { "*" } else { "" };
                format!("{}{mark}", seconds(row.median_seconds))
            }),
            number("GFLOP/s", 7, |row| significant(row.gflops)),
            number("of peak", 7, |row| format!("{:.1}%", 100.0 * row.share())),
            number("x naive", 7, |row| {
                row.times_naive()
                    .map_or("-".to_owned(), |times| format!("{}x", significant(times)))
            }),
            number("scratch", 8, |row| bytes(row.scratch_bytes as u64)),
        ];
        if contents.check {
            columns.push(number("max error", 9, |row| {
                row.max_error
                    .map_or("-".to_owned(), |error| format!("{error:.1e}"))
            }));
        }
        let natural = columns[0].width.min(WIDEST_NAME);
        let fixed = |columns: &[Column]| {
            columns[1..]
                .iter()
                .map(|column| column.width + GAP)
                .sum::<usize>()
                + GAP
        };
        // Too narrow: what is the same in every row goes into the heading.
        let mut constant = Vec::new();
        for (title, texts) in [
            ("engine", &contents.engines),
            ("direction", &contents.directions),
        ] {
            if fixed(&columns) + natural + WANTED_BAR > width && texts.len() == 1 {
                columns.retain(|column| column.title != title);
                constant.push(texts[0].clone());
            }
        }
        let spare = width.saturating_sub(fixed(&columns));
        // A readable name comes before the bar, a long one after it.
        let readable = spare
            .saturating_sub(NARROWEST_BAR)
            .clamp(natural.min(NARROWEST_NAME), natural.min(READABLE_NAME));
        let name = spare.saturating_sub(WANTED_BAR).clamp(readable, natural);
        columns[0].width = name;
        Self {
            columns,
            bar: spare.saturating_sub(name).clamp(NARROWEST_BAR, WIDEST_BAR),
            constant,
        }
    }

    /// What every row has in common and no column says.
    pub(crate) fn constant(&self) -> &[String] {
        &self.constant
    }

    /// The titles.
    pub(crate) fn heading(&self) -> String {
        let titles = self
            .columns
            .iter()
            .map(|column| (column, column.title.to_owned()));
        let bar = if self.bar >= WANTED_BAR {
            "0 .. 100% of peak"
        } else {
            ""
        };
        (Self::line(titles) + bar).trim_end().to_owned()
    }

    /// One row, with its bar.
    pub(crate) fn row(&self, row: &Row) -> String {
        let cells = self
            .columns
            .iter()
            .map(|column| (column, (column.cell)(row)));
        let line = Self::line(cells) + &bar(row.share(), self.bar);
        line.trim_end().to_owned()
    }

    fn line<'c>(cells: impl Iterator<Item = (&'c Column, String)>) -> String {
        cells
            .map(|(column, text)| {
                let cell = pad_str(&text, column.width, column.alignment, Some("…"));
                format!("{cell}{:GAP$}", "")
            })
            .collect()
    }
}

/// A bar of `width` characters for all of it, in eighths of a character.
fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    // Never empty, so that a row is seen to be there; never beyond the width. `as` saturates.
    let most = width * 8;
    let eighths = ((share * most as f64).round() as usize).clamp(1, most.max(1));
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// 1.23 ns, 12.3 µs, 123 ms, 1.23 s.
pub(crate) fn seconds(value: f64) -> String {
    let (factor, unit) = match value {
        value if value < 0.9995e-6 => (1e9, "ns"),
        value if value < 0.9995e-3 => (1e6, "µs"),
        value if value < 0.9995 => (1e3, "ms"),
        _ => (1.0, "s"),
    };
    format!("{} {unit}", significant(value * factor))
}

/// Characters of a line: the terminal's, or what a file is read with.
pub(crate) fn terminal_width() -> usize {
    let terminal = console::Term::stdout();
    if io::stdout().is_terminal()
        && let Some((_, columns)) = terminal.size_checked()
    {
        return usize::from(columns);
    }
    let columns = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    columns.unwrap_or(132)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row() -> Row {
        Row {
            problem: "mb1ic3ih9oc4kh3".into(),
            name: Some("first".into()),
            direction: "forward".into(),
            recipe: "unfold".into(),
            engine: Some("matrixmultiply".into()),
            layout: "nchw",
            threads: 2,
            batch: 1,
            median_seconds: 0.002,
            min_seconds: 0.001,
            runs: 5,
            gflops: 50.0,
            peak_gflops: 200.0,
            scratch_bytes: 1 << 20,
            max_error: None,
            rms_error: None,
            chosen: true,
            case: 0,
            naive_seconds: Some(0.2),
        }
    }

    fn contents(engines: usize) -> Contents {
        Contents {
            labels: vec![
                "first".into(),
                "a name that is far too long to be shown in any table".into(),
            ],
            directions: vec!["forward".into()],
            recipes: vec!["naive".into(), "unfold (auto)".into()],
            engines: ["matrixmultiply", "blas"][..engines]
                .iter()
                .map(|&name| name.into())
                .collect(),
            check: true,
        }
    }

    #[test]
    fn the_json_keys_are_the_contract() {
        let object = serde_json::to_string(&row()).unwrap();
        assert_eq!(
            object,
            r#"{"problem":"mb1ic3ih9oc4kh3","name":"first","direction":"forward","recipe":"unfold","engine":"matrixmultiply","layout":"nchw","threads":2,"batch":1,"median_seconds":0.002,"min_seconds":0.001,"runs":5,"gflops":50.0,"peak_gflops":200.0,"scratch_bytes":1048576,"max_error":null,"rms_error":null,"chosen":true}"#
        );
    }

    #[test]
    fn a_row_says_everything() {
        let table = Table::new(&contents(2), 200);
        let text = table.row(&Row {
            max_error: Some(2.4e-7),
            ..row()
        });
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(
            words[..13],
            [
                "first",
                "forward",
                "unfold",
                "(auto)",
                "matrixmultiply",
                "2.00",
                "ms",
                "50.0",
                "25.0%",
                "100x",
                "1.00",
                "MiB",
                "2.4e-7"
            ]
        );
        assert_eq!(words[13].chars().count(), table.bar.div_ceil(4));
        assert!(table.heading().starts_with("problem "));
    }

    #[test]
    fn single_runs_are_marked() {
        let slow = Row { runs: 1, ..row() };
        assert!(
            Table::new(&contents(1), 120)
                .row(&slow)
                .contains("2.00 ms*")
        );
    }

    #[test]
    fn rows_fit_the_terminal() {
        let full = Row {
            gflops: 999.0,
            name: Some("a name that is far too long to be shown in any table".into()),
            max_error: Some(1.2e-7),
            ..row()
        };
        // Below these widths the names and numbers alone are wider.
        for (engines, least) in [(1, 92), (2, 108)] {
            for width in least..220 {
                let table = Table::new(&contents(engines), width);
                let line = table.row(&full);
                let widest = console::measure_text_width(&line);
                assert!(widest <= width, "{widest} in {width}: {line}");
                // A bar that matters, or as much of it as there is room for.
                assert!(
                    table.bar
                        >= if width >= least + 24 {
                            WANTED_BAR
                        } else {
                            NARROWEST_BAR
                        }
                );
            }
        }
        let unchecked = Contents {
            check: false,
            ..contents(1)
        };
        assert!(console::measure_text_width(&Table::new(&unchecked, 80).row(&full)) <= 80);
        let narrow = Table::new(&contents(1), 60);
        assert_eq!(narrow.constant(), ["matrixmultiply", "forward"]);
        assert!(Table::new(&contents(1), 200).constant().is_empty());
    }

    #[test]
    fn bars_are_measured_in_eighths() {
        assert_eq!(bar(1.0, 3), "███");
        assert_eq!(bar(0.5, 3), "█▌");
        assert_eq!(bar(0.0, 3), "▏");
        assert_eq!(bar(7.0, 3), "███");
        assert_eq!(bar(f64::NAN, 3), "▏");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(seconds(1.5e-9), "1.50 ns");
        assert_eq!(seconds(0.01234), "12.3 ms");
        assert_eq!(seconds(99.96e-6), "100 µs");
        assert_eq!(seconds(0.99999), "1.00 s");
        assert_eq!(significant(1234.4), "1234");
        assert_eq!(significant(0.0), "0.000");
    }
}
