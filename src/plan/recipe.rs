//! The recipes: values that can be printed and compared before anything runs.

use std::fmt;
use std::str::FromStr;

#[cfg(doc)]
use super::Accuracy;
use super::{Blocks, FourierTiles, WinogradParts, WinogradTiles};
use crate::kernel::Isa;

/// A way to compute a convolution, without its numbers.
///
/// All but `Naive`, `Unfold` and `Fft` are native recipes: f32 alone, no engine, no patch matrix. Each pass of a plan has
/// its own recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecipeKind {
    /// The reference loops.
    Naive,
    /// Patches unfolded tile by tile, an engine's product, and fold: every geometry, f32 and f64.
    Unfold,
    /// Native products that read patches out of the image; the lanes of a vector are channels of the result.
    Direct,
    /// The name of `Direct` where the kernel has one tap and patches are pixels: the same blocks and the same bits. Plans
    /// choose it there, so that explanations and measurements tell such layers apart; `Direct` takes them as well.
    Pointwise,
    /// Native products whose lanes are the channels of several groups: depthwise and small groups.
    Grouped,
    /// Winograd's algorithm in tiles of 2 × 2 results: for 3 × 3 kernels of stride 1 16 products for 36, and less
    /// rounding than `Direct`; of stride 2 25 for 36. Kernels of one row or column have tiles of one, larger ones are cut
    /// into pieces of 3 × 3 taps, at most nine.
    WinogradF2,
    /// The same in tiles of 4 × 4: 36 products for 144, and about twice the rounding of `Direct`; with stride 2 81 for
    /// 144, and hardly more. For one row or column 6 for 12, and no more rounding, or 7 for 16 in pieces of four taps,
    /// and 1.6 times as much.
    WinogradF4,
    /// Fourier transforms of overlapping tiles, for large kernels of stride 1, in f32 and f64 (feature `fft`); no gradient
    /// of the weights.
    Fft,
}

impl RecipeKind {
    /// All recipes.
    pub const ALL: [Self; 8] = [
        Self::Naive,
        Self::Unfold,
        Self::Direct,
        Self::Pointwise,
        Self::Grouped,
        Self::WinogradF2,
        Self::WinogradF4,
        Self::Fft,
    ];

    /// Whether results are sums of products of one pixel and one weight, see [`Accuracy`].
    pub fn is_exact(&self) -> bool {
        !matches!(self, Self::WinogradF2 | Self::WinogradF4 | Self::Fft)
    }

    /// The name, as [`FromStr`] reads it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Unfold => "unfold",
            Self::Direct => "direct",
            Self::Pointwise => "pointwise",
            Self::Grouped => "grouped",
            Self::WinogradF2 => "winograd-f2",
            Self::WinogradF4 => "winograd-f4",
            Self::Fft => "fft",
        }
    }

    /// Whether an engine takes part.
    pub fn uses_engine(&self) -> bool {
        *self == Self::Unfold
    }
}

impl fmt::Display for RecipeKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for RecipeKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|recipe| recipe.name() == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(Self::name).collect();
            format!("unknown recipe `{name}`: {}", names.join(", "))
        })
    }
}

/// A recipe with its numbers, for one pass of one geometry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// The reference loops.
    Naive,
    /// Patches unfolded tile by tile, an engine's product, and fold.
    Unfold(Tiles),
    /// Native products that read patches out of the image.
    Direct(Blocks),
    /// The same under its name for kernels of one tap.
    Pointwise(Blocks),
    /// Native products whose lanes are the channels of several groups.
    Grouped(Blocks),
    /// Winograd's algorithm, forward and backward input.
    Winograd(WinogradTiles),
    /// The same for the gradient of the weights.
    WinogradWeight(WinogradParts),
    /// Fourier transforms of overlapping tiles, forward and backward input.
    Fft(FourierTiles),
}

impl Recipe {
    /// Which recipe this is.
    pub fn kind(&self) -> RecipeKind {
        match self {
            Self::Naive => RecipeKind::Naive,
            Self::Unfold(_) => RecipeKind::Unfold,
            Self::Direct(_) => RecipeKind::Direct,
            Self::Pointwise(_) => RecipeKind::Pointwise,
            Self::Grouped(_) => RecipeKind::Grouped,
            Self::Fft(_) => RecipeKind::Fft,
            Self::Winograd(tiles) | Self::WinogradWeight(WinogradParts { tiles, .. }) => {
                match tiles.tiling.size() {
                    2 => RecipeKind::WinogradF2,
                    _ => RecipeKind::WinogradF4,
                }
            }
        }
    }

    /// The blocks of a native recipe that has them.
    pub fn blocks(&self) -> Option<&Blocks> {
        match self {
            Self::Naive
            | Self::Unfold(_)
            | Self::Winograd(_)
            | Self::WinogradWeight(_)
            | Self::Fft(_) => None,
            Self::Direct(blocks) | Self::Pointwise(blocks) | Self::Grouped(blocks) => Some(blocks),
        }
    }

    /// The instruction set of a recipe that multiplies by itself.
    pub fn isa(&self) -> Option<Isa> {
        match self {
            Self::Winograd(tiles) | Self::WinogradWeight(WinogradParts { tiles, .. }) => {
                Some(tiles.isa)
            }
            Self::Fft(tiles) => Some(tiles.isa),
            _ => self.blocks().map(|blocks| blocks.isa),
        }
    }

    /// Elements of scratch that one thread needs.
    pub fn scratch_len(&self) -> usize {
        match self {
            Self::Naive => 0,
            Self::Winograd(tiles) => tiles.scratch_len(),
            Self::WinogradWeight(parts) => parts.scratch_len(),
            Self::Fft(tiles) => tiles.scratch_len(),
            Self::Unfold(tiles) => tiles.scratch_len(),
            Self::Direct(blocks) | Self::Pointwise(blocks) | Self::Grouped(blocks) => {
                blocks.scratch_len()
            }
        }
    }
}

/// Where the patch matrix comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Patches {
    /// One tap, stride 1, no padding: the image is its own patch matrix.
    Image,
    /// Unfolded into scratch, a tile at a time.
    Tile,
}

/// How one pass is cut into products.
///
/// Tiles depend on the geometry and the scratch limit alone, never on threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tiles {
    /// Where the patch matrix comes from.
    pub patches: Patches,
    /// Most patch elements (rows of the patch matrix) of one tile.
    pub rows: usize,
    /// Most positions (columns of the patch matrix) of one tile.
    pub columns: usize,
    /// Images whose positions share one tile.
    pub images: usize,
    /// Input channels of one task of the backward-input pass.
    pub channels: usize,
    /// Output channels of one task of the forward pass.
    pub outputs: usize,
    /// Output channels staged beside the tile where several images share it; else 0.
    pub staged: usize,
}

impl Tiles {
    /// Elements of scratch that one thread needs.
    pub fn scratch_len(&self) -> usize {
        let tile = match self.patches {
            Patches::Image => 0,
            Patches::Tile => self.rows * self.columns,
        };
        tile + self.staged * self.columns
    }
}
