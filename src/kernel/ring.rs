//! Depthwise lines whose pixels drive each other out of the first-level cache: a part of what [`Slide`] does.
//!
//! ```text
//! for each chunk of channels:
//!     room[slot of row r, j] ← x[row r, j] for the first rows and each pixel j under the tile        copied in order
//!     for each row y of the result:
//!         room ← the rows of x that row y + 1 reads first, in the slots of those that nothing reads any more
//!         for each vector of channels:  acc ← bias + Σ room[slot of row r, j] · w[r, k];  out ← bounds(acc)
//! ```
//!
//! Pixels that lie a multiple of 2 KiB apart share two sets of a cache, of eight lines or twelve each. A vector of
//! channels of all pixels under a tile has more: each of them comes from the second level again for every row of the
//! result, and what the CPU fetches ahead by itself is gone before it is read. Memory read in the order in which it lies
//! does not have that, so some vectors of channels of each pixel are copied at once, and only once. The sums are
//! added in the order of [`Slide`], bit for bit.

use super::simd::{Apart, Simd};
use super::slide::{self, Block, Slide};

/// Columns of a tile.
pub(super) const TILE: usize = 7;

/// Numbers from one pixel to the next of which a multiple puts the pixels of a tile into two sets of the first-level cache.
const CROWDED: usize = 512;

/// Numbers of the room: 22 KiB, so that weights and results have the rest of a first-level cache of 32 KiB. Rows of
/// seven taps and stride 2 need it for a chunk of 32 channels.
const ROOM: usize = 32 * (7 + 2) * (2 * (TILE - 1) + 7);

/// Taps of a row. With fewer a pixel is read too seldom.
const TAPS: std::ops::RangeInclusive<usize> = 3..=7;

/// Whether pixels of a tile drive each other out of the first-level cache, where they lie so many numbers apart.
pub(super) fn is_crowded(pitch: usize) -> bool {
    pitch.is_multiple_of(CROWDED)
}

/// Whether copies pay.
pub(super) fn pays(slide: &Slide<'_>) -> bool {
    let (rows, columns) = (slide.rows, slide.columns);
    let fits = rows.taps + rows.stride <= columns.taps + columns.stride;
    let read_again = rows.taps >= *TAPS.start() && rows.stride < rows.taps;
    slide.group == 1
        && is_crowded(slide.channels)
        && TAPS.contains(&columns.taps)
        && read_again
        && fits
}

/// The columns of one tile in all rows.
pub(super) struct Ring<'a, const WIDTH: usize, const STRIDE: usize> {
    pub(super) slide: &'a Slide<'a>,
    pub(super) block: &'a Block,
    pub(super) column: usize,
}

/// `[slot][pixel under the tile][channel of the chunk]`.
#[repr(align(64))]
struct Room {
    _numbers: [f32; ROOM],
}

impl<const WIDTH: usize, const STRIDE: usize> Apart for Ring<'_, WIDTH, STRIDE> {
    /// # Safety
    /// [`pays`], WIDTH and STRIDE are those of the columns, `column + TILE` columns are there, and all that
    /// `Slide::run` checks.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let mut room = std::mem::MaybeUninit::<Room>::uninit();
        let room: *mut f32 = room.as_mut_ptr().cast();
        let most = ROOM / ((WIDTH + STRIDE) * Self::UNDER);
        // SAFETY: the caller's; a chunk has room for WIDTH + STRIDE rows, and divides CROWDED.
        unsafe {
            match most {
                128.. => self.chunks::<S, 128>(s, room),
                64.. => self.chunks::<S, 64>(s, room),
                _ => self.chunks::<S, 32>(s, room),
            }
        }
    }
}

impl<const WIDTH: usize, const STRIDE: usize> Ring<'_, WIDTH, STRIDE> {
    /// Columns of the image under a tile.
    const UNDER: usize = (TILE - 1) * STRIDE + WIDTH;

    /// All channels, CHUNK at a time.
    ///
    /// # Safety
    /// As `run`; `room` is one.
    #[inline(always)]
    unsafe fn chunks<S: Simd, const CHUNK: usize>(&self, s: S, room: *mut f32) {
        let taps = self.slide.rows.taps;
        let slots = taps + self.slide.rows.stride;
        let row = Self::UNDER * CHUNK;
        let top = (self.block.first * self.slide.rows.stride) as isize - self.slide.rows.pad;
        // For pixels beside the image, which nothing is copied over.
        for at in (0..slots * row).step_by(S::LANES) {
            // SAFETY: the caller's.
            unsafe { s.store(room.add(at), s.zero()) };
        }
        for channel in (0..self.slide.channels).step_by(CHUNK) {
            // SAFETY: the caller's; all slots that are read have been filled.
            unsafe {
                for tap in 0..taps {
                    self.bring::<S, CHUNK>(s, top + tap as isize, channel, room.add(tap * row));
                }
                let mut slot = 0;
                for y in 0..self.block.rows {
                    let after = |by: usize| {
                        let at = slot + by;
                        (if at < slots { at } else { at - slots }) * row
                    };
                    if y + 1 < self.block.rows {
                        for next in 0..self.slide.rows.stride {
                            let at = top + (y * self.slide.rows.stride + taps + next) as isize;
                            self.bring::<S, CHUNK>(s, at, channel, room.add(after(taps + next)));
                        }
                    }
                    for at in (0..CHUNK).step_by(S::LANES) {
                        let rows = |tap: usize| room.add(after(tap) + at).cast_const();
                        self.sums::<S, CHUNK>(s, y, channel + at, rows);
                    }
                    slot = (slot + self.slide.rows.stride) % slots;
                }
            }
        }
    }

    /// One vector of channels of a row of results, whose pixels begin at `rows(tap)`.
    ///
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn sums<S: Simd, const CHUNK: usize>(
        &self,
        s: S,
        y: usize,
        channel: usize,
        rows: impl Fn(usize) -> *const f32,
    ) {
        let (slide, block) = (self.slide, self.block);
        let taps = slide.rows.taps;
        // SAFETY: the caller's.
        unsafe {
            let bias = match slide.bias {
                Some(bias) => s.load(bias.as_ptr().add(channel)),
                None => s.zero(),
            };
            let mut acc = [bias; TILE];
            let weights = slide.weights.as_ptr().add(channel * taps * WIDTH);
            for tap in 0..taps {
                let w: [[S::V; 1]; WIDTH] =
                    std::array::from_fn(|k| [s.load(weights.add((tap * WIDTH + k) * S::LANES))]);
                let pixels = rows(tap);
                slide::slide::<S, 1, WIDTH, STRIDE, TILE>(s, &mut acc, &w, |j| {
                    s.load(pixels.add(j * CHUNK))
                });
            }
            let out = y * block.steps[0] + self.column * block.steps[1] + channel;
            let out = block.out.add(out);
            for (i, &v) in acc.iter().enumerate() {
                s.store(out.add(i * block.steps[1]), slide.bound(s, v));
            }
        }
    }

    /// Copies a chunk of channels of those pixels of row `at` under the tile whose columns are in the image: zeros where
    /// the row is not.
    ///
    /// # Safety
    /// As `run`; `to` has room for a row.
    #[inline(always)]
    unsafe fn bring<S: Simd, const CHUNK: usize>(
        &self,
        s: S,
        at: isize,
        channel: usize,
        to: *mut f32,
    ) {
        let Self { slide, column, .. } = *self;
        let (lines, width) = (slide.rows.source as isize, slide.columns.source as isize);
        let first = (column * STRIDE) as isize - slide.columns.pad;
        let there = (0..lines).contains(&at);
        let line = if there { (at * width) as usize } else { 0 };
        let below = slide.rows.stride * slide.columns.source * slide.channels;
        // SAFETY: pixels are read only where they lie in the image.
        unsafe {
            let [left, right] = [-first, width - first].map(|j| j.clamp(0, Self::UNDER as isize));
            let copied = left as usize..right as usize;
            let from = slide.x.as_ptr().add(line * slide.channels + channel);
            for j in copied {
                let to = to.add(j * CHUNK);
                if there {
                    let from = from.add((first + j as isize) as usize * slide.channels);
                    for at in (0..CHUNK).step_by(S::LANES) {
                        s.store(to.add(at), s.load(from.add(at)));
                        if slide.far {
                            s.prefetch_far(from.wrapping_add(at + below));
                        }
                    }
                } else {
                    for at in (0..CHUNK).step_by(S::LANES) {
                        s.store(to.add(at), s.zero());
                    }
                }
            }
        }
    }
}
