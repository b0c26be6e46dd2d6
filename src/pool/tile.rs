//! The one parallel loop of every pooling, over images and channels.
//!
//! A batch is `images × pixels × width` in memory: channels first, `images` = N · C and `width` = 1;
//! channels last, `images` = N and `width` = C. Each task owns some channels of some images, so no
//! two tasks write the same element, in either direction, and the order of the additions into one
//! element does not depend on the number of threads.

use ndarray::{ArrayViewMut2, ArrayViewMut3, Axis};

use super::window::Run;
use crate::error::{Error, Result};
use crate::geometry::{Layout, PoolGeometry};
use crate::parallel::{for_each_tile, threads_for};

/// Most channels that one task takes of an image in channels-last order: a few cache lines, so that
/// one image feeds several threads, and a row of accumulators that fits the first-level cache.
pub(super) const MAX_WIDTH: usize = 64;

/// Elements visited by one task, at least, where the images are small: some 10 µs of work.
const TASK_WORK: u128 = 1 << 14;

/// How a batch of images of the same size lies in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) images: usize,
    pub(super) width: usize,
}

impl Batch {
    pub(super) fn new(batch: usize, channels: usize, layout: Layout) -> Self {
        match layout {
            Layout::ChannelsFirst => Self {
                images: batch * channels,
                width: 1,
            },
            Layout::ChannelsLast => Self {
                images: batch,
                width: channels,
            },
        }
    }

    pub(super) fn of(geometry: &PoolGeometry) -> Self {
        Self::new(geometry.batch(), geometry.channels(), geometry.layout())
    }

    /// The channels `place` of its image, to read.
    pub(super) fn source<'s, T>(
        &self,
        data: &'s [T],
        pixels: usize,
        place: Place,
    ) -> Source<'s, T> {
        let length = pixels * self.width;
        Source {
            data: &data[place.image * length..][..length],
            pitch: self.width,
            first: place.first,
            width: place.width,
        }
    }

    /// Calls `body` once for all channels of all images of `data`, a few channels at a time.
    ///
    /// `work` is the number of elements that all calls together visit.
    pub(super) fn for_each<T, F>(
        &self,
        data: &mut [T],
        pixels: usize,
        work: u128,
        body: F,
    ) -> Result<()>
    where
        T: Send,
        F: Fn(Place, Target<'_, T>) + Sync,
    {
        let (got, width) = (data.len(), self.width);
        let view = ArrayViewMut3::from_shape((self.images, pixels, width), data).map_err(|_| {
            Error::BufferLength {
                what: "output",
                expected: self.images * pixels * width,
                got,
            }
        })?;
        let each = (work / self.images.max(1) as u128).max(1);
        let images = TASK_WORK.div_ceil(each).min(self.images as u128) as usize;
        for_each_tile(
            view,
            [images, pixels, MAX_WIDTH],
            threads_for(work) > 1,
            &|[image, _, first], mut tile| {
                for (offset, image_tile) in tile.outer_iter_mut().enumerate() {
                    let place = Place {
                        image: image + offset,
                        first,
                        width: image_tile.len_of(Axis(1)),
                    };
                    body(place, Target::new(image_tile));
                }
            },
        );
        Ok(())
    }
}

/// Channels `first .. first + width` of an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) image: usize,
    pub(super) first: usize,
    pub(super) width: usize,
}

/// Some channels of an image, to read.
#[derive(Clone, Copy)]
pub(super) struct Source<'s, T> {
    data: &'s [T],
    pitch: usize,
    first: usize,
    width: usize,
}

impl<'s, T: Copy> Source<'s, T> {
    /// The channels of the pixel at `position`.
    #[inline]
    pub(super) fn pixel(&self, position: usize) -> &'s [T] {
        &self.data[position * self.pitch + self.first..][..self.width]
    }

    /// One channel of the pixel at `position`.
    #[inline]
    pub(super) fn at(&self, position: usize, channel: usize) -> T {
        self.data[position * self.pitch + self.first + channel]
    }
}

/// Some channels of an image, to write; nobody else writes them.
pub(super) enum Target<'t, T> {
    /// All of the image's `width` channels: pixel after pixel.
    Whole { data: &'t mut [T], width: usize },
    /// Some of them: the rows (pixels) of a matrix whose lines are not neighbours.
    Part(ArrayViewMut2<'t, T>),
}

impl<'t, T> Target<'t, T> {
    fn new(tile: ArrayViewMut2<'t, T>) -> Self {
        let width = tile.len_of(Axis(1));
        if tile.is_standard_layout() {
            let data = tile.into_slice().unwrap_or_default();
            return Self::Whole { data, width };
        }
        Self::Part(tile)
    }

    /// The channels of the pixel at `position`.
    #[inline]
    pub(super) fn pixel(&mut self, position: usize) -> &mut [T] {
        match self {
            Self::Whole { data, width } => &mut data[position * *width..][..*width],
            Self::Part(tile) => {
                let row = tile.index_axis_mut(Axis(0), position);
                row.into_slice()
                    .expect("the channels of a pixel are neighbours")
            }
        }
    }

    /// Sets every element.
    pub(super) fn fill(&mut self, value: T)
    where
        T: Copy,
    {
        match self {
            Self::Whole { data, .. } => data.fill(value),
            Self::Part(tile) => tile.fill(value),
        }
    }

    /// `update(output, input)` for all pairs of `run`: outputs are written, inputs read.
    #[inline]
    pub(super) fn gather<S: Copy>(
        &mut self,
        inputs: &Source<S>,
        run: Run,
        update: impl Fn(&mut T, S),
    ) {
        let (output, input) = ((run.output, run.output_step), (run.input, run.input_step));
        self.combine(output, inputs, input, run.count, update);
    }

    /// `update(input, output)` for all pairs of `run`: inputs are written, outputs read.
    #[inline]
    pub(super) fn scatter<S: Copy>(
        &mut self,
        outputs: &Source<S>,
        run: Run,
        update: impl Fn(&mut T, S),
    ) {
        let (output, input) = ((run.output, run.output_step), (run.input, run.input_step));
        self.combine(input, outputs, output, run.count, update);
    }

    /// `update(output, output position, input position, channel)` for all pairs of `run`.
    #[inline]
    pub(super) fn gather_at(&mut self, run: Run, update: impl Fn(&mut T, usize, usize, usize)) {
        for j in 0..run.count {
            let (output, input) = (
                run.output + j * run.output_step,
                run.input + j * run.input_step,
            );
            for (channel, slot) in self.pixel(output).iter_mut().enumerate() {
                update(slot, output, input, channel);
            }
        }
    }

    /// `update(input, output position, input position, channel)` for all pairs of `run`.
    #[inline]
    pub(super) fn scatter_at(&mut self, run: Run, update: impl Fn(&mut T, usize, usize, usize)) {
        for j in 0..run.count {
            let (output, input) = (
                run.output + j * run.output_step,
                run.input + j * run.input_step,
            );
            for (channel, slot) in self.pixel(input).iter_mut().enumerate() {
                update(slot, output, input, channel);
            }
        }
    }

    /// `update(self[to + j · to_step], source[from + j · from_step])` for j < count, all channels.
    #[inline]
    fn combine<S: Copy>(
        &mut self,
        (to, to_step): (usize, usize),
        source: &Source<S>,
        (from, from_step): (usize, usize),
        count: usize,
        update: impl Fn(&mut T, S),
    ) {
        if let (Self::Whole { data, width: 1 }, 1) = (&mut *self, source.pitch) {
            return combine_scalars(
                (&mut data[to..], to_step),
                (&source.data[from..], from_step),
                count,
                update,
            );
        }
        for j in 0..count {
            let values = source.pixel(from + j * from_step);
            for (slot, &value) in self.pixel(to + j * to_step).iter_mut().zip(values) {
                update(slot, value);
            }
        }
    }
}

/// The case of one channel. Loops apart, so that the compiler can make vectors of the common ones.
#[inline]
fn combine_scalars<T, S: Copy>(
    (to, to_step): (&mut [T], usize),
    (from, from_step): (&[S], usize),
    count: usize,
    update: impl Fn(&mut T, S),
) {
    match (to_step, from_step) {
        (1, 1) => to[..count]
            .iter_mut()
            .zip(&from[..count])
            .for_each(|(slot, &value)| update(slot, value)),
        (0, step) => {
            let slot = &mut to[0];
            from.iter()
                .step_by(step.max(1))
                .take(count)
                .for_each(|&value| update(slot, value));
        }
        (step, 0) => {
            let value = from[0];
            to.iter_mut()
                .step_by(step)
                .take(count)
                .for_each(|slot| update(slot, value));
        }
        (to_step, from_step) => to
            .iter_mut()
            .step_by(to_step)
            .zip(from.iter().step_by(from_step))
            .take(count)
            .for_each(|(slot, &value)| update(slot, value)),
    }
}
