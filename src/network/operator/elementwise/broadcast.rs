//! Numpy's broadcasting: shapes are aligned at their last axes, and an axis of length 1 is repeated.
//!
//! ```text
//! [N, C, H, W] + [C, 1, 1]:   axes that lie evenly in every input are merged: [N, C, HW], strides [.., HW, 1], [0, 1, 0]
//! row                         the last axis; in each input it moves by 1 or stands still
//! ```

use smallvec::SmallVec;

use super::in_pieces;
use crate::error::{Error, Result, product};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::network::operator::{Fact, Facts};

/// The shape that `shapes` are broadcast to.
pub(crate) fn broadcast_shape(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        for (length, &own) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            if *length == 1 {
                *length = own;
            } else if own != 1 && own != *length {
                return Err(Error::Operand {
                    operand: "the shape of an input",
                    expected: format!("one that broadcasts with {:?}", shapes[0]),
                    got: format!("{shape:?}"),
                });
            }
        }
    }
    product("a broadcast", &out)?;
    Ok(out)
}

/// How N inputs are read for one output.
#[derive(Clone, Debug)]
pub(crate) struct Broadcast<const N: usize> {
    /// The axes of the output without its rows, and how far each input moves along them.
    outer: Vec<(usize, [usize; N])>,
    /// The length of a row.
    row: usize,
    /// Whether each input moves along a row.
    moves: [bool; N],
}

impl<const N: usize> Broadcast<N> {
    /// `shapes` broadcast to `out`, as [`broadcast_shape`] says.
    pub(crate) fn new(out: &[usize], shapes: [&[usize]; N]) -> Self {
        let mut steps = [1; N];
        // From the last axis to the first; an axis joins the one after it where every input goes on evenly.
        let mut axes: Vec<(usize, [usize; N])> = Vec::new();
        for (back, &length) in out.iter().rev().enumerate() {
            let own: [usize; N] = std::array::from_fn(|input| {
                let shape = shapes[input];
                shape.len().checked_sub(back + 1).map_or(1, |at| shape[at])
            });
            if length == 1 {
                continue;
            }
            let strides: [usize; N] =
                std::array::from_fn(|input| if own[input] == 1 { 0 } else { steps[input] });
            for (step, own) in steps.iter_mut().zip(own) {
                *step = step.saturating_mul(own);
            }
            match axes.last_mut() {
                Some((last, before))
                    if (0..N).all(|i| {
                        before[i].saturating_mul(*last) == strides[i]
                            && (before[i] == 0) == (strides[i] == 0)
                    }) =>
                {
                    *last = last.saturating_mul(length);
                }
                _ => axes.push((length, strides)),
            }
        }
        let (row, moves) = match axes.first() {
            Some(&(row, strides)) => (row, strides.map(|stride| stride != 0)),
            None => (1, [false; N]),
        };
        let outer = axes.into_iter().skip(1).rev().collect();
        Self { outer, row, moves }
    }

    /// Calls `body(offsets, place)` for every part of a row in the `len` elements from `start`: where each input
    /// begins, and where the part lies among those elements.
    #[inline(always)]
    pub(crate) fn rows(
        &self,
        start: usize,
        len: usize,
        mut body: impl FnMut([usize; N], std::ops::Range<usize>),
    ) {
        if len == 0 {
            return;
        }
        let mut number = start / self.row;
        let mut column = start % self.row;
        let mut index: SmallVec<[usize; 8]> = SmallVec::from_elem(0, self.outer.len());
        let mut offsets = [0; N];
        for (index, (length, strides)) in index.iter_mut().zip(&self.outer).rev() {
            *index = number % length;
            number /= length;
            for (offset, stride) in offsets.iter_mut().zip(strides) {
                *offset += *index * stride;
            }
        }
        let mut at = 0;
        while at < len {
            let end = len.min(at + self.row - column);
            let starts = std::array::from_fn(|input| {
                offsets[input] + if self.moves[input] { column } else { 0 }
            });
            body(starts, at..end);
            at = end;
            column = 0;
            for (index, (length, strides)) in index.iter_mut().zip(&self.outer).rev() {
                *index += 1;
                for (offset, stride) in offsets.iter_mut().zip(strides) {
                    *offset += stride;
                }
                if *index < *length {
                    break;
                }
                for (offset, stride) in offsets.iter_mut().zip(strides) {
                    *offset -= length * stride;
                }
                *index = 0;
            }
        }
    }

    /// Whether input `input` moves along a row.
    pub(crate) fn moves(&self, input: usize) -> bool {
        self.moves[input]
    }
}

/// y ← f(a, b) over the row `y`; an operand that does not move is its first element.
#[inline(always)]
fn row<T: Copy, U>(a: (&[T], bool), b: (&[T], bool), y: &mut [U], f: impl Fn(T, T) -> U) {
    let ((a, a_moves), (b, b_moves)) = (a, b);
    match (a_moves, b_moves) {
        (true, true) => {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = f(a, b);
            }
        }
        (true, false) => {
            let b = b[0];
            for (y, &a) in y.iter_mut().zip(a) {
                *y = f(a, b);
            }
        }
        (false, true) => {
            let a = a[0];
            for (y, &b) in y.iter_mut().zip(b) {
                *y = f(a, b);
            }
        }
        (false, false) => {
            let (a, b) = (a[0], b[0]);
            for y in y {
                *y = f(a, b);
            }
        }
    }
}

/// Two inputs and a piece of the output that begins at `start`.
struct Zip<'a, T, U, F> {
    plan: &'a Broadcast<2>,
    inputs: [&'a [T]; 2],
    start: usize,
    y: &'a mut [U],
    f: F,
}

impl<T: Copy, U, F: Fn(T, T) -> U + Copy> Loop for Zip<'_, T, U, F> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let ([a, b], [a_moves, b_moves]) = (self.inputs, self.plan.moves);
        self.plan.rows(self.start, self.y.len(), |[i, j], place| {
            let y = &mut self.y[place];
            row((&a[i..], a_moves), (&b[j..], b_moves), y, self.f);
        });
    }
}

/// Elements that are copied out of the way of the output at once.
const BLOCK: usize = 256;

/// The same where the output holds one of the inputs.
struct ZipInPlace<'a, T, F> {
    plan: &'a Broadcast<2>,
    /// Which input that is.
    held: usize,
    other: &'a [T],
    start: usize,
    y: &'a mut [T],
    f: F,
}

impl<T: Copy + Default, F: Fn(T, T) -> T + Copy> Loop for ZipInPlace<'_, T, F> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self {
            plan,
            held,
            other,
            start,
            y,
            f,
        } = self;
        let moves = plan.moves[1 - held];
        let mut block = [T::default(); BLOCK];
        plan.rows(start, y.len(), |offsets, place| {
            let mut offset = offsets[1 - held];
            for y in y[place].chunks_mut(BLOCK) {
                let own = &mut block[..y.len()];
                own.copy_from_slice(y);
                if held == 0 {
                    row((own, true), (&other[offset..], moves), y, f);
                } else {
                    row((&other[offset..], moves), (own, true), y, f);
                }
                offset += if moves { y.len() } else { 0 };
            }
        });
    }
}

/// y ← f(a, b). An input that is left out, one at most, stands in y.
pub(crate) fn zip_in_place<T: Copy + Default + Send + Sync>(
    plan: &Broadcast<2>,
    inputs: [Option<&[T]>; 2],
    y: &mut [T],
    isa: Isa,
    f: impl Fn(T, T) -> T + Copy + Sync,
) {
    match inputs {
        [Some(a), Some(b)] => zip(plan, [a, b], y, isa, f),
        [None, Some(other)] => in_place(plan, 0, other, y, isa, f),
        [Some(other), None] => in_place(plan, 1, other, y, isa, f),
        [None, None] => {}
    }
}

fn in_place<T: Copy + Default + Send + Sync>(
    plan: &Broadcast<2>,
    held: usize,
    other: &[T],
    y: &mut [T],
    isa: Isa,
    f: impl Fn(T, T) -> T + Copy + Sync,
) {
    in_pieces(y, |start, y| {
        compiled(
            isa,
            ZipInPlace {
                plan,
                held,
                other,
                start,
                y,
                f,
            },
        );
    });
}

/// y ← f(a, b)
pub(crate) fn zip<T: Copy + Sync, U: Send>(
    plan: &Broadcast<2>,
    inputs: [&[T]; 2],
    y: &mut [U],
    isa: Isa,
    f: impl Fn(T, T) -> U + Copy + Sync,
) {
    in_pieces(y, |start, y| {
        compiled(
            isa,
            Zip {
                plan,
                inputs,
                start,
                y,
                f,
            },
        )
    });
}

/// Which input may give its place to an output of the shape `out`: one of that shape, a computed one if there is.
pub(crate) fn place(inputs: &Facts, out: &[usize]) -> Option<usize> {
    let fits = |fact: &Option<&Fact>| fact.is_some_and(|fact| fact.shape == out);
    let computed = |fact: &Option<&Fact>| fact.is_some_and(|fact| fact.value.is_none());
    let mut inputs = inputs.iter();
    let first = inputs.clone().position(fits);
    inputs
        .position(|fact| fits(fact) && computed(fact))
        .or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::elementwise::PIECE;

    /// Every offset by the definition.
    fn check(shapes: [&[usize]; 2]) {
        let out = broadcast_shape(&shapes).unwrap();
        let plan = Broadcast::new(&out, shapes);
        let len: usize = out.iter().product();
        let offset = |shape: &[usize], mut number: usize| {
            let (mut offset, mut step) = (0, 1);
            for (back, length) in out.iter().rev().enumerate() {
                let own = shape.len().checked_sub(back + 1).map_or(1, |at| shape[at]);
                offset += if own == 1 { 0 } else { number % length * step };
                step *= own;
                number /= length;
            }
            offset
        };
        for (start, count) in [(0, len), (len / 3, len / 2), (len / 2, len - len / 2)] {
            let mut seen = 0;
            plan.rows(start, count, |starts, place| {
                assert_eq!(place.start, seen);
                seen = place.end;
                for at in place.clone() {
                    for input in 0..2 {
                        let own = starts[input]
                            + if plan.moves(input) {
                                at - place.start
                            } else {
                                0
                            };
                        assert_eq!(own, offset(shapes[input], start + at), "{shapes:?} at {at}");
                    }
                }
            });
            assert_eq!(seen, count);
        }
    }

    #[test]
    fn offsets_are_those_of_the_definition() {
        check([&[2, 3, 4, 5], &[3, 1, 1]]);
        check([&[2, 3, 4, 5], &[2, 3, 4, 5]]);
        check([&[2, 3, 4, 5], &[2, 3, 1, 1]]);
        check([&[2, 3, 4, 5], &[1, 1, 1, 5]]);
        check([&[2, 1, 4, 1], &[3, 1, 5]]);
        check([&[], &[]]);
        check([&[], &[4]]);
        check([&[1, 1], &[1]]);
        check([&[0, 3], &[1, 3]]);
        check([&[3, 0], &[1]]);
        check([&[2, 1, 2, 1, 2], &[2, 1, 2, 1]]);
    }

    #[test]
    fn axes_that_go_on_evenly_are_one() {
        let plan = Broadcast::new(&[2, 3, 4, 5], [&[2, 3, 4, 5], &[3, 1, 1]]);
        assert_eq!(
            (plan.outer.len(), plan.row, plan.moves),
            (2, 20, [true, false])
        );
        let plan = Broadcast::new(&[2, 3, 4, 5], [&[2, 3, 4, 5], &[2, 3, 4, 5]]);
        assert_eq!((plan.outer.len(), plan.row), (0, 120));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        assert!(broadcast_shape(&[&[2, 3], &[2]]).is_err());
        assert!(broadcast_shape(&[&[2], &[0]]).is_err());
        assert_eq!(broadcast_shape(&[&[1], &[0]]).unwrap(), [0]);
        assert!(broadcast_shape(&[&[usize::MAX, 1], &[1, usize::MAX]]).is_err());
    }

    #[test]
    fn in_place_gives_the_same() {
        let n = 3 * PIECE / 2;
        let a: Vec<f32> = (0..2 * n).map(|i| i as f32).collect();
        for shape in [[2, n], [1, n], [2, 1], [1, 1]] {
            let b: Vec<f32> = (0..shape[0] * shape[1]).map(|i| 0.5 + i as f32).collect();
            let plan = Broadcast::new(&[2, n], [&[2, n], &shape]);
            let turned = Broadcast::new(&[2, n], [&shape, &[2, n]]);
            let f = |a: f32, b: f32| a - 2.0 * b;
            let isa = Isa::detect();
            let (mut far, mut near) = (vec![0.0; 2 * n], a.clone());
            zip(&plan, [&a, &b], &mut far, isa, f);
            zip_in_place(&plan, [None, Some(&b)], &mut near, isa, f);
            assert_eq!(far, near);
            near.copy_from_slice(&a);
            zip(&turned, [&b, &a], &mut far, isa, f);
            zip_in_place(&turned, [Some(&b), None], &mut near, isa, f);
            assert_eq!(far, near);
        }
    }
}
