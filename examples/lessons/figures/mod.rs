//! The figures of `docs/lessons`: one table of names and functions, drawn into a folder or compared with it.

mod compare;
mod draw;

mod backward;
mod blocks;
mod channels;
mod compute;
mod cross;
mod edges;
mod kinds;
mod learning;
mod matrix;
mod receptive;
mod shifts;
mod sizes;
mod vectorised;
mod waldo;

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageReader, RgbImage};

/// What a figure is.
pub enum Figure {
    Svg(String),
    Png(RgbImage),
}

type Draw = fn() -> Result<Figure>;

/// Every figure, by the name of its file.
pub const FIGURES: &[(&str, Draw)] = &[
    ("01-waldo.png", waldo::picture),
    ("01-template.png", waldo::template),
    ("01-response.png", waldo::response),
    ("01-connections.svg", waldo::connections),
    ("02-equivariance.svg", shifts::square),
    ("02-scores.svg", shifts::scores),
    ("03-corr2d.svg", cross::corr2d),
    ("03-flip.svg", cross::flip),
    ("04-vertical.svg", edges::vertical),
    ("04-kernels.png", edges::kernels),
    ("05-loss.svg", learning::loss),
    ("06-channels.svg", channels::sum),
    ("06-bank.svg", channels::bank),
    ("06-maps.png", channels::maps),
    ("07-stride.svg", sizes::stride),
    ("07-padding.svg", sizes::padding),
    ("08-weights.svg", kinds::weights),
    ("08-separable.svg", kinds::separable),
    ("08-dilated.svg", kinds::dilated),
    ("08-transposed.svg", kinds::transposed),
    ("09-pooling.svg", kinds::pooling),
    ("09-shift.svg", shifts::maxima),
    ("10-im2col.svg", vectorised::im2col),
    ("10-tiles.svg", vectorised::tiles),
    ("11-weight.svg", backward::weight),
    ("11-input.svg", backward::input),
    ("11-fold.svg", backward::addition),
    ("12-stack.svg", receptive::stack),
    ("12-measured.svg", receptive::measured),
    ("13-lenet.svg", blocks::lenet),
    ("13-inception.svg", blocks::inception),
    ("14-toeplitz.svg", matrix::toeplitz),
    ("14-doubly-blocked.svg", matrix::doubly_blocked),
    ("14-circulant.svg", matrix::going_round),
    ("15-fourier.svg", matrix::spectra),
];

/// Draws all of them into `folder`.
pub fn write(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (name, draw) in FIGURES {
        let path = folder.join(name);
        let bytes = match draw().with_context(|| (*name).to_owned())? {
            Figure::Svg(text) => text.into_bytes(),
            Figure::Png(picture) => {
                let mut bytes = Cursor::new(Vec::new());
                picture.write_with_encoder(PngEncoder::new_with_quality(
                    &mut bytes,
                    CompressionType::Best,
                    FilterType::Adaptive,
                ))?;
                bytes.into_inner()
            }
        };
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Draws all of them and compares with `folder`: a line for each that differs.
pub fn differences(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, draw) in FIGURES {
        let path = folder.join(name);
        let figure = draw().with_context(|| (*name).to_owned())?;
        let difference = match figure {
            Figure::Svg(drawn) => match std::fs::read_to_string(&path) {
                Ok(kept) => compare::svg(&drawn, &kept),
                Err(error) => Some(error.to_string()),
            },
            Figure::Png(drawn) => match ImageReader::open(&path).map(|reader| reader.decode()) {
                Ok(Ok(kept)) => compare::png(&drawn, &kept.to_rgb8()),
                Ok(Err(error)) => Some(error.to_string()),
                Err(error) => Some(error.to_string()),
            },
        };
        found.extend(difference.map(|difference| format!("{name}: {difference}")));
    }
    Ok(found)
}
