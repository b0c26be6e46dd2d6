//! The two innermost axes of a copy: rows, or a matrix that is transposed.

use super::Axis;
use crate::kernel::{Arithmetic, Isa, Loop, compiled};

/// The two innermost axes of a copy, at one place of the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    pub(super) rows: Axis,
    /// The last axis of the target: its pitch is 1.
    pub(super) columns: Axis,
    pub(super) first: isize,
    pub(super) at: usize,
}

impl Plane {
    /// The plane `index` steps further along `axis`.
    pub(super) fn moved(self, axis: Axis, index: usize) -> Self {
        Self {
            first: self.first + index as isize * axis.stride,
            at: self.at + index * axis.pitch,
            ..self
        }
    }

    /// Whether the rows are dense in the source, and the columns are not.
    pub(super) fn turns(&self) -> bool {
        self.rows.stride == 1 && self.columns.stride.unsigned_abs() > 1 && self.rows.length > 1
    }

    /// N lines whose elements come to lie beside each other: the channels of a small image. Whether it was one.
    pub(super) fn interleave<const N: usize>(self, source: &[f32], target: &mut [f32]) -> bool {
        let Self { rows, columns, .. } = self;
        if rows.pitch != N || columns.stride < 0 {
            return false;
        }
        let lines = std::array::from_fn(|line| {
            let first = (self.first + line as isize * columns.stride) as usize;
            &source[first..first + rows.length]
        });
        let target = &mut target[self.at..self.at + rows.length * N];
        compiled(Isa::selected(), Interleave::<N> { lines, target });
        true
    }

    /// The inverse: N rows of the target from elements that lie beside each other.
    pub(super) fn part<const N: usize>(self, source: &[f32], target: &mut [f32]) -> bool {
        let Self { rows, columns, .. } = self;
        if columns.stride != N as isize {
            return false;
        }
        let source = &source[self.first as usize..][..columns.length * N];
        let mut lines = target[self.at..].chunks_mut(rows.pitch);
        let lines = std::array::from_fn(|_| {
            let line = lines.next().unwrap_or_default();
            &mut line[..columns.length]
        });
        compiled(Isa::selected(), Part::<N> { source, lines });
        true
    }

    /// Row by row.
    pub(super) fn copy<T: Copy>(self, source: &[T], target: &mut [T]) {
        let Self { rows, columns, .. } = self;
        for row in 0..rows.length {
            let Self { first, at, .. } = self.moved(rows, row);
            let target = &mut target[at..at + columns.length];
            match columns.stride {
                0 => target.fill(source[first as usize]),
                1 => target.copy_from_slice(&source[first as usize..][..target.len()]),
                stride => {
                    for (index, slot) in target.iter_mut().enumerate() {
                        *slot = source[(first + index as isize * stride) as usize];
                    }
                }
            }
        }
    }

    /// Element by element, in blocks that stay in L1.
    pub(super) fn transpose<T: Copy>(self, source: &[T], target: &mut [T]) {
        const BLOCK: usize = 16;
        let Self { rows, columns, .. } = self;
        for row in (0..rows.length).step_by(BLOCK) {
            for column in (0..columns.length).step_by(BLOCK) {
                let count = BLOCK.min(columns.length - column);
                for row in row..rows.length.min(row + BLOCK) {
                    let Self { first, at, .. } = self.moved(rows, row).moved(columns, column);
                    for (index, slot) in target[at..at + count].iter_mut().enumerate() {
                        *slot = source[(first + index as isize * columns.stride) as usize];
                    }
                }
            }
        }
    }
}

/// target[i][n] ← lines[n][i]
struct Interleave<'a, const N: usize> {
    lines: [&'a [f32]; N],
    target: &'a mut [f32],
}

impl<const N: usize> Loop for Interleave<'_, N> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (pixels, _) = self.target.as_chunks_mut::<N>();
        let lines = self.lines.map(|line| &line[..pixels.len()]);
        for (i, pixel) in pixels.iter_mut().enumerate() {
            *pixel = std::array::from_fn(|n| lines[n][i]);
        }
    }
}

/// lines[n][i] ← source[i][n]
struct Part<'a, const N: usize> {
    source: &'a [f32],
    lines: [&'a mut [f32]; N],
}

impl<const N: usize> Loop for Part<'_, N> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let (pixels, _) = self.source.as_chunks::<N>();
        let lines = self.lines.map(|line| &mut line[..pixels.len()]);
        for (i, pixel) in pixels.iter().enumerate() {
            for n in 0..N {
                lines[n][i] = pixel[n];
            }
        }
    }
}

/// A plane of any type.
pub(super) fn plainly<T: Copy>(plane: Plane, source: &[T], target: &mut [T]) {
    if plane.turns() {
        plane.transpose(source, target);
    } else {
        plane.copy(source, target);
    }
}
