//! U = G g Gᵀ: kernels to their products, the lanes being kernels.
//!
//! ```text
//! g [9][lane]   ──► lines G g [N][3][lane] ──► u [N²][lane]        all in f64, rounded once
//! ```

use super::points::weight_rows;
use super::{MOST_PRODUCTS, TAPS, Tiling};
use crate::element::Element;
use crate::kernel::{Arithmetic, Isa, Loop, compiled};

/// Kernels that are transformed together.
pub(crate) const KERNELS: usize = 16;

/// G g Gᵀ of some kernels, row by row; the products beyond N² keep their values.
pub(crate) fn transform_weights<T: Element>(
    isa: Isa,
    tiling: Tiling,
    g: &[[T; KERNELS]; TAPS * TAPS],
    u: &mut [[T; KERNELS]; MOST_PRODUCTS],
) {
    match (tiling.results, tiling.stride) {
        (4, 1) => compiled(isa, Transform::<T, 4, 1, 6>(g, u)),
        (4, _) => compiled(isa, Transform::<T, 4, 2, 9>(g, u)),
        (_, 1) => compiled(isa, Transform::<T, 2, 1, 4>(g, u)),
        (_, _) => compiled(isa, Transform::<T, 2, 2, 5>(g, u)),
    }
}

struct Transform<'a, T, const R: usize, const STRIDE: usize, const N: usize>(
    &'a [[T; KERNELS]; TAPS * TAPS],
    &'a mut [[T; KERNELS]; MOST_PRODUCTS],
);

impl<T: Element, const R: usize, const STRIDE: usize, const N: usize> Loop
    for Transform<'_, T, R, STRIDE, N>
{
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        /// Numbers of f64 in half a cache line: what stays in registers.
        const LANES: usize = 8;
        let rows = const { weight_rows(R, STRIDE) };
        let Self(g, u) = self;
        for first in (0..KERNELS).step_by(LANES) {
            let mut lines = [[[0.0; LANES]; TAPS]; N];
            for x in 0..TAPS {
                let column: [[f64; LANES]; TAPS] = std::array::from_fn(|y| {
                    std::array::from_fn(|lane| g[y * TAPS + x][first + lane].to_f64())
                });
                for (line, row) in lines.iter_mut().zip(&rows) {
                    line[x] = product(&column, row);
                }
            }
            for (i, line) in lines.iter().enumerate() {
                for j in 0..N {
                    let sums = product(line, &rows[j]);
                    for (u, sum) in u[i * N + j][first..].iter_mut().zip(sums) {
                        *u = T::from_f64(sum);
                    }
                }
            }
        }
    }
}

/// Σ row[k] · numbers[k] in every lane.
#[inline(always)]
fn product<const LANES: usize>(numbers: &[[f64; LANES]; TAPS], row: &[f64; TAPS]) -> [f64; LANES] {
    std::array::from_fn(|lane| {
        row[0] * numbers[0][lane] + row[1] * numbers[1][lane] + row[2] * numbers[2][lane]
    })
}
