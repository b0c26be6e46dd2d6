//! Chapter 3: a kernel over an image, and the kernel turned round.

use anyhow::Result;
use gemmconv::ConvOptions;
use ndarray::Array2;

use super::Figure;
use super::compute::{conv, counted};
use super::draw::{BLUE, CYCLE, FAINT, Grid, INK, RED, Sheet, bold, number, svg, tint, within};

/// The four products of the slide's 3 × 3 image and 2 × 2 kernel.
pub fn corr2d() -> Result<Figure> {
    let (x, w) = (counted(3, 3, 0), counted(2, 2, 0));
    let y = conv(&x, &w, &ConvOptions::new())?;
    let picture = svg(800, 430, |sheet| {
        let image = Grid::of((70, 50), 46, &x);
        let kernel = Grid::of((330, 73), 46, &w);
        let output = Grid::of((560, 73), 46, &y);
        sheet.text("image x", (image.middle().0, 28), 16, bold(INK));
        sheet.text("kernel w", (kernel.middle().0, 28), 16, bold(INK));
        sheet.text("x ⋆ w", (output.middle().0, 28), 16, bold(INK));
        sheet.numbers(&image, x.view(), |_, _| None);
        sheet.numbers(&kernel, w.view(), |_, _| Some(tint(FAINT)));
        sheet.numbers(&output, y.view(), |row, column| {
            Some(tint(CYCLE[2 * row + column]))
        });
        sheet.text("⋆", (270, image.middle().1), 30, INK);
        sheet.text("=", (490, image.middle().1), 30, INK);
        for (place, &colour) in CYCLE.iter().take(4).enumerate() {
            let (row, column) = (place / 2, place % 2);
            let grid = Grid::of((45 + 190 * place as i32, 230), 38, &x);
            let window = |r, c| within(r, c, (row, column), (2, 2)).then(|| tint(colour));
            sheet.numbers(&grid, x.view(), window);
            sheet.window(&grid, (row, column), (2, 2), colour);
            let pairs = w.indexed_iter();
            let terms = pairs.map(|((r, c), w)| format!("{}·{w}", x[[row + r, column + c]]));
            let sum = terms.collect::<Vec<_>>().join(" + ");
            let middle = grid.middle().0;
            sheet.text(&sum, (middle, 370), 14, INK);
            let result = format!("= {}", number(y[[row, column]]));
            sheet.text(&result, (middle, 396), 18, bold(colour));
        }
    })?;
    Ok(Figure::Svg(picture))
}

/// An image of a single 1 under cross-correlation and under convolution.
pub fn flip() -> Result<Figure> {
    let mut x = Array2::zeros((5, 5));
    x[[2, 2]] = 1.0;
    let w = counted(3, 3, 1);
    let options = ConvOptions::new().padding(1);
    let turned = conv(&x, &w, &options)?;
    let upright = conv(&x, &w, &options.flip_kernel(true))?;
    let inked = |values: &Array2<f64>, colour| {
        let values = values.clone();
        move |r, c| (values[[r, c]] != 0.0).then(|| tint(colour))
    };
    let picture = svg(800, 300, |sheet| {
        let part = |title: &str, at, values: &Array2<f64>, colour| {
            let grid = Grid::of(at, 34, values);
            sheet.text(title, (grid.middle().0, 45), 16, bold(colour));
            sheet.numbers(&grid, values.view(), inked(values, colour));
        };
        part("image", (25, 80), &x, INK);
        part("kernel", (245, 114), &w, INK);
        part("cross-correlation", (395, 80), &turned, RED);
        part("convolution", (605, 80), &upright, BLUE);
        legend(sheet);
    })?;
    Ok(Figure::Svg(picture))
}

fn legend(sheet: &Sheet) {
    sheet.text("the kernel turned round", (480, 276), 14, FAINT);
    sheet.text("the kernel as it is", (690, 276), 14, FAINT);
}
