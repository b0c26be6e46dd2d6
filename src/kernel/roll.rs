//! Depthwise lines of 3 × 3 taps and stride 1 that read every pixel once: a part of what [`Slide`] does.
//!
//! ```text
//! for each vector of channels:
//!     acc[n] ← the sums of row t − 2 + n of the result, bias at first
//!     for each row t of the image under the block, and what stands for one above and below:
//!         for each pixel j under the tile:  v ← x[row t, j];  acc[n][i] += v · w[2 − n, k]  for all i + k = j
//!         out[row t − 2] ← bounds(acc[0])
//! ```
//!
//! The sums are added in the order of [`Slide`], bit for bit. Where pixels lie 2 KiB apart, those of a tile share few
//! sets of the first-level cache, where three rows of them do not fit, and each would come three times from the second:
//! there many channels go this way too. Results are then held back until a vector of channels has been read: input and
//! output often begin at the same place of a page, so that a pixel and a result of the same channels have the same last
//! twelve bits of their addresses, and a CPU that compares no more of them takes every load for one of what it is just
//! storing.

use std::ops::Range;

use super::simd::{Apart, Simd};
use super::slide::{Block, Slide};

/// Columns of a tile: three rows of sums, nine weights, a pixel and a bias are 32 registers.
pub(super) const TILE: usize = 7;

/// Taps of a row, and rows.
pub(super) const TAPS: usize = 3;

/// Most vectors of channels that go through all rows one after the other. More would read too little of a row at once.
const FEW: usize = 4;

/// Rows of results that are held back: of two vectors of channels 14 KiB of the first-level cache. The last two rows of
/// the image under them are read again for the next ones.
const HELD: usize = 16;

/// Numbers from one pixel to the next of which a multiple puts the pixels of a tile into two sets of the first-level cache.
const CROWDED: usize = 512;

/// Fewest rows, which need five thirds of their multiply-adds: two rows more of the image do not meet all sums.
const ROWS: usize = 3;

/// Whether a block of so many rows is quicker this way.
pub(super) fn pays<S: Simd>(slide: &Slide<'_>, rows: usize) -> bool {
    let whole = slide.group == 1 && slide.rows.taps == TAPS && slide.columns.taps == TAPS;
    let dense = slide.rows.stride == 1 && slide.columns.stride == 1;
    let few = slide.channels <= FEW * S::LANES;
    let often = is_crowded(slide.channels);
    S::REGISTERS >= 32 && whole && dense && rows >= ROWS && (few || often)
}

/// Whether pixels of a tile drive each other out of the first-level cache, where they lie so many numbers apart.
pub(super) fn is_crowded(pitch: usize) -> bool {
    pitch.is_multiple_of(CROWDED)
}

/// The columns of one tile in all rows.
pub(super) struct Roll<'a> {
    pub(super) slide: &'a Slide<'a>,
    pub(super) block: &'a Block,
    pub(super) column: usize,
}

/// The sums of three rows of the result.
type Acc<V> = [[V; TILE]; TAPS];

/// Results of two vectors of channels that are held back, of at most 16 lanes.
#[repr(align(64))]
struct Held {
    _rows: [[[f32; TILE * 16]; HELD]; 2],
}

impl Apart for Roll<'_> {
    /// # Safety
    /// [`pays`], `column + TILE` columns are there, and all that `Slide::run` checks.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let (channels, rows) = (self.slide.channels, self.block.rows);
        // SAFETY: the caller's.
        unsafe {
            if channels > FEW * S::LANES {
                for first in (0..rows).step_by(HELD) {
                    let end = rows.min(first + HELD);
                    s.apart(Late(&self, first..end));
                }
                return;
            }
            for channel in (0..channels).step_by(S::LANES) {
                let (w, bias) = self.weights(s, channel);
                let mut acc = [[bias; TILE]; TAPS];
                for t in 0..rows + TAPS - 1 {
                    self.row(s, &mut acc, &w, t, channel);
                    if t + 1 >= TAPS {
                        let to = self.out(t + 1 - TAPS, channel);
                        self.put(s, &acc[0], to, self.block.steps[1]);
                    }
                    acc = [acc[1], acc[2], [bias; TILE]];
                }
            }
        }
    }
}

/// At most `HELD` rows of the result, which are written while the next vector of channels is read.
struct Late<'a>(&'a Roll<'a>, Range<usize>);

impl Apart for Late<'_> {
    /// # Safety
    /// As `Roll::run`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Self(roll, Range { start: first, end }) = self;
        let mut held = std::mem::MaybeUninit::<Held>::uninit();
        let held: *mut f32 = held.as_mut_ptr().cast();
        let channels = roll.slide.channels;
        // SAFETY: the caller's; a row of `held` is read only after it was written, one vector of channels before.
        unsafe {
            let place = |vector: usize, row: usize| {
                held.add((vector % 2 * HELD + row - first) * TILE * S::LANES)
            };
            let vectors = channels / S::LANES;
            for vector in 0..vectors {
                let (w, bias) = roll.weights(s, vector * S::LANES);
                let mut acc = [[bias; TILE]; TAPS];
                for t in first..end + TAPS - 1 {
                    roll.row(s, &mut acc, &w, t, vector * S::LANES);
                    if t + 1 >= first + TAPS {
                        let row = t + 1 - TAPS;
                        roll.put(s, &acc[0], place(vector, row), S::LANES);
                        if vector > 0 {
                            roll.release(s, place(vector - 1, row), row, vector - 1);
                        }
                    }
                    acc = [acc[1], acc[2], [bias; TILE]];
                }
            }
            for row in first..end {
                roll.release(s, place(vectors - 1, row), row, vectors - 1);
            }
        }
    }
}

impl Roll<'_> {
    /// Where the first of a row of results of a channel goes.
    ///
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn out(&self, row: usize, channel: usize) -> *mut f32 {
        let [down, across] = self.block.steps;
        // SAFETY: the caller's.
        unsafe {
            self.block
                .out
                .add(row * down + self.column * across + channel)
        }
    }

    /// Writes a row of results of one vector of channels that was held back.
    ///
    /// # Safety
    /// As `run`; they are at `from`.
    #[inline(always)]
    unsafe fn release<S: Simd>(&self, s: S, from: *const f32, row: usize, vector: usize) {
        // SAFETY: the caller's.
        unsafe {
            let to = self.out(row, vector * S::LANES);
            for i in 0..TILE {
                let v = s.load(from.add(i * S::LANES));
                s.store(to.add(i * self.block.steps[1]), v);
            }
        }
    }

    /// The weights and the bias of a vector of channels.
    ///
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn weights<S: Simd>(&self, s: S, channel: usize) -> ([[S::V; TAPS]; TAPS], S::V) {
        let mut w = [[unsafe { s.zero() }; TAPS]; TAPS];
        // SAFETY: the caller's.
        unsafe {
            let from = self.slide.weights.as_ptr().add(channel * TAPS * TAPS);
            for (tap, w) in w.as_flattened_mut().iter_mut().enumerate() {
                *w = s.load(from.add(tap * S::LANES));
            }
            let bias = match self.slide.bias {
                Some(bias) => s.load(bias.as_ptr().add(channel)),
                None => s.zero(),
            };
            (w, bias)
        }
    }

    /// What row t of the image adds to three rows of the result.
    ///
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn row<S: Simd>(
        &self,
        s: S,
        acc: &mut Acc<S::V>,
        w: &[[S::V; TAPS]; TAPS],
        t: usize,
        channel: usize,
    ) {
        let Self {
            slide,
            block,
            column,
        } = *self;
        let (lines, width) = (slide.rows.source as isize, slide.columns.source as isize);
        let at = (block.first + t) as isize - slide.rows.pad;
        let first = column as isize - slide.columns.pad;
        let there = (0..lines).contains(&at);
        let inside = there && first >= 0 && first + (TILE + TAPS - 1) as isize <= width;
        let line = if there { (at * width) as usize } else { 0 };
        // SAFETY: pixels are read only where they lie in the image; the first two rows of the image under the block
        // belong to rows of the result above it, which are not written.
        unsafe {
            let pixels = slide.x.as_ptr().add(line * slide.channels + channel);
            if inside {
                add(s, acc, w, |j| {
                    let at = (first + j as isize) as usize;
                    s.load(pixels.add(at * slide.channels))
                });
            } else {
                add(s, acc, w, |j| {
                    let at = first + j as isize;
                    if there && (0..width).contains(&at) {
                        s.load(pixels.add(at as usize * slide.channels))
                    } else {
                        s.zero()
                    }
                });
            }
        }
    }

    /// Writes a row of results, `step` apart.
    ///
    /// # Safety
    /// They have their places, and the CPU has `S`.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, results: &[S::V; TILE], to: *mut f32, step: usize) {
        for (i, &v) in results.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { s.store(to.add(i * step), self.slide.bound(s, v)) };
        }
    }
}

/// acc[n][i] += x[j] · w[2 − n][k] for all i + k = j.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn add<S: Simd>(
    s: S,
    acc: &mut Acc<S::V>,
    w: &[[S::V; TAPS]; TAPS],
    pixel: impl Fn(usize) -> S::V,
) {
    for j in 0..TILE + TAPS - 1 {
        let v = pixel(j);
        for k in 0..TAPS {
            if j >= k && j - k < TILE {
                for n in 0..TAPS {
                    // SAFETY: the caller's.
                    acc[n][j - k] = unsafe { s.fma(v, w[TAPS - 1 - n][k], acc[n][j - k]) };
                }
            }
        }
    }
}
