//! Every shape list of oneDNN's benchdnn: all are read and planned, the small ones are computed.
//!
//! Small is below 2·10⁶ multiply-adds with the batch capped at two. Those are run in f64 and compared
//! with the reference loops. The layouts take turns, and so do the three passes above 10⁴
//! multiply-adds: most lists vary one number at a time through thousands of problems.

use std::collections::HashSet;
use std::path::PathBuf;

use gemmconv::cli::problem::{Problem, ProblemList};
use gemmconv::{ConvGeometry, Epilogue, Error, Layout, reference};
use gemmconv::{ConvPlan, Pass, PlanOptions};
use ndarray::{ArrayViewD, IxDyn};
use rayon::prelude::*;

/// Multiply-adds of a problem that is computed.
const SMALL: u128 = 2_000_000;
/// Multiply-adds of a problem whose passes are all computed.
const TINY: u128 = 10_000;

/// The lists `shapes_*` with their problems.
fn lists() -> Option<Vec<(String, Vec<Problem>)>> {
    let folder: PathBuf = crate::common::data("benchdnn/conv")?;
    let mut lists = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("shapes_") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let list: ProblemList = text
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        lists.push((name, list.problems));
    }
    lists.sort_by(|(one, _), (other, _)| one.cmp(other));
    Some(lists)
}

#[test]
fn every_problem_of_every_list_is_planned() {
    let Some(lists) = lists() else { return };
    let (mut planned, mut refused) = (0, Vec::new());
    for (list, problems) in &lists {
        for problem in problems {
            for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
                let geometry = problem
                    .geometry(layout, None)
                    .unwrap_or_else(|error| panic!("{list}: {problem}: {error}"));
                match ConvPlan::<f32>::new(&geometry, &PlanOptions::default()) {
                    Ok(plan) => {
                        assert_eq!(plan.geometry(), &geometry);
                        planned += 1;
                    }
                    Err(Error::MemoryBudget { needed, budget }) => {
                        assert!(needed > budget);
                        refused.push(problem.label());
                    }
                    // BLAS counts in 32 bits.
                    Err(Error::EngineDimension { got, limit, .. }) => {
                        assert!(got > limit);
                        refused.push(problem.label());
                    }
                    Err(error) => panic!("{list}: {problem}: {error}"),
                }
            }
        }
    }
    assert!(lists.len() >= 90, "{} lists", lists.len());
    assert!(planned >= 70_000, "{planned} plans");
    // Only the sizes beyond 2³¹ of `shapes_large_conv` may be too much.
    assert!(refused.len() <= 12, "{refused:?}");
}

/// Numbers in −1..1 that depend on `seed`.
fn random(len: usize, seed: u64) -> Vec<f64> {
    let mut generator = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| generator.f64() * 2.0 - 1.0).collect()
}

/// Each element within `terms` · 2⁻⁵³ · Σ|products|, whatever the order of the sum; |factors| ≤ 1.
fn assert_close(what: &str, got: &[f64], expected: &[f64], terms: usize) {
    assert_eq!(got.len(), expected.len());
    let bound = (terms as f64 + 2.0).powi(2) * f64::EPSILON;
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let close = (got - expected).abs() <= bound;
        assert!(
            close,
            "{what} [{index}]: {got}, expected {expected} within {bound:e}"
        );
    }
}

/// Some passes of one problem against the loops, outputs and scratch full of NaN before.
fn compare(what: &str, geometry: &ConvGeometry, passes: &[Pass]) {
    let plan = ConvPlan::<f64>::new(geometry, &PlanOptions::default())
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let nan = |len| vec![f64::NAN; len];
    let x = random(geometry.input_len(), 1);
    let w = random(geometry.weight_len(), 2);
    let bias = random(geometry.output_channels(), 3);
    let dy = random(geometry.output_len(), 4);
    let shaped = ArrayViewD::from_shape(IxDyn(&geometry.weight_shape()), &w).unwrap();
    let prepared = plan.prepare(&shaped).unwrap();
    for &pass in passes {
        let (len, terms) = match pass {
            Pass::Forward => (geometry.output_len(), geometry.patch_len()),
            Pass::BackwardInput => (
                geometry.input_len(),
                geometry.outputs_per_group() * geometry.patch().taps(),
            ),
            Pass::BackwardWeight => (
                geometry.weight_len(),
                geometry.batch() * geometry.positions(),
            ),
        };
        let (mut out, mut expected, mut scratch) =
            (nan(len), nan(len), nan(plan.scratch_len(pass)));
        match pass {
            Pass::Forward => {
                let epilogue = Epilogue::none().bias(&bias);
                let done =
                    plan.forward_with_scratch(&x, &prepared, &epilogue, &mut out, &mut scratch);
                done.unwrap();
                reference::forward(geometry, &x, &w, Some(&bias), &mut expected);
            }
            Pass::BackwardInput => {
                let done = plan.backward_input_with_scratch(&dy, &prepared, &mut out, &mut scratch);
                done.unwrap();
                reference::backward_input(geometry, &w, &dy, &mut expected);
            }
            Pass::BackwardWeight => {
                let (mut db, mut expected_db) = (nan(bias.len()), nan(bias.len()));
                let done = plan.backward_weight_with_scratch(
                    &x,
                    &dy,
                    &mut out,
                    Some(&mut db),
                    &mut scratch,
                );
                done.unwrap();
                reference::backward_weight(geometry, &x, &dy, &mut expected);
                reference::backward_bias(geometry, &dy, &mut expected_db);
                assert_close(&format!("{what} backward-bias"), &db, &expected_db, terms);
            }
        }
        assert_close(&format!("{what} {pass}"), &out, &expected, terms);
    }
}

#[test]
fn small_problems_agree_with_the_reference() {
    let Some(lists) = lists() else { return };
    let mut seen = HashSet::new();
    let mut small = Vec::new();
    for (index, problem) in lists.iter().flat_map(|(_, problems)| problems).enumerate() {
        let layout = [Layout::ChannelsFirst, Layout::ChannelsLast][index % 2];
        let geometry = problem
            .geometry(layout, Some(problem.batch().min(2)))
            .unwrap();
        let fits = geometry.operations() / 2 < SMALL && geometry.input_len() < SMALL as usize;
        // The lists repeat themselves under other names.
        if fits && seen.insert(format!("{geometry:?}")) {
            small.push((problem.label(), geometry));
        }
    }
    assert!(small.len() >= 20_000, "{} problems", small.len());
    small
        .par_iter()
        .enumerate()
        .for_each(|(index, (label, geometry))| {
            let turn = index % Pass::ALL.len();
            let passes = if geometry.operations() / 2 < TINY {
                &Pass::ALL[..]
            } else {
                &Pass::ALL[turn..=turn]
            };
            compare(label, geometry, passes);
        });
}
