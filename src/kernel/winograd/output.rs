//! y = Aᵀ m A of tiles side by side, finished on the way out.
//!
//! ```text
//! y[channel, row, column] ← map( (Aᵀ m A) + bias[channel] + residual[channel, row, column] )
//! ```
//!
//! Channels last, vectors leave as they are. Channels first, as many tiles as make one vector of columns are kept in a
//! small buffer, and transposed from there; columns that lie apart, under dilation, are then written one by one.

use ndarray::{ArrayView3, ArrayViewMut3};

use super::super::Isa;
use super::super::moves::MOST_LANES;
use super::super::product::Map;
use super::super::simd::{Apart, Simd, run_by};
use super::points::Output;
use super::{Spectrum, Tiling, Unwritten, by_points};

/// The products of tiles side by side: number f of tile t begins at `m[f · step + t · pitch]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sums<'a> {
    pub(crate) m: &'a [f32],
    pub(crate) spectrum: Spectrum,
}

/// What becomes of the results: `[channels, rows, columns]`, of which channels are neighbours, or not.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// At most R rows of a tile; tiles beyond its columns are computed in whole and written in part.
    pub(crate) out: ArrayViewMut3<'a, f32>,
    /// A number a channel.
    pub(crate) bias: Option<&'a [f32]>,
    /// Of the shape of `out`; where channels are neighbours there, they are here.
    pub(crate) residual: Option<ArrayView3<'a, f32>>,
    pub(crate) map: Map,
}

impl Sums<'_> {
    /// out ← finish(Aᵀ m A).
    ///
    /// # Panics
    /// Where a length does not fit: a bug in this crate.
    pub(crate) fn run(&self, isa: Isa, tiling: Tiling, outcome: Outcome<'_>) {
        let mut out = outcome.out;
        let (channels, rows, columns) = out.dim();
        if out.is_empty() {
            return;
        }
        tiling.check();
        let [down, across] = tiling.results();
        let tiles = columns.div_ceil(across);
        let width = channels.next_multiple_of(isa.lanes());
        assert!(
            rows <= down && self.spectrum.end(tiling.products(), tiles, width) <= self.m.len(),
            "the products of a transform"
        );
        let strides = |strides: &[isize]| [strides[0], strides[1], strides[2]];
        let here = strides(out.strides());
        // A view of one element on an axis may have any stride there.
        let last = here[0] == 1 || (channels == 1 && here[2] != 1);
        if let Some(bias) = outcome.bias {
            assert!(bias.len() >= channels, "bias of a transform");
        }
        let residual = outcome.residual.as_ref().map(|residual| {
            assert_eq!(residual.dim(), out.dim(), "residual of a transform");
            (residual.as_ptr(), strides(residual.strides()))
        });
        let beside = |strides: [isize; 3]| strides[0] == 1 || channels == 1;
        assert!(
            !last || residual.is_none_or(|(_, there)| beside(there)),
            "neighbours of a transform"
        );
        let job = Job {
            m: self.m.as_ptr(),
            spectrum: self.spectrum,
            tiling,
            last,
            dim: [channels, rows, columns],
            out: (out.as_mut_ptr(), here),
            residual,
            bias: outcome.bias,
            map: outcome.map,
        };
        // SAFETY: the assertions above prove every index: whole vectors of
        // every product lie in `m`, and `out` and the residual are views of `dim`, reached by their own strides.
        unsafe {
            run_by(isa, &job);
        }
    }
}

/// Tiles whose lengths have been checked.
struct Job<'a> {
    m: *const f32,
    spectrum: Spectrum,
    tiling: Tiling,
    /// Whether channels are neighbours.
    last: bool,
    /// Channels, rows and columns.
    dim: [usize; 3],
    out: (*mut f32, [isize; 3]),
    residual: Option<(*const f32, [isize; 3])>,
    bias: Option<&'a [f32]>,
    map: Map,
}

fn at(strides: [isize; 3], [channel, row, column]: [usize; 3]) -> isize {
    channel as isize * strides[0] + row as isize * strides[1] + column as isize * strides[2]
}

impl Apart for &Job<'_> {
    /// # Safety
    /// As checked by `Sums::run`, and the CPU has `S`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        // SAFETY: the caller's.
        unsafe {
            match self.last {
                true => by_points!(output of self.tiling, self.channels_last::<S>(s)),
                false => by_points!(output of self.tiling, self.channels_first::<S>(s)),
            }
        }
    }
}

impl Job<'_> {
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn channels_last<
        S: Simd,
        D: Output<ND, RD>,
        A: Output<NA, RA>,
        const ND: usize,
        const RD: usize,
        const NA: usize,
        const RA: usize,
    >(
        &self,
        s: S,
    ) {
        let [channels, rows, columns] = self.dim;
        for tile in 0..columns.div_ceil(RA) {
            let some = RA.min(columns - tile * RA);
            for channel in (0..channels).step_by(S::LANES) {
                let count = S::LANES.min(channels - channel);
                // SAFETY: tile and channel are inside, and so are `rows` × `some` of its results.
                unsafe {
                    let y = self.results::<S, D, A, ND, RD, NA, RA>(s, tile, channel);
                    let bias = self.bias_from(s, channel, count);
                    for (i, line) in y.iter().enumerate().take(rows) {
                        for (j, &v) in line.iter().enumerate().take(some) {
                            let place = [channel, i, tile * RA + j];
                            self.put(s, s.add(v, bias), place, count);
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn channels_first<
        S: Simd,
        D: Output<ND, RD>,
        A: Output<NA, RA>,
        const ND: usize,
        const RD: usize,
        const NA: usize,
        const RA: usize,
    >(
        &self,
        s: S,
    ) {
        let [channels, rows, columns] = self.dim;
        let tiles = columns.div_ceil(RA);
        // Either several tiles fill a vector of columns, or, without wide vectors, a tile fills several and is made for
        // each.
        let (together, width) = ((S::LANES / RA).max(1), S::LANES.min(RA));
        // Columns of tiles that are not there keep what stood in them, and are not written.
        // SAFETY: the caller's.
        let mut squares = [unsafe { s.square() }; RD];
        // Channels outside: lines are written from their beginning to their end.
        for channel in (0..channels).step_by(S::LANES) {
            for first in (0..tiles).step_by(together) {
                for part in (0..RA).step_by(width) {
                    let column = first * RA + part;
                    if column >= columns {
                        break;
                    }
                    let count = S::LANES.min(columns - column);
                    // SAFETY: as above; `count` columns are there, and a square has as many vectors as `together` tiles
                    // have columns, or a part of one.
                    unsafe {
                        for (index, tile) in (first..tiles.min(first + together)).enumerate() {
                            let y = self.results::<S, D, A, ND, RD, NA, RA>(s, tile, channel);
                            for (square, line) in squares.iter_mut().zip(&y) {
                                square.as_mut()[index * width..(index + 1) * width]
                                    .copy_from_slice(&line[part..part + width]);
                            }
                        }
                        for (i, square) in squares.iter_mut().enumerate().take(rows) {
                            s.transpose(square);
                            let some = channels - channel;
                            for (lane, &v) in square.as_mut().iter().enumerate().take(some) {
                                let bias = self.bias.map_or(0.0, |bias| bias[channel + lane]);
                                let place = [channel + lane, i, column];
                                self.put(s, s.add(v, s.splat(bias)), place, count);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Aᵀ m A of one vector of channels of one tile.
    ///
    /// # Safety
    /// As `run`; the tile and the channel are inside.
    #[inline(always)]
    unsafe fn results<
        S: Simd,
        D: Output<ND, RD>,
        A: Output<NA, RA>,
        const ND: usize,
        const RD: usize,
        const NA: usize,
        const RA: usize,
    >(
        &self,
        s: S,
        tile: usize,
        channel: usize,
    ) -> [[S::V; RA]; RD] {
        // SAFETY: the caller's; every loop writes all of what is read after it.
        unsafe {
            let m = self.m.add(tile * self.spectrum.pitch + channel);
            let mut columns = Unwritten::<[S::V; RD], NA>::new();
            for j in 0..NA {
                let mut products = [s.zero(); ND];
                for (i, product) in products.iter_mut().enumerate() {
                    *product = s.load(m.add((i * NA + j) * self.spectrum.step));
                }
                columns.write(j, D::output(s, products));
            }
            let columns = columns.written();
            let mut y = Unwritten::<[S::V; RA], RD>::new();
            for i in 0..RD {
                let mut line = [s.zero(); NA];
                for (product, column) in line.iter_mut().zip(columns) {
                    *product = column[i];
                }
                y.write(i, A::output(s, line));
            }
            *y.written()
        }
    }

    /// The bias of the channels in a vector.
    ///
    /// # Safety
    /// As `run`; so many channels are left.
    #[inline(always)]
    unsafe fn bias_from<S: Simd>(&self, s: S, channel: usize, count: usize) -> S::V {
        // SAFETY: the caller's, and the bias has a number for each channel.
        unsafe {
            match self.bias {
                Some(bias) => s.load_first(bias.as_ptr().add(channel), count),
                None => s.zero(),
            }
        }
    }

    /// The last steps of `count` neighbours that begin at `place`.
    ///
    /// # Safety
    /// As `run`; they lie inside.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, mut v: S::V, place: [usize; 3], count: usize) {
        // SAFETY: the caller's.
        unsafe {
            if let Some((residual, strides)) = self.residual {
                let from = residual.offset(at(strides, place));
                v = s.add(v, load_apart(s, from, self.step(strides), count));
            }
            let v = match self.map {
                Map::Identity => v,
                Map::Clamp { low, high } => s.at_most(s.splat(high), s.at_least(s.splat(low), v)),
                Map::Leaky { slope } => s.leaky(s.splat(slope), v),
            };
            let to = self.out.0.offset(at(self.out.1, place));
            store_apart(s, to, self.step(self.out.1), v, count);
        }
    }

    /// From one neighbour to the next.
    #[inline(always)]
    fn step(&self, strides: [isize; 3]) -> isize {
        if self.last { 1 } else { strides[2] }
    }
}

/// `count` ≤ LANES numbers, `step` apart, and zeros.
///
/// # Safety
/// They can be read, and the CPU has `S`.
#[inline(always)]
unsafe fn load_apart<S: Simd>(s: S, from: *const f32, step: isize, count: usize) -> S::V {
    // SAFETY: the caller's; no vector has more than `MOST_LANES` lanes.
    unsafe {
        if step == 1 {
            return s.load_first(from, count);
        }
        let mut lanes = [0.0; MOST_LANES];
        for (index, lane) in lanes.iter_mut().enumerate().take(count) {
            *lane = *from.offset(index as isize * step);
        }
        s.load(lanes.as_ptr())
    }
}

/// Writes the first `count` ≤ LANES numbers, `step` apart.
///
/// # Safety
/// They can be written, and the CPU has `S`.
#[inline(always)]
unsafe fn store_apart<S: Simd>(s: S, to: *mut f32, step: isize, v: S::V, count: usize) {
    // SAFETY: the caller's; no vector has more than `MOST_LANES` lanes.
    unsafe {
        if step == 1 {
            return if count == S::LANES {
                s.store(to, v);
            } else {
                s.store_first(to, v, count);
            };
        }
        let mut lanes = [0.0; MOST_LANES];
        s.store(lanes.as_mut_ptr(), v);
        for (index, &lane) in lanes.iter().enumerate().take(count) {
            *to.offset(index as isize * step) = lane;
        }
    }
}
