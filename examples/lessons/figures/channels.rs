//! Chapter 6: sums over channels, banks of filters, and what a trained network makes of a picture.

use anyhow::Result;
use gemmconv::ConvOptions;
use gemmconv::network::Network;
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use ndarray::{Array2, s};

use super::Figure;
use super::compute::{conv, counted};
use super::draw::{BLUE, CYCLE, FAINT, Grid, INK, LINE, RED, Sheet, bold, panels, svg, tint};
use super::edges::shown;
use super::shifts::{outputs, prepared, shapes};

/// The slide's two channels.
pub fn sum() -> Result<Figure> {
    let options = ConvOptions::new();
    let x = [counted(3, 3, 0), counted(3, 3, 1)];
    let w = [counted(2, 2, 0), counted(2, 2, 1)];
    let y = [conv(&x[0], &w[0], &options)?, conv(&x[1], &w[1], &options)?];
    let total = &y[0] + &y[1];
    let picture = svg(800, 360, |sheet| {
        for (channel, colour) in [BLUE, RED].into_iter().enumerate() {
            let top = 55 + 155 * channel as i32;
            let image = Grid::of((40, top), 40, &x[channel]);
            let kernel = Grid::of((235, top + 20), 40, &w[channel]);
            let part = Grid::of((400, top + 20), 40, &y[channel]);
            for (grid, values) in [(&image, &x), (&kernel, &w), (&part, &y)] {
                sheet.numbers(grid, values[channel].view(), |_, _| Some(tint(colour)));
            }
            sheet.text("⋆", (197, image.middle().1), 28, INK);
            sheet.text("=", (357, image.middle().1), 24, INK);
        }
        for (title, x) in [
            ("image: 2 channels", 100),
            ("one kernel", 275),
            ("by channel", 440),
            ("their sum", 690),
        ] {
            sheet.text(title, (x, 28), 16, bold(INK));
        }
        let grid = Grid::of((640, 143), 50, &total);
        sheet.numbers(&grid, total.view(), |_, _| Some(tint(CYCLE[2])));
        sheet.text("+", (440, 193), 28, INK);
        sheet.arrow((500, 115), (625, 170), FAINT);
        sheet.arrow((500, 270), (625, 215), FAINT);
    })?;
    Ok(Figure::Svg(picture))
}

/// A pile of planes, the first in front.
fn pile(sheet: &Sheet, at: (i32, i32), side: i32, colours: &[plotters::style::RGBColor]) {
    for (index, &colour) in colours.iter().enumerate().rev() {
        let away = 9 * index as i32;
        let (x, y) = (at.0 + away, at.1 - away);
        sheet.fill(x, y, (side, side), plotters::style::RGBColor(255, 255, 255));
        sheet.fill(x, y, (side, side), tint(colour));
        sheet.frame(x, y, (side, side), LINE, 1);
    }
}

/// Three channels, four filters, four feature maps.
pub fn bank() -> Result<Figure> {
    let picture = svg(800, 330, |sheet| {
        let channels = [RED, CYCLE[2], BLUE];
        pile(sheet, (50, 120), 120, &channels);
        sheet.text("image", (120, 30), 16, bold(INK));
        sheet.text("C × H × W", (120, 290), 15, INK);
        sheet.text("filter bank", (380, 30), 16, bold(INK));
        sheet.text("O × C × kh × kw", (380, 310), 15, INK);
        sheet.text("feature maps", (660, 30), 16, bold(INK));
        sheet.text("O × H' × W'", (660, 290), 15, INK);
        for filter in 0..4 {
            let y = 80 + 58 * filter;
            pile(sheet, (355, y), 34, &channels);
            let colour = CYCLE[[3, 4, 5, 0][filter as usize]];
            sheet.arrow((220, 160), (340, y + 12), FAINT);
            sheet.arrow((425, y + 12), (570, 90 + 44 * filter), colour);
        }
        let maps = [CYCLE[3], CYCLE[4], CYCLE[5], CYCLE[0]];
        for (index, colour) in maps.into_iter().enumerate().rev() {
            let index = index as i32;
            let (x, y) = (585 + 12 * (3 - index), 70 + 38 * index);
            sheet.fill(x, y, (100, 90), plotters::style::RGBColor(255, 255, 255));
            sheet.fill(x, y, (100, 90), tint(colour));
            sheet.frame(x, y, (100, 90), LINE, 1);
        }
    })?;
    Ok(Figure::Svg(picture))
}

/// The first layer of the network that the repository ships, on the picture of a star.
pub fn maps() -> Result<Figure> {
    const SIDE: u32 = 144;
    let mut graph = shapes()?;
    graph.set_outputs(&["relu1"])?;
    let x = prepared("star-1.png")?;
    let maps = outputs(&Network::new(graph)?, x.clone())?;
    let (low, high) = x.iter().fold((f32::MAX, f32::MIN), |(low, high), &value| {
        (low.min(value), high.max(value))
    });
    let input = RgbImage::from_fn(48, 48, |column, row| {
        Rgb([0, 1, 2].map(|channel| {
            let value = x[[0, channel, row as usize, column as usize]];
            (255.0 * (value - low) / (high - low)).round() as u8
        }))
    });
    let large = |picture: &RgbImage| resize(picture, SIDE, SIDE, FilterType::Nearest);
    let mut pictures = vec![("input", large(&input))];
    let names = [
        "map 0", "map 1", "map 2", "map 3", "map 4", "map 5", "map 6", "map 7",
    ];
    for (channel, name) in names.into_iter().enumerate() {
        let map = maps.slice(s![0, channel, .., ..]);
        let map: Array2<f64> = map.mapv(f64::from);
        let most = map.iter().copied().fold(1e-6, f64::max);
        pictures.push((name, large(&shown(&map, 0.0, most))));
    }
    Ok(Figure::Png(panels(5, &pictures)))
}
