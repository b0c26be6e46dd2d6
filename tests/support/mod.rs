//! What the tests of the convolution share: a report of all failures, operands, layouts, and every way to plan.

// Every test program compiles this module for itself and uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod fourier;
mod ways;
pub mod winograd;

use std::sync::OnceLock;

use gemmconv::{
    ConvGeometry, ConvPlan, Element, Epilogue, Layout, TransposedGeometry, TransposedPlan, Wanted,
};
use ndarray::{ArrayD, Dimension, IxDyn};
use rayon::{ThreadPool, ThreadPoolBuilder};

pub use ways::{Way, takes};

/// Failures of a table, all reported together, and how many checks there were.
#[derive(Default)]
pub struct Failures {
    messages: Vec<String>,
    checks: usize,
}

impl Failures {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many checks there were so far.
    pub fn checks(&self) -> usize {
        self.checks
    }

    pub fn check(&mut self, holds: bool, message: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds {
            self.messages.push(message());
        }
    }

    /// Shapes and every value equal; NaN equals NaN. (Zeros of either sign are equal.)
    pub fn equal<T: Element>(&mut self, what: &str, got: &ArrayD<T>, expected: &ArrayD<T>) {
        self.values(what, got, expected, |got, expected, _| {
            got == expected || (got.is_nan() && expected.is_nan())
        });
    }

    /// Shapes equal, and `|got − expected| ≤ bound` at every index, in f64.
    pub fn within<T: Element>(
        &mut self,
        what: &str,
        got: &ArrayD<T>,
        expected: &ArrayD<f64>,
        bound: impl Fn(f64, &IxDyn) -> f64,
    ) {
        let got = got.mapv(Element::to_f64);
        self.values(what, &got, expected, |got, expected, index| {
            (got - expected).abs() <= bound(expected, index)
        });
    }

    fn values<T: Element>(
        &mut self,
        what: &str,
        got: &ArrayD<T>,
        expected: &ArrayD<T>,
        good: impl Fn(T, T, &IxDyn) -> bool,
    ) {
        if got.shape() != expected.shape() {
            return self.check(false, || {
                format!(
                    "{what}: shape {:?}, expected {:?}",
                    got.shape(),
                    expected.shape()
                )
            });
        }
        let pairs = got.indexed_iter().zip(expected);
        let mut wrong = pairs.filter(|((index, got), expected)| !good(**got, **expected, index));
        let first = wrong
            .next()
            .map(|((index, got), expected)| (index, *got, *expected));
        let more = wrong.count();
        self.check(first.is_none(), || {
            let (index, got, expected) = first.unwrap();
            format!(
                "{what} at {:?}: {got}, expected {expected} ({more} more)",
                index.slice()
            )
        });
    }

    /// Panics with every failure, or where fewer than `at_least` checks were made.
    #[track_caller]
    pub fn finish(self, at_least: usize) {
        let count = self.messages.len();
        assert!(
            count == 0,
            "{count} of {} checks failed:\n{}",
            self.checks,
            self.messages.join("\n")
        );
        assert!(
            self.checks >= at_least,
            "{} checks, at least {at_least} were expected",
            self.checks
        );
    }
}

/// The pool of 1, 2 or 3 threads.
pub fn pool(threads: usize) -> &'static ThreadPool {
    static POOLS: [OnceLock<ThreadPool>; 3] = [const { OnceLock::new() }; 3];
    POOLS[threads - 1].get_or_init(|| {
        ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    })
}

/// Output and all gradients of one convolution, plain or transposed.
#[derive(Clone, Debug)]
pub struct Answers<T> {
    pub y: ArrayD<T>,
    pub dx: ArrayD<T>,
    pub dw: ArrayD<T>,
    pub db: ArrayD<T>,
}

/// What a convolution and its gradients are computed from.
#[derive(Clone, Debug)]
pub struct Operands<T> {
    pub x: ArrayD<T>,
    pub w: ArrayD<T>,
    pub b: Vec<T>,
    pub dy: ArrayD<T>,
}

impl<T: Element> Operands<T> {
    pub fn integers(seed: u64, geometry: &ConvGeometry) -> Self {
        Self::with(geometry, &mut Random::new(seed), Random::integers)
    }

    pub fn reals(seed: u64, geometry: &ConvGeometry) -> Self {
        Self::with(geometry, &mut Random::new(seed), Random::reals)
    }

    fn with(
        geometry: &ConvGeometry,
        random: &mut Random,
        draw: impl Fn(&mut Random, &[usize]) -> ArrayD<T>,
    ) -> Self {
        Self {
            x: draw(random, &geometry.input_shape()),
            w: draw(random, &geometry.weight_shape()),
            b: draw(random, &[geometry.output_channels()])
                .into_raw_vec_and_offset()
                .0,
            dy: draw(random, &geometry.output_shape()),
        }
    }

    pub fn map<U>(&self, change: impl Fn(T) -> U + Copy) -> Operands<U> {
        Operands {
            x: self.x.mapv(change),
            w: self.w.mapv(change),
            b: self.b.iter().map(|&value| change(value)).collect(),
            dy: self.dy.mapv(change),
        }
    }

    /// The same numbers in f32, where that changes none of them and no sum is rounded.
    fn in_f32(&self) -> Operands<f32> {
        assert_eq!(T::NAME, f64::NAME, "no way of f32 stands in for another");
        let single = self.map(|value| value.to_f64() as f32);
        let all = single
            .x
            .iter()
            .chain(&single.w)
            .chain(&single.b)
            .chain(&single.dy);
        assert!(
            all.into_iter()
                .all(|value| value.fract() == 0.0 && value.abs() < 1e4),
            "f32 stands in for f64 on small integers only"
        );
        single
    }

    /// The convolution and its gradients. Integers of f64 go through f32 where the way knows that alone.
    pub fn conv(&self, geometry: &ConvGeometry, way: Way) -> Answers<T> {
        if !way.takes::<T>(geometry) {
            return self.in_f32().conv(geometry, way).convert();
        }
        let plan = ConvPlan::new(geometry, &way.options()).unwrap();
        assert!(way.recipe.is_none_or(|recipe| plan.recipe() == recipe));
        let weights = plan.prepare(&self.w).unwrap();
        let epilogue = Epilogue::none().bias(&self.b);
        way.run(|| {
            let gradients = plan
                .backward(&self.x, &weights, &self.dy, Wanted::ALL)
                .unwrap();
            Answers {
                y: plan.forward(&self.x, &weights, &epilogue).unwrap(),
                dx: gradients.d_input.unwrap(),
                dw: gradients.d_weight.unwrap(),
                db: vector(gradients.d_bias.unwrap()),
            }
        })
    }

    /// The transposed convolution and its gradients, as `conv`.
    pub fn transposed(&self, geometry: &TransposedGeometry, way: Way) -> Answers<T> {
        if !way.takes::<T>(geometry.twin()) {
            return self.in_f32().transposed(geometry, way).convert();
        }
        let plan = TransposedPlan::new(geometry, &way.options()).unwrap();
        let weights = plan.prepare(&self.w).unwrap();
        let epilogue = Epilogue::none().bias(&self.b);
        way.run(|| {
            let gradients = plan
                .backward(&self.x, &weights, &self.dy, Wanted::ALL)
                .unwrap();
            Answers {
                y: plan.forward(&self.x, &weights, &epilogue).unwrap(),
                dx: gradients.d_input.unwrap(),
                dw: gradients.d_weight.unwrap(),
                db: vector(gradients.d_bias.unwrap()),
            }
        })
    }
}

impl<T: Element> Answers<T> {
    /// The four arrays with their names.
    pub fn named(&self) -> [(&'static str, &ArrayD<T>); 4] {
        [
            ("y", &self.y),
            ("dx", &self.dx),
            ("dw", &self.dw),
            ("db", &self.db),
        ]
    }

    fn convert<U: Element>(&self) -> Answers<U> {
        let [y, dx, dw, db] = self
            .named()
            .map(|(_, array)| array.mapv(|value| U::from_f64(value.to_f64())));
        Answers { y, dx, dw, db }
    }
}

/// Random arrays, the same at every run.
pub struct Random(fastrand::Rng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// −4, −3, … 4: sums of their products are exact.
    pub fn integers<T: Element>(&mut self, shape: &[usize]) -> ArrayD<T> {
        ArrayD::from_shape_simple_fn(shape, || T::from_f64(f64::from(self.0.i32(-4..=4))))
    }

    /// −1 to 1.
    pub fn reals<T: Element>(&mut self, shape: &[usize]) -> ArrayD<T> {
        ArrayD::from_shape_simple_fn(shape, || T::from_f64(2.0 * self.0.f64() - 1.0))
    }

    pub fn choose<V: Copy>(&mut self, values: &[V]) -> V {
        values[self.0.usize(..values.len())]
    }
}

/// A batch in channels-first order, put in the order of `layout`.
pub fn to_layout<T: Clone>(layout: Layout, batch: &ArrayD<T>) -> ArrayD<T> {
    match layout {
        Layout::ChannelsFirst => batch.clone(),
        Layout::ChannelsLast => {
            let mut axes: Vec<usize> = (0..batch.ndim()).collect();
            axes[1..].rotate_left(1);
            batch
                .view()
                .permuted_axes(axes)
                .as_standard_layout()
                .into_owned()
        }
    }
}

/// A batch in the order of `layout`, put in channels-first order.
pub fn from_layout<T: Clone>(layout: Layout, batch: &ArrayD<T>) -> ArrayD<T> {
    match layout {
        Layout::ChannelsFirst => batch.clone(),
        Layout::ChannelsLast => {
            let mut axes: Vec<usize> = (0..batch.ndim()).collect();
            axes[1..].rotate_right(1);
            batch
                .view()
                .permuted_axes(axes)
                .as_standard_layout()
                .into_owned()
        }
    }
}

pub const LAYOUTS: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

pub fn vector<T>(values: Vec<T>) -> ArrayD<T> {
    ArrayD::from_shape_vec(IxDyn(&[values.len()]), values).unwrap()
}

/// ⟨a, b⟩ in f64.
pub fn dot<T: Element>(a: &ArrayD<T>, b: &ArrayD<T>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    a.iter()
        .zip(b)
        .map(|(&a, &b)| a.to_f64() * b.to_f64())
        .sum()
}

pub fn largest<T: Element>(values: &ArrayD<T>) -> f64 {
    values
        .iter()
        .map(|&value| value.to_f64().abs())
        .fold(0.0, f64::max)
}
