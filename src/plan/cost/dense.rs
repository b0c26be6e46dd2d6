//! Seconds of recipes without transforms: dense and grouped products, and an engine's on unfolded patches.

use super::rates::Rates;
use crate::element::Element;
use crate::geometry::{ConvGeometry, Layout, PaddingMode};
use crate::kernel::{Isa, Slide, most_columns};
use crate::plan::blocks::block_axes;
use crate::plan::{Pass, PlanOptions, RecipeKind};

/// Terms of a sum that take as long as what is done once for it, where lanes are neighbouring pixels: kernels of 3 × 3 to
/// 31 × 31 with 1, 3 and 8 channels on both sides, 56 pixels wide, on Zen 4.
const EXIT_FEW_COLUMNS: f64 = 33.0;

/// An engine's products of fewer rows or columns than this are slower in proportion. Sums of [`ENGINE_EXIT`] terms take
/// twice their time.
const ENGINE_SIDE: usize = 32;
const ENGINE_EXIT: f64 = 30.0;

/// Nanoseconds to copy one number of dY to a panel.
const COPY: f64 = 0.25;

/// Nanoseconds to write one number of the gradient of the weights, native and by an engine.
const WRITE: [f64; 2] = [0.13, 0.08];

/// Nanoseconds to fold one element of the patch matrix back, channels first and channels last.
const FOLD: [f64; 2] = [0.45, 3.0];

/// Seconds that one thread would need, by the model.
pub(super) fn seconds<T: Element>(
    kind: RecipeKind,
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> f64 {
    let (rates, lanes) = (Rates::of(options.isa), options.isa.lanes());
    let results = match pass {
        Pass::BackwardInput => geometry.channels_per_group(),
        _ => geometry.outputs_per_group(),
    };
    let padding = |columns: usize| columns.next_multiple_of(lanes) as f64 / columns as f64;
    let work = |rate: f64| geometry.operations() as f64 / rate / 1e9;
    let written = |each: f64| geometry.weight_len() as f64 * each / 1e9;
    let layout = usize::from(geometry.layout() == Layout::ChannelsFirst);
    match kind {
        RecipeKind::Grouped => {
            let rate = match pass != Pass::BackwardWeight && slides(geometry, options.isa) {
                true => rates.lines,
                false => rates.grouped[layout],
            };
            padding(geometry.groups() * results) * work(rate)
        }
        RecipeKind::Unfold => {
            let positions = geometry.positions().saturating_mul(geometry.batch());
            let (rate, rows, columns) = match pass {
                Pass::Forward => (rates.engine, results, positions),
                Pass::BackwardInput => (rates.engine, geometry.patch_len(), positions),
                Pass::BackwardWeight => (rates.engine_weight, results, geometry.patch_len()),
            };
            // Twice the bytes take twice the time.
            let wide = size_of::<T>() as f64 / size_of::<f32>() as f64;
            let short = |side: usize| side.clamp(1, ENGINE_SIDE) as f64 / ENGINE_SIDE as f64;
            let rate = rate / wide * short(rows) * short(columns);
            let summed = |terms: usize| work(rate) * (1.0 + ENGINE_EXIT / terms.max(1) as f64);
            match pass {
                Pass::Forward => summed(geometry.patch_len()),
                Pass::BackwardInput => {
                    let elements = geometry.patch_len() as f64 * geometry.groups() as f64;
                    let each = FOLD[usize::from(geometry.layout() == Layout::ChannelsLast)];
                    summed(geometry.outputs_per_group()) + elements * positions as f64 * each / 1e9
                }
                Pass::BackwardWeight => work(rate) + written(WRITE[1]),
            }
        }
        _ => {
            let several = usize::from(results > lanes);
            let sums = match pass {
                Pass::Forward => geometry.output_len(),
                Pass::BackwardInput => geometry.input_len(),
                // Of many terms each, and a panel of its own copied for every block.
                Pass::BackwardWeight => {
                    // Those of one tap copy less, and are `OuterSum`'s.
                    let copied = match geometry.patch.taps() {
                        1 => 0.0,
                        _ => geometry.output_len() as f64 * COPY / 1e9,
                    };
                    return padding(results) * work(rates.weight[several])
                        + copied
                        + written(WRITE[0]);
                }
            };
            let (rate, exit) = if several == 0 {
                (rates.one_vector, rates.exit_one_vector)
            } else {
                (rates.dense, rates.exit)
            };
            let terms = geometry.operations() as f64 / 2.0 / sums.max(1) as f64;
            if let Some(slower) = pixels_in_lanes(geometry, pass, options.isa) {
                let [each, most] = rates.few_columns;
                let rate = most.min(each * results as f64);
                return slower * work(rate) * (1.0 + EXIT_FEW_COLUMNS / terms.max(1.0));
            }
            padding(results) * work(rate[layout]) * (1.0 + exit[layout] / terms.max(1.0))
        }
    }
}

/// Whether groups of several channels run along lines, as far as the geometry tells: a residual stands against it too.
fn slides(geometry: &ConvGeometry, isa: Isa) -> bool {
    let group = geometry.channels_per_group();
    let [planes, rows, columns] = &geometry.patch.axes;
    let taps = rows.kernel * columns.kernel;
    geometry.layout() == Layout::ChannelsLast
        && geometry.patch.padding_mode() == PaddingMode::Zeros
        && group > 1
        && group == geometry.outputs_per_group()
        && [planes.kernel, planes.input] == [1; 2]
        && [rows, columns].iter().all(|axis| axis.dilation == 1)
        && Slide::fits(isa, group, columns.kernel, columns.stride)
        && Slide::cuts(isa, group, geometry.input_channels(), taps)
}

/// Where the lanes of dense native products are neighbouring pixels, for few channels of the result: how many times as
/// long they take as if all lanes and all multiply-add units were busy.
fn pixels_in_lanes(geometry: &ConvGeometry, pass: Pass, isa: Isa) -> Option<f64> {
    let results = match pass {
        Pass::Forward => geometry.outputs_per_group(),
        Pass::BackwardInput => geometry.channels_per_group(),
        Pass::BackwardWeight => return None,
    };
    let axes = block_axes(geometry, pass).ok()?;
    let [_, _, line] = &axes;
    let (lanes, width) = (isa.lanes(), line.positions(0, line.result).max(1));
    let vectors = width.div_ceil(lanes);
    let fits = geometry.layout() == Layout::ChannelsFirst
        && results <= most_columns(isa.registers())
        && line.step == 1
        && vectors * results < width;
    // With several phases each line is a product of its own.
    let lone = axes.iter().any(|axis| axis.phases.len() > 1);
    let chains = results * if lone { vectors.min(4) } else { 4 };
    let idle = 4.0 / chains.min(4) as f64;
    fits.then_some(idle * (vectors * lanes) as f64 / width as f64)
}
