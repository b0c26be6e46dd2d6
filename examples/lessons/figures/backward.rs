//! Chapter 11: the gradients of a small convolution.

use anyhow::Result;
use gemmconv::ConvOptions;
use gemmconv::unfold::{PatchOrder, fold, unfold};
use ndarray::{Array2, Ix4, array, s};
use plotters::style::Color;

use super::Figure;
use super::compute::{batch, counted, gradients, plane};
use super::draw::{CYCLE, FAINT, GREEN, Grid, INK, RED, bold, number, svg, tint, within};

/// x, w, dy of the chapter, and their gradients dw and dx.
fn example() -> Result<[Array2<f64>; 5]> {
    let x = counted(4, 4, 1);
    let w = array![[1., 0., -1.], [2., 0., -2.], [0., 1., 0.]];
    let dy = array![[1., 2.], [0., -1.]];
    let (dw, dx) = gradients(&x, &w, &dy, &ConvOptions::new())?;
    Ok([x, w, dy, dw, dx])
}

/// dw as the cross-correlation of x and dy.
pub fn weight() -> Result<Figure> {
    let [x, _, dy, dw, _] = example()?;
    let picture = svg(800, 270, |sheet| {
        let image = Grid::of((50, 60), 40, &x);
        let kernel = Grid::of((330, 100), 40, &dy);
        let result = Grid::of((540, 80), 40, &dw);
        sheet.text("x", (image.middle().0, 35), 17, bold(INK));
        let title = "dy, as the kernel";
        sheet.text(title, (kernel.middle().0, 35), 17, bold(INK));
        sheet.text("dw", (result.middle().0, 35), 17, bold(INK));
        sheet.numbers(&image, x.view(), |r, c| {
            within(r, c, (1, 2), (2, 2)).then(|| tint(RED))
        });
        sheet.window(&image, (1, 2), (2, 2), RED);
        sheet.numbers(&kernel, dy.view(), |_, _| Some(tint(GREEN)));
        sheet.numbers(&result, dw.view(), |r, c| {
            (r == 1 && c == 2).then(|| tint(RED))
        });
        sheet.text("⋆", (270, 140), 30, INK);
        sheet.text("=", (475, 140), 26, INK);
        let window = x.slice(s![1..3, 2..4]);
        let pairs = window.iter().zip(&dy);
        let terms = pairs.map(|(x, dy)| match *dy {
            dy if dy < 0.0 => format!("{}·({})", number(*x), number(dy)),
            dy => format!("{}·{}", number(*x), number(dy)),
        });
        let sum = terms.collect::<Vec<_>>().join(" + ");
        let sum = format!("dw[1, 2] = {sum} = {}", number(dw[[1, 2]]));
        sheet.text(&sum, (400, 245), 16, RED);
    })?;
    Ok(Figure::Svg(picture))
}

/// dx as the full convolution of dy with the kernel.
pub fn input() -> Result<Figure> {
    let [_, w, dy, _, dx] = example()?;
    let mut padded = Array2::zeros((6, 6));
    padded.slice_mut(s![2..4, 2..4]).assign(&dy);
    let turned = w.slice(s![..;-1, ..;-1]).to_owned();
    let picture = svg(800, 300, |sheet| {
        let image = Grid::of((40, 55), 34, &padded);
        let kernel = Grid::of((345, 105), 36, &turned);
        let result = Grid::of((570, 85), 38, &dx);
        let title = "dy with 2 zeros around";
        sheet.text(title, (image.middle().0, 30), 16, bold(INK));
        let title = "w turned round";
        sheet.text(title, (kernel.middle().0, 30), 16, bold(INK));
        sheet.text("dx", (result.middle().0, 30), 16, bold(INK));
        sheet.numbers(&image, padded.view(), |r, c| {
            let inside = within(r, c, (2, 2), (2, 2));
            inside.then(|| tint(GREEN))
        });
        sheet.window(&image, (1, 2), (3, 3), RED);
        sheet.numbers(&kernel, turned.view(), |_, _| Some(tint(FAINT)));
        sheet.numbers(&result, dx.view(), |r, c| {
            (r == 1 && c == 2).then(|| tint(RED))
        });
        sheet.text("⋆", (295, 158), 30, INK);
        sheet.text("=", (510, 158), 26, INK);
        let note = "the red window makes the red cell";
        sheet.text(note, (400, 282), 14, FAINT);
    })?;
    Ok(Figure::Svg(picture))
}

/// Four patches added back into the image; each pixel counts the patches it stands in.
pub fn addition() -> Result<Figure> {
    let ones = Array2::<f64>::ones((4, 4));
    let order = PatchOrder::ElementsByPositions;
    let options = ConvOptions::new();
    let patches = unfold(&batch(&ones)?, &[3, 3], &options, order)?;
    let counts = fold(&patches, Ix4(1, 1, 4, 4), &[3, 3], &options, order)?;
    let counts = plane(counts);
    let picture = svg(800, 280, |sheet| {
        let heading = "fold adds each patch back where it came from";
        sheet.text_right(heading, (30, 28), 16, bold(INK));
        let side = 28;
        for (place, &colour) in CYCLE.iter().take(4).enumerate() {
            let at = (place / 2, place % 2);
            let grid = Grid::new((30 + 148 * place as i32, 80), side, 4, 4);
            sheet.cells(&grid, |r, c| within(r, c, at, (3, 3)).then(|| tint(colour)));
            sheet.window(&grid, at, (3, 3), colour);
            let sign = if place == 3 { "=" } else { "+" };
            sheet.text(sign, (grid.right() + 18, grid.middle().1), 24, INK);
        }
        let grid = Grid::of((624, 66), 36, &counts);
        sheet.numbers(&grid, counts.view(), |r, c| {
            Some(RED.mix(0.12 * counts[[r, c]]))
        });
        let note = "with ones in every patch: how many patches a pixel stands in";
        sheet.text_left(note, (768, 245), 14, FAINT);
    })?;
    Ok(Figure::Svg(picture))
}
