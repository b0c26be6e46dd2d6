//! The filters of a layer, each enlarged: weights `[O, I, kh, kw]` to one sheet.
//!
//! ```text
//! I = 3  red, green, blue       I = 1  grey       else  the first channels of each filter in a row, grey
//! grey level = 1/2 + w / (2 · largest |w| of the layer)                     0 is the middle of black and white
//! ```

use std::path::Path;

use anyhow::Result;
use image::{Rgb, RgbImage};
use ndarray::{ArrayView4, s};

use super::tiles::{MOST_CELLS, NOT_FINITE, fitted, grey, picture, sheet, short, side};
use crate::cli::draw::{PAPER, write_png};
use crate::error::Error;

/// Channels of a filter in a row.
const MOST_CHANNELS: usize = 8;
/// Channels of all filters of a sheet.
const MOST_PARTS: usize = 2 * MOST_CELLS;
/// Pixels of a filter's longer side.
const MOST_SIDE: u32 = 64;

/// Writes the sheet of `weights` as PNG; `name` is that of the layer.
///
/// # Errors
/// Those of [`pixels`]; whatever the file system says.
pub fn write(path: &Path, weights: ArrayView4<'_, f32>, name: &str) -> Result<()> {
    write_png(path, &pixels(weights, name)?)
}

/// The sheet of `weights`.
///
/// # Errors
/// An axis without elements ([`Error::ZeroCount`]); kernels beyond 16 Mi elements ([`Error::MemoryBudget`]).
pub fn pixels(weights: ArrayView4<'_, f32>, name: &str) -> crate::Result<RgbImage> {
    let (filters, channels, height, width) = weights.dim();
    for (count, what) in [(filters, "filters"), (channels, "input channels")] {
        if count == 0 {
            return Err(Error::ZeroCount { what });
        }
    }
    let colour = channels == 3;
    let shown = filters.min(MOST_CELLS);
    let parts = match colour {
        true => 1,
        false => channels.min(MOST_CHANNELS).min(MOST_PARTS / shown),
    };
    let side = side(shown * parts, MOST_SIDE);
    let finite = weights.iter().filter(|weight| weight.is_finite());
    let limit = finite.fold(0.0, |most: f32, weight| most.max(weight.abs()));
    let level = |weight: f32| match limit > 0.0 {
        true => grey(0.5 + 0.5 * f64::from(weight) / f64::from(limit)),
        false => grey(0.5),
    };
    let pixel = |samples: [f32; 3]| match samples.iter().all(|weight| weight.is_finite()) {
        true => Rgb(samples.map(level)),
        false => NOT_FINITE,
    };
    let mut cells = Vec::new();
    for filter in weights.slice(s![..shown, .., .., ..]).outer_iter() {
        let part = |channel: usize| {
            let at = |row, column| {
                let sample = |offset| filter[[channel + offset, row, column]];
                pixel(match colour {
                    true => [sample(0), sample(1), sample(2)],
                    false => [sample(0); 3],
                })
            };
            Ok(fitted(&picture((height, width), at)?, side))
        };
        let parts: Vec<RgbImage> = (0..parts).map(part).collect::<crate::Result<_>>()?;
        cells.push(row(&parts));
    }
    let strange = weights.iter().filter(|weight| !weight.is_finite()).count();
    let title = format!("{name}: {filters} filters of {channels} x {height} x {width}");
    let mut note = match (colour, channels) {
        (true, _) => "red, green and blue; ".to_owned(),
        (_, 1) => String::new(),
        _ => format!("in a row {parts} of {channels} input channels; "),
    };
    let limit = short(f64::from(limit));
    note += &format!("grey is 0, darkest -{limit}, brightest {limit}, the same for all filters");
    if shown < filters {
        note += &format!("; the first {shown} filters");
    }
    if strange > 0 {
        note += &format!("; pink: {strange} weights that are not finite");
    }
    Ok(sheet(&title, &note, None, &cells))
}

/// Pictures of one size beside each other, a pixel apart.
fn row(parts: &[RgbImage]) -> RgbImage {
    let (width, height) = parts.first().map_or((1, 1), RgbImage::dimensions);
    let whole = parts.len() as u32 * (width + 1) - 1;
    let mut row = RgbImage::from_pixel(whole, height, PAPER);
    for (x, part) in (0..i64::from(whole)).step_by(width as usize + 1).zip(parts) {
        image::imageops::replace(&mut row, part, x, 0);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array4, ArrayView};

    /// Where the pixels of a colour are: left, top, and how many.
    fn found(image: &RgbImage, colour: [u8; 3]) -> (u32, u32, usize) {
        let places = image
            .enumerate_pixels()
            .filter(|(.., pixel)| pixel.0 == colour);
        places.fold((u32::MAX, u32::MAX, 0), |(left, top, count), (x, y, _)| {
            (left.min(x), top.min(y), count + 1)
        })
    }

    #[test]
    fn grey_filters_are_symmetrical_about_zero() {
        let weights = [0.5, -0.5, 0.25, 0.0, 0.0, 0.0, 0.0, -0.25];
        let weights = ArrayView::from_shape((2, 1, 2, 2), &weights).unwrap();
        let sheet = pixels(weights, "conv1").unwrap();
        let (x, y, _) = found(&sheet, [255; 3]);
        let level = |column: u32, row: u32| sheet.get_pixel(x + column, y + row).0;
        // An element is 32 pixels wide, a filter 64, and 4 lie between filters.
        assert_eq!([level(0, 0), level(31, 31)], [[255; 3]; 2]);
        assert_eq!([level(32, 0), level(0, 32)], [[0; 3], [191; 3]]);
        assert_eq!(level(63, 63), [128; 3]);
        assert_eq!([level(64, 0), level(67, 0)], [PAPER.0; 2]);
        assert_eq!([level(68, 0), level(100, 32)], [[128; 3], [64; 3]]);
    }

    #[test]
    fn three_channels_are_colours() {
        let mut weights = Array4::zeros((5, 3, 3, 3));
        weights[[1, 0, 2, 2]] = 2.0;
        weights[[1, 1, 2, 2]] = -2.0;
        let sheet = pixels(weights.view(), "conv1").unwrap();
        let (left, top, count) = found(&sheet, [255, 0, 128]);
        assert_eq!(count, 21 * 21);
        // The second filter: 63 pixels of the first, 4 between.
        let (x, y, _) = found(&sheet, [128; 3]);
        assert_eq!((left, top), (x + 67 + 42, y + 42));
        assert_eq!(found(&sheet, [128; 3]).2, 5 * 63 * 63 - 21 * 21);
    }

    #[test]
    fn other_channels_lie_in_rows() {
        for (channels, shown) in [(2, 2), (8, 8), (64, 8)] {
            let mut weights = Array4::zeros((3, channels, 3, 3));
            weights.slice_mut(s![.., 1, .., ..]).fill(-1.0);
            let sheet = pixels(weights.view(), "a").unwrap();
            assert_eq!(found(&sheet, [0; 3]).2, 3 * 63 * 63);
            assert_eq!(found(&sheet, [128; 3]).2, 3 * (shown - 1) * 63 * 63);
            assert_eq!(found(&sheet, [0; 3]).0, found(&sheet, [128; 3]).0 + 64);
        }
    }

    #[test]
    fn what_is_not_finite_has_its_own_colour() {
        let mut weights = Array4::from_elem((2, 1, 1, 1), 0.5);
        weights[[1, 0, 0, 0]] = f32::NAN;
        let sheet = pixels(weights.view(), "a").unwrap();
        assert_eq!(found(&sheet, NOT_FINITE.0).2, 64 * 64);
        assert_eq!(found(&sheet, [255; 3]).2, 64 * 64);
        weights.fill(f32::INFINITY);
        pixels(weights.view(), "a").unwrap();
    }

    #[test]
    fn any_number_of_filters_makes_a_sheet_of_sensible_size() {
        for shape in [
            (512, 3, 3, 3),
            (512, 64, 3, 3),
            (5000, 1, 1, 1),
            (1, 1, 500, 3),
            (96, 3, 11, 11),
            (2, 1, 1, 70_000),
        ] {
            let weights = ndarray::Array::zeros(()).into_dyn();
            let weights = weights.broadcast(<[usize; 4]>::from(shape)).unwrap();
            let sheet = pixels(weights.into_dimensionality().unwrap(), "layer").unwrap();
            let (width, height) = sheet.dimensions();
            assert!(
                width <= 2000 && height <= 2000,
                "{shape:?}: {width} x {height}"
            );
        }
        for shape in [(0, 1, 3, 3), (1, 0, 3, 3), (1, 1, 0, 3), (1, 3, 3, 0)] {
            let error = pixels(Array4::zeros(shape).view(), "a").unwrap_err();
            assert!(matches!(error, Error::ZeroCount { .. }));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.png");
        write(&path, Array4::ones((4, 3, 5, 5)).view(), "a").unwrap();
        let sheet = pixels(Array4::ones((4, 3, 5, 5)).view(), "a").unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8(), sheet);
    }
}
