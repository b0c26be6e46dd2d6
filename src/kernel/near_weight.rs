//! The gradient of depthwise weights by small images that stay in the first-level cache: a part of what
//! [`SlideWeight`] does.
//!
//! ```text
//! for some rows of the result under a tile, for a chunk of channels:
//!     near ← their pixels of x, and of dy where some tap rows at a time meet it, as small images without padding
//!     dw += the gradient of these
//! ```
//!
//! One vector of channels of all rows comes after the other, so that each line of a large image would be read by itself,
//! again for each tap row, and pixels 2 KiB apart would drive each other out, as `ring.rs` says.

use std::ops::Range;

use super::ring::is_crowded;
use super::simd::{Apart, Simd};
use super::slide::{SlideAxis, ask_for};
use super::slide_weight::{SlideWeight, TILE};

/// Channels of a chunk.
const CHUNK: usize = 32;

/// Pixels of both images: 21 KiB, so that sums and results have the rest of a first-level cache of 32 KiB.
const PIXELS: usize = 168;

/// Taps of a row up to which AVX-512 is as quick without copies.
const FEW_TAPS: usize = 3;

/// Whether copies pay.
pub(super) fn pays<S: Simd>(slide: &SlideWeight<'_>) -> bool {
    let columns = slide.columns;
    let least = slide.rows.taps * ((TILE - 1) * columns.stride + columns.taps) + TILE;
    let often = columns.taps > FEW_TAPS || S::REGISTERS < 32 || is_crowded(slide.pitch);
    often && slide.rows.taps > 1 && least <= PIXELS
}

/// TILE columns of some rows.
pub(super) struct Near<'a, const WIDTH: usize, const STRIDE: usize, const GROUP: usize> {
    pub(super) slide: &'a SlideWeight<'a>,
    pub(super) rows: Range<usize>,
    pub(super) column: usize,
    pub(super) dw: *mut f32,
}

#[repr(align(64))]
struct Room([f32; PIXELS * CHUNK]);

impl<const WIDTH: usize, const STRIDE: usize, const GROUP: usize> Apart
    for Near<'_, WIDTH, STRIDE, GROUP>
{
    /// # Safety
    /// [`pays`], WIDTH and STRIDE are those of the columns, `rows` and TILE columns from `column` on are there, and all
    /// that `SlideWeight::run` checks.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let (slide, column) = (self.slide, self.column);
        let (taps, stride) = (slide.rows.taps, slide.rows.stride);
        let [_, across] = slide.results;
        // Pixels beside the image are zeros that nothing is copied over.
        let mut room = Room([0.0; PIXELS * CHUNK]);
        // Whether each number of dy is read but once.
        let once = taps <= GROUP;
        // n rows of the result need n · row + more pixels, or fewer.
        let row = stride * Self::UNDER + if once { 0 } else { TILE };
        let more = taps.saturating_sub(stride) * Self::UNDER;
        // How far behind a number that of the next tile lies, of these rows or of those after the last tile.
        let ahead = [(stride * slide.columns.source, STRIDE), (across, 1)].map(|(down, right)| {
            let pixels = match column + TILE < across {
                true => TILE * right,
                false => (self.rows.len() * down).wrapping_sub(column * right),
            };
            slide.farther.then_some(pixels.wrapping_mul(slide.pitch))
        });
        let most = ((PIXELS - more) / row).max(1);
        for first in self.rows.clone().step_by(most) {
            let results = most.min(self.rows.end - first);
            let source = (results - 1) * stride + taps;
            let top = (first * stride) as isize - slide.rows.pad;
            for channel in (0..slide.channels).step_by(CHUNK) {
                let channels = CHUNK.min(slide.channels - channel);
                let (x, near) = room.0.split_at_mut(source * Self::UNDER * CHUNK);
                let dy = (first * across + column) * slide.pitch + channel;
                // SAFETY: the caller's; both parts of the room have their rows.
                unsafe {
                    for y in 0..source {
                        let to = x.as_mut_ptr().add(y * Self::UNDER * CHUNK);
                        self.bring(
                            s,
                            top + y as isize,
                            channel..channel + channels,
                            to,
                            ahead[0],
                        );
                    }
                    for y in 0..results {
                        let from = slide.dy.as_ptr().add(dy + y * across * slide.pitch);
                        if !once {
                            let to = near.as_mut_ptr().add(y * TILE * CHUNK);
                            copy(s, from, slide.pitch, to, TILE, channels, ahead[1]);
                        } else if let Some(ahead) = ahead[1] {
                            let from = from.wrapping_add(ahead);
                            for vector in 0..channels / S::LANES {
                                let part = [vector, channels / S::LANES];
                                ask_for(s, from, slide.pitch, part, TILE);
                            }
                        }
                    }
                    let axis = |axis: SlideAxis, source| SlideAxis {
                        source,
                        pad: 0,
                        ..axis
                    };
                    let (dy, dy_pitch, across) = if once {
                        (&slide.dy[dy..], slide.pitch, across)
                    } else {
                        (&*near, CHUNK, TILE)
                    };
                    let near = SlideWeight {
                        x,
                        dy,
                        pitch: CHUNK,
                        dy_pitch,
                        channels,
                        rows: axis(slide.rows, source),
                        columns: axis(slide.columns, Self::UNDER),
                        results: [results, across],
                        far: false,
                        farther: false,
                    };
                    let dw = self.dw.add(channel * (taps * WIDTH + 1));
                    near.taps::<S, WIDTH, STRIDE, GROUP, TILE>(s, dw, 0..results, 0);
                }
            }
        }
    }
}

impl<const WIDTH: usize, const STRIDE: usize, const GROUP: usize> Near<'_, WIDTH, STRIDE, GROUP> {
    /// Columns of the image under a tile.
    const UNDER: usize = (TILE - 1) * STRIDE + WIDTH;

    /// Copies some channels of those pixels of row `at` under the tile whose columns are in the image: zeros where the
    /// row is not.
    ///
    /// # Safety
    /// As `run`; `to` has room for a row.
    #[inline(always)]
    unsafe fn bring<S: Simd>(
        &self,
        s: S,
        at: isize,
        channels: Range<usize>,
        to: *mut f32,
        ahead: Option<usize>,
    ) {
        let slide = self.slide;
        let (lines, width) = (slide.rows.source as isize, slide.columns.source as isize);
        let first = (self.column * STRIDE) as isize - slide.columns.pad;
        let [left, right] =
            [-first, width - first].map(|j| j.clamp(0, Self::UNDER as isize) as usize);
        // SAFETY: pixels are read only where they lie in the image.
        unsafe {
            let to = to.add(left * CHUNK);
            if left >= right {
            } else if (0..lines).contains(&at) {
                let pixel = (at * width + first + left as isize) as usize;
                let from = slide.x.as_ptr().add(pixel * slide.pitch + channels.start);
                let pixels = right - left;
                copy(s, from, slide.pitch, to, pixels, channels.len(), ahead);
            } else {
                for at in (0..(right - left) * CHUNK).step_by(S::LANES) {
                    s.store(to.add(at), s.zero());
                }
            }
        }
    }
}

/// Copies `channels` numbers of each of some pixels, `pitch` apart, to CHUNK apart, and asks for those `ahead` of them.
///
/// # Safety
/// The CPU has `S`; they are there.
#[inline(always)]
unsafe fn copy<S: Simd>(
    s: S,
    from: *const f32,
    pitch: usize,
    to: *mut f32,
    pixels: usize,
    channels: usize,
    ahead: Option<usize>,
) {
    for pixel in 0..pixels {
        // SAFETY: the caller's.
        unsafe {
            let (from, to) = (from.add(pixel * pitch), to.add(pixel * CHUNK));
            for at in (0..channels).step_by(S::LANES) {
                s.store(to.add(at), s.load(from.add(at)));
                if let Some(ahead) = ahead {
                    s.prefetch_far(from.wrapping_add(ahead).wrapping_add(at));
                }
            }
        }
    }
}
