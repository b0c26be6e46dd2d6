//! The rows as an SVG picture: one bar a row, GFLOP/s from the left, lines at quarters of the peak.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::report::Row;

/// Pixels.
const WIDTH: i32 = 1000;
const LABELS: i32 = 330;
const VALUES: i32 = 130;
const TOP: i32 = 76;
const ROW: i32 = 22;
const BOTTOM: i32 = 40;
/// Characters of a name that fit into `LABELS`.
const LABEL_LENGTH: usize = 44;

/// Colours of recipes and engines in the order they appear, distinct to colour-blind eyes (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(150, 150, 150),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// Draws `rows` with `title` above them.
///
/// # Errors
/// What the drawing library refuses; more rows than a picture has pixels.
pub(crate) fn svg(rows: &[Row], title: &str) -> Result<String> {
    let height = i32::try_from(rows.len())
        .ok()
        .and_then(|count| count.checked_mul(ROW)?.checked_add(TOP + BOTTOM))
        .ok_or_else(|| anyhow!("{} rows are too many for one picture", rows.len()))?;
    let mut picture = String::new();
    {
        let size = (WIDTH as u32, u32::try_from(height)?);
        let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        draw(&area, rows, title, height).map_err(|error| anyhow!("drawing the chart: {error}"))?;
        area.present()
            .map_err(|error| anyhow!("drawing the chart: {error}"))?;
    }
    Ok(picture)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<
    (),
    DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>,
>;

fn draw(area: &Area<'_>, rows: &[Row], title: &str, height: i32) -> Drawn {
    area.fill(&WHITE)?;
    text(area, title, (16, 22), 18, HPos::Left)?;
    let peak = rows
        .iter()
        .fold(0.0, |most: f64, row| most.max(row.peak_gflops));
    // A clock that slept while the peak was measured must not push a bar out of the picture.
    let full = rows
        .iter()
        .fold(peak, |most, row| most.max(row.gflops))
        .max(1e-9);
    let plot = WIDTH - LABELS - VALUES;
    let across = |gflops: f64| LABELS + (gflops / full * f64::from(plot)).round() as i32;
    for quarter in 0..=4 {
        let gflops = peak * f64::from(quarter) / 4.0;
        let x = across(gflops);
        let line = [(x, TOP - 8), (x, height - BOTTOM + 4)];
        area.draw(&PathElement::new(line, RGBColor(215, 215, 215)))?;
        let below = height - BOTTOM + 18;
        text(area, &format!("{gflops:.0}"), (x, below), 12, HPos::Center)?;
    }
    let axis = "GFLOP/s and share of the measured peak, which is the last line";
    text(area, axis, (WIDTH - 16, 48), 13, HPos::Right)?;

    let mut colours: HashMap<String, RGBColor> = HashMap::new();
    let (mut legend, mut drawn) = (16, 0);
    for (index, row) in rows.iter().enumerate() {
        let next = COLOURS[colours.len() % COLOURS.len()];
        let way = way(row);
        let colour = *colours.entry(way.clone()).or_insert(next);
        if drawn < colours.len() {
            drawn = colours.len();
            area.draw(&Rectangle::new(
                [(legend, 42), (legend + 12, 54)],
                colour.filled(),
            ))?;
            text(area, &way, (legend + 18, 48), 13, HPos::Left)?;
            legend += 44 + 8 * way.chars().count() as i32;
        }
        let top = TOP + ROW * index as i32;
        let middle = top + ROW / 2;
        text(area, &shortened(row), (LABELS - 8, middle), 12, HPos::Right)?;
        let bar = [
            (LABELS, top + 3),
            (across(row.gflops).max(LABELS + 1), top + ROW - 3),
        ];
        area.draw(&Rectangle::new(bar, colour.filled()))?;
        let value = format!("{:.1} ({:.1}%)", row.gflops, 100.0 * row.share());
        text(
            area,
            &value,
            (across(row.gflops) + 6, middle),
            12,
            HPos::Left,
        )?;
    }
    Ok(())
}

/// What a colour stands for: the recipe, and the engine where it has one.
fn way(row: &Row) -> String {
    let engine = row.engine.as_ref().map(|engine| format!(", {engine}"));
    row.recipe.clone() + &engine.unwrap_or_default()
}

/// Name and pass, the name cut where it is too long.
fn shortened(row: &Row) -> String {
    let pass = format!(" {}", row.direction);
    let room = LABEL_LENGTH.saturating_sub(pass.chars().count());
    let label = row.label();
    let name = console::truncate_str(&label, room, "…");
    format!("{name}{pass}")
}

/// `size` in pixels of the picture; plotters' own unit is 1.24 of them.
fn text(area: &Area<'_>, content: &str, at: (i32, i32), size: i32, side: HPos) -> Drawn {
    let style = ("sans-serif", f64::from(size) * 1.24)
        .into_font()
        .color(&RGBColor(40, 40, 40))
        .pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(content.to_owned(), at, style))
}
