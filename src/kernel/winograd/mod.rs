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
//! 1.6 times the error of direct sums; along one axis K = 3 has no more error than these.
//!
//! With stride 2 the taps 0 and 2 of an axis meet the even pixels, by a tile of two taps, and tap 1 the odd ones, each of
//! which belongs to one result: R = 4 takes 5 + 4 products an axis, 81 where 144 would be, R = 2 takes 3 + 2, 25 where 36
//! would be. Two taps need fewer points, ±1/2, ±5/4 and ∞, or ±1 and ∞, and round hardly more than direct sums. The
//! gradient of the input has the same two taps for one result in two, and one for those between: 8 results of 5 pixels by
//! 9 products an axis, or 4 of 3 by 5.
//!
//! In every transform the lanes are channels: a transform then is additions of whole vectors.

mod gradient;
mod input;
mod output;
mod points;
mod taps;
mod weights;

/// `$run` with the points of both axes of `$tiling`, and of each axis D and N for `input`, N and R for `output` and
/// `gradient`, N and K for `weights` and `taps`.
macro_rules! by_points {
    ($what:ident of $tiling:expr, $self:ident.$run:ident::<$type:ident>($($arguments:expr),*)) => {{
        macro_rules! with {
            ($down:ident $dd:literal $nd:literal $rd:literal $kd:literal,
             $across:ident $da:literal $na:literal $ra:literal $ka:literal) => {
                by_points!(@$what $self.$run::<$type>($($arguments),*),
                    $down $dd $nd $rd $kd, $across $da $na $ra $ka)
            };
        }
        match $tiling.axes.map(|axis| (axis.results, axis.taps, axis.stride, axis.up)) {
            [(8, .., true), _] => with!(FourUp 5 9 8 3, FourUp 5 9 8 3),
            [(.., true), _] => with!(TwoUp 3 5 4 3, TwoUp 3 5 4 3),
            [(4, 3, 2, _), _] => with!(FourOfTwo 9 9 4 3, FourOfTwo 9 9 4 3),
            [(2, 3, 2, _), _] => with!(TwoOfTwo 5 5 2 3, TwoOfTwo 5 5 2 3),
            [(4, 3, ..), (4, ..)] => with!(Four 6 6 4 3, Four 6 6 4 3),
            [(4, 3, ..), _] => with!(Four 6 6 4 3, One 1 1 1 1),
            [(4, ..), _] => with!(FourOfFour 7 7 4 4, One 1 1 1 1),
            [(2, ..), (2, ..)] => with!(Two 4 4 2 3, Two 4 4 2 3),
            [(2, ..), _] => with!(Two 4 4 2 3, One 1 1 1 1),
            [_, (4, 3, ..)] => with!(One 1 1 1 1, Four 6 6 4 3),
            [_, (4, ..)] => with!(One 1 1 1 1, FourOfFour 7 7 4 4),
            [_, _] => with!(One 1 1 1 1, Two 4 4 2 3),
        }
    }};
    (@gradient $self:ident.$run:ident::<$type:ident>($($arguments:expr),*), FourUp $($rest:tt)*) => {
        unreachable!("gradients of weights have other tiles")
    };
    (@gradient $self:ident.$run:ident::<$type:ident>($($arguments:expr),*), TwoUp $($rest:tt)*) => {
        unreachable!("gradients of weights have other tiles")
    };
    (@taps $self:ident.$run:ident::<$type:ident>($($arguments:expr),*), FourUp $($rest:tt)*) => {
        unreachable!("gradients of weights have other tiles")
    };
    (@taps $self:ident.$run:ident::<$type:ident>($($arguments:expr),*), TwoUp $($rest:tt)*) => {
        unreachable!("gradients of weights have other tiles")
    };
    (@output $($call:tt)*) => { by_points!(@results $($call)*) };
    (@gradient $($call:tt)*) => { by_points!(@results $($call)*) };
    (@weights $($call:tt)*) => { by_points!(@kernels $($call)*) };
    (@taps $($call:tt)*) => { by_points!(@kernels $($call)*) };
    (@input $self:ident.$run:ident::<$type:ident>($($arguments:expr),*),
     $down:ident $dd:literal $nd:literal $rd:literal $kd:literal,
     $across:ident $da:literal $na:literal $ra:literal $ka:literal) => {
        $self.$run::<$type, $down, $across, $dd, $nd, $da, $na>($($arguments),*)
    };
    (@results $self:ident.$run:ident::<$type:ident>($($arguments:expr),*),
     $down:ident $dd:literal $nd:literal $rd:literal $kd:literal,
     $across:ident $da:literal $na:literal $ra:literal $ka:literal) => {
        $self.$run::<$type, $down, $across, $nd, $rd, $na, $ra>($($arguments),*)
    };
    (@kernels $self:ident.$run:ident::<$type:ident>($($arguments:expr),*),
     $down:ident $dd:literal $nd:literal $rd:literal $kd:literal,
     $across:ident $da:literal $na:literal $ra:literal $ka:literal) => {
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
    /// Whether two results belong to each pixel instead, as in the gradient of the input of stride 2: then R is 8 or 4, and
    /// results begin with one that the middle tap alone is for.
    pub up: bool,
    /// Taps of the whole kernel, which is cut into pieces of K.
    pub kernel: usize,
}

impl TileAxis {
    /// Where nothing is transformed.
    pub(crate) const ONE: Self = Self {
        results: 1,
        taps: 1,
        stride: 1,
        up: false,
        kernel: 1,
    };

    /// Pieces of the kernel.
    pub(crate) fn pieces(self) -> usize {
        self.kernel.div_ceil(self.taps)
    }

    /// The pixel, from the first that result 0 is made of, that the first of result `result` is.
    pub(crate) fn pixel(self, result: usize) -> usize {
        match self.up {
            true => result / 2,
            false => result * self.stride,
        }
    }

    /// Pixels that `results` neighbouring results are made of, by all taps.
    pub(crate) fn pixels(self, results: usize) -> usize {
        match results {
            0 => 0,
            several if self.up => several / 2 + 1,
            several => (several - 1) * self.stride + self.kernel,
        }
    }

    /// Pixels from the first of the first of `tiles` tiles to the last of the last, of all pieces.
    pub(crate) fn window(self, tiles: usize) -> usize {
        (tiles - 1) * self.step() + self.side() + (self.pieces() - 1) * self.taps
    }

    /// Pixels of a tile.
    pub(crate) fn side(self) -> usize {
        match self.up {
            true => self.results / 2 + 1,
            false => (self.results - 1) * self.stride + self.taps,
        }
    }

    /// Products of a tile, N.
    pub(crate) fn products(self) -> usize {
        match self.up {
            true => self.side() + self.results / 2,
            false => self.side(),
        }
    }

    /// From one tile to the next, in pixels.
    pub(crate) fn step(self) -> usize {
        self.pixel(self.results)
    }

    /// What tiles of this kind are called by: 4, 2, or 1 where nothing is transformed.
    pub(crate) fn size(self) -> usize {
        match self.up {
            true => self.results / 2,
            false => self.results,
        }
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
        self.axes.iter().map(|axis| axis.products()).product()
    }

    /// 4 or 2.
    pub(crate) fn size(self) -> usize {
        self.axes.map(TileAxis::size).into_iter().max().unwrap_or(1)
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
        let kinds = self
            .axes
            .map(|axis| (axis.results, axis.taps, axis.stride, axis.up));
        const ONE: (usize, usize, usize, bool) = (1, 1, 1, false);
        let there = match kinds {
            [(4 | 8, 3, 1, true) | (2 | 4, 3, 1 | 2, false), across] if across == kinds[0] => true,
            [ONE, (2 | 4, 3, 1, false) | (4, 4, 1, false)]
            | [(2 | 4, 3, 1, false) | (4, 4, 1, false), ONE] => true,
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
