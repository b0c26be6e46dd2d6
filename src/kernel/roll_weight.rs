//! The gradient of depthwise weights of 3 × 3 taps and stride 1, where every pixel is read once: a part of what
//! [`SlideWeight`] does, as `roll.rs` is of the forward pass.
//!
//! ```text
//! for each chunk of channels:
//!     for each row t of the image under the block:  for each vector of channels of the chunk:
//!         d[r] ← the TILE vectors of row t − r of dy, where the block has it            of three rows one is new
//!         for each pixel j under the tile:  acc[r, k] += x[row t, j] · d[r][i]  for all r and i + k = j
//!     dw += acc
//! ```
//!
//! The sums are added in the order of [`SlideWeight`], bit for bit; they and two rows of dy wait in a buffer while the
//! other vectors have their turn. Where pixels do not crowd, reading them three times from L1 is quicker.

use super::ring::is_crowded;
use super::roll::{TAPS, TILE};
use super::simd::{Apart, Simd};
use super::slide::ask_for;
use super::slide_weight::SlideWeight;

/// Vectors of channels of a chunk: 13 KiB of the buffer.
const CHUNK: usize = 8;

/// Vectors that wait: sums, two of the bias, two rows of dy.
const KEPT: usize = TAPS * TAPS + 2 + 2 * TILE;

/// Whether there is a loop for such taps, and it is quicker.
pub(super) fn pays<S: Simd>(slide: &SlideWeight<'_>) -> bool {
    let axes = [slide.rows, slide.columns];
    S::REGISTERS >= 32
        && is_crowded(slide.pitch)
        && axes
            .iter()
            .all(|axis| axis.taps == TAPS && axis.stride == 1)
}

/// The columns of one tile in some rows.
pub(super) struct RollWeight<'a> {
    pub(super) slide: &'a SlideWeight<'a>,
    /// The first row of dy and how many there are.
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) column: usize,
    pub(super) dw: *mut f32,
}

/// What waits of each vector of a chunk, of at most 16 lanes.
#[repr(align(64))]
struct Buffer {
    _kept: [f32; CHUNK * KEPT * 16],
}

type Acc<V> = [[V; TAPS]; TAPS];

impl Apart for RollWeight<'_> {
    /// # Safety
    /// [`pays`], `rows` rows and `TILE` columns are there, and all that `SlideWeight::run` checks.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let channels = self.slide.channels;
        let mut buffer = std::mem::MaybeUninit::<Buffer>::uninit();
        let buffer: *mut f32 = buffer.as_mut_ptr().cast();
        for begin in (0..channels).step_by(CHUNK * S::LANES) {
            let end = channels.min(begin + CHUNK * S::LANES);
            for t in 0..self.rows + TAPS - 1 {
                for channel in (begin..end).step_by(S::LANES) {
                    // SAFETY: the buffer has room for a chunk; the rest is the caller's.
                    unsafe {
                        if self.slide.far {
                            self.ask(s, t, begin..end, channel);
                        }
                        self.row(s, t, channel, buffer.add((channel - begin) * KEPT));
                    }
                }
            }
        }
    }
}

impl RollWeight<'_> {
    /// Row `t` of the image and one vector of channels, of which `kept` waits.
    ///
    /// # Safety
    /// As `run`; `kept` holds what the row before left there.
    #[inline(always)]
    unsafe fn row<S: Simd>(&self, s: S, t: usize, channel: usize, kept: *mut f32) {
        let slide = self.slide;
        // Which of the three rows of dy the block has.
        let has = [t < self.rows, t >= 1 && t <= self.rows, t >= 2];
        // SAFETY: the buffer has KEPT vectors, the block its rows; see `add` for the pixels.
        unsafe {
            let kept = |index: usize| kept.add(index * S::LANES);
            let waiting = |row: usize| TAPS * TAPS + 2 + (row % 2) * TILE;
            let mut acc = [[s.zero(); TAPS]; TAPS];
            if t > 0 {
                for (index, acc) in acc.as_flattened_mut().iter_mut().enumerate() {
                    *acc = s.load(kept(index));
                }
            }
            let mut d = [[s.zero(); TILE]; TAPS];
            for (i, d) in d[1].iter_mut().enumerate().filter(|_| has[1]) {
                *d = s.load(kept(waiting(t + 1) + i));
            }
            for (i, d) in d[2].iter_mut().enumerate().filter(|_| has[2]) {
                *d = s.load(kept(waiting(t) + i));
            }
            if has[0] {
                let at = (self.first + t) * slide.results[1] + self.column;
                let dy = slide.dy.as_ptr().add(at * slide.pitch + channel);
                let mut sums = [s.zero(); 2];
                if t > 0 {
                    sums = [s.load(kept(TAPS * TAPS)), s.load(kept(TAPS * TAPS + 1))];
                }
                for (i, d) in d[0].iter_mut().enumerate() {
                    *d = s.load(dy.add(i * slide.pitch));
                    sums[i % 2] = s.add(sums[i % 2], *d);
                    s.store(kept(waiting(t) + i), *d);
                }
                s.store(kept(TAPS * TAPS), sums[0]);
                s.store(kept(TAPS * TAPS + 1), sums[1]);
            }
            if has == [true; TAPS] {
                self.add::<S, 0, TAPS>(s, &mut acc, &d, t, channel);
            } else {
                // A row that the block lacks meets no pixel, which may be infinite.
                if has[0] {
                    self.add::<S, 0, 1>(s, &mut acc, &d, t, channel);
                }
                if has[1] {
                    self.add::<S, 1, 2>(s, &mut acc, &d, t, channel);
                }
                if has[2] {
                    self.add::<S, 2, 3>(s, &mut acc, &d, t, channel);
                }
            }
            if t + 1 < self.rows + TAPS - 1 {
                for (index, &acc) in acc.as_flattened().iter().enumerate() {
                    s.store(kept(index), acc);
                }
                return;
            }
            let dw = self.dw.add(channel * (TAPS * TAPS + 1));
            for (index, &acc) in acc.as_flattened().iter().enumerate() {
                let to = dw.add(index * S::LANES);
                s.store(to, s.add(s.load(to), acc));
            }
            let to = dw.add(TAPS * TAPS * S::LANES);
            let bias = s.add(s.load(kept(TAPS * TAPS)), s.load(kept(TAPS * TAPS + 1)));
            s.store(to, s.add(s.load(to), bias));
        }
    }

    /// acc[r][k] += x[row t, j] · d[r][i] for all i + k = j and the rows from `LOW` to before `HIGH`.
    ///
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn add<S: Simd, const LOW: usize, const HIGH: usize>(
        &self,
        s: S,
        acc: &mut Acc<S::V>,
        d: &[[S::V; TILE]; TAPS],
        t: usize,
        channel: usize,
    ) {
        let slide = self.slide;
        let (lines, width) = (slide.rows.source as isize, slide.columns.source as isize);
        let at = (self.first + t) as isize - slide.rows.pad;
        let first = self.column as isize - slide.columns.pad;
        let there = (0..lines).contains(&at);
        let inside = there && first >= 0 && first + (TILE + TAPS - 1) as isize <= width;
        let line = if there { (at * width) as usize } else { 0 };
        // SAFETY: pixels are read only where they lie in the image.
        unsafe {
            let pixels = slide.x.as_ptr().add(line * slide.pitch + channel);
            if inside && HIGH - LOW == TAPS {
                add::<S, LOW, HIGH>(s, acc, d, |j| {
                    let at = (first + j as isize) as usize;
                    s.load(pixels.add(at * slide.pitch))
                });
            } else {
                add::<S, LOW, HIGH>(s, acc, d, |j| {
                    let at = first + j as isize;
                    if there && (0..width).contains(&at) {
                        s.load(pixels.add(at as usize * slide.pitch))
                    } else {
                        s.zero()
                    }
                });
            }
        }
    }

    /// Asks for the same row under the next tile, or of the next rows or the next image after the last.
    ///
    /// # Safety
    /// The CPU has `S`.
    #[inline(always)]
    unsafe fn ask<S: Simd>(&self, s: S, t: usize, chunk: std::ops::Range<usize>, channel: usize) {
        let slide = self.slide;
        let (row, column) = if self.column + TILE < slide.results[1] {
            (self.first + t, self.column + TILE)
        } else {
            (self.first + t + self.rows, 0)
        };
        let part = [(channel - chunk.start) / S::LANES, chunk.len() / S::LANES];
        let dy = (row * slide.results[1] + column) * slide.pitch + chunk.start;
        let x = (row * slide.columns.source + column) * slide.pitch + chunk.start;
        // SAFETY: the caller's; nothing is read.
        unsafe {
            ask_for(
                s,
                slide.dy.as_ptr().wrapping_add(dy),
                slide.pitch,
                part,
                TILE,
            );
            ask_for(s, slide.x.as_ptr().wrapping_add(x), slide.pitch, part, TILE);
        }
    }
}

/// What one row of pixels adds.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn add<S: Simd, const LOW: usize, const HIGH: usize>(
    s: S,
    acc: &mut Acc<S::V>,
    d: &[[S::V; TILE]; TAPS],
    pixel: impl Fn(usize) -> S::V,
) {
    for j in 0..TILE + TAPS - 1 {
        let v = pixel(j);
        for k in 0..TAPS {
            if j >= k && j - k < TILE {
                for r in LOW..HIGH {
                    // SAFETY: the caller's.
                    acc[r][k] = unsafe { s.fma(v, d[r][j - k], acc[r][k]) };
                }
            }
        }
    }
}
