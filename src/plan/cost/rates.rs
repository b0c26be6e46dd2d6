//! What the model takes for the speed of a machine.
//!
//! Of the products, whose speed is that of the multiply-add units. What moves numbers (transforms, folding) took the same
//! time on both machines, and stands beside the formulas.

use crate::kernel::Isa;

/// Bytes of a third-level cache.
pub(super) const THIRD_CACHE: f64 = 33e6;

/// GFLOP/s of one thread.
pub(super) struct Rates {
    /// Dense native products, channels last and channels first.
    pub(super) dense: [f64; 2],
    /// The same where panels are one vector wide: every multiply-add needs a number of its own.
    pub(super) one_vector: [f64; 2],
    /// Terms of a sum that take as long as what is done once for each of them: it is begun, finished, and written.
    pub(super) exit: [f64; 2],
    pub(super) exit_one_vector: [f64; 2],
    /// Gradients of the weights, one vector wide and several.
    pub(super) weight: [f64; 2],
    /// Those whose lanes are neighbouring pixels, for each channel of the result and at most.
    pub(super) few_columns: [f64; 2],
    /// Grouped native products, channels last and channels first.
    pub(super) grouped: [f64; 2],
    /// Those that run along lines: groups of four and eight channels, channels last.
    pub(super) lines: f64,
    /// An engine's products on unfolded tiles, where no side of them is short; the same for gradients of the weights,
    /// which are cut where sums should be short.
    pub(super) engine: f64,
    pub(super) engine_weight: f64,
    /// The products of Winograd's algorithm, and those of spectra.
    pub(super) winograd: f64,
    pub(super) fourier: f64,
    /// GB/s at which the transformed weights of Winograd's algorithm are read, once a block: where all of them stay in the
    /// third-level cache, where they are too many for it, and where other weights have been read since the last pass.
    pub(super) winograd_weights: [f64; 3],
    /// The same for the spectra of weights, from the third-level cache and from beyond it.
    pub(super) fourier_weights: [f64; 2],
}

/// Units of 512 bits: an Intel machine whose multiply-adds reach 175 GFLOP/s. Layers of 56 × 56 with 64 channels on one
/// side and 1 to 16 on the other, or 4 to 12 a group; for the dense ones and Winograd's algorithm 26 layers of 3 × 3,
/// 7 to 224 pixels wide with 1 to 512 channels, fitted. Weights were near in all of them, and are taken to be as quick from
/// memory. `lines` is from a layer with groups of four, which ran at 111; groups of eight were not measured there.
const WIDE: Rates = Rates {
    dense: [162.0, 150.0],
    one_vector: [113.0, 94.0],
    exit: [10.0, 30.0],
    exit_one_vector: [8.0, 8.0],
    weight: [95.0, 135.0],
    few_columns: [40.0, 140.0],
    grouped: [50.0, 50.0],
    lines: 105.0,
    engine: 100.0,
    engine_weight: 75.0,
    winograd: 160.0,
    fourier: 140.0,
    winograd_weights: [45.0, 45.0, 45.0],
    fourier_weights: [40.0, 14.0],
};

/// Units of 256 bits: Zen 4, 118 GFLOP/s. The first five are medians of the 295 layers of docs/benchmarks.md (section
/// "Choices"), those of Winograd's algorithm a fit to 260 of them, its weights from memory what GoogLeNet and ResNet-50
/// with a batch of one show. The others are set so that the quickest recipe is taken on these layers and on 45 of 5 × 5
/// to 31 × 31; the first of `few_columns` so low that one channel with 11 × 11 taps and more goes to `fft`, which takes
/// 0.5 to 0.9 of the time.
const NARROW: Rates = Rates {
    dense: [115.0, 111.0],
    one_vector: [112.0, 110.0],
    exit: [4.0, 24.0],
    exit_one_vector: [4.0, 50.0],
    weight: [80.0, 106.0],
    few_columns: [34.0, 98.0],
    grouped: [60.0, 40.0],
    lines: 90.0,
    engine: 82.0,
    engine_weight: 75.0,
    winograd: 118.0,
    fourier: 100.0,
    winograd_weights: [115.0, 42.0, 28.0],
    fourier_weights: [100.0, 40.0],
};

impl Rates {
    /// Those of this machine with the vectors of `isa`.
    pub(super) fn of(isa: Isa) -> &'static Self {
        match isa.is_narrow() {
            true => &NARROW,
            false => &WIDE,
        }
    }
}
