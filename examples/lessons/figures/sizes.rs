//! Chapter 7: stride and padding.

use anyhow::Result;
use plotters::style::Color;

use super::Figure;
use super::draw::{BLUE, FAINT, Grid, INK, LINE, RED, Sheet, bold, svg, tint, within};

/// A 7 × 7 image under a 3 × 3 kernel: where the windows stand.
pub fn stride() -> Result<Figure> {
    let picture = svg(800, 330, |sheet| {
        for (index, stride) in [1, 2].into_iter().enumerate() {
            let left = 40 + 400 * index as i32;
            let outputs = (7 - 3) / stride + 1;
            let image = Grid::new((left, 60), 30, 7, 7);
            let output = Grid::new((left + 260, 105), 22, outputs, outputs);
            let title = format!("stride {stride}: {outputs} × {outputs}");
            sheet.text(&title, (left + 170, 26), 17, bold(INK));
            let starts = |cell: usize| cell.is_multiple_of(stride) && cell <= 4;
            sheet.cells(&image, |_, _| None);
            for (place, colour) in [(0, BLUE), (stride, RED)] {
                for (row, column) in (0..3).flat_map(|r| (0..3).map(move |c| (r, c + place))) {
                    let (x, y) = image.corner(row, column);
                    sheet.fill(x, y, (30, 30), colour.mix(0.18));
                }
                sheet.window(&image, (0, place), (3, 3), colour);
            }
            for row in 0..7 {
                for column in 0..7 {
                    if starts(row) && starts(column) {
                        sheet.dot(image.centre(row + 1, column + 1), 4, INK);
                    }
                }
            }
            sheet.cells(&output, |r, c| match (r, c) {
                (0, 0) => Some(tint(BLUE)),
                (0, 1) => Some(tint(RED)),
                _ => None,
            });
            sheet.arrow((image.right() + 10, 160), (output.x - 10, 160), FAINT);
        }
        let note = "dots: the middles of the windows";
        sheet.text(note, (400, 305), 14, FAINT);
    })?;
    Ok(Figure::Svg(picture))
}

/// A 5 × 5 image without padding, and with as much as keeps its size.
pub fn padding() -> Result<Figure> {
    let picture = svg(800, 330, |sheet| {
        part(sheet, 30, "VALID: 5 × 5 becomes 3 × 3", 0);
        part(sheet, 420, "SAME: 5 × 5 stays 5 × 5", 1);
    })?;
    Ok(Figure::Svg(picture))
}

fn part(sheet: &Sheet, left: i32, title: &str, pad: usize) {
    let side = 28;
    let whole = Grid::new((left, 70), side, 7, 7);
    let outputs = 3 + 2 * pad;
    sheet.text_right(title, (left, 30), 17, bold(INK));
    if pad == 1 {
        let white = plotters::style::RGBColor(255, 255, 255);
        for row in 0..7 {
            for column in 0..7 {
                if !within(row, column, (1, 1), (5, 5)) {
                    let (x, y) = whole.corner(row, column);
                    sheet.fill(x + 1, y + 1, (side - 2, side - 2), white);
                    sheet.frame(x + 2, y + 2, (side - 4, side - 4), LINE, 1);
                    sheet.text("0", whole.centre(row, column), 13, FAINT);
                }
            }
        }
    }
    let image = Grid::new(whole.corner(1, 1), side, 5, 5);
    sheet.cells(&image, |_, _| Some(tint(FAINT)));
    sheet.window(&whole, (1 - pad, 1 - pad), (3, 3), BLUE);
    let output = Grid::new(
        (whole.right() + 50, 168 - 11 * outputs as i32),
        22,
        outputs,
        outputs,
    );
    sheet.cells(&output, |r, c| (r == 0 && c == 0).then(|| tint(BLUE)));
    let y = whole.middle().1;
    sheet.arrow((whole.right() + 8, y), (output.x - 8, y), FAINT);
}
