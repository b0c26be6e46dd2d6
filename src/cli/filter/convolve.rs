//! The pictures' way through the library: one plan, one convolution for all kernels of a size.
//!
//! ```text
//! planes [C, 1, H, W]  *  weights [K, 1, kh, kw]  ->  maps [C, K, OH, OW]
//! (K × kh·kw) · (kh·kw × C·OH·OW), by the recipe that the plan chooses or the user asks for
//! ```
//!
//! The C colour channels are the batch: all are filtered alike, none is mixed with another.

use std::time::{Duration, Instant};

use crate::{
    Accuracy, ConvGeometry, ConvOptions, ConvPlan, EngineKind, Epilogue, PaddingMode, Pass,
    PlanOptions, RecipeKind, reference,
};
use anyhow::{Context, Result, ensure};
use ndarray::{Array2, Array4, ArrayView2, s};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::picture::reserve;
use crate::cli::difference::{largest, largest_difference};
use crate::element::filled;

/// How long one way of computing is repeated for a comparison, at least one run and one to warm up.
const COMPARE_FOR: Duration = Duration::from_millis(400);

/// Largest |plan − loops| with which a comparison passes, as a share of the largest result that the
/// kernel could give: where the terms of a sum cancel, their rounding stays.
const DIFFERENCE_BOUND: f64 = 1e-4;

/// How every picture is filtered.
pub struct Convolver {
    options: ConvOptions,
    plan: PlanOptions,
    pool: ThreadPool,
    /// One thread, for the comparison.
    single: ThreadPool,
}

impl Convolver {
    /// A convolver on `threads` threads, by `recipe` or, without one, by the plan's choice.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(
        options: ConvOptions,
        recipe: Option<RecipeKind>,
        engine: EngineKind,
        memory: u64,
        threads: usize,
    ) -> Result<Self> {
        let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build();
        Ok(Self {
            options,
            plan: PlanOptions {
                recipe,
                // A pixel that is not finite would spread.
                accuracy: Accuracy::Exact,
                engine,
                memory_budget: usize::try_from(memory).unwrap_or(usize::MAX),
                ..PlanOptions::default()
            },
            pool: pool(threads).with_context(|| format!("cannot start {threads} threads"))?,
            single: pool(1).context("cannot start a thread")?,
        })
    }

    /// Height and width of what a kernel `[kh, kw]` makes of a picture `[H, W]`.
    ///
    /// # Errors
    /// Sizes and options that do not go together.
    pub fn output_size(
        &self,
        picture: (usize, usize),
        kernel: (usize, usize),
    ) -> Result<(usize, usize)> {
        let geometry = ConvGeometry::new(
            &[1, 1, picture.0, picture.1],
            &[1, 1, kernel.0, kernel.1],
            &self.options,
        )?;
        Ok((geometry.axes()[0].output(), geometry.axes()[1].output()))
    }

    /// The feature maps `[C, K, OH, OW]` of `planes` `[C, 1, H, W]` under `weights` `[K, 1, kh, kw]`.
    ///
    /// # Errors
    /// Sizes and options that do not go together; memory.
    pub fn maps(&self, planes: &Array4<f32>, weights: &Array4<f32>) -> Result<Array4<f32>> {
        self.convolve(planes, weights, &self.options)
    }

    fn convolve(
        &self,
        planes: &Array4<f32>,
        weights: &Array4<f32>,
        options: &ConvOptions,
    ) -> Result<Array4<f32>> {
        let plan = ConvPlan::new(
            &ConvGeometry::new(planes.shape(), weights.shape(), options)?,
            &self.plan,
        )?;
        let prepared = plan.prepare(weights)?;
        Ok(self
            .pool
            .install(|| plan.forward(planes, &prepared, &Epilogue::none()))?)
    }

    /// The opacity that belongs to the feature maps of a kernel `[kh, kw]`: not filtered, but taken from under
    /// the middle of the kernel wherever stride or padding moved the pixels.
    ///
    /// # Errors
    /// As [`maps`](Self::maps).
    pub fn alpha(&self, alpha: &Array2<f32>, (kh, kw): (usize, usize)) -> Result<Array2<f32>> {
        let (height, width) = alpha.dim();
        let mut middle = Array4::zeros((1, 1, kh, kw));
        middle[[0, 0, (kh - 1) / 2, (kw - 1) / 2]] = 1.0;
        let mut samples = reserve(alpha.len())?;
        samples.extend(alpha);
        let plane = Array4::from_shape_vec((1, 1, height, width), samples)?;
        let options = ConvOptions {
            flip_kernel: false,
            ..self.options.clone()
        };
        Ok(self
            .convolve(&plane, &middle, &options)?
            .slice_move(s![0, 0, .., ..]))
    }

    /// The largest |result| that a kernel of `w`, one of `count`, could give: Σ |weights| · largest |sample|.
    fn reach(&self, x: &[f32], w: &[f32], count: usize) -> f64 {
        let padding = match self.options.padding_mode {
            PaddingMode::Constant(value) => value.abs(),
            _ => 0.0,
        };
        let kernels = w.chunks((w.len() / count.max(1)).max(1));
        let sums = kernels.map(|kernel| kernel.iter().map(|weight| f64::from(weight.abs())).sum());
        largest(x).max(padding) * sums.fold(0.0, f64::max)
    }

    /// Times the plain loops and the plan on the same data.
    ///
    /// # Errors
    /// As [`maps`](Self::maps); results that differ by more than rounding.
    pub fn compare(&self, planes: &Array4<f32>, weights: &Array4<f32>) -> Result<Comparison> {
        let geometry = ConvGeometry::new(planes.shape(), weights.shape(), &self.options)?;
        let plan = ConvPlan::new(&geometry, &self.plan)?;
        let way = match plan.explain(Pass::Forward).engine {
            Some(engine) => format!("{} on {engine}", plan.recipe()),
            None => plan.recipe().to_string(),
        };
        let prepared = plan.prepare(weights)?;
        let (planes, weights) = (planes.as_standard_layout(), weights.as_standard_layout());
        let x = planes.as_slice().context("planes in standard layout")?;
        let w = weights.as_slice().context("weights in standard layout")?;
        let mut expected = filled(geometry.output_len(), 0.0f32)?;
        let naive = best(|| {
            reference::forward(&geometry, x, w, None, &mut expected);
            Ok(())
        })?;
        let mut y = filled(geometry.output_len(), 0.0f32)?;
        let mut time = |pool: &ThreadPool| {
            pool.install(|| {
                let mut scratch = filled(plan.scratch_len(Pass::Forward), 0.0f32)?;
                best(|| {
                    Ok(plan.forward_with_scratch(
                        x,
                        &prepared,
                        &Epilogue::none(),
                        &mut y,
                        &mut scratch,
                    )?)
                })
            })
        };
        let single = time(&self.single)?;
        let all = match self.pool.current_num_threads() {
            1 => single,
            _ => time(&self.pool)?,
        };
        let difference = largest_difference(&y, &expected);
        let bound = DIFFERENCE_BOUND * self.reach(x, w, geometry.output_channels());
        ensure!(
            difference <= bound,
            "the plain loops and {way} differ by {difference:.1e}, rounding by less than {bound:.1e}"
        );
        Ok(Comparison {
            ways: vec![way],
            naive,
            single,
            all,
            threads: self.pool.current_num_threads(),
            difference,
            largest: largest(&expected),
        })
    }
}

/// The shortest of the runs that fit into [`COMPARE_FOR`], after one to warm up.
fn best(mut run: impl FnMut() -> Result<()>) -> Result<Duration> {
    let begin = Instant::now();
    run()?;
    let mut shortest = begin.elapsed();
    while begin.elapsed() < COMPARE_FOR {
        let begin = Instant::now();
        run()?;
        shortest = shortest.min(begin.elapsed());
    }
    Ok(shortest)
}

/// The kernels of one size as `[K, 1, kh, kw]`.
///
/// # Errors
/// Kernels of different sizes, which is a mistake of the caller.
pub fn stack<'k>(kernels: impl IntoIterator<Item = ArrayView2<'k, f32>>) -> Result<Array4<f32>> {
    let views: Vec<_> = kernels.into_iter().collect();
    let stacked = ndarray::stack(ndarray::Axis(0), &views)?;
    Ok(stacked.insert_axis(ndarray::Axis(1)))
}

/// Times and results of the plain loops and of the plans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The recipes of the plans, each once; kernels of other sizes may have another.
    ways: Vec<String>,
    naive: Duration,
    single: Duration,
    all: Duration,
    threads: usize,
    difference: f64,
    largest: f64,
}

impl Comparison {
    /// The two one after the other: times add up, the larger difference stays.
    pub fn and(mut self, other: Self) -> Self {
        for way in other.ways {
            if !self.ways.contains(&way) {
                self.ways.push(way);
            }
        }
        Self {
            ways: self.ways,
            naive: self.naive + other.naive,
            single: self.single + other.single,
            all: self.all + other.all,
            threads: self.threads.max(other.threads),
            difference: self.difference.max(other.difference),
            largest: self.largest.max(other.largest),
        }
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let faster = |time: Duration| self.naive.as_secs_f64() / time.as_secs_f64().max(1e-9);
        let (loops, ways) = ("naive loops", self.ways.join(", "));
        let width = ways.len().max(loops.len());
        writeln!(
            f,
            "{loops:<width$}  {:>3} thread  {:>10.2} ms",
            1,
            milliseconds(self.naive)
        )?;
        let line = |f: &mut std::fmt::Formatter<'_>, threads: usize, time: Duration| {
            let plural = if threads == 1 { " " } else { "s" };
            writeln!(
                f,
                "{ways:<width$}  {threads:>3} thread{plural} {:>10.2} ms   {:.1} times faster",
                milliseconds(time),
                faster(time)
            )
        };
        line(f, 1, self.single)?;
        if self.threads > 1 {
            line(f, self.threads, self.all)?;
        }
        write!(
            f,
            "largest difference {:.1e}, largest value {:.0}",
            self.difference, self.largest
        )
    }
}
