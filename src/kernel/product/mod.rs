//! The one product behind every native recipe: its left factor is read out of an image by offsets.
//!
//! ```text
//! out[i, j] ← finish( Σ_t  A[rows[i] + terms[t] (+ j)] · B[t, j] )        i: rows, j: columns, t: terms
//!
//! Left::Scalars    A holds one number a row and term, which meets every column     (a dense product)
//! Left::Vectors    A holds one number a row, term and column                       (depthwise, small groups)
//!
//! B is packed in panels:  [panel][term][width], zeros beyond the last column; or lies as it is, `apart` from term to term
//!
//! for each panel:  for each tile of rows:                                                tile.rs
//!     acc[i] ← Σ_t A[rows[i] + terms[t]] · B[t]                                         in registers
//!     out tile ← finish(acc)
//! ```
//!
//! Forward, rows are output positions and terms patch elements; for the weight's gradient it is the other way
//! round. Stride, dilation, rank and layout are in the offsets alone.
//!
//! Deviations made for speed:
//! 1. A panel is up to four vectors wide, a tile as many rows as the registers then hold.
//! 2. Rows are cut into tiles of even height: a short last tile would leave the multiply-add units waiting.
//! 3. Sums are made of partial sums, which bounds their rounding: a turn in registers, turns in a piece, pieces in the
//!    result, see [`Turns`]. All tiles read one piece of a panel before they go on to the next.
//! 4. A tile goes straight out where columns are contiguous and whole vectors; else through a strip of some tiles, and
//!    transposed from there if rows are contiguous.

mod ahead;
mod exit;
mod few;
mod panels;
mod tile;

pub(crate) use ahead::{Far, Lines};
pub(crate) use few::most_columns;
pub(crate) use panels::Panels;

use std::mem::MaybeUninit;
use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2};

use self::tile::{Exit, Tile};
use super::Isa;
use super::portable::Portable;
use super::simd::Simd;
use crate::error::{Error, Result};

/// How a sum is made of partial sums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    /// Most terms that are summed in registers before they join the others of their piece.
    pub(crate) turn: usize,
    /// Most terms that are summed before they join the rest in the result.
    pub(crate) piece: usize,
}

impl Turns {
    /// A turn joins the sums in memory in about a fiftieth of the time of its terms; turns of twice as many miss
    /// 1.3e-6 · |sum| + 1e-5 in sums of 585 numbers of size 1. A piece of the widest panel has 288 KiB, which stay in L2.
    pub(crate) const LONG: Self = Self {
        turn: 256,
        piece: 1152,
    };

    /// The same pieces of shorter turns.
    pub(crate) const fn of(turn: usize) -> Self {
        Self { turn, ..Self::LONG }
    }
}

/// Rows whose sums over a piece are kept together where they cannot stay in the result.
const STRIP: usize = 60;

/// The same where they are transposed on their way out: whole squares, and whole lines of each column.
const TURNED: usize = 48;

/// Places in a slice, counted from a base that varies.
pub(crate) fn offsets(places: impl Iterator<Item = usize>) -> Result<Vec<u32>> {
    let place = |place| u32::try_from(place).map_err(|_| Error::Overflow { what: "offset" });
    let mut offsets = places.map(place).collect::<Result<Vec<u32>>>()?;
    offsets.shrink_to_fit();
    Ok(offsets)
}

/// How the left factor meets the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// One number for all columns.
    Scalars,
    /// A number for every column; the panel after this one reads `step` further on.
    Vectors { step: usize },
}

/// The factors of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    pub(crate) left: Left,
    pub(crate) a: &'a [f32],
    /// See [`offsets`].
    pub(crate) rows: &'a [u32],
    pub(crate) terms: &'a [u32],
    /// B in panels, see [`Panels`], and its columns.
    pub(crate) b: &'a [f32],
    /// Where B is not packed: from one term to the next, the columns beside each other, see
    /// [`Panels::may_lie`].
    pub(crate) apart: Option<usize>,
    pub(crate) columns: usize,
    /// No longer than [`Turns::LONG`].
    pub(crate) turns: Turns,
    /// The first column wanted, a multiple of [`Panels::width`]; `out` has as many as are wanted.
    pub(crate) first: usize,
    /// What comes from memory and is read next.
    pub(crate) far: Far,
}

/// A function of one number, applied last. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Map {
    Identity,
    Clamp { low: f32, high: f32 },
    Leaky { slope: f32 },
}

impl Map {
    /// The function at `x`.
    #[inline(always)]
    pub(crate) fn apply(self, x: f32) -> f32 {
        match self {
            Self::Clamp { low, high } => {
                let x = if x < low { low } else { x };
                if x > high { high } else { x }
            }
            Self::Leaky { slope } if x < 0.0 => slope * x,
            _ => x,
        }
    }
}

/// What happens to a sum on its way out: `map(sum + bias[j] + residual[i, j])`, or `out + sum`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finish<'a> {
    /// Add to what is there, instead of replacing it.
    pub(crate) accumulate: bool,
    /// A number a column.
    pub(crate) bias: Option<&'a [f32]>,
    /// Of the shape of `out`.
    pub(crate) residual: Option<ArrayView2<'a, f32>>,
    pub(crate) map: Map,
}

impl Finish<'_> {
    /// The plain sum.
    pub(crate) const NONE: Self = Finish {
        accumulate: false,
        bias: None,
        residual: None,
        map: Map::Identity,
    };
}

/// A product whose every index has been checked, as pointers.
struct Job<'a> {
    left: Left,
    a: *const f32,
    /// Elements of A.
    reach: usize,
    rows: &'a [u32],
    terms: &'a [u32],
    turns: Turns,
    b: *const f32,
    apart: Option<usize>,
    panels: Panels,
    /// The columns of B that are wanted.
    first: usize,
    columns: usize,
    far: Far,
    out: *mut f32,
    /// Distances between rows and between columns of `out`.
    strides: [isize; 2],
    residual: Option<(*const f32, [isize; 2])>,
    accumulate: bool,
    bias: Option<&'a [f32]>,
    map: Map,
}

impl Product<'_> {
    /// out (rows × columns) ← finish(A · B).
    ///
    /// # Panics
    /// Where a length does not fit: a bug in this crate.
    pub(crate) fn run(&self, isa: Isa, mut out: ArrayViewMut2<'_, f32>, finish: &Finish<'_>) {
        let (rows, columns) = out.dim();
        assert_eq!(rows, self.rows.len(), "rows of a product");
        if rows == 0 || columns == 0 {
            return;
        }
        let panels = Panels::new(isa, self.left, self.columns);
        let end = self.first + columns;
        assert!(
            panels.begins(self.first)
                && end <= self.columns
                && (end == self.columns || panels.begins(end)),
            "columns {}..{} of {}",
            self.first,
            self.first + columns,
            self.columns
        );
        let count = self.terms.len();
        let numbers = match self.apart {
            None => panels.columns().saturating_mul(count),
            Some(apart) => {
                assert!(
                    self.left == Left::Scalars && Panels::may_lie(isa, self.columns),
                    "{} columns of a product that lie as they are",
                    self.columns
                );
                let before = count.saturating_sub(1).saturating_mul(apart);
                before.saturating_add(if count > 0 { self.columns } else { 0 })
            }
        };
        assert!(self.b.len() >= numbers, "panels of a product");
        let largest = |offsets: &[u32]| offsets.iter().copied().max().unwrap_or(0) as usize;
        let beyond = match self.left {
            Left::Scalars => 1,
            // Panel p reads its columns `step` · p further on.
            Left::Vectors { step } => {
                let last = (columns - 1) / isa.lanes();
                let before = if last > 0 {
                    (last - 1) * step + isa.lanes()
                } else {
                    0
                };
                before.max(last * step + columns - last * isa.lanes())
            }
        };
        let reach = largest(self.rows) + largest(self.terms) + beyond;
        assert!(
            self.terms.is_empty() || reach <= self.a.len(),
            "a product reads element {reach} of {}",
            self.a.len()
        );
        if let Some(bias) = finish.bias {
            assert!(bias.len() >= columns, "bias of a product");
        }
        if let Some(residual) = &finish.residual {
            assert_eq!(residual.dim(), out.dim(), "residual of a product");
        }
        let job = Job {
            left: self.left,
            a: self.a.as_ptr(),
            reach: self.a.len(),
            rows: self.rows,
            terms: self.terms,
            turns: self.turns,
            b: self.b.as_ptr(),
            apart: self.apart,
            panels,
            first: self.first,
            columns,
            far: self.far,
            strides: [out.strides()[0], out.strides()[1]],
            out: out.as_mut_ptr(),
            residual: finish
                .residual
                .as_ref()
                .map(|view| (view.as_ptr(), [view.strides()[0], view.strides()[1]])),
            accumulate: finish.accumulate,
            bias: finish.bias,
            map: finish.map,
        };
        // SAFETY: the tokens prove the instruction sets. The assertions above prove every index: A is read at a
        // row's offset plus a term's plus at most `beyond`, of which the largest sum lies inside; B has every
        // panel whole; `out` and the residual are views of rows × columns elements, reached by their own strides.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512(token) => avx512(token, &job),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2Fma(token) => avx2(token, &job),
                Isa::Portable => job.run(Portable),
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx512(_) | Isa::Avx2Fma(_) => job.run(Portable),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(token: super::Avx512, job: &Job<'_>) {
    // SAFETY: the caller's.
    unsafe { job.run(token) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(token: super::Avx2Fma, job: &Job<'_>) {
    // SAFETY: the caller's.
    unsafe { job.run(token) }
}

/// Rows on their way out: rows × width of the panel.
#[repr(align(64))]
struct Strip {
    _rows: [f32; STRIP * 64],
}

/// Room for a strip, and for the sums of a tile over its turns.
struct Room {
    strip: MaybeUninit<Strip>,
    sums: MaybeUninit<Strip>,
}

/// How the sums of a panel reach the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the registers.
    Straight,
    /// Through a strip, transposed.
    Turned,
    /// Through a strip.
    Buffered,
}

/// Rows of one panel that are summed over one piece of the terms before the next.
struct Stretch {
    panel: usize,
    width: usize,
    way: Way,
    rows: Range<usize>,
    /// Most terms of a turn and of a piece.
    turns: Turns,
    /// Most rows of a tile, and tiles of the stretches before.
    most: usize,
    before: usize,
}

impl Job<'_> {
    /// # Safety
    /// The indices are checked, and the CPU has `S`.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, s: S) {
        let mut room = Room {
            strip: MaybeUninit::uninit(),
            sums: MaybeUninit::uninit(),
        };
        let (all, end) = (self.rows.len(), self.first + self.columns);
        let count = self.terms.len().max(1);
        // Even pieces: the longest decides how much is rounded.
        let even = |most: usize| count.div_ceil(count.div_ceil(most));
        let turn = even(self.turns.turn.clamp(1, Turns::LONG.turn));
        let piece = match self.left {
            Left::Scalars => even(self.turns.piece.clamp(1, Turns::LONG.piece)),
            Left::Vectors { .. } => turn,
        };
        if few::pays::<S>(self) {
            // SAFETY: the caller's.
            return unsafe { few::run(s, self, turn) };
        }
        let panels = self.panels.each();
        for (panel, width) in panels.filter(|&(panel, _)| (self.first..end).contains(&panel)) {
            let (way, strip) = if self.is_plain() && panel + width <= end {
                (Way::Straight, all)
            } else if self.strides[0] == 1 {
                (Way::Turned, TURNED)
            } else {
                (Way::Buffered, all.div_ceil(all.div_ceil(STRIP)))
            };
            let most = match self.left {
                Left::Scalars => S::ROWS[width / S::LANES - 1],
                Left::Vectors { .. } => STRIP,
            };
            let mut before = 0;
            for first in (0..all).step_by(strip) {
                let stretch = Stretch {
                    panel,
                    width,
                    way,
                    rows: first..all.min(first + strip),
                    turns: Turns { turn, piece },
                    most,
                    before,
                };
                before += stretch.rows.len().div_ceil(most);
                // SAFETY: the caller's.
                unsafe { self.stretch(s, &stretch, &mut room) }
            }
        }
    }

    /// # Safety
    /// As `run`; the stretch lies inside, and has no more rows than a strip where it goes through one.
    #[inline(always)]
    unsafe fn stretch<S: Simd>(&self, s: S, stretch: &Stretch, room: &mut Room) {
        let &Stretch { panel, width, .. } = stretch;
        let Range { start: row, end } = stretch.rows;
        let Turns { turn, piece } = stretch.turns;
        let column = panel - self.first;
        let columns = width.min(self.columns - column);
        let strip: *mut f32 = room.strip.as_mut_ptr().cast();
        // Tiles of even height, the taller ones first.
        let tiles = (end - row).div_ceil(stretch.most);
        let (height, taller) = ((end - row) / tiles, (end - row) % tiles);
        for term in (0..self.terms.len().max(1)).step_by(piece) {
            let terms = &self.terms[term..self.terms.len().min(term + piece)];
            let last = term + piece >= self.terms.len();
            let b = self.b.wrapping_add(match self.apart {
                None => panel * self.terms.len() + term * width,
                Some(apart) => panel + term * apart,
            });
            let (mut tile, mut top) = (0, 0);
            while tile < tiles {
                let (height, left) = match tile < taller {
                    true => (height + 1, taller - tile),
                    false => (height, tiles - tile),
                };
                let (ahead, most) = self.ahead(stretch, b, term, stretch.before + tile);
                let count = left.min(most);
                // SAFETY: see `Product::run`; a strip has room for its rows of the widest panel.
                unsafe {
                    if last && stretch.way == Way::Turned {
                        let rows = row + top..row + top + count * height;
                        self.ask_for(s, rows, column..column + columns);
                    }
                    let tile = Tile {
                        a: self.a,
                        rows: self.rows.as_ptr().add(row + top),
                        count,
                        terms,
                        b,
                        apart: self.apart,
                        ahead,
                        turn,
                        sums: room.sums.as_mut_ptr().cast(),
                        exit: if stretch.way == Way::Straight {
                            self.straight([row + top, column], term > 0, last)
                        } else {
                            Exit {
                                to: strip.add(top * width),
                                across: width as isize,
                                add: term > 0,
                                bias: std::ptr::null(),
                                residual: (std::ptr::null(), 0),
                                bounds: None,
                            }
                        },
                    };
                    match self.left {
                        Left::Scalars => tile.scalars(s, height, width / S::LANES),
                        Left::Vectors { step } => {
                            let a = self.a.add(column / S::LANES * step);
                            Tile { a, ..tile }.vectors(s, count * height, columns);
                        }
                    }
                }
                (tile, top) = (tile + count, top + count * height);
            }
        }
        if stretch.way != Way::Straight {
            // SAFETY: the loops above have written these rows.
            unsafe { self.finish(s, strip, [end - row, width], [row, column], columns) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    /// A small integer that depends on its arguments.
    fn number(seed: usize) -> f32 {
        (seed.wrapping_mul(2_654_435_761) >> 7) as f32 % 5.0 - 2.0
    }

    struct Case {
        isa: Isa,
        left: Left,
        rows: usize,
        terms: usize,
        columns: usize,
        finish: usize,
        /// Whether rows follow each other, seventeen at a time.
        runs: bool,
    }

    /// Something to ask for, which changes no result: nothing, or lines that end among the tiles.
    fn far(kind: usize, from: &[f32]) -> Far {
        let lines = |count: usize| Lines::of_pixels((from.as_ptr(), 16 * count), 1, 16 * count);
        match kind % 4 {
            0 => Far::Nothing,
            1 => Far::Rows,
            2 => Far::Terms(7, [lines(1), Lines::NONE]),
            _ => Far::Later([lines(1), Lines::all(from.as_ptr(), 999, 9), lines(2)]),
        }
    }

    /// One product by the kernel and by its definition, whole numbers throughout.
    fn check(case: &Case) {
        let lanes = case.isa.lanes();
        let (step, reach) = match case.left {
            Left::Scalars => (0, 1),
            Left::Vectors { step } => (step, case.columns + lanes),
        };
        let place = |row: u32| match case.runs {
            true => row + row / 17 * 5,
            false => row * 3 % 41,
        };
        let rows: Vec<u32> = (0..case.rows as u32).map(place).collect();
        let terms: Vec<u32> = (0..case.terms as u32).map(|term| term * 7 % 53).collect();
        let last = rows.iter().max().unwrap() + terms.iter().max().unwrap_or(&0);
        let a: Vec<f32> = (0..last as usize + reach).map(number).collect();
        let panels = Panels::new(case.isa, case.left, case.columns);
        let mut b = vec![0.0; panels.columns() * case.terms];
        let weight = |term: usize, column: usize| number(term * 131 + column + 9);
        for (first, width) in panels.each() {
            for term in 0..case.terms {
                for column in first..case.columns.min(first + width) {
                    b[first * case.terms + term * width + column - first] = weight(term, column);
                }
            }
        }
        let bias: Vec<f32> = (0..case.columns).map(|column| number(column + 5)).collect();
        let residual =
            Array2::from_shape_fn((case.rows, case.columns), |(i, j)| number(i * 17 + j));
        let finish = Finish {
            accumulate: case.finish == 1,
            bias: (case.finish >= 2).then_some(&bias),
            residual: (case.finish >= 3).then_some(residual.view()),
            map: match case.finish {
                0 | 1 => Map::Identity,
                2 | 3 => Map::Clamp {
                    low: 0.0,
                    high: 6.0,
                },
                _ => Map::Leaky { slope: 0.5 },
            },
        };
        let product = Product {
            left: case.left,
            a: &a,
            rows: &rows,
            terms: &terms,
            b: &b,
            apart: None,
            columns: case.columns,
            turns: Turns::LONG,
            first: 0,
            far: far(case.rows + case.columns + case.terms, &a),
        };
        let expected = |i: usize, j: usize| {
            let lane = match case.left {
                Left::Scalars => 0,
                Left::Vectors { .. } => j / lanes * step + j % lanes,
            };
            let sum: f32 = (0..case.terms)
                .map(|term| a[(rows[i] + terms[term]) as usize + lane] * weight(term, j))
                .sum();
            let sum = sum
                + if finish.accumulate { 3.0 } else { 0.0 }
                + finish.bias.map_or(0.0, |bias| bias[j])
                + finish.residual.map_or(0.0, |residual| residual[[i, j]]);
            match finish.map {
                Map::Identity => sum,
                Map::Clamp { low, high } => sum.clamp(low, high),
                Map::Leaky { slope } => sum.max(slope * sum),
            }
        };
        // B as it is, where it may be.
        let apart = case.columns + 3;
        let lies = case.left == Left::Scalars && Panels::may_lie(case.isa, case.columns);
        let numbers = 0..(case.terms * apart).saturating_sub(3);
        let lying: Vec<f32> = numbers.map(|at| weight(at / apart, at % apart)).collect();
        let lying = Product {
            b: &lying,
            apart: Some(apart),
            ..product
        };
        let products = [product, lying].into_iter().take(1 + usize::from(lies));
        // Rows contiguous, columns contiguous, neither; nothing beside the view may change.
        let ways = [([0, 3], false), ([2, 0], true), ([1, 1], false)];
        for ((padding, transposed), product) in
            products.flat_map(|product| ways.map(|way| (way, product)))
        {
            let both = usize::from(padding == [1, 1]) + 1;
            let mut memory = Array2::from_elem(
                if transposed {
                    (case.columns + padding[1], case.rows + padding[0])
                } else {
                    (
                        (case.rows + padding[0]) * both,
                        (case.columns + padding[1]) * both,
                    )
                },
                3.0,
            );
            let mut whole = if transposed {
                memory.view_mut().reversed_axes()
            } else {
                memory.slice_mut(s![..;both, ..;both])
            };
            let out = whole.slice_mut(s![..case.rows, ..case.columns]);
            product.run(case.isa, out, &finish);
            for ((i, j), &got) in whole.indexed_iter() {
                let inside = i < case.rows && j < case.columns;
                let expected = if inside { expected(i, j) } else { 3.0 };
                assert_eq!(
                    got, expected,
                    "{} {:?} {} × {} × {}, finish {}, at {i}, {j}",
                    case.isa, case.left, case.rows, case.terms, case.columns, case.finish
                );
            }
        }
    }

    #[test]
    fn products_around_every_edge_agree_with_their_definition() {
        for isa in Isa::available() {
            let lanes = isa.lanes();
            for left in [
                Left::Scalars,
                Left::Vectors { step: lanes },
                Left::Vectors { step: 1 },
            ] {
                for columns in [
                    1,
                    2,
                    3,
                    4,
                    6,
                    8,
                    lanes - 1,
                    lanes,
                    lanes + 1,
                    3 * lanes,
                    4 * lanes,
                    5 * lanes - 1,
                    8 * lanes,
                    9 * lanes,
                ] {
                    for rows in [1, 5, 6, 7, 9, 10, 11, 14, 15, 61] {
                        for (finish, terms) in [
                            (0, 0),
                            (1, 1),
                            (2, 9),
                            (3, 3),
                            (4, 2),
                            (0, 600),
                            (1, 300),
                            (2, 2500),
                        ] {
                            if terms > 1000 && (rows, columns % lanes) != (61, 0) {
                                continue;
                            }
                            for runs in [false, true] {
                                check(&Case {
                                    isa,
                                    left,
                                    rows,
                                    terms,
                                    columns,
                                    finish,
                                    runs,
                                });
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_part_of_the_columns_is_a_part_of_the_product() {
        for isa in Isa::available() {
            let panels = Panels::new(isa, Left::Scalars, 200);
            let b: Vec<f32> = (0..panels.columns() * 3).map(number).collect();
            let product = Product {
                left: Left::Scalars,
                a: &[1.0, 2.0, 3.0, 4.0],
                rows: &[0, 1],
                terms: &[0, 1, 2],
                b: &b,
                apart: None,
                columns: 200,
                turns: Turns::LONG,
                first: 0,
                far: Far::Nothing,
            };
            let mut whole = Array2::zeros((2, 200));
            product.run(isa, whole.view_mut(), &Finish::NONE);
            for least in [1, 40, 70, 150] {
                let cut = panels.cut(least);
                for first in (0..200).step_by(cut) {
                    let mut part = Array2::zeros((2, cut.min(200 - first)));
                    Product { first, ..product }.run(isa, part.view_mut(), &Finish::NONE);
                    assert_eq!(part, whole.slice(s![.., first..first + part.ncols()]));
                }
            }
            if Panels::may_lie(isa, 192) {
                let lying = Product {
                    apart: Some(195),
                    columns: 192,
                    ..product
                };
                let mut whole = Array2::zeros((2, 192));
                lying.run(isa, whole.view_mut(), &Finish::NONE);
                let mut part = Array2::zeros((2, 64));
                let second = Product { first: 64, ..lying };
                second.run(isa, part.view_mut(), &Finish::NONE);
                assert_eq!(part, whole.slice(s![.., 64..128]));
            }
        }
    }
}
