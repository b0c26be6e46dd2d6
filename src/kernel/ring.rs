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
//! Pixels that lie a multiple of 2 KiB apart share two sets of a cache, of eight lines or twelve each, or one. A vector of
//! channels of all pixels under a tile has more lines: each of them comes from the second level again for every row of
//! the result, and what the CPU fetches ahead by itself is gone before it is read. Memory read in the order in which it
//! lies does not have that, so some vectors of channels of each pixel are copied at once, and only once. The sums are
//! added in the order of [`Slide`], bit for bit.

use super::simd::{Apart, Simd};
use super::slide::{self, Block, Slide};
use super::window::Window;

/// Columns of a tile.
pub(super) const TILE: usize = 7;

/// Numbers from one pixel to the next of which a multiple puts the pixels of a tile into two sets of the first-level cache.
const CROWDED: usize = 512;

/// The smallest chunk.
const LEAST: usize = 32;

/// Numbers of the room: 22 KiB, so that weights and results have the rest of a first-level cache of 32 KiB. Rows of
/// seven taps and stride 2 need it for the smallest chunk.
const ROOM: usize = LEAST * (7 + 2) * (2 * (TILE - 1) + 7);

/// Fewest taps of a row, and tap rows: with less a pixel is read too seldom.
const TAPS: usize = 3;

/// Whether pixels of a tile drive each other out of the first-level cache, where they lie so many numbers apart.
pub(super) fn is_crowded(pitch: usize) -> bool {
    pitch.is_multiple_of(CROWDED)
}

/// Whether copies pay for so many rows of the result.
pub(super) fn pays(slide: &Slide<'_>, results: usize) -> bool {
    let (rows, columns) = (slide.rows, slide.columns);
    let read_again = rows.taps.min(columns.taps) >= TAPS && rows.stride < rows.taps && results > 1;
    let fits = rows.taps + rows.stride <= columns.taps + columns.stride;
    slide.group == 1 && is_crowded(slide.channels) && read_again && fits
}

/// The columns of one tile in all rows.
pub(super) struct Ring<'a, const WIDTH: usize, const STRIDE: usize> {
    pub(super) slide: &'a Slide<'a>,
    pub(super) block: &'a Block,
    pub(super) column: usize,
}

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
        const { assert!(LEAST * (WIDTH + STRIDE) * Self::UNDER <= ROOM) }
        let mut room = std::mem::MaybeUninit::<Room>::uninit();
        let room: *mut f32 = room.as_mut_ptr().cast();
        // SAFETY: the caller's; a chunk has room for WIDTH + STRIDE rows, and divides CROWDED.
        unsafe {
            match ROOM / ((WIDTH + STRIDE) * Self::UNDER) {
                128.. => self.chunks::<S, 128>(s, room),
                64.. => self.chunks::<S, 64>(s, room),
                _ => self.chunks::<S, LEAST>(s, room),
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
        let slide = self.slide;
        let (taps, stride) = (slide.rows.taps, slide.rows.stride);
        let slots = taps + stride;
        let window = Window {
            image: slide.x,
            size: [slide.rows.source, slide.columns.source],
            pitch: slide.channels,
            first: (self.column * STRIDE) as isize - slide.columns.pad,
            under: Self::UNDER,
        };
        // What the next row of the result reads instead.
        let ahead = slide
            .far
            .then_some(stride * slide.columns.source * slide.channels);
        let top = (self.block.first * stride) as isize - slide.rows.pad;
        // SAFETY: the caller's; all slots that are read have been filled.
        unsafe {
            window.clear::<S, CHUNK>(s, slots, room);
            for channel in (0..slide.channels).step_by(CHUNK) {
                let bring = |row: usize, slot: usize| {
                    let to = room.add(slot * Self::UNDER * CHUNK);
                    let channels = channel..channel + CHUNK;
                    window.bring::<S, CHUNK>(s, top + row as isize, channels, to, ahead);
                };
                for tap in 0..taps {
                    bring(tap, tap);
                }
                let mut slot = 0;
                for y in 0..self.block.rows {
                    let after = |by: usize| {
                        let at = slot + by;
                        if at < slots { at } else { at - slots }
                    };
                    if y + 1 < self.block.rows {
                        for next in taps..slots {
                            bring(y * stride + next, after(next));
                        }
                    }
                    for at in (0..CHUNK).step_by(S::LANES) {
                        let row = |tap: usize| {
                            let pixels = after(tap) * Self::UNDER * CHUNK;
                            room.add(pixels + at).cast_const()
                        };
                        self.sums::<S, CHUNK>(s, y, channel + at, row);
                    }
                    slot = after(stride);
                }
            }
        }
    }

    /// One vector of channels of a row of results.
    ///
    /// # Safety
    /// As `run`; the pixels of each tap row begin at `row(tap)`, CHUNK apart.
    #[inline(always)]
    unsafe fn sums<S: Simd, const CHUNK: usize>(
        &self,
        s: S,
        y: usize,
        channel: usize,
        row: impl Fn(usize) -> *const f32,
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
                let pixels = row(tap);
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
}
