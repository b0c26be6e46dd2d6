//! Winograd's algorithm: 3 × 3 correlations of stride 1 or 2, tile by tile, with fewer multiplications.
//!
//! ```text
//! y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        d N × N pixels, g 3 × 3 weights, y R × R results, N = (R − 1) · stride + 3
//!
//! summed over channels, the N² products are N² matrix products of tiles × channels by channels × results:
//!     V[f][tile][channel]  = Bᵀ d B            input.rs
//!     M[f][tile][result]   = V[f] · U[f]       product.rs; U = G g Gᵀ of all weights, weights.rs
//!     y                    = Aᵀ m A            output.rs, and bias, residual, activation
//! ```
//!
//! Transposed, for the gradient of the weights, dy being that of a tile's results:
//!     dg = Gᵀ [ Σ over tiles (Bᵀ d B) ⊙ (A dy Aᵀ) ] G                     gradient.rs, taps.rs
//!
//! A correlation is a product of polynomials modulo one of degree N, read backwards: evaluate both in N points,
//! multiply there, interpolate. The matrices hold the powers of the points. R = 4 takes 0, ±5/8, ±3/2 and ∞, for 36
//! products where 144 would be; of the symmetric points with short binary fractions they round least, with half the
//! error of 0, ±1, ±2. R = 2 takes 0, ±1 and ∞, for 16 where 36 would be.
//!
//! With stride 2 the taps 0 and 2 of an axis meet the even pixels, by a tile of two taps, and tap 1 the odd ones, each of
//! which belongs to one result: R = 4 takes 5 + 4 products an axis, 81 where 144 would be, R = 2 takes 3 + 2, 25 where 36
//! would be. Two taps need fewer points, ±1/2, ±5/4 and ∞, or ±1 and ∞, and round hardly more than direct sums.
//!
//! In every transform the lanes are channels: a transform then is additions of whole vectors.

mod gradient;
mod input;
mod output;
mod points;
mod taps;
mod weights;

/// `$run` with the points of `$tiling`, its N and its R.
macro_rules! by_points {
    ($tiling:expr, $self:ident.$run:ident::<$simd:ident>($($arguments:expr),*)) => {
        match ($tiling.results, $tiling.stride) {
            (4, 1) => $self.$run::<$simd, Four, 6, 4>($($arguments),*),
            (4, _) => $self.$run::<$simd, FourOfTwo, 9, 4>($($arguments),*),
            (_, 1) => $self.$run::<$simd, Two, 4, 2>($($arguments),*),
            (_, _) => $self.$run::<$simd, TwoOfTwo, 5, 2>($($arguments),*),
        }
    };
}
use by_points;

pub(crate) use gradient::GradientRow;
pub(crate) use input::{OUTSIDE, TileRow};
pub(crate) use output::{Outcome, Sums};
pub(crate) use taps::WeightSums;
pub(crate) use weights::{KERNELS, transform_weights};

/// Taps of the kernel on each axis.
pub(crate) const TAPS: usize = 3;

/// Most products of a tile.
pub(crate) const MOST_PRODUCTS: usize = 81;

/// The size of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tiling {
    /// Results of a tile on each axis, R: 4 or 2.
    pub results: usize,
    /// From one result to the next, in pixels: 1 or 2.
    pub stride: usize,
}

impl Tiling {
    /// Pixels that `results` neighbouring results are made of, on one axis.
    pub(crate) fn pixels(self, results: usize) -> usize {
        match results {
            0 => TAPS - 1,
            several => (several - 1) * self.stride + TAPS,
        }
    }

    /// Pixels of a tile on each axis, N, and as many products.
    pub(crate) fn side(self) -> usize {
        self.pixels(self.results)
    }

    /// Products of a tile for each pair of channels.
    pub(crate) fn products(self) -> usize {
        self.side().pow(2)
    }

    /// # Panics
    /// Where there are no such tiles: a bug in this crate.
    fn check(self) {
        let Self { results, stride } = self;
        assert!(
            (results == 2 || results == 4) && (stride == 1 || stride == 2),
            "tiles of {results} with stride {stride}"
        );
    }
}

/// How the N² matrices of a block of tiles lie: from one matrix to the next, from one tile to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spectrum {
    pub(crate) step: usize,
    pub(crate) pitch: usize,
}

impl Spectrum {
    /// The end of what `tiles` tiles of `width` numbers touch, from the first tile of the first matrix on.
    fn end(&self, products: usize, tiles: usize, width: usize) -> usize {
        (products - 1) * self.step + (tiles - 1) * self.pitch + width
    }
}
