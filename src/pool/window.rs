//! The one iteration over windows, for every pooling and both directions.
//!
//! A plane is one channel of one image. Its windows are visited as runs, pairs of an output and an
//! input position that advance in equal steps, so that no loop over elements divides an index:
//!
//! ```text
//! few taps a row    for output row, for tap:          all outputs that see it    output_step 1
//! else              for output, for window row:       all taps of that row       output_step 0
//! ```
//!
//! In either order the taps of one output come in row-major order. Padding is never visited.

use crate::geometry::{PoolGeometry, Taps, WindowAxis};

/// Most taps in a window row for the first order: its intervals then fit a small array on the stack.
const MAX_ROW_TAPS: usize = 16;

/// `count` pairs of positions within a plane: `output + j · output_step`, `input + j · input_step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) output: usize,
    pub(super) output_step: usize,
    pub(super) input: usize,
    pub(super) input_step: usize,
    pub(super) count: usize,
}

/// One window of a plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The output's position in the plane.
    pub(super) output: usize,
    /// The output's position on each axis.
    pub(super) at: [usize; 3],
    taps: [Taps; 3],
    /// Input lengths of the two inner axes.
    lengths: [usize; 2],
}

impl Window {
    /// The rows of the window inside the input, outermost first.
    #[inline]
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        let Self {
            output,
            taps: [depth, height, width],
            lengths: [rows, columns],
            ..
        } = *self;
        // No rows at all where the window misses the input on the last axis.
        let planes = if width.count == 0 {
            Taps { count: 0, ..depth }
        } else {
            depth
        };
        planes.positions().flat_map(move |z| {
            height.positions().map(move |y| Run {
                output,
                output_step: 0,
                input: (z * rows + y) * columns + width.first,
                input_step: width.step,
                count: width.count,
            })
        })
    }
}

/// Calls `visit` for every window of a plane, in row-major order.
pub(super) fn for_each_window(geometry: &PoolGeometry, mut visit: impl FnMut(Window)) {
    let [d, h, w] = geometry.axes;
    let mut output = 0;
    for z in 0..d.output() {
        let depth = d.taps(z);
        for y in 0..h.output() {
            let height = h.taps(y);
            for x in 0..w.output() {
                visit(Window {
                    output,
                    at: [z, y, x],
                    taps: [depth, height, w.taps(x)],
                    lengths: [h.input(), w.input()],
                });
                output += 1;
            }
        }
    }
}

/// Whether a row of outputs is visited tap by tap: the taps are few, and fewer than the outputs.
pub(super) fn is_tap_by_tap(geometry: &PoolGeometry) -> bool {
    match geometry.axes[2] {
        WindowAxis::Sliding(axis) => axis.kernel <= MAX_ROW_TAPS && axis.kernel <= axis.output,
        WindowAxis::Adaptive { .. } => false,
    }
}

/// Calls `visit` for every run of a plane.
pub(super) fn for_each_run(geometry: &PoolGeometry, mut visit: impl FnMut(Run)) {
    let [d, h, w] = geometry.axes;
    let WindowAxis::Sliding(row) = w else {
        return for_each_window(geometry, |window| window.runs().for_each(&mut visit));
    };
    if !is_tap_by_tap(geometry) {
        return for_each_window(geometry, |window| window.runs().for_each(&mut visit));
    }
    // The outputs that see each tap, the same in every row.
    let mut seen = [(0, 0); MAX_ROW_TAPS];
    for (tap, interval) in seen[..row.kernel].iter_mut().enumerate() {
        let outputs = row.valid(tap);
        *interval = (outputs.start, outputs.len());
    }
    let mut output = 0;
    for z in 0..d.output() {
        let depth = d.taps(z);
        for y in 0..h.output() {
            let height = h.taps(y);
            for plane in depth.positions() {
                for line in height.positions() {
                    let input = (plane * h.input() + line) * row.input;
                    for (tap, &(first, count)) in seen[..row.kernel].iter().enumerate() {
                        if count > 0 {
                            visit(Run {
                                output: output + first,
                                output_step: 1,
                                input: input + first * row.stride + tap * row.dilation
                                    - row.pad_before,
                                input_step: row.stride,
                                count,
                            });
                        }
                    }
                }
            }
            output += row.output;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::PoolOptions;

    /// Both orders visit the pairs of the definition, those of one output ascending.
    #[test]
    fn runs_agree_with_the_definition() {
        for (input, kernel) in [(9, 3), (5, 2), (4, 4), (3, 1), (40, 17), (2, 3)] {
            for stride in 1..4 {
                for dilation in 1..3 {
                    for pad in [(0, 0), (1, 1), (0, 2), (2, 0)] {
                        for ceil in [false, true] {
                            let options = PoolOptions::new(kernel)
                                .stride(stride)
                                .dilation(dilation)
                                .padding([pad, pad])
                                .ceil_mode(ceil);
                            let Ok(geometry) = PoolGeometry::new(&[1, 1, 3, input], &options)
                            else {
                                continue;
                            };
                            compare(&geometry, [3, input], kernel, stride, dilation, pad.0);
                        }
                    }
                }
            }
        }
    }

    fn compare(
        geometry: &PoolGeometry,
        lengths: [usize; 2],
        kernel: usize,
        stride: usize,
        dilation: usize,
        pad: usize,
    ) {
        let outputs = geometry.outputs();
        let mut expected = vec![Vec::new(); geometry.positions()];
        for y in 0..outputs[0] {
            for x in 0..outputs[1] {
                for i in 0..kernel {
                    for j in 0..kernel {
                        let row = (y * stride + i * dilation).wrapping_sub(pad);
                        let column = (x * stride + j * dilation).wrapping_sub(pad);
                        if row < lengths[0] && column < lengths[1] {
                            expected[y * outputs[1] + x].push(row * lengths[1] + column);
                        }
                    }
                }
            }
        }
        let mut runs = vec![Vec::new(); geometry.positions()];
        for_each_run(geometry, |run| {
            for j in 0..run.count {
                runs[run.output + j * run.output_step].push(run.input + j * run.input_step);
            }
        });
        assert_eq!(runs, expected, "{geometry:?}");
        let mut windows = vec![Vec::new(); geometry.positions()];
        for_each_window(geometry, |window| {
            for run in window.runs() {
                windows[window.output]
                    .extend((0..run.count).map(|j| run.input + j * run.input_step));
            }
        });
        assert_eq!(windows, expected, "{geometry:?}");
    }
}
