//! Chapters 2 and 9: what shifting the input does to outputs, to maxima, and to the scores of a network.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use fast_image_resize::Resizer;
use gemmconv::data::prepare::Preset;
use gemmconv::network::{Graph, Network, Tensor};
use gemmconv::onnx::{ImportOptions, import};
use gemmconv::{ConvOptions, Layout};
use ndarray::{Array2, Array4, Axis, array};

use super::Figure;
use super::compute::conv;
use super::draw::{BLUE, CYCLE, FAINT, Grid, INK, LINE, RED, bold, svg, tint};

/// A small hook, and the same two columns further.
fn hooks() -> [Array2<f64>; 2] {
    [1, 3].map(|left| {
        let mut x = Array2::zeros((7, 8));
        for (row, column) in [(1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (4, 2)] {
            x[[row + 1, column + left]] = 1.0;
        }
        x
    })
}

/// Two ways from one corner to the other.
pub fn square() -> Result<Figure> {
    let [x, shifted] = hooks();
    let w = array![[0., -1., 0.], [-1., 4., -1.], [0., -1., 0.]];
    let options = ConvOptions::new().padding(1);
    let (y, shifted_y) = (conv(&x, &w, &options)?, conv(&shifted, &w, &options)?);
    let picture = svg(800, 530, |sheet| {
        let part = |at, values: &Array2<f64>, title: &str| {
            let grid = Grid::of(at, 28, values);
            sheet.numbers(&grid, values.view(), |r, c| match values[[r, c]] {
                value if value > 0.0 => Some(tint(BLUE)),
                value if value < 0.0 => Some(tint(RED)),
                _ => None,
            });
            let place = if grid.y < 200 {
                grid.y - 18
            } else {
                grid.bottom() + 18
            };
            sheet.text(title, (grid.middle().0, place), 16, bold(INK));
            grid
        };
        let left = part((60, 40), &x, "x");
        let right = part((516, 40), &y, "conv(x)");
        let below = part((60, 290), &shifted, "shift(x)");
        let corner = "conv(shift(x)) = shift(conv(x))";
        let end = part((516, 290), &shifted_y, corner);
        for (from, to) in [(&left, &right), (&below, &end)] {
            let y = from.middle().1;
            sheet.arrow((from.right() + 20, y), (to.x - 20, y), INK);
            sheet.text("convolution", ((from.right() + to.x) / 2, y - 18), 16, INK);
        }
        for (from, to) in [(&left, &below), (&right, &end)] {
            let x = from.x + 14;
            sheet.arrow((x, from.bottom() + 12), (x, to.y - 12), INK);
            let place = (x + 14, from.bottom() + 26);
            sheet.text_right("shift by 2", place, 15, INK);
        }
    })?;
    Ok(Figure::Svg(picture))
}

/// A 1 that moves by one pixel within its window, and out of it.
pub fn maxima() -> Result<Figure> {
    let picture = svg(800, 250, |sheet| {
        let labels = ["the 1 at place 2", "one further", "two further"];
        for (index, (label, place)) in labels.into_iter().zip([2, 3, 4]).enumerate() {
            let y = 30 + 75 * index as i32;
            let line = Grid::new((160, y), 32, 1, 8);
            let pooled = Grid::new((570, y), 32, 1, 4);
            let colour = if place / 2 == 1 { BLUE } else { RED };
            let ink = |at| move |_, c| (c == at).then(|| tint(colour));
            let one = |length: usize, at| {
                Array2::from_shape_fn((1, length), |(_, c)| f64::from(u8::from(c == at)))
            };
            sheet.text_right(label, (24, y + 16), 15, INK);
            sheet.numbers(&line, one(8, place).view(), ink(place));
            (0..4).for_each(|c| sheet.window(&line, (0, 2 * c), (1, 2), LINE));
            sheet.arrow((line.right() + 20, y + 16), (pooled.x - 20, y + 16), FAINT);
            sheet.numbers(&pooled, one(4, place / 2).view(), ink(place / 2));
            let same = if place < 4 { "" } else { "moved" };
            sheet.text_right(same, (pooled.right() + 14, y + 16), 14, colour);
        }
        sheet.text("maximum of 2", (493, 16), 14, FAINT);
    })?;
    Ok(Figure::Svg(picture))
}

/// A file of the repository.
fn shipped(name: &str) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("examples/shapes").join(name)
}

pub fn shapes() -> Result<Graph> {
    Ok(import(shipped("shapes.onnx"), &ImportOptions::new())?)
}

/// A picture of the repository as the network takes it, [1, 3, 48, 48].
pub fn prepared(name: &str) -> Result<Array4<f32>> {
    let path = shipped("pictures").join(name);
    let picture = image::open(&path).with_context(|| path.display().to_string())?;
    let preset = Preset::ImagenetTorchvision;
    let prepare = preset.prepare(Some((48, 48)), Some(3), Layout::ChannelsFirst)?;
    let mut x = Array4::zeros((1, 3, 48, 48));
    if let Some(pixels) = x.as_slice_mut() {
        prepare.run(picture, &mut Resizer::new(), pixels)?;
    }
    Ok(x)
}

/// The outputs of a network for one input.
pub fn outputs(network: &Network, x: Array4<f32>) -> Result<ndarray::ArrayD<f32>> {
    let given = Tensor::from(x.into_dyn());
    let made = network.run(&[("image", &given)])?;
    match made.into_iter().next() {
        Some((_, Tensor::F32(values))) => Ok(values),
        _ => anyhow::bail!("no output of f32"),
    }
}

/// The picture moved to the right by so many pixels; its edge is repeated.
fn moved(x: &Array4<f32>, by: i32) -> Array4<f32> {
    let columns = x.dim().3 as i32;
    Array4::from_shape_fn(x.raw_dim(), |(n, c, row, column)| {
        let from = (column as i32 - by).clamp(0, columns - 1);
        x[[n, c, row, from as usize]]
    })
}

/// The probability of the right class while the picture moves.
pub fn scores() -> Result<Figure> {
    const MOST: i32 = 12;
    let network = Network::new(shapes()?)?;
    let mut lines = Vec::new();
    for (name, class) in [
        ("cross-1.png", 1),
        ("moon-1.png", 3),
        ("ring-1.png", 4),
        ("star-1.png", 6),
    ] {
        let x = prepared(name)?;
        let points = (-MOST..=MOST).map(|by| {
            let probabilities = outputs(&network, moved(&x, by))?;
            let row = probabilities.index_axis(Axis(0), 0);
            ensure!(row.len() == 8, "{} classes", row.len());
            Ok((by, f64::from(row[class])))
        });
        lines.push((name, points.collect::<Result<Vec<_>>>()?));
    }
    let picture = svg(800, 330, |sheet| {
        let x = |by: i32| 380 + 26 * by;
        let y = |share: f64| (275.0 - 225.0 * share).round() as i32;
        let title = "probability of the right class";
        sheet.text(title, (x(0), 24), 16, bold(INK));
        for percent in [0, 25, 50, 75, 100] {
            let height = y(f64::from(percent) / 100.0);
            sheet.path(&[(x(-MOST), height), (x(MOST), height)], LINE, 1);
            sheet.text_left(&format!("{percent} %"), (x(-MOST) - 10, height), 13, FAINT);
        }
        for by in (-MOST..=MOST).step_by(4) {
            sheet.text(&super::draw::number(f64::from(by)), (x(by), 293), 13, FAINT);
        }
        let axis = "pixels to the right, of a picture 48 pixels wide";
        sheet.text(axis, (x(0), 314), 13, FAINT);
        for (index, (name, points)) in lines.iter().enumerate() {
            let path: Vec<_> = points
                .iter()
                .map(|&(by, share)| (x(by), y(share)))
                .collect();
            sheet.path(&path, CYCLE[index], 2);
            let place = (712, 80 + 26 * index as i32);
            sheet.text_right(name.trim_end_matches(".png"), place, 14, bold(CYCLE[index]));
        }
    })?;
    Ok(Figure::Svg(picture))
}
