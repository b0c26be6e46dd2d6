//! Sums over windows in f64, the common part of large averages and of Lp norms.
//!
//! ```text
//! y[o] = finish(Σ term(x[i]), o)                    over the taps i of window o inside the input
//! ```

use super::tile::{Batch, MAX_WIDTH, Source, Target};
use super::window::{Window, for_each_window};
use crate::element::Element;
use crate::error::Result;
use crate::geometry::PoolGeometry;

/// The sums of all windows; `finish` gets a sum and the output's position on each axis.
pub(super) fn sum_windows<T: Element>(
    geometry: &PoolGeometry,
    x: &[T],
    y: &mut [T],
    term: impl Fn(f64) -> f64 + Sync,
    finish: impl Fn(f64, [usize; 3]) -> f64 + Sync,
) -> Result<()> {
    let batch = Batch::of(geometry);
    batch.for_each(
        y,
        geometry.positions(),
        geometry.operations(),
        |place, mut y| {
            let x = batch.source(x, geometry.pixels(), place);
            for_each_window(geometry, |window| {
                sum_window(window, &x, &mut y, &term, &finish)
            });
        },
    )
}

fn sum_window<T: Element>(
    window: Window,
    x: &Source<T>,
    y: &mut Target<T>,
    term: &impl Fn(f64) -> f64,
    finish: &impl Fn(f64, [usize; 3]) -> f64,
) {
    let y = y.pixel(window.output);
    let mut sums = [0.0; MAX_WIDTH];
    let sums = &mut sums[..y.len()];
    for run in window.runs() {
        for j in 0..run.count {
            for (sum, value) in sums.iter_mut().zip(x.pixel(run.input + j * run.input_step)) {
                *sum += term(value.to_f64());
            }
        }
    }
    for (y, &sum) in y.iter_mut().zip(&*sums) {
        *y = T::from_f64(finish(sum, window.at));
    }
}
