//! Winograd's algorithm: 3 × 3 correlations of stride 1, tile by tile, with fewer multiplications.
//!
//! ```text
//! y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        d N × N pixels, g 3 × 3 weights, y R × R results, N = R + 2
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
//! In every transform the lanes are channels: a transform then is additions of whole vectors.

mod gradient;
mod input;
mod output;
mod points;
mod taps;
mod weights;

pub(crate) use gradient::GradientRow;
pub(crate) use input::{OUTSIDE, TileRow};
pub(crate) use output::{Outcome, Sums};
pub(crate) use taps::WeightSums;
pub(crate) use weights::{KERNELS, transform_weights};

/// Taps of the kernel on each axis.
pub(crate) const TAPS: usize = 3;

/// Most products of a tile.
pub(crate) const MOST_PRODUCTS: usize = 36;

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
