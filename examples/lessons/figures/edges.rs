//! Chapter 4: an edge in numbers, and kernels on the scene.

use std::path::Path;

use anyhow::{Context, Result};
use gemmconv::{ConvOptions, Padding, PaddingMode, conv2d};
use image::imageops::FilterType;
use image::{GrayImage, Luma, RgbImage};
use ndarray::{Array2, array};

use super::Figure;
use super::compute::{batch, conv, plane};
use super::draw::{BLUE, FAINT, Grid, INK, RED, bold, panels, svg, tint};

/// Columns of ones about four of zeros.
pub fn stripes() -> Array2<f64> {
    Array2::from_shape_fn((6, 8), |(_, column)| {
        f64::from(u8::from(!(2..6).contains(&column)))
    })
}

/// The slide's image under [1, −1].
pub fn vertical() -> Result<Figure> {
    let (x, w) = (stripes(), array![[1., -1.]]);
    let y = conv(&x, &w, &ConvOptions::new())?;
    let picture = svg(800, 290, |sheet| {
        let image = Grid::of((30, 60), 34, &x);
        let kernel = Grid::of((380, 145), 36, &w);
        let edges = Grid::of((525, 60), 34, &y);
        sheet.text(
            "image: 1 white, 0 black",
            (image.middle().0, 30),
            16,
            bold(INK),
        );
        sheet.text("kernel", (kernel.middle().0, 30), 16, bold(INK));
        sheet.text("edges", (edges.middle().0, 30), 16, bold(INK));
        sheet.numbers(&image, x.view(), |r, c| {
            (x[[r, c]] == 0.0).then(|| tint(INK))
        });
        sheet.numbers(&kernel, w.view(), |_, _| Some(tint(FAINT)));
        sheet.numbers(&edges, y.view(), |r, c| match y[[r, c]] {
            value if value > 0.0 => Some(tint(BLUE)),
            value if value < 0.0 => Some(tint(RED)),
            _ => None,
        });
        sheet.text("⋆", (340, 162), 28, INK);
        sheet.text("=", (490, 162), 24, INK);
        sheet.text("white to black", (edges.centre(0, 1).0, 280), 13, BLUE);
        sheet.text("black to white", (edges.centre(0, 5).0, 280), 13, RED);
    })?;
    Ok(Figure::Svg(picture))
}

/// The scene, grey, half its size, 0 to 1.
pub fn scene() -> Result<Array2<f64>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/scene.png");
    let picture = image::open(&path).with_context(|| path.display().to_string())?;
    let small = picture
        .resize_exact(240, 180, FilterType::Triangle)
        .to_luma8();
    Ok(Array2::from_shape_fn((180, 240), |(row, column)| {
        f64::from(small.get_pixel(column as u32, row as u32)[0]) / 255.0
    }))
}

/// Numbers from `low` (black) to `high` (white) as a picture.
pub fn shown(values: &Array2<f64>, low: f64, high: f64) -> RgbImage {
    let (rows, columns) = values.dim();
    let grey = GrayImage::from_fn(columns as u32, rows as u32, |x, y| {
        let value = (values[[y as usize, x as usize]] - low) / (high - low);
        Luma([(255.0 * value).round().clamp(0.0, 255.0) as u8])
    });
    image::DynamicImage::ImageLuma8(grey).to_rgb8()
}

/// Nine kernels on the scene.
pub fn kernels() -> Result<Figure> {
    let x = scene()?;
    let blur = Array2::from_elem((7, 7), 1.0 / 49.0);
    let mut shift = Array2::zeros((31, 31));
    shift[[15, 0]] = 1.0;
    let sobel = array![[-1., 0., 1.], [-2., 0., 2.], [-1., 0., 1.]];
    let outline = array![[-1., -1., -1.], [-1., 8., -1.], [-1., -1., -1.]];
    let sharpen = array![[0., -1., 0.], [-1., 5., -1.], [0., -1., 0.]];
    let options = ConvOptions::new()
        .padding(Padding::SameUpper)
        .padding_mode(PaddingMode::Replicate);
    let filtered = |w: &Array2<f64>| -> Result<Array2<f64>> {
        Ok(plane(conv2d(&batch(&x)?, &batch(w)?, None, &options)?))
    };
    let zeros = options.clone().padding_mode(PaddingMode::Zeros);
    let shifted = conv(&x, &shift, &zeros)?;
    let pictures = [
        ("identity", shown(&x, 0.0, 1.0)),
        (
            "[1 -1], grey is 0",
            shown(&filtered(&array![[1., -1.]])?, -0.5, 0.5),
        ),
        (
            "[1 -1] upright",
            shown(&filtered(&array![[1.], [-1.]])?, -0.5, 0.5),
        ),
        ("blur 7 x 7", shown(&filtered(&blur)?, 0.0, 1.0)),
        ("sobel-x, grey is 0", shown(&filtered(&sobel)?, -2.0, 2.0)),
        (
            "sobel-y",
            shown(&filtered(&sobel.t().to_owned())?, -2.0, 2.0),
        ),
        ("sharpen", shown(&filtered(&sharpen)?, 0.0, 1.0)),
        ("outline", shown(&filtered(&outline)?, 0.0, 1.5)),
        ("shift by 15", shown(&shifted, 0.0, 1.0)),
    ];
    Ok(Figure::Png(panels(3, &pictures)))
}
