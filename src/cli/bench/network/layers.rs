//! Where the time of a network goes: medians of each layer over several runs, as a table and as a picture.
//!
//! ```text
//! share = median of the layer ÷ sum of the medians of all layers
//! ```

use serde::Serialize;

use crate::Error;
use crate::cli::bench::chart::{Bar, Chart};
use crate::cli::bench::measure::{Limits, summary, time};
use crate::cli::model::{aligned, shape};
use crate::cli::significant;
use crate::network::{Buffers, Layer, Session, View};

/// More do not change a median.
const MOST_RUNS: usize = 100;
/// Operators that have a colour of their own in the picture: the ones that take longest.
const COLOURED: usize = 6;

/// A layer. The fields are the keys of its JSON object, in this order.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LayerRow {
    pub name: String,
    pub operator: &'static str,
    /// Of the first output.
    pub shape: Vec<usize>,
    /// Empty where there is but one way.
    pub recipe: String,
    pub median_seconds: f64,
    /// Of the sum of all layers, 1 for all of it.
    pub share: f64,
    /// 0 where nothing is multiplied and added.
    pub gflops: f64,
    #[serde(skip)]
    pub operations: u64,
}

/// The layers of `session` in the order in which they run, each with its median.
///
/// # Errors
/// Those of a run.
pub(super) fn profile(
    session: &Session,
    inputs: &[View],
    buffers: &mut Buffers,
    limits: Limits,
) -> Result<Vec<LayerRow>, Error> {
    let limits = Limits {
        most: MOST_RUNS,
        ..limits
    };
    let layers: Vec<Layer> = session.layers().collect();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); layers.len()];
    let timing = time(limits, || {
        let run = session.profile(inputs, buffers)?;
        for (times, time) in times.iter_mut().zip(run) {
            times.push(time.as_secs_f64());
        }
        Ok::<_, Error>(())
    })?;
    let medians: Vec<f64> = times
        .into_iter()
        .map(|times| {
            // Without those of the warm-up.
            let timed = times.len().saturating_sub(timing.runs);
            summary(times[timed..].to_vec()).median_seconds
        })
        .collect();
    let all: f64 = medians.iter().sum();
    let rows = layers.into_iter().zip(medians);
    Ok(rows
        .map(|(layer, median)| LayerRow::new(layer, median, all))
        .collect())
}

impl LayerRow {
    fn new(layer: Layer<'_>, median_seconds: f64, all: f64) -> Self {
        let operations = layer.multiply_adds.saturating_mul(2);
        let first = layer.outputs.into_iter().next();
        Self {
            name: layer.name.to_owned(),
            operator: layer.operator,
            shape: first.map_or_else(Vec::new, |output| output.shape),
            recipe: layer.recipe,
            median_seconds,
            share: median_seconds / all,
            gflops: gflops(operations, median_seconds),
            operations,
        }
    }
}

fn gflops(operations: u64, seconds: f64) -> f64 {
    operations as f64 / seconds / 1e9
}

/// Several layers together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    layers: usize,
    seconds: f64,
    share: f64,
    operations: u64,
}

impl Sum {
    fn of<'l>(rows: impl IntoIterator<Item = &'l LayerRow>) -> Self {
        let add = |sum: Self, row: &LayerRow| Self {
            layers: sum.layers + 1,
            seconds: sum.seconds + row.median_seconds,
            share: sum.share + row.share,
            operations: sum.operations.saturating_add(row.operations),
        };
        rows.into_iter().fold(Self::default(), add)
    }
}

/// The operators, the one that takes longest first.
fn operators(rows: &[LayerRow]) -> Vec<(&'static str, Sum)> {
    let mut sums: Vec<(&'static str, Sum)> = Vec::new();
    for row in rows {
        if sums.iter().all(|(operator, _)| *operator != row.operator) {
            let same = rows.iter().filter(|other| other.operator == row.operator);
            sums.push((row.operator, Sum::of(same)));
        }
    }
    sums.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
    sums
}

/// Share, milliseconds and GFLOP/s.
fn numbers(share: f64, seconds: f64, operations: u64) -> [String; 3] {
    let speed = match operations {
        0 => String::new(),
        some => significant(gflops(some, seconds)),
    };
    [
        format!("{:.1}%", 100.0 * share),
        format!("{:.3}", 1e3 * seconds),
        speed,
    ]
}

/// A line for each layer, then one for each operator, then one for all.
pub(super) fn table(rows: &[LayerRow]) -> Vec<String> {
    let heading = [
        "share", "ms", "GFLOP/s", "operator", "output", "recipe", "name",
    ];
    let mut layers = vec![heading.map(str::to_owned)];
    layers.extend(rows.iter().map(|row| {
        let [share, time, speed] = numbers(row.share, row.median_seconds, row.operations);
        let operator = row.operator.to_owned();
        let (recipe, name) = (row.recipe.clone(), crate::cli::printable(&row.name));
        [
            share,
            time,
            speed,
            operator,
            shape(&row.shape),
            recipe,
            name,
        ]
    }));
    let mut lines = aligned(&layers, [true, true, true, false, false, false, false]);
    lines.push(String::new());
    let heading = ["share", "ms", "GFLOP/s", "layers", "operator"];
    let mut sums = vec![heading.map(str::to_owned)];
    let all = ("all layers", Sum::of(rows));
    sums.extend(operators(rows).into_iter().chain([all]).map(|(name, sum)| {
        let [share, time, speed] = numbers(sum.share, sum.seconds, sum.operations);
        [share, time, speed, sum.layers.to_string(), name.to_owned()]
    }));
    lines.extend(aligned(&sums, [true, true, true, true, false]));
    lines
}

/// A bar for each layer.
pub(super) fn chart(rows: &[LayerRow], title: String) -> Chart {
    let coloured: Vec<&str> = operators(rows)
        .into_iter()
        .map(|(operator, _)| operator)
        .take(COLOURED)
        .collect();
    let longest = rows
        .iter()
        .fold(0.0, |longest: f64, row| longest.max(row.median_seconds));
    let quarters = (0..=4).map(|quarter| 1e3 * longest * f64::from(quarter) / 4.0);
    let bar = |row: &LayerRow| {
        let [share, time, _] = numbers(row.share, row.median_seconds, row.operations);
        let way = match coloured.contains(&row.operator) {
            true => row.operator,
            false => "others",
        };
        Bar {
            label: crate::cli::printable(&row.name),
            last: format!(" {}", shape(&row.shape)),
            way: way.to_owned(),
            length: 1e3 * row.median_seconds,
            value: format!("{time} ({share})"),
        }
    };
    Chart {
        title,
        axis: "milliseconds a batch, and share of all layers".to_owned(),
        lines: quarters.map(|at| (at, significant(at))).collect(),
        bars: rows.iter().map(bar).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<LayerRow> {
        let row = |name: &str, operator, seconds: f64, operations| LayerRow {
            name: name.to_owned(),
            operator,
            shape: vec![1, 8, 4, 4],
            recipe: String::new(),
            median_seconds: seconds,
            share: seconds / 0.008,
            gflops: gflops(operations, seconds),
            operations,
        };
        vec![
            row("first", "MaxPool", 0.001, 0),
            row("second", "Conv", 0.002, 4_000_000),
            row(
                "a long name, longer than what stands before a bar",
                "Relu",
                0.001,
                0,
            ),
            row("fourth", "Conv", 0.004, 40_000_000),
        ]
    }

    #[test]
    fn layers_are_summed_up_by_operator() {
        let lines = table(&rows());
        assert_eq!(
            lines[0],
            "share     ms  GFLOP/s  operator  output   recipe  name"
        );
        assert_eq!(
            lines[1],
            "12.5%  1.000           MaxPool   1x8x4x4          first"
        );
        assert_eq!(
            lines[2],
            "25.0%  2.000     2.00  Conv      1x8x4x4          second"
        );
        assert_eq!(
            lines[5..],
            [
                "",
                " share     ms  GFLOP/s  layers  operator",
                " 75.0%  6.000     7.33       2  Conv",
                " 12.5%  1.000                1  MaxPool",
                " 12.5%  1.000                1  Relu",
                "100.0%  8.000     5.50       4  all layers",
            ]
        );
    }

    #[test]
    fn every_layer_has_a_bar() {
        let chart = chart(&rows(), "title".to_owned());
        let picture = chart.svg().unwrap();
        for text in ["title", "first 1x8x4x4", "4.000 (50.0%)", "MaxPool"] {
            assert!(picture.contains(text), "{text}: {picture}");
        }
        assert!(picture.contains("… 1x8x4x4"), "{picture}");
        assert!(super::chart(&[], String::new()).svg().is_ok());
    }
}
