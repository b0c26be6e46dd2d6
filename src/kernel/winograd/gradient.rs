//! W = A dy Aᵀ of tiles side by side: the gradients of their results, for the gradient of the weights.
//!
//! ```text
//! to[f][tile][output] ← A dy Aᵀ       dy R × R, zeros beyond the edge
//! sums[output]        += Σ dy
//! ```
//!
//! Lanes are outputs. W stands in the order of a panel of a product whose terms are tiles, and the lanes beyond the last
//! output are zeros.

use super::super::Isa;
use super::super::simd::{Apart, Simd, run_by};
use super::points::Gradient;
use super::{Spectrum, Tiling, Unwritten, by_points};

/// Gradients of tiles side by side: pixel (i, j) of tile t begins at `i · line + (t · R + j) · pixel`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GradientRow<'a> {
    pub(crate) dy: &'a [f32],
    /// From one line to the next, and from one pixel to the next.
    pub(crate) line: usize,
    pub(crate) pixel: usize,
    /// How many lines, at most R of a tile, and pixels of a line there are.
    pub(crate) lengths: [usize; 2],
    /// Outputs of a pixel, beside each other.
    pub(crate) outputs: usize,
}

impl GradientRow<'_> {
    /// to[f · step + t · pitch ..][..outputs] ← product f of tile t, of its R × R pixels, and zeros in the
    /// lanes beyond the last output; sums[..outputs] += all pixels.
    ///
    /// # Panics
    /// Where a length does not fit: a bug in this crate.
    pub(crate) fn run(
        &self,
        isa: Isa,
        tiling: Tiling,
        to: &mut [f32],
        spectrum: Spectrum,
        sums: Option<&mut [f32]>,
    ) {
        tiling.check();
        let [down, across] = tiling.results();
        let [rows, columns] = self.lengths;
        assert!(
            (1..=down).contains(&rows) && columns > 0,
            "lengths of tiles"
        );
        let last = (rows - 1) * self.line + (columns - 1) * self.pixel;
        assert!(
            last + self.outputs <= self.dy.len(),
            "the gradient of a transform"
        );
        let width = self.outputs.next_multiple_of(isa.lanes());
        assert!(
            spectrum.end(tiling.products(), columns.div_ceil(across), width) <= to.len(),
            "the result of a transform"
        );
        let sums = sums.map(|sums| {
            assert!(sums.len() >= width, "the sums of a transform");
            sums.as_mut_ptr()
        });
        let job = Job {
            row: self,
            tiling,
            to: to.as_mut_ptr(),
            spectrum,
            sums,
        };
        // SAFETY: the assertions above prove every place: pixel and line are at
        // most the last ones, and whole vectors of every product and of the sums end with `width`.
        unsafe {
            run_by(isa, &job);
        }
    }
}

/// A row of tiles whose lengths have been checked.
struct Job<'a> {
    row: &'a GradientRow<'a>,
    tiling: Tiling,
    to: *mut f32,
    spectrum: Spectrum,
    sums: Option<*mut f32>,
}

impl Apart for &Job<'_> {
    /// # Safety
    /// As checked by `GradientRow::run`, and the CPU has `S`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        // SAFETY: the caller's.
        unsafe { by_points!(gradient of self.tiling, self.tiles::<S>(s)) }
    }
}

impl Job<'_> {
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn tiles<
        S: Simd,
        D: Gradient<ND, RD>,
        A: Gradient<NA, RA>,
        const ND: usize,
        const RD: usize,
        const NA: usize,
        const RA: usize,
    >(
        &self,
        s: S,
    ) {
        let row = self.row;
        let [rows, columns] = row.lengths;
        for tile in 0..columns.div_ceil(RA) {
            let there = [rows, RA.min(columns - tile * RA)];
            let mut output = 0;
            while output < row.outputs {
                let count = S::LANES.min(row.outputs - output);
                // SAFETY: so many lines, pixels and outputs are there, and a vector of each product and of the sums.
                unsafe {
                    let dy = row.dy.as_ptr().add(tile * RA * row.pixel + output);
                    let steps = [row.line, row.pixel];
                    let pixels = if there == [RD, RA] && count == S::LANES {
                        whole::<S, RD, RA>(s, dy, steps)
                    } else {
                        some::<S, RD, RA>(s, dy, steps, there, count)
                    };
                    if let Some(sums) = self.sums {
                        let sums = sums.add(output);
                        s.store(sums, s.add(s.load(sums), total(s, &pixels)));
                    }
                    let to = self.to.add(tile * self.spectrum.pitch + output);
                    spread::<S, D, A, ND, RD, NA, RA>(s, &pixels, to, self.spectrum.step);
                }
                output += S::LANES;
            }
        }
    }
}

/// A tile that is there in whole.
///
/// # Safety
/// A vector can be read from each pixel, and the CPU has `S`.
#[inline(always)]
unsafe fn whole<S: Simd, const RD: usize, const RA: usize>(
    s: S,
    dy: *const f32,
    [line, pixel]: [usize; 2],
) -> [[S::V; RA]; RD] {
    // SAFETY: the caller's.
    unsafe {
        let mut pixels = [[s.zero(); RA]; RD];
        for (i, pixels) in pixels.iter_mut().enumerate() {
            for (j, v) in pixels.iter_mut().enumerate() {
                *v = s.load(dy.add(i * line + j * pixel));
            }
        }
        pixels
    }
}

/// A tile of which `rows` × `columns` pixels and `count` outputs are there; the rest is zero.
///
/// # Safety
/// So many numbers can be read from each of those pixels, and the CPU has `S`.
#[inline(always)]
unsafe fn some<S: Simd, const RD: usize, const RA: usize>(
    s: S,
    dy: *const f32,
    [line, pixel]: [usize; 2],
    [rows, columns]: [usize; 2],
    count: usize,
) -> [[S::V; RA]; RD] {
    // SAFETY: the caller's.
    unsafe {
        let mut pixels = [[s.zero(); RA]; RD];
        for (i, pixels) in pixels.iter_mut().enumerate().take(rows) {
            for (j, v) in pixels.iter_mut().enumerate().take(columns) {
                *v = s.load_first(dy.add(i * line + j * pixel), count);
            }
        }
        pixels
    }
}

/// The sum of the pixels of a tile, line by line.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn total<S: Simd, const RD: usize, const RA: usize>(
    s: S,
    pixels: &[[S::V; RA]; RD],
) -> S::V {
    // SAFETY: the caller's.
    unsafe {
        let mut total = s.zero();
        for line in pixels {
            let mut sum = line[0];
            for &v in &line[1..] {
                sum = s.add(sum, v);
            }
            total = s.add(total, sum);
        }
        total
    }
}

/// to[f · step] ← A y Aᵀ
///
/// # Safety
/// A vector may be written to each product, and the CPU has `S`.
#[inline(always)]
unsafe fn spread<
    S: Simd,
    D: Gradient<ND, RD>,
    A: Gradient<NA, RA>,
    const ND: usize,
    const RD: usize,
    const NA: usize,
    const RA: usize,
>(
    s: S,
    y: &[[S::V; RA]; RD],
    to: *mut f32,
    step: usize,
) {
    // SAFETY: the caller's; every loop writes all of what is read after it.
    unsafe {
        let mut columns = Unwritten::<[S::V; ND], RA>::new();
        for j in 0..RA {
            let mut pixels = [s.zero(); RD];
            for (pixel, line) in pixels.iter_mut().zip(y) {
                *pixel = line[j];
            }
            columns.write(j, D::gradient(s, pixels));
        }
        let columns = columns.written();
        for i in 0..ND {
            let mut line = [s.zero(); RA];
            for (v, column) in line.iter_mut().zip(columns) {
                *v = column[i];
            }
            for (j, &v) in A::gradient(s, line).iter().enumerate() {
                s.store(to.add((i * NA + j) * step), v);
            }
        }
    }
}
