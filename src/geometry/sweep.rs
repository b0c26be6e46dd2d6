//! How one axis of a result reads one axis of a source, forward or backward.
//!
//! ```text
//! forward          y[o] = Σ_k x[o · s + k · d − p] · w[k]
//! backward input   dx[i] = Σ_k dy[(i + p − k · d) / s] · w[k]        over the k that divide
//! ```
//!
//! Backward, the positions i with the same i mod s (a *phase*) have the same taps, and read dy with step 1: no
//! product with a zero between strides, and nothing to add up afterwards. Forward there is one phase. A block of
//! the result, from a multiple of the number of phases on, reads a *window* of the source:
//!
//! ```text
//! window(b, n) = base + b / phases · step  and from there  (⌈n / phases⌉ − 1) · step + reach + 1  elements
//! source(b + first + phases · j, tap) = window(b) + j · step + tap.at
//! ```

use super::Axis;

/// One tap of one phase: its place in the kernel, and its distance from the beginning of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    pub(crate) kernel: usize,
    pub(crate) at: usize,
}

/// One axis of a result that is summed over a window of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SweepAxis {
    /// Elements of the result and of the source.
    pub(crate) result: usize,
    pub(crate) source: usize,
    /// Where the window of the first position begins; negative in the padding.
    pub(crate) base: isize,
    /// Source elements from a position of a phase to its next.
    pub(crate) step: usize,
    /// The largest distance of a tap from the beginning of its window.
    pub(crate) reach: usize,
    /// The taps of every phase; some phases may have none.
    pub(crate) phases: Vec<Vec<Tap>>,
}

impl SweepAxis {
    /// y from x.
    pub(crate) fn forward(axis: &Axis) -> Self {
        let taps = (0..axis.kernel).map(|kernel| Tap {
            kernel,
            at: kernel * axis.dilation,
        });
        Self {
            result: axis.output,
            source: axis.input,
            base: -(axis.pad_before as isize),
            step: axis.stride,
            reach: axis.extent() - 1,
            phases: vec![taps.collect()],
        }
    }

    /// dx from dy.
    pub(crate) fn backward(axis: &Axis) -> Self {
        let stride = axis.stride as isize;
        // (i + p − k · d) / s where that divides.
        let source = |first: usize, kernel: usize| {
            let at = (first + axis.pad_before) as isize - (kernel * axis.dilation) as isize;
            (at.rem_euclid(stride) == 0).then(|| at.div_euclid(stride))
        };
        let all = || {
            (0..axis.stride).flat_map(|first| (0..axis.kernel).map(move |kernel| (first, kernel)))
        };
        let places = || all().filter_map(|(first, kernel)| source(first, kernel));
        let base = places().min().unwrap_or(0);
        let phases = (0..axis.stride).map(|first| {
            // In the order of the source, like forward.
            let taps = (0..axis.kernel).rev().filter_map(|kernel| {
                source(first, kernel).map(|at| Tap {
                    kernel,
                    at: (at - base) as usize,
                })
            });
            taps.collect()
        });
        Self {
            result: axis.input,
            source: axis.output,
            base,
            step: 1,
            reach: places().max().map_or(0, |last| (last - base) as usize),
            phases: phases.collect(),
        }
    }

    /// Where the window of a block that begins at `begin` begins.
    pub(crate) fn window_start(&self, begin: usize) -> isize {
        self.base + (begin / self.phases.len() * self.step) as isize
    }

    /// The length of the window of `length` ≥ 1 positions.
    pub(crate) fn window_len(&self, length: usize) -> usize {
        (length.div_ceil(self.phases.len()) - 1) * self.step + self.reach + 1
    }

    /// Positions of phase `first` in a block of `length`.
    pub(crate) fn positions(&self, first: usize, length: usize) -> usize {
        length.saturating_sub(first).div_ceil(self.phases.len())
    }

    /// Whether every position reads the one in its place and no other.
    pub(crate) fn stays_in_place(&self) -> bool {
        let alone = self.step == 1 && self.reach == 0 && self.phases.len() == 1;
        alone && self.base == 0 && self.result == self.source
    }

    /// Whether no window leaves the source.
    pub(crate) fn stays_inside(&self) -> bool {
        self.result == 0
            || (self.base >= 0 && self.base as usize + self.window_len(self.result) <= self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of positions that an axis connects, by the definition and by the sweep.
    fn pairs(sweep: &SweepAxis, block: usize) -> Vec<(usize, isize, usize)> {
        let mut pairs = Vec::new();
        for begin in (0..sweep.result).step_by(block) {
            let length = block.min(sweep.result - begin);
            let window = sweep.window_start(begin);
            for (first, taps) in sweep.phases.iter().enumerate() {
                for j in 0..sweep.positions(first, length) {
                    for tap in taps {
                        let at = j * sweep.step + tap.at;
                        assert!(at < sweep.window_len(length));
                        let result = begin + first + j * sweep.phases.len();
                        pairs.push((result, window + at as isize, tap.kernel));
                    }
                }
            }
        }
        pairs.retain(|&(_, source, _)| (0..sweep.source as isize).contains(&source));
        pairs.sort();
        pairs
    }

    #[test]
    fn both_directions_connect_what_the_definition_connects() {
        for (input, kernel, stride, dilation, pad) in [
            (7, 3, 1, 1, (1, 1)),
            (7, 3, 2, 1, (1, 0)),
            (9, 2, 3, 2, (0, 4)),
            (5, 1, 2, 1, (0, 0)),
            (6, 3, 2, 2, (5, 3)),
            (8, 4, 4, 1, (3, 2)),
        ] {
            let axis = Axis::new(0, input, kernel, stride, dilation, pad).unwrap();
            let mut forward = Vec::new();
            for o in 0..axis.output {
                for k in 0..kernel {
                    let source = axis.position(k, o);
                    if (0..input as isize).contains(&source) {
                        forward.push((o, source, k));
                    }
                }
            }
            forward.sort();
            let sweep = SweepAxis::forward(&axis);
            let mut backward: Vec<_> = forward
                .iter()
                .map(|&(o, i, k)| (i as usize, o as isize, k))
                .collect();
            backward.sort();
            for blocks in 1..4 {
                assert_eq!(pairs(&sweep, blocks), forward);
                let sweep = SweepAxis::backward(&axis);
                assert_eq!(pairs(&sweep, blocks * stride), backward);
            }
        }
    }
}
