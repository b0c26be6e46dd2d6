//! Winograd's algorithm: correlations of stride 1 or 2, tile by tile, with fewer multiplications.
//!
//! ```text
//! y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        d N × N pixels, g K × K weights, y R × R results, N = (R − 1) · stride + K
//!
//! summed over channels, the N² products are N² matrix products of tiles × channels by channels × results:
//!     V[f][tile][channel]  = Bᵀ d B            input.rs
//!     M[f][tile][result]   = V[f] · U[f]       product/; U = G g Gᵀ of all weights, weights.rs
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
mod tiling;
mod weights;

/// `$run` with the points of both axes of `$tiling`, and of each axis D and N for `input`, N and R for `output` and
/// `gradient`, N and K for `weights` and `taps`.
macro_rules! by_points {
    ($what:ident of $tiling:expr, $self:ident.$run:ident::<$type:ident>($($arguments:expr),*)) => {{
        macro_rules! with {
            ($down:ident $dd:literal $nd:literal $rd:literal $kd:literal,
             $across:ident $da:literal $na:literal $ra:literal $ka:literal) => {
                by_points!(@$what [$self.$run $type ($($arguments),*)]
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
    // The gradient of the weights has no such tiles.
    (@gradient $call:tt FourUp $($rest:tt)*) => { by_points!(@none) };
    (@gradient $call:tt TwoUp $($rest:tt)*) => { by_points!(@none) };
    (@taps $call:tt FourUp $($rest:tt)*) => { by_points!(@none) };
    (@taps $call:tt TwoUp $($rest:tt)*) => { by_points!(@none) };
    (@none) => { unreachable!("tiles of the gradient of the input") };
    (@output $($rest:tt)*) => { by_points!(@results $($rest)*) };
    (@gradient $($rest:tt)*) => { by_points!(@results $($rest)*) };
    (@weights $($rest:tt)*) => { by_points!(@kernels $($rest)*) };
    (@taps $($rest:tt)*) => { by_points!(@kernels $($rest)*) };
    (@input [$self:ident.$run:ident $type:ident $arguments:tt]
     $down:ident $dd:literal $nd:literal $rd:literal $kd:literal,
     $across:ident $da:literal $na:literal $ra:literal $ka:literal) => {
        by_points!(@call [$self.$run $arguments] $type, $down, $across, $dd, $nd, $da, $na)
    };
    (@results [$self:ident.$run:ident $type:ident $arguments:tt]
     $down:ident $dd:literal $nd:literal $rd:literal $kd:literal,
     $across:ident $da:literal $na:literal $ra:literal $ka:literal) => {
        by_points!(@call [$self.$run $arguments] $type, $down, $across, $nd, $rd, $na, $ra)
    };
    (@kernels [$self:ident.$run:ident $type:ident $arguments:tt]
     $down:ident $dd:literal $nd:literal $rd:literal $kd:literal,
     $across:ident $da:literal $na:literal $ra:literal $ka:literal) => {
        by_points!(@call [$self.$run $arguments] $type, $down, $across, $nd, $kd, $na, $ka)
    };
    (@call [$self:ident.$run:ident ($($arguments:expr),*)]
     $type:ident, $down:ident, $across:ident, $($lengths:literal),*) => {
        $self.$run::<$type, super::points::$down, super::points::$across, $($lengths),*>(
            $($arguments),*
        )
    };
}
use by_points;

use std::mem::MaybeUninit;

pub(crate) use gradient::GradientRow;
pub(crate) use input::{OUTSIDE, TileRow};
pub(crate) use output::{Outcome, Sums};
pub(crate) use taps::{MOST_PIECES, WeightSums};
pub(crate) use tiling::{MOST_PRODUCTS, MOST_TILE_TAPS};
pub use tiling::{TileAxis, Tiling};
pub(crate) use weights::{KERNELS, transform_weights};

/// N things that are written one by one and then read: LLVM fills an array of 81 vectors with zeros before they are.
struct Unwritten<T, const N: usize>([MaybeUninit<T>; N]);

impl<T: Copy, const N: usize> Unwritten<T, N> {
    #[inline(always)]
    fn new() -> Self {
        Self([MaybeUninit::uninit(); N])
    }

    #[inline(always)]
    fn write(&mut self, index: usize, thing: T) {
        self.0[index].write(thing);
    }

    /// What a loop over all of them has written.
    ///
    /// # Safety
    /// All have been written.
    #[inline(always)]
    unsafe fn written(&self) -> &[T; N] {
        // SAFETY: the caller's; the layouts are the same.
        unsafe { &*(&raw const self.0).cast() }
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
