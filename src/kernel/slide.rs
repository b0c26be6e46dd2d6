//! Depthwise lines: vectors of channels slide along a line of pixels, and each pixel is read once for all its taps.
//!
//! ```text
//! out[y, i, c] ← bounds( bias[c] + Σ_r Σ_k  x[y · stride + r − pad, i · stride + k − pad, c] · w[r, k, c] )
//!
//! for each tile of TILE columns:  for each chunk of channels:          their pixels stay in L1 from row to row
//!     for each row y:  for each vector of channels:
//!         acc ← bias
//!         for each r:  w ← its WIDTH vectors
//!             for each pixel j under the tile:  v ← x[row r, j];  acc[i] += v · w[k]  for all i · stride + k = j
//!         out ← bounds(acc)
//! ```
//!
//! In groups of four channels in and out, each pixel is spread four times, so that every lane meets each channel of
//! its own group in turn:  acc[i] += spread(v, c) · w[k, c].  Groups of eight are two such sums: the pixels of the first
//! four channels stand in all eight lanes, then those of the others, so that the weights of one sum fit the registers.
//!
//! Channels that fill no whole number of vectors: the last vector begins among the lanes of the one before, with weights
//! put together on the stack, and some results are computed twice.
//!
//! Pixels beyond the edges are zeros that take part (an infinite weight over them gives NaN) but are not read:
//! nothing is copied for the padding.
//!
//! Tiles whose pixels drive each other out of L1 are left to `ring.rs`, those of 3 × 3 taps and few channels to
//! `roll.rs`.

use super::Isa;
use super::portable::Portable;
use super::ring::{self, Ring};
use super::roll::{self, Roll};
use super::simd::{Simd, unrolled};

/// Bytes of the pixels under a tile that should stay in L1: half of 48 KiB.
const NEAR: usize = 24 << 10;

/// Most numbers of the weights of a vector that begins among the lanes of another: 8 KiB, on the stack.
const TAIL: usize = 2048;

/// Channels that a pixel is spread for at a time.
const SPREAD: usize = 4;

/// One axis: elements of the image, taps, stride, and how far before the image the first output begins to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlideAxis {
    pub(crate) source: usize,
    pub(crate) taps: usize,
    pub(crate) stride: usize,
    pub(crate) pad: isize,
}

/// Rows of a depthwise result, channels last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slide<'a> {
    /// One image, `[row][column][channel]`.
    pub(crate) x: &'a [f32],
    /// `[vector of channels][tap][channel of the group][lane]`.
    pub(crate) weights: &'a [f32],
    /// Channels of a group, in and out: 1, 4 or 8.
    pub(crate) group: usize,
    /// At least the lanes, and a multiple of `group`. Where it is no multiple of the lanes the last vector begins earlier,
    /// and some results are computed twice.
    pub(crate) channels: usize,
    pub(crate) rows: SlideAxis,
    pub(crate) columns: SlideAxis,
    /// A number a channel.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) bounds: Option<(f32, f32)>,
    /// Whether the image comes from beyond the second-level cache, where asking ahead pays.
    pub(crate) far: bool,
}

impl Slide<'_> {
    /// Whether there is a loop for groups of so many channels, so many taps in a row and such a stride.
    pub(crate) fn fits(isa: Isa, group: usize, taps: usize, stride: usize) -> bool {
        match group {
            1 => matches!((taps, stride), (1..=5 | 7, 1) | (3 | 5 | 7, 2)),
            4 | 8 if group <= isa.lanes() => matches!((taps, stride), (1..=3, 1) | (3, 2)),
            _ => false,
        }
    }

    /// Whether lines of so many channels can be cut into vectors, with so many taps in all.
    pub(crate) fn cuts(isa: Isa, group: usize, channels: usize, taps: usize) -> bool {
        let lanes = isa.lanes();
        let whole = channels.is_multiple_of(lanes);
        whole
            || (channels > lanes && channels.is_multiple_of(group) && taps * group * lanes <= TAIL)
    }

    /// Writes `rows` × `columns` outputs of which the first is that of row `first`; rows and columns of `out` lie
    /// `steps` numbers apart.
    ///
    /// # Panics
    /// Where a length does not fit: a bug in this crate.
    pub(crate) fn run(
        &self,
        isa: Isa,
        out: &mut [f32],
        first: usize,
        [rows, columns]: [usize; 2],
        steps: [usize; 2],
    ) {
        if rows == 0 || columns == 0 {
            return;
        }
        let end = (rows - 1) * steps[0] + (columns - 1) * steps[1] + self.channels;
        let (lanes, taps) = (isa.lanes(), self.rows.taps * self.columns.taps);
        assert!(
            Self::cuts(isa, self.group, self.channels, taps) && end <= out.len(),
            "the outputs of lines"
        );
        assert!(
            Self::fits(isa, self.group, self.columns.taps, self.columns.stride),
            "taps of a line"
        );
        let pixels = self.rows.source * self.columns.source;
        assert!(
            pixels > 0 && self.x.len() >= pixels * self.channels,
            "the image of a line"
        );
        assert!(
            self.weights.len() >= taps * self.channels.next_multiple_of(lanes) * self.group,
            "weights of a line"
        );
        assert!(
            self.bias.is_none_or(|bias| bias.len() >= self.channels),
            "bias of a line"
        );
        let block = Block {
            out: out.as_mut_ptr(),
            tail: std::ptr::null(),
            first,
            rows,
            columns,
            steps,
        };
        if self.channels.is_multiple_of(lanes) {
            return self.lines(isa, &block);
        }
        let mut tail = [0.0; TAIL];
        self.fill_tail(lanes, taps * self.group, &mut tail);
        let tail = tail.as_ptr();
        self.lines(isa, &Block { tail, ..block });
    }

    /// Those of `block`, whose every place `run` has checked.
    fn lines(&self, isa: Isa, block: &Block) {
        // SAFETY: the tokens prove the instruction sets. The assertions of `run` prove every pixel, every weight and
        // every output; pixels outside the image are not read, and there is a tail where a vector needs one.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512(token) => avx512(token, self, block),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2Fma(token) => avx2(token, self, block),
                Isa::Portable => self.block(Portable, block),
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx512(_) | Isa::Avx2Fma(_) => self.block(Portable, block),
            }
        }
    }

    /// The weights of the last vector, each a number for every lane, where it begins among the lanes of the one before.
    fn fill_tail(&self, lanes: usize, weights: usize, tail: &mut [f32; TAIL]) {
        let (vectors, beyond) = (self.channels / lanes, self.channels % lanes);
        if beyond == 0 {
            return;
        }
        let last = &self.weights[(vectors - 1) * weights * lanes..];
        let (last, part) = last.split_at(weights * lanes);
        let lines = last.chunks_exact(lanes).zip(part.chunks_exact(lanes));
        for (to, (last, part)) in tail.chunks_exact_mut(lanes).zip(lines) {
            let (begin, end) = to.split_at_mut(lanes - beyond);
            begin.copy_from_slice(&last[beyond..]);
            end.copy_from_slice(&part[..beyond]);
        }
    }

    /// # Safety
    /// As checked by `run`, and the CPU has `S`.
    #[inline(always)]
    unsafe fn block<S: Simd>(&self, s: S, block: &Block) {
        // SAFETY: the caller's.
        unsafe {
            match (self.group, self.columns.taps, self.columns.stride) {
                (4, 1, _) => self.tiles::<S, SPREAD, 1, 1, 1>(s, block),
                (4, 2, _) => self.tiles::<S, SPREAD, 1, 2, 1>(s, block),
                (4, _, 1) => self.tiles::<S, SPREAD, 1, 3, 1>(s, block),
                (4, _, _) => self.tiles::<S, SPREAD, 1, 3, 2>(s, block),
                (8, 1, _) => self.tiles::<S, SPREAD, 2, 1, 1>(s, block),
                (8, 2, _) => self.tiles::<S, SPREAD, 2, 2, 1>(s, block),
                (8, _, 1) => self.tiles::<S, SPREAD, 2, 3, 1>(s, block),
                (8, _, _) => self.tiles::<S, SPREAD, 2, 3, 2>(s, block),
                (_, 1, _) => self.tiles::<S, 1, 1, 1, 1>(s, block),
                (_, 2, _) => self.tiles::<S, 1, 1, 2, 1>(s, block),
                (_, 4, _) => self.tiles::<S, 1, 1, 4, 1>(s, block),
                (_, 3, 1) => self.tiles::<S, 1, 1, 3, 1>(s, block),
                (_, 3, _) => self.tiles::<S, 1, 1, 3, 2>(s, block),
                (_, 5, 1) => self.tiles::<S, 1, 1, 5, 1>(s, block),
                (_, 5, _) => self.tiles::<S, 1, 1, 5, 2>(s, block),
                (_, _, 1) => self.tiles::<S, 1, 1, 7, 1>(s, block),
                (_, _, _) => self.tiles::<S, 1, 1, 7, 2>(s, block),
            }
        }
    }

    /// # Safety
    /// As `block`.
    #[inline(always)]
    unsafe fn tiles<
        S: Simd,
        const DEPTH: usize,
        const PARTS: usize,
        const WIDTH: usize,
        const STRIDE: usize,
    >(
        &self,
        s: S,
        block: &Block,
    ) {
        let rings = ring::pays(self, block.rows);
        let rolls = roll::pays::<S>(self, block.rows);
        let mut column = 0;
        while column < block.columns {
            // The widths of common images are multiples of seven.
            let left = block.columns - column;
            let rings = rings && left >= ring::TILE;
            let rolls = rolls && left >= roll::TILE;
            let tile = if rings {
                ring::TILE
            } else if rolls {
                roll::TILE
            } else if left.is_multiple_of(7) || (left > 7 && left < 14) {
                7
            } else if left >= 8 {
                8
            } else if left >= 4 {
                4
            } else {
                1
            };
            let first = (column * STRIDE) as isize - self.columns.pad;
            let last = first + ((tile - 1) * STRIDE + WIDTH) as isize;
            let inside = first >= 0 && last <= self.columns.source as isize;
            // SAFETY: `tile` columns are left.
            unsafe {
                match (tile, inside) {
                    _ if DEPTH == 1 && rings => s.apart(Ring::<WIDTH, STRIDE> {
                        slide: self,
                        block,
                        column,
                    }),
                    _ if DEPTH == 1 && rolls => s.apart(Roll {
                        slide: self,
                        block,
                        column,
                    }),
                    (8, true) => {
                        self.tile::<S, DEPTH, PARTS, WIDTH, STRIDE, 8, true>(s, block, column)
                    }
                    (8, false) => {
                        self.tile::<S, DEPTH, PARTS, WIDTH, STRIDE, 8, false>(s, block, column)
                    }
                    (7, true) => {
                        self.tile::<S, DEPTH, PARTS, WIDTH, STRIDE, 7, true>(s, block, column)
                    }
                    (7, false) => {
                        self.tile::<S, DEPTH, PARTS, WIDTH, STRIDE, 7, false>(s, block, column)
                    }
                    (4, _) => {
                        self.tile::<S, DEPTH, PARTS, WIDTH, STRIDE, 4, false>(s, block, column)
                    }
                    _ => self.tile::<S, DEPTH, PARTS, WIDTH, STRIDE, 1, false>(s, block, column),
                }
            }
            column += tile;
        }
    }

    /// A result within the bounds.
    ///
    /// # Safety
    /// The CPU has `S`.
    #[inline(always)]
    pub(super) unsafe fn bound<S: Simd>(&self, s: S, v: S::V) -> S::V {
        match self.bounds {
            // SAFETY: the caller's.
            Some((low, high)) => unsafe { s.at_most(s.splat(high), s.at_least(s.splat(low), v)) },
            None => v,
        }
    }

    /// The columns of one tile in all rows.
    ///
    /// # Safety
    /// As `block`; with `INSIDE` every pixel under the tile lies in its row.
    #[inline(always)]
    unsafe fn tile<
        S: Simd,
        const DEPTH: usize,
        const PARTS: usize,
        const WIDTH: usize,
        const STRIDE: usize,
        const TILE: usize,
        const INSIDE: bool,
    >(
        &self,
        s: S,
        block: &Block,
        column: usize,
    ) {
        let under = (TILE - 1) * STRIDE + WIDTH;
        let near = NEAR / size_of::<f32>() / (under * self.rows.taps);
        let chunk = (near / S::LANES).max(1) * S::LANES;
        let line = self.columns.source * self.channels;
        let first = (column * STRIDE) as isize - self.columns.pad;
        for begin in (0..self.channels).step_by(chunk) {
            let vectors = chunk.min(self.channels - begin).div_ceil(S::LANES);
            for row in 0..block.rows {
                let top = ((block.first + row) * self.rows.stride) as isize - self.rows.pad;
                for vector in 0..vectors {
                    let wanted = begin + vector * S::LANES;
                    let channel = wanted.min(self.channels - S::LANES);
                    // SAFETY: pixels are read only where they lie in the image.
                    unsafe {
                        let bias = match self.bias {
                            Some(bias) => s.load(bias.as_ptr().add(channel)),
                            None => s.zero(),
                        };
                        let mut acc = [bias; TILE];
                        // Of the rows that the next row of the result reads first.
                        let part = [vector, vectors];
                        let weights = if channel == wanted {
                            let before = channel * self.rows.taps * WIDTH * DEPTH * PARTS;
                            self.weights.as_ptr().add(before)
                        } else {
                            block.tail
                        };
                        for next in 0..if self.far { STRIDE } else { 0 } {
                            // Nowhere, perhaps, where pads or strides are beyond any image.
                            let at = top.wrapping_add((self.rows.taps + next) as isize);
                            let at = at.wrapping_mul(self.columns.source as isize);
                            let at = at.wrapping_add(first) as usize;
                            let at = at.wrapping_mul(self.channels).wrapping_add(begin);
                            let pixels = self.x.as_ptr().wrapping_add(at);
                            ask_for(s, pixels, self.channels, part, TILE * STRIDE);
                        }
                        for tap in 0..self.rows.taps {
                            let weights = weights.add(tap * S::LANES * WIDTH * DEPTH * PARTS);
                            let at = top + tap as isize;
                            let there = (0..self.rows.source as isize).contains(&at);
                            let at = if there {
                                at as usize * line + channel
                            } else {
                                0
                            };
                            let pixels = self.x.as_ptr().add(at);
                            for part in 0..PARTS {
                                let w: [[S::V; DEPTH]; WIDTH] = std::array::from_fn(|k| {
                                    std::array::from_fn(|c| {
                                        let place = (k * PARTS + part) * DEPTH + c;
                                        s.load(weights.add(place * S::LANES))
                                    })
                                });
                                let some = |v| if PARTS > 1 { s.double(v, part) } else { v };
                                if INSIDE && there {
                                    slide::<S, DEPTH, WIDTH, STRIDE, TILE>(s, &mut acc, &w, |j| {
                                        let at = (first + j as isize) as usize;
                                        some(s.load(pixels.add(at * self.channels)))
                                    });
                                } else {
                                    let columns = 0..self.columns.source as isize;
                                    slide::<S, DEPTH, WIDTH, STRIDE, TILE>(s, &mut acc, &w, |j| {
                                        let at = first + j as isize;
                                        if there && columns.contains(&at) {
                                            some(s.load(pixels.add(at as usize * self.channels)))
                                        } else {
                                            s.zero()
                                        }
                                    });
                                }
                            }
                        }
                        let out = row * block.steps[0] + column * block.steps[1] + channel;
                        let out = block.out.add(out);
                        for (i, &v) in acc.iter().enumerate() {
                            s.store(out.add(i * block.steps[1]), self.bound(s, v));
                        }
                    }
                }
            }
        }
    }
}

/// Asks for a part of `pixels` pixels × `vectors` vectors of channels: the first `index` parts have been asked for, by
/// those vectors of the chunk that are done. In the order in which they lie, memory brings them twice as fast as vector
/// by vector.
///
/// # Safety
/// The CPU has `S`; `from` may be anything.
#[inline(always)]
pub(super) unsafe fn ask_for<S: Simd>(
    s: S,
    from: *const f32,
    pitch: usize,
    [index, vectors]: [usize; 2],
    pixels: usize,
) {
    let (mut pixel, mut vector) = (index * pixels / vectors, index * pixels % vectors);
    for _ in 0..pixels {
        // SAFETY: the caller's.
        unsafe { s.prefetch_far(from.wrapping_add(pixel * pitch + vector * S::LANES)) }
        vector += 1;
        if vector == vectors {
            (pixel, vector) = (pixel + 1, 0);
        }
    }
}

/// acc[i] += x[j, c] · w[k, c] for all channels c of a group and all i · STRIDE + k = j.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
pub(super) unsafe fn slide<
    S: Simd,
    const DEPTH: usize,
    const WIDTH: usize,
    const STRIDE: usize,
    const TILE: usize,
>(
    s: S,
    acc: &mut [S::V; TILE],
    w: &[[S::V; DEPTH]; WIDTH],
    pixel: impl Fn(usize) -> S::V,
) {
    // These few LLVM unrolls by itself, in less time than copies.
    if STRIDE == 1 {
        for j in 0..TILE - 1 + WIDTH {
            // SAFETY: the caller's.
            unsafe { add::<S, DEPTH, WIDTH, STRIDE, TILE>(s, acc, w, &pixel, j) }
        }
        return;
    }
    unrolled!((TILE - 1) * STRIDE + WIDTH, j, {
        // SAFETY: the caller's.
        unsafe { add::<S, DEPTH, WIDTH, STRIDE, TILE>(s, acc, w, &pixel, j) }
    });
}

/// What pixel j under the tile adds.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn add<
    S: Simd,
    const DEPTH: usize,
    const WIDTH: usize,
    const STRIDE: usize,
    const TILE: usize,
>(
    s: S,
    acc: &mut [S::V; TILE],
    w: &[[S::V; DEPTH]; WIDTH],
    pixel: &impl Fn(usize) -> S::V,
    j: usize,
) {
    let v = pixel(j);
    for c in 0..DEPTH {
        // SAFETY: the caller's.
        let v = if DEPTH > 1 {
            unsafe { s.spread(v, c) }
        } else {
            v
        };
        for (k, w) in w.iter().enumerate() {
            if j >= k && (j - k).is_multiple_of(STRIDE) && (j - k) / STRIDE < TILE {
                let i = (j - k) / STRIDE;
                // SAFETY: the caller's.
                acc[i] = unsafe { s.fma(v, w[c], acc[i]) };
            }
        }
    }
}

/// Rows of the result, of which the first is number `first`.
pub(super) struct Block {
    pub(super) out: *mut f32,
    /// Weights of the last vector, where the channels are no multiple of the lanes.
    tail: *const f32,
    pub(super) first: usize,
    pub(super) rows: usize,
    columns: usize,
    pub(super) steps: [usize; 2],
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(token: super::Avx512, slide: &Slide<'_>, block: &Block) {
    // SAFETY: the caller's.
    unsafe { slide.block(token, block) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(token: super::Avx2Fma, slide: &Slide<'_>, block: &Block) {
    // SAFETY: the caller's.
    unsafe { slide.block(token, block) }
}
