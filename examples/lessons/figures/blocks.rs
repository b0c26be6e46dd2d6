//! Chapter 13: LeNet and an Inception block as boxes.

use anyhow::Result;

use super::Figure;
use super::draw::{BLUE, FAINT, GREEN, INK, LINE, ORANGE, RED, SKY, Sheet, bold, svg, tint};
use plotters::style::RGBColor;

/// A box with a name and what comes out of it.
fn unit(sheet: &Sheet, at: (i32, i32), size: (i32, i32), colour: RGBColor, lines: [&str; 2]) {
    sheet.fill(at.0, at.1, size, tint(colour));
    sheet.frame(at.0, at.1, size, LINE, 1);
    let (x, y) = (at.0 + size.0 / 2, at.1 + size.1 / 2);
    sheet.text(lines[0], (x, y - 10), 14, bold(INK));
    sheet.text(lines[1], (x, y + 11), 13, INK);
}

/// The layers of LeNet-5 for digits.
pub fn lenet() -> Result<Figure> {
    let rows = [
        [
            ("image", "1 × 28 × 28", FAINT),
            ("conv 5 × 5, pad 2", "6 × 28 × 28", BLUE),
            ("ReLU, max 2 × 2", "6 × 14 × 14", GREEN),
            ("conv 5 × 5", "16 × 10 × 10", BLUE),
            ("ReLU, max 2 × 2", "16 × 5 × 5", GREEN),
        ],
        [
            ("flatten", "400", ORANGE),
            ("linear, ReLU", "120", SKY),
            ("linear, ReLU", "84", SKY),
            ("linear", "10 scores", SKY),
            ("softmax", "10 probabilities", RED),
        ],
    ];
    let picture = svg(800, 200, |sheet| {
        for (row, units) in rows.iter().enumerate() {
            let y = 20 + 95 * row as i32;
            for (column, &(name, shape, colour)) in units.iter().enumerate() {
                let x = 16 + 156 * column as i32;
                unit(sheet, (x, y), (136, 66), colour, [name, shape]);
                if column > 0 {
                    sheet.arrow((x - 18, y + 33), (x - 2, y + 33), INK);
                }
            }
        }
        sheet.path(&[(708, 86), (708, 100), (84, 100)], INK, 2);
        sheet.arrow((84, 99), (84, 113), INK);
    })?;
    Ok(Figure::Svg(picture))
}

/// Four branches and their channels beside each other.
pub fn inception() -> Result<Figure> {
    let branches: [&[(&str, &str, RGBColor)]; 4] = [
        &[("1 × 1", "8", BLUE)],
        &[("1 × 1", "8", BLUE), ("3 × 3, pad 1", "16", BLUE)],
        &[("1 × 1", "4", BLUE), ("5 × 5, pad 2", "8", BLUE)],
        &[("max 3 × 3, pad 1", "16", GREEN), ("1 × 1", "8", BLUE)],
    ];
    let picture = svg(800, 330, |sheet| {
        unit(
            sheet,
            (20, 130),
            (110, 60),
            FAINT,
            ["input", "16 × 14 × 14"],
        );
        unit(
            sheet,
            (650, 130),
            (130, 60),
            ORANGE,
            ["side by side", "40 × 14 × 14"],
        );
        for (row, units) in branches.iter().enumerate() {
            let y = 15 + 77 * row as i32;
            let mut from = (200, y + 28);
            sheet.arrow((132, 160), from, INK);
            for (column, &(name, channels, colour)) in units.iter().enumerate() {
                let wide = if units.len() == 1 { 360 } else { 160 };
                let x = 202 + 200 * column as i32;
                if column > 0 {
                    sheet.arrow((from.0, y + 28), (x - 2, y + 28), INK);
                }
                let text = format!("{channels} channels");
                unit(sheet, (x, y), (wide, 56), colour, [name, &text]);
                from = (x + wide + 2, y + 28);
            }
            sheet.arrow(from, (648, 160), INK);
        }
    })?;
    Ok(Figure::Svg(picture))
}
