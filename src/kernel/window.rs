//! The columns of an image under a tile, copied to where they stay in the first-level cache: what `ring.rs` and
//! `near_weight.rs` share.
//!
//! A copy is `[row][pixel under the tile][channel]`, with CHUNK numbers for the channels of a pixel. Memory is read in the
//! order in which it lies.

use std::ops::Range;

use super::simd::Simd;

/// Columns of one image, `[row][column][channel]`.
#[derive(Clone, Copy)]
pub(super) struct Window<'a> {
    pub(super) image: &'a [f32],
    /// Rows and columns of the image.
    pub(super) size: [usize; 2],
    /// Numbers from one pixel to the next.
    pub(super) pitch: usize,
    /// The first column, which may lie before the image, and how many there are.
    pub(super) first: isize,
    pub(super) under: usize,
}

impl Window<'_> {
    /// Of the columns under the tile those that the image has.
    #[inline(always)]
    fn inside(&self) -> Range<usize> {
        let width = self.size[1] as isize;
        let [left, right] = [-self.first, width - self.first]
            .map(|column| column.clamp(0, self.under as isize) as usize);
        left..right
    }

    /// Zeros for the pixels of some rows beside the image, which [`Window::bring`] leaves alone.
    ///
    /// # Safety
    /// The CPU has `S`, and `to` has room for the rows.
    #[inline(always)]
    pub(super) unsafe fn clear<S: Simd, const CHUNK: usize>(
        &self,
        s: S,
        rows: usize,
        to: *mut f32,
    ) {
        let inside = self.inside();
        for row in 0..rows {
            for column in (0..inside.start).chain(inside.end..self.under) {
                for at in (0..CHUNK).step_by(S::LANES) {
                    let pixel = row * self.under + column;
                    // SAFETY: the caller's.
                    unsafe { s.store(to.add(pixel * CHUNK + at), s.zero()) };
                }
            }
        }
    }

    /// Copies some channels of row `at`, zeros where the image has no such row, and asks for the numbers `ahead` of them.
    ///
    /// # Safety
    /// The CPU has `S`, the image has its size and these channels, whole vectors and at most CHUNK; `to` has room for a
    /// row.
    #[inline(always)]
    pub(super) unsafe fn bring<S: Simd, const CHUNK: usize>(
        &self,
        s: S,
        at: isize,
        channels: Range<usize>,
        to: *mut f32,
        ahead: Option<usize>,
    ) {
        let [lines, width] = self.size.map(|size| size as isize);
        let inside = self.inside();
        // SAFETY: the caller's; pixels are read only where they lie in the image.
        unsafe {
            let to = to.add(inside.start * CHUNK);
            if (0..lines).contains(&at) && !inside.is_empty() {
                let pixel = at * width + self.first + inside.start as isize;
                let from = pixel as usize * self.pitch + channels.start;
                let from = self.image.as_ptr().add(from);
                copy::<S, CHUNK>(s, from, self.pitch, to, inside.len(), channels.len(), ahead);
                return;
            }
            for number in (0..inside.len() * CHUNK).step_by(S::LANES) {
                s.store(to.add(number), s.zero());
            }
        }
    }
}

/// Copies `channels` numbers of each of some pixels, `pitch` apart, to CHUNK apart, and asks for the numbers `ahead` of
/// them.
///
/// # Safety
/// The CPU has `S`; they are there, whole vectors.
#[inline(always)]
pub(super) unsafe fn copy<S: Simd, const CHUNK: usize>(
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
