//! Winograd's algorithm: correlations of stride 1 or 2, tile by tile, with fewer multiplications.
//!
//! ```text
//! y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        d N × N pixels, g K × K weights, y R × R results, N = (R − 1) · stride + K
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
//! The two axes may differ: an axis of one tap has tiles of one result, and nothing is transformed along it. Where the
//! other one has many taps, R = 4 takes K = 4 of them, the points being ±3/8, ±7/8, ±7/4 and ∞: 7 products for 16, and
//! 1.5 times the error of direct sums; along one axis K = 3 has no more error than these.
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

/// `$run` with the points of both axes of `$tiling`, and of each axis N for `input`, N and R for `output`, N and K for
/// `taps`.
macro_rules! by_points {
    ($what:ident of $tiling:expr, $self:ident.$run:ident::<$type:ident>($($arguments:expr),*)) => {{
        macro_rules! with {
            ($down:ident $nd:literal $rd:literal $kd:literal, $across:ident $na:literal $ra:literal $ka:literal) => {
                by_points!(@$what $self.$run::<$type>($($arguments),*),
                    $down $nd $rd $kd, $across $na $ra $ka)
            };
        }
        match $tiling.axes.map(|axis| (axis.results, axis.taps, axis.stride)) {
            [(4, 3, 2), _] => with!(FourOfTwo 9 4 3, FourOfTwo 9 4 3),
            [(2, 3, 2), _] => with!(TwoOfTwo 5 2 3, TwoOfTwo 5 2 3),
            [(4, 3, _), (4, ..)] => with!(Four 6 4 3, Four 6 4 3),
            [(4, 3, _), _] => with!(Four 6 4 3, One 1 1 1),
            [(4, ..), _] => with!(FourOfFour 7 4 4, One 1 1 1),
            [(2, ..), (2, ..)] => with!(Two 4 2 3, Two 4 2 3),
            [(2, ..), _] => with!(Two 4 2 3, One 1 1 1),
            [_, (4, 3, _)] => with!(One 1 1 1, Four 6 4 3),
            [_, (4, ..)] => with!(One 1 1 1, FourOfFour 7 4 4),
            [_, _] => with!(One 1 1 1, Two 4 2 3),
        }
    }};
    (@input $self:ident.$run:ident::<$type:ident>($($arguments:expr),*),
     $down:ident $nd:literal $rd:literal $kd:literal, $across:ident $na:literal $ra:literal $ka:literal) => {
        $self.$run::<$type, $down, $across, $nd, $na>($($arguments),*)
    };
    (@output $self:ident.$run:ident::<$type:ident>($($arguments:expr),*),
     $down:ident $nd:literal $rd:literal $kd:literal, $across:ident $na:literal $ra:literal $ka:literal) => {
        $self.$run::<$type, $down, $across, $nd, $rd, $na, $ra>($($arguments),*)
    };
    (@taps $self:ident.$run:ident::<$type:ident>($($arguments:expr),*),
     $down:ident $nd:literal $rd:literal $kd:literal, $across:ident $na:literal $ra:literal $ka:literal) => {
        $self.$run::<$type, $down, $across, $nd, $kd, $na, $ka>($($arguments),*)
    };
}
use by_points;

pub(crate) use gradient::GradientRow;
pub(crate) use input::{OUTSIDE, TileRow};
pub(crate) use output::{Outcome, Sums};
pub(crate) use taps::{MOST_PIECES, WeightSums};
pub(crate) use weights::{KERNELS, transform_weights};

/// Most products of a tile.
pub(crate) const MOST_PRODUCTS: usize = 81;

/// Most taps of a tile.
pub(crate) const MOST_TAPS: usize = 9;

/// One axis of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileAxis {
    /// Results of a tile, R: 4 or 2, or 1 where the kernel has one tap.
    pub results: usize,
    /// Taps that they are made of, K: 3, or 4 of a longer kernel, or 1.
    pub taps: usize,
    /// From one result to the next, in pixels: 1 or 2.
    pub stride: usize,
    /// Taps of the whole kernel, which is cut into pieces of K.
    pub kernel: usize,
}

impl TileAxis {
    /// Where nothing is transformed.
    pub(crate) const ONE: Self = Self {
        results: 1,
        taps: 1,
        stride: 1,
        kernel: 1,
    };

    /// Pieces of the kernel.
    pub(crate) fn pieces(self) -> usize {
        self.kernel.div_ceil(self.taps)
    }

    /// Pixels that `results` neighbouring results are made of, by all taps.
    pub(crate) fn pixels(self, results: usize) -> usize {
        match results {
            0 => self.kernel - 1,
            several => (several - 1) * self.stride + self.kernel,
        }
    }

    /// Pixels from the first of the first of `tiles` tiles to the last of the last, of all pieces.
    pub(crate) fn window(self, tiles: usize) -> usize {
        (tiles - 1) * self.step() + self.side() + (self.pieces() - 1) * self.taps
    }

    /// Pixels of a tile, N, and as many products.
    pub(crate) fn side(self) -> usize {
        (self.results - 1) * self.stride + self.taps
    }

    /// From one tile to the next, in pixels.
    pub(crate) fn step(self) -> usize {
        self.results * self.stride
    }
}

/// The size of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tiling {
    /// Down and across.
    pub axes: [TileAxis; 2],
}

impl Tiling {
    /// Results of a tile, down and across.
    pub(crate) fn results(self) -> [usize; 2] {
        self.axes.map(|axis| axis.results)
    }

    /// Pixels of a tile, down and across.
    pub(crate) fn sides(self) -> [usize; 2] {
        self.axes.map(TileAxis::side)
    }

    /// Products of a tile for each pair of channels.
    pub(crate) fn products(self) -> usize {
        self.sides().iter().product()
    }

    /// Taps of a tile.
    pub(crate) fn taps(self) -> usize {
        self.axes.iter().map(|axis| axis.taps).product()
    }

    /// Pieces of a kernel.
    pub(crate) fn pieces(self) -> usize {
        self.axes.iter().map(|axis| axis.pieces()).product()
    }

    /// Where the first tap of a piece stands in the kernel, down and across.
    pub(crate) fn first_tap(self, piece: usize) -> [usize; 2] {
        let [down, across] = self.axes;
        [
            piece / across.pieces() * down.taps,
            piece % across.pieces() * across.taps,
        ]
    }

    /// Where a tap of a piece stands in the kernel, row by row; the last pieces have taps that the kernel has not.
    pub(crate) fn place(self, piece: usize, tap: usize) -> Option<usize> {
        let (first, [down, across]) = (self.first_tap(piece), self.axes);
        let [row, column] = [first[0] + tap / across.taps, first[1] + tap % across.taps];
        (row < down.kernel && column < across.kernel).then_some(row * across.kernel + column)
    }

    /// # Panics
    /// Where there are no such tiles: a bug in this crate.
    fn check(self) {
        let kinds = self.axes.map(|axis| (axis.results, axis.taps, axis.stride));
        const ONE: (usize, usize, usize) = (1, 1, 1);
        let there = match kinds {
            [(2 | 4, 3, 1 | 2), across] if across == kinds[0] => true,
            [ONE, (2 | 4, 3, 1) | (4, 4, 1)] | [(2 | 4, 3, 1) | (4, 4, 1), ONE] => true,
            _ => false,
        };
        assert!(there, "no tiles of {kinds:?}");
    }
}

/// How the matrices of a block of tiles lie: from one matrix to the next, from one tile to the next.
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
