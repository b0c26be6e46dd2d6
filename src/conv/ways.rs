//! The native ways to each pass: which tables a recipe has, and how they are run.
//!
//! ```text
//! forward, backward input     DataPass::{Sweep, Winograd}                         x, weights -> y
//! backward weight             WeightPass::{Correlation, OuterSum, Winograd}       x, dy -> dw, db
//! ```

#[cfg(feature = "fft")]
use std::sync::Arc;

#[cfg(feature = "fft")]
use super::fourier::Kernels;
use super::native::{
    Correlation, Finale, OuterSum, Sweep, Target, WeightGradient, Winograd, WinogradWeight,
};
use super::weights::Form;
#[cfg(not(feature = "fft"))]
use crate::error::Error;
use crate::error::Result;
use crate::geometry::ConvGeometry;
use crate::parallel::Lanes;
use crate::plan::{Decision, Pass, Recipe};

/// The tables of the native recipes, and what the passes want of the weights.
#[derive(Debug)]
pub(super) struct Native {
    pub(super) forward: Option<DataPass>,
    pub(super) backward_input: Option<DataPass>,
    pub(super) backward_weight: Option<WeightPass>,
    /// Of the forward pass and of backward input.
    pub(super) forms: [Form; 2],
}

/// The native ways to a result or to the gradient of the input.
#[derive(Debug)]
pub(super) enum DataPass {
    Sweep(Box<Sweep>),
    Winograd(Box<Winograd>),
}

impl DataPass {
    /// The tables of `recipe`, if it is native.
    pub(super) fn new(
        geometry: &ConvGeometry,
        pass: Pass,
        recipe: &Recipe,
    ) -> Result<Option<Self>> {
        Ok(match (recipe, recipe.blocks()) {
            (Recipe::Winograd(tiles), _) => {
                let winograd = Winograd::new(geometry, pass, tiles)?;
                Some(Self::Winograd(Box::new(winograd)))
            }
            (_, Some(blocks)) => {
                let sweep = Sweep::new(geometry, pass, blocks)?;
                Some(Self::Sweep(Box::new(sweep)))
            }
            _ => None,
        })
    }

    /// The taps of every phase, in the order of the weights, where they are not transformed.
    fn taps(&self) -> Option<Vec<Vec<usize>>> {
        match self {
            Self::Sweep(sweep) => Some(sweep.taps()),
            Self::Winograd(_) => None,
        }
    }

    pub(super) fn run(
        &self,
        x: &[f32],
        weights: &[f32],
        finale: Finale<'_>,
        y: (&mut [f32], Target),
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        match self {
            Self::Sweep(sweep) => sweep.run(x, weights, finale, y, lanes, threads),
            Self::Winograd(winograd) => winograd.run(x, weights, finale, y, lanes, threads),
        }
    }
}

/// The native ways to the gradient of the weights.
#[derive(Debug)]
pub(super) enum WeightPass {
    Correlation(Correlation),
    OuterSum(OuterSum),
    Winograd(Box<WinogradWeight>),
}

impl WeightPass {
    pub(super) fn run(
        &self,
        gradient: WeightGradient<'_>,
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        match self {
            Self::Correlation(sum) => sum.run(gradient, lanes, threads),
            Self::OuterSum(sum) => sum.run(gradient, lanes, threads),
            Self::Winograd(sum) => sum.run(gradient, lanes, threads),
        }
    }

    /// The tables of `recipe`, if it is native.
    pub(super) fn new(geometry: &ConvGeometry, recipe: &Recipe) -> Result<Option<Self>> {
        Ok(match (recipe, recipe.blocks()) {
            (Recipe::WinogradWeight(parts), _) => Some(Self::Winograd(Box::new(
                WinogradWeight::new(geometry, parts)?,
            ))),
            (_, Some(blocks)) if blocks.outer => {
                Some(Self::OuterSum(OuterSum::new(geometry, blocks)?))
            }
            (_, Some(blocks)) => Some(Self::Correlation(Correlation::new(geometry, blocks)?)),
            _ => None,
        })
    }
}

impl Native {
    pub(super) fn new(geometry: &ConvGeometry, decision: &Decision) -> Result<Self> {
        let way = |pass| DataPass::new(geometry, pass, decision.recipe(pass));
        let (forward, backward_input) = (way(Pass::Forward)?, way(Pass::BackwardInput)?);
        let form = |pass, way: &Option<DataPass>| {
            let taps = way.as_ref().and_then(DataPass::taps);
            Form::of(geometry, pass, decision.recipe(pass), taps)
        };
        #[cfg(feature = "fft")]
        let form = |pass, way: &Option<DataPass>| match decision.recipe(pass) {
            Recipe::Fft(tiles) => {
                Kernels::new(geometry, pass, tiles).map(|kernels| Form::Fourier(Arc::new(kernels)))
            }
            _ => Ok(form(pass, way)),
        };
        #[cfg(not(feature = "fft"))]
        let form = |pass, way: &Option<DataPass>| Ok::<_, Error>(form(pass, way));
        let backward_weight = decision.recipe(Pass::BackwardWeight);
        Ok(Self {
            forms: [
                form(Pass::Forward, &forward)?,
                form(Pass::BackwardInput, &backward_input)?,
            ],
            forward,
            backward_input,
            backward_weight: WeightPass::new(geometry, backward_weight)?,
        })
    }
}
