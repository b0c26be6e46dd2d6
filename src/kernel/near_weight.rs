//! The gradient of depthwise weights by copies that stay in the first-level cache: a part of what [`SlideWeight`] does.
//!
//! ```text
//! for some rows of the result under a tile, for a chunk of channels:
//!     near ← their pixels of x, without padding; and those of dy, where several groups of tap rows meet them
//!     dw += the gradient of these
//! ```
//!
//! Without copies a vector of channels goes through all rows of a block, and each of its lines is read by itself, again
//! for every tap row. Pixels 2 KiB apart would drive each other out meanwhile, as `ring.rs` says.

use std::ops::Range;

use super::ring::is_crowded;
use super::simd::{Apart, Simd};
use super::slide::SlideAxis;
use super::slide_weight::{SlideWeight, TILE};
use super::window::{Window, copy};

/// Channels of a chunk.
const CHUNK: usize = 32;

/// Pixels of both copies: 21 KiB, so that sums and results have the rest of a first-level cache of 32 KiB.
const PIXELS: usize = 168;

/// Taps of a row up to which AVX-512 is as quick without copies.
const FEW_TAPS: usize = 3;

/// Whether copies pay.
pub(super) fn pays<S: Simd>(slide: &SlideWeight<'_>) -> bool {
    let (rows, columns) = (slide.rows, slide.columns);
    let least = rows.taps * ((TILE - 1) * columns.stride + columns.taps) + TILE;
    let often = columns.taps > FEW_TAPS || S::REGISTERS < 32 || is_crowded(slide.pitch);
    // Rows that no tap reads are not worth a copy.
    let dense = rows.taps > 1 && rows.stride <= rows.taps;
    often && dense && least <= PIXELS
}

/// `[pixel][channel of the chunk]`, of x and then of dy.
#[repr(align(64))]
struct Room([f32; PIXELS * CHUNK]);

/// TILE columns of some rows.
pub(super) struct Near<'a, const WIDTH: usize, const STRIDE: usize, const GROUP: usize> {
    pub(super) slide: &'a SlideWeight<'a>,
    pub(super) rows: Range<usize>,
    pub(super) column: usize,
    pub(super) dw: *mut f32,
}

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
        let under = (TILE - 1) * STRIDE + WIDTH;
        let [_, across] = slide.results;
        // Pixels beside the image are zeros that nothing is copied over.
        let mut room = Room([0.0; PIXELS * CHUNK]);
        // Whether one group of tap rows is all that dy meets.
        let once = taps == GROUP;
        // n rows of the result need n · row + (taps − stride) · under pixels.
        let row = stride * under + if once { 0 } else { TILE };
        let most = ((PIXELS - (taps - stride) * under) / row).max(1);
        let window = Window {
            image: slide.x,
            size: [slide.rows.source, slide.columns.source],
            pitch: slide.pitch,
            first: (column * STRIDE) as isize - slide.columns.pad,
            under,
        };
        // How far behind a pixel that of the next tile lies, of these rows or of those after the last tile.
        let ahead = |down: usize, right: usize, pitch: usize| {
            let pixels = match column + TILE < across {
                true => TILE * right,
                false => (self.rows.len() * down).wrapping_sub(column * right),
            };
            slide.farther.then_some(pixels.wrapping_mul(pitch))
        };
        let ahead_x = ahead(stride * slide.columns.source, STRIDE, slide.pitch);
        let ahead_dy = ahead(across, 1, slide.dy_pitch);
        for first in self.rows.clone().step_by(most) {
            let results = most.min(self.rows.end - first);
            let source = (results - 1) * stride + taps;
            let top = (first * stride) as isize - slide.rows.pad;
            let (x, copied) = room.0.split_at_mut(source * under * CHUNK);
            for channel in (0..slide.channels).step_by(CHUNK) {
                let channels = channel..slide.channels.min(channel + CHUNK);
                let dy = (first * across + column) * slide.dy_pitch + channel;
                // SAFETY: the caller's; both parts of the room have their rows.
                unsafe {
                    for y in 0..source {
                        let to = x.as_mut_ptr().add(y * under * CHUNK);
                        let row = top + y as isize;
                        window.bring::<S, CHUNK>(s, row, channels.clone(), to, ahead_x);
                    }
                    for y in 0..results {
                        let from = slide.dy.as_ptr().add(dy + y * across * slide.dy_pitch);
                        if !once {
                            let to = copied.as_mut_ptr().add(y * TILE * CHUNK);
                            let (pitch, channels) = (slide.dy_pitch, channels.len());
                            copy::<S, CHUNK>(s, from, pitch, to, TILE, channels, ahead_dy);
                        } else if let Some(ahead) = ahead_dy {
                            for number in (0..TILE * channels.len()).step_by(S::LANES) {
                                let (pixel, at) =
                                    (number / channels.len(), number % channels.len());
                                let ask = pixel * slide.dy_pitch + at;
                                s.prefetch_far(from.wrapping_add(ahead).wrapping_add(ask));
                            }
                        }
                    }
                    let axis = |axis: SlideAxis, source| SlideAxis {
                        source,
                        pad: 0,
                        ..axis
                    };
                    let (dy, dy_pitch, across) = if once {
                        (&slide.dy[dy..], slide.dy_pitch, across)
                    } else {
                        (&*copied, CHUNK, TILE)
                    };
                    let near = SlideWeight {
                        x,
                        dy,
                        pitch: CHUNK,
                        dy_pitch,
                        channels: channels.len(),
                        rows: axis(slide.rows, source),
                        columns: axis(slide.columns, under),
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
