//! What the tiles of a product ask for ahead of its use, a cache line with each term.

use std::ops::Range;

use super::tile::{Ahead, LINE};
use super::{Job, Stretch};
use crate::kernel::simd::Simd;

/// What is asked for while a tile is multiplied, so that it is in the second-level cache when it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Far {
    /// Nothing of A, which is near; a part of the next piece of B.
    Nothing,
    /// The rows of the next tile, which follow these in A.
    Rows,
    /// The terms of the next tile: its rows stand beside these, its terms so far apart. The first tiles ask for what is
    /// read later instead.
    Terms(usize, [Lines; 2]),
    /// What is read or written later: each tile asks for one of these lines, and for as many after it as it has terms.
    Later([Lines; 3]),
}

/// Cache lines beside each other, at as many places as a tile has terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// Where the first line of the first term begins. Nothing is read: what is asked for need not be there.
    from: *const f32,
    /// How many are beside each other.
    count: usize,
    /// From the lines of one term to those of the next, in numbers.
    apart: usize,
}

impl Lines {
    pub(crate) const NONE: Self = Self {
        from: std::ptr::null(),
        count: 0,
        apart: 0,
    };

    /// Those of `width` channels of pixels that follow each other from number `pixel` on, each with `all` channels.
    pub(crate) fn of_pixels(
        (channel, all): (*const f32, usize),
        pixel: usize,
        width: usize,
    ) -> Self {
        Self {
            from: channel.wrapping_add(pixel * all),
            count: width.div_ceil(LINE),
            apart: all,
        }
    }

    /// All of so many numbers, by tiles of so many terms.
    pub(crate) fn all(from: *const f32, numbers: usize, terms: usize) -> Self {
        let count = numbers.div_ceil(LINE * terms.max(1));
        Self {
            from,
            count,
            apart: count * LINE,
        }
    }
}

impl Job<'_> {
    /// What tiles of a panel ask for, from number `tile` and term number `term` on, and how many of them.
    #[inline(always)]
    pub(super) fn ahead(
        &self,
        stretch: &Stretch,
        b: *const f32,
        term: usize,
        tile: usize,
    ) -> (Ahead, usize) {
        match self.far {
            Far::Rows if stretch.panel == self.first => {
                let from = self.a.wrapping_add(self.terms.len() + term);
                (Ahead::Rows(from), usize::MAX)
            }
            // Only packed panels follow each other.
            Far::Nothing | Far::Rows if self.apart.is_some() => (Ahead::Lines(b, 0), usize::MAX),
            Far::Nothing | Far::Rows => (Ahead::Panel(b, tile), usize::MAX),
            Far::Terms(..) | Far::Later(_) => self.later(b, term, tile),
        }
    }

    /// The same for what is read later.
    #[cold]
    fn later(&self, b: *const f32, term: usize, mut tile: usize) -> (Ahead, usize) {
        let (lines, apart) = match self.far {
            Far::Later(lines) => (lines, 0),
            Far::Terms(apart, [first, second]) => ([first, second, Lines::NONE], apart),
            _ => ([Lines::NONE; 3], 0),
        };
        for lines in lines {
            if tile < lines.count {
                let from = lines.from.wrapping_add(term * lines.apart + tile * LINE);
                return (Ahead::Lines(from, lines.apart), lines.count - tile);
            }
            tile -= lines.count;
        }
        let ahead = match apart {
            // Nothing is left.
            0 => Ahead::Lines(b, 0),
            _ => {
                let first = self.terms.get(term).map_or(0, |&term| term as usize);
                Ahead::Beside(self.a.wrapping_add(first + LINE), apart)
            }
        };
        (ahead, usize::MAX)
    }

    /// Asks for the lines of some rows and columns of the result, where rows are contiguous.
    ///
    /// # Safety
    /// The CPU has `S`.
    #[inline(always)]
    pub(super) unsafe fn ask_for<S: Simd>(&self, s: S, rows: Range<usize>, columns: Range<usize>) {
        for line in rows.step_by(LINE) {
            let to = self.out.wrapping_add(line);
            for column in columns.clone() {
                // SAFETY: the caller's; what is asked for need not be there.
                unsafe { s.prefetch_far(to.wrapping_offset(column as isize * self.strides[1])) }
            }
        }
    }
}
