//! Chapters 14 and 15: the matrix of a convolution, and its spectrum.

use anyhow::Result;
use gemmconv::operator::{circulant, circular_convolution, convolution_matrix, fourier_transform};
use gemmconv::{ConvGeometry, ConvOptions};
use ndarray::{Array1, Array2, array};

use super::Figure;
use super::draw::{
    BLUE, CYCLE, FAINT, GREEN, Grid, INK, LINE, RED, Sheet, bold, number, svg, tint,
};

/// The kernel [1, −1] over four numbers.
pub fn toeplitz() -> Result<Figure> {
    let kernel = array![[[1., -1.]]];
    let geometry = ConvGeometry::new(&[1, 1, 4], kernel.shape(), &ConvOptions::new())?;
    let m = convolution_matrix(&geometry, &kernel)?;
    let x = array![[3.], [5.], [4.], [0.]];
    let y = m.dot(&x);
    let picture = svg(800, 270, |sheet| {
        let matrix = Grid::of((150, 70), 44, &m);
        let input = Grid::of((425, 48), 44, &x);
        let output = Grid::of((600, 70), 44, &y);
        sheet.text("M", (matrix.middle().0, 28), 17, bold(INK));
        sheet.text("x", (input.middle().0, 28), 17, bold(INK));
        sheet.text("y", (output.middle().0, 28), 17, bold(INK));
        sheet.numbers(&matrix, m.view(), |r, c| {
            match (m[[r, c]] != 0.0, c - c.min(r)) {
                (true, 0) => Some(tint(BLUE)),
                (true, _) => Some(tint(RED)),
                _ => None,
            }
        });
        sheet.numbers(&input, x.view(), |_, _| None);
        sheet.numbers(&output, y.view(), |_, _| Some(tint(GREEN)));
        sheet.text("·", (375, matrix.middle().1), 30, INK);
        sheet.text("=", (534, matrix.middle().1), 26, INK);
        sheet.text("each diagonal holds one number", (400, 252), 14, FAINT);
    })?;
    Ok(Figure::Svg(picture))
}

/// A 2 × 2 kernel over a 3 × 3 picture, in blocks.
pub fn doubly_blocked() -> Result<Figure> {
    let kernel = array![[[[1., 2.], [3., 4.]]]];
    let geometry = ConvGeometry::new(&[1, 1, 3, 3], kernel.shape(), &ConvOptions::new())?;
    let m = convolution_matrix(&geometry, &kernel)?;
    let picture = svg(800, 310, |sheet| {
        let weights = Array2::from_shape_fn((2, 2), |(r, c)| kernel[[0, 0, r, c]]);
        let small = Grid::of((45, 115), 46, &weights);
        sheet.text("kernel", (small.middle().0, 80), 16, bold(INK));
        sheet.numbers(&small, weights.view(), |r, _| Some(tint([BLUE, RED][r])));
        let matrix = Grid::of((250, 70), 48, &m);
        sheet.text(
            "M, a row for each output pixel, a column for each input pixel",
            (matrix.middle().0, 24),
            16,
            bold(INK),
        );
        let block = |r: usize, c: usize| (c / 3).checked_sub(r / 2);
        sheet.numbers(&matrix, m.view(), |r, c| {
            match (m[[r, c]] != 0.0, block(r, c)) {
                (true, Some(0)) => Some(tint(BLUE)),
                (true, Some(_)) => Some(tint(RED)),
                _ => None,
            }
        });
        for column in 0..3 {
            let place = (matrix.centre(0, 3 * column + 1).0, 54);
            sheet.text(&format!("input row {column}"), place, 13, FAINT);
            (0..2).for_each(|row| sheet.window(&matrix, (2 * row, 3 * column), (2, 3), INK));
        }
        for row in 0..2 {
            let y = matrix.corner(2 * row + 1, 0).1;
            sheet.text_left(&format!("output row {row}"), (matrix.x - 8, y), 13, FAINT);
        }
        sheet.text(
            "blue blocks: the kernel's first row; red: its second",
            (matrix.middle().0, 288),
            14,
            FAINT,
        );
    })?;
    Ok(Figure::Svg(picture))
}

/// Five numbers going round.
pub fn going_round() -> Result<Figure> {
    let m = circulant(&array![1., 2., 0., 0., -1.])?;
    let picture = svg(800, 290, |sheet| {
        let matrix = Grid::of((290, 35), 44, &m);
        sheet.numbers(&matrix, m.view(), |r, c| {
            let colour = CYCLE[[0, 1, 3, 4, 2][(r + 5 - c) % 5]];
            (m[[r, c]] != 0.0).then(|| tint(colour))
        });
        let (left, right) = (matrix.x - 30, matrix.right() + 30);
        for row in 0..4 {
            let y = matrix.corner(row + 1, 0).1;
            sheet.arrow((right - 18, y - 14), (right + 6, y + 14), FAINT);
            sheet.arrow((left - 6, y - 14), (left + 18, y + 14), FAINT);
        }
        sheet.text_right("out on the right …", (right + 25, 145), 14, FAINT);
        sheet.text_left("… and in on the left", (left - 25, 145), 14, FAINT);
        sheet.text(
            "C[i, j] = c[(i − j) mod 5]",
            (matrix.middle().0, 272),
            15,
            INK,
        );
    })?;
    Ok(Figure::Svg(picture))
}

/// A signal, a blur, and what comes of them; below, the sizes of their spectra.
pub fn spectra() -> Result<Figure> {
    const N: usize = 32;
    let wave = |times: f64, at: usize| (std::f64::consts::TAU * times * at as f64 / N as f64).sin();
    let signal = Array1::from_shape_fn(N, |at| wave(2.0, at) + 0.6 * wave(11.0, at));
    let mut kernel = Array1::zeros(N);
    for (at, weight) in [(0, 0.4), (1, 0.25), (N - 1, 0.25), (2, 0.05), (N - 2, 0.05)] {
        kernel[at] = weight;
    }
    let result = circular_convolution(&signal, &kernel)?;
    let mut columns = Vec::new();
    for (name, values) in [
        ("signal", signal),
        ("kernel", kernel),
        ("signal ⊛ kernel", result),
    ] {
        let sizes = fourier_transform(&values)?.mapv(|value| value.norm());
        columns.push((name, values, sizes));
    }
    let picture = svg(800, 400, |sheet| {
        for (index, (name, values, sizes)) in columns.iter().enumerate() {
            let left = 30 + 262 * index as i32;
            let colour = [BLUE, RED, GREEN][index];
            let [most, largest] =
                [values, sizes].map(|v| v.iter().fold(0.0, |most: f64, v| most.max(v.abs())));
            sheet.text(name, (left + 112, 26), 16, bold(colour));
            bars(sheet, (left, 110), 60.0 / most.max(0.4), values, colour);
            let half = sizes.slice(ndarray::s![..=N / 2]).to_owned();
            bars(sheet, (left, 350), 120.0 / largest.max(1.0), &half, colour);
            let title = format!("|F|, at most {}", number(largest));
            sheet.text(&title, (left + 112, 212), 14, FAINT);
            sheet.text_right("slow", (left, 370), 13, FAINT);
            sheet.text_left("fast", (left + 224, 370), 13, FAINT);
        }
        sheet.text("·", (280, 300), 30, INK);
        sheet.text("=", (541, 300), 24, INK);
        sheet.text("⊛", (280, 110), 20, INK);
        sheet.text("=", (541, 110), 24, INK);
    })?;
    Ok(Figure::Svg(picture))
}

/// A bar for each value, upwards and downwards from a line.
fn bars(
    sheet: &Sheet,
    at: (i32, i32),
    scale: f64,
    values: &Array1<f64>,
    colour: plotters::style::RGBColor,
) {
    let step = 224 / values.len() as i32;
    for (index, value) in values.iter().enumerate() {
        let height = (value * scale).round() as i32;
        let x = at.0 + step * index as i32;
        sheet.fill(x, at.1 - height.max(0), (step - 2, height.abs()), colour);
    }
    sheet.path(&[at, (at.0 + 224, at.1)], LINE, 1);
}
