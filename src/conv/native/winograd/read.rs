//! The pixels of a block's tiles, transformed.
//!
//! ```text
//! channels last    tiles are read where they lie; a place outside the image is the border's
//! channels first   for each vector of channels: the window of the block is copied, a pixel's channels together
//! ```

use std::ops::Range;

use super::super::pack::{Place, Source};
use super::{Part, Winograd};
use crate::element::collected;
use crate::error::Result;
use crate::geometry::Layout;
use crate::kernel::{MOST_LANES, OUTSIDE, Spectrum, TAPS, TileRow};
use crate::plan::WinogradTiles;

/// Where lines and pixels stand, from the first that any window reads on: in the image, or in the copy of a window.
pub(super) fn places(source: &Source, tiles: &WinogradTiles) -> Result<[Vec<usize>; 2]> {
    let [rows, columns] = [0, 1].map(|axis| -> Result<Vec<usize>> {
        let sweep = &source.axes[axis + 1];
        if tiles.copied {
            let length = tiles.window()[axis];
            let pixel = tiles.isa.lanes();
            let distance = [tiles.window()[1] * pixel, pixel][axis];
            return collected(length, (0..length).map(|at| at * distance));
        }
        let length = tiles.all[axis] * tiles.results + TAPS - 1;
        let distance = source.strides().axes[axis + 1];
        let place = |at: usize| {
            let inside = source.mode.source(sweep.base + at as isize, sweep.source);
            // Beyond what results are made of, a mirror may point anywhere.
            inside
                .filter(|&at| at < sweep.source)
                .map_or(OUTSIDE, |at| at * distance)
        };
        collected(length, (0..length).map(place))
    });
    Ok([rows?, columns?])
}

impl Winograd {
    /// V ← Bᵀ d B of every tile of `part`, at most as many channels as V has room for.
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
        let r = self.tiles.results;
        let n = r + TAPS - 1;
        let [down, across] = part.tiles;
        let spectrum = Spectrum {
            step: self.tiles.steps()[0],
            pitch: self.tiles.pitch(),
        };
        for image in 0..part.images {
            for row in 0..down {
                let tile = (image * down + row) * across;
                let tiles = TileRow {
                    x: from(image),
                    rows: &self.places[0][begin[0] + row * r..][..n],
                    columns: &self.places[1][begin[1]..][..(across - 1) * r + n],
                    used: [
                        part.lengths[0] - row * r + TAPS - 1,
                        part.lengths[1] + TAPS - 1,
                    ],
                    border: &self.border,
                    zeros: &self.zeros,
                    channels,
                };
                tiles.run(self.tiles.isa, r, &mut v[tile * spectrum.pitch..], spectrum);
            }
        }
    }
}
