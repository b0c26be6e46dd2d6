//! The choice of a recipe: the one that a small model expects to be done first.
//!
//! ```text
//! seconds = operations · (lanes with their padding / lanes used) / rate  [+ what folding costs]
//! winograd: the same of its products + numbers transformed on both sides · time each + weights read / bandwidth
//! ```
//!
//! Rates were measured on one thread of two machines (`rates.rs`): one does twice as many multiply-adds a cycle as the
//! other. Only their proportions matter; other machines are taken for the one that is like them in that.

mod dense;
mod fourier;
mod rates;
mod winograd;

use super::{
    Accuracy, Blocks, FOURIER_SCRATCH_LIMIT, FourierTiles, Pass, PlanOptions, Recipe, RecipeKind,
    Tiles, WINOGRAD_SCRATCH_LIMIT, WinogradParts, WinogradTiles,
};
use crate::element::Element;
use crate::geometry::ConvGeometry;

/// Taps below which no plan thinks of Fourier transforms: no layer of 3 × 3 was quicker with them than by Winograd's
/// algorithm or direct.
const FOURIER_TAPS: usize = 25;

/// Why no native recipe takes a plan of another type.
const NOT_SINGLE: &str = "the elements are not f32";

/// Why there is no recipe `fft`.
const NO_FOURIER: &str = "the feature `fft` is not compiled in";

/// The tiled recipe, which handles everything.
pub(super) fn unfold<T: Element>(
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> Recipe {
    let limit = options.scratch_elements::<T>();
    Recipe::Unfold(Tiles::new(geometry, pass, limit))
}

/// The recipe of a kind with its numbers, or why there is none.
pub(super) fn recipe<T: Element>(
    kind: RecipeKind,
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> Result<Recipe, &'static str> {
    let single = size_of::<T>() == size_of::<f32>();
    let winograd = |results| {
        if !single {
            return Err(NOT_SINGLE);
        }
        let limit = options.scratch_limit.unwrap_or(WINOGRAD_SCRATCH_LIMIT) / size_of::<T>();
        if pass == Pass::BackwardWeight {
            let parts = WinogradParts::new(geometry, results, options.isa, limit);
            return parts.map(Recipe::WinogradWeight);
        }
        WinogradTiles::new(geometry, pass, results, options.isa, limit).map(Recipe::Winograd)
    };
    let (grouped, made): (bool, fn(Blocks) -> Recipe) = match kind {
        RecipeKind::Naive => return Ok(Recipe::Naive),
        RecipeKind::Unfold => return Ok(unfold::<T>(geometry, pass, options)),
        RecipeKind::Direct => (false, Recipe::Direct),
        RecipeKind::Pointwise if geometry.patch.taps() > 1 => {
            return Err("the kernel has several taps");
        }
        RecipeKind::Pointwise => (false, Recipe::Pointwise),
        RecipeKind::Grouped if geometry.groups() == 1 => return Err("there is one group"),
        RecipeKind::Grouped => (true, Recipe::Grouped),
        RecipeKind::WinogradF2 => return winograd(2),
        RecipeKind::WinogradF4 => return winograd(4),
        RecipeKind::Fft if !cfg!(feature = "fft") => return Err(NO_FOURIER),
        RecipeKind::Fft => {
            let limit = options.scratch_limit.unwrap_or(FOURIER_SCRATCH_LIMIT) / size_of::<T>();
            let seconds =
                |tiles: &FourierTiles| fourier::seconds::<T>(tiles, geometry, pass, options);
            let tiles = FourierTiles::new(geometry, pass, options.isa, limit, seconds);
            return tiles.map(Recipe::Fft);
        }
    };
    if !single {
        return Err(NOT_SINGLE);
    }
    let limit = options.scratch_elements::<T>();
    Blocks::new(geometry, pass, grouped, options.isa, limit).map(made)
}

/// What a plan chooses from.
pub(crate) const CANDIDATES: [RecipeKind; 7] = [
    RecipeKind::Direct,
    RecipeKind::Pointwise,
    RecipeKind::Grouped,
    RecipeKind::WinogradF2,
    RecipeKind::WinogradF4,
    RecipeKind::Fft,
    RecipeKind::Unfold,
];

/// The recipe of a pass, and why.
pub(super) fn choose<T: Element>(
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> (Recipe, String) {
    // The same recipe by the name that it does not have here.
    let other_name = if geometry.patch.taps() == 1 {
        RecipeKind::Direct
    } else {
        RecipeKind::Pointwise
    };
    let mut best = (unfold::<T>(geometry, pass, options), f64::INFINITY);
    let mut told = Vec::new();
    let large = geometry.patch.taps() >= FOURIER_TAPS;
    let candidates = CANDIDATES
        .into_iter()
        .filter(|&kind| kind != other_name && (large || kind != RecipeKind::Fft));
    for kind in candidates {
        match recipe::<T>(kind, geometry, pass, options) {
            Ok(recipe) => {
                let seconds = seconds::<T>(&recipe, geometry, pass, options);
                let but = match options.accuracy {
                    _ if kind.is_exact() => "",
                    Accuracy::Exact => " but not exact",
                    Accuracy::Fast if winograd::rounds_much(&recipe, geometry, pass) => {
                        " but rounds much"
                    }
                    Accuracy::Fast => "",
                };
                told.push(format!("{kind} {:.3} ms{but}", 1e3 * seconds));
                if but.is_empty() && seconds < best.1 {
                    best = (recipe, seconds);
                }
            }
            // One group, a kernel or a stride that tiles are not for is no reason that anybody wonders about.
            Err(_) if kind == RecipeKind::Grouped || !kind.is_exact() => {}
            Err(why) => told.push(format!("no {kind}: {why}")),
        }
    }
    (best.0, format!("estimated {}", told.join(", ")))
}

/// Seconds that one thread would need, by the model.
fn seconds<T: Element>(
    recipe: &Recipe,
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> f64 {
    match recipe {
        Recipe::Winograd(tiles) => winograd::seconds(tiles, geometry, pass, options),
        Recipe::WinogradWeight(parts) => winograd::weight_seconds(parts, geometry),
        Recipe::Fft(tiles) => fourier::seconds::<T>(tiles, geometry, pass, options),
        _ => dense::seconds::<T>(recipe.kind(), geometry, pass, options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ConvOptions;

    fn chosen(channels: usize, outputs: usize, groups: usize, pass: Pass) -> RecipeKind {
        let options = ConvOptions::new().padding(1).groups(groups);
        let shape = [outputs, channels / groups, 3, 3];
        let geometry = ConvGeometry::new(&[1, channels, 56, 56], &shape, &options).unwrap();
        let options = PlanOptions::new();
        let (recipe, why) = choose::<f32>(&geometry, pass, &options);
        assert!(why.contains("unfold"), "{why}");
        let exact = options.accuracy(Accuracy::Exact);
        let (exact, why) = choose::<f32>(&geometry, pass, &exact);
        if recipe.kind().is_exact() {
            assert_eq!(exact, recipe, "{why}");
        } else {
            assert!(exact.kind().is_exact(), "{why}");
            assert!(why.contains("but not exact"), "{why}");
        }
        recipe.kind()
    }

    #[test]
    fn lanes_decide() {
        for pass in Pass::ALL {
            assert_eq!(chosen(64, 64, 1, pass), RecipeKind::WinogradF4);
            assert_eq!(chosen(64, 64, 64, pass), RecipeKind::Grouped);
            assert_eq!(chosen(128, 128, 4, pass), RecipeKind::WinogradF4);
        }
        assert_eq!(
            chosen(128, 128, 32, Pass::BackwardWeight),
            RecipeKind::Grouped
        );
        // Few channels would leave most lanes empty, but pixels do not.
        if PlanOptions::new().isa.lanes() == 16 {
            for pass in [Pass::Forward, Pass::BackwardInput] {
                assert_eq!(chosen(128, 128, 32, pass), RecipeKind::Direct);
            }
            assert_eq!(chosen(3, 64, 1, Pass::BackwardInput), RecipeKind::Direct);
        }
        assert_eq!(chosen(3, 64, 1, Pass::Forward), RecipeKind::Direct);
    }

    /// Large kernels by Fourier transforms, unless strides, preparing or accuracy stand against it.
    #[cfg(feature = "fft")]
    #[test]
    fn large_kernels_are_transformed() {
        let chosen = |kernel: usize, channels: usize, stride: usize, options: &PlanOptions| {
            let shape = [1, channels, 56, 56];
            let conv = ConvOptions::new().padding(kernel / 2).stride(stride);
            let geometry =
                ConvGeometry::new(&shape, &[channels, channels, kernel, kernel], &conv).unwrap();
            choose::<f32>(&geometry, Pass::Forward, options).0.kind()
        };
        let options = PlanOptions::new();
        for kernel in [11, 15, 31] {
            for channels in [1, 8, 64] {
                assert_eq!(chosen(kernel, channels, 1, &options), RecipeKind::Fft);
            }
        }
        assert_ne!(chosen(31, 64, 2, &options), RecipeKind::Fft);
        assert_ne!(chosen(3, 64, 1, &options), RecipeKind::Fft);
        // Few channels in and many out: transforms of results for hardly any product.
        let conv = ConvOptions::new().padding(3);
        let wide = ConvGeometry::new(&[1, 3, 224, 224], &[64, 3, 7, 7], &conv).unwrap();
        let (recipe, why) = choose::<f32>(&wide, Pass::Forward, &options);
        assert_eq!(recipe.kind(), RecipeKind::Direct, "{why}");
        let once = options.clone().weights_change(true);
        assert_eq!(chosen(7, 64, 1, &options), RecipeKind::Fft);
        assert_ne!(chosen(7, 64, 1, &once), RecipeKind::Fft);
        assert_eq!(chosen(31, 64, 1, &once), RecipeKind::Fft);
        let exact = options.accuracy(Accuracy::Exact);
        assert_ne!(chosen(31, 64, 1, &exact), RecipeKind::Fft);
    }

    #[test]
    fn pointwise_is_direct_by_another_name() {
        let options = ConvOptions::new().stride(2).padding(1);
        let geometry = ConvGeometry::new(&[3, 40, 30, 30], &[50, 40, 1, 1], &options).unwrap();
        for pass in Pass::ALL {
            let blocks = |kind| {
                let recipe = recipe::<f32>(kind, &geometry, pass, &PlanOptions::new()).unwrap();
                assert_eq!(recipe.kind(), kind);
                *recipe.blocks().unwrap()
            };
            assert_eq!(blocks(RecipeKind::Direct), blocks(RecipeKind::Pointwise));
        }
    }

    #[test]
    fn the_reason_names_what_is_missing() {
        let options = ConvOptions::new()
            .padding(1)
            .padding_mode(crate::geometry::PaddingMode::Reflect);
        let geometry = ConvGeometry::new(&[1, 64, 9, 9], &[64, 64, 3, 3], &options).unwrap();
        let (recipe, why) = choose::<f32>(&geometry, Pass::BackwardInput, &PlanOptions::new());
        assert_eq!(recipe.kind(), RecipeKind::Unfold);
        assert!(
            why.contains("no direct: the padding is read from the image"),
            "{why}"
        );
        let (recipe, why) = choose::<f64>(&geometry, Pass::Forward, &PlanOptions::new());
        assert_eq!(recipe.kind(), RecipeKind::Unfold);
        assert!(why.contains("not f32"), "{why}");
    }
}
