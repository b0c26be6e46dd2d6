//! Feature maps: what a layer makes of one example, `[C, H, W]`, beside the example itself.
//!
//! ```text
//! ┌───────┐ ┌──┐┌──┐┌──┐┌──┐
//! │ input │ └──┘└──┘└──┘└──┘      each map from its own least value (black) to its greatest (white)
//! └───────┘ ┌──┐┌──┐┌──┐┌──┐
//! ```

use std::path::Path;

use anyhow::Result;
use image::{Rgb, RgbImage};
use ndarray::{ArrayView2, ArrayView3, Axis};

use super::tiles::{MOST_CELLS, NOT_FINITE, fitted, grey, picture, sheet, short, side};
use crate::cli::draw::write_png;
use crate::error::Error;

/// Pixels of a map's longer side, and of the input's.
const MOST_SIDE: u32 = 128;
const INPUT_SIDE: u32 = 256;

/// Writes the sheet of `maps` as PNG; `layer` is the name of what made them of `input`.
///
/// # Errors
/// Those of [`pixels`]; whatever the file system says.
pub fn write(
    path: &Path,
    input: ArrayView3<'_, f32>,
    maps: ArrayView3<'_, f32>,
    layer: &str,
) -> Result<()> {
    write_png(path, &pixels(input, maps, layer)?)
}

/// The sheet of `maps`. The input, prepared as the network takes it, is shown from its least value to its greatest:
/// three channels as a colour, else the first one.
///
/// # Errors
/// An axis without elements ([`Error::ZeroCount`]); pictures beyond 16 Mi elements ([`Error::MemoryBudget`]).
pub fn pixels(
    input: ArrayView3<'_, f32>,
    maps: ArrayView3<'_, f32>,
    layer: &str,
) -> crate::Result<RgbImage> {
    let (channels, height, width) = maps.dim();
    for (count, what) in [
        (channels, "feature maps"),
        (input.dim().0, "input channels"),
    ] {
        if count == 0 {
            return Err(Error::ZeroCount { what });
        }
    }
    let example = fitted(&example(input)?, INPUT_SIDE);
    let shown = channels.min(MOST_CELLS);
    let side = side(shown, MOST_SIDE);
    let cells = maps.outer_iter().take(shown);
    let cells = cells.map(|map| Ok(fitted(&one(map)?, side)));
    let cells: Vec<RgbImage> = cells.collect::<crate::Result<_>>()?;
    let (low, high) = range(maps.iter());
    let dead = maps.outer_iter().filter(|map| {
        let (low, high) = range(map.iter());
        low == high
    });
    let title = format!("{layer}: {channels} x {height} x {width}");
    let mut note = format!(
        "each map from its own least value (black) to its greatest (white); all from {} to {}",
        short(low.into()),
        short(high.into())
    );
    match dead.count() {
        0 => {}
        1 => note += "; 1 map has the same value everywhere (black)",
        dead => note += &format!("; {dead} maps have the same value everywhere (black)"),
    }
    if shown < channels {
        note += &format!("; the first {shown} maps");
    }
    let strange = maps.iter().filter(|value| !value.is_finite()).count();
    if strange > 0 {
        note += &format!("; pink: {strange} values that are not finite");
    }
    let (depth, rows, columns) = input.dim();
    let caption = format!("input {depth} x {rows} x {columns}");
    Ok(sheet(&title, &note, Some((&example, &caption)), &cells))
}

/// The least and the greatest finite value; 0 where there is none.
fn range<'a>(values: impl Iterator<Item = &'a f32>) -> (f32, f32) {
    let finite = values.filter(|value| value.is_finite());
    let range = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |range, &value| {
        (range.0.min(value), range.1.max(value))
    });
    match range.0 <= range.1 {
        true => range,
        false => (0.0, 0.0),
    }
}

/// A value between `low` and `high` as a grey level.
fn level(value: f32, (low, high): (f32, f32)) -> u8 {
    let (value, low, high) = (f64::from(value), f64::from(low), f64::from(high));
    match high > low {
        true => grey((value - low) / (high - low)),
        false => 0,
    }
}

fn one(map: ArrayView2<'_, f32>) -> crate::Result<RgbImage> {
    let range = range(map.iter());
    picture(map.dim(), |row, column| match map[[row, column]] {
        value if value.is_finite() => Rgb([level(value, range); 3]),
        _ => NOT_FINITE,
    })
}

fn example(input: ArrayView3<'_, f32>) -> crate::Result<RgbImage> {
    let (channels, height, width) = input.dim();
    if channels != 3 {
        return one(input.index_axis(Axis(0), 0));
    }
    let range = range(input.iter());
    picture((height, width), |row, column| {
        let samples = [0, 1, 2].map(|channel| input[[channel, row, column]]);
        match samples.iter().all(|sample| sample.is_finite()) {
            true => Rgb(samples.map(|sample| level(sample, range))),
            false => NOT_FINITE,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, arr3};

    #[test]
    fn each_map_has_its_own_scale() {
        let input = Array3::from_shape_fn((1, 4, 4), |(_, y, x)| (4 * y + x) as f32);
        let maps = arr3(&[
            [[0.0, 1.0], [2.0, 4.0]],
            [[-10.0, 90.0], [-10.0, 40.0]],
            [[7.0, 7.0], [7.0, 7.0]],
        ]);
        let sheet = pixels(input.view(), maps.view(), "relu1").unwrap();
        // The input has 256 pixels, 16 of margin behind it; maps are 128 wide, 4 apart.
        let mut places = sheet.enumerate_pixels();
        let (x, y, _) = places.find(|(.., pixel)| pixel.0 == [0; 3]).unwrap();
        assert_eq!(sheet.get_pixel(x, y).0, [0; 3]);
        assert_eq!(sheet.get_pixel(x + 255, y + 255).0, [255; 3]);
        assert_eq!(sheet.get_pixel(x + 100, y).0, [17; 3]);
        let map = |index: u32, column: u32, row: u32| {
            let (left, top) = (x + 272 + index % 2 * 132, y + index / 2 * 132);
            sheet.get_pixel(left + column, top + row).0[0]
        };
        assert_eq!([map(0, 0, 0), map(0, 64, 0)], [0, 64]);
        assert_eq!([map(0, 0, 127), map(0, 127, 127)], [128, 255]);
        assert_eq!([map(1, 127, 0), map(1, 127, 127)], [255, 128]);
        assert_eq!([map(2, 0, 0), map(2, 127, 127)], [0, 0]);
    }

    #[test]
    fn colours_and_strange_values() {
        let mut input = Array3::zeros((3, 2, 2));
        input[[0, 0, 1]] = 1.0;
        input[[2, 0, 1]] = 0.5;
        input[[1, 1, 1]] = f32::NAN;
        let mut maps = Array3::zeros((1, 1, 2));
        maps[[0, 0, 0]] = f32::INFINITY;
        let sheet = pixels(input.view(), maps.view(), "a").unwrap();
        let count = |colour| sheet.pixels().filter(|pixel| pixel.0 == colour).count();
        assert_eq!(count([255, 0, 128]), 128 * 128);
        assert_eq!(count(NOT_FINITE.0), 128 * 128 + 64 * 64);
        maps.fill(f32::NAN);
        pixels(input.view(), maps.view(), "a").unwrap();
    }

    #[test]
    fn any_shape_makes_a_sheet_of_sensible_size() {
        let none = Array3::zeros((1, 1, 1));
        for shape in [
            (512, 7, 7),
            (64, 112, 112),
            (3, 600, 800),
            (4000, 1, 1),
            (1, 1, 90_000),
        ] {
            let one = ndarray::arr0(0.5);
            let maps = one.broadcast(shape).unwrap();
            let sheet = pixels(maps, maps, "layer").unwrap();
            let (width, height) = sheet.dimensions();
            assert!(
                width <= 2000 && height <= 2000,
                "{shape:?}: {width} x {height}"
            );
        }
        for shape in [(0, 3, 3), (3, 0, 3), (3, 3, 0)] {
            let empty = Array3::zeros(shape);
            for (input, maps) in [(&empty, &none), (&none, &empty)] {
                let error = pixels(input.view(), maps.view(), "a").unwrap_err();
                assert!(matches!(error, Error::ZeroCount { .. }));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.png");
        write(&path, none.view(), none.view(), "a").unwrap();
        let sheet = pixels(none.view(), none.view(), "a").unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8(), sheet);
    }
}
