//! Chapter 8: who is connected with whom, and where the taps stand.

use anyhow::Result;
use gemmconv::{TransposedOptions, conv_transpose2d};
use ndarray::{Array2, array};
use plotters::style::Color;

use super::Figure;
use super::compute::{batch, counted, plane};
use super::draw::{BLUE, CYCLE, FAINT, GREEN, Grid, INK, LINE, RED, bold, svg, tint};

/// Weights as blocks: a row for each output channel, a column for each input channel.
pub fn weights() -> Result<Figure> {
    type Connected = fn(usize, usize) -> bool;
    let kinds: [(&str, usize, Connected); 4] = [
        ("standard", 3, |_, _| true),
        ("2 groups", 3, |o, c| o / 2 == c / 2),
        ("depthwise", 3, |o, c| o == c),
        ("1 × 1", 1, |_, _| true),
    ];
    let picture = svg(800, 270, |sheet| {
        for (index, (name, taps, connected)) in kinds.into_iter().enumerate() {
            let left = 50 + 190 * index as i32;
            let blocks = Grid::new((left, 60), 36, 4, 4);
            sheet.cells(&blocks, |_, _| None);
            let mut count = 0;
            for (o, c) in (0..4).flat_map(|o| (0..4).map(move |c| (o, c))) {
                if !connected(o, c) {
                    continue;
                }
                count += taps * taps;
                let (x, y) = blocks.corner(o, c);
                let inset = if taps == 3 { 3 } else { 13 };
                let kernel = Grid::new((x + inset, y + inset), 10, taps, taps);
                sheet.cells(&kernel, |_, _| Some(CYCLE[o].mix(0.6)));
            }
            sheet.text(name, (blocks.middle().0, 28), 17, bold(INK));
            sheet.text(
                &format!("{count} weights"),
                (blocks.middle().0, 225),
                15,
                INK,
            );
        }
        sheet.text(
            "input channels across, output channels down",
            (400, 254),
            14,
            FAINT,
        );
    })?;
    Ok(Figure::Svg(picture))
}

/// A 3 × 3 kernel with dilation 1, 2 and 3.
pub fn dilated() -> Result<Figure> {
    let picture = svg(800, 280, |sheet| {
        for (index, dilation) in [1, 2, 3].into_iter().enumerate() {
            let image = Grid::new((50 + 250 * index as i32, 50), 28, 7, 7);
            let first = 3 - dilation;
            let extent = 2 * dilation + 1;
            let tap = |cell: usize| {
                cell >= first && cell < first + extent && (cell - first).is_multiple_of(dilation)
            };
            sheet.cells(&image, |r, c| (tap(r) && tap(c)).then(|| tint(BLUE)));
            sheet.window(&image, (first, first), (extent, extent), BLUE);
            sheet.text(
                &format!("dilation {dilation}"),
                (image.middle().0, 26),
                17,
                bold(INK),
            );
            let note = format!("9 weights, spans {extent} × {extent}");
            sheet.text(&note, (image.middle().0, 264), 14, INK);
        }
    })?;
    Ok(Figure::Svg(picture))
}

/// A transposed convolution: every pixel lays down the kernel, times itself.
pub fn transposed() -> Result<Figure> {
    let x = array![[1., 2.], [0., 3.]];
    let w = Array2::ones((3, 3));
    let options = TransposedOptions::new().stride(2);
    let y = plane(conv_transpose2d(&batch(&x)?, &batch(&w)?, None, &options)?);
    let picture = svg(800, 290, |sheet| {
        let image = Grid::of((30, 110), 40, &x);
        let kernel = Grid::of((190, 90), 40, &w);
        let stamps = Grid::of((370, 60), 36, &y);
        let output = Grid::of((600, 60), 36, &y);
        for (grid, title) in [
            (&image, "x"),
            (&kernel, "w"),
            (&stamps, "stride 2"),
            (&output, "their sum"),
        ] {
            sheet.text(title, (grid.middle().0, 30), 16, bold(INK));
        }
        sheet.numbers(&image, x.view(), |r, c| Some(tint(CYCLE[2 * r + c])));
        sheet.numbers(&kernel, w.view(), |_, _| Some(tint(FAINT)));
        sheet.cells(&stamps, |_, _| None);
        for place in [0, 1, 3] {
            let (x, y) = stamps.corner(2 * (place / 2), 2 * (place % 2));
            sheet.fill(x, y, (108, 108), CYCLE[place].mix(0.22));
            sheet.frame(x + 1, y + 1, (106, 106), CYCLE[place], 2);
        }
        sheet.numbers(&output, y.view(), |r, c| {
            (y[[r, c]] != 0.0).then(|| GREEN.mix(0.06 * y[[r, c]]))
        });
        sheet.arrow((564, 150), (590, 150), FAINT);
        let note = "each pixel lays down the kernel times itself; 0 lays down nothing";
        sheet.text(note, (400, 270), 14, FAINT);
    })?;
    Ok(Figure::Svg(picture))
}

/// Depthwise, then 1 × 1.
pub fn separable() -> Result<Figure> {
    let picture = svg(800, 280, |sheet| {
        let column = |x: i32, title: &str, count: usize| {
            sheet.text(title, (x + 25, 28), 16, bold(INK));
            (0..count).for_each(|index| {
                let y = 55 + 52 * index as i32;
                sheet.fill(x, y, (50, 40), tint(CYCLE[index]));
                sheet.frame(x, y, (50, 40), LINE, 1);
            });
        };
        column(60, "C channels", 4);
        column(330, "C channels", 4);
        column(620, "O channels", 4);
        for index in 0..4 {
            let y = 75 + 52 * index;
            sheet.arrow((120, y), (320, y), CYCLE[index as usize]);
            for other in 0..4 {
                sheet.path(&[(385, y), (612, 75 + 52 * other)], RED.mix(0.5), 1);
            }
        }
        sheet.text("depthwise: C · k · k weights", (220, 265), 14, INK);
        sheet.text("1 × 1: C · O weights", (500, 265), 14, INK);
    })?;
    Ok(Figure::Svg(picture))
}

/// The slide's pooling, and where the gradients go.
pub fn pooling() -> Result<Figure> {
    use gemmconv::PoolOptions;
    use gemmconv::pool::{avg_pool, avg_pool_backward, max_pool_backward, max_pool_with_indices};
    let x = counted(3, 3, 0);
    let options = PoolOptions::new(2).stride(1);
    let (most, indices) = max_pool_with_indices(&batch(&x)?, &options)?;
    let mean = plane(avg_pool(&batch(&x)?, &options)?);
    let dy = ndarray::Array4::ones(most.raw_dim());
    let to_most = max_pool_backward(&dy, &indices, &[1, 1, 3, 3], &options);
    let to_all = avg_pool_backward(&dy, &[1, 1, 3, 3], &options);
    let (to_most, to_all) = (plane(to_most?), plane(to_all?));
    let most = plane(most);
    let picture = svg(800, 380, |sheet| {
        let image = Grid::of((40, 120), 46, &x);
        sheet.text("x", (image.middle().0, 95), 16, bold(INK));
        sheet.numbers(&image, x.view(), |_, _| None);
        sheet.window(&image, (0, 0), (2, 2), BLUE);
        let rows = [
            ("maximum", &most, &to_most, 45),
            ("average", &mean, &to_all, 225),
        ];
        for (name, y, dx, top) in rows {
            let result = Grid::of((330, top + 20), 44, y);
            let back = Grid::of((590, top), 42, dx);
            sheet.arrow((190, 190), (315, top + 64), FAINT);
            sheet.text(name, (result.middle().0, top), 15, INK);
            sheet.numbers(&result, y.view(), |r, c| (r + c == 0).then(|| tint(BLUE)));
            sheet.arrow((440, top + 64), (575, top + 64), FAINT);
            sheet.text("dy = 1 back", (508, top + 46), 14, FAINT);
            sheet.numbers(&back, dx.view(), |r, c| {
                (dx[[r, c]] > 0.0).then(|| RED.mix(0.35 * dx[[r, c]]))
            });
        }
        sheet.text("y", (374, 22), 16, bold(INK));
        sheet.text("dx", (653, 22), 16, bold(INK));
    })?;
    Ok(Figure::Svg(picture))
}
