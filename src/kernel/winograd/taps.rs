//! dw = Gᵀ M G: the gradient of the weights out of its sums over all tiles.
//!
//! ```text
//! dw[output][channel][order] ← Gᵀ M[f][channel][output] G       M N × N, dw 3 × 3
//! ```
//!
//! Lanes are outputs, but the kernels of an output stand beside each other: as many numbers of them as make a vector are
//! kept, and transposed on the way out.

use ndarray::ArrayViewMut2;

use super::super::Isa;
use super::super::simd::{Apart, Simd, run_by};
use super::points::{Four, FourOfTwo, Points, Two, TwoOfTwo};
use super::{Spectrum, TAPS, Tiling, by_points};

/// The sums of products over all tiles: number f of channel c and output o stands at `m[f · step + c · pitch + o]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightSums<'a> {
    pub(crate) m: &'a [f32],
    pub(crate) spectrum: Spectrum,
    /// Which of the nine results stands at each place of a kernel.
    pub(crate) order: [usize; TAPS * TAPS],
}

impl WeightSums<'_> {
    /// dw, outputs × (channel, tap), ← Gᵀ M G, or that is added to it. Rows of `dw` may
    /// lie apart.
    ///
    /// # Panics
    /// Where a length does not fit: a bug in this crate.
    pub(crate) fn run(&self, isa: Isa, tiling: Tiling, mut dw: ArrayViewMut2<'_, f32>, add: bool) {
        let (outputs, places) = dw.dim();
        if dw.is_empty() {
            return;
        }
        tiling.check();
        assert!(
            places.is_multiple_of(self.order.len()) && dw.strides()[1] == 1,
            "kernels of a gradient"
        );
        assert!(
            self.order.iter().all(|&from| from < self.order.len()),
            "taps of a gradient"
        );
        let channels = places / self.order.len();
        let width = outputs.next_multiple_of(isa.lanes());
        assert!(
            self.spectrum.end(tiling.products(), channels, width) <= self.m.len(),
            "the sums of a gradient"
        );
        let job = Job {
            sums: self,
            tiling,
            shape: [outputs, channels],
            across: dw.strides()[0],
            to: dw.as_mut_ptr(),
            add,
        };
        // SAFETY: the assertions above prove every place: whole vectors of every
        // channel of every product lie in `m`, and `dw` is a view of rows of neighbours, reached by its own stride.
        unsafe {
            run_by(isa, &job);
        }
    }
}

/// Sums whose lengths have been checked.
struct Job<'a> {
    sums: &'a WeightSums<'a>,
    tiling: Tiling,
    /// Outputs and channels.
    shape: [usize; 2],
    to: *mut f32,
    /// From one output to the next.
    across: isize,
    /// Whether to add to what is there.
    add: bool,
}

impl Apart for &Job<'_> {
    /// # Safety
    /// As checked by `WeightSums::run`, and the CPU has `S`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        // SAFETY: the caller's.
        unsafe { by_points!(self.tiling, self.kernels::<S>(s)) }
    }
}

impl Job<'_> {
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn kernels<S: Simd, P: Points<N, R>, const N: usize, const R: usize>(&self, s: S) {
        let sums = self.sums;
        let [outputs, channels] = self.shape;
        for output in (0..outputs).step_by(S::LANES) {
            let count = S::LANES.min(outputs - output);
            // SAFETY: channels and outputs are inside; `filled` numbers of each row from `place` on have been computed.
            unsafe {
                let mut square = s.square();
                let (mut filled, mut place) = (0, 0);
                for channel in 0..channels {
                    let m = sums.m.as_ptr();
                    let m = m.add(channel * sums.spectrum.pitch + output);
                    let kernel = gather::<S, P, N, R>(s, m, sums.spectrum.step);
                    for (tap, &from) in sums.order.iter().enumerate() {
                        square.as_mut()[filled] = kernel[from / TAPS][from % TAPS];
                        filled += 1;
                        let end = channel + 1 == channels && tap + 1 == sums.order.len();
                        if filled == S::LANES || end {
                            s.transpose(&mut square);
                            for (lane, &v) in square.as_mut().iter().enumerate().take(count) {
                                let row = self
                                    .to
                                    .offset((output + lane) as isize * self.across)
                                    .add(place);
                                let v = if self.add {
                                    s.add(s.load_first(row, filled), v)
                                } else {
                                    v
                                };
                                s.store_first(row, v, filled);
                            }
                            place += filled;
                            filled = 0;
                        }
                    }
                }
            }
        }
    }
}

/// Gᵀ m G of one channel.
///
/// # Safety
/// A vector can be read from each product, and the CPU has `S`.
#[inline(always)]
unsafe fn gather<S: Simd, P: Points<N, R>, const N: usize, const R: usize>(
    s: S,
    m: *const f32,
    step: usize,
) -> [[S::V; TAPS]; TAPS] {
    // SAFETY: the caller's.
    unsafe {
        let mut columns = [[s.zero(); TAPS]; N];
        for (j, column) in columns.iter_mut().enumerate() {
            let mut products = [s.zero(); N];
            for (i, product) in products.iter_mut().enumerate() {
                *product = s.load(m.add((i * N + j) * step));
            }
            *column = P::taps(s, products);
        }
        let mut taps = [[s.zero(); TAPS]; TAPS];
        for (i, taps) in taps.iter_mut().enumerate() {
            let mut line = [s.zero(); N];
            for (product, column) in line.iter_mut().zip(&columns) {
                *product = column[i];
            }
            *taps = P::taps(s, line);
        }
        taps
    }
}
