//! Weights for Winograd's algorithm: G g Gᵀ of every kernel, panel after panel.
//!
//! ```text
//! given [O, C/g, taps]  ──►  [group][panel][product][piece][source][width]      the lanes: columns of a panel
//! ```

use std::ops::Range;

use ndarray::{ArrayViewMut2, ArrayViewMut3, Axis, s};

use crate::conv::weights::Roles;
use crate::element::Element;
use crate::kernel::{
    Isa, KERNELS, Left, MOST_PRODUCTS, MOST_TILE_TAPS, Panels, Tiling, transform_weights,
};
use crate::parallel::{for_each_tile, threads};

/// Weights from which on several threads transform them: some 50 µs on one, by the profile of a training step.
const PARALLEL_FROM: usize = 1 << 13;

/// Sources that a task does.
const SOURCES: usize = 8;

/// Kernels, and what becomes of them.
pub(in crate::conv) struct WinogradKernels<'a, T> {
    pub roles: &'a Roles,
    pub isa: Isa,
    pub tiling: Tiling,
    /// Whether the kernels are turned round.
    pub turned: bool,
    pub given: &'a [T],
}

impl<T: Element> WinogradKernels<'_, T> {
    /// `prepared` ← G g Gᵀ of all; what belongs to no kernel keeps its value.
    pub fn transform(&self, prepared: &mut [T]) {
        let Roles {
            groups,
            results,
            sources,
            ..
        } = *self.roles;
        let (products, pieces) = (self.tiling.products(), self.tiling.pieces());
        let parallel = self.given.len() >= PARALLEL_FROM && threads() > 1;
        let mut rest = prepared;
        for group in 0..groups {
            for (first, width) in Panels::new(self.isa, Left::Scalars, results).each() {
                let panel;
                (panel, rest) = rest.split_at_mut(products * pieces * sources * width);
                // That is its length.
                let shape = (products, pieces * sources, width);
                let Ok(panel) = ArrayViewMut3::from_shape(shape, panel) else {
                    continue;
                };
                let columns = first..results.min(first + width);
                let columns = group * results + columns.start..group * results + columns.end;
                let block = [products, SOURCES, width];
                for_each_tile(panel, block, parallel, &|[_, first, _], mut panel| {
                    for (index, panel) in panel.axis_iter_mut(Axis(1)).enumerate() {
                        let piece = (first + index) / sources;
                        let source = (first + index) % sources;
                        self.of_source(piece, source, columns.clone(), panel);
                    }
                });
            }
        }
    }

    /// A piece of the kernels that take `source` to `results`; `panel` is `[product][width]`.
    fn of_source(
        &self,
        piece: usize,
        source: usize,
        results: Range<usize>,
        mut panel: ArrayViewMut2<T>,
    ) {
        let taps: usize = self.tiling.axes.iter().map(|axis| axis.kernel).product();
        let mut places = [None; MOST_TILE_TAPS];
        for (tap, place) in places.iter_mut().enumerate().take(self.tiling.taps()) {
            *place = self.tiling.place(piece, tap, self.turned);
        }
        for first in results.clone().step_by(KERNELS) {
            let lanes = first..results.end.min(first + KERNELS);
            let mut g = [[T::ZERO; KERNELS]; MOST_TILE_TAPS];
            for (lane, result) in lanes.clone().enumerate() {
                let kernel = &self.given[self.roles.given(result, source) * taps..];
                for (g, place) in g.iter_mut().zip(&places) {
                    if let Some(tap) = *place {
                        g[lane] = kernel[tap];
                    }
                }
            }
            let mut u = [[T::ZERO; KERNELS]; MOST_PRODUCTS];
            transform_weights(self.isa, self.tiling, &g, &mut u);
            let at = first - results.start;
            let mut place = panel.slice_mut(s![.., at..at + lanes.len()]);
            for (place, u) in place.rows_mut().into_iter().zip(&u) {
                place.into_iter().zip(u).for_each(|(to, &from)| *to = from);
            }
        }
    }
}
