//! The walk of a reduction over its input.
//!
//! ```text
//! [N, C, H, W] over H and W      kept [NC], reduced rows of HW       a row folds into one element
//! [N, H, W, C] over H and W      kept [N], reduced [HW], rows of C   rows fold element by element
//! ```
//!
//! Neighbouring axes that are kept, or reduced, alike are one. Each result is folded by one task in an order that
//! the shape gives.

use smallvec::SmallVec;

use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::operator::check::span;
use crate::network::operator::elementwise::PIECE;
use crate::parallel::for_each_piece;

/// Accumulators of a row.
const LANES: usize = 16;

/// Results that are folded side by side.
const COLUMNS: usize = 64;

/// Axes with their lengths and the elements between neighbours.
type Axes = Vec<(usize, usize)>;

/// Where each result finds its elements.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    kept: Axes,
    reduced: Axes,
    /// The length of a row, and whether it folds into one element.
    row: usize,
    folds: bool,
    /// Elements of a result.
    count: usize,
}

/// How elements fold: the start, the step, two partial results joined, and the end with the number of elements.
#[derive(Clone, Copy)]
pub(super) struct Fold<A, S, U> {
    pub(super) start: A,
    pub(super) step: S,
    pub(super) join: fn(A, A) -> A,
    pub(super) end: fn(A, f64) -> U,
}

impl Sweep {
    /// Over `axes` of an array of this shape.
    pub(super) fn new(shape: &[usize], axes: &[usize]) -> Self {
        // [length, stride, reduced], from the last axis.
        let mut groups: Vec<(usize, usize, bool)> = Vec::new();
        let mut stride = 1;
        for (axis, &length) in shape.iter().enumerate().rev() {
            let reduced = axes.contains(&axis);
            match groups.last_mut() {
                _ if length == 1 => {}
                Some(group) if group.2 == reduced => group.0 = group.0.saturating_mul(length),
                _ => groups.push((length, stride, reduced)),
            }
            stride = stride.saturating_mul(length);
        }
        let (row, _, folds) = groups.first().copied().unwrap_or((1, 1, false));
        let rest = || groups.iter().skip(1).rev();
        let of = |wanted: bool| {
            rest()
                .filter(move |group| group.2 == wanted)
                .map(|&(length, stride, _)| (length, stride))
                .collect()
        };
        Self {
            kept: of(false),
            reduced: of(true),
            row,
            folds,
            count: span(axes.iter().map(|&axis| &shape[axis])),
        }
    }

    /// Every result by `fold`, as compiled for `isa`.
    pub(super) fn run<T, A, U>(
        &self,
        isa: Isa,
        x: &[T],
        y: &mut [U],
        fold: Fold<A, impl Fn(A, T) -> A + Copy + Sync, U>,
    ) where
        T: Copy + Sync,
        A: Copy + Send + Sync,
        U: Copy + Send,
    {
        if self.folds {
            let results = (PIECE / self.count.max(1)).max(1);
            let body = |piece: usize, y: &mut [U]| {
                let first = piece * results;
                compiled(
                    isa,
                    Rows {
                        sweep: self,
                        x,
                        first,
                        y,
                        fold,
                    },
                );
            };
            in_pieces(x.len() > PIECE, y, results, &body);
            return;
        }
        let body = |number: usize, row: &mut [U]| {
            let start = offset(&self.kept, number);
            let blocks = |block: usize, y: &mut [U]| {
                let start = start + block * COLUMNS;
                compiled(
                    isa,
                    Columns {
                        sweep: self,
                        x,
                        start,
                        y,
                        fold,
                    },
                );
            };
            in_pieces(x.len() > PIECE, row, COLUMNS, &blocks);
        };
        let row = self.row.max(1);
        in_pieces(x.len() > PIECE, y, row, &body);
    }

    /// Calls `body` with where each row of a result begins, counted from its first element.
    #[inline(always)]
    fn rows(&self, mut body: impl FnMut(usize)) {
        let mut index: SmallVec<[usize; 8]> = SmallVec::from_elem(0, self.reduced.len());
        if self.reduced.iter().any(|&(length, _)| length == 0) {
            return;
        }
        let mut at = 0;
        loop {
            body(at);
            let mut axes = index.iter_mut().zip(&self.reduced).rev();
            let more = axes.any(|(index, &(length, stride))| {
                *index += 1;
                at += stride;
                if *index < length {
                    return true;
                }
                at -= length * stride;
                *index = 0;
                false
            });
            if !more {
                return;
            }
        }
    }
}

/// Where result `number` begins among the kept axes.
#[inline(always)]
fn offset(kept: &[(usize, usize)], mut number: usize) -> usize {
    let mut offset = 0;
    for &(length, stride) in kept.iter().rev() {
        offset += number % length * stride;
        number /= length;
    }
    offset
}

/// Results that rows fold into.
struct Rows<'a, T, A, U, S> {
    sweep: &'a Sweep,
    x: &'a [T],
    /// The number of the first.
    first: usize,
    y: &'a mut [U],
    fold: Fold<A, S, U>,
}

impl<T, A, U, S> Loop for Rows<'_, T, A, U, S>
where
    T: Copy,
    A: Copy,
    S: Fn(A, T) -> A + Copy,
{
    type Output = ();
    #[inline(always)]
    fn run<R: Arithmetic>(self) {
        let Self {
            sweep,
            x,
            first,
            y,
            fold,
        } = self;
        for (number, y) in y.iter_mut().enumerate() {
            let start = offset(&sweep.kept, first + number);
            let mut lanes = [fold.start; LANES];
            sweep.rows(|at| {
                let row = &x[start + at..start + at + sweep.row];
                let chunks = row.chunks_exact(LANES);
                let rest = chunks.remainder();
                for chunk in chunks {
                    for (lane, &value) in lanes.iter_mut().zip(chunk) {
                        *lane = (fold.step)(*lane, value);
                    }
                }
                for (lane, &value) in lanes.iter_mut().zip(rest) {
                    *lane = (fold.step)(*lane, value);
                }
            });
            let joined = lanes.into_iter().fold(fold.start, fold.join);
            *y = (fold.end)(joined, sweep.count as f64);
        }
    }
}

/// Results side by side, into which rows fold element by element.
struct Columns<'a, T, A, U, S> {
    sweep: &'a Sweep,
    x: &'a [T],
    /// Where the first begins.
    start: usize,
    y: &'a mut [U],
    fold: Fold<A, S, U>,
}

impl<T, A, U, S> Loop for Columns<'_, T, A, U, S>
where
    T: Copy,
    A: Copy,
    S: Fn(A, T) -> A + Copy,
{
    type Output = ();
    #[inline(always)]
    fn run<R: Arithmetic>(self) {
        let Self {
            sweep,
            x,
            start,
            y,
            fold,
        } = self;
        let mut sums = [fold.start; COLUMNS];
        let sums = &mut sums[..y.len()];
        sweep.rows(|at| {
            let row = &x[start + at..start + at + sums.len()];
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum = (fold.step)(*sum, value);
            }
        });
        for (y, &sum) in y.iter_mut().zip(&*sums) {
            *y = (fold.end)(sum, sweep.count as f64);
        }
    }
}

/// Calls `body(index, piece)` for pieces of `y` of `length`, on several threads if they are worth it.
fn in_pieces<U: Copy + Send>(
    parallel: bool,
    y: &mut [U],
    length: usize,
    body: &(dyn Fn(usize, &mut [U]) + Sync),
) {
    if parallel {
        return for_each_piece(y, length, body);
    }
    for (index, y) in y.chunks_mut(length).enumerate() {
        body(index, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of element numbers, by the definition.
    fn check(shape: &[usize], axes: &[usize]) {
        let len: usize = shape.iter().product();
        let x: Vec<u64> = (0..len as u64).collect();
        let kept: Vec<usize> = (0..shape.len())
            .filter(|axis| !axes.contains(axis))
            .collect();
        let results: usize = kept.iter().map(|&axis| shape[axis]).product();
        let mut want = vec![0; results];
        for (number, value) in x.iter().enumerate() {
            let (mut rest, mut index) = (number, vec![0; shape.len()]);
            for axis in (0..shape.len()).rev() {
                index[axis] = rest % shape[axis];
                rest /= shape[axis];
            }
            let at = kept
                .iter()
                .fold(0, |at, &axis| at * shape[axis] + index[axis]);
            want[at] += value;
        }
        let mut got = vec![u64::MAX; results];
        let fold = Fold {
            start: 0,
            step: |sum: u64, x: u64| sum + x,
            join: |a, b| a + b,
            end: |sum, _| sum,
        };
        Sweep::new(shape, axes).run(Isa::detect(), &x, &mut got, fold);
        assert_eq!(got, want, "{shape:?} over {axes:?}");
    }

    #[test]
    fn every_set_of_axes() {
        for shape in [
            [2, 3, 4, 5],
            [1, 3, 1, 70],
            [7, 1, 5, 1],
            [2, 3, 0, 2],
            [3, 60, 40, 9],
        ] {
            for bits in 0..16_usize {
                let axes: Vec<usize> = (0..4).filter(|axis| bits >> axis & 1 == 1).collect();
                check(&shape, &axes);
            }
        }
        check(&[], &[]);
        check(&[100_000], &[0]);
        check(&[100_000, 2], &[0]);
        check(&[2, 100_000], &[0]);
    }
}
