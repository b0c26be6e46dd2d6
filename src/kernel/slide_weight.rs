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
//! Sums of at most ROWS · TILE terms are made in registers and then added up, which bounds their rounding. Pixels outside
//! the image are zeros that take part. Tiles whose pixels are better copied first are left to `near_weight.rs`.

use std::ops::Range;

use super::Isa;
use super::near_weight::{self, Near};
use super::portable::Portable;
use super::simd::{Apart, Simd, unrolled};
use super::slide::{SlideAxis, ask_for};

/// Columns of a tile.
pub(super) const TILE: usize = 7;

/// Rows whose pixels under a tile stay in L1 from one vector of channels to the next.
const ROWS: usize = 16;

/// An image, the gradient of its result, and the channels wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlideWeight<'a> {
    /// One image and its output gradient, `[row][column][channel]`, from the first channel wanted on.
    pub(crate) x: &'a [f32],
    pub(crate) dy: &'a [f32],
    /// Numbers from one pixel to the next.
    pub(crate) pitch: usize,
    pub(crate) dy_pitch: usize,
    /// How many channels are wanted, a multiple of the lanes.
    pub(crate) channels: usize,
    pub(crate) rows: SlideAxis,
    pub(crate) columns: SlideAxis,
    /// Rows and columns of the result.
    pub(crate) results: [usize; 2],
    /// Whether the images come from beyond the second-level cache, where asking ahead pays.
    pub(crate) far: bool,
    /// Whether they come from beyond all caches.
    pub(crate) farther: bool,
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
        let end = |[rows, columns]: [usize; 2], pitch: usize| {
            (rows * columns).saturating_sub(1) * pitch + self.channels
        };
        assert!(
            self.channels.is_multiple_of(isa.lanes())
                && self.channels <= self.pitch.min(self.dy_pitch),
            "channels of a line"
        );
        assert!(
            Self::fits(self.columns.taps) && matches!(self.columns.stride, 1 | 2),
            "taps of a line"
        );
        assert!(
            end([self.rows.source, self.columns.source], self.pitch) <= self.x.len()
                && end(self.results, self.dy_pitch) <= self.dy.len()
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
                (3, 1) => s.apart(Tiles::<3, 1, 3>(self, dw)),
                (3, _) => s.apart(Tiles::<3, 2, 3>(self, dw)),
                (5, 1) => s.apart(Tiles::<5, 1, 2>(self, dw)),
                (5, _) => s.apart(Tiles::<5, 2, 2>(self, dw)),
                (_, 1) => s.apart(Tiles::<7, 1, 2>(self, dw)),
                (_, _) => s.apart(Tiles::<7, 2, 2>(self, dw)),
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
        let near = near_weight::pays::<S>(self);
        for begin in (0..rows).step_by(ROWS) {
            let some = begin..rows.min(begin + ROWS);
            let mut column = 0;
            while column < columns {
                let tile = if columns - column >= TILE { TILE } else { 1 };
                // SAFETY: `tile` columns are left.
                unsafe {
                    if near && tile == TILE {
                        s.apart(Near::<WIDTH, STRIDE, GROUP> {
                            slide: self,
                            rows: some.clone(),
                            column,
                            dw,
                        });
                    } else if tile == TILE {
                        self.taps::<S, WIDTH, STRIDE, GROUP, TILE>(s, dw, some.clone(), column);
                    } else {
                        self.taps::<S, WIDTH, STRIDE, GROUP, 1>(s, dw, some.clone(), column);
                    }
                }
                column += tile;
            }
        }
    }

    /// All taps of TILE columns of some rows.
    ///
    /// # Safety
    /// As `image`, and the rows and columns are there.
    #[inline(always)]
    pub(super) unsafe fn taps<
        S: Simd,
        const WIDTH: usize,
        const STRIDE: usize,
        const GROUP: usize,
        const TILE: usize,
    >(
        &self,
        s: S,
        dw: *mut f32,
        rows: Range<usize>,
        column: usize,
    ) {
        for channel in (0..self.channels).step_by(S::LANES) {
            let mut tap = 0;
            while tap < self.rows.taps {
                let place = Place {
                    rows: [rows.start, rows.end],
                    column,
                    channel,
                    tap,
                };
                // SAFETY: the caller's, and so many tap rows are left.
                unsafe {
                    if tap + GROUP <= self.rows.taps {
                        self.tile::<S, WIDTH, STRIDE, GROUP, TILE>(s, dw, place);
                        tap += GROUP;
                    } else {
                        self.tile::<S, WIDTH, STRIDE, 1, TILE>(s, dw, place);
                        tap += 1;
                    }
                }
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
                let dy = (row * self.results[1] + place.column) * self.dy_pitch + place.channel;
                let dy = self.dy.as_ptr().add(dy);
                let d: [S::V; TILE] = std::array::from_fn(|i| s.load(dy.add(i * self.dy_pitch)));
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
                    let dy = (row * self.results[1] + column) * self.dy_pitch;
                    let dy = self.dy.as_ptr().wrapping_add(dy);
                    ask_for(s, dy, self.dy_pitch, part, TILE);
                    for next in 0..STRIDE {
                        let pixel = (row * STRIDE + next) * self.columns.source + column * STRIDE;
                        let pixels = self.x.as_ptr().wrapping_add(pixel * self.pitch);
                        ask_for(s, pixels, self.pitch, part, TILE * STRIDE);
                    }
                }
                // LLVM would keep the sums in memory.
                unrolled!(GROUP, r, {
                    let acc = &mut acc[r];
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
                });
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

/// All tiles of an image.
struct Tiles<'a, const WIDTH: usize, const STRIDE: usize, const GROUP: usize>(
    &'a SlideWeight<'a>,
    *mut f32,
);

impl<const WIDTH: usize, const STRIDE: usize, const GROUP: usize> Apart
    for Tiles<'_, WIDTH, STRIDE, GROUP>
{
    /// # Safety
    /// As `SlideWeight::image`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        // SAFETY: the caller's.
        unsafe { self.0.tiles::<S, WIDTH, STRIDE, GROUP>(s, self.1) }
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
