//! The pixels of a block's tiles, transformed.
//!
//! ```text
//! channels last    tiles are read where they lie; a place outside the image is the border's
//! channels first   for each vector of channels: the window of the block is copied, a pixel's channels together
//! ```

use std::ops::Range;

use super::super::pack::{Place, Source};
use super::Winograd;
use super::part::{Part, Run};
use crate::element::collected;
use crate::error::Result;
use crate::geometry::Layout;
use crate::kernel::{MOST_LANES, OUTSIDE, Spectrum, TileRow};
use crate::plan::WinogradTiles;

/// Where lines and pixels stand, from the first that any window of their phase reads on: in the image, or in the copy
/// of a window.
pub(super) fn places(source: &Source, tiles: &WinogradTiles) -> Result<[Vec<usize>; 2]> {
    let [rows, columns] = [0, 1].map(|axis| -> Result<Vec<usize>> {
        let sweep = &source.axes[axis + 1];
        let (dilation, phases) = (tiles.dilation[axis], tiles.all_phases()[axis]);
        let of_phase = tiles.pixels()[axis];
        let at = |index: usize| (index / of_phase, index % of_phase);
        let length = phases * of_phase;
        if tiles.copied {
            let pixel = tiles.isa.lanes();
            let distance = [tiles.window()[1] * pixel, pixel][axis];
            let place = |(phase, at)| (phase + at * dilation) * distance;
            return collected(length, (0..length).map(|index| place(at(index))));
        }
        let distance = source.strides().axes[axis + 1];
        let place = |(phase, at): (usize, usize)| {
            // What no result is made of is not read: a mirror would point anywhere.
            let results = (sweep.result - phase).div_ceil(dilation);
            let used = at < tiles.tiling.axes[axis].pixels(results);
            let place = used.then(|| sweep.base + (phase + at * dilation) as isize);
            let inside = place.and_then(|place| source.mode.source(place, sweep.source));
            inside.map_or(OUTSIDE, |at| at * distance)
        };
        collected(length, (0..length).map(|index| place(at(index))))
    });
    Ok([rows?, columns?])
}

impl Winograd {
    /// V ← Bᵀ d B of every tile of `part` and every piece of the kernel, at most as many channels as V has room for.
    pub(super) fn read(
        &self,
        x: &[f32],
        part: &Part,
        channels: Range<usize>,
        v: &mut [f32],
        window: &mut [f32],
    ) {
        let (first, sources) = (channels.start, channels.len());
        match self.source.layout {
            Layout::ChannelsLast => {
                let image_len = self.source.image_len();
                let from =
                    |image: usize| &x[((part.image + image) * image_len + first).min(x.len())..];
                self.read_rows(from, part, part.begin, sources, v);
            }
            Layout::ChannelsFirst => {
                let place = Place {
                    image: part.image,
                    images: part.images,
                    begin: [0, part.begin[0], part.begin[1]],
                    lengths: [1, part.lengths[0], part.lengths[1]],
                };
                let width = self.tiles.isa.lanes();
                let [rows, columns] = self.tiles.window();
                for channel in (0..sources).step_by(width) {
                    let count = width.min(sources - channel);
                    let lanes: [usize; MOST_LANES] =
                        std::array::from_fn(|lane| first + channel + lane);
                    let shape = [1, width];
                    self.source
                        .pack_lanes(x, &place, &lanes[..count], &self.window, shape, window);
                    let from = |image: usize| &window[image * rows * columns * width..];
                    self.read_rows(from, part, [0, 0], width, &mut v[channel..]);
                }
            }
        }
    }

    /// The rows of tiles of `part`, whose images are `from`, from the pixel `begin` of the tables on.
    fn read_rows<'x>(
        &self,
        from: impl Fn(usize) -> &'x [f32],
        part: &Part,
        begin: [usize; 2],
        channels: usize,
        v: &mut [f32],
    ) {
        let tiling = self.tiles.tiling;
        let (axes, sides) = (tiling.axes, tiling.sides());
        let pixels = self.tiles.pixels();
        let spectrum = Spectrum {
            step: self.tiles.steps()[0],
            pitch: self.tiles.pitch(),
        };
        part.for_each_run(&self.tiles, |run: &Run| {
            let of_phase = [0, 1].map(|axis| {
                let first = axes[axis].pixel(begin[axis] / self.tiles.dilation[axis]);
                run.phases[axis] * pixels[axis] + first
            });
            let row = of_phase[0] + axes[0].pixel(run.row);
            let tiles = run.lengths[1].div_ceil(axes[1].results);
            let width = (tiles - 1) * axes[1].step() + sides[1];
            for piece in 0..tiling.pieces() {
                let tap = tiling.first_tap(piece);
                let used = [0, 1].map(|axis| {
                    let all = axes[axis].pixels(run.lengths[axis]);
                    all.saturating_sub(tap[axis])
                });
                let tiles = TileRow {
                    x: from(run.image),
                    rows: &self.places[0][row + tap[0]..][..sides[0]],
                    columns: &self.places[1][of_phase[1] + tap[1]..][..width],
                    used,
                    border: &self.border,
                    zeros: &self.zeros,
                    channels,
                };
                let v = &mut v[run.tile * spectrum.pitch + piece * self.tiles.of_piece()..];
                tiles.run(self.tiles.isa, tiling, v, spectrum);
            }
        });
    }
}
