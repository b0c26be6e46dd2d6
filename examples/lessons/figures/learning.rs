//! Chapter 5: the loss while a kernel is learned.

use anyhow::Result;
use gemmconv::ConvOptions;
use ndarray::{Array2, array};
use plotters::style::Color;

use super::Figure;
use super::compute::{conv, gradients};
use super::draw::{BLUE, FAINT, INK, LINE, RED, Sheet, bold, svg};
use super::edges::stripes;

/// The loss before each step, and the two weights.
fn learned(steps: usize) -> Result<Vec<(f64, [f64; 2])>> {
    let options = ConvOptions::new();
    let (x, wanted) = (stripes(), array![[1., -1.]]);
    let y = conv(&x, &wanted, &options)?;
    let mut w = Array2::zeros((1, 2));
    let mut log = Vec::new();
    for _ in 0..=steps {
        let error = conv(&x, &w, &options)? - &y;
        log.push((error.mapv(|e| e * e).sum(), [w[[0, 0]], w[[0, 1]]]));
        let (dw, _) = gradients(&x, &w, &(2.0 * error), &options)?;
        w.scaled_add(-0.03, &dw);
    }
    Ok(log)
}

pub fn loss() -> Result<Figure> {
    let log = learned(10)?;
    let picture = svg(800, 330, |sheet| {
        let losses: Vec<f64> = log.iter().map(|(loss, _)| *loss).collect();
        let [first, second] = [0, 1].map(|tap| log.iter().map(|(_, w)| w[tap]).collect::<Vec<_>>());
        let left = Chart {
            left: 60,
            low: 0.0,
            high: 14.0,
        };
        sheet.text("squared error", (215, 28), 16, bold(INK));
        left.axes(sheet, &[0.0, 4.0, 8.0, 12.0]);
        left.line(sheet, &losses, BLUE);
        let right = Chart {
            left: 460,
            low: -1.25,
            high: 1.25,
        };
        sheet.text("the two weights", (615, 28), 16, bold(INK));
        right.axes(sheet, &[-1.0, 0.0, 1.0]);
        right.line(sheet, &first, BLUE);
        right.line(sheet, &second, RED);
        sheet.text_right(
            "w[0]",
            (right.x(10) - 40, right.y(1.0) + 28),
            14,
            bold(BLUE),
        );
        sheet.text_right(
            "w[1]",
            (right.x(10) - 40, right.y(-1.0) - 26),
            14,
            bold(RED),
        );
    })?;
    Ok(Figure::Svg(picture))
}

/// Values against steps 0 to 10.
struct Chart {
    left: i32,
    low: f64,
    high: f64,
}

impl Chart {
    fn x(&self, step: usize) -> i32 {
        self.left + 31 * step as i32
    }

    fn y(&self, value: f64) -> i32 {
        (280.0 - 230.0 * (value - self.low) / (self.high - self.low)).round() as i32
    }

    fn axes(&self, sheet: &Sheet, values: &[f64]) {
        for &value in values {
            let y = self.y(value);
            sheet.path(&[(self.left, y), (self.x(10), y)], LINE.mix(0.6), 1);
            sheet.text_left(&super::draw::number(value), (self.left - 8, y), 13, FAINT);
        }
        for step in (0..=10).step_by(2) {
            sheet.text(&step.to_string(), (self.x(step), 296), 13, FAINT);
        }
        sheet.text("step", (self.x(5), 316), 13, FAINT);
    }

    fn line(&self, sheet: &Sheet, values: &[f64], colour: plotters::style::RGBColor) {
        let points = values.iter().enumerate();
        let points: Vec<_> = points
            .map(|(step, &value)| (self.x(step), self.y(value)))
            .collect();
        sheet.path(&points, colour, 2);
        points.iter().for_each(|&point| sheet.dot(point, 4, colour));
    }
}
