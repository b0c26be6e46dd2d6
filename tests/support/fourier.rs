//! How far a convolution by Fourier transforms may be from the exact sums.
//!
//! ```text
//! |error of y[n, o, p]| ≤ (8 · log₂(4 · pixels) + C + 16) · u · Σ_c ‖x̄[n, c]‖ · ‖w[o, c]‖
//! ```
//!
//! A transform of length L has an error of a few u · log₂ L of the norm of what it is made of, and keeps norms up to
//! its factor; two of them meet in the product, a third goes back. So each error is at most that of the whole tile,
//! and this at most the product of the norms (Cauchy and Schwarz). The sum over channels adds C · u; bias and residual
//! are in the reserve. The norm of a tile's window is at most that of the padded image.

use gemmconv::unfold::{PatchOrder, unfold};
use gemmconv::{ConvGeometry, ConvOptions, Element, Layout, PaddingMode, Pass, plan::FourierTiles};
use ndarray::{ArrayD, IxDyn};

/// The largest error of every number of `pass`, forward or backward input, made of `source` and the weights `w`.
pub fn bounds<T: Element>(
    geometry: &ConvGeometry,
    pass: Pass,
    tiles: &FourierTiles,
    source: &[T],
    w: &[T],
) -> Vec<f64> {
    let forward = pass == Pass::Forward;
    let (inputs, outputs) = (geometry.channels_per_group(), geometry.outputs_per_group());
    let (sources, results) = match forward {
        true => (inputs, outputs),
        false => (outputs, inputs),
    };
    let square = |value: f64| value * value;
    let windows = norms(geometry, forward, source);
    let taps: usize = geometry.axes().iter().map(|axis| axis.kernel()).product();
    let kernels: Vec<f64> = w
        .chunks(taps)
        .map(|taps| taps.iter().map(|w| square(w.to_f64())).sum::<f64>().sqrt())
        .collect();
    let pixels: usize = tiles.lengths.iter().product();
    let factor = 8.0 * (4.0 * pixels as f64).log2() + sources as f64 + 16.0;
    let shape = match forward {
        true => geometry.output_shape(),
        false => geometry.input_shape(),
    };
    let bounds = ArrayD::from_shape_fn(IxDyn(&shape), |at| {
        let channel = match geometry.layout() {
            Layout::ChannelsFirst => at[1],
            Layout::ChannelsLast => at[shape.len() - 1],
        };
        let (group, within) = (channel / results, channel % results);
        let sum: f64 = (0..sources)
            .map(|source| {
                let kernel = match forward {
                    true => channel * inputs + source,
                    false => (group * outputs + source) * inputs + within,
                };
                let window = at[0] * geometry.groups() * sources + group * sources + source;
                windows[window] * kernels[kernel]
            })
            .sum();
        factor * T::UNIT_ROUNDOFF * sum
    });
    bounds.into_raw_vec_and_offset().0
}

/// ‖x̄‖ of every image and channel, with the padding around it.
fn norms<T: Element>(geometry: &ConvGeometry, forward: bool, source: &[T]) -> Vec<f64> {
    let shape = match forward {
        true => geometry.input_shape(),
        false => geometry.output_shape(),
    };
    if source.is_empty() {
        return Vec::new();
    }
    let source = ArrayD::from_shape_vec(IxDyn(&shape), source.to_vec()).unwrap();
    let pads: Vec<(usize, usize)> = geometry
        .axes()
        .iter()
        .map(|axis| if forward { axis.pad() } else { (0, 0) })
        .collect();
    let mode = match forward {
        true => geometry.patch().padding_mode(),
        false => PaddingMode::Zeros,
    };
    let options = ConvOptions::new()
        .padding(pads.as_slice())
        .padding_mode(mode)
        .layout(geometry.layout());
    let ones = vec![1; pads.len()];
    let padded = unfold(&source, &ones, &options, PatchOrder::ElementsByPositions).unwrap();
    let rows = padded.rows().into_iter();
    rows.map(|row| {
        let squares = row.iter().map(|x| x.to_f64() * x.to_f64());
        squares.sum::<f64>().sqrt()
    })
    .collect()
}
