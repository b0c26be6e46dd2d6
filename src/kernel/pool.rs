//! Pooling, channels last: vectors of channels, a line of windows at a time.
//!
//! ```text
//! for each window i of a line, for each chunk of channels:
//!     out[i] ← max, or Σ / divisor, of the pixels x[z, y, k] for all taps (z, y, k) of the window
//! ```
//!
//! Only taps inside the image are visited. A maximum that meets NaN is NaN, and −∞ without taps. Every [`JOINED`] taps
//! of a sum join another, and as many of those the whole: large windows round like short sums.

use super::Isa;
use super::simd::{Apart, Simd, run_by};
use crate::geometry::{Taps, WindowAxis};

/// Taps that are summed before their sum joins another, and sums that it joins before that joins the whole.
const JOINED: usize = 32;

/// What becomes of the taps of a window.
#[derive(Clone, Copy)]
pub(crate) enum Pooled<'a> {
    Maximum,
    /// The sum, divided by a number that depends on the window.
    Mean(&'a dyn Fn(usize) -> f32),
}

/// A line of windows in an image `[plane][row][column][channel]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolLine<'a> {
    /// From the first channel that is pooled on.
    pub(crate) x: &'a [f32],
    /// Planes, rows and columns.
    pub(crate) inputs: [usize; 3],
    /// From pixel to pixel.
    pub(crate) pitch: usize,
    /// Planes and rows that the windows read.
    pub(crate) planes: Taps,
    pub(crate) rows: Taps,
    pub(crate) columns: WindowAxis,
}

impl PoolLine<'_> {
    /// Writes `width` channels of each window, `pitch` numbers apart.
    ///
    /// # Panics
    /// Where a length does not fit: a bug in this crate.
    pub(crate) fn run(
        &self,
        isa: Isa,
        pooled: Pooled<'_>,
        out: &mut [f32],
        [width, pitch]: [usize; 2],
    ) {
        let windows = self.columns.output();
        if windows == 0 || width == 0 {
            return;
        }
        assert!(
            (windows - 1) * pitch + width <= out.len(),
            "the results of a pooling"
        );
        let pixels: usize = self.inputs.iter().product();
        assert!(
            pixels > 0 && (pixels - 1) * self.pitch + width <= self.x.len(),
            "the image of a pooling"
        );
        assert!(
            is_inside(self.planes, self.inputs[0]) && is_inside(self.rows, self.inputs[1]),
            "the rows of a pooling"
        );
        let work = Work {
            line: self,
            pooled,
            out: out.as_mut_ptr(),
            width,
            pitch,
        };
        // SAFETY: the assertions above prove every write, and every read whose column `run` proves.
        unsafe { run_by(isa, work) }
    }
}

/// Whether every tap lies in an axis of `length`.
fn is_inside(taps: Taps, length: usize) -> bool {
    taps.count == 0 || taps.first + (taps.count - 1) * taps.step < length
}

/// A line whose lengths have been checked.
struct Work<'a> {
    line: &'a PoolLine<'a>,
    pooled: Pooled<'a>,
    out: *mut f32,
    width: usize,
    pitch: usize,
}

impl Apart for Work<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        for window in 0..self.line.columns.output() {
            let taps = self.line.columns.taps(window);
            assert!(
                is_inside(taps, self.line.inputs[2]),
                "the columns of a pooling"
            );
            // SAFETY: the caller's and the assertion's; `width` channels of every window lie in `out`.
            unsafe {
                let out = self.out.add(window * self.pitch);
                match self.pooled {
                    Pooled::Maximum => self.window::<S, true>(s, taps, 1.0, out),
                    Pooled::Mean(divisor) => {
                        self.window::<S, false>(s, taps, divisor(window), out);
                    }
                }
            }
        }
    }
}

impl Work<'_> {
    /// All channels of one window.
    ///
    /// # Safety
    /// As checked by `PoolLine::run`, and the CPU has `S`.
    #[inline(always)]
    unsafe fn window<S: Simd, const MAX: bool>(
        &self,
        s: S,
        taps: Taps,
        divisor: f32,
        out: *mut f32,
    ) {
        let (mut channel, width) = (0, self.width);
        // SAFETY: the channels of a chunk are left.
        unsafe {
            while channel + 4 * S::LANES <= width {
                self.chunk::<S, MAX, 4, true>(s, taps, channel, S::LANES, divisor, out);
                channel += 4 * S::LANES;
            }
            while channel + S::LANES <= width {
                self.chunk::<S, MAX, 1, true>(s, taps, channel, S::LANES, divisor, out);
                channel += S::LANES;
            }
            if channel < width {
                self.chunk::<S, MAX, 1, false>(s, taps, channel, width - channel, divisor, out);
            }
        }
    }

    /// N vectors of channels of one window, of which, unless they are `FULL`, only the first `some` lanes are there.
    ///
    /// # Safety
    /// As `window`.
    #[inline(always)]
    unsafe fn chunk<S: Simd, const MAX: bool, const N: usize, const FULL: bool>(
        &self,
        s: S,
        taps: Taps,
        channel: usize,
        some: usize,
        divisor: f32,
        out: *mut f32,
    ) {
        let PoolLine {
            inputs: [_, height, width],
            pitch,
            planes,
            rows,
            ..
        } = *self.line;
        // SAFETY: every tap lies in the image, every channel of the window in `out`.
        unsafe {
            let load = |at: *const f32| match FULL {
                true => s.load(at),
                false => s.load_first(at, some),
            };
            let start = if MAX {
                s.splat(f32::NEG_INFINITY)
            } else {
                s.zero()
            };
            let (mut part, mut summed) = ([start; N], 0);
            let (mut acc, mut joins, mut whole) = ([start; N], 0, [start; N]);
            for plane in planes.positions() {
                for row in rows.positions() {
                    let at = (plane * height + row) * width + taps.first;
                    let mut x = self.line.x.as_ptr().add(at * pitch + channel);
                    for _ in 0..taps.count {
                        for (j, part) in part.iter_mut().enumerate() {
                            let v = load(x.add(j * S::LANES));
                            *part = if MAX {
                                s.max_or_nan(*part, v)
                            } else {
                                s.add(*part, v)
                            };
                        }
                        x = x.wrapping_add(taps.step * pitch);
                        summed += 1;
                        if !MAX && summed == JOINED {
                            for (acc, part) in acc.iter_mut().zip(&mut part) {
                                *acc = s.add(*acc, *part);
                                *part = start;
                            }
                            (summed, joins) = (0, joins + 1);
                            if joins == JOINED {
                                for (whole, acc) in whole.iter_mut().zip(&mut acc) {
                                    *whole = s.add(*whole, *acc);
                                    *acc = start;
                                }
                                joins = 0;
                            }
                        }
                    }
                }
            }
            for (j, ((&whole, &acc), &part)) in whole.iter().zip(&acc).zip(&part).enumerate() {
                let v = if MAX {
                    part
                } else {
                    s.div(s.add(whole, s.add(acc, part)), s.splat(divisor))
                };
                let out = out.add(channel + j * S::LANES);
                match FULL {
                    true => s.store(out, v),
                    false => s.store_first(out, v, some),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Axis;

    /// Small integers, so that sums are exact; one pixel in 29 is NaN.
    fn image(len: usize, holes: bool) -> Vec<f32> {
        (0..len)
            .map(|i| match i % 29 {
                3 if holes => f32::NAN,
                _ => ((i * 7919) % 101) as f32 - 50.0,
            })
            .collect()
    }

    /// A million numbers, all of which would be rounded alike if they joined one sum.
    #[test]
    fn means_of_large_images_are_not_off() {
        let (side, channels) = (1000, 3);
        let x = vec![0.1; side * side * channels];
        let taps = |count| Taps {
            first: 0,
            step: 1,
            count,
        };
        let line = PoolLine {
            x: &x,
            inputs: [1, side, side],
            pitch: channels,
            planes: taps(1),
            rows: taps(side),
            columns: WindowAxis::Adaptive {
                input: side,
                output: 1,
            },
        };
        let divisor = |_: usize| (side * side) as f32;
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; channels];
            line.run(isa, Pooled::Mean(&divisor), &mut out, [channels, channels]);
            for mean in out {
                assert!((mean / 0.1 - 1.0).abs() < 2e-5, "{isa}: {mean}");
            }
        }
    }

    #[test]
    fn agrees_with_the_definition() {
        let sliding = |input, kernel, stride, dilation, pad| {
            let axis = Axis::new(0, input, kernel, stride, dilation, pad).unwrap();
            WindowAxis::Sliding(axis)
        };
        let axes = [
            sliding(9, 1, 2, 1, (0, 0)),
            sliding(9, 3, 2, 1, (1, 1)),
            sliding(9, 2, 1, 6, (5, 5)),
            sliding(90, 70, 3, 1, (0, 0)),
            WindowAxis::Adaptive {
                input: 45,
                output: 1,
            },
            WindowAxis::Adaptive {
                input: 7,
                output: 3,
            },
        ];
        for channels in [1, 3, 4, 8, 15, 16, 17, 33, 64, 71, 130] {
            for columns in axes {
                for holes in [false, true] {
                    check(channels, columns, holes);
                }
            }
        }
    }

    fn check(channels: usize, columns: WindowAxis, holes: bool) {
        let inputs = [3, 4, columns.input()];
        let pixels: usize = inputs.iter().product();
        let x = image(pixels * channels, holes);
        let taps = |first, step, count| Taps { first, step, count };
        let line = PoolLine {
            x: &x,
            inputs,
            pitch: channels,
            planes: taps(0, 2, 2),
            rows: taps(1, 1, 3),
            columns,
        };
        let divisor = |window: usize| [2.0, 1.0, 4.0, 8.0][window % 4];
        let pitch = channels + 2;
        for isa in Isa::available() {
            for pooled in [Pooled::Maximum, Pooled::Mean(&divisor)] {
                let mut out = vec![f32::NAN; columns.output() * pitch];
                line.run(isa, pooled, &mut out, [channels, pitch]);
                for (window, out) in out.chunks(pitch).enumerate() {
                    for (channel, &got) in out[..channels].iter().enumerate() {
                        let mut values = Vec::new();
                        for plane in [0, 2] {
                            for row in 1..4 {
                                for column in columns.taps(window).positions() {
                                    let at = (plane * 4 + row) * inputs[2] + column;
                                    values.push(x[at * channels + channel]);
                                }
                            }
                        }
                        let expected = match pooled {
                            Pooled::Mean(_) => values.iter().sum::<f32>() / divisor(window),
                            Pooled::Maximum if values.iter().any(|v| v.is_nan()) => f32::NAN,
                            Pooled::Maximum => values.into_iter().fold(f32::NEG_INFINITY, f32::max),
                        };
                        assert!(
                            got == expected || got.is_nan() && expected.is_nan(),
                            "{isa}: {got}, expected {expected} in window {window}"
                        );
                    }
                    assert!(out[channels].is_nan());
                }
            }
        }
    }
}
