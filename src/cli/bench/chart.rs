//! SVG pictures of bars, one a row: GFLOP/s of problems with lines at quarters of the peak, the time of layers.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::report::Row;
use crate::cli::draw::{Area, COLOURS, Drawn, GRID, svg, text, told};

/// Pixels.
const WIDTH: i32 = 1000;
const LABELS: i32 = 330;
const VALUES: i32 = 130;
const TOP: i32 = 76;
const ROW: i32 = 22;
const BOTTOM: i32 = 40;
const MARGIN: i32 = 16;
/// Where the legend goes on in its next line: what the axis means stands beside it.
const LEGEND_END: i32 = 560;
const LEGEND_LINE: i32 = 20;
/// Characters of a name that fit into `LABELS`.
const LABEL_LENGTH: usize = 44;

/// A picture: bars below each other, with lines across them.
pub(crate) struct Chart {
    pub title: String,
    /// What the lines mean.
    pub axis: String,
    /// Where the lines are, and what is written below them.
    pub lines: Vec<(f64, String)>,
    pub bars: Vec<Bar>,
}

/// One of them.
pub(crate) struct Bar {
    /// What stands before it, its last words after the cut where all of it is too long.
    pub label: String,
    pub last: String,
    /// What its colour stands for.
    pub way: String,
    pub length: f64,
    /// What stands behind it.
    pub value: String,
}

impl Chart {
    /// GFLOP/s of the rows of problems.
    pub(crate) fn of_problems(rows: &[Row], title: String) -> Self {
        let peak = rows
            .iter()
            .fold(0.0, |most: f64, row| most.max(row.peak_gflops));
        let quarters = (0..=4).map(|quarter| peak * f64::from(quarter) / 4.0);
        Self {
            title,
            axis: "GFLOP/s and share of the measured peak, which is the last line".to_owned(),
            lines: quarters.map(|at| (at, format!("{at:.0}"))).collect(),
            bars: rows
                .iter()
                .map(|row| Bar {
                    label: row.label(),
                    last: format!(" {}", row.direction),
                    way: way(row),
                    length: row.gflops,
                    value: format!("{:.1} ({:.1}%)", row.gflops, 100.0 * row.share()),
                })
                .collect(),
        }
    }

    /// The picture.
    ///
    /// # Errors
    /// What the drawing library refuses; more bars than a picture has pixels.
    pub(crate) fn svg(&self) -> Result<String> {
        let legend = self.legend();
        let above = TOP + LEGEND_LINE * legend.last().map_or(0, |(_, (_, line), _)| *line);
        let height = i32::try_from(self.bars.len())
            .ok()
            .and_then(|count| count.checked_mul(ROW)?.checked_add(above + BOTTOM))
            .ok_or_else(|| anyhow!("{} rows are too many for one picture", self.bars.len()))?;
        let size = (WIDTH as u32, u32::try_from(height)?);
        svg(size, |area| told(self.draw(area, &legend, above, height)))
    }

    /// The ways in the order they appear: where in the legend, its column in pixels and its line, and the colour.
    fn legend(&self) -> Vec<(&str, (i32, i32), RGBColor)> {
        let mut legend: Vec<(&str, (i32, i32), RGBColor)> = Vec::new();
        let mut place = (MARGIN, 0);
        for bar in &self.bars {
            if legend.iter().any(|(way, ..)| *way == bar.way) {
                continue;
            }
            let width = 44 + 8 * bar.way.chars().count() as i32;
            if place.0 > MARGIN && place.0 + width > LEGEND_END {
                place = (MARGIN, place.1 + 1);
            }
            legend.push((&bar.way, place, COLOURS[legend.len() % COLOURS.len()]));
            place.0 += width;
        }
        legend
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        legend: &[(&str, (i32, i32), RGBColor)],
        above: i32,
        height: i32,
    ) -> Drawn<B> {
        area.fill(&WHITE)?;
        text(area, &self.title, (MARGIN, 22), 18, HPos::Left)?;
        // A clock that slept while the peak was measured must not push a bar out of the picture.
        let ends = self.lines.iter().map(|(at, _)| *at);
        let full = ends
            .chain(self.bars.iter().map(|bar| bar.length))
            .fold(1e-9, f64::max);
        let plot = WIDTH - LABELS - VALUES;
        let across = |length: f64| LABELS + (length / full * f64::from(plot)).round() as i32;
        for (at, below) in &self.lines {
            let x = across(*at);
            let line = [(x, above - 8), (x, height - BOTTOM + 4)];
            area.draw(&PathElement::new(line, GRID))?;
            text(area, below, (x, height - BOTTOM + 18), 12, HPos::Center)?;
        }
        text(area, &self.axis, (WIDTH - MARGIN, 48), 13, HPos::Right)?;
        for &(way, (x, line), colour) in legend {
            let middle = 48 + LEGEND_LINE * line;
            area.draw(&Rectangle::new(
                [(x, middle - 6), (x + 12, middle + 6)],
                colour.filled(),
            ))?;
            text(area, way, (x + 18, middle), 13, HPos::Left)?;
        }
        let mut top = above;
        for bar in &self.bars {
            let entry = legend.iter().find(|(way, ..)| *way == bar.way);
            let colour = entry.map_or(COLOURS[0], |&(.., colour)| colour);
            let (middle, end) = (top + ROW / 2, across(bar.length));
            text(area, &bar.caption(), (LABELS - 8, middle), 12, HPos::Right)?;
            let corners = [(LABELS, top + 3), (end.max(LABELS + 1), top + ROW - 3)];
            area.draw(&Rectangle::new(corners, colour.filled()))?;
            text(area, &bar.value, (end + 6, middle), 12, HPos::Left)?;
            top += ROW;
        }
        Ok(())
    }
}

impl Bar {
    /// What stands before it, cut where it is too long.
    fn caption(&self) -> String {
        let room = LABEL_LENGTH.saturating_sub(self.last.chars().count());
        let label = console::truncate_str(&self.label, room, "…");
        format!("{label}{}", self.last)
    }
}

/// What a colour stands for: the recipe, and the engine where it has one.
fn way(row: &Row) -> String {
    let engine = row.engine.as_ref().map(|engine| format!(", {engine}"));
    row.recipe.clone() + &engine.unwrap_or_default()
}
