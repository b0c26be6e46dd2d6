//! How many bytes a plan needs, counted before anything is allocated.
//!
//! ```text
//! (input + output + weights + their prepared forms + the largest scratch of one thread) · size of an element
//!   + the tables of the native recipes
//! ```

use super::{Blocks, Decision, FourierTiles, Pass, Recipe, WinogradParts, WinogradTiles};
use crate::error::{Result, product, sum};
use crate::geometry::ConvGeometry;
use crate::kernel::{Isa, Left, Panels, Tiling};

const WHAT: &str = "plan";

/// Words of a phase beside its lists: four of those with their headers, its place, and headers in two forms.
const PHASE: usize = 20;

/// Bytes that the plan of `decision` needs, with its weights prepared for all passes.
pub(super) fn needed(geometry: &ConvGeometry, decision: &Decision) -> Result<usize> {
    let scratch = Pass::ALL
        .iter()
        .map(|&pass| decision.lane_len(pass) + decision.shared_len(pass))
        .max()
        .unwrap_or(0);
    let elements = sum(
        WHAT,
        &[
            geometry.input_len(),
            geometry.output_len(),
            geometry.weight_len(),
            prepared_len(geometry, decision)?,
            scratch,
        ],
    )?;
    let elements = product(WHAT, &[elements, decision.element_bytes])?;
    let tables = Pass::ALL.map(|pass| match decision.recipe(pass) {
        Recipe::Naive | Recipe::Unfold(_) => Ok(0),
        Recipe::Direct(blocks) | Recipe::Pointwise(blocks) | Recipe::Grouped(blocks) => {
            table_bytes(geometry, pass, blocks)
        }
        Recipe::Winograd(tiles) | Recipe::WinogradWeight(WinogradParts { tiles, .. }) => {
            winograd_table_bytes(tiles)
        }
        Recipe::Fft(tiles) => fourier_table_bytes(geometry, tiles),
    });
    let [forward, backward_input, backward_weight] = tables;
    sum(
        WHAT,
        &[elements, forward?, backward_input?, backward_weight?],
    )
}

/// Elements of the prepared weights of all passes.
fn prepared_len(geometry: &ConvGeometry, decision: &Decision) -> Result<usize> {
    let mut elements = 0;
    let mut in_rows = false;
    // What spectra are made in, which serves both passes.
    let mut made_in = 0;
    for pass in [Pass::Forward, Pass::BackwardInput] {
        let more = match decision.recipe(pass) {
            // Both passes read the same rows.
            Recipe::Naive | Recipe::Unfold(_) if in_rows => 0,
            Recipe::Naive | Recipe::Unfold(_) => {
                in_rows = true;
                geometry.weight_len()
            }
            Recipe::Direct(blocks) | Recipe::Pointwise(blocks) | Recipe::Grouped(blocks) => {
                panels_len(
                    geometry,
                    blocks.isa,
                    blocks.grouped,
                    pass == Pass::BackwardInput,
                )?
            }
            // It reads no weights.
            Recipe::WinogradWeight(_) => 0,
            Recipe::Winograd(tiles) => winograd_len(
                geometry,
                tiles.isa,
                tiles.tiling,
                pass == Pass::BackwardInput,
            )?,
            Recipe::Fft(tiles) => {
                let made = product(WHAT, &[tiles.made_in(), size_of::<f64>()])?;
                made_in = made_in.max(made / decision.element_bytes);
                fourier_spectra(geometry, tiles, pass == Pass::BackwardInput)?
            }
        };
        elements = sum(WHAT, &[elements, more])?;
    }
    sum(WHAT, &[elements, made_in])
}

/// Elements of the weights as panels: whole vectors of channels of the result for every term.
pub(crate) fn panels_len(
    geometry: &ConvGeometry,
    isa: Isa,
    grouped: bool,
    backward: bool,
) -> Result<usize> {
    let (sources, results) = channels(geometry, backward);
    let (matrices, columns, left) = if grouped {
        (1, geometry.groups() * results, Left::Vectors { step: 0 })
    } else {
        (geometry.groups(), results, Left::Scalars)
    };
    let columns = Panels::new(isa, left, columns).columns();
    // Every tap belongs to one phase.
    let taps = geometry.patch.taps();
    product("prepared weights", &[matrices, sources, taps, columns])
}

/// Elements of the transformed weights: as many panels as a tile has products, for each piece of a kernel.
pub(crate) fn winograd_len(
    geometry: &ConvGeometry,
    isa: Isa,
    tiling: Tiling,
    backward: bool,
) -> Result<usize> {
    let (sources, columns) = channels(geometry, backward);
    let columns = Panels::new(isa, Left::Scalars, columns).columns();
    product(
        "prepared weights",
        &[
            geometry.groups(),
            tiling.products() * tiling.pieces(),
            sources,
            columns,
        ],
    )
}

/// Numbers of the weights' spectra.
pub(crate) fn fourier_spectra(
    geometry: &ConvGeometry,
    tiles: &FourierTiles,
    backward: bool,
) -> Result<usize> {
    let (sources, results) = channels(geometry, backward);
    let columns = product("prepared weights", &[results, 2])?;
    let columns = match tiles.depthwise {
        true => columns,
        false => Panels::new(tiles.isa, Left::Scalars, columns).columns(),
    };
    product(
        "prepared weights",
        &[geometry.groups(), tiles.frequencies(), sources, columns],
    )
}

/// Bytes of the tables of a pass by Fourier transforms: the places of taps and rows.
fn fourier_table_bytes(geometry: &ConvGeometry, tiles: &FourierTiles) -> Result<usize> {
    let taps = product(WHAT, &[geometry.patch.taps(), 2 * size_of::<usize>()])?;
    let offsets = match tiles.depthwise {
        true => 0,
        false => sum(WHAT, &[2 * tiles.block(), tiles.sources])?,
    };
    let twiddles: usize = tiles.lengths.iter().sum();
    sum(
        WHAT,
        &[
            taps,
            product(WHAT, &[offsets, size_of::<u32>()])?,
            product(WHAT, &[twiddles, 4 * size_of::<f64>()])?,
        ],
    )
}

/// Channels of a group on the side that a pass reads, and on that of its result.
fn channels(geometry: &ConvGeometry, backward: bool) -> (usize, usize) {
    let (outputs, inputs) = (geometry.outputs_per_group(), geometry.channels_per_group());
    if backward {
        (outputs, inputs)
    } else {
        (inputs, outputs)
    }
}

/// Bytes of the tables of Winograd's algorithm: places in the image, what stands outside it, offsets in V.
fn winograd_table_bytes(tiles: &WinogradTiles) -> Result<usize> {
    const OFFSET: usize = size_of::<u32>();
    let (phases, pixels) = (tiles.all_phases(), tiles.pixels());
    let [rows, columns] =
        [0, 1].map(|axis| product(WHAT, &[phases[axis], pixels[axis], size_of::<usize>()]));
    let border = product(WHAT, &[tiles.of_piece(), 2 * size_of::<f32>()])?;
    // Where the gradient of each tap comes from.
    let taps: usize = tiles.tiling.axes.iter().map(|axis| axis.kernel).product();
    sum(
        WHAT,
        &[
            rows?,
            columns?,
            border,
            taps * size_of::<usize>(),
            tiles.block() * OFFSET,
            tiles.tiling.pieces() * tiles.sources * OFFSET,
        ],
    )
}

/// Bytes of the tables of a native pass, offsets above all.
fn table_bytes(geometry: &ConvGeometry, pass: Pass, blocks: &Blocks) -> Result<usize> {
    const OFFSET: usize = size_of::<u32>();
    let (taps, positions) = (geometry.patch.taps(), blocks.positions());
    if pass == Pass::BackwardWeight {
        let (rows, of_positions) = if blocks.outer {
            let ones = blocks.isa.lanes() * size_of::<f32>();
            // Their places, every eighth of these, and a vector of ones for each.
            (geometry.outputs_per_group(), OFFSET + OFFSET / 8 + ones)
        } else {
            let channels = if blocks.grouped {
                geometry.channels_per_group()
            } else {
                blocks.channels
            };
            // Their places, and as many zeros.
            (product(WHAT, &[channels, taps])?, 2 * OFFSET)
        };
        let [rows, positions] = [
            product(WHAT, &[rows, OFFSET])?,
            product(WHAT, &[positions, of_positions])?,
        ];
        return sum(WHAT, &[rows, positions]);
    }
    let (sources, strides) = match pass {
        Pass::BackwardInput => (
            geometry.outputs_per_group(),
            geometry.patch.axes.map(|axis| axis.stride),
        ),
        _ => (geometry.channels_per_group(), [1; 3]),
    };
    let rows = match strides {
        [1, 1, 1] => positions,
        // Several phases go line by line.
        [planes, rows, _] => planes * rows * blocks.lengths[2],
    };
    let terms = product(WHAT, &[sources, taps, OFFSET])?;
    // The taps stand in the tables, in the form that the plan wants and in that of the weights.
    let lists = 3 * taps + PHASE * strides.iter().product::<usize>();
    let lists = product(WHAT, &[lists, size_of::<usize>()])?;
    sum(WHAT, &[terms, rows * OFFSET, lists])
}
