//! fold by tile: x[source] += patches[row, column], the adjoint of `gather.rs`, run for run.

use std::ops::Range;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, ArrayViewMut3, Axis as Dimension};

use super::gather::{CHUNK, source_pixel};
use super::window::{Block, Line, Tap, for_each_line};
use crate::element::Element;
use crate::geometry::{Axis, Layout, PaddingMode, PatchGeometry};

/// What [`planes_mut`](super::planes_mut) gives in either layout, however it is cut.
const CONTIGUOUS: &str = "rows of pixels or of channels are contiguous";

/// Adds `tile` (`[rows, columns]` of `block`, any strides) into `x`.
///
/// `x` is `[images, channels, pixels]` as [`planes_mut`](super::planes_mut) views them, cut to the images from
/// `first_image` on and to the channels of `block`.
pub(crate) fn fold_tile<T: Element>(
    geometry: &PatchGeometry,
    block: &Block,
    tile: ArrayView2<'_, T>,
    first_image: usize,
    x: &mut ArrayViewMut3<'_, T>,
) {
    match geometry.layout {
        Layout::ChannelsFirst => {
            let taps = geometry.taps();
            for (row, index) in tile.rows().into_iter().zip(block.rows.clone()) {
                let tap = Tap::new(geometry, index % taps);
                let mut planes = x.index_axis_mut(Dimension(1), index / taps);
                in_runs(row, block.columns.start, |columns, run| {
                    scatter_row(geometry, tap, columns, run, first_image, &mut planes);
                });
            }
        }
        Layout::ChannelsLast => {
            let first_pixel = first_image * geometry.pixels();
            let (count, pixels) = (block.channels.len(), geometry.pixels());
            // [images, pixels, channels]: the channels of a pixel are contiguous.
            let mut by_pixel = x.view_mut().permuted_axes([0, 2, 1]);
            let mut columns = tile.columns().into_iter();
            for_each_line(geometry, block.columns.clone(), |line| {
                for x_out in line.inner.clone() {
                    let Some(column) = columns.next() else { return };
                    let position = [line.outer[0], line.outer[1], x_out];
                    in_runs(column, block.rows.start, |rows, run| {
                        scatter_column(
                            geometry,
                            line.image,
                            position,
                            rows,
                            count,
                            run,
                            |pixel, skip, values| {
                                let pixel = pixel - first_pixel;
                                let mut image =
                                    by_pixel.index_axis_mut(Dimension(0), pixel / pixels);
                                let mut channels = image.row_mut(pixel % pixels);
                                let channels = channels.as_slice_mut().expect(CONTIGUOUS);
                                add(&mut channels[skip..skip + values.len()], values);
                            },
                        );
                    });
                }
            });
        }
    }
}

/// Shows `read` the elements of `source`, whole where it is contiguous, else by chunks.
#[inline]
fn in_runs<T: Element>(
    source: ArrayView1<'_, T>,
    first: usize,
    mut read: impl FnMut(Range<usize>, &[T]),
) {
    let length = source.len();
    if let Some(run) = source.as_slice() {
        return read(first..first + length, run);
    }
    let mut buffer = [T::ZERO; CHUNK];
    for begin in (0..length).step_by(CHUNK) {
        let count = CHUNK.min(length - begin);
        for (slot, &value) in buffer
            .iter_mut()
            .zip(source.slice(ndarray::s![begin..begin + count]))
        {
            *slot = value;
        }
        read(first + begin..first + begin + count, &buffer[..count]);
    }
}

#[inline]
fn add<T: Element>(target: &mut [T], values: &[T]) {
    for (slot, &value) in target.iter_mut().zip(values) {
        *slot += value;
    }
}

/// One row of the channels-first patch matrix, into `planes` (`[images, pixels]` of its channel).
#[inline]
fn scatter_row<T: Element>(
    geometry: &PatchGeometry,
    tap: Tap,
    columns: Range<usize>,
    run: &[T],
    first_image: usize,
    planes: &mut ArrayViewMut2<'_, T>,
) {
    let [d, h, w] = &geometry.axes;
    let mode = &geometry.mode;
    let valid = w.valid(tap.0[2]);
    for_each_line(geometry, columns, |line: Line| {
        let values = &run[line.offset..line.offset + line.inner.len()];
        let z = mode.source(d.position(tap.0[0], line.outer[0]), d.input);
        let y = mode.source(h.position(tap.0[1], line.outer[1]), h.input);
        let (Some(z), Some(y)) = (z, y) else { return };
        let mut plane = planes.row_mut(line.image - first_image);
        let plane = plane.as_slice_mut().expect(CONTIGUOUS);
        let start = (z * h.input + y) * w.input;
        let target = &mut plane[start..start + w.input];
        scatter_line(w, mode, values, tap.0[2], &valid, line.inner, target);
    });
}

/// One line: what stood in the padding goes where the padding was read, the rest in one stretch.
#[inline]
fn scatter_line<T: Element>(
    axis: &Axis,
    mode: &PaddingMode,
    values: &[T],
    tap: usize,
    valid: &Range<usize>,
    outputs: Range<usize>,
    target: &mut [T],
) {
    let begin = valid.start.clamp(outputs.start, outputs.end);
    let end = valid.end.clamp(begin, outputs.end);
    if mode.reads_image() {
        for o in (outputs.start..begin).chain(end..outputs.end) {
            if let Some(index) = mode.source(axis.position(tap, o), axis.input) {
                target[index] += values[o - outputs.start];
            }
        }
    }
    let middle = &values[begin - outputs.start..end - outputs.start];
    if middle.is_empty() {
        return;
    }
    let first = begin * axis.stride + tap * axis.dilation - axis.pad_before;
    if axis.stride == 1 {
        add(&mut target[first..first + middle.len()], middle);
    } else {
        for (slot, &value) in target[first..].iter_mut().step_by(axis.stride).zip(middle) {
            *slot += value;
        }
    }
}

/// One column of the channels-last patch matrix: `add_to(pixel, first channel, values)` for each tap inside the image.
#[inline]
fn scatter_column<T: Element>(
    geometry: &PatchGeometry,
    image: usize,
    position: [usize; 3],
    rows: Range<usize>,
    count: usize,
    run: &[T],
    mut add_to: impl FnMut(usize, usize, &[T]),
) {
    let mut tap = Tap::new(geometry, rows.start / count);
    let mut skip = rows.start % count;
    let mut run = run;
    while !run.is_empty() {
        let (values, rest) = run.split_at((count - skip).min(run.len()));
        run = rest;
        if let Some(pixel) = source_pixel(geometry, image, tap, position) {
            add_to(pixel, skip, values);
        }
        skip = 0;
        tap.advance(geometry);
    }
}

#[cfg(test)]
mod tests {
    use crate::unfold::{PatchOrder, fold, unfold};
    use crate::{ConvOptions, Layout, Padding, PaddingMode};
    use ndarray::{Array, Array3, IxDyn};

    const MODES: [PaddingMode; 5] = [
        PaddingMode::Zeros,
        PaddingMode::Constant(2.5),
        PaddingMode::Reflect,
        PaddingMode::Replicate,
        PaddingMode::Circular,
    ];

    fn integers(shape: &[usize], seed: u64) -> Array<f64, IxDyn> {
        let mut random = fastrand::Rng::with_seed(seed);
        Array::from_shape_simple_fn(shape, || f64::from(random.i32(-9..10)))
    }

    /// A geometry of 1 to 3 axes that may be impossible.
    fn request(random: &mut fastrand::Rng) -> (Vec<usize>, Vec<usize>, ConvOptions) {
        let rank = random.usize(1..=3);
        let draw = |random: &mut fastrand::Rng, low: usize, high: usize| {
            (0..rank)
                .map(|_| random.usize(low..=high))
                .collect::<Vec<_>>()
        };
        let layout = if random.bool() {
            Layout::ChannelsFirst
        } else {
            Layout::ChannelsLast
        };
        let spatial = draw(random, 1, 7);
        let pads: Vec<(usize, usize)> = (0..rank)
            .map(|_| (random.usize(0..4), random.usize(0..4)))
            .collect();
        let padding = match random.u8(0..4) {
            0 => Padding::SameUpper,
            1 => Padding::SameLower,
            _ => Padding::from(pads.as_slice()),
        };
        let options = ConvOptions::new()
            .stride(draw(random, 1, 3).as_slice())
            .dilation(draw(random, 1, 2).as_slice())
            .padding(padding)
            .padding_mode(MODES[random.usize(0..MODES.len())])
            .layout(layout);
        (
            layout.shape(random.usize(0..3), random.usize(1..4), &spatial),
            draw(random, 1, 4),
            options,
        )
    }

    /// ⟨unfold x − unfold 0, u⟩ = ⟨x, fold u⟩, exact on integers, and both orders hold the same numbers.
    #[test]
    fn fold_is_the_adjoint_of_unfold() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut tried = 0;
        while tried < 3000 {
            let (shape, kernel, options) = request(&mut random);
            let x = integers(&shape, random.u64(..));
            let Ok(rows) = unfold(&x, &kernel, &options, PatchOrder::ElementsByPositions) else {
                continue;
            };
            let columns = unfold(&x, &kernel, &options, PatchOrder::PositionsByElements).unwrap();
            assert_eq!(
                rows,
                columns.clone().permuted_axes([0, 2, 1]),
                "{options:?}"
            );
            let constant = unfold(
                &(&x * 0.0),
                &kernel,
                &options,
                PatchOrder::ElementsByPositions,
            )
            .unwrap();
            let u: Array3<f64> = integers(rows.shape(), random.u64(..))
                .into_dimensionality()
                .unwrap();
            let folded = fold(
                &u,
                x.raw_dim(),
                &kernel,
                &options,
                PatchOrder::ElementsByPositions,
            )
            .unwrap();
            assert_eq!(
                ((&rows - &constant) * &u).sum(),
                (&x * &folded).sum(),
                "{shape:?} {kernel:?} {options:?}"
            );
            let u = u.permuted_axes([0, 2, 1]).as_standard_layout().into_owned();
            let again = fold(
                &u,
                x.raw_dim(),
                &kernel,
                &options,
                PatchOrder::PositionsByElements,
            )
            .unwrap();
            assert_eq!(folded, again);
            tried += 1;
        }
    }

    /// fold(unfold(x)) = how often each element is read · x.
    #[test]
    fn fold_after_unfold_counts_the_windows() {
        let x = integers(&[2, 3, 6, 5], 1);
        let options = ConvOptions::new().stride(2).padding(1);
        let order = PatchOrder::ElementsByPositions;
        let count = fold(
            &unfold(&(&x * 0.0 + 1.0), &[3, 2], &options, order).unwrap(),
            x.raw_dim(),
            &[3, 2],
            &options,
            order,
        );
        let twice = fold(
            &unfold(&x, &[3, 2], &options, order).unwrap(),
            x.raw_dim(),
            &[3, 2],
            &options,
            order,
        );
        assert_eq!(twice.unwrap(), &x * &count.unwrap());
    }
}
