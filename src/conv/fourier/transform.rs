//! The Fourier transform of a window of real numbers, and back.
//!
//! ```text
//! two rows a, b go through one transform:   Z = F (a + ib)        2A[k] = Z[k] + conj Z[−k]      2B[k] = −i (Z[k] − conj Z[−k])
//! forward   rows in pairs along x, apart into [k_x][z][y], k_x ≤ L_x / 2; along y; turned round, along z
//! back      the same from the end: Z[k] = A[k] + iB[k], Z[−k] = conj A[k] + i conj B[k]
//! ```
//!
//! What comes out forward is twice the spectrum, what comes out backward is not divided by the length: the weights
//! carry both factors. Rows that are all zeros, and rows that nobody wants, are left out.

use std::fmt;
use std::sync::Arc;

use bytemuck::Pod;
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection, FftNum, FftPlanner};

use crate::element::Element;

/// Transforms along three axes; an axis of length 1 has none.
type Plans<R> = [Option<Arc<dyn Fft<R>>>; 3];

/// Elements with transforms: f32 and f64.
pub(super) trait Real: Element + FftNum + Pod {
    /// Transforms of these lengths, forward and back.
    ///
    /// Not generic: all of `rustfft` would be compiled again in every crate that plans a convolution.
    fn plans(lengths: [usize; 3]) -> [Plans<Self>; 2];
}

macro_rules! real {
    ($type:ty) => {
        impl Real for $type {
            fn plans(lengths: [usize; 3]) -> [Plans<Self>; 2] {
                let mut planner = FftPlanner::new();
                [FftDirection::Forward, FftDirection::Inverse].map(|direction| {
                    lengths.map(|length| (length > 1).then(|| planner.plan_fft(length, direction)))
                })
            }
        }
    };
}
real!(f32);
real!(f64);

/// What a window is transformed in, complex numbers all.
pub(super) struct Work<'w, R> {
    /// Pairs of rows.
    pub(super) lines: &'w mut [Complex<R>],
    /// For the transforms themselves, and a plane to turn round.
    pub(super) rest: &'w mut [Complex<R>],
}

/// The transforms of one size of window.
#[derive(Clone)]
pub(super) struct Transform<R> {
    /// Outermost axis first.
    lengths: [usize; 3],
    forward: Plans<R>,
    back: Plans<R>,
}

impl<R> fmt::Debug for Transform<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Transform({:?})", self.lengths)
    }
}

impl<R: Real> Transform<R> {
    pub(super) fn new(lengths: [usize; 3]) -> Self {
        let [forward, back] = R::plans(lengths);
        Self {
            lengths,
            forward,
            back,
        }
    }

    /// Complex numbers that the transforms work in.
    #[cfg(test)]
    fn scratch(&self) -> usize {
        let all = self.forward.iter().chain(&self.back).flatten();
        all.map(|fft| fft.get_inplace_scratch_len())
            .max()
            .unwrap_or(0)
    }

    pub(super) fn lengths(&self) -> [usize; 3] {
        self.lengths
    }

    /// Numbers of a row, rows of a window, and numbers of a row's half spectrum.
    fn sizes(&self) -> [usize; 3] {
        let [planes, rows, columns] = self.lengths;
        [columns, planes * rows, columns / 2 + 1]
    }

    /// `spectrum` ← twice the transform of the rows in `work.lines`, of which only pairs that are `used` are not all
    /// zeros. Row r is the real part of line r / 2 where r is even, else the imaginary one.
    pub(super) fn forward(
        &self,
        work: &mut Work<'_, R>,
        used: impl Fn(usize) -> bool,
        spectrum: &mut [Complex<R>],
    ) {
        let [columns, rows, half] = self.sizes();
        for (pair, line) in work.lines.chunks_exact_mut(columns).enumerate() {
            let (even, odd) = (2 * pair, 2 * pair + 1);
            if !used(pair) {
                for k in 0..half {
                    spectrum[k * rows + even] = Complex::default();
                    if odd < rows {
                        spectrum[k * rows + odd] = Complex::default();
                    }
                }
                continue;
            }
            if let Some(fft) = &self.forward[2] {
                fft.process_with_scratch(line, work.rest);
            }
            for k in 0..half {
                let (z, mirrored) = (line[k], line[if k == 0 { 0 } else { columns - k }].conj());
                let (sum, difference) = (z + mirrored, z - mirrored);
                spectrum[k * rows + even] = sum;
                if odd < rows {
                    spectrum[k * rows + odd] = Complex::new(difference.im, -difference.re);
                }
            }
        }
        if let Some(fft) = &self.forward[1] {
            fft.process_with_scratch(spectrum, work.rest);
        }
        self.along_planes(&self.forward[0], spectrum, work.rest, false);
    }

    /// The rows of `work.lines`, of which only pairs that are `wanted` are computed, ← the transform of `spectrum`
    /// back, times the number of pixels. The spectrum is lost.
    pub(super) fn back(
        &self,
        spectrum: &mut [Complex<R>],
        wanted: impl Fn(usize) -> bool,
        work: &mut Work<'_, R>,
    ) {
        let [columns, rows, half] = self.sizes();
        self.along_planes(&self.back[0], spectrum, work.rest, true);
        if let Some(fft) = &self.back[1] {
            fft.process_with_scratch(spectrum, work.rest);
        }
        for (pair, line) in work.lines.chunks_exact_mut(columns).enumerate() {
            if !wanted(pair) {
                continue;
            }
            let (even, odd) = (2 * pair, 2 * pair + 1);
            for k in 0..half {
                let a = spectrum[k * rows + even];
                let b = match odd < rows {
                    true => spectrum[k * rows + odd],
                    false => Complex::default(),
                };
                line[k] = Complex::new(a.re - b.im, a.im + b.re);
                // The real numbers among the spectrum are their own mirror images.
                if k > 0 && 2 * k != columns {
                    line[columns - k] = Complex::new(a.re + b.im, b.re - a.im);
                }
            }
            if let Some(fft) = &self.back[2] {
                fft.process_with_scratch(line, work.rest);
            }
        }
    }

    /// Along z, for every k_x a plane `[z][y]` turned round to `[y][z]`, or back.
    fn along_planes(
        &self,
        fft: &Option<Arc<dyn Fft<R>>>,
        spectrum: &mut [Complex<R>],
        rest: &mut [Complex<R>],
        back: bool,
    ) {
        let (Some(fft), [planes, rows, _]) = (fft, self.lengths) else {
            return;
        };
        let (turned, rest) = rest.split_at_mut(planes * rows);
        for plane in spectrum.chunks_exact_mut(planes * rows) {
            if back {
                fft.process_with_scratch(plane, rest);
            }
            let (down, across) = if back { (rows, planes) } else { (planes, rows) };
            for i in 0..down {
                for j in 0..across {
                    turned[j * down + i] = plane[i * across + j];
                }
            }
            plane.copy_from_slice(turned);
            if !back {
                fft.process_with_scratch(plane, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{LONGEST, ROOM, quick};

    /// Numbers that look random.
    fn number(index: usize) -> f64 {
        (index * 7919 % 101) as f64 / 50.0 - 1.0
    }

    /// By the sum, at the place k of a window.
    fn expected(lengths: [usize; 3], x: &[f64], k: [usize; 3]) -> Complex<f64> {
        let [planes, rows, columns] = lengths;
        let turn =
            |axis: usize, at: usize| (k[axis] * at % lengths[axis]) as f64 / lengths[axis] as f64;
        let mut sum = Complex::default();
        for z in 0..planes {
            for y in 0..rows {
                for at in 0..columns {
                    let turns = turn(0, z) + turn(1, y) + turn(2, at);
                    let wave = Complex::cis(-std::f64::consts::TAU * turns);
                    sum += wave * x[(z * rows + y) * columns + at];
                }
            }
        }
        sum
    }

    /// The library asks for no more room than the plans count on, at any length.
    #[test]
    fn transforms_have_room() {
        for length in (1..=LONGEST).filter(|&length| quick(length) == length) {
            let room = 2 * length + ROOM;
            let (single, double) = (
                Transform::<f32>::new([1, 1, length]).scratch(),
                Transform::<f64>::new([1, 1, length]).scratch(),
            );
            assert!(single.max(double) <= room, "{length}: {single}, {double}");
        }
    }

    #[test]
    fn there_and_back() {
        for lengths in [
            [1, 1, 1],
            [1, 1, 8],
            [1, 1, 15],
            [1, 6, 5],
            [1, 5, 8],
            [3, 5, 4],
            [4, 2, 9],
        ] {
            let [planes, rows, columns] = lengths;
            let transform = Transform::<f64>::new(lengths);
            let x: Vec<f64> = (0..planes * rows * columns).map(number).collect();
            let pairs = (planes * rows).div_ceil(2);
            let mut lines = vec![Complex::default(); pairs * columns];
            for (at, &value) in x.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let line = &mut lines[row / 2 * columns + column];
                *if row % 2 == 0 {
                    &mut line.re
                } else {
                    &mut line.im
                } = value;
            }
            let mut rest = vec![Complex::default(); transform.scratch() + planes * rows];
            let mut work = Work {
                lines: &mut lines,
                rest: &mut rest,
            };
            let mut spectrum = vec![Complex::default(); (columns / 2 + 1) * rows * planes];
            transform.forward(&mut work, |_| true, &mut spectrum);
            for (at, value) in spectrum.iter().enumerate() {
                let (k, inner) = (at / (rows * planes), at % (rows * planes));
                let k = if planes > 1 {
                    [inner % planes, inner / planes, k]
                } else {
                    [0, inner, k]
                };
                let error = (value - 2.0 * expected(lengths, &x, k)).norm();
                assert!(error < 1e-10, "{lengths:?} {k:?}: {error}");
            }
            transform.back(&mut spectrum, |_| true, &mut work);
            let scale = 0.5 / x.len() as f64;
            for (at, &value) in x.iter().enumerate() {
                let (row, column) = (at / columns, at % columns);
                let line = work.lines[row / 2 * columns + column];
                let got = if row % 2 == 0 { line.re } else { line.im };
                assert!((got * scale - value).abs() < 1e-13, "{lengths:?} {at}");
            }
        }
    }
}
