//! The choice of a recipe: the one that a small model expects to be done first.
//!
//! ```text
//! seconds = operations · (lanes with their padding / lanes used) / rate  [+ what folding costs]
//! ```
//!
//! The rates were measured on one thread of an AVX-512 machine (`bench --recipe all`, layers of 56 × 56 with 64
//! channels on one side and 1 to 16 on the other, or 4 to 12 a group). Only their proportions matter; on other machines
//! they are assumed to be the same.

use super::{Blocks, Pass, PlanOptions, Recipe, RecipeKind, Tiles};
use crate::element::Element;
use crate::geometry::{ConvGeometry, Layout};

/// GFLOP/s of dense native products whose panels are several vectors wide, or one: then every multiply-add needs a
/// number of its own.
const DENSE: f64 = 165.0;
const DENSE_ONE_VECTOR: f64 = 105.0;

/// GFLOP/s of grouped native products.
const GROUPED: f64 = 50.0;

/// GFLOP/s of an engine's products on unfolded tiles, where no side of them is short; of those with fewer rows than
/// [`ENGINE_ROWS`] a proportion.
const ENGINE: f64 = 100.0;
const ENGINE_ROWS: usize = 16;

/// Nanoseconds to fold one element of the patch matrix back, channels first and channels last.
const FOLD: [f64; 2] = [0.45, 3.0];

/// The tiled recipe, which handles everything.
pub(super) fn unfold<T: Element>(
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> Recipe {
    let limit = options.scratch_limit / size_of::<T>();
    Recipe::Unfold(Tiles::new(geometry, pass, limit))
}

/// The recipe of a kind with its numbers, or why there is none.
pub(super) fn recipe<T: Element>(
    kind: RecipeKind,
    geometry: &ConvGeometry,
    pass: Pass,
    options: &PlanOptions,
) -> Result<Recipe, &'static str> {
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
    };
    if size_of::<T>() != size_of::<f32>() {
        return Err("the elements are not f32");
    }
    let limit = options.scratch_limit / size_of::<T>();
    Blocks::new(geometry, pass, grouped, options.isa, limit).map(made)
}

/// What a plan chooses from.
pub(crate) const CANDIDATES: [RecipeKind; 4] = [
    RecipeKind::Direct,
    RecipeKind::Pointwise,
    RecipeKind::Grouped,
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
    for kind in CANDIDATES.into_iter().filter(|&kind| kind != other_name) {
        match recipe::<T>(kind, geometry, pass, options) {
            Ok(recipe) => {
                let seconds = seconds(kind, geometry, pass, options);
                told.push(format!("{kind} {:.3} ms", 1e3 * seconds));
                if seconds < best.1 {
                    best = (recipe, seconds);
                }
            }
            // One group is no reason that anybody wonders about.
            Err(_) if kind == RecipeKind::Grouped => {}
            Err(why) => told.push(format!("no {kind}: {why}")),
        }
    }
    (best.0, format!("estimated {}", told.join(", ")))
}

/// Seconds that one thread would need, by the model.
fn seconds(kind: RecipeKind, geometry: &ConvGeometry, pass: Pass, options: &PlanOptions) -> f64 {
    let lanes = options.isa.lanes();
    let results = match pass {
        Pass::BackwardInput => geometry.channels_per_group(),
        _ => geometry.outputs_per_group(),
    };
    let padding = |columns: usize| columns.next_multiple_of(lanes) as f64 / columns as f64;
    let work = |rate: f64| geometry.operations() as f64 / rate / 1e9;
    match kind {
        RecipeKind::Grouped => padding(geometry.groups() * results) * work(GROUPED),
        RecipeKind::Unfold => {
            let columns = geometry.positions() as f64 * geometry.batch() as f64;
            let (rows, fold) = match pass {
                Pass::BackwardInput => {
                    let each = FOLD[usize::from(geometry.layout() == Layout::ChannelsLast)];
                    let elements = (geometry.patch_len() * geometry.groups()) as f64 * columns;
                    (geometry.patch_len(), elements * each / 1e9)
                }
                _ => (results, 0.0),
            };
            let rate = ENGINE * rows.min(ENGINE_ROWS) as f64 / ENGINE_ROWS as f64;
            work(rate) + fold
        }
        _ if results <= lanes => padding(results) * work(DENSE_ONE_VECTOR),
        _ => padding(results) * work(DENSE),
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
        let (recipe, why) = choose::<f32>(&geometry, pass, &PlanOptions::new());
        assert!(why.contains("unfold"), "{why}");
        recipe.kind()
    }

    #[test]
    fn lanes_decide() {
        for pass in Pass::ALL {
            assert_eq!(chosen(64, 64, 1, pass), RecipeKind::Direct);
            assert_eq!(chosen(64, 64, 64, pass), RecipeKind::Grouped);
            assert_eq!(chosen(128, 128, 32, pass), RecipeKind::Grouped);
            assert_eq!(chosen(128, 128, 4, pass), RecipeKind::Direct);
        }
        // Three channels would leave most lanes of the gradient of an image empty.
        if PlanOptions::new().isa.lanes() == 16 {
            assert_eq!(chosen(3, 64, 1, Pass::BackwardInput), RecipeKind::Unfold);
        }
        assert_eq!(chosen(3, 64, 1, Pass::Forward), RecipeKind::Direct);
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
