//! How the columns of a product are cut into panels.

use super::Left;
use crate::kernel::Isa;

/// Vectors of a panel for which there are tiles that read it where it lies.
pub(super) const LYING: usize = 4;

/// How a matrix of some columns is cut into panels: wide ones, then narrower ones.
///
/// ```text
/// widths in vectors, AVX-512    4 … 4 | 4 … 4 3 | 4 … 4 3 3 | 4 … 4 3 3 3       1, 2 and 3 2 where that is all
/// others                        2 … 2 | 2 … 2 1
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panels {
    lanes: usize,
    /// Vectors of the wide panels, and how many of those there are.
    wide: (usize, usize),
    /// The same for the panels after them.
    narrow: (usize, usize),
}

impl Panels {
    pub(crate) fn new(isa: Isa, left: Left, columns: usize) -> Self {
        let lanes = isa.lanes();
        let vectors = columns.div_ceil(lanes).max(1);
        let (wide, narrow) = match (left, isa) {
            (Left::Vectors { .. }, _) => ((1, vectors), (1, 0)),
            (Left::Scalars, Isa::Avx512(_)) => {
                match (vectors, vectors.next_multiple_of(4) - vectors) {
                    (1 | 2, _) => ((vectors, 1), (1, 0)),
                    (5, _) => ((3, 1), (2, 1)),
                    (_, threes) => ((4, (vectors - 3 * threes) / 4), (3, threes)),
                }
            }
            (Left::Scalars, Isa::Avx2Fma(_) | Isa::Portable) => {
                ((2, vectors / 2), (1, vectors % 2))
            }
        };
        Self {
            lanes,
            wide,
            narrow,
        }
    }

    /// Columns of all panels, with the padding.
    pub(crate) fn columns(&self) -> usize {
        (self.wide.0 * self.wide.1 + self.narrow.0 * self.narrow.1) * self.lanes
    }

    /// Whether a matrix of so many columns may be read where it lies: it has whole panels of [`LYING`] vectors.
    pub(crate) fn may_lie(isa: Isa, columns: usize) -> bool {
        let panels = Self::new(isa, Left::Scalars, columns);
        panels.wide.0 == LYING && panels.narrow.1 == 0 && panels.columns() == columns
    }

    /// Whether a panel begins with `column`, or none is left.
    pub(super) fn begins(&self, column: usize) -> bool {
        column >= self.columns() || self.each().any(|(first, _)| first == column)
    }

    /// The shortest length of at least `least` columns whose multiples all begin with a panel.
    pub(crate) fn cut(&self, least: usize) -> usize {
        let all = self.columns();
        let even = |&length: &usize| (0..all).step_by(length).all(|first| self.begins(first));
        let ends = self.each().map(|(first, width)| first + width);
        ends.filter(|&end| end >= least).find(even).unwrap_or(all)
    }

    /// The first column and the width of every panel.
    pub(crate) fn each(self) -> impl Iterator<Item = (usize, usize)> {
        let (wide, lanes) = (self.wide, self.lanes);
        (0..wide.1 + self.narrow.1).map(move |panel| match panel.checked_sub(wide.1) {
            None => (panel * wide.0 * lanes, wide.0 * lanes),
            Some(after) => (
                (wide.1 * wide.0 + after * self.narrow.0) * lanes,
                self.narrow.0 * lanes,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_every_column_once() {
        for isa in Isa::available() {
            for left in [Left::Scalars, Left::Vectors { step: 0 }] {
                for columns in 1..300 {
                    let panels = Panels::new(isa, left, columns);
                    let mut next = 0;
                    for (first, width) in panels.each() {
                        assert_eq!(first, next);
                        assert!(first < columns && width <= 4 * isa.lanes());
                        next += width;
                    }
                    assert_eq!(next, panels.columns());
                    assert!(next >= columns && next < columns + isa.lanes());
                }
            }
        }
    }
}
