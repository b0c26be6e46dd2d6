//! The product that Gemm, MatMul and Linear share: `C[b] (m × n) ← A[b] (m × k) · B[b] (k × n)`, either factor transposed.
//!
//! ```text
//! f32, B one constant matrix     a convolution with kernels of one tap: rows of A are pixels, columns of B kernels
//! f32, A one constant matrix     the same with the channels first: columns of B are pixels, rows of A kernels
//! f32 and f64 otherwise          blocks of C by an engine, on all threads
//! other types                    loops; integers wrap, halves sum in f64
//! ```

use std::sync::Arc;

use ndarray::{ArrayRef, ArrayView, ArrayView2, ArrayViewMut3, Axis, Ix3, IxDyn, ShapeBuilder, s};

use crate::conv::{ConvPlan, Epilogue, PreparedWeights};
use crate::element::Element;
use crate::error::{Error, Result, product};
use crate::gemm::{EngineKind, multiply};
use crate::geometry::{ConvGeometry, ConvOptions, Layout};
use crate::network::operator::check::span;
use crate::network::operator::convolution::{Prepared, Prepares};
use crate::network::operator::elementwise::{Broadcast, Number};
use crate::network::tensor::{Scalar, Tensor};
use crate::parallel::{threads_for, try_for_each_tile};
use crate::plan::{Pass, PlanOptions};

/// Rows and columns of a block of C: its parts of A and B are packed once for it.
const BLOCK: [usize; 2] = [128, 512];

/// The sizes of a product, and how its factors lie.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// Whether A lies as k × m and B as n × k.
    pub(super) transposed: [bool; 2],
    /// The axes before the last two of A, B and C.
    batches: [Vec<usize>; 3],
    /// Which matrices of A and B meet in one of C.
    meeting: Broadcast<2>,
}

impl Sizes {
    /// Of m × k by k × n, with these axes of A, B and C before them.
    pub(super) fn new(
        [m, k, n]: [usize; 3],
        transposed: [bool; 2],
        batches: [Vec<usize>; 3],
    ) -> Self {
        let meeting = Broadcast::new(&batches[2], [&batches[0], &batches[1]]);
        Self {
            m,
            k,
            n,
            transposed,
            batches,
            meeting,
        }
    }

    /// Matrices of C.
    pub(super) fn batch(&self) -> usize {
        span(&self.batches[2])
    }

    pub(super) fn multiply_adds(&self) -> u64 {
        [self.batch(), self.m, self.k, self.n]
            .iter()
            .fold(1, |all, &length| all.saturating_mul(length as u64))
    }

    fn is_empty(&self) -> bool {
        self.batch() == 0 || self.m == 0 || self.k == 0 || self.n == 0
    }

    /// Where the matrices of A and B begin for matrix `at` of C.
    fn offsets(&self, at: usize) -> [usize; 2] {
        let mut offsets = [0; 2];
        self.meeting.rows(at, 1, |starts, _| offsets = starts);
        [offsets[0] * self.m * self.k, offsets[1] * self.k * self.n]
    }
}

/// A product by the native kernels, with one factor as the weights of a convolution.
pub(super) struct Native {
    plan: Plan,
    weights: Arc<PreparedWeights<f32>>,
    factor: usize,
}

impl Native {
    /// C = alpha · A · B where one factor is a constant matrix; `None` where neither is, or something is empty.
    pub(super) fn new(
        sizes: &Sizes,
        constants: [Option<&Arc<Tensor>>; 2],
        alpha: f32,
        prepared: &Prepared<f32>,
        options: &PlanOptions,
    ) -> Result<Option<Self>> {
        if sizes.is_empty() {
            return Ok(None);
        }
        let Sizes { m, k, n, .. } = *sizes;
        let [a_turned, b_turned] = sizes.transposed;
        let single = |factor: usize| sizes.batches[factor].iter().all(|&length| length == 1);
        let (factor, value, image, kernels, layout, turned) = match constants {
            [_, Some(b)] if single(1) && !a_turned => {
                let batch = span(&sizes.batches[0]);
                let rows = product("rows of A", &[batch, m])?;
                (1, b, [1, rows, k], n, Layout::ChannelsLast, !b_turned)
            }
            [Some(a), _] if single(0) && !b_turned => (
                0,
                a,
                [sizes.batch(), k, n],
                m,
                Layout::ChannelsFirst,
                a_turned,
            ),
            _ => return Ok(None),
        };
        let shape = [kernels, k, 1];
        let geometry = ConvGeometry::new(&image, &shape, &ConvOptions::new().layout(layout))?;
        let plan = Plan {
            plan: ConvPlan::for_passes(&geometry, options, &[Pass::Forward])?,
            shape,
            strides: if turned { [1, kernels, 1] } else { [k, 1, 1] },
            alpha,
        };
        let weights = prepared.get(value, &plan)?;
        Ok(Some(Self {
            plan,
            weights,
            factor,
        }))
    }

    /// The factor that is in the weights.
    pub(super) fn factor(&self) -> usize {
        self.factor
    }

    pub(super) fn scratch_len(&self) -> usize {
        self.plan.plan.scratch_len(Pass::Forward)
    }

    pub(super) fn recipe(&self) -> String {
        self.plan.plan.recipe().to_string()
    }

    /// C ← the product and its epilogue; its bias has a number a column (a row, where A is in the weights).
    pub(super) fn run(
        &self,
        x: &[f32],
        epilogue: &Epilogue<'_, f32>,
        c: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<()> {
        self.plan
            .plan
            .forward_with_scratch(x, &self.weights, epilogue, c, scratch)
    }
}

/// The plan of a convolution, and how a matrix is its weights `[O, C, 1]`.
struct Plan {
    plan: ConvPlan<f32>,
    shape: [usize; 3],
    strides: [usize; 3],
    alpha: f32,
}

impl Plan {
    /// Calls `body` with alpha times the matrix as weights.
    fn with<R>(
        &self,
        matrix: &ArrayRef<f32, IxDyn>,
        body: impl FnOnce(&ArrayRef<f32, Ix3>) -> Result<R>,
    ) -> Result<R> {
        let wrong = || Error::Overflow { what: "weights" };
        let shape = Ix3(self.shape[0], self.shape[1], self.shape[2]);
        let strides = Ix3(self.strides[0], self.strides[1], self.strides[2]);
        let elements = matrix.as_slice().ok_or_else(wrong)?;
        let weights = ArrayView::from_shape(shape.strides(strides), elements);
        let weights = weights.map_err(|_| wrong())?;
        if self.alpha == 1.0 {
            return body(&weights);
        }
        body(&weights.mapv(|value| self.alpha * value))
    }
}

impl Prepares<f32> for Plan {
    fn prepare(&self, matrix: &ArrayRef<f32, IxDyn>) -> Result<PreparedWeights<f32>> {
        self.with(matrix, |weights| {
            self.plan.prepare_for(Pass::Forward, weights)
        })
    }

    fn update(&self, held: &mut PreparedWeights<f32>, matrix: &ArrayRef<f32, IxDyn>) -> Result<()> {
        self.with(matrix, |weights| self.plan.update(held, weights))
    }

    fn takes(&self, prepared: &PreparedWeights<f32>) -> bool {
        self.plan.takes(Pass::Forward, prepared)
    }
}

/// C ← A · B by the engine, block by block.
pub(super) fn by_engine<T: Element>(
    sizes: &Sizes,
    kind: EngineKind,
    a: &[T],
    b: &[T],
    c: &mut [T],
) -> Result<()> {
    let engine = kind.engine::<T>()?;
    let Sizes {
        m,
        k,
        n,
        transposed: [a_turned, b_turned],
        ..
    } = *sizes;
    let wrong = |_| Error::Overflow { what: "a matrix" };
    let c = ArrayViewMut3::from_shape((sizes.batch(), m, n), c).map_err(wrong)?;
    let parallel = threads_for(sizes.multiply_adds().into()) > 1;
    let _one_thread = kind.one_thread();
    try_for_each_tile(
        c,
        [1, BLOCK[0], BLOCK[1]],
        parallel,
        &|[batch, row, column], mut c| {
            let (_, rows, columns) = c.dim();
            let [a_start, b_start] = sizes.offsets(batch);
            let (a, b) = (&a[a_start..a_start + m * k], &b[b_start..b_start + k * n]);
            let a = matrix(a, [m, k], a_turned)?;
            let b = matrix(b, [k, n], b_turned)?;
            let a = a.slice_move(s![row..row + rows, ..]);
            let b = b.slice_move(s![.., column..column + columns]);
            multiply(engine, a, b, T::ZERO, c.index_axis_mut(Axis(0), 0))
        },
    )
}

/// `elements` as `rows` × `columns`, which lie as columns × rows where they are turned.
fn matrix<T>(
    elements: &[T],
    [rows, columns]: [usize; 2],
    turned: bool,
) -> Result<ArrayView2<'_, T>> {
    let shape = if turned {
        (columns, rows)
    } else {
        (rows, columns)
    };
    let lying = ArrayView2::from_shape(shape, elements);
    let lying = lying.map_err(|_| Error::Overflow { what: "a matrix" })?;
    Ok(if turned { lying.reversed_axes() } else { lying })
}

/// C ← A · B by loops.
pub(super) fn by_loops<T: Number + Scalar>(sizes: &Sizes, a: &[T], b: &[T], c: &mut [T]) {
    let Sizes {
        m,
        k,
        n,
        transposed: [a_turned, b_turned],
        ..
    } = *sizes;
    let a_steps = if a_turned { [1, m] } else { [k, 1] };
    let b_steps = if b_turned { [1, k] } else { [n, 1] };
    for (batch, c) in c.chunks_mut(m.saturating_mul(n).max(1)).enumerate() {
        let [a_start, b_start] = sizes.offsets(batch);
        for (i, row) in c.chunks_mut(n).enumerate() {
            for (j, c) in row.iter_mut().enumerate() {
                let pairs = (0..k).map(|p| {
                    let a = a[a_start + i * a_steps[0] + p * a_steps[1]];
                    (a, b[b_start + p * b_steps[0] + j * b_steps[1]])
                });
                *c = if T::INTEGER {
                    pairs.fold(T::ZERO, |sum, (a, b)| sum.plus(a.times(b)))
                } else {
                    T::from_f64(pairs.map(|(a, b)| a.to_f64() * b.to_f64()).sum())
                };
            }
        }
    }
}
