//! U = G g Gᵀ: kernels to their products, the lanes being kernels.
//!
//! ```text
//! g [K²][lane]   ──► lines G g [N][K][lane] ──► u [N²][lane]        all in f64, rounded once
//! ```

use std::marker::PhantomData;

use super::points::Weights;
use super::{MOST_PRODUCTS, MOST_TILE_TAPS, Tiling, by_points};
use crate::element::Element;
use crate::kernel::{Arithmetic, Isa, Loop, compiled};

/// Kernels that are transformed together.
pub(crate) const KERNELS: usize = 16;

/// G g Gᵀ of some kernels, row by row. Of `g` the taps of a tile are read, of `u` its products are written.
pub(crate) fn transform_weights<T: Element>(
    isa: Isa,
    tiling: Tiling,
    g: &[[T; KERNELS]; MOST_TILE_TAPS],
    u: &mut [[T; KERNELS]; MOST_PRODUCTS],
) {
    tiling.check();
    let transform = Transform { isa };
    by_points!(weights of tiling, transform.of::<T>(g, u));
}

struct Transform {
    isa: Isa,
}

impl Transform {
    fn of<
        T: Element,
        D: Weights<ND, KD>,
        A: Weights<NA, KA>,
        const ND: usize,
        const KD: usize,
        const NA: usize,
        const KA: usize,
    >(
        &self,
        g: &[[T; KERNELS]; MOST_TILE_TAPS],
        u: &mut [[T; KERNELS]; MOST_PRODUCTS],
    ) {
        let kernels = Kernels::<T, D, A, ND, KD, NA, KA>(g, u, PhantomData);
        compiled(self.isa, kernels);
    }
}

struct Kernels<'a, T, D, A, const ND: usize, const KD: usize, const NA: usize, const KA: usize>(
    &'a [[T; KERNELS]; MOST_TILE_TAPS],
    &'a mut [[T; KERNELS]; MOST_PRODUCTS],
    PhantomData<(D, A)>,
);

impl<
    T: Element,
    D: Weights<ND, KD>,
    A: Weights<NA, KA>,
    const ND: usize,
    const KD: usize,
    const NA: usize,
    const KA: usize,
> Loop for Kernels<'_, T, D, A, ND, KD, NA, KA>
{
    type Output = ();
    #[inline(always)]
    fn run<M: Arithmetic>(self) {
        /// Numbers of f64 in half a cache line: what stays in registers.
        const LANES: usize = 8;
        let (down, across) = const { (D::WEIGHTS, A::WEIGHTS) };
        let Self(g, u, _) = self;
        for first in (0..KERNELS).step_by(LANES) {
            let mut lines = [[[0.0; LANES]; KA]; ND];
            for x in 0..KA {
                let column: [[f64; LANES]; KD] = std::array::from_fn(|y| {
                    std::array::from_fn(|lane| g[y * KA + x][first + lane].to_f64())
                });
                for (line, row) in lines.iter_mut().zip(&down) {
                    line[x] = product(&column, row);
                }
            }
            for (i, line) in lines.iter().enumerate() {
                for (j, row) in across.iter().enumerate() {
                    let sums = product(line, row);
                    for (u, sum) in u[i * NA + j][first..].iter_mut().zip(sums) {
                        *u = T::from_f64(sum);
                    }
                }
            }
        }
    }
}

/// Σ row[k] · numbers[k] in every lane.
#[inline(always)]
fn product<const LANES: usize, const K: usize>(
    numbers: &[[f64; LANES]; K],
    row: &[f64; K],
) -> [f64; LANES] {
    std::array::from_fn(|lane| {
        let mut sum = row[0] * numbers[0][lane];
        for (row, numbers) in row.iter().zip(numbers).skip(1) {
            sum += row * numbers[lane];
        }
        sum
    })
}
