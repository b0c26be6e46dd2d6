//! Numbers in columns: tables of cells to lines of text, and lines beside each other.
//!
//! A marked cell stands in brackets, and in colour where there is colour. Of what is too long to show, the first and
//! the last are shown, and what is marked, with `…` between.

use console::{Style, measure_text_width};

/// How a cell is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    #[default]
    Plain,
    /// In the padding, or not computed yet.
    Faint,
    /// Of the patch in question.
    Patch,
    /// Of the kernel that meets it.
    Kernel,
}

/// One number.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub text: String,
    pub mark: Mark,
}

impl Cell {
    /// A number.
    pub fn of(value: f64, mark: Mark) -> Self {
        Self {
            text: number(value),
            mark,
        }
    }

    /// A sign instead of a number.
    pub fn sign(text: &str, mark: Mark) -> Self {
        Self {
            text: text.to_owned(),
            mark,
        }
    }
}

/// Which of the rows or columns are shown; none stands for those left out.
#[derive(Clone, Debug, PartialEq)]
struct Shown(Vec<Option<usize>>);

impl Shown {
    /// All of `count`, or about `most` of them, `at` among them.
    fn new(count: usize, most: usize, at: usize) -> Self {
        let most = most.max(3);
        if count <= most {
            return Self((0..count).map(Some).collect());
        }
        let tail = most / 3;
        let (end, at) = (count - tail, at.min(count - 1));
        let head = most - 2 * tail;
        // What stands around `at` joins the head or the tail where it touches them.
        let begin = at.saturating_sub(tail / 2).min(end - tail).max(head);
        let mut list = Vec::new();
        let mut next = 0;
        for index in (0..head).chain(begin..begin + tail).chain(end..count) {
            if index < next {
                continue;
            }
            if index > next {
                list.push(None);
            }
            list.push(Some(index));
            next = index + 1;
        }
        Self(list)
    }

    fn iter(&self) -> impl Iterator<Item = Option<usize>> {
        self.0.iter().copied()
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        self.iter().flatten()
    }
}

/// What the numbers of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hue {
    Image,
    Weights,
    Output,
}

/// Numbers in rows under a title, with dots for what is left out. Without rows it is a note.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub title: String,
    /// What stands before it in a product.
    pub sign: &'static str,
    pub hue: Hue,
    pub rows: Vec<Vec<Cell>>,
}

/// What is shown of a table: its sizes, what must be seen of it, and the most rows and columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub sizes: [usize; 2],
    pub at: [usize; 2],
    pub most: [usize; 2],
}

impl Table {
    /// As much of a table as a line of `line` characters holds.
    pub fn fitted(
        title: String,
        hue: Hue,
        extent: Extent,
        line: usize,
        cell: &dyn Fn(usize, usize) -> Cell,
    ) -> Self {
        let [rows, columns] =
            [0, 1].map(|axis| Shown::new(extent.sizes[axis], extent.most[axis], extent.at[axis]));
        let places = rows
            .indices()
            .flat_map(|row| columns.indices().map(move |column| (row, column)));
        let widths = places.map(|(row, column)| measure_text_width(&cell(row, column).text));
        let fits = line / (2 + widths.max().unwrap_or(1));
        let columns = match columns.0.len() > fits {
            // Two of them may be dots.
            true => Shown::new(extent.sizes[1], fits.saturating_sub(2), extent.at[1]),
            false => columns,
        };
        let cells = |row: Option<usize>| {
            let cell = |column: Option<usize>| match (row, column) {
                (Some(row), Some(column)) => cell(row, column),
                (Some(_), None) => Cell::sign("…", Mark::Faint),
                (None, _) => Cell::sign("⋮", Mark::Faint),
            };
            columns.iter().map(cell).collect()
        };
        let rows = rows.iter().map(cells).collect();
        Self {
            title,
            sign: "",
            hue,
            rows,
        }
    }

    /// The same table behind a sign.
    pub fn behind(self, sign: &'static str) -> Self {
        Self { sign, ..self }
    }

    /// Words between tables.
    pub fn note(words: String) -> Self {
        Self {
            title: words,
            sign: "",
            hue: Hue::Image,
            rows: Vec::new(),
        }
    }

    /// The lines of the table.
    pub fn block(&self, paint: Paint) -> Block {
        let cells = self.rows.iter().flatten();
        let widths = cells.map(|cell| measure_text_width(&cell.text));
        let width = 2 + widths.max().unwrap_or(0);
        let lines = self
            .rows
            .iter()
            .map(|cells| cells.iter().map(|cell| paint.cell(cell, width)).collect());
        let title = match self.rows.is_empty() {
            true => paint.faint(&self.title),
            false => paint.title(&self.title),
        };
        std::iter::once(title).chain(lines).collect()
    }
}

/// Lines of text.
pub(super) type Block = Vec<String>;

/// Whether colours are used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(pub bool);

impl Paint {
    /// A title.
    pub fn title(self, text: &str) -> String {
        self.style(Style::new().bold(), text)
    }

    /// What is not so important.
    pub fn faint(self, text: &str) -> String {
        self.style(Style::new().dim(), text)
    }

    /// A cell of `width`, brackets included.
    fn cell(self, cell: &Cell, width: usize) -> String {
        let room = width.saturating_sub(2);
        let text = &cell.text;
        let space = " ".repeat(room.saturating_sub(measure_text_width(text)));
        match cell.mark {
            Mark::Plain => format!("{space} {text} "),
            Mark::Faint => self.faint(&format!("{space} {text} ")),
            Mark::Patch => self.style(Style::new().black().on_cyan(), &format!("{space}[{text}]")),
            Mark::Kernel => self.style(
                Style::new().black().on_yellow(),
                &format!("{space}[{text}]"),
            ),
        }
    }

    fn style(self, style: Style, text: &str) -> String {
        style.force_styling(self.0).apply_to(text).to_string()
    }
}

/// How wide a block is.
pub(super) fn width(block: &Block) -> usize {
    block
        .iter()
        .map(|line| measure_text_width(line))
        .max()
        .unwrap_or(0)
}

/// Blocks beside each other as far as the line goes, then below.
pub(super) fn beside(blocks: Vec<Block>, line: usize) -> Block {
    const GAP: usize = 3;
    let mut lines: Block = Vec::new();
    let mut row: Vec<Block> = Vec::new();
    let mut used = 0;
    for block in blocks {
        let wide = width(&block);
        if !row.is_empty() && used + GAP + wide > line {
            lines.extend(joined(std::mem::take(&mut row), GAP));
            lines.push(String::new());
            used = 0;
        }
        used += wide + if row.is_empty() { 0 } else { GAP };
        row.push(block);
    }
    lines.extend(joined(row, GAP));
    lines
}

fn joined(blocks: Vec<Block>, gap: usize) -> Block {
    let height = blocks.iter().map(Vec::len).max().unwrap_or(0);
    let mut lines = vec![String::new(); height];
    let mut column = 0;
    for block in blocks {
        let wide = width(&block);
        for (line, text) in lines.iter_mut().zip(&block) {
            // Short lines before this block leave room.
            let missing = column - measure_text_width(line).min(column);
            line.push_str(&" ".repeat(missing));
            line.push_str(text);
        }
        column += wide + gap;
    }
    lines
}

/// A number for people: whole ones whole, others with four digits.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e9 {
        return format!("{value:.0}");
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let decimals = match size {
        size if size >= 1000.0 => 1,
        size if size >= 100.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: usize, most: usize, at: usize) -> Vec<Option<usize>> {
        Shown::new(count, most, at).0
    }

    #[test]
    fn what_is_marked_is_always_shown() {
        assert_eq!(list(4, 4, 0), [Some(0), Some(1), Some(2), Some(3)]);
        for (count, most) in [(5, 4), (6, 3), (100, 9), (100, 10), (1000, 3), (17, 16)] {
            for at in 0..count {
                let list = list(count, most, at);
                assert!(list.contains(&Some(at)), "{count} {most} {at}: {list:?}");
                assert_eq!(list.first(), Some(&Some(0)));
                assert_eq!(list.last(), Some(&Some(count - 1)), "{count} {most} {at}");
                assert!(
                    list.iter().flatten().count() <= most,
                    "{count} {most} {at}: {list:?}"
                );
                assert!(list.iter().flatten().is_sorted());
            }
        }
    }

    #[test]
    fn numbers_for_people() {
        let shown = [
            -0.0,
            3.0,
            -12.0,
            1.0 / 9.0,
            1234.56,
            123.456,
            1e-5,
            1e12,
            0.5,
        ]
        .map(number);
        assert_eq!(
            shown,
            [
                "0", "3", "-12", "0.111", "1234.6", "123.46", "1.00e-5", "1.00e12", "0.5"
            ]
        );
    }

    #[test]
    fn grids_are_aligned() {
        let cell = |row: usize, column: usize| {
            let mark = if row == column {
                Mark::Patch
            } else {
                Mark::Plain
            };
            Cell::of((row * 10 + column) as f64, mark)
        };
        let extent = Extent {
            sizes: [2, 2],
            at: [0, 0],
            most: [9, 9],
        };
        let grid = Table::fitted("X".to_owned(), Hue::Image, extent, 80, &cell);
        assert_eq!(grid.block(Paint(false)), ["X", " [0]  1 ", " 10 [11]"]);
        let coloured = grid.block(Paint(true));
        assert!(coloured[1].contains("\u{1b}[46m"), "{coloured:?}");
        assert_eq!(width(&coloured), width(&grid.block(Paint(false))));
        let wide = Extent {
            sizes: [1, 50],
            at: [0, 30],
            most: [9, 64],
        };
        for line in 5..60 {
            let block =
                Table::fitted("X".to_owned(), Hue::Image, wide, line, &cell).block(Paint(false));
            assert!(block[1].contains("30"), "{block:?}");
            assert!(width(&block) <= line.max(20), "{line}: {block:?}");
        }
        let lines = beside(vec![vec!["a".into(), "bb".into()], vec!["c".into()]], 80);
        assert_eq!(lines, ["a    c", "bb"]);
        assert_eq!(
            beside(vec![vec!["aaa".into()], vec!["c".into()]], 5),
            ["aaa", "", "c"]
        );
    }
}
