//! The recipes: values that can be printed and compared before anything runs.

use std::fmt;
use std::str::FromStr;

/// A way to compute a convolution, without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecipeKind {
    /// The reference loops.
    Naive,
    /// Patches unfolded tile by tile, an engine's product, and fold.
    Unfold,
}

impl RecipeKind {
    /// All recipes.
    pub const ALL: [Self; 2] = [Self::Naive, Self::Unfold];

    /// The name, as [`FromStr`] reads it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Unfold => "unfold",
        }
    }

    /// Whether an engine takes part.
    pub fn uses_engine(&self) -> bool {
        *self != Self::Naive
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
}

impl Recipe {
    /// Which recipe this is.
    pub fn kind(&self) -> RecipeKind {
        match self {
            Self::Naive => RecipeKind::Naive,
            Self::Unfold(_) => RecipeKind::Unfold,
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
