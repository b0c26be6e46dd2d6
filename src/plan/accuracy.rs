//! How near results have to be to the sums that define them.

use std::fmt;
use std::str::FromStr;

/// Which recipes a plan may take by itself.
///
/// No recipe is exact in f32: sums are rounded, and their order differs from recipe to recipe. But Winograd's algorithm
/// multiplies sums and differences of pixels by sums and differences of weights. That needs 2.25 to 4 times fewer
/// multiplications for 3 × 3 kernels, 1.44 to 1.8 times with stride 2, up to 2.3 times for kernels of one row or column
/// and 2.8 times for larger ones, and changes three things:
///
/// - Rounding. Against sums in f64, in tiles of 4 × 4 the root mean square of the errors is 1.5 to 2.5 times that of
///   [`RecipeKind::Direct`](super::RecipeKind::Direct) and the largest error 1 to 4 times (without fused multiply-adds up
///   to 2.8 and 4.5 times), about 6·10⁻⁷ of the root mean square of the results; with stride 2 they are 1 to 1.3 times as
///   large, along one row or column 1 to 1.7 times. In tiles of 2 × 2 they are about those of `Direct` or smaller. A plan
///   takes 4 × 4 only where that holds: not with more than 2048 channels of the source (200 of 5 × 5 taps, 88 of
///   7 × 7), nor for gradients of the weights that are sums over fewer than 400 positions. docs/benchmarks.md has every
///   layer.
/// - Range. An error is relative to the largest numbers that meet in a tile, 6 × 6 pixels by all channels, no longer to
///   those that meet in one result: where pixels of 10¹⁵ stand beside pixels of 10⁻¹⁵, results made of the small ones
///   alone are lost. Pixels above 10³⁷ and gradients above 5·10³⁶ may overflow.
/// - What is not finite. An infinite or NaN pixel or gradient makes all results of the tiles that read it NaN, up to 6
///   pixels further away than its own results (times the dilation), and an infinite or NaN weight all results of its
///   channel. In the gradient of the weights it makes all taps of its channel NaN.
///
/// Fourier transforms (feature `fft`, large kernels, forward and backward input) share range and infinities with it: a tile
/// is up to some hundred pixels wide. The root mean square of their errors is 0.6 to 1.4 times that of `Direct`, see
/// docs/benchmarks.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Accuracy {
    /// Sums of products of one pixel and one weight: never Winograd's algorithm, never Fourier transforms.
    Exact,
    /// Winograd's algorithm and Fourier transforms too, where they are quicker.
    #[default]
    Fast,
}

impl Accuracy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Exact, Self::Fast];

    /// The name, as [`FromStr`] reads it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        }
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Accuracy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| format!("unknown accuracy `{name}`: exact or fast"))
    }
}
