//! The tables of a scene as an SVG picture.
//!
//! ```text
//! image X   kernel W   output Y
//! W  ·  X̂  =  Y                       marked cells are filled, the others tinted, faint ones outlined
//! Y[0, 0] = …
//! ```

use anyhow::Result;
use console::measure_text_width;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::grid::{Cell, Hue, Mark, Table};
use crate::cli::draw::{Area, CHART_INK, Drawn, GRID, svg, text, told};

/// Pixels.
const WIDTH: i32 = 1000;
const MARGIN: i32 = 16;
const CELL: i32 = 28;
const TITLE: i32 = 24;
const GAP: i32 = 30;
const LINE: i32 = 20;
const TEXT: i32 = 13;
/// A character of a title, and one of a number, at their widest.
const LETTER: i32 = 7;

/// A table and where it is.
struct Placed<'t> {
    table: &'t Table,
    at: (i32, i32),
    cell: i32,
}

/// The picture of rows of tables, with lines of text below.
///
/// # Errors
/// What the drawing library refuses.
pub(super) fn figure(rows: &[Vec<Table>], lines: &[String]) -> Result<String> {
    let (placed, bottom) = placed(rows);
    let height = bottom + LINE * i32::try_from(lines.len())? + MARGIN;
    let most = placed.iter().map(|placed| placed.at.0 + placed.width());
    let longest = lines.iter().map(|line| MARGIN + letters(line));
    let width = most.chain(longest).max().unwrap_or(0) + MARGIN;
    let size = (u32::try_from(width)?, u32::try_from(height)?);
    svg(size, |area| told(draw(area, &placed, lines, bottom)))
}

fn letters(text: &str) -> i32 {
    LETTER * i32::try_from(measure_text_width(text)).unwrap_or(WIDTH)
}

impl Placed<'_> {
    fn width(&self) -> i32 {
        let columns = self.table.rows.first().map_or(0, Vec::len);
        let cells = self.cell * i32::try_from(columns).unwrap_or(0);
        cells.max(letters(&self.table.title))
    }

    fn height(&self) -> i32 {
        TITLE + CELL * i32::try_from(self.table.rows.len()).unwrap_or(0)
    }
}

/// Tables beside each other as far as the picture goes, and where the last one ends.
fn placed(rows: &[Vec<Table>]) -> (Vec<Placed<'_>>, i32) {
    let mut all = Vec::new();
    let mut top = MARGIN;
    for row in rows {
        let (mut left, mut bottom) = (MARGIN, top);
        for table in row {
            let widths = table.rows.iter().flatten().map(|cell| letters(&cell.text));
            let mut next = Placed {
                table,
                at: (left, top),
                cell: CELL.max(widths.max().unwrap_or(0) + LETTER),
            };
            if left > MARGIN && left + next.width() > WIDTH {
                // Room for its sign stays.
                left = if table.sign.is_empty() { MARGIN } else { GAP };
                top = bottom + GAP / 2;
                next.at = (left, top);
            }
            left += next.width() + GAP;
            bottom = bottom.max(top + next.height());
            all.push(next);
        }
        top = bottom + GAP / 2;
    }
    (all, top)
}

fn draw<B: DrawingBackend>(
    area: &Area<B>,
    placed: &[Placed<'_>],
    lines: &[String],
    bottom: i32,
) -> Drawn<B> {
    area.fill(&WHITE)?;
    for placed in placed {
        let (left, top) = placed.at;
        text(
            area,
            &placed.table.title,
            (left, top + TITLE / 2),
            TEXT,
            HPos::Left,
        )?;
        if !placed.table.sign.is_empty() {
            let sign = (left - GAP / 2, top + TITLE + CELL / 2);
            text(area, placed.table.sign, sign, TEXT + 4, HPos::Center)?;
        }
        let mut y = top + TITLE;
        for row in &placed.table.rows {
            let mut x = left;
            for cell in row {
                draw_cell(area, placed.table.hue, cell, (x, y), placed.cell)?;
                x += placed.cell;
            }
            y += CELL;
        }
    }
    let mut y = bottom + LINE / 2;
    for line in lines {
        text(area, line, (MARGIN, y), TEXT, HPos::Left)?;
        y += LINE;
    }
    Ok(())
}

fn draw_cell<B: DrawingBackend>(
    area: &Area<B>,
    hue: Hue,
    cell: &Cell,
    (x, y): (i32, i32),
    width: i32,
) -> Drawn<B> {
    // The colours of the page.
    let (full, tint) = match hue {
        Hue::Image => (RGBColor(10, 106, 166), RGBColor(232, 242, 249)),
        Hue::Weights => (RGBColor(184, 77, 5), RGBColor(252, 239, 229)),
        Hue::Output => (RGBColor(0, 119, 90), RGBColor(228, 244, 239)),
    };
    let corners = [(x + 1, y + 1), (x + width - 1, y + CELL - 1)];
    let lit = matches!(cell.mark, Mark::Patch | Mark::Kernel);
    area.draw(&match cell.mark {
        Mark::Plain => Rectangle::new(corners, tint.filled()),
        Mark::Faint => Rectangle::new(corners, GRID.stroke_width(1)),
        Mark::Patch | Mark::Kernel => Rectangle::new(corners, full.filled()),
    })?;
    let style = ("sans-serif", f64::from(TEXT) * 1.24).into_font();
    let style = match lit {
        true => style.color(&WHITE),
        false => style.color(&CHART_INK),
    };
    let middle = (x + width / 2, y + CELL / 2);
    let style = style.pos(Pos::new(HPos::Center, VPos::Center));
    area.draw(&Text::new(cell.text.clone(), middle, style))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::explain::grid::Extent;

    fn table(columns: usize, sign: &'static str) -> Table {
        let extent = Extent {
            sizes: [2, columns],
            at: [0, 0],
            most: [99, 99],
        };
        let cell = |row: usize, column: usize| Cell::of((row + column) as f64, Mark::Plain);
        Table::fitted("T".to_owned(), Hue::Output, extent, 1000, &cell).behind(sign)
    }

    #[test]
    fn tables_stand_beside_each_other_and_then_below() {
        let rows = [vec![table(10, ""), table(20, "·"), table(10, "=")]];
        let (placed, bottom) = placed(&rows);
        let places: Vec<(i32, i32)> = placed.iter().map(|placed| placed.at).collect();
        let below = MARGIN + TITLE + 2 * CELL + GAP / 2;
        let first = MARGIN + 10 * CELL + GAP;
        assert_eq!(places, [(MARGIN, MARGIN), (first, MARGIN), (GAP, below)]);
        assert_eq!(bottom, below + TITLE + 2 * CELL + GAP / 2);
        let all = figure(&rows, &["a < b".to_owned()]).unwrap();
        assert!(all.contains("a &lt; b") && all.contains('='), "{all}");
    }
}
