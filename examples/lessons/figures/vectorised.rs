//! Chapter 10: patches become columns, loops become one product.

use anyhow::Result;
use gemmconv::ConvOptions;
use gemmconv::unfold::{PatchOrder, unfold};
use ndarray::{Array2, Axis, array};

use super::Figure;
use super::compute::{batch, conv, counted};
use super::draw::{BLUE, CYCLE, FAINT, GREEN, Grid, INK, LINE, RED, bold, svg, tint, within};

/// The image of the chapter, its kernel, and what comes of them: patches and result.
fn example() -> Result<[Array2<f64>; 4]> {
    let x = counted(4, 4, 1);
    let w = array![[1., 0., -1.], [2., 0., -2.], [0., 1., 0.]];
    let options = ConvOptions::new();
    let order = PatchOrder::ElementsByPositions;
    let patches = unfold(&batch(&x)?, &[3, 3], &options, order)?.remove_axis(Axis(0));
    let y = conv(&x, &w, &options)?;
    Ok([x, w, patches, y])
}

/// A 4 × 4 image, a 3 × 3 kernel: four patches, four columns.
pub fn im2col() -> Result<Figure> {
    let [x, w, patches, y] = example()?;
    let picture = svg(800, 590, |sheet| {
        let heading = "1. the four patches of a 4 × 4 image under a 3 × 3 kernel";
        sheet.text_right(heading, (30, 28), 16, bold(INK));
        for (place, &colour) in CYCLE.iter().take(4).enumerate() {
            let at = (place / 2, place % 2);
            let grid = Grid::of((60 + 182 * place as i32, 50), 30, &x);
            sheet.numbers(&grid, x.view(), |r, c| {
                within(r, c, at, (3, 3)).then(|| tint(colour))
            });
            sheet.window(&grid, at, (3, 3), colour);
        }
        let heading = "2. each patch a column, the kernel a row: one matrix product";
        sheet.text_right(heading, (30, 208), 16, bold(INK));
        let row = Grid::new((40, 385), 30, 1, 9);
        let columns = Grid::of((370, 265), 30, &patches);
        let product = Grid::new((580, 385), 38, 1, 4);
        let flat = |values: &Array2<f64>| {
            let values = values.iter().copied();
            Array2::from_shape_vec((1, values.len()), values.collect())
        };
        if let (Ok(kernel), Ok(result)) = (flat(&w), flat(&y)) {
            sheet.numbers(&row, kernel.view(), |_, _| Some(tint(FAINT)));
            sheet.numbers(&product, result.view(), |_, c| Some(tint(CYCLE[c])));
        }
        sheet.numbers(&columns, patches.view(), |_, c| Some(tint(CYCLE[c])));
        sheet.text("W  (O × K = 1 × 9)", (row.middle().0, 362), 15, INK);
        let heading = "X̂ = unfold(x)  (K × P = 9 × 4)";
        sheet.text(heading, (columns.middle().0, 246), 15, INK);
        sheet.text("Y  (O × P = 1 × 4)", (product.middle().0, 362), 15, INK);
        sheet.text("·", (342, 400), 30, INK);
        sheet.text("=", (535, 402), 26, INK);
        let heading = "3. the same numbers in rows: the image y";
        sheet.text_left(heading, (620, 562), 16, bold(INK));
        let image = Grid::of((650, 485), 38, &y);
        sheet.numbers(&image, y.view(), |r, c| Some(tint(CYCLE[2 * r + c])));
        sheet.arrow((656, 428), (678, 480), FAINT);
    })?;
    Ok(Figure::Svg(picture))
}

/// Unfolding a tile at a time, and reading patches out of the image.
pub fn tiles() -> Result<Figure> {
    let picture = svg(800, 500, |sheet| {
        let heading = "recipe unfold: a tile of columns at a time";
        sheet.text_right(heading, (30, 28), 16, bold(INK));
        let white = plotters::style::RGBColor(255, 255, 255);
        let matrix = |x: i32, y: i32, size: (i32, i32), name: &str| {
            sheet.fill(x, y, size, white);
            sheet.frame(x, y, size, LINE, 1);
            sheet.text(name, (x + size.0 / 2, y - 13), 14, INK);
        };
        matrix(40, 130, (110, 60), "W  (O × K)");
        sheet.fill(40, 130, (110, 60), tint(BLUE));
        matrix(200, 75, (240, 110), "X̂  (K × P), never whole");
        sheet.fill(272, 75, (48, 110), tint(RED));
        sheet.frame(272, 75, (48, 110), RED, 2);
        matrix(500, 130, (240, 60), "Y  (O × P)");
        sheet.fill(572, 130, (48, 60), tint(RED));
        sheet.frame(572, 130, (48, 60), RED, 2);
        sheet.text("·", (175, 160), 30, INK);
        sheet.text("=", (470, 160), 26, INK);
        let note = "scratch that stays in the cache";
        sheet.text(note, (296, 203), 13, RED);
        let note = "finished: bias, activation, away";
        sheet.text(note, (620, 207), 13, RED);

        let heading = "native recipes: no patch matrix, two lists of offsets";
        sheet.text_right(heading, (30, 260), 16, bold(INK));
        let image = Grid::new((60, 300), 30, 5, 6);
        let at = (1, 2);
        sheet.cells(&image, |r, c| within(r, c, at, (3, 3)).then(|| tint(GREEN)));
        sheet.window(&image, at, (3, 3), GREEN);
        let (start, tap) = (image.centre(1, 2), image.centre(2, 4));
        sheet.dot(start, 5, BLUE);
        sheet.dot(tap, 5, RED);
        sheet.arrow((start.0 - 75, start.1), (start.0 - 7, start.1), BLUE);
        sheet.arrow((start.0 + 5, start.1 + 3), (tap.0 - 6, tap.1 - 4), RED);
        let lines = [
            ("rows[i]", "where the window of position i begins", BLUE),
            ("terms[t]", "where tap and channel t lie in a window", RED),
        ];
        for (line, (name, what, colour)) in lines.into_iter().enumerate() {
            let y = 325 + 28 * line as i32;
            sheet.text_right(name, (300, y), 16, bold(colour));
            sheet.text_right(what, (380, y), 15, INK);
        }
        let formula = "Y[i, o] = Σₜ image[ rows[i] + terms[t] ] · W[t, o]";
        sheet.text_right(formula, (300, 400), 18, INK);
        let note = "the product reads X̂[t, i] where it lies in the image";
        sheet.text_right(note, (300, 436), 14, FAINT);
    })?;
    Ok(Figure::Svg(picture))
}
