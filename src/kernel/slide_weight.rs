//! The gradient of depthwise weights along lines: what `slide.rs` is to the forward pass.
//!
//! ```text
//! dw[c, r, k] += Σ_y Σ_i dy[y, i, c] · x[y · stride + r − pad, i · stride + k − pad, c]        db[c] += Σ dy
//!
//! for each block of ROWS rows:  for each tile of TILE columns:  for each vector of channels:
//!     for each group of tap rows:  acc ← 0
//!         for each row y of the block:  d ← its TILE vectors of dy
//!             for each tap row r of the group:  for each pixel j under the tile:
//!                 acc[r, k] += x[j] · d[i]  for all i · stride + k = j
//!         dw[c, r, :] += acc
//! ```
//!
//! Sums of ROWS · TILE terms are made in registers and then added up, which bounds their rounding. Pixels outside the
//! image are zeros that take part.

use super::Isa;
use super::portable::Portable;
use super::roll;
use super::roll_weight::{self, RollWeight};
use super::simd::{Simd, unrolled};
use super::slide::{SlideAxis, ask_for};

/// Rows whose pixels under a tile stay in L1 from one vector of channels to the next.
const ROWS: usize = 16;

/// An image, the gradient of its result, and the channels wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlideWeight<'a> {
    /// One image and its output gradient, `[row][column][channel]`, from the first channel wanted on.
    pub(crate) x: &'a [f32],
    pub(crate) dy: &'a [f32],
    /// Channels of the whole tensors, and how many are wanted, a multiple of the lanes.
    pub(crate) pitch: usize,
    pub(crate) channels: usize,
    pub(crate) rows: SlideAxis,
    pub(crate) columns: SlideAxis,
    /// Rows and columns of the result.
    pub(crate) results: [usize; 2],
    /// Whether the images come from beyond the second-level cache, where asking ahead pays.
    pub(crate) far: bool,
}

impl SlideWeight<'_> {
    /// Whether there is a loop for so many taps in a row, with stride 1 or 2.
    pub(crate) fn fits(taps: usize) -> bool {
        matches!(taps, 3 | 5 | 7)
    }

    /// Adds the gradients of one image to `dw`, `[vector of channels][tap][lane]` with one more tap, the bias.
    ///
    /// # Panics
    /// Where a length does not fit: a bug in this crate.
    pub(crate) fn run(&self, isa: Isa, dw: &mut [f32]) {
        let end = |[rows, columns]: [usize; 2]| {
            (rows * columns).saturating_sub(1) * self.pitch + self.channels
        };
        assert!(
            self.channels.is_multiple_of(isa.lanes()) && self.channels <= self.pitch,
            "channels of a line"
        );
        assert!(
            Self::fits(self.columns.taps) && matches!(self.columns.stride, 1 | 2),
            "taps of a line"
        );
        assert!(
            end([self.rows.source, self.columns.source]) <= self.x.len()
                && end(self.results) <= self.dy.len()
                && self.rows.source * self.columns.source > 0,
            "the images of a line"
        );
        let taps = self.rows.taps * self.columns.taps + 1;
        assert!(taps * self.channels <= dw.len(), "weights of a line");
        let dw = dw.as_mut_ptr();
        // SAFETY: the tokens prove the instruction sets. The assertions above prove every pixel of both images and
        // every weight; pixels outside the image are not read.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512(token) => avx512(token, self, dw),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2Fma(token) => avx2(token, self, dw),
                Isa::Portable => self.image(Portable, dw),
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx512(_) | Isa::Avx2Fma(_) => self.image(Portable, dw),
            }
        }
    }

    /// # Safety
    /// As checked by `run`, and the CPU has `S`.
    #[inline(always)]
    unsafe fn image<S: Simd>(&self, s: S, dw: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            match (self.columns.taps, self.columns.stride) {
                (3, 1) => self.tiles::<S, 3, 1, 3>(s, dw),
                (3, _) => self.tiles::<S, 3, 2, 3>(s, dw),
                (5, 1) => self.tiles::<S, 5, 1, 2>(s, dw),
                (5, _) => self.tiles::<S, 5, 2, 2>(s, dw),
                (_, 1) => self.tiles::<S, 7, 1, 2>(s, dw),
                (_, _) => self.tiles::<S, 7, 2, 2>(s, dw),
            }
        }
    }

    /// `GROUP` tap rows at a time: as many sums as hide the latency of a multiply-add.
    ///
    /// # Safety
    /// As `image`.
    #[inline(always)]
    unsafe fn tiles<S: Simd, const WIDTH: usize, const STRIDE: usize, const GROUP: usize>(
        &self,
        s: S,
        dw: *mut f32,
    ) {
        let [rows, columns] = self.results;
        let rolls = roll_weight::pays::<S>(self);
        for begin in (0..rows).step_by(ROWS) {
            let some = begin..rows.min(begin + ROWS);
            let mut column = 0;
            while column < columns {
                let tile = if columns - column >= 7 { 7 } else { 1 };
                if rolls && tile == roll::TILE {
                    let work = RollWeight {
                        slide: self,
                        first: begin,
                        rows: some.len(),
                        column,
                        dw,
                    };
                    // SAFETY: rows and columns are left.
                    unsafe { s.apart(work) }
                    column += tile;
                    continue;
                }
                for channel in (0..self.channels).step_by(S::LANES) {
                    let mut tap = 0;
                    while tap < self.rows.taps {
                        let group = if tap + GROUP <= self.rows.taps {
                            GROUP
                        } else {
                            1
                        };
                        let place = Place {
                            rows: [some.start, some.end],
                            column,
                            channel,
                            tap,
                        };
                        // SAFETY: `tile` columns and `group` tap rows are left.
                        unsafe {
                            match (tile, group == GROUP) {
                                (7, true) => self.tile::<S, WIDTH, STRIDE, GROUP, 7>(s, dw, place),
                                (7, false) => self.tile::<S, WIDTH, STRIDE, 1, 7>(s, dw, place),
                                (_, true) => self.tile::<S, WIDTH, STRIDE, GROUP, 1>(s, dw, place),
                                (_, false) => self.tile::<S, WIDTH, STRIDE, 1, 1>(s, dw, place),
                            }
                        }
                        tap += group;
                    }
                }
                column += tile;
            }
        }
    }

    /// # Safety
    /// As `image`.
    #[inline(always)]
    unsafe fn tile<
        S: Simd,
        const WIDTH: usize,
        const STRIDE: usize,
        const GROUP: usize,
        const TILE: usize,
    >(
        &self,
        s: S,
        dw: *mut f32,
        place: Place,
    ) {
        let under = (TILE - 1) * STRIDE + WIDTH;
        let first = (place.column * STRIDE) as isize - self.columns.pad;
        let inside = first >= 0 && first + under as isize <= self.columns.source as isize;
        // SAFETY: the rows and columns of dy exist, and pixels of x are read only where they do.
        unsafe {
            let mut acc = [[s.zero(); WIDTH]; GROUP];
            let mut sums = [s.zero(); 2];
            for row in place.rows[0]..place.rows[1] {
                let dy = (row * self.results[1] + place.column) * self.pitch + place.channel;
                let dy = self.dy.as_ptr().add(dy);
                let d: [S::V; TILE] = std::array::from_fn(|i| s.load(dy.add(i * self.pitch)));
                if place.tap == 0 {
                    for (i, &d) in d.iter().enumerate() {
                        sums[i % 2] = s.add(sums[i % 2], d);
                    }
                }
                // Of the same rows under the next tile, that of the next rows or of the next image after the last.
                if self.far && place.tap == 0 {
                    let part = [place.channel / S::LANES, self.channels / S::LANES];
                    let beside = place.column + TILE < self.results[1];
                    let (row, column) = if beside {
                        (row, place.column + TILE)
                    } else {
                        (row + place.rows[1] - place.rows[0], 0)
                    };
                    let dy = (row * self.results[1] + column) * self.pitch;
                    let dy = self.dy.as_ptr().wrapping_add(dy);
                    ask_for(s, dy, self.pitch, part, TILE);
                    for next in 0..STRIDE {
                        let pixel = (row * STRIDE + next) * self.columns.source + column * STRIDE;
                        let pixels = self.x.as_ptr().wrapping_add(pixel * self.pitch);
                        ask_for(s, pixels, self.pitch, part, TILE * STRIDE);
                    }
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let at = (row * self.rows.stride + place.tap + r) as isize;
                    let at = at - self.rows.pad;
                    let there = (0..self.rows.source as isize).contains(&at);
                    let pixels = if there {
                        at as usize * self.columns.source
                    } else {
                        0
                    };
                    let pixels = self.x.as_ptr().add(pixels * self.pitch + place.channel);
                    if there && inside {
                        slide::<S, WIDTH, STRIDE, TILE>(s, acc, &d, |j| {
                            s.load(pixels.add((first + j as isize) as usize * self.pitch))
                        });
                    } else {
                        slide::<S, WIDTH, STRIDE, TILE>(s, acc, &d, |j| {
                            let at = first + j as isize;
                            if there && (0..self.columns.source as isize).contains(&at) {
                                s.load(pixels.add(at as usize * self.pitch))
                            } else {
                                s.zero()
                            }
                        });
                    }
                }
            }
            let taps = self.rows.taps * WIDTH + 1;
            let dw = dw.add(place.channel * taps);
            for (r, acc) in acc.iter().enumerate() {
                for (k, &acc) in acc.iter().enumerate() {
                    let to = dw.add(((place.tap + r) * WIDTH + k) * S::LANES);
                    s.store(to, s.add(s.load(to), acc));
                }
            }
            if place.tap == 0 {
                let to = dw.add((taps - 1) * S::LANES);
                s.store(to, s.add(s.load(to), s.add(sums[0], sums[1])));
            }
        }
    }
}

/// acc[k] += x[j] · d[i] for all i · STRIDE + k = j.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn slide<S: Simd, const WIDTH: usize, const STRIDE: usize, const TILE: usize>(
    s: S,
    acc: &mut [S::V; WIDTH],
    d: &[S::V; TILE],
    pixel: impl Fn(usize) -> S::V,
) {
    unrolled!((TILE - 1) * STRIDE + WIDTH, j, {
        let v = pixel(j);
        for (k, acc) in acc.iter_mut().enumerate() {
            if j >= k && (j - k).is_multiple_of(STRIDE) && (j - k) / STRIDE < TILE {
                // SAFETY: the caller's.
                *acc = unsafe { s.fma(v, d[(j - k) / STRIDE], *acc) };
            }
        }
    });
}

/// What a tile works on.
#[derive(Clone, Copy)]
struct Place {
    /// The first row and the one after the last.
    rows: [usize; 2],
    column: usize,
    channel: usize,
    /// The first tap row.
    tap: usize,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(token: super::Avx512, slide: &SlideWeight<'_>, dw: *mut f32) {
    // SAFETY: the caller's.
    unsafe { slide.image(token, dw) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(token: super::Avx2Fma, slide: &SlideWeight<'_>, dw: *mut f32) {
    // SAFETY: the caller's.
    unsafe { slide.image(token, dw) }
}
