//! The ways to compute one pass: a plan for each, and a reason where there is none.
//!
//! ```text
//! for each recipe, each engine that it calls:   plan, unless another is the same
//! the one that a plan takes by itself is marked
//! ```

use crate::plan::CANDIDATES;
use crate::{Accuracy, ConvGeometry, ConvPlan, EngineKind, Error, Pass, PlanOptions, RecipeKind};

/// What is to be compared.
pub(crate) struct Ways {
    /// None is "auto", the plan's own choice.
    pub recipes: Vec<Option<RecipeKind>>,
    /// Whether recipes were asked for without naming them: then one that cannot do a pass is no failure.
    pub every: bool,
    pub engines: Vec<EngineKind>,
    /// What plans choose from.
    pub accuracy: Accuracy,
    /// Bytes that a plan may need.
    pub memory_budget: usize,
}

/// A plan, and how it came to be.
pub(crate) struct Planned {
    pub plan: ConvPlan<f32>,
    pub kind: RecipeKind,
    pub engine: EngineKind,
    /// Whether a plan takes this recipe by itself.
    pub chosen: bool,
}

/// Why a way cannot be gone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// The recipe does not do this pass.
    Recipe(RecipeKind, &'static str),
    Error(Error),
}

impl Ways {
    /// The plans for `pass`, each once, and each reason once.
    pub(crate) fn plans(
        &self,
        geometry: &ConvGeometry,
        pass: Pass,
    ) -> (Vec<Planned>, Vec<Refusal>) {
        let (mut plans, mut refusals) = (Vec::<Planned>::new(), Vec::new());
        // The choice is the same with every engine.
        let chosen = self.plan(geometry, pass, None, self.engines[0]);
        let chosen = chosen.ok().map(|plan| plan.recipe_of(pass).kind());
        for &recipe in &self.recipes {
            if self.every && recipe.is_some_and(|kind| has_another_name(kind, geometry)) {
                continue;
            }
            for &engine in &self.engines {
                match self.plan(geometry, pass, recipe, engine) {
                    Ok(plan) => {
                        let kind = plan.recipe_of(pass).kind();
                        let same = |other: &Planned| {
                            other.kind == kind && (other.engine == engine || !kind.uses_engine())
                        };
                        if !plans.iter().any(same) {
                            plans.push(Planned {
                                plan,
                                kind,
                                engine,
                                chosen: chosen == Some(kind),
                            });
                        }
                    }
                    Err(refusal) if refusals.contains(&refusal) => {}
                    Err(refusal) => refusals.push(refusal),
                }
            }
        }
        (plans, refusals)
    }

    /// The plan of one way, which does `pass` by the recipe that was asked for.
    fn plan(
        &self,
        geometry: &ConvGeometry,
        pass: Pass,
        recipe: Option<RecipeKind>,
        engine: EngineKind,
    ) -> Result<ConvPlan<f32>, Refusal> {
        let options = PlanOptions {
            engine,
            recipe,
            accuracy: self.accuracy,
            memory_budget: self.memory_budget,
            ..PlanOptions::default()
        };
        let plan = ConvPlan::new(geometry, &options).map_err(|error| match (recipe, error) {
            (Some(kind), Error::Unsupported { wanted, .. }) => Refusal::Recipe(kind, wanted),
            (_, error) => Refusal::Error(error),
        })?;
        match (recipe, plan.explain(pass).refused) {
            (Some(kind), Some(why)) => Err(Refusal::Recipe(kind, why)),
            _ => Ok(plan),
        }
    }
}

/// Whether the same products are listed under another name: `pointwise`, where the kernel has one tap.
fn has_another_name(kind: RecipeKind, geometry: &ConvGeometry) -> bool {
    kind == RecipeKind::Direct && geometry.axes().iter().all(|axis| axis.kernel() == 1)
}

/// Whether a plan takes recipes of this kind by itself, if they are the quickest.
pub(crate) fn is_candidate(kind: RecipeKind, accuracy: Accuracy) -> bool {
    CANDIDATES.contains(&kind) && (kind.is_exact() || accuracy == Accuracy::Fast)
}

/// A sentence for every recipe and reason, of those that cannot do a pass of a name.
pub(crate) fn notes(impossible: &[(RecipeKind, &'static str, String)]) -> Vec<String> {
    let mut groups: Vec<(RecipeKind, &str, &str, usize)> = Vec::new();
    for (kind, why, what) in impossible {
        match groups
            .iter_mut()
            .find(|group| (group.0, group.1) == (*kind, why))
        {
            Some(group) => group.3 += 1,
            None => groups.push((*kind, why, what, 0)),
        }
    }
    let notes = groups.iter().map(|(kind, why, what, more)| match more {
        0 => format!("{kind} is not possible for {what}: {why}"),
        more => format!("{kind} is not possible for {what} and {more} more: {why}"),
    });
    notes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConvOptions, Layout, PaddingMode};

    fn ways(recipes: &[Option<RecipeKind>], every: bool) -> Ways {
        Ways {
            recipes: recipes.to_vec(),
            every,
            engines: EngineKind::available(),
            accuracy: Accuracy::Fast,
            memory_budget: usize::MAX,
        }
    }

    fn geometry(weight: [usize; 4], options: ConvOptions) -> ConvGeometry {
        let groups = options.groups;
        ConvGeometry::new(&[1, groups * weight[1], 12, 12], &weight, &options).unwrap()
    }

    fn all() -> Vec<Option<RecipeKind>> {
        RecipeKind::ALL
            .into_iter()
            .map(Some)
            .chain([None])
            .collect()
    }

    /// Every way once, with every engine that it calls, and one of them is the plan's own.
    #[test]
    fn nothing_is_repeated() {
        for (weight, groups) in [
            ([64, 64, 3, 3], 1),
            ([64, 64, 1, 1], 1),
            ([64, 1, 3, 3], 64),
        ] {
            let geometry = geometry(weight, ConvOptions::new().groups(groups));
            for pass in Pass::ALL {
                let (plans, refusals) = ways(&all(), true).plans(&geometry, pass);
                let names: Vec<_> = plans.iter().map(|way| (way.kind, way.engine)).collect();
                let mut once = names.clone();
                once.dedup();
                assert_eq!(names, once);
                let engines = EngineKind::available().len();
                for way in &plans {
                    let rows = plans.iter().filter(|other| other.kind == way.kind).count();
                    let expected = if way.kind.uses_engine() { engines } else { 1 };
                    assert_eq!(rows, expected, "{}", way.kind);
                    assert_eq!(way.plan.recipe_of(pass).kind(), way.kind);
                }
                let chosen = ConvPlan::<f32>::new(&geometry, &PlanOptions::new()).unwrap();
                let chosen = chosen.recipe_of(pass).kind();
                assert!(plans.iter().all(|way| way.chosen == (way.kind == chosen)));
                assert!(plans.iter().any(|way| way.chosen));
                // Each recipe has a row or a reason, but for the one that has its rows under another name.
                let refused = |kind| {
                    let of = |refusal: &Refusal| matches!(refusal, Refusal::Recipe(no, _) if *no == kind);
                    refusals.iter().filter(|refusal| of(refusal)).count()
                };
                for kind in RecipeKind::ALL {
                    let rows = plans.iter().filter(|way| way.kind == kind).count();
                    let answers = usize::from(rows > 0) + refused(kind);
                    let expected = usize::from(!has_another_name(kind, &geometry));
                    assert_eq!(answers, expected, "{kind}");
                }
            }
        }
    }

    #[test]
    fn reasons_are_told_once() {
        let of = |kind, why, what: &str| (kind, why, what.to_owned());
        let notes = notes(&[
            of(RecipeKind::Grouped, "there is one group", "a forward"),
            of(RecipeKind::Direct, "no room", "a forward"),
            of(RecipeKind::Grouped, "there is one group", "b forward"),
            of(RecipeKind::Grouped, "there is one group", "c forward"),
        ]);
        let expected = [
            "grouped is not possible for a forward and 2 more: there is one group",
            "direct is not possible for a forward: no room",
        ];
        assert_eq!(notes, expected);
    }

    /// A gradient that a forced recipe leaves to another is no row of that recipe.
    #[test]
    fn a_gradient_that_cannot_be_done_has_a_reason() {
        let options = ConvOptions::new()
            .padding(1)
            .padding_mode(PaddingMode::Reflect)
            .layout(Layout::ChannelsFirst);
        let geometry = geometry([64, 64, 3, 3], options);
        for every in [true, false] {
            let direct = ways(&[Some(RecipeKind::Direct)], every);
            let (plans, refusals) = direct.plans(&geometry, Pass::BackwardInput);
            assert!(plans.is_empty());
            let why = "the padding is read from the image";
            assert_eq!(refusals, [Refusal::Recipe(RecipeKind::Direct, why)]);
            assert_eq!(direct.plans(&geometry, Pass::Forward).0.len(), 1);
        }
    }
}
