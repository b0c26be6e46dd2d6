//! Why a plan does what it does, for people.

use std::fmt;

use super::{Decision, FourierTiles, Pass, Patches, Recipe, RecipeKind, WinogradTiles};
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::Tiling;

/// What a plan will do in one pass: printable, and readable by programs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The pass.
    pub pass: Pass,
    /// The recipe with its numbers.
    pub recipe: Recipe,
    /// Why this recipe.
    pub why: String,
    /// Why the recipe that was asked for cannot do this pass, and another does it.
    pub refused: Option<&'static str>,
    /// The engine that multiplies, if one does.
    pub engine: Option<&'static str>,
    /// The product of one group, `(m, n, k)`.
    pub product: (usize, usize, usize),
    /// Bytes of scratch a thread.
    pub scratch_bytes: usize,
    /// Bytes of scratch that all threads share: the weight gradient, where its order must be restored.
    pub shared_bytes: usize,
    /// Bytes of the whole patch matrix, which is never built.
    pub patch_matrix_bytes: u128,
    /// Floating-point operations of the direct algorithm.
    pub operations: u128,
    /// Bytes of input, weight and output, each counted once.
    pub bytes_moved: u128,
}

impl Decision {
    /// The explanation of one pass.
    pub(crate) fn explain(
        &self,
        geometry: &ConvGeometry,
        pass: Pass,
        engine: &'static str,
    ) -> Explanation {
        let recipe = self.recipe(pass).clone();
        let bytes = self.element_bytes as u128;
        let (o, k) = (geometry.outputs_per_group(), geometry.patch_len());
        let columns = geometry.positions().saturating_mul(geometry.batch());
        let elements = geometry.input_len() as u128
            + geometry.weight_len() as u128
            + geometry.output_len() as u128;
        Explanation {
            pass,
            why: why(geometry, pass, &recipe, &self.reasons[pass as usize])
                + &in_shares(pass, self.shares),
            refused: self.refused[pass as usize],
            engine: recipe.kind().uses_engine().then_some(engine),
            product: match pass {
                Pass::Forward => (o, columns, k),
                Pass::BackwardInput => (k, columns, o),
                Pass::BackwardWeight => (o, k, columns),
            },
            scratch_bytes: self.lane_len(pass) * self.element_bytes,
            shared_bytes: self.shared_len(pass) * self.element_bytes,
            patch_matrix_bytes: (k as u128 * geometry.groups as u128)
                .saturating_mul(columns as u128)
                .saturating_mul(bytes),
            operations: geometry.operations(),
            bytes_moved: elements * bytes,
            recipe,
        }
    }
}

fn why(geometry: &ConvGeometry, pass: Pass, recipe: &Recipe, reason: &str) -> String {
    let how = match recipe {
        Recipe::Naive => "the reference loops".to_owned(),
        Recipe::Unfold(tiles) => {
            let patches = match tiles.patches {
                Patches::Image => {
                    "one tap, stride 1 and no padding make the image its own patch matrix"
                        .to_owned()
                }
                Patches::Tile => format!(
                    "patches are unfolded {} × {} at a time",
                    tiles.rows, tiles.columns
                ),
            };
            let shared = match geometry.layout() {
                Layout::ChannelsFirst if tiles.images > 1 => {
                    format!("; {} small images share a product", tiles.images)
                }
                _ => String::new(),
            };
            format!("{patches}{shared}")
        }
        Recipe::Direct(blocks) | Recipe::Pointwise(blocks) | Recipe::Grouped(blocks) => {
            let [planes, rows, columns] = blocks.lengths;
            let source = if blocks.packed {
                "through copies of what they read, where padding or layout need one"
            } else {
                "from the source itself"
            };
            // See `conv/native/exact.rs`.
            let exact = match pass {
                Pass::BackwardInput => "; with infinite or NaN weights element by element, slowly",
                Pass::Forward | Pass::BackwardWeight => "",
            };
            format!(
                "blocks of {} × {planes} × {rows} × {columns} positions {source}, {}{exact}",
                blocks.images, blocks.isa
            )
        }
        Recipe::Winograd(tiles) => {
            format!(
                "{}; blocks of {}, {}",
                winograd(tiles.tiling, pass),
                block(tiles),
                tiles.isa
            )
        }
        Recipe::WinogradWeight(parts) => {
            let (tiles, outputs) = (&parts.tiles, parts.outputs);
            format!(
                "{}; parts of {outputs} outputs × {} channels, summed over blocks of {}, {}",
                winograd(tiles.tiling, pass),
                tiles.sources,
                block(tiles),
                tiles.isa
            )
        }
        Recipe::Fft(tiles) => fourier(tiles, geometry.rank()),
    };
    format!("{reason}: {how}")
}

/// The transforms of a block.
fn fourier(tiles: &FourierTiles, rank: usize) -> String {
    let by = |lengths: [usize; 3]| {
        let lengths = lengths[3 - rank..].iter().map(usize::to_string);
        lengths.collect::<Vec<_>>().join(" × ")
    };
    let at_once = match tiles.depthwise {
        true => "each channel by itself".to_owned(),
        false => format!("{} tiles share the reading of the weights", tiles.block()),
    };
    format!(
        "Fourier transforms of {} pixels for {} results each, {at_once}, {}",
        by(tiles.lengths),
        by(tiles.results),
        tiles.isa
    )
}

/// How the batch is cut for the gradient of the weights.
fn in_shares(pass: Pass, shares: usize) -> String {
    match (pass, shares) {
        (Pass::BackwardWeight, 2..) => format!("; {shares} shares of the batch, summed apart"),
        _ => String::new(),
    }
}

/// The tiles of a block.
fn block(tiles: &WinogradTiles) -> String {
    let ([down, across], [rows, columns]) = (tiles.tiles, tiles.phases);
    let phases = match tiles.dilation {
        [1, 1] => String::new(),
        _ => format!(" in each of {rows} × {columns} phases"),
    };
    format!("{} × {down} × {across} tiles{phases}", tiles.images)
}

/// The algorithm by its usual name and its rounding, measured on layers of many channels (docs/benchmarks.md).
fn winograd(tiling: Tiling, pass: Pass) -> String {
    let axes = tiling.axes;
    let line = axes.iter().any(|axis| axis.kernel == 1);
    let large = tiling.size() == 4;
    let four = axes.iter().any(|axis| axis.taps == 4);
    let strided = axes.iter().any(|axis| axis.stride > 1 || axis.up);
    let times = match (large, pass) {
        (false, _) if strided => "0.6",
        (false, _) => "0.8",
        _ if four => "1.6",
        _ if line => "1.0",
        _ if strided => "1.1",
        (_, Pass::BackwardWeight) => "1.8",
        _ => "2.3",
    };
    let by = |lengths: [usize; 2]| format!("{}×{}", lengths[0], lengths[1]);
    let (results, taps) = match pass {
        Pass::BackwardWeight => (axes.map(|axis| axis.taps), axes.map(|axis| axis.results)),
        _ => (axes.map(|axis| axis.size()), axes.map(|axis| axis.taps)),
    };
    let strided = if strided { " with stride 2" } else { "" };
    let pieces = match tiling.pieces() {
        1 => String::new(),
        several => format!(" of each of {several} pieces of the kernel"),
    };
    format!(
        "Winograd's algorithm F({}, {}){strided}{pieces}, errors about {times} times those of direct",
        by(results),
        by(taps)
    )
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, n, k) = self.product;
        write!(formatter, "{}: {}", self.pass, self.recipe.kind())?;
        if let Some(engine) = self.engine {
            write!(formatter, " on {engine}")?;
        }
        writeln!(formatter, " ({})", self.why)?;
        writeln!(formatter, "  product     m {m} n {n} k {k} a group")?;
        if self.recipe.kind() != RecipeKind::Naive {
            writeln!(
                formatter,
                "  scratch     {} bytes a thread and {} shared; the whole patch matrix would be {} bytes",
                self.scratch_bytes, self.shared_bytes, self.patch_matrix_bytes
            )?;
        }
        writeln!(formatter, "  operations  {}", self.operations)?;
        write!(
            formatter,
            "  memory      {} bytes of input, weight and output",
            self.bytes_moved
        )
    }
}
