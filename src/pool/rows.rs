//! Gradients of poolings, a row of pixels at a time: which windows read it, and which of their taps.
//!
//! ```text
//! for each row r of the input:  dx[r] = 0
//!     for each window o that has taps in r, for each such tap n:   dx[r][its pixel] += what tap n of o gets
//! ```
//!
//! The taps of a window are numbered: n = (i · H + j) · W + k for its k-th tap inside the image on the last axis, j-th
//! and i-th on the others, H and W the most that any window has. An element gets its summands in the order of the
//! windows, in both layouts, so that both make the same bits.

use crate::element::Element;
use crate::error::Result;
use crate::geometry::{Layout, PoolGeometry, WindowAxis};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::parallel::for_each_piece;

/// Elements visited by one task, at least: some 10 µs of work.
pub(super) const TASK: usize = 1 << 15;

/// Channels that are treated at once: a loop of known length.
pub(super) const LANES: usize = 16;

/// The most taps on the two inner axes.
pub(super) fn longest(geometry: &PoolGeometry) -> [usize; 2] {
    let [_, height, width] = geometry.axes;
    [height.longest(), width.longest()]
}

/// Elements of a task of whole rows of `row` elements, of each of which `work` are visited.
pub(super) fn task(row: usize, work: usize) -> usize {
    let rows = TASK.div_ceil(row.saturating_mul(work.max(1)).max(1));
    rows.saturating_mul(row)
}

/// The windows of an axis that read position `at`, in order, and which of their taps inside the input that is.
fn readers(axis: &WindowAxis, at: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let (first, last) = match *axis {
        WindowAxis::Sliding(axis) => {
            let at = at + axis.pad_before;
            let reach = at.saturating_sub((axis.kernel - 1) * axis.dilation);
            (reach.div_ceil(axis.stride), at / axis.stride)
        }
        WindowAxis::Adaptive { input, output } => (
            (at * output / input).saturating_sub(1),
            ((at + 1) * output).div_ceil(input),
        ),
    };
    (first..axis.output().min(last.saturating_add(1))).filter_map(move |window| {
        let taps = axis.taps(window);
        let from = at.checked_sub(taps.first)?;
        let tap = from / taps.step;
        (from % taps.step == 0 && tap < taps.count).then_some((window, tap))
    })
}

/// What the taps of windows get.
pub(super) trait Share<T>: Sync {
    /// dx ← dx + what tap `number` gets of window `window`, counted over the batch with its position in the plane, for
    /// channels of a pixel of which the first stands at `at` of the output. Must be `#[inline(always)]`.
    fn add(&self, dx: &mut [T], at: usize, window: [usize; 3], number: usize);

    /// The same for one window of a plane, all its taps: `add(position, number)` for each. By default `add` for each.
    fn scatter(&self, geometry: &PoolGeometry, dx: &mut [T], at: usize, window: [usize; 3]) {
        let axes = geometry.axes;
        let [planes, rows, columns]: [_; 3] =
            std::array::from_fn(|axis| axes[axis].taps(window[axis]));
        let ([_, height, width], [tall, wide]) = (axes.map(|axis| axis.input()), longest(geometry));
        for (i, plane) in planes.positions().enumerate() {
            for (j, row) in rows.positions().enumerate() {
                for (k, column) in columns.positions().enumerate() {
                    let pixel = (plane * height + row) * width + column;
                    let number = (i * tall + j) * wide + k;
                    self.add(&mut dx[pixel..=pixel], at, window, number);
                }
            }
        }
    }
}

/// dx ← Σ of the shares; lengths are those of the geometry.
pub(super) fn backward<T: Element>(
    geometry: &PoolGeometry,
    dx: &mut [T],
    share: &impl Share<T>,
) -> Result<()> {
    let (pixels, positions) = (geometry.pixels(), geometry.positions());
    if dx.is_empty() {
        return Ok(());
    }
    if geometry.layout() == Layout::ChannelsFirst {
        let [_, tall, wide] = geometry.axes.map(|axis| axis.output());
        for_each_piece(dx, task(pixels, 1), &|piece, dx| {
            let first = piece * (task(pixels, 1) / pixels);
            for (plane, dx) in dx.chunks_exact_mut(pixels).enumerate() {
                dx.fill(T::ZERO);
                for position in 0..positions {
                    let (line, column) = (position / wide, position % wide);
                    let window = [line / tall, line % tall, column];
                    let at = (first + plane) * positions + position;
                    share.scatter(geometry, dx, at, window);
                }
            }
        });
        return Ok(());
    }
    let [depth, height, width] = geometry.axes;
    let row = width.input() * geometry.channels();
    // Small windows visit an element about once.
    let piece = task(row, 1);
    let isa = Isa::selected();
    for_each_piece(dx, piece, &|index, dx| {
        for (line, dx) in dx.chunks_exact_mut(row).enumerate() {
            let line = index * (piece / row) + line;
            let (plane, line) = (line / height.input(), line % height.input());
            let (image, plane) = (plane / depth.input(), plane % depth.input());
            let row = Row {
                geometry,
                dx,
                image,
                at: [plane, line],
                share,
            };
            compiled(isa, row);
        }
    });
    Ok(())
}

/// A row of dx, channels last.
struct Row<'a, T, S> {
    geometry: &'a PoolGeometry,
    dx: &'a mut [T],
    image: usize,
    at: [usize; 2],
    share: &'a S,
}

impl<T: Element, S: Share<T>> Loop for Row<'_, T, S> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self {
            geometry,
            dx,
            image,
            at: [plane, line],
            share,
        } = self;
        let ([depth, height, width], channels) = (geometry.axes, geometry.channels());
        let [tall, wide] = longest(geometry);
        dx.fill(T::ZERO);
        for (z, i) in readers(&depth, plane) {
            for (y, j) in readers(&height, line) {
                let first = ((image * depth.output() + z) * height.output() + y) * width.output();
                for x in 0..width.output() {
                    let taps = width.taps(x);
                    let at = (first + x) * channels;
                    for k in 0..taps.count {
                        let pixel = (taps.first + k * taps.step) * channels;
                        let dx = &mut dx[pixel..][..channels];
                        share.add(dx, at, [z, y, x], (i * tall + j) * wide + k);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Axis;

    #[test]
    fn readers_are_those_that_have_the_tap() {
        let sliding = |input, kernel, stride, dilation, pad| {
            WindowAxis::Sliding(Axis::new(0, input, kernel, stride, dilation, pad).unwrap())
        };
        let adaptive = |input, output| WindowAxis::Adaptive { input, output };
        for axis in [
            sliding(9, 2, 2, 1, (0, 0)),
            sliding(9, 3, 2, 1, (1, 1)),
            sliding(7, 3, 1, 2, (2, 1)),
            sliding(5, 1, 3, 1, (0, 0)),
            sliding(4, 6, 1, 1, (3, 2)),
            sliding(2, 2, 1, 6, (5, 5)),
            adaptive(7, 3),
            adaptive(3, 7),
            adaptive(5, 1),
            adaptive(6, 6),
        ] {
            for at in 0..axis.input() {
                let found: Vec<_> = readers(&axis, at).collect();
                let mut expected = Vec::new();
                for window in 0..axis.output() {
                    for (tap, position) in axis.taps(window).positions().enumerate() {
                        if position == at {
                            expected.push((window, tap));
                        }
                    }
                }
                assert_eq!(found, expected, "{axis:?} at {at}");
            }
        }
    }
}
