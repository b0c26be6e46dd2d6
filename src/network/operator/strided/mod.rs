//! Copies by strides: what Transpose, Slice, Expand, Tile and their like have in common.
//!
//! ```text
//! target[i₀, i₁, …] = source[first + i₀ · s₀ + i₁ · s₁ + …]            target in standard order
//! ```
//!
//! Neighbouring axes that lie behind each other in both become one. Two axes are innermost: the last of the
//! target, and, where that is not the one that lies dense in the source, the one that is. Rows that are dense in both
//! are copied; a plane that is dense in the source one way and in the target the other is transposed, f32 by vectors.

mod plane;

use plane::{Plane, plainly};

use crate::error::{Error, Result, product};
use crate::kernel::{AS_THEY_ARE, Isa, Lie, MOST_LANES, copy_pixels, to_lanes};
use crate::network::tensor::{Scalar, View, ViewMut, with_type};
use crate::parallel::{for_each_piece, threads};

/// Elements of a piece of work; less is not worth waking a thread.
pub(super) const GRAIN: usize = 1 << 15;

/// Positions of a plane that is transposed which are moved before the next lines: their targets stay in L1.
const NEAR: usize = 128;

/// Columns of a plane that is transposed which are moved before the next: their lines stay in L2.
const WIDE: usize = 256;

/// Numbers from which on the C library's `memcpy` is worth its call.
const LONG: usize = 256;

/// An axis of the target: how many elements, and how far apart they lie in the source and in the target.
#[derive(Clone, Copy, Debug)]
struct Axis {
    length: usize,
    stride: isize,
    pitch: usize,
}

/// A copy whose sizes are decided.
#[derive(Clone, Debug)]
pub(super) struct Strided {
    /// At least two, in the order of the target; none where nothing is copied.
    axes: Vec<Axis>,
    /// The axis that lies dense in the source, if the last one does not; else the last but one.
    dense: usize,
    /// Whether planes are transposed.
    turns: bool,
    first: isize,
    source: usize,
    target: usize,
    /// Instruction sets for planes of few lines, widest first.
    isas: Vec<Isa>,
}

impl Strided {
    /// `axes` are lengths and source strides, in the order of the target; the source has `source` elements.
    ///
    /// Fails where an element would lie outside the source.
    pub(super) fn new(first: usize, axes: &[(usize, isize)], source: usize) -> Result<Self> {
        let lengths: Vec<usize> = axes.iter().map(|&(length, _)| length).collect();
        let target = product("a copy", &lengths)?;
        let first = isize::try_from(first).map_err(|_| OUTSIDE)?;
        let mut plan = Self {
            axes: Vec::new(),
            dense: 0,
            turns: false,
            first,
            source,
            target,
            isas: Vec::new(),
        };
        if target == 0 {
            return Ok(plan);
        }
        check_inside(first, axes, source)?;
        let mut pitch = 1;
        for &(length, stride) in axes.iter().rev().filter(|axis| axis.0 != 1) {
            match plan.axes.last_mut() {
                Some(inner) if is_behind(stride, inner) => inner.length *= length,
                _ => plan.axes.push(Axis {
                    length,
                    stride,
                    pitch,
                }),
            }
            pitch *= length;
        }
        while plan.axes.len() < 2 {
            plan.axes.push(Axis {
                length: 1,
                stride: if plan.axes.is_empty() { 1 } else { 0 },
                pitch,
            });
        }
        plan.axes.reverse();
        let last = plan.axes.len() - 1;
        let dense = plan.axes.iter().position(|axis| axis.stride == 1);
        plan.turns = plan.axes[last].stride.unsigned_abs() > 1 && dense.is_some();
        plan.dense = dense.filter(|_| plan.turns).unwrap_or(last - 1);
        let lines = plan.axes[last].length;
        let selected = Isa::selected();
        plan.isas = Isa::available();
        plan.isas
            .retain(|isa| isa.lanes() <= lines && isa.lanes() <= selected.lanes());
        Ok(plan)
    }

    /// A copy of an array of `shape` whose axes come in the order `permutation`.
    pub(super) fn permuted(shape: &[usize], permutation: &[usize]) -> Result<Self> {
        let strides = strides(shape)?;
        let axes: Vec<_> = permutation
            .iter()
            .map(|&axis| (shape[axis], strides[axis]))
            .collect();
        Self::new(0, &axes, product("a copy", shape)?)
    }

    /// Copies, on several threads where it is worth it.
    ///
    /// Fails where the two have another type or length.
    pub(super) fn run(&self, source: View, target: &mut ViewMut) -> Result<()> {
        if let (View::F32(source), ViewMut::F32(target)) = (source, &mut *target) {
            return self.copy(source, target, &|plane, source, target| {
                self.by_vectors(plane, source, target);
            });
        }
        with_type!(target.dtype(), T => {
            let target = T::slice_mut(target).unwrap_or_default();
            match T::slice(source) {
                Some(source) => self.copy(source, target, &plainly),
                None => Err(Error::Operand {
                    operand: "the source of a copy",
                    expected: T::DTYPE.name().to_owned(),
                    got: source.dtype().name().to_owned(),
                }),
            }
        })
    }

    fn copy<T, F>(&self, source: &[T], target: &mut [T], move_plane: &F) -> Result<()>
    where
        T: Scalar,
        F: Fn(Plane, &[T], &mut [T]) + Sync,
    {
        crate::error::check_len("the source of a copy", self.source, source.len())?;
        crate::error::check_len("the target of a copy", self.target, target.len())?;
        if target.is_empty() {
            return Ok(());
        }
        if target.len() < 2 * GRAIN || threads() == 1 {
            let count = self.axes[0].length;
            self.part(0, count, self.first, source, target, move_plane);
        } else {
            self.divide(0, self.first, source, target, move_plane);
        }
        Ok(())
    }

    /// Axes `axis..` of the target, cut into pieces along the outermost that allow it.
    fn divide<T, F>(
        &self,
        axis: usize,
        first: isize,
        source: &[T],
        target: &mut [T],
        move_plane: &F,
    ) where
        T: Scalar,
        F: Fn(Plane, &[T], &mut [T]) + Sync,
    {
        let Axis { stride, pitch, .. } = self.axes[axis];
        let whole = self.turns && axis == self.dense || axis + 1 == self.axes.len();
        if pitch >= GRAIN && !whole {
            for_each_piece(target, pitch, &|index, part| {
                let first = first + index as isize * stride;
                self.divide(axis + 1, first, source, part, move_plane);
            });
            return;
        }
        // Whole vectors where the piece is cut across a plane.
        let step = GRAIN.div_ceil(pitch).next_multiple_of(MOST_LANES);
        for_each_piece(target, step * pitch, &|index, part| {
            let first = first + (index * step) as isize * stride;
            self.part(axis, part.len() / pitch, first, source, part, move_plane);
        });
    }

    /// `count` elements of axis `axis` with all of the axes behind it.
    fn part<T, F>(
        &self,
        axis: usize,
        count: usize,
        first: isize,
        source: &[T],
        target: &mut [T],
        move_plane: &F,
    ) where
        T: Scalar,
        F: Fn(Plane, &[T], &mut [T]),
    {
        let mut plane = Plane {
            rows: self.axes[self.dense],
            columns: self.axes[self.axes.len() - 1],
            first,
            at: 0,
        };
        let lead = self.axes[axis];
        if axis + 1 == self.axes.len() {
            plane.rows = Axis { length: 1, ..lead };
            plane.columns.length = count;
            return move_plane(plane, source, target);
        }
        if axis == self.dense {
            plane.rows.length = count;
            return self.walk(axis + 1, plane, source, target, move_plane);
        }
        if axis > self.dense {
            plane.rows = Axis { length: 1, ..lead };
        }
        for index in 0..count {
            let plane = plane.moved(lead, index);
            self.walk(axis + 1, plane, source, target, move_plane);
        }
    }

    /// All planes along the axes `axis..`.
    fn walk<T, F>(&self, axis: usize, plane: Plane, source: &[T], target: &mut [T], move_plane: &F)
    where
        T: Scalar,
        F: Fn(Plane, &[T], &mut [T]),
    {
        if axis + 1 == self.axes.len() {
            return move_plane(plane, source, target);
        }
        if axis == self.dense {
            return self.walk(axis + 1, plane, source, target, move_plane);
        }
        let along = self.axes[axis];
        for index in 0..along.length {
            self.walk(
                axis + 1,
                plane.moved(along, index),
                source,
                target,
                move_plane,
            );
        }
    }

    /// A plane of f32.
    fn by_vectors(&self, plane: Plane, source: &[f32], target: &mut [f32]) {
        let Plane { rows, columns, .. } = plane;
        if plane.turns() {
            return self.transpose(plane, source, target);
        }
        match usize::try_from(rows.stride) {
            Ok(stride) if columns.stride == 1 && columns.length < LONG => copy_pixels(
                Isa::selected(),
                &source[plane.first as usize..],
                stride,
                &mut target[plane.at..],
                rows.pitch,
                [rows.length, columns.length],
            ),
            _ => plane.copy(source, target),
        }
    }

    /// A plane whose rows are dense in the source: vectors of lines become vectors of columns.
    fn transpose(&self, plane: Plane, source: &[f32], target: &mut [f32]) {
        let Plane { rows, columns, .. } = plane;
        let done = match (rows.length, columns.length) {
            (_, 2) => plane.interleave::<2>(source, target),
            (_, 3) => plane.interleave::<3>(source, target),
            (_, 4) => plane.interleave::<4>(source, target),
            (2, _) => plane.part::<2>(source, target),
            (3, _) => plane.part::<3>(source, target),
            (4, _) => plane.part::<4>(source, target),
            _ => false,
        };
        if done {
            return;
        }
        let isa = self.isas.iter().find(|isa| isa.lanes() <= columns.length);
        let (Some(&isa), Ok(stride)) = (isa, usize::try_from(columns.stride)) else {
            return plane.transpose(source, target);
        };
        let (lanes, first) = (isa.lanes(), plane.first as usize);
        // Where there are many columns, few rows at a time: what is written lies in few pages.
        let near = if columns.length > WIDE {
            MOST_LANES
        } else {
            NEAR
        };
        let mut lines = [0; MOST_LANES];
        for block in (0..columns.length).step_by(WIDE) {
            for row in (0..rows.length).step_by(near) {
                let count = near.min(rows.length - row);
                for column in (block..columns.length.min(block + WIDE)).step_by(lanes) {
                    // The last lines overlap those before them rather than being fewer than a vector.
                    let begin = column.min(columns.length - lanes);
                    for (lane, line) in lines[..lanes].iter_mut().enumerate() {
                        *line = first + row + (begin + lane) * stride;
                    }
                    to_lanes(
                        isa,
                        source,
                        Lie::Lines(&lines[..lanes]),
                        count,
                        &[AS_THEY_ARE],
                        &mut target[plane.at + row * rows.pitch + begin..],
                        rows.pitch,
                    );
                }
            }
        }
    }
}

const OUTSIDE: Error = Error::Overflow {
    what: "a position in the source of a copy",
};

/// Whether an axis of `stride` continues `inner` in the source.
fn is_behind(stride: isize, inner: &Axis) -> bool {
    let length = isize::try_from(inner.length).ok();
    length.and_then(|length| inner.stride.checked_mul(length)) == Some(stride)
}

/// An error unless the first and the last element that a copy reads lie in the source.
fn check_inside(first: isize, axes: &[(usize, isize)], source: usize) -> Result<()> {
    let (mut low, mut high) = (first, first);
    for &(length, stride) in axes {
        let length = isize::try_from(length - 1).map_err(|_| OUTSIDE)?;
        let reach = length.checked_mul(stride).ok_or(OUTSIDE)?;
        let end = if reach < 0 { &mut low } else { &mut high };
        *end = end.checked_add(reach).ok_or(OUTSIDE)?;
    }
    if low < 0 || usize::try_from(high).map_or(true, |high| high >= source) {
        return Err(OUTSIDE);
    }
    Ok(())
}

/// How far apart the elements of each axis of an array in standard order lie.
pub(super) fn strides(shape: &[usize]) -> Result<Vec<isize>> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1;
    for (slot, &length) in strides.iter_mut().zip(shape).rev() {
        *slot = isize::try_from(stride).map_err(|_| OUTSIDE)?;
        stride = product("a copy", &[stride, length.max(1)])?;
    }
    Ok(strides)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Element by element, as the file head says.
    fn definition<T: Copy>(first: usize, axes: &[(usize, isize)], source: &[T]) -> Vec<T> {
        let total = axes.iter().map(|axis| axis.0).product();
        (0..total)
            .map(|flat| {
                let (mut rest, mut at) = (flat, first as isize);
                for &(length, stride) in axes.iter().rev() {
                    at += (rest % length) as isize * stride;
                    rest /= length;
                }
                source[at as usize]
            })
            .collect()
    }

    fn check(first: usize, axes: &[(usize, isize)], len: usize) {
        let copy = Strided::new(first, axes, len).unwrap();
        let source: Vec<f32> = (0..len).map(|i| i as f32).collect();
        let expected = definition(first, axes, &source);
        let mut target = vec![f32::NAN; expected.len()];
        copy.run(View::F32(&source), &mut ViewMut::F32(&mut target))
            .unwrap();
        assert!(target == expected, "f32 {first} {axes:?}");
        let source: Vec<i16> = (0..len).map(|i| i as i16).collect();
        let expected = definition(first, axes, &source);
        let mut target = vec![-1; expected.len()];
        copy.run(View::I16(&source), &mut ViewMut::I16(&mut target))
            .unwrap();
        assert!(target == expected, "i16 {first} {axes:?}");
    }

    #[test]
    fn permutations_of_all_kinds() {
        let orders: [&[usize]; 8] = [
            &[0, 1, 2, 3],
            &[0, 2, 3, 1],
            &[0, 3, 1, 2],
            &[3, 2, 1, 0],
            &[0, 2, 1, 3],
            &[1, 0, 3, 2],
            &[2, 3, 0, 1],
            &[3, 0, 2, 1],
        ];
        for shape in [
            [2, 3, 4, 5],
            [1, 17, 33, 2],
            [3, 16, 7, 5],
            [2, 4, 1, 19],
            [2, 150, 3, 40],
            [2, 64, 40, 33],
            [70_000, 3, 1, 1],
            [1, 3, 200, 150],
        ] {
            let strides = strides(&shape).unwrap();
            for order in orders {
                let axes: Vec<_> = order.iter().map(|&i| (shape[i], strides[i])).collect();
                check(0, &axes, shape.iter().product());
            }
        }
    }

    #[test]
    fn steps_reversals_and_repetitions() {
        check(9, &[(10, -1)], 10);
        check(1, &[(4, 3)], 11);
        check(0, &[(3, 0), (5, 1)], 5);
        check(4, &[(2, 0), (5, -1), (3, 0)], 5);
        check(0, &[(40, 1), (3, 0), (50, 40)], 2000);
        check(2000 - 40, &[(40, 1), (50, -40)], 2000);
        check(0, &[(300, 0), (300, 1), (2, 300)], 600);
        check(7, &[], 8);
        check(0, &[(1, 5), (1, -5)], 1);
    }

    #[test]
    fn what_lies_outside_is_refused() {
        assert!(Strided::new(0, &[(5, 2)], 8).is_err());
        assert!(Strided::new(3, &[(5, -1)], 8).is_err());
        assert!(Strided::new(0, &[(1, 1)], 0).is_err());
        assert!(Strided::new(0, &[(usize::MAX, 0), (2, 0)], 1).is_err());
        assert!(Strided::new(0, &[(1 << 40, 1 << 40)], 8).is_err());
        // Nothing is read.
        let copy = Strided::new(5, &[(0, 1), (9, 4)], 0).unwrap();
        copy.run(View::F32(&[]), &mut ViewMut::F32(&mut []))
            .unwrap();
    }

    #[test]
    fn other_types_and_lengths_are_errors() {
        let copy = Strided::new(0, &[(2, 1)], 2).unwrap();
        let (three, mut two) = ([0.0f32; 3], [0.0f32; 2]);
        assert!(
            copy.run(View::F32(&three), &mut ViewMut::F32(&mut two))
                .is_err()
        );
        assert!(
            copy.run(View::F64(&[0.0; 2]), &mut ViewMut::F32(&mut two))
                .is_err()
        );
    }
}
