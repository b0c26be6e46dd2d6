//! What the model takes for the speed of a machine.
//!
//! Of the products, whose speed is that of the multiply-add units, and of what moves the numbers of Winograd's algorithm.
//! Copies and folding took about the same time on both machines, and stand beside the formulas.

use crate::kernel::Isa;

/// Bytes of a third-level cache.
pub(super) const THIRD_CACHE: f64 = 33e6;

/// Products of a tile of F4 with stride 1; with stride 2 they are 81.
const SMALL: usize = 36;

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
    /// The products of Winograd's algorithm, those of its gradients of the weights, and those of spectra.
    pub(super) winograd: f64,
    pub(super) winograd_weight: f64,
    pub(super) fourier: f64,
    /// Nanoseconds to transform one number of a tile of pixels and of one of results, channels last and channels first,
    /// the end of a product among them, and how many times that in tiles of more than [`SMALL`] products.
    transform_in: [f64; 2],
    transform_out: [f64; 2],
    transform_large: f64,
    /// Nanoseconds to add a block to one sum of the gradient of the weights.
    pub(super) sum_joined: f64,
    /// GB/s at which the transformed weights of Winograd's algorithm are read, once a block: where all of them stay in the
    /// third-level cache, where they are too many for it, and where other weights have been read since the last pass.
    pub(super) winograd_weights: [f64; 3],
    /// The same for the spectra of weights, from the third-level cache and from beyond it.
    pub(super) fourier_weights: [f64; 2],
}

/// Units of 512 bits: an Intel machine whose multiply-adds reach 217 GFLOP/s. Fitted to the layers of docs/benchmarks.md
/// (section "Choices"), batch 1, one thread: dense products and Winograd's algorithm are within a tenth on most of them.
/// Those of groups, of few columns and of spectra are from single layers of 56 × 56 with 1 to 64 channels. Weights were
/// near in all of them, and are taken to be as quick from memory.
const WIDE: Rates = Rates {
    dense: [172.0, 150.0],
    one_vector: [113.0, 94.0],
    exit: [8.0, 26.0],
    exit_one_vector: [8.0, 8.0],
    weight: [95.0, 140.0],
    few_columns: [40.0, 140.0],
    grouped: [50.0, 50.0],
    lines: 105.0,
    engine: 100.0,
    engine_weight: 75.0,
    winograd: 185.0,
    winograd_weight: 150.0,
    fourier: 140.0,
    transform_in: [0.2, 0.4],
    transform_out: [0.1, 0.17],
    transform_large: 2.5,
    sum_joined: 0.17,
    winograd_weights: [42.0, 42.0, 42.0],
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
    winograd_weight: 118.0,
    fourier: 100.0,
    transform_in: [0.25, 0.35],
    transform_out: [0.2, 0.28],
    transform_large: 1.0,
    sum_joined: 0.1,
    winograd_weights: [115.0, 42.0, 28.0],
    fourier_weights: [100.0, 40.0],
};

impl Rates {
    /// Nanoseconds to transform one number of a tile of so many products, of pixels and of results.
    pub(super) fn transform(&self, products: usize, channels_first: bool) -> [f64; 2] {
        let layout = usize::from(channels_first);
        let times = match products > SMALL {
            true => self.transform_large,
            false => 1.0,
        };
        [self.transform_in, self.transform_out].map(|each| each[layout] * times)
    }

    /// Those of this machine with the vectors of `isa`.
    pub(super) fn of(isa: Isa) -> &'static Self {
        match isa.is_narrow() {
            true => &NARROW,
            false => &WIDE,
        }
    }
}
