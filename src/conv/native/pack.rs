//! The copy of a window, with the padding around it.
//!
//! ```text
//! dense     channels first  [image][channel][plane][row][column]
//!           channels last   [image][plane][row][column][channel]
//! grouped                   [image][plane][row][column][channel of the group][lane]
//! ```
//!
//! Grouped, a lane is a channel of the result, and finds at its place the channel of the source that it reads: a
//! group's channels stand there once for each result of the group.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::geometry::{ConvGeometry, Layout, PaddingMode, SweepAxis};
use crate::kernel::{AS_THEY_ARE, Isa, Lie, MOST_LANES, Slide, SlideAxis, copy_pixels, to_lanes};
use crate::plan::{Blocks, Pass, block_axes, is_thinned};

/// Distances in what a product reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strides {
    pub(super) image: usize,
    pub(super) channel: usize,
    pub(super) axes: [usize; 3],
}

/// A source tensor, and how windows of it are copied.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) layout: Layout,
    pub(super) mode: PaddingMode,
    pub(super) axes: [SweepAxis; 3],
    /// Channels of the whole tensor.
    pub(super) channels: usize,
}

/// A block of the result in one image or several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) image: usize,
    pub(super) images: usize,
    pub(super) begin: [usize; 3],
    pub(super) lengths: [usize; 3],
}

impl Place {
    /// The block of `count` positions from position `position` on, of a result with the lengths `all`.
    pub(super) fn new(
        image: usize,
        images: usize,
        position: usize,
        count: usize,
        all: [usize; 3],
    ) -> Self {
        let [_, rows, columns] = all;
        let row = position / columns;
        let lengths = if count < columns {
            [1, 1, count]
        } else if count < rows * columns {
            [1, count / columns, columns]
        } else {
            [count / (rows * columns), rows, columns]
        };
        Self {
            image,
            images,
            begin: [row / rows, row % rows, position % columns],
            lengths,
        }
    }
}

/// One axis of a window: where it begins in the source, from one element to the next, and how many.
#[derive(Clone, Copy)]
struct Side {
    start: isize,
    every: usize,
    length: usize,
    source: usize,
}

impl Side {
    /// The source element at `index` of the window, if there is one.
    fn source(&self, mode: PaddingMode, index: usize) -> Option<usize> {
        mode.source(self.start + (index * self.every) as isize, self.source)
    }

    /// The elements of the window that lie inside the source.
    fn inside(&self) -> Range<usize> {
        let before = (-self.start).max(0) as usize;
        let end = (self.source as isize - self.start).max(0) as usize;
        let begin = before.div_ceil(self.every).min(self.length);
        begin..end.div_ceil(self.every).clamp(begin, self.length)
    }
}

impl Source {
    /// What `pass` reads windows of: x, or dY for the gradient of the input, around which there are zeros.
    ///
    /// # Errors
    /// A geometry that has no sweep.
    pub(super) fn new(geometry: &ConvGeometry, pass: Pass) -> Result<Self> {
        let axes = block_axes(geometry, pass).map_err(|wanted| Error::Unsupported {
            what: "a native recipe",
            wanted,
        })?;
        let (mode, channels) = match pass {
            Pass::BackwardInput => (PaddingMode::default(), geometry.output_channels()),
            _ => (geometry.patch.mode, geometry.input_channels()),
        };
        Ok(Self {
            layout: geometry.layout(),
            mode,
            axes,
            channels,
        })
    }

    fn pixels(&self) -> usize {
        self.axes.iter().map(|axis| axis.source).product()
    }

    /// Elements of one image.
    pub(super) fn image_len(&self) -> usize {
        self.channels * self.pixels()
    }

    /// The rows and columns of the phase that begins with `first`, as the kernels that slide along lines know them;
    /// none for what they do not know: other than two dimensions, dilation, padding that is read from the image.
    pub(super) fn slide_axes(
        &self,
        isa: Isa,
        group: usize,
        first: [usize; 3],
    ) -> Option<[SlideAxis; 2]> {
        let planes = &self.axes[0];
        let flat = planes.result == 1 && planes.source == 1 && planes.phases.len() == 1;
        if !flat || planes.reach != 0 || planes.base != 0 {
            return None;
        }
        let axis = |index: usize| {
            let sweep = &self.axes[index];
            let taps = &sweep.phases[first[index]];
            let begin = taps.first()?.at;
            let close = taps
                .iter()
                .enumerate()
                .all(|(tap, at)| at.at == begin + tap);
            (close && sweep.source > 0).then_some(SlideAxis {
                source: sweep.source,
                taps: taps.len(),
                stride: sweep.step,
                pad: -sweep.base - begin as isize,
            })
        };
        let axes = [axis(1)?, axis(2)?];
        let known = Slide::fits(isa, group, axes[1].taps, axes[1].stride);
        (known && self.mode == PaddingMode::Zeros).then_some(axes)
    }

    /// Distances in the source itself.
    pub(super) fn strides(&self) -> Strides {
        let [_, rows, columns] = [0, 1, 2].map(|axis| self.axes[axis].source);
        let (pixel, channel) = match self.layout {
            Layout::ChannelsFirst => (1, self.pixels()),
            Layout::ChannelsLast => (self.channels, 1),
        };
        Strides {
            image: self.image_len(),
            channel,
            axes: [rows * columns * pixel, columns * pixel, pixel],
        }
    }

    /// Distances in the copy of a window.
    pub(super) fn packed_strides(&self, blocks: &Blocks) -> Strides {
        let [planes, rows, columns] = blocks.window;
        let volume = planes * rows * columns;
        let last = self.layout == Layout::ChannelsLast || blocks.grouped;
        let (pixel, channel) = match (last, blocks.grouped && !blocks.plain) {
            (false, _) => (1, volume),
            (true, false) => (blocks.pitch(), 1),
            (true, true) => (blocks.pitch(), blocks.isa.lanes()),
        };
        Strides {
            image: volume * if last { pixel } else { blocks.channels },
            channel,
            axes: [rows * columns * pixel, columns * pixel, pixel],
        }
    }

    /// Where the window of `place` begins in the source, for products that read it there.
    pub(super) fn direct(&self, place: &Place, channel: usize) -> usize {
        let strides = self.strides();
        let pixel: usize = (0..3)
            .map(|axis| {
                self.axes[axis].window_start(place.begin[axis]) as usize * strides.axes[axis]
            })
            .sum();
        place.image * strides.image + channel * strides.channel + pixel
    }

    fn sides(&self, place: &Place, blocks: &Blocks) -> [Side; 3] {
        [0, 1, 2].map(|axis| {
            let sweep = &self.axes[axis];
            let thinned = is_thinned(sweep) && blocks.packed;
            let length = place.lengths[axis];
            Side {
                start: sweep.window_start(place.begin[axis]),
                // A single element has no next one, and a stride beyond the image no distance to it.
                every: if thinned && length > 1 { sweep.step } else { 1 },
                length: if thinned {
                    length
                } else {
                    sweep.window_len(length)
                },
                source: sweep.source,
            }
        })
    }

    /// Calls `line(row of the window, row of the source)` with the element that each begins with, pixels counted.
    fn for_each_line(
        &self,
        sides: &[Side; 3],
        window: [usize; 3],
        mut line: impl FnMut(usize, Option<usize>),
    ) {
        for plane in 0..sides[0].length {
            let from_plane = sides[0].source(self.mode, plane);
            for row in 0..sides[1].length {
                let from = from_plane.and_then(|plane| {
                    let row = sides[1].source(self.mode, row)?;
                    Some((plane * sides[1].source + row) * sides[2].source)
                });
                line((plane * window[1] + row) * window[2], from);
            }
        }
    }

    /// Copies the window of `place`, `channels` of the source, into `to`.
    pub(super) fn pack(
        &self,
        x: &[f32],
        place: &Place,
        channels: Range<usize>,
        blocks: &Blocks,
        to: &mut [f32],
    ) {
        let sides = self.sides(place, blocks);
        let strides = self.packed_strides(blocks);
        let pad = self.mode.constant() as f32;
        let side = sides[2];
        let inside = side.inside();
        for image in 0..place.images {
            let x = &x[(place.image + image) * self.image_len()..][..self.image_len()];
            let to = &mut to[image * strides.image..];
            match self.layout {
                Layout::ChannelsFirst => {
                    for (index, channel) in channels.clone().enumerate() {
                        let plane = &x[channel * self.pixels()..][..self.pixels()];
                        let to = &mut to[index * strides.channel..];
                        self.for_each_line(&sides, blocks.window, |at, from| {
                            let to = &mut to[at..at + side.length];
                            let Some(from) = from else {
                                return to.fill(pad);
                            };
                            let line = &plane[from..from + side.source];
                            if side.every == 1 && !inside.is_empty() {
                                let start = (inside.start as isize + side.start) as usize;
                                to[inside.clone()]
                                    .copy_from_slice(&line[start..start + inside.len()]);
                            } else {
                                for i in inside.clone() {
                                    to[i] = line[(side.start + (i * side.every) as isize) as usize];
                                }
                            }
                            for i in (0..inside.start).chain(inside.end..side.length) {
                                to[i] = side.source(self.mode, i).map_or(pad, |at| line[at]);
                            }
                        });
                    }
                }
                Layout::ChannelsLast => {
                    let (pitch, width) = (blocks.pitch(), channels.len());
                    self.for_each_line(&sides, blocks.window, |at, from| {
                        let to = &mut to[at * pitch..(at + side.length) * pitch];
                        let Some(from) = from else {
                            return to.fill(pad);
                        };
                        let pixel = |pixel: usize| (from + pixel) * self.channels + channels.start;
                        if !inside.is_empty() {
                            let first = side.start + (inside.start * side.every) as isize;
                            copy_pixels(
                                blocks.isa,
                                &x[pixel(first as usize)..],
                                self.channels * if inside.len() > 1 { side.every } else { 1 },
                                &mut to[inside.start * pitch..],
                                pitch,
                                [inside.len(), width],
                            );
                        }
                        for i in (0..inside.start).chain(inside.end..side.length) {
                            let to = &mut to[i * pitch..i * pitch + width];
                            match side.source(self.mode, i) {
                                Some(at) => to.copy_from_slice(&x[pixel(at)..][..width]),
                                None => to.fill(pad),
                            }
                        }
                    });
                }
            }
        }
    }

    /// Copies the window of `place` for the lanes whose first source channels are `lanes`: `channels` vectors a
    /// position, positions `pitch` apart.
    pub(super) fn pack_lanes(
        &self,
        x: &[f32],
        place: &Place,
        lanes: &[usize],
        blocks: &Blocks,
        [channels, pitch]: [usize; 2],
        to: &mut [f32],
    ) {
        let sides = self.sides(place, blocks);
        let image_len = blocks.window.iter().product::<usize>() * pitch;
        let pad = self.mode.constant() as f32;
        let (width, side) = (blocks.isa.lanes(), sides[2]);
        let inside = side.inside();
        let mut picks = [AS_THEY_ARE; MOST_LANES];
        // Channels of the source from the first lane's to the last one's, where they fit a vector.
        let span = lanes[lanes.len() - 1] - lanes[0] + channels;
        let fast = side.every == 1 && !inside.is_empty() && span <= width;
        if fast {
            for (channel, picks) in picks.iter_mut().enumerate().take(channels) {
                for (pick, lane) in picks.iter_mut().zip(lanes) {
                    *pick = (lane - lanes[0] + channel) as u32;
                }
            }
        }
        let picks = &picks[..channels.min(MOST_LANES)];
        let pixels = self.pixels();
        for image in 0..place.images {
            let x = &x[(place.image + image) * self.image_len()..][..self.image_len()];
            let to = &mut to[image * image_len..];
            self.for_each_line(&sides, blocks.window, |at, from| {
                // The last position ends with its lanes, not with its pitch.
                let end = ((at + side.length - 1) * pitch + channels * width).min(to.len());
                let to = &mut to[at * pitch..end];
                let Some(from) = from else {
                    return to.fill(pad);
                };
                let at = |channel: usize, pixel: usize| match self.layout {
                    Layout::ChannelsFirst => channel * pixels + from + pixel,
                    Layout::ChannelsLast => (from + pixel) * self.channels + channel,
                };
                if fast {
                    let first = (inside.start as isize + side.start) as usize;
                    let mut lines = [0; MOST_LANES];
                    let lie = match self.layout {
                        Layout::ChannelsFirst => {
                            for (index, line) in lines.iter_mut().enumerate().take(span) {
                                *line = at(lanes[0] + index, first);
                            }
                            Lie::Lines(&lines[..span])
                        }
                        Layout::ChannelsLast => Lie::Beside {
                            begin: at(lanes[0], first),
                            stride: self.channels,
                            lanes: span,
                        },
                    };
                    let to = &mut to[inside.start * pitch..];
                    to_lanes(blocks.isa, x, lie, inside.len(), picks, to, pitch);
                }
                let done = if fast { inside.clone() } else { 0..0 };
                for i in (0..side.length).filter(|i| !done.contains(i)) {
                    let to = &mut to[i * pitch..][..channels * width];
                    let Some(pixel) = side.source(self.mode, i) else {
                        to.fill(pad);
                        continue;
                    };
                    for (channel, to) in to.chunks_exact_mut(width).enumerate() {
                        let (to, rest) = to.split_at_mut(lanes.len());
                        for (to, &lane) in to.iter_mut().zip(lanes) {
                            *to = x[at(lane + channel, pixel)];
                        }
                        rest.fill(0.0);
                    }
                }
            });
        }
    }
}
