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
//! The sums are added in the order of [`Slide`], bit for bit.

use super::simd::{Apart, Simd};
use super::slide::{Block, Slide};

/// Columns of a tile: three rows of sums, nine weights, a pixel and a bias are 32 registers.
pub(super) const TILE: usize = 7;

/// Taps of a row, and rows.
const TAPS: usize = 3;

/// Most vectors of channels, which go through all rows one after the other. More would read too little of a row at once.
const FEW: usize = 4;

/// Fewest rows, which need five thirds of their multiply-adds: two rows more of the image do not meet all sums.
const ROWS: usize = 3;

/// Whether a block of so many rows is quicker this way.
pub(super) fn pays<S: Simd>(slide: &Slide<'_>, rows: usize) -> bool {
    let whole = slide.group == 1 && slide.rows.taps == TAPS && slide.columns.taps == TAPS;
    let dense = slide.rows.stride == 1 && slide.columns.stride == 1;
    let few = slide.channels <= FEW * S::LANES && slide.channels.is_multiple_of(S::LANES);
    S::REGISTERS >= 32 && whole && dense && rows >= ROWS && few
}

/// The columns of one tile in all rows.
pub(super) struct Roll<'a> {
    pub(super) slide: &'a Slide<'a>,
    pub(super) block: &'a Block,
    pub(super) column: usize,
}

/// The sums of three rows of the result.
type Acc<V> = [[V; TILE]; TAPS];

impl Apart for Roll<'_> {
    /// # Safety
    /// [`pays`], `column + TILE` columns are there, and all that `Slide::run` checks.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let (channels, rows) = (self.slide.channels, self.block.rows);
        // SAFETY: the caller's.
        unsafe {
            for channel in (0..channels).step_by(S::LANES) {
                let (w, bias) = self.weights(s, channel);
                let mut acc = [[bias; TILE]; TAPS];
                for t in 0..rows + TAPS - 1 {
                    self.row(s, &mut acc, &w, t, channel);
                    if t + 1 >= TAPS {
                        self.put(s, &acc[0], t + 1 - TAPS, channel);
                    }
                    acc = [acc[1], acc[2], [bias; TILE]];
                }
            }
        }
    }
}

impl Roll<'_> {
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

    /// Writes a row of results.
    ///
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, results: &[S::V; TILE], row: usize, channel: usize) {
        let [down, across] = self.block.steps;
        // SAFETY: the caller's.
        unsafe {
            let to = row * down + self.column * across + channel;
            let to = self.block.out.add(to);
            for (i, &v) in results.iter().enumerate() {
                s.store(to.add(i * across), self.slide.bound(s, v));
            }
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
