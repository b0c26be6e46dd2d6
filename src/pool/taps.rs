//! Maximum pooling that keeps which tap of each window the maximum is: all that its gradient needs.
//!
//! ```text
//! y[o] = max x over the taps of o      t[o] = the number of the first of them, as rows.rs numbers them
//! dx[pixel of tap t[o] of o] += dy[o]
//! ```
//!
//! The first maximum in row-major order wins, and so does the first NaN. A number takes a byte where windows have up
//! to 256 taps.

use rayon::prelude::*;

use super::array::check_lengths;
use super::rows::{LANES, Share, backward, longest, task};
use crate::element::Element;
use crate::error::{Error, Result, check_len};
use crate::geometry::{Layout, PoolGeometry, Taps, WindowAxis};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::parallel::threads_for;

/// A number of a tap.
pub(crate) trait Tap: Copy + PartialEq + Send + Sync {
    /// The largest.
    const MOST: usize;
    /// From a number up to the largest.
    fn of(number: u32) -> Self;
    fn number(self) -> usize;
}

impl Tap for u8 {
    const MOST: usize = u8::MAX as usize;
    #[inline(always)]
    fn of(number: u32) -> Self {
        number as u8
    }
    #[inline(always)]
    fn number(self) -> usize {
        self.into()
    }
}

impl Tap for u32 {
    const MOST: usize = u32::MAX as usize;
    #[inline(always)]
    fn of(number: u32) -> Self {
        number
    }
    #[inline(always)]
    fn number(self) -> usize {
        self as usize
    }
}

/// The most taps that a window has.
pub(crate) fn window_taps(geometry: &PoolGeometry) -> usize {
    geometry.axes.iter().map(WindowAxis::longest).product()
}

fn check_taps<K: Tap>(geometry: &PoolGeometry) -> Result<()> {
    match window_taps(geometry) - 1 {
        last if last <= K::MOST => Ok(()),
        _ => Err(Error::Overflow {
            what: "the number of a tap",
        }),
    }
}

/// The maximum of every window and the number of its tap, 0 where there is none; allocates nothing.
///
/// # Errors
/// A slice of the wrong length; windows of more taps than can be numbered.
pub(crate) fn max_pool_taps_into<T: Element, K: Tap>(
    geometry: &PoolGeometry,
    x: &[T],
    y: &mut [T],
    taps: &mut [K],
) -> Result<()> {
    check_lengths(geometry, ("input", x.len()), ("output", y.len()))?;
    check_len("taps", y.len(), taps.len())?;
    check_taps::<K>(geometry)?;
    if y.is_empty() {
        return Ok(());
    }
    let last = geometry.layout() == Layout::ChannelsLast;
    // What a line of windows has: all channels of it, or, channels first, the windows of a plane.
    let row = match last {
        true => geometry.axes[2].output() * geometry.channels(),
        false => geometry.positions(),
    };
    let piece = match threads_for(geometry.operations()) {
        1 => y.len(),
        _ => task(row, window_taps(geometry)),
    };
    let isa = Isa::selected();
    let pieces = y.par_chunks_mut(piece).zip(taps.par_chunks_mut(piece));
    pieces.enumerate().for_each(|(index, (y, taps))| {
        let lines = y.chunks_exact_mut(row).zip(taps.chunks_exact_mut(row));
        for (line, (y, taps)) in lines.enumerate() {
            let number = index * (piece / row) + line;
            match last {
                true => compiled(isa, Line::new(geometry, x, number, y, taps)),
                false => plane(geometry, &x[number * geometry.pixels()..], y, taps),
            }
        }
    });
    Ok(())
}

/// All windows of one plane.
fn plane<T: Element, K: Tap>(geometry: &PoolGeometry, x: &[T], y: &mut [T], taps: &mut [K]) {
    let [depth, height, width] = geometry.axes;
    let [tall, wide] = longest(geometry);
    let mut results = y.iter_mut().zip(taps);
    for z in 0..depth.output() {
        for v in 0..height.output() {
            for u in 0..width.output() {
                let (mut best, mut number) = (T::NEG_INFINITY, 0);
                for (i, plane) in depth.taps(z).positions().enumerate() {
                    for (j, row) in height.taps(v).positions().enumerate() {
                        let line = (plane * height.input() + row) * width.input();
                        for (k, column) in width.taps(u).positions().enumerate() {
                            let value = x[line + column];
                            if wins(value, best) {
                                best = value;
                                number = (i * tall + j) * wide + k;
                            }
                        }
                    }
                }
                if let Some((y, tap)) = results.next() {
                    // `check_taps` has seen that it fits.
                    (*y, *tap) = (best, K::of(number as u32));
                }
            }
        }
    }
}

/// Whether `value` takes the place of `best`: it is larger, or the first NaN.
#[inline(always)]
#[allow(
    clippy::neg_cmp_op_on_partial_ord,
    clippy::eq_op,
    reason = "NaN compares so"
)]
fn wins<T: Element>(value: T, best: T) -> bool {
    !(value <= best) & (best == best)
}

/// A line of windows, channels last.
struct Line<'a, T, K> {
    x: &'a [T],
    y: &'a mut [T],
    taps: &'a mut [K],
    channels: usize,
    /// Rows and columns of the image, and the most taps on them.
    lengths: [usize; 2],
    longest: [usize; 2],
    planes: Taps,
    rows: Taps,
    columns: WindowAxis,
}

impl<'a, T: Element, K: Tap> Line<'a, T, K> {
    /// Line `number`, counted over all images.
    fn new(
        geometry: &PoolGeometry,
        x: &'a [T],
        number: usize,
        y: &'a mut [T],
        taps: &'a mut [K],
    ) -> Self {
        let [depth, height, columns] = geometry.axes;
        let (plane, row) = (number / height.output(), number % height.output());
        let (image, plane) = (plane / depth.output(), plane % depth.output());
        let pixels = geometry.pixels() * geometry.channels();
        Self {
            x: &x[image * pixels..][..pixels],
            y,
            taps,
            channels: geometry.channels(),
            lengths: [height.input(), columns.input()],
            longest: longest(geometry),
            planes: depth.taps(plane),
            rows: height.taps(row),
            columns,
        }
    }

    /// N channels of a window, from `channel` on; `at` is where they stand in the line.
    #[inline(always)]
    fn chunk<const N: usize>(&mut self, columns: Taps, channel: usize, at: usize) {
        let ([height, width], [tall, wide]) = (self.lengths, self.longest);
        let (mut best, mut numbers) = ([T::NEG_INFINITY; N], [0u32; N]);
        for i in 0..self.planes.count {
            let plane = self.planes.first + i * self.planes.step;
            for j in 0..self.rows.count {
                let row = self.rows.first + j * self.rows.step;
                let line = (plane * height + row) * width + columns.first;
                for k in 0..columns.count {
                    let pixel = (line + k * columns.step) * self.channels + channel;
                    let Some(values) = self.x[pixel..].first_chunk::<N>() else {
                        return;
                    };
                    // `check_taps` has seen that it fits.
                    let number = ((i * tall + j) * wide + k) as u32;
                    for lane in 0..N {
                        let wins = wins(values[lane], best[lane]);
                        best[lane] = if wins { values[lane] } else { best[lane] };
                        numbers[lane] = if wins { number } else { numbers[lane] };
                    }
                }
            }
        }
        self.y[at..at + N].copy_from_slice(&best);
        for (tap, number) in self.taps[at..at + N].iter_mut().zip(numbers) {
            *tap = K::of(number);
        }
    }
}

impl<T: Element, K: Tap> Loop for Line<'_, T, K> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        for window in 0..self.columns.output() {
            let columns = self.columns.taps(window);
            let (mut channel, first) = (0, window * self.channels);
            while channel + LANES <= self.channels {
                self.chunk::<LANES>(columns, channel, first + channel);
                channel += LANES;
            }
            while channel + 4 <= self.channels {
                self.chunk::<4>(columns, channel, first + channel);
                channel += 4;
            }
            while channel < self.channels {
                self.chunk::<1>(columns, channel, first + channel);
                channel += 1;
            }
        }
    }
}

/// The gradient of the input from the numbers of [`max_pool_taps_into`] into `d_input`, whatever stood there before;
/// allocates nothing. A number that is no tap of its window counts for nothing.
///
/// # Errors
/// A slice of the wrong length; windows of more taps than can be numbered.
pub(crate) fn max_pool_taps_backward_into<T: Element, K: Tap>(
    geometry: &PoolGeometry,
    taps: &[K],
    d_output: &[T],
    d_input: &mut [T],
) -> Result<()> {
    check_lengths(
        geometry,
        ("input gradient", d_input.len()),
        ("output gradient", d_output.len()),
    )?;
    check_len("taps", d_output.len(), taps.len())?;
    check_taps::<K>(geometry)?;
    backward(geometry, d_input, &AtTap { taps, d_output })
}

/// All of dy for the tap that was kept.
struct AtTap<'a, T, K> {
    taps: &'a [K],
    d_output: &'a [T],
}

impl<T: Element, K: Tap> Share<T> for AtTap<'_, T, K> {
    #[inline(always)]
    fn add(&self, dx: &mut [T], at: usize, _: [usize; 3], number: usize) {
        let number = K::of(number as u32);
        let (taps, dy) = (
            &self.taps[at..][..dx.len()],
            &self.d_output[at..][..dx.len()],
        );
        let (taps, taps_left) = taps.as_chunks::<LANES>();
        let (dy, dy_left) = dy.as_chunks::<LANES>();
        let (dx, dx_left) = dx.as_chunks_mut::<LANES>();
        let share = |tap: K, dy: T| if tap == number { dy } else { T::ZERO };
        for ((dx, taps), dy) in dx.iter_mut().zip(taps).zip(dy) {
            // All loads before the store: one vector.
            let (own, taps, dy) = (*dx, *taps, *dy);
            *dx = std::array::from_fn(|lane| own[lane] + share(taps[lane], dy[lane]));
        }
        for ((dx, &tap), &dy) in dx_left.iter_mut().zip(taps_left).zip(dy_left) {
            *dx += share(tap, dy);
        }
    }

    fn scatter(&self, geometry: &PoolGeometry, dx: &mut [T], at: usize, window: [usize; 3]) {
        let axes = geometry.axes;
        let taps: [Taps; 3] = std::array::from_fn(|axis| axes[axis].taps(window[axis]));
        let ([tall, wide], number) = (longest(geometry), self.taps[at].number());
        let own = [number / wide / tall, number / wide % tall, number % wide];
        if own.iter().zip(&taps).any(|(&own, taps)| own >= taps.count) {
            return;
        }
        let pixel = taps
            .iter()
            .zip(&axes)
            .zip(own)
            .fold(0, |pixel, ((taps, axis), own)| {
                pixel * axis.input() + taps.first + own * taps.step
            });
        dx[pixel] += self.d_output[at];
    }
}

#[cfg(test)]
mod tests {
    use super::super::{max_pool_backward_into, max_pool_with_indices_into};
    use super::*;
    use crate::geometry::PoolOptions;

    /// The first pixel of the window that is numbered, for each output.
    fn check<T: Element, K: Tap + std::fmt::Debug>(geometry: &PoolGeometry, holes: bool, zero: K) {
        let numbers = (0..geometry.input_len()).map(|i| match (i * 7919 + i / 11) % 31 {
            3 if holes => T::NAN,
            5 if holes => T::NEG_INFINITY,
            // Many ties.
            other => T::from_f64((other % 5) as f64),
        });
        let x: Vec<T> = numbers.collect();
        let len = geometry.output_len();
        let (mut y, mut taps) = (vec![T::NAN; len], vec![zero; len]);
        max_pool_taps_into(geometry, &x, &mut y, &mut taps).unwrap();
        let (mut expected, mut indices) = (vec![T::ZERO; len], vec![0; len]);
        max_pool_with_indices_into(geometry, &x, &mut expected, &mut indices).unwrap();
        for (got, want) in y.iter().zip(&expected) {
            assert!(
                got == want || got.is_nan() && want.is_nan(),
                "{geometry:?}: {got} {want}"
            );
        }
        // Integers: their sums are exact.
        let dy: Vec<T> = (0..len)
            .map(|i| T::from_f64((i % 17) as f64 - 8.0))
            .collect();
        let (mut dx, mut want) = (vec![T::NAN; x.len()], vec![T::ZERO; x.len()]);
        max_pool_taps_backward_into(geometry, &taps, &dy, &mut dx).unwrap();
        max_pool_backward_into(geometry, &indices, &dy, &mut want).unwrap();
        assert_eq!(dx, want, "{geometry:?}");
    }

    fn geometries() -> Vec<PoolGeometry> {
        let windows = [
            PoolOptions::new(2),
            PoolOptions::new(3).stride(2).padding(1),
            PoolOptions::new(3).stride(2).ceil_mode(true),
            PoolOptions::new(2).stride(3),
            PoolOptions::new(3).stride(1).padding(1).dilation(2),
            // Windows that miss the image.
            PoolOptions::new(2).stride(1).padding(5).dilation(6),
        ];
        let mut all = Vec::new();
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for channels in [1, 3, 4, 16, 23] {
                for windows in &windows {
                    for spatial in [&[7][..], &[9, 8], &[5, 3, 4]] {
                        let shape = layout.shape(2, channels, spatial);
                        let windows = windows.clone().layout(layout);
                        all.extend(PoolGeometry::new(&shape, &windows));
                    }
                }
                let shape = layout.shape(2, channels, &[5, 7]);
                all.push(PoolGeometry::global(&shape, layout).unwrap());
                all.push(PoolGeometry::adaptive(&shape, [3, 9], layout).unwrap());
            }
        }
        all
    }

    #[test]
    fn taps_say_what_indices_say() {
        for geometry in geometries() {
            for holes in [false, true] {
                check::<f32, u8>(&geometry, holes, 0xa5);
                check::<f64, u32>(&geometry, holes, 7);
            }
        }
    }

    #[test]
    fn large_windows_and_many_rows() {
        let large = PoolOptions::new(20).stride(3).padding(9);
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let shape = layout.shape(1, 18, &[40, 31]);
            let geometry = PoolGeometry::new(&shape, &large.clone().layout(layout)).unwrap();
            assert_eq!(window_taps(&geometry), 400);
            check::<f32, u32>(&geometry, false, 0);
            let (mut y, mut taps) = (
                vec![0.0; geometry.output_len()],
                vec![0u8; geometry.output_len()],
            );
            let x = vec![0.0f32; geometry.input_len()];
            assert!(max_pool_taps_into(&geometry, &x, &mut y, &mut taps).is_err());
            let shape = layout.shape(3, 33, &[64, 62]);
            let windows = PoolOptions::new(2).layout(layout);
            check::<f32, u8>(&PoolGeometry::new(&shape, &windows).unwrap(), true, 0);
        }
    }

    #[test]
    fn numbers_that_are_no_taps_count_for_nothing() {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let shape = layout.shape(1, 17, &[4, 4]);
            let windows = PoolOptions::new(2).layout(layout);
            let geometry = PoolGeometry::new(&shape, &windows).unwrap();
            let (taps, dy) = (vec![250u8; 17 * 4], vec![1.0f32; 17 * 4]);
            let mut dx = vec![f32::NAN; 17 * 16];
            max_pool_taps_backward_into(&geometry, &taps, &dy, &mut dx).unwrap();
            assert!(dx.iter().all(|&dx| dx == 0.0));
        }
    }
}
