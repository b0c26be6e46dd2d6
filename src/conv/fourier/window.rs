//! The windows of tiles: pixels in, results out.

use ndarray::ArrayViewMut5;
use rustfft::num_complex::Complex;

use super::transform::Real;
use crate::element::Element;
use crate::error::Result;
use crate::geometry::{ConvGeometry, Layout, PaddingMode, SweepAxis};
use crate::plan::Pass;

/// What a pass reads windows of: x, or dY for the gradient of the input, around which there are zeros.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) layout: Layout,
    mode: PaddingMode,
    pub(super) axes: [SweepAxis; 3],
    /// Channels of all groups.
    channels: usize,
}

/// Some results of one image: where they begin in the image and in the part that a task writes, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    /// The image in the batch, and in the part.
    pub(super) image: [usize; 2],
    pub(super) begin: [usize; 3],
    /// Where it begins in the part.
    pub(super) at: [usize; 3],
    pub(super) lengths: [usize; 3],
}

impl Source {
    pub(super) fn new(geometry: &ConvGeometry, pass: Pass) -> Result<Self> {
        let (mode, channels) = match pass {
            Pass::BackwardInput => (PaddingMode::default(), geometry.output_channels()),
            _ => (geometry.patch.mode, geometry.input_channels()),
        };
        Ok(Self {
            layout: geometry.layout(),
            mode,
            axes: super::axes(geometry, pass)?,
            channels,
        })
    }

    /// Distances of images, channels and the pixels of each axis.
    fn strides(&self) -> (usize, usize, [usize; 3]) {
        let [d, h, w] = [0, 1, 2].map(|axis| self.axes[axis].source);
        let (channel, pixel) = match self.layout {
            Layout::ChannelsFirst => (d * h * w, 1),
            Layout::ChannelsLast => (1, self.channels),
        };
        (
            self.channels * d * h * w,
            channel,
            [h * w * pixel, w * pixel, pixel],
        )
    }

    /// Pairs of rows of a window of `lengths` that hold pixels of `tile`.
    pub(super) fn used(&self, tile: &Tile, lengths: [usize; 3]) -> impl Fn(usize) -> bool + use<> {
        pairs(tile.lengths, self.reach(), lengths)
    }

    fn reach(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.axes[axis].reach)
    }

    /// The rows of `lines` ← the window of `tile` in one channel of `x`, zeros beyond it; two rows make one line. Lines
    /// that hold none of it are left.
    pub(super) fn read<R: Real>(
        &self,
        x: &[R],
        tile: &Tile,
        channel: usize,
        lengths: [usize; 3],
        lines: &mut [Complex<R>],
    ) {
        let (image, of_channel, steps) = self.strides();
        let base = tile.image[0] * image + channel * of_channel;
        let outside = <R as Element>::from_f64(self.mode.constant());
        let used = self.used(tile, lengths);
        // What no result is made of is not read: a mirror would point anywhere.
        let wanted = [0, 1, 2].map(|axis| tile.lengths[axis] + self.axes[axis].reach);
        let place = |axis: usize, at: usize| self.axes[axis].base + at as isize;
        for (pair, line) in lines.chunks_exact_mut(lengths[2]).enumerate() {
            if !used(pair) {
                continue;
            }
            line.fill(Complex::default());
            for (odd, row) in [(false, 2 * pair), (true, 2 * pair + 1)] {
                let (z, y) = (row / lengths[1], row % lengths[1]);
                if z >= wanted[0] || y >= wanted[1] {
                    continue;
                }
                let of = |axis: usize, at: usize| {
                    let source = self.axes[axis].source;
                    self.mode.source(place(axis, tile.begin[axis] + at), source)
                };
                let row = match (of(0, z), of(1, y)) {
                    (Some(z), Some(y)) => Some(base + z * steps[0] + y * steps[1]),
                    _ => None,
                };
                let first = place(2, tile.begin[2]);
                let set = |pixel: &mut Complex<R>, value: R| {
                    *if odd { &mut pixel.im } else { &mut pixel.re } = value;
                };
                let Some(row) = row else {
                    line[..wanted[2]]
                        .iter_mut()
                        .for_each(|pixel| set(pixel, outside));
                    continue;
                };
                // The pixels of the image itself, and what stands before and after them.
                let source = self.axes[2].source as isize;
                let begin = (-first).clamp(0, wanted[2] as isize) as usize;
                let end = (source - first).clamp(begin as isize, wanted[2] as isize) as usize;
                for at in (0..begin).chain(end..wanted[2]) {
                    let from = of(2, at);
                    set(
                        &mut line[at],
                        from.map_or(outside, |from| x[row + from * steps[2]]),
                    );
                }
                if begin == end {
                    continue;
                }
                let from = row + (first + begin as isize) as usize * steps[2];
                let values = x[from..].iter().step_by(steps[2]);
                for (pixel, &value) in line[begin..end].iter_mut().zip(values) {
                    set(pixel, value);
                }
            }
        }
    }
}

/// Whether a pair of rows of a window of `lengths` holds some that are `results` and what lies `reach` beyond.
pub(super) fn pairs(
    results: [usize; 3],
    reach: [usize; 3],
    lengths: [usize; 3],
) -> impl Fn(usize) -> bool {
    let [planes, rows, _] = [0, 1, 2].map(|axis| results[axis] + reach[axis]);
    move |pair| {
        [2 * pair, 2 * pair + 1]
            .iter()
            .any(|row| row / lengths[1] < planes && row % lengths[1] < rows)
    }
}

/// `out`, `[image, channel, z, y, x]`, ← what of `lines` are results of `tile`.
pub(super) fn write<R: Real>(
    lines: &[Complex<R>],
    lengths: [usize; 3],
    tile: &Tile,
    channel: usize,
    out: &mut ArrayViewMut5<'_, R>,
) {
    let [planes, rows, columns] = tile.lengths;
    for z in 0..planes {
        for y in 0..rows {
            let row = z * lengths[1] + y;
            let line = &lines[row / 2 * lengths[2]..][..columns];
            let at = tile.at;
            let mut to = out.slice_mut(ndarray::s![
                tile.image[1],
                channel,
                at[0] + z,
                at[1] + y,
                at[2]..at[2] + columns
            ]);
            let pairs = to.iter_mut().zip(line);
            match row % 2 {
                0 => pairs.for_each(|(to, pixel)| *to = pixel.re),
                _ => pairs.for_each(|(to, pixel)| *to = pixel.im),
            }
        }
    }
}
