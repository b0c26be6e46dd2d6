//! Backward input element by element, for weights that are not all finite.
//!
//! ```text
//! dx[n, c, p] ← finale( Σ_k Σ_taps  dy[n, k, source(p, tap)] · w[k, c, tap] )      over sources inside dy alone
//! ```
//!
//! The products read a zero where a window leaves dy. Forward such a zero is a number of the padding and belongs to
//! the sum; backward there is nothing, and 0 · ∞ would put a NaN into the gradient of a pixel that the weight never
//! met. Nothing is copied and no vectors are used, for nobody trains with such weights; each element is one task's, so
//! that threads change no bit.

use super::sweep::{Finale, Sweep};
use crate::error::Result;
use crate::kernel::Panels;
use crate::parallel::try_for_each_tile;
use crate::unfold::{planes, planes_mut};

/// Channels and positions of the result that are one task.
const TASK: [usize; 2] = [16, 16];

impl Sweep {
    /// `y` ← finale(the sums over `x`). Lengths have been checked.
    pub(in crate::conv) fn run_exact(
        &self,
        x: &[f32],
        weights: &[f32],
        finale: &Finale<'_>,
        y: &mut [f32],
        threads: usize,
    ) -> Result<()> {
        let (axes, layout) = (&self.source.axes, self.source.layout);
        let positions = axes.iter().map(|axis| axis.result).product();
        let pixels = axes.iter().map(|axis| axis.source).product();
        let shape = [self.batch, self.groups * self.results, positions];
        let x = planes(layout, [self.batch, self.source.channels, pixels], x)?;
        let residual = finale
            .residual
            .map(|residual| planes(layout, shape, residual));
        let residual = residual.transpose()?;
        let y = planes_mut(layout, shape, y)?;
        let [channels, positions] = TASK;
        let block = [1, channels, positions];
        try_for_each_tile(
            y,
            block,
            threads > 1,
            &|[image, channel, position], mut tile| {
                for ((_, c, p), y) in tile.indexed_iter_mut() {
                    let (channel, position) = (channel + c, position + p);
                    let first = channel / self.results * self.sources;
                    let mut sum = 0.0;
                    self.each_term(channel, position, |source, pixel, weight| {
                        sum += x[[image, first + source, pixel]] * weights[weight];
                    });
                    let bias = finale.bias.map_or(0.0, |bias| bias[channel]);
                    let at = [image, channel, position];
                    let residual = residual.as_ref().map_or(0.0, |residual| residual[at]);
                    *y = finale.map.apply(sum + bias + residual);
                }
                Ok(())
            },
        )
    }

    /// Calls `term(source channel of the group, pixel, place of the weight)` for every term of one result.
    fn each_term(
        &self,
        channel: usize,
        position: usize,
        mut term: impl FnMut(usize, usize, usize),
    ) {
        let axes = &self.source.axes;
        let [_, rows, columns] = [0, 1, 2].map(|axis| axes[axis].result);
        let at = [
            position / columns / rows,
            position / columns % rows,
            position % columns,
        ];
        let first = [0, 1, 2].map(|axis| at[axis] % self.steps[axis]);
        let phase = (first[0] * self.steps[1] + first[1]) * self.steps[2] + first[2];
        let phase = &self.phases[phase];
        let (group, column, columns) = if self.blocks.grouped {
            (0, channel, self.groups * self.results)
        } else {
            (channel / self.results, channel % self.results, self.results)
        };
        let panels = Panels::new(self.blocks.isa, self.left(), columns);
        let holds = |&(begin, width): &(usize, usize)| (begin..begin + width).contains(&column);
        let Some((begin, width)) = panels.each().find(holds) else {
            return;
        };
        let in_all: usize = self.phases.iter().map(|phase| phase.terms.len()).sum();
        let weights = panels.columns() * (group * in_all + phase.before)
            + begin * phase.terms.len()
            + (column - begin);
        // The source element that a tap reads, where there is one.
        let inside = |axis: usize, tap: usize| {
            let sweep = &axes[axis];
            let tap = &sweep.phases[first[axis]][tap];
            usize::try_from(sweep.window_start(at[axis]) + tap.at as isize)
                .ok()
                .filter(|&source| source < sweep.source)
        };
        let taps = [0, 1, 2].map(|axis| axes[axis].phases[first[axis]].len());
        for index in 0..phase.taps.len() {
            let tap = [
                index / taps[2] / taps[1],
                index / taps[2] % taps[1],
                index % taps[2],
            ];
            let (Some(z), Some(y), Some(x)) =
                (inside(0, tap[0]), inside(1, tap[1]), inside(2, tap[2]))
            else {
                continue;
            };
            let pixel = (z * axes[1].source + y) * axes[2].source + x;
            for source in 0..self.sources {
                let place = if self.channels_first() {
                    source * phase.taps.len() + index
                } else {
                    index * self.sources + source
                };
                term(source, pixel, weights + place * width);
            }
        }
    }
}
