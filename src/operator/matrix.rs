//! A convolution as one matrix: Toeplitz for one axis, doubly blocked Toeplitz for two.
//!
//! ```text
//! vec(y) = M · vec(x)        M[(o, p), source(c, k, p)] += w[o, c, k]        transposed convolution: Mᵀ
//! ```
//!
//! Where the sources lie is read off an image that holds its own element numbers, unfolded.

use ndarray::{Array2, Array3, ArrayRef, Dimension};

use crate::element::{Element, collected, filled};
use crate::error::{Error, Result, check_shape, product};
use crate::geometry::{ConvGeometry, Layout, PaddingMode, PatchGeometry};
use crate::unfold::{PatchOrder, unfold_into};

/// The matrix M, `[O · P, C · pixels]`, of the convolution of one image with `weight`, `[O, C/g, kernel…]`.
///
/// vec(x) and vec(y) are one image in the standard order of the geometry's layout. A constant in the
/// padding adds to y what no matrix can; it is left out.
///
/// # Errors
/// A weight of another shape than the geometry's; a matrix beyond the memory there is.
///
/// ```
/// use gemmconv::{ConvGeometry, ConvOptions, operator::convolution_matrix};
/// use ndarray::array;
///
/// let geometry = ConvGeometry::new(&[1, 1, 4], &[1, 1, 2], &ConvOptions::new())?;
/// let toeplitz = convolution_matrix(&geometry, &array![[[1., -1.]]])?;
/// assert_eq!(toeplitz, array![[1., -1., 0., 0.], [0., 1., -1., 0.], [0., 0., 1., -1.]]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn convolution_matrix<T: Element, D: Dimension>(
    geometry: &ConvGeometry,
    weight: &ArrayRef<T, D>,
) -> Result<Array2<T>> {
    check_shape("weight", &geometry.weight_shape(), weight.shape())?;
    let (channels, pixels) = (geometry.input_channels(), geometry.patch.pixels());
    let (outputs, positions) = (geometry.output_channels(), geometry.positions());
    let (rows, columns) = (outputs * positions, channels * pixels);
    let data = filled(product("convolution matrix", &[rows, columns])?, T::ZERO)?;
    let mut matrix =
        Array2::from_shape_vec((rows, columns), data).map_err(|_| Error::Overflow {
            what: "convolution matrix",
        })?;
    let sources = sources(geometry)?;
    let (per_group, k) = (geometry.outputs_per_group(), geometry.patch_len());
    let place = |channel: usize, element: usize, channels: usize, elements: usize| match geometry
        .layout()
    {
        Layout::ChannelsFirst => channel * elements + element,
        Layout::ChannelsLast => element * channels + channel,
    };
    let taps = geometry.patch.taps();
    for (index, &value) in weight.iter().enumerate() {
        let (o, within) = (index / k, index % k);
        let (channel, tap) = (
            o / per_group * geometry.channels_per_group() + within / taps,
            within % taps,
        );
        // The flipped kernel: all axes reversed is the row-major order reversed.
        let tap = if geometry.flip { taps - 1 - tap } else { tap };
        for p in 0..positions {
            // Element numbers count from 1; 0 is padding.
            if let Some(pixel) = (sources[[0, tap, p]] as usize).checked_sub(1) {
                matrix[[
                    place(o, p, outputs, positions),
                    place(channel, pixel, channels, pixels),
                ]] += value;
            }
        }
    }
    Ok(matrix)
}

/// For every tap and position the number (from 1) of the pixel it reads, `[1, taps, P]`.
fn sources(geometry: &ConvGeometry) -> Result<Array3<f64>> {
    let mode = match geometry.patch.mode {
        PaddingMode::Constant(_) => PaddingMode::Zeros,
        mode => mode,
    };
    let patch = PatchGeometry {
        batch: 1,
        channels: 1,
        mode,
        layout: Layout::ChannelsFirst,
        ..geometry.patch.clone()
    };
    let shape = patch.input_shape();
    let overflow = |_| Error::Overflow {
        what: "convolution matrix",
    };
    let numbers = collected(
        patch.pixels(),
        (1..=patch.pixels()).map(|number| number as f64),
    )?;
    let numbers = ndarray::ArrayD::from_shape_vec(shape, numbers).map_err(overflow)?;
    let (taps, positions) = (patch.taps(), patch.positions());
    let sources = filled(product("convolution matrix", &[taps, positions])?, 0.0)?;
    let mut sources = Array3::from_shape_vec((1, taps, positions), sources).map_err(overflow)?;
    unfold_into(
        &patch,
        &numbers,
        PatchOrder::ElementsByPositions,
        &mut sources,
    )?;
    Ok(sources)
}
