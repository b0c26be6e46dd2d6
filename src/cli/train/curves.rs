//! Learning curves: loss and accuracy against the epoch, of the training and of the test set.
//!
//! ```text
//!  loss                ─●─ train ─■─ test      accuracy in %       ─●─ train ─■─ test
//!  │●                                          │              ●  ◎  ●
//!  │ ■ ●  ●                                    │    ■  ●          97.5 % at epoch 4
//!  │   ■  ■  ●                                 │ ●
//!  └──────────── epoch                         └──────────────────── epoch
//! ```
//!
//! What is not a finite number is left out, and the line with it. Where the losses differ by more than a factor of
//! 20, their axis is logarithmic and says so.

use std::path::Path;

use anyhow::{Context, Result};
use image::RgbImage;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use crate::Error;
use crate::cli::draw::{self, Area, CHART_INK, COLOURS, Drawn, GRID, text, told};
use crate::cli::model::write_file;
use crate::cli::printable;
use crate::train::EpochRecord;

/// Pixels.
const SIZE: (u32, u32) = (1200, 470);
const PANEL: i32 = 600;
const LEFT: i32 = 72;
const RIGHT: i32 = 28;
const TOP: i32 = 92;
const BOTTOM: i32 = 410;
const TITLE: i32 = 26;
const HEADING: i32 = 68;
/// Around the best point.
const RING: i32 = 7;
/// Above this many epochs not every point has a marker.
const MARKERS: usize = 40;
/// Numbers beyond it are no losses that an axis could show.
const MOST: f64 = 1e100;

/// Writes the curves of `records` twice.
///
/// # Errors
/// No record ([`Error::ZeroCount`]); whatever the file system says.
pub fn write(records: &[EpochRecord], title: &str, svg_path: &Path, png_path: &Path) -> Result<()> {
    write_file(svg_path, svg(records, title)?.as_bytes())?;
    draw::write_png(png_path, &pixels(records, title)?)
}

/// The curves as SVG.
///
/// # Errors
/// No record ([`Error::ZeroCount`]).
pub fn svg(records: &[EpochRecord], title: &str) -> Result<String> {
    let curves = Curves::new(records, title)?;
    draw::svg(SIZE, |area| told(curves.draw(area)))
}

/// The curves as pixels.
///
/// # Errors
/// No record ([`Error::ZeroCount`]).
pub fn pixels(records: &[EpochRecord], title: &str) -> Result<RgbImage> {
    let curves = Curves::new(records, title)?;
    draw::pixels(SIZE, |area| told(curves.draw(area)))
}

/// What is drawn.
struct Curves {
    title: String,
    epochs: Axis,
    panels: [Panel; 2],
}

/// One diagram.
struct Panel {
    heading: &'static str,
    /// Train, test.
    lines: [Line; 2],
    values: Axis,
    /// The best point of the last line, with its number in words.
    best: Option<((f64, f64), String)>,
}

/// The points with finite numbers, in runs of epochs that follow each other.
struct Line {
    name: &'static str,
    colour: RGBColor,
    runs: Vec<Vec<(f64, f64)>>,
}

impl Curves {
    fn new(records: &[EpochRecord], title: &str) -> Result<Self> {
        let (first, last) = records
            .first()
            .zip(records.last())
            .ok_or(Error::ZeroCount { what: "epochs" })
            .context("drawing the learning curves")?;
        let percent = |share: f64| 100.0 * share;
        let train_loss = Line::new("train", 1, records, |record| Some(record.train_loss));
        let test_loss = Line::new("test", 2, records, |record| record.test_loss);
        let train = Line::new("train", 1, records, |record| {
            Some(percent(record.train_accuracy))
        });
        let test = Line::new("test", 2, records, |record| {
            record.test_accuracy.map(percent)
        });
        let loss = Axis::of_loss(train_loss.values().chain(test_loss.values()));
        let best = test.points().fold(None, |best: Option<(f64, f64)>, point| {
            best.filter(|best| best.1 >= point.1).or(Some(point))
        });
        let accuracy = Axis::of_accuracy(train.values().chain(test.values()));
        Ok(Self {
            title: printable(title),
            epochs: Axis::of_epochs(first.epoch as f64, last.epoch as f64),
            panels: [
                Panel {
                    heading: match loss.logarithmic {
                        true => "loss, logarithmic",
                        false => "loss",
                    },
                    lines: [train_loss, test_loss],
                    values: loss,
                    best: None,
                },
                Panel {
                    heading: "accuracy in %",
                    lines: [train, test],
                    values: accuracy,
                    best: best.map(|best| (best, format!("{:.2} % at epoch {}", best.1, best.0))),
                },
            ],
        })
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        area.fill(&WHITE)?;
        text(area, &self.title, (16, TITLE), 18, HPos::Left)?;
        for (panel, left) in self.panels.iter().zip([0, PANEL]) {
            let place = Place {
                left: left + LEFT,
                right: left + PANEL - RIGHT,
                epochs: &self.epochs,
                values: &panel.values,
            };
            panel.draw(area, &place)?;
        }
        Ok(())
    }
}

impl Line {
    fn new(
        name: &'static str,
        colour: usize,
        records: &[EpochRecord],
        value: impl Fn(&EpochRecord) -> Option<f64>,
    ) -> Self {
        let drawable = |value: &f64| value.abs() <= MOST;
        let points: Vec<Option<(f64, f64)>> = records
            .iter()
            .map(|record| Some((record.epoch as f64, value(record).filter(drawable)?)))
            .collect();
        let runs = points.split(Option::is_none);
        Self {
            name,
            colour: COLOURS[colour],
            runs: runs
                .filter(|run| !run.is_empty())
                .map(|run| run.iter().copied().flatten().collect())
                .collect(),
        }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.runs.iter().flatten().copied()
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.points().map(|(_, value)| value)
    }
}

/// Where a diagram lies.
struct Place<'c> {
    left: i32,
    right: i32,
    epochs: &'c Axis,
    values: &'c Axis,
}

impl Place<'_> {
    fn of(&self, (epoch, value): (f64, f64)) -> (i32, i32) {
        (
            self.epochs.pixel(epoch, self.left, self.right),
            self.values.pixel(value, BOTTOM, TOP),
        )
    }
}

impl Panel {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>, place: &Place<'_>) -> Drawn<B> {
        self.axes(area, place)?;
        self.legend(area, place)?;
        if let Some((point, words)) = &self.best {
            self.number(area, place, place.of(*point), words)?;
        }
        for line in &self.lines {
            line.draw(area, place)?;
        }
        if self.lines.iter().all(|line| line.runs.is_empty()) {
            let middle = ((place.left + place.right) / 2, (TOP + BOTTOM) / 2);
            text(area, "no finite number", middle, 13, HPos::Center)?;
        }
        if let Some((point, _)) = self.best {
            let ring = Circle::new(place.of(point), RING, CHART_INK.stroke_width(2));
            area.draw(&ring)?;
        }
        Ok(())
    }

    fn axes<B: DrawingBackend>(&self, area: &Area<B>, place: &Place<'_>) -> Drawn<B> {
        for (at, label) in &place.values.ticks {
            let y = place.values.pixel(*at, BOTTOM, TOP);
            area.draw(&PathElement::new([(place.left, y), (place.right, y)], GRID))?;
            text(area, label, (place.left - 8, y), 12, HPos::Right)?;
        }
        for (at, label) in &place.epochs.ticks {
            let x = place.epochs.pixel(*at, place.left, place.right);
            area.draw(&PathElement::new([(x, BOTTOM), (x, BOTTOM + 5)], CHART_INK))?;
            text(area, label, (x, BOTTOM + 16), 12, HPos::Center)?;
        }
        let base = [(place.left, BOTTOM), (place.right, BOTTOM)];
        area.draw(&PathElement::new(base, CHART_INK))?;
        let middle = (place.left + place.right) / 2;
        text(area, "epoch", (middle, BOTTOM + 38), 13, HPos::Center)?;
        text(area, self.heading, (place.left, HEADING), 14, HPos::Left)
    }

    fn legend<B: DrawingBackend>(&self, area: &Area<B>, place: &Place<'_>) -> Drawn<B> {
        let drawn = self.lines.iter().filter(|line| !line.runs.is_empty());
        let mut end = place.right;
        for line in drawn.rev() {
            let start = end - 8 * line.name.len() as i32;
            text(area, line.name, (start, HEADING), 13, HPos::Left)?;
            let sample = [(start - 38, HEADING), (start - 8, HEADING)];
            area.draw(&PathElement::new(sample, line.colour.stroke_width(2)))?;
            line.marker(area, (start - 23, HEADING))?;
            end = start - 62;
        }
        Ok(())
    }

    /// The number of the best point, where it hides least of the lines.
    fn number<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        place: &Place<'_>,
        (x, y): (i32, i32),
        words: &str,
    ) -> Drawn<B> {
        // Of letters in either kind of picture, at most.
        let width = 7 * words.len() as i32 + 8;
        let left = (x - width / 2).clamp(place.left + 2, place.right - width);
        let hidden = |middle: i32| {
            let lines = self.lines.iter();
            let hides = |&(x, y): &(i32, i32)| {
                (left - 4..=left + width + 4).contains(&x) && (y - middle).abs() <= 12
            };
            lines
                .map(|line| line.between(place).filter(hides).count())
                .sum::<usize>()
        };
        let places = (1..=12).flat_map(|step| [y + 8 + 16 * step, y - 8 - 16 * step]);
        let inside = places.filter(|middle| (TOP + 10..=BOTTOM - 12).contains(middle));
        let middle = inside.min_by_key(|&middle| hidden(middle)).unwrap_or(y);
        if (middle - y).abs() > 24 {
            let side = (middle - y).signum();
            let leader = [(x, y + RING * side), (x, middle - 10 * side)];
            area.draw(&PathElement::new(leader, CHART_INK))?;
        }
        let ground = [(left, middle - 9), (left + width, middle + 9)];
        area.draw(&Rectangle::new(ground, WHITE.mix(0.85).filled()))?;
        text(area, words, (left + width / 2, middle), 12, HPos::Center)
    }
}

impl Line {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>, place: &Place<'_>) -> Drawn<B> {
        for run in &self.runs {
            let path: Vec<_> = run.iter().map(|&point| place.of(point)).collect();
            area.draw(&PathElement::new(path, self.colour.stroke_width(2)))?;
        }
        let apart = self.points().count().div_ceil(MARKERS).max(1);
        for run in &self.runs {
            for &point in run.iter().step_by(apart) {
                self.marker(area, place.of(point))?;
            }
        }
        Ok(())
    }

    /// Points of the lines between the points, near enough to each other to see what a text would hide.
    fn between(&self, place: &Place<'_>) -> impl Iterator<Item = (i32, i32)> {
        const STEPS: i32 = 16;
        let pieces = self.runs.iter().flat_map(|run| run.windows(2));
        pieces.flat_map(|piece| {
            let ((x, y), to) = (place.of(piece[0]), place.of(piece[1]));
            (0..=STEPS)
                .map(move |step| (x + (to.0 - x) * step / STEPS, y + (to.1 - y) * step / STEPS))
        })
    }

    /// A disc, or a square for the second line, so that colours are not all that tells them apart.
    fn marker<B: DrawingBackend>(&self, area: &Area<B>, (x, y): (i32, i32)) -> Drawn<B> {
        match self.name {
            "train" => area.draw(&Circle::new((x, y), 3, self.colour.filled())),
            _ => {
                let corners = [(x - 3, y - 3), (x + 3, y + 3)];
                area.draw(&Rectangle::new(corners, self.colour.filled()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Losses and accuracies of training and test, from epoch 1.
    fn records(rows: &[(f64, f64, Option<f64>, Option<f64>)]) -> Vec<EpochRecord> {
        let rows = rows.iter().zip(1..);
        rows.map(|(row, epoch)| EpochRecord {
            epoch,
            step: 10 * epoch,
            learning_rate: 0.1,
            train_loss: row.0,
            train_accuracy: row.1,
            test_loss: row.2,
            test_accuracy: row.3,
            images_per_second: 100.0,
            seconds: 1.0,
        })
        .collect()
    }

    /// The `points` of the polylines in `colour`.
    fn polylines(picture: &str, colour: RGBColor) -> Vec<Vec<(i32, i32)>> {
        let colour = format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
        let lines = picture.lines().filter(|line| {
            line.starts_with("<polyline") && line.contains(&colour) && line.contains("width=\"2\"")
        });
        lines
            .map(|line| {
                let (_, points) = line.split_once("points=\"").unwrap();
                let (points, _) = points.split_once('"').unwrap();
                let number = |text: &str| text.parse::<i32>().unwrap();
                points
                    .split_whitespace()
                    .map(|point| point.split_once(',').unwrap())
                    .map(|(x, y)| (number(x), number(y)))
                    .collect()
            })
            .collect()
    }

    fn has_text(picture: &str, text: &str) -> bool {
        picture.lines().any(|line| line == text)
    }

    #[test]
    fn both_panels_have_their_lines_labels_and_the_best_number() {
        let records = records(&[
            (0.5, 0.90, Some(0.40), Some(0.91)),
            (0.2, 0.95, Some(0.25), Some(0.9625)),
            (0.1, 0.98, Some(0.30), Some(0.95)),
        ]);
        let picture = svg(&records, "a < b").unwrap();
        for text in [
            "a &lt; b",
            "loss",
            "accuracy in %",
            "epoch",
            "train",
            "test",
            "1",
            "2",
            "3",
            "96.25 % at epoch 2",
            "0.0",
            "0.5",
            "90",
        ] {
            assert!(has_text(&picture, text), "{text}: {picture}");
        }
        for colour in [COLOURS[1], COLOURS[2]] {
            // A legend and a line for each panel.
            let lines = polylines(&picture, colour);
            let long: Vec<_> = lines.into_iter().filter(|line| line.len() == 3).collect();
            assert_eq!(long.len(), 2);
            for (line, left) in long.iter().zip([0, PANEL]) {
                let inside = |&(x, y): &(i32, i32)| {
                    (left + LEFT..=left + PANEL - RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y)
                };
                assert!(line.iter().all(inside), "{line:?}");
                let (first, second) = (line[1].0 - line[0].0, line[2].0 - line[1].0);
                assert!((first - second).abs() <= 1, "{line:?}");
            }
            // Losses fall, accuracies rise.
            assert!(long[0][1].1 > long[0][0].1 && long[1][1].1 < long[1][0].1);
        }
        // A disc and a legend's in each panel, and the ring.
        assert_eq!(picture.matches("<circle").count(), 2 * 4 + 1);
        assert_eq!(picture.matches("r=\"7\"").count(), 1);
    }

    #[test]
    fn the_pixels_show_the_same_as_the_svg() {
        let records = records(&[
            (0.5, 0.90, Some(0.40), Some(0.91)),
            (0.2, 0.95, Some(0.25), Some(0.9625)),
        ]);
        let picture = svg(&records, "title").unwrap();
        let image = pixels(&records, "title").unwrap();
        assert_eq!(image.dimensions(), SIZE);
        for colour in [COLOURS[1], COLOURS[2]] {
            for (x, y) in polylines(&picture, colour).into_iter().flatten() {
                // Those of the legend have no marker at their ends.
                if y != HEADING {
                    let pixel = image.get_pixel(x as u32, y as u32);
                    assert_eq!(pixel.0, [colour.0, colour.1, colour.2], "{x}, {y}");
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        write(&records, "title", &path("c.svg"), &path("c.png")).unwrap();
        assert_eq!(image::open(path("c.png")).unwrap().into_rgb8(), image);
        assert_eq!(std::fs::read_to_string(path("c.svg")).unwrap(), picture);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(write(&records, "t", &path("none/c.svg"), &path("d.png")).is_err());
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let nan = f64::NAN;
        let records = records(&[
            (0.5, 0.5, None, Some(nan)),
            (nan, 0.6, None, Some(0.5)),
            (f64::INFINITY, nan, Some(nan), None),
            (0.4, 0.7, None, Some(nan)),
            (0.3, 0.8, None, Some(f64::NEG_INFINITY)),
            (1e300, 0.9, None, None),
        ]);
        let picture = svg(&records, "").unwrap();
        assert!(
            !picture.contains("NaN") && !picture.contains("inf"),
            "{picture}"
        );
        let lengths = |colour| -> Vec<usize> {
            let lines = polylines(&picture, colour).into_iter();
            let lines = lines.filter(|line| line[0].1 != HEADING);
            lines.map(|line| line.len()).collect()
        };
        assert_eq!(lengths(COLOURS[1]), [1, 2, 2, 3]);
        assert_eq!(lengths(COLOURS[2]), [1]);
        assert!(has_text(&picture, "50.00 % at epoch 2"));
        pixels(&records, "").unwrap();
        let broken = self::records(&[(nan, nan, None, None), (nan, nan, Some(nan), None)]);
        let picture = svg(&broken, "").unwrap();
        assert_eq!(picture.matches("no finite number").count(), 2);
        assert!(!picture.contains("at epoch"));
        pixels(&broken, "").unwrap();
    }

    #[test]
    fn one_epoch_is_a_picture_and_none_is_an_error() {
        for row in [
            (0.0, 0.0, None, None),
            (-3.0, 1.0, Some(-3.0), Some(1.0)),
            (1e99, 1.0, Some(1e-99), Some(0.0)),
            (1e-300, 0.5, Some(0.0), Some(7.5)),
            (-1e100, 1.0, Some(1e100), Some(-1e100)),
        ] {
            let records = records(&[row]);
            let picture = svg(&records, "t").unwrap();
            assert!(has_text(&picture, "1"), "{row:?}: {picture}");
            assert!(!picture.contains("NaN") && !picture.contains("inf"));
            pixels(&records, "t").unwrap();
        }
        let error = svg(&[], "t").unwrap_err();
        assert!(matches!(
            error.downcast_ref(),
            Some(Error::ZeroCount { what: "epochs" })
        ));
    }

    #[test]
    fn many_epochs_have_fewer_markers() {
        let rows = (0..1000).map(|i| (1.0 / (1.0 + f64::from(i)), 0.5, None, None));
        let picture = svg(&records(&rows.collect::<Vec<_>>()), "").unwrap();
        let count = picture.matches("<circle").count();
        assert!(count > MARKERS && count <= 2 * (MARKERS + 1), "{count}");
    }
}
