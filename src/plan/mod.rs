//! WHICH WAY: from sizes to a printable decision. Nothing runs here and no buffer is allocated.
//!
//! ```text
//! geometry + options ─► Recipe per pass { direct, pointwise, grouped (blocks) | winograd, fft (tiles of results)
//!                                         | unfold (tiles) | naive }
//!                    ─► scratch lengths, explanation
//! ```

mod accuracy;
mod blocks;
mod cost;
mod explain;
mod fourier;
mod memory;
mod recipe;
mod tiles;
mod winograd;
mod winograd_weight;

use std::fmt;
use std::str::FromStr;

use crate::element::Element;
use crate::error::{Error, Result};
use crate::gemm::{Engine, EngineKind};
use crate::geometry::ConvGeometry;
use crate::kernel::Isa;
use crate::parallel::SERIAL_BELOW;

pub use accuracy::Accuracy;
pub use blocks::Blocks;
pub(crate) use blocks::{ALIGN, block_axes, is_thinned, sweep_axes};
#[cfg(feature = "cli")]
pub(crate) use cost::CANDIDATES;
pub use explain::Explanation;
pub use fourier::FourierTiles;
#[cfg(feature = "fft")]
pub(crate) use fourier::TOGETHER;
#[cfg(all(test, feature = "fft"))]
pub(crate) use fourier::{LONGEST, ROOM, quick};
#[cfg(feature = "fft")]
pub(crate) use memory::fourier_spectra;
pub(crate) use memory::{panels_len, winograd_len};
pub use recipe::{Patches, Recipe, RecipeKind, Tiles};
pub(crate) use tiles::{SHORT_BLOCK, sums_are_short};
pub use winograd::WinogradTiles;
pub use winograd_weight::WinogradParts;

/// Scratch that one thread may use where the caller says nothing: 1 MiB, half of a common L2 cache,
/// and exactly `matrixmultiply`'s own block of 256 × 1024 floats.
pub const DEFAULT_SCRATCH_LIMIT: usize = 1 << 20;

/// The same for Winograd's algorithm, 4 MiB: with many channels a few tiles fill a second-level cache, and their
/// weights would be read too often.
pub const WINOGRAD_SCRATCH_LIMIT: usize = 4 << 20;

/// The same for Fourier transforms, 16 MiB: the more tiles a block has, the less often their weights are read, which
/// are many times as many as those of other recipes.
pub const FOURIER_SCRATCH_LIMIT: usize = 16 << 20;

/// Memory that one plan may need where the caller says nothing: 64 GiB.
pub const DEFAULT_MEMORY_BUDGET: usize = 1 << 36;

/// One of the products that make up a convolution and its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Y = W · unfold(X).
    Forward,
    /// dX = fold(Wᵀ · dY).
    BackwardInput,
    /// dW = dY · unfold(X)ᵀ, and the bias gradient dY · 1 beside it.
    BackwardWeight,
}

impl Pass {
    /// All passes.
    pub const ALL: [Self; 3] = [Self::Forward, Self::BackwardInput, Self::BackwardWeight];

    /// The name, as [`FromStr`] reads it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::BackwardInput => "backward-input",
            Self::BackwardWeight => "backward-weight",
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Pass {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|pass| pass.name() == name);
        found.ok_or_else(|| {
            format!("unknown pass `{name}`: forward, backward-input or backward-weight")
        })
    }
}

/// How a plan is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Which engine multiplies unfolded patches; the native recipes multiply by themselves.
    pub engine: EngineKind,
    /// A recipe to use; `None` lets the plan choose for each pass. A plan whose forward pass it cannot do is refused;
    /// a gradient that it cannot do is left to [`RecipeKind::Unfold`], and the explanation says so.
    pub recipe: Option<RecipeKind>,
    /// Which recipes the plan chooses from; by default [`Accuracy::Fast`]. A recipe that is asked for is taken anyway.
    pub accuracy: Accuracy,
    /// The instruction set of the native recipes; by default [`Isa::selected`], the widest that the CPU has unless the
    /// variable `GEMMCONV_ISA` says otherwise. Bits of results depend on it, and on whether the CPU's units are as wide.
    pub isa: Isa,
    /// Most bytes of scratch a thread; by default 1 MiB, 4 MiB for Winograd's algorithm, and 16 MiB for Fourier
    /// transforms.
    pub scratch_limit: Option<usize>,
    /// Most bytes of input, output, weights and their prepared forms, one thread's scratch and the plan's tables
    /// together; 64 GiB by default.
    pub memory_budget: usize,
    /// Multiply-adds of a pass below which one thread does it all; 2²⁰ by default.
    pub serial_below: u128,
    /// Whether weights are prepared anew for every pass, as in training, instead of once for many: then a plan counts
    /// what preparing them takes where that is much. No by default.
    pub weights_change: bool,
    /// Whether prepared weights come from memory in every pass, as those of a network do whose weights together are larger
    /// than the caches: then forms of many numbers are worth less. No by default; a network knows for itself.
    pub weights_far: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            engine: EngineKind::default(),
            recipe: None,
            accuracy: Accuracy::default(),
            isa: Isa::selected(),
            scratch_limit: None,
            memory_budget: DEFAULT_MEMORY_BUDGET,
            serial_below: SERIAL_BELOW,
            weights_change: false,
            weights_far: false,
        }
    }
}

impl PlanOptions {
    /// The plan's own choice of recipes, the fastest ones too, the default engine, the CPU's instruction set, 1 MiB of
    /// scratch a thread (4 MiB for Winograd's algorithm, 16 MiB for Fourier transforms), 64 GiB in all.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the engine that multiplies unfolded patches.
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = engine;
        self
    }
    /// Forces a recipe, see [`PlanOptions::recipe`](Self#structfield.recipe).
    pub fn recipe(mut self, recipe: RecipeKind) -> Self {
        self.recipe = Some(recipe);
        self
    }
    /// Sets which recipes the plan chooses from.
    pub fn accuracy(mut self, accuracy: Accuracy) -> Self {
        self.accuracy = accuracy;
        self
    }
    /// Sets the instruction set of the native recipes.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }
    /// Sets the most bytes of scratch a thread may use.
    pub fn scratch_limit(mut self, bytes: usize) -> Self {
        self.scratch_limit = Some(bytes);
        self
    }
    /// Most elements of type `T` in the scratch of a thread.
    pub(crate) fn scratch_elements<T>(&self) -> usize {
        self.scratch_limit.unwrap_or(DEFAULT_SCRATCH_LIMIT) / size_of::<T>()
    }
    /// Sets the most bytes of input, output, weights, their prepared forms, one thread's scratch and tables together.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = bytes;
        self
    }
    /// Sets whether weights are prepared anew for every pass.
    pub fn weights_change(mut self, change: bool) -> Self {
        self.weights_change = change;
        self
    }
    /// Sets whether prepared weights come from memory in every pass.
    pub fn weights_far(mut self, far: bool) -> Self {
        self.weights_far = far;
        self
    }
    /// Sets the multiply-adds below which one thread does it all.
    pub fn serial_below(mut self, multiply_adds: u128) -> Self {
        self.serial_below = multiply_adds;
        self
    }
}

/// The decision for one geometry: a recipe for every pass, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    recipes: [Recipe; 3],
    reasons: [String; 3],
    /// Why the recipe that was asked for cannot do a pass.
    refused: [Option<&'static str>; 3],
    /// Elements that hold a weight gradient until its order is restored.
    reordered: usize,
    /// Shares of the batch whose weight gradients are summed apart, and elements that hold those of all but one.
    shares: usize,
    apart: usize,
    element_bytes: usize,
}

impl Decision {
    /// Chooses the recipes of `geometry` for elements of type `T`; passes that are not `wanted` are left to the loops.
    ///
    /// # Errors
    /// A recipe that cannot do the forward pass of this geometry; sizes that the engine's integers cannot hold;
    /// more memory than the budget.
    pub(crate) fn new<T: Element>(
        geometry: &ConvGeometry,
        options: &PlanOptions,
        engine: &dyn Engine<T>,
        wanted: &[Pass],
    ) -> Result<Self> {
        let mut reasons = [const { String::new() }; 3];
        let mut recipes = [const { Recipe::Naive }; 3];
        let mut refused = [None; 3];
        for (index, &pass) in Pass::ALL.iter().enumerate() {
            if !wanted.contains(&pass) {
                reasons[index] = "not planned".to_owned();
                continue;
            }
            (recipes[index], reasons[index]) = match options.recipe {
                None => cost::choose::<T>(geometry, pass, options),
                Some(kind) => match cost::recipe::<T>(kind, geometry, pass, options) {
                    Ok(recipe) => (recipe, "asked for".to_owned()),
                    Err(wanted) if pass == Pass::Forward => {
                        return Err(Error::Unsupported {
                            what: kind.name(),
                            wanted,
                        });
                    }
                    Err(why) => {
                        refused[index] = Some(why);
                        let why = format!("no {kind}: {why}");
                        (cost::unfold::<T>(geometry, pass, options), why)
                    }
                },
            };
        }
        let reorders = geometry.reorders_weights()
            && recipes[Pass::BackwardWeight as usize].kind() == RecipeKind::Unfold;
        let shares = shares(geometry, &recipes[Pass::BackwardWeight as usize]);
        let gradients = geometry.weight_len() + geometry.output_channels();
        let decision = Self {
            recipes,
            reasons,
            refused,
            reordered: if reorders { geometry.weight_len() } else { 0 },
            shares,
            apart: (shares - 1) * gradients,
            element_bytes: size_of::<T>(),
        };
        // The budget first, so that a request beyond both is refused alike by every engine.
        decision.check_budget(geometry, options)?;
        if decision
            .recipes
            .iter()
            .any(|recipe| recipe.kind().uses_engine())
        {
            decision.check_engine(geometry, engine)?;
        }
        Ok(decision)
    }

    /// The recipe of one pass.
    pub fn recipe(&self, pass: Pass) -> &Recipe {
        &self.recipes[pass as usize]
    }

    /// Elements of scratch that one thread needs in `pass`.
    pub(crate) fn lane_len(&self, pass: Pass) -> usize {
        self.recipe(pass).scratch_len()
    }

    /// Elements of scratch that all threads share in `pass`.
    pub(crate) fn shared_len(&self, pass: Pass) -> usize {
        if pass == Pass::BackwardWeight {
            self.reordered + self.apart
        } else {
            0
        }
    }

    /// Shares of the batch whose weight gradients are summed apart: 1 where the batch is not cut.
    pub(crate) fn shares(&self) -> usize {
        self.shares
    }

    /// Every dimension and stride that a product of this geometry can have.
    fn check_engine<T: Element>(
        &self,
        geometry: &ConvGeometry,
        engine: &dyn Engine<T>,
    ) -> Result<()> {
        let columns = self.recipes.iter().map(|recipe| match recipe {
            Recipe::Unfold(tiles) => tiles.columns,
            _ => 0,
        });
        let sizes = [
            geometry.positions(),
            geometry.patch.pixels(),
            geometry.patch_len(),
            geometry.output_channels(),
            geometry.input_channels(),
        ];
        let largest = sizes.into_iter().chain(columns).max().unwrap_or(0);
        if largest > engine.limit() {
            return Err(Error::EngineDimension {
                engine: engine.name(),
                got: largest,
                limit: engine.limit(),
            });
        }
        Ok(())
    }

    fn check_budget(&self, geometry: &ConvGeometry, options: &PlanOptions) -> Result<()> {
        let needed = memory::needed(geometry, self)?;
        if needed > options.memory_budget {
            return Err(Error::MemoryBudget {
                needed,
                budget: options.memory_budget,
            });
        }
        Ok(())
    }
}

/// Most shares of a batch, and most elements of the gradients that are summed apart: 256 KiB.
const SHARES: usize = 8;
const APART: usize = 64 << 10;

/// Multiply-adds of a share that are worth a task, and positions that are worth another gradient to add up.
const SHARE_WORK: u128 = 1 << 19;
const SHARE_POSITIONS: u128 = 256;

/// In how many shares a native recipe cuts the batch for the gradient of the weights.
fn shares(geometry: &ConvGeometry, recipe: &Recipe) -> usize {
    let gradients = geometry.weight_len().max(1) + geometry.output_channels();
    let positions = geometry.batch() as u128 * geometry.positions() as u128;
    let worth = (geometry.operations() / 2 / SHARE_WORK).min(positions / SHARE_POSITIONS);
    let worth = usize::try_from(worth).unwrap_or(SHARES);
    // Fewer images than twice the shares divide badly among threads.
    let most = SHARES
        .min(geometry.batch() / 2)
        .min(APART / gradients + 1)
        .min(worth);
    match recipe.blocks() {
        Some(_) if most > 1 => 1 << most.ilog2(),
        Some(_) => 1,
        None => 1,
    }
}
