//! Every way to compute a convolution: recipe, engine and threads.

use std::fmt;

use gemmconv::{Accuracy, Axis, ConvGeometry, Element, EngineKind, PlanOptions, RecipeKind};

/// A recipe, an engine and a number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The recipe forced, or the plan's own choice.
    pub recipe: Option<RecipeKind>,
    pub engine: EngineKind,
    pub threads: usize,
}

/// Whether a plan must take `geometry` by `recipe` in elements of type `T` with scratch enough: the whole of what
/// a recipe may refuse.
pub fn takes<T: Element>(recipe: RecipeKind, geometry: &ConvGeometry) -> bool {
    let single = size_of::<T>() == size_of::<f32>();
    let taps: usize = geometry.axes().iter().map(|axis| axis.kernel()).product();
    let axes = geometry.axes();
    let of = |number: fn(&Axis) -> usize, wanted| axes.iter().all(|axis| number(axis) == wanted);
    match recipe {
        RecipeKind::Naive | RecipeKind::Unfold => true,
        RecipeKind::Direct => single,
        RecipeKind::Pointwise => single && taps == 1,
        RecipeKind::Grouped => single && geometry.groups() > 1,
        RecipeKind::WinogradF2 | RecipeKind::WinogradF4 => {
            let kernels: Vec<usize> = axes.iter().map(Axis::kernel).collect();
            let halves = of(Axis::stride, 2) && of(Axis::dilation, 1) && kernels == [3, 3];
            let strides = of(Axis::stride, 1) || halves;
            let several = kernels.iter().filter(|&&kernel| kernel > 1).count();
            let pieces: usize = kernels.iter().map(|kernel| kernel.div_ceil(3)).product();
            // On a line pieces may have four taps.
            let longest = kernels.iter().copied().max().unwrap_or(1);
            let of_four = several == 1 && recipe == RecipeKind::WinogradF4 && longest <= 36;
            let few = pieces <= 9 || of_four;
            single && geometry.rank() <= 2 && several > 0 && !kernels.contains(&2) && strides && few
        }
        RecipeKind::Fft => cfg!(feature = "fft") && of(Axis::stride, 1),
    }
}

impl Way {
    /// The reference loops.
    pub const LOOPS: Self = Self {
        recipe: Some(RecipeKind::Naive),
        engine: EngineKind::MatrixMultiply,
        threads: 1,
    };

    /// Ways that [`on`](Self::on) gives in f32 for one and two threads at least: the loops, and on one thread and
    /// on two an engine, the direct recipe and the plan's own choice.
    pub const FEWEST: usize = 1 + 2 * 3;

    /// The same in f64, which the direct recipe does not know.
    pub const FEWEST_F64: usize = 1 + 2 * 2;

    /// Every recipe that takes `geometry` in `T` with each number of threads, `unfold` on every engine, and the
    /// plan's own choice of exact ones; the loops come first and alone know neither engines nor threads. All of them are exact where
    /// sums are: those that are not, `WinogradF4` and `Fft`, have tests of their own.
    pub fn on<T: Element>(geometry: &ConvGeometry, threads: &[usize]) -> Vec<Self> {
        let mut ways = vec![Self::LOOPS];
        let kinds = RecipeKind::ALL.into_iter().filter(|kind| {
            !matches!(
                kind,
                RecipeKind::Naive | RecipeKind::WinogradF4 | RecipeKind::Fft
            )
        });
        for recipe in kinds.map(Some).chain([None]) {
            let engines = match recipe {
                Some(RecipeKind::Unfold) => EngineKind::available(),
                _ => vec![EngineKind::default()],
            };
            for engine in engines {
                ways.extend(threads.iter().map(|&threads| Self {
                    recipe,
                    engine,
                    threads,
                }));
            }
        }
        ways.retain(|way| way.takes::<T>(geometry));
        ways
    }

    /// Whether the recipe, if one is forced, takes `geometry`.
    pub fn takes<T: Element>(&self, geometry: &ConvGeometry) -> bool {
        self.recipe
            .is_none_or(|recipe| takes::<T>(recipe, geometry))
    }

    /// Options that force this way, and threads however small the work.
    pub fn options(&self) -> PlanOptions {
        PlanOptions {
            recipe: self.recipe,
            ..PlanOptions::new()
                .accuracy(Accuracy::Exact)
                .engine(self.engine)
                .serial_below(0)
        }
    }

    /// Whether results are sums of products of one pixel and one weight: not by Winograd's algorithm or Fourier transforms,
    /// where all numbers of a tile meet.
    pub fn is_exact(&self) -> bool {
        self.recipe.is_none_or(|recipe| recipe.is_exact())
    }

    /// Runs `work` with this way's threads.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        super::pool(self.threads).install(work)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipe = self
            .recipe
            .map_or("the plan's choice", |recipe| recipe.name());
        write!(
            formatter,
            "{recipe}, {}, {} threads",
            self.engine, self.threads
        )
    }
}
