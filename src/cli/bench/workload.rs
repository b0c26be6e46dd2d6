//! The data of one pass of one problem, and the pass itself as a closure over it.
//!
//! ```text
//! forward          y  ← w · unfold(x) + b         reads x, w, b     writes y
//! backward-input   dx ← fold(wᵀ · dy)             reads w, dy       writes dx
//! backward-weight  dw ← dy · unfold(x)ᵀ, db ← Σ dy  reads x, dy     writes dw, db
//! ```
//!
//! Every tensor has its own fixed seed, so all rows of a problem compute on the same numbers.

use ndarray::{ArrayViewD, IxDyn};

use crate::cli::difference::{largest, largest_difference, rms, rms_difference};
use crate::cli::problem::Problem;
use crate::element::{Aligned, filled};
use crate::{ConvGeometry, Epilogue, Result, reference};
use crate::{ConvPlan, Pass};

use super::measure::{Limits, Timing, time};

/// One pass of one problem: the data all its rows compute on, and what they are compared with.
pub(crate) struct Case<'p> {
    /// Of the problem.
    pub number: usize,
    pub problem: &'p Problem,
    pub pass: Pass,
    pub data: Workload,
    /// Where results are to be checked.
    pub reference: Option<Outputs<f64>>,
    /// Median seconds of the naive loops, once they ran.
    pub naive_seconds: Option<f64>,
}

impl<'p> Case<'p> {
    pub(crate) fn new(
        number: usize,
        problem: &'p Problem,
        geometry: &ConvGeometry,
        pass: Pass,
        check: bool,
    ) -> Result<Self> {
        let data = Workload::new(geometry, pass)?;
        let reference = check.then(|| data.reference()).transpose()?;
        Ok(Self {
            number,
            problem,
            pass,
            data,
            reference,
            naive_seconds: None,
        })
    }
}

/// Inputs of one pass; those it does not read are empty. They and the outputs begin with a cache line, as the tensors of
/// networks and of PyTorch do.
pub(crate) struct Workload {
    geometry: ConvGeometry,
    pass: Pass,
    x: Aligned<f32>,
    w: Aligned<f32>,
    bias: Aligned<f32>,
    dy: Aligned<f32>,
}

/// What a pass writes: y, dx or dw; and db, empty for the other passes.
pub(crate) struct Outputs<T> {
    main: Aligned<T>,
    bias: Aligned<T>,
}

impl Workload {
    /// Random numbers in −1..1 for what `pass` reads.
    pub(crate) fn new(geometry: &ConvGeometry, pass: Pass) -> Result<Self> {
        let needed =
            |wanted: bool, len: usize, seed: u64| random(if wanted { len } else { 0 }, seed);
        let (forward, input, weight) = (
            pass == Pass::Forward,
            pass == Pass::BackwardInput,
            pass == Pass::BackwardWeight,
        );
        Ok(Self {
            x: needed(forward || weight, geometry.input_len(), 1)?,
            w: needed(forward || input, geometry.weight_len(), 2)?,
            bias: needed(forward, geometry.output_channels(), 3)?,
            dy: needed(input || weight, geometry.output_len(), 4)?,
            geometry: geometry.clone(),
            pass,
        })
    }

    /// Buffers for what the pass writes, full of NaN: what is not written shows.
    fn outputs<T: crate::Element>(&self) -> Result<Outputs<T>> {
        let geometry = &self.geometry;
        let (main, bias) = match self.pass {
            Pass::Forward => (geometry.output_len(), 0),
            Pass::BackwardInput => (geometry.input_len(), 0),
            Pass::BackwardWeight => (geometry.weight_len(), geometry.output_channels()),
        };
        Ok(Outputs {
            main: Aligned::filled(main, T::NAN)?,
            bias: Aligned::filled(bias, T::NAN)?,
        })
    }

    /// Times the pass by `plan`: weights prepared, output and scratch allocated before.
    ///
    /// The threads are those of the rayon pool in force. Returns what the last run wrote.
    pub(crate) fn run(
        &self,
        plan: &ConvPlan<f32>,
        limits: Limits,
    ) -> Result<(Timing, Outputs<f32>)> {
        let mut out = self.outputs()?;
        let mut scratch = filled(plan.scratch_len(self.pass), 0.0)?;
        let timing = match self.pass {
            Pass::BackwardWeight => time(limits, || {
                let db = Some(&mut out.bias[..]);
                plan.backward_weight_with_scratch(
                    &self.x,
                    &self.dy,
                    &mut out.main,
                    db,
                    &mut scratch,
                )
            })?,
            Pass::Forward | Pass::BackwardInput => {
                let shape = IxDyn(&self.geometry.weight_shape());
                let w = ArrayViewD::from_shape(shape, &self.w).map_err(|_| {
                    crate::Error::BufferLength {
                        what: "weight",
                        expected: self.geometry.weight_len(),
                        got: self.w.len(),
                    }
                })?;
                let prepared = plan.prepare_for(self.pass, &w)?;
                let epilogue = Epilogue::none().bias(&self.bias);
                time(limits, || match self.pass {
                    Pass::Forward => plan.forward_with_scratch(
                        &self.x,
                        &prepared,
                        &epilogue,
                        &mut out.main,
                        &mut scratch,
                    ),
                    _ => plan.backward_input_with_scratch(
                        &self.dy,
                        &prepared,
                        &mut out.main,
                        &mut scratch,
                    ),
                })?
            }
        };
        Ok((timing, out))
    }

    /// The same pass by the reference loops in f64.
    pub(crate) fn reference(&self) -> Result<Outputs<f64>> {
        let mut out = self.outputs::<f64>()?;
        let (x, w, dy) = (wide(&self.x)?, wide(&self.w)?, wide(&self.dy)?);
        match self.pass {
            Pass::Forward => {
                let bias = wide(&self.bias)?;
                reference::forward(&self.geometry, &x, &w, Some(&bias), &mut out.main);
            }
            Pass::BackwardInput => {
                reference::backward_input(&self.geometry, &w, &dy, &mut out.main)
            }
            Pass::BackwardWeight => {
                reference::backward_weight(&self.geometry, &x, &dy, &mut out.main);
                reference::backward_bias(&self.geometry, &dy, &mut out.bias);
            }
        }
        Ok(out)
    }
}

impl Outputs<f32> {
    /// How far they are from `expected`, the worse of the two outputs.
    pub(crate) fn error(&self, expected: &Outputs<f64>) -> Deviation {
        let (main, bias) = (
            Deviation::new(&self.main, &expected.main),
            Deviation::new(&self.bias, &expected.bias),
        );
        Deviation {
            max: main.max.max(bias.max),
            rms: main.rms.max(bias.rms),
        }
    }
}

/// Differences by the size of what was expected, or as they are where all of that is 0; `f64::MAX` where one is not a
/// number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Deviation {
    /// The largest |difference| by the largest |expected|.
    pub max: f64,
    /// Root mean square of the differences by that of the expected.
    pub rms: f64,
}

impl Deviation {
    fn new(got: &[f32], expected: &[f64]) -> Self {
        let worst = largest_difference(got, expected);
        if worst == f64::MAX {
            return Self {
                max: worst,
                rms: worst,
            };
        }
        let by = |difference: f64, scale: f64| difference / if scale > 0.0 { scale } else { 1.0 };
        Self {
            max: by(worst, largest(expected)),
            rms: by(rms_difference(got, expected), rms(expected)),
        }
    }
}

/// `len` numbers in −1..1, the same for the same seed.
fn random(len: usize, seed: u64) -> Result<Aligned<f32>> {
    let mut generator = fastrand::Rng::with_seed(seed);
    let mut numbers = Aligned::filled(len, 0.0)?;
    numbers
        .iter_mut()
        .for_each(|number| *number = generator.f32() * 2.0 - 1.0);
    Ok(numbers)
}

fn wide(numbers: &[f32]) -> Result<Vec<f64>> {
    let mut copy = filled(numbers.len(), 0.0)?;
    for (copy, &number) in copy.iter_mut().zip(numbers) {
        *copy = f64::from(number);
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use crate::PlanOptions;

    #[test]
    fn errors_are_relative_to_the_largest_reference() {
        let error = |got: &[f32], expected: &[f64]| Deviation::new(got, expected).max;
        assert_eq!(error(&[1.0, -4.0], &[1.5, -4.0]), 0.125);
        assert_eq!(error(&[0.0], &[0.0]), 0.0);
        assert_eq!(error(&[0.5], &[0.0]), 0.5);
        assert_eq!(error(&[f32::NAN, 1.0], &[1.0, 1.0]), f64::MAX);
        assert_eq!(error(&[f32::INFINITY], &[1.0]), f64::MAX);
        assert_eq!(error(&[1.0], &[1.0, 2.0]), f64::MAX);
        assert_eq!(error(&[], &[]), 0.0);
        let rms = |got: &[f32], expected: &[f64]| Deviation::new(got, expected).rms;
        assert_eq!(rms(&[3.0, 5.0], &[3.5, 4.5]), 0.5 / 16.25f64.sqrt());
        assert_eq!(rms(&[0.5, 0.5], &[0.0, 0.0]), 0.5);
        assert_eq!(rms(&[f32::NAN], &[1.0]), f64::MAX);
        assert_eq!(rms(&[], &[]), 0.0);
    }

    #[test]
    fn every_pass_agrees_with_the_reference_in_both_layouts() {
        let limits = Limits::new(0.0);
        let problem: Problem = "g2mb3ic4ih9iw8oc6oh5ow8kh3kw5sh2pw2ph1".parse().unwrap();
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let geometry = problem.geometry(layout, None).unwrap();
            let plan = ConvPlan::new(&geometry, &PlanOptions::default()).unwrap();
            for pass in Pass::ALL {
                let workload = Workload::new(&geometry, pass).unwrap();
                let expected = workload.reference().unwrap();
                let (timing, mut out) = workload.run(&plan, limits).unwrap();
                assert_eq!(timing.runs, 5);
                let error = out.error(&expected);
                assert!(error.max < 1e-6, "{pass} {layout:?}: {error:?}");
                assert!(error.rms < 1e-6, "{pass} {layout:?}: {error:?}");
                // A wrong number anywhere is found, in the bias gradient too.
                *out.bias.last_mut().unwrap_or(&mut out.main[7]) += 0.5;
                assert!(out.error(&expected).max > 1e-3);
            }
        }
    }
}
