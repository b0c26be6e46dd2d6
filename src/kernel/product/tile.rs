//! The tiles of a product: rows whose sums over some terms stay in registers.
//!
//! ```text
//! for each tile of ROWS rows × VECTORS vectors:
//!     ask for the lines that it will write
//!     acc ← 0
//!     for t in terms:
//!         ask for a line that a later tile, the next piece or a later product will read
//!         for i in tile:  acc[i] += A[rows[i] + terms[t]] · B[t]
//!     exit ← acc
//! ```
//!
//! Tiles of one height follow each other in one call: what a call costs is as much as some terms.

use super::panels::LYING;
use crate::kernel::simd::{Apart, Simd};

/// Numbers of B that are asked for ahead of their use: 2 KiB, where panels stream from L2.
const AHEAD: usize = 512;

/// Numbers in a cache line.
pub(super) const LINE: usize = 16;

/// What tiles of the same height read, one after another, and where they go.
pub(super) struct Tile<'a> {
    pub(super) a: *const f32,
    /// The rows of all of them.
    pub(super) rows: *const u32,
    /// How many they are.
    pub(super) count: usize,
    pub(super) terms: &'a [u32],
    pub(super) b: *const f32,
    /// From one term of B to the next, where that is not its width.
    pub(super) apart: Option<usize>,
    pub(super) ahead: Ahead,
    /// Most terms that are summed before they join `sums`, which has room for the tile.
    pub(super) turn: usize,
    pub(super) sums: *mut f32,
    pub(super) exit: Exit,
}

/// What is asked for ahead of its use, a line with each term.
#[derive(Clone, Copy)]
pub(super) enum Ahead {
    /// The rows after those of the tile, counted from here.
    Rows(*const f32),
    /// The neighbours of its rows, counted from here, and from term to term.
    Beside(*const f32, usize),
    /// Lines from here, one tile's beside those of the one before, and from term to term.
    Lines(*const f32, usize),
    /// The next piece of B after this one, of which so many tiles have asked for a part.
    Panel(*const f32, usize),
}

/// Where the rows of a tile go: to the buffer, or straight out if they need nothing but a bias, a residual and bounds.
#[derive(Clone, Copy)]
pub(super) struct Exit {
    pub(super) to: *mut f32,
    /// From one row to the next.
    pub(super) across: isize,
    /// Whether to add to what is there.
    pub(super) add: bool,
    /// A number a column, or null.
    pub(super) bias: *const f32,
    /// A number for each of the result or null, and from one row to the next.
    pub(super) residual: (*const f32, isize),
    pub(super) bounds: Option<(f32, f32)>,
}

impl Exit {
    /// Row `i`, the vector from column `column` on.
    ///
    /// # Safety
    /// The place is there, and the CPU has `S`.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, i: usize, column: usize, mut v: S::V) {
        // SAFETY: the caller's.
        unsafe {
            let to = self.to.offset(i as isize * self.across).add(column);
            if self.add {
                v = s.add(v, s.load(to));
            }
            if !self.bias.is_null() {
                v = s.add(v, s.load(self.bias.add(column)));
            }
            let (residual, across) = self.residual;
            if !residual.is_null() {
                v = s.add(v, s.load(residual.offset(i as isize * across).add(column)));
            }
            if let Some((low, high)) = self.bounds {
                v = s.at_most(s.splat(high), s.at_least(s.splat(low), v));
            }
            s.store(to, v);
        }
    }
}

impl Tile<'_> {
    /// `height` rows × `vectors` vectors, each row a number.
    ///
    /// # Safety
    /// Every place it reads or writes is there, and the CPU has `S`.
    #[inline(always)]
    pub(super) unsafe fn scalars<S: Simd>(&self, s: S, height: usize, vectors: usize) {
        macro_rules! heights {
            ($($rows:literal)*) => {
                // SAFETY: the caller's.
                unsafe {
                    match (height, vectors) {
                        $(
                            ($rows, 1) if $rows <= S::ROWS[0] => self.numbers::<S, $rows, 1>(s),
                            ($rows, 2) if $rows <= S::ROWS[1] => self.numbers::<S, $rows, 2>(s),
                            ($rows, 3) if $rows <= S::ROWS[2] => self.numbers::<S, $rows, 3>(s),
                            ($rows, 4) if $rows <= S::ROWS[3] => self.numbers::<S, $rows, 4>(s),
                        )*
                        _ => unreachable!("a tile of {height} rows of {vectors} vectors"),
                    }
                }
            };
        }
        heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }

    /// # Safety
    /// As `scalars`.
    #[inline(always)]
    unsafe fn numbers<S: Simd, const ROWS: usize, const VECTORS: usize>(&self, s: S) {
        // SAFETY: the caller's.
        unsafe {
            if VECTORS == LYING && self.apart.is_some() {
                return s.apart(Numbers::<ROWS, VECTORS, true>(self));
            }
            s.apart(Numbers::<ROWS, VECTORS, false>(self))
        }
    }

    /// `height` rows × one vector, each row a vector of which `columns` lanes are read.
    ///
    /// # Safety
    /// As `scalars`.
    #[inline(always)]
    pub(super) unsafe fn vectors<S: Simd>(&self, s: S, height: usize, columns: usize) {
        let mut row = 0;
        // SAFETY: the caller's; `row` stays below `height`.
        unsafe {
            if columns < S::LANES {
                while row < height {
                    self.part(s, row, columns);
                    row += 1;
                }
                return;
            }
            // Few terms make short tiles: no choice is made for each.
            while row + 8 <= height {
                self.whole::<S, 8>(s, row);
                row += 8;
            }
            if row + 4 <= height {
                self.whole::<S, 4>(s, row);
                row += 4;
            }
            if row + 2 <= height {
                self.whole::<S, 2>(s, row);
                row += 2;
            }
            if row < height {
                self.whole::<S, 1>(s, row);
            }
        }
    }

    /// Rows `first..first + ROWS`: eight hide the latency of a multiply-add.
    ///
    /// # Safety
    /// As `scalars`.
    #[inline(always)]
    unsafe fn whole<S: Simd, const ROWS: usize>(&self, s: S, first: usize) {
        // SAFETY: the caller's.
        unsafe {
            let mut acc = [s.zero(); ROWS];
            let rows: [usize; ROWS] = std::array::from_fn(|i| *self.rows.add(first + i) as usize);
            let mut b = self.b;
            for &term in self.terms {
                let a = self.a.add(term as usize);
                let v = s.load(b);
                for i in 0..ROWS {
                    acc[i] = s.fma(s.load(a.add(rows[i])), v, acc[i]);
                }
                b = b.add(S::LANES);
            }
            for (i, &v) in acc.iter().enumerate() {
                self.exit.put(s, first + i, 0, v);
            }
        }
    }

    /// Row `i` of a panel with fewer columns than lanes: nothing beyond them is read.
    ///
    /// # Safety
    /// As `scalars`.
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, s: S, i: usize, columns: usize) {
        // SAFETY: the caller's.
        unsafe {
            let a = self.a.add(*self.rows.add(i) as usize);
            let mut acc = s.zero();
            for (index, &term) in self.terms.iter().enumerate() {
                let v = s.load_first(a.add(term as usize), columns);
                acc = s.fma(v, s.load(self.b.add(index * S::LANES)), acc);
            }
            self.exit.put(s, i, 0, acc);
        }
    }
}

/// A tile of numbers, as a function of its own: its loop needs all registers.
/// With `LIES`, B lies as it is.
struct Numbers<'a, const ROWS: usize, const VECTORS: usize, const LIES: bool>(&'a Tile<'a>);

impl<const ROWS: usize, const VECTORS: usize, const LIES: bool> Apart
    for Numbers<'_, ROWS, VECTORS, LIES>
{
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let tile = self.0;
        // SAFETY: that of `Tile::scalars`.
        unsafe {
            let width = VECTORS * S::LANES;
            let pitch = match tile.apart {
                Some(apart) if LIES => apart,
                _ => width,
            };
            let soon = if LIES { AHEAD / width * pitch } else { AHEAD };
            let lines = tile.terms.len() * width / LINE;
            for index in 0..tile.count {
                let rows = tile.rows.add(index * ROWS);
                let rows: [usize; ROWS] = std::array::from_fn(|i| *rows.add(i) as usize);
                let (mut next, on) = match tile.ahead {
                    Ahead::Rows(from) => (from.wrapping_add(rows[ROWS - 1]), ROWS),
                    Ahead::Beside(from, apart) => (from.wrapping_add(rows[0]), apart),
                    Ahead::Lines(from, apart) => (from.wrapping_add(index * LINE), apart),
                    Ahead::Panel(b, before) => {
                        // Until all of it has been asked for.
                        let asked = (before + index) * tile.terms.len();
                        if asked < lines {
                            (b.wrapping_add((lines + asked) * LINE), LINE)
                        } else {
                            (b, 0)
                        }
                    }
                };
                let exit = &tile.exit;
                let at = |i: usize, j: usize| {
                    let row = (index * ROWS + i) as isize * exit.across;
                    exit.to.wrapping_offset(row).wrapping_add(j * S::LANES)
                };
                // The lines that will be written are on their way meanwhile: stores that have to fetch theirs wait in
                // a queue that is soon full.
                for i in 0..ROWS {
                    for j in 0..VECTORS {
                        s.prefetch(at(i, j));
                    }
                }
                let mut acc = [[s.zero(); VECTORS]; ROWS];
                let mut b = tile.b;
                let sums = |i: usize, j: usize| tile.sums.add((i * VECTORS + j) * S::LANES);
                let mut rest = tile.terms;
                loop {
                    let (terms, after) = rest.split_at(rest.len().min(tile.turn));
                    for &term in terms {
                        let a = tile.a.add(term as usize);
                        let v: [S::V; VECTORS] =
                            std::array::from_fn(|j| s.load(b.add(j * S::LANES)));
                        for j in 0..VECTORS {
                            s.prefetch(b.wrapping_add(soon + j * S::LANES));
                        }
                        s.prefetch_far(next);
                        next = next.wrapping_add(on);
                        for i in 0..ROWS {
                            s.step(a, rows[i], &v, &mut acc[i]);
                        }
                        b = b.wrapping_add(pitch);
                    }
                    if rest.len() < tile.terms.len() {
                        for (i, row) in acc.iter_mut().enumerate() {
                            for (j, v) in row.iter_mut().enumerate() {
                                *v = s.add(s.load(sums(i, j)), *v);
                            }
                        }
                    }
                    rest = after;
                    if rest.is_empty() {
                        break;
                    }
                    for (i, row) in acc.iter_mut().enumerate() {
                        for (j, v) in row.iter_mut().enumerate() {
                            s.store(sums(i, j), *v);
                            *v = s.zero();
                        }
                    }
                }
                if lines > AHEAD / LINE {
                    // The next tile begins where this one did.
                    for line in (0..AHEAD).step_by(LINE) {
                        let (term, at) = (line / width, line % width);
                        s.prefetch(tile.b.wrapping_add(term * pitch + at));
                    }
                }
                // One loop for each step, so that every sum stays in its register.
                if exit.add {
                    for (i, row) in acc.iter_mut().enumerate() {
                        for (j, v) in row.iter_mut().enumerate() {
                            *v = s.add(*v, s.load(at(i, j)));
                        }
                    }
                }
                if !exit.bias.is_null() {
                    for j in 0..VECTORS {
                        let bias = s.load(exit.bias.add(j * S::LANES));
                        for row in &mut acc {
                            row[j] = s.add(row[j], bias);
                        }
                    }
                }
                let (residual, across) = exit.residual;
                if !residual.is_null() {
                    for (i, row) in acc.iter_mut().enumerate() {
                        let from = residual.offset((index * ROWS + i) as isize * across);
                        for (j, v) in row.iter_mut().enumerate() {
                            *v = s.add(*v, s.load(from.add(j * S::LANES)));
                        }
                    }
                }
                if let Some((low, high)) = exit.bounds {
                    let (low, high) = (s.splat(low), s.splat(high));
                    for v in acc.as_flattened_mut() {
                        *v = s.at_most(high, s.at_least(low, *v));
                    }
                }
                for (i, row) in acc.iter().enumerate() {
                    for (j, &v) in row.iter().enumerate() {
                        s.store(at(i, j), v);
                    }
                }
            }
        }
    }
}
