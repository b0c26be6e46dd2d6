//! dw = Gᵀ M G: the gradient of the weights out of its sums over all tiles.
//!
//! ```text
//! dw[output][channel][order] ← Gᵀ M[f][piece][channel][output] G       M N × N, a piece of dw K × K, or lines
//! ```
//!
//! Kernels of more than K × K taps are sums of pieces. Lanes are outputs, but the kernels of an output stand beside each
//! other: as many numbers of them as make a vector are kept, and transposed on the way out.

use ndarray::ArrayViewMut2;

use super::super::Isa;
use super::super::simd::{Apart, Simd, run_by};
use super::points::Taps;
use super::{MOST_TILE_TAPS, Spectrum, Tiling, Unwritten, by_points};

/// Most pieces of a kernel: its taps wait on the stack, in 5 KiB.
pub(crate) const MOST_PIECES: usize = 9;

/// The sums of products over all tiles: number f of piece p, channel c and output o stands at
/// `m[f · step + (p · channels + c) · pitch + o]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightSums<'a> {
    pub(crate) m: &'a [f32],
    pub(crate) spectrum: Spectrum,
    /// Pieces of a kernel.
    pub(crate) pieces: usize,
    /// Which number stands at each place of a kernel, counted over its pieces.
    pub(crate) order: &'a [usize],
}

impl WeightSums<'_> {
    /// dw, outputs × (channel, tap), ← Gᵀ M G, or that is added to it. Rows of `dw` may lie apart.
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
            !self.order.is_empty()
                && self.pieces > 0
                && places.is_multiple_of(self.order.len())
                && dw.strides()[1] == 1,
            "kernels of a gradient"
        );
        assert!(
            self.pieces <= MOST_PIECES
                && self
                    .order
                    .iter()
                    .all(|&from| from < self.pieces * tiling.taps()),
            "taps of a gradient"
        );
        let channels = places / self.order.len();
        let width = outputs.next_multiple_of(isa.lanes());
        assert!(
            self.spectrum
                .end(tiling.products(), self.pieces * channels, width)
                <= self.m.len(),
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
        unsafe { by_points!(taps of self.tiling, self.kernels::<S>(s)) }
    }
}

impl Job<'_> {
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn kernels<
        S: Simd,
        D: Taps<ND, KD>,
        A: Taps<NA, KA>,
        const ND: usize,
        const KD: usize,
        const NA: usize,
        const KA: usize,
    >(
        &self,
        s: S,
    ) {
        let sums = self.sums;
        let [outputs, channels] = self.shape;
        for output in (0..outputs).step_by(S::LANES) {
            let count = S::LANES.min(outputs - output);
            // SAFETY: channels and outputs are inside; `filled` numbers of each row from `place` on have been computed.
            unsafe {
                let mut square = s.square();
                let mut kernel = [[s.zero(); MOST_TILE_TAPS]; MOST_PIECES];
                let (mut filled, mut place) = (0, 0);
                for channel in 0..channels {
                    for (piece, kernel) in kernel.iter_mut().enumerate().take(sums.pieces) {
                        let place = piece * channels + channel;
                        let m = sums.m.as_ptr().add(place * sums.spectrum.pitch + output);
                        gather::<S, D, A, ND, KD, NA, KA>(s, m, sums.spectrum.step, kernel);
                    }
                    for (tap, &from) in sums.order.iter().enumerate() {
                        square.as_mut()[filled] = kernel[from / (KD * KA)][from % (KD * KA)];
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

/// kernel ← Gᵀ M G of one piece of one channel.
///
/// # Safety
/// A vector can be read from each product, and the CPU has `S`.
#[inline(always)]
unsafe fn gather<
    S: Simd,
    D: Taps<ND, KD>,
    A: Taps<NA, KA>,
    const ND: usize,
    const KD: usize,
    const NA: usize,
    const KA: usize,
>(
    s: S,
    m: *const f32,
    step: usize,
    kernel: &mut [S::V; MOST_TILE_TAPS],
) {
    // SAFETY: the caller's; every loop writes all of what is read after it.
    unsafe {
        let mut columns = Unwritten::<[S::V; KD], NA>::new();
        for j in 0..NA {
            let mut products = [s.zero(); ND];
            for (i, product) in products.iter_mut().enumerate() {
                *product = s.load(m.add((i * NA + j) * step));
            }
            columns.write(j, D::taps(s, products));
        }
        let columns = columns.written();
        for i in 0..KD {
            let mut line = [s.zero(); NA];
            for (product, column) in line.iter_mut().zip(columns) {
                *product = column[i];
            }
            for (j, &tap) in A::taps(s, line).iter().enumerate() {
                kernel[i * KA + j] = tap;
            }
        }
    }
}
