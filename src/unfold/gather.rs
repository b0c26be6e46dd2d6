//! unfold by tile: patches[row, column] = padded(x)[source].
//!
//! ```text
//! channels first: per row (c, tap), per line of positions:   [pad … | x[c, line], strided | pad …]
//! channels last:  per position, per tap:                     x[pixel, channels], or pad
//! ```
//!
//! The runs above are contiguous in a tile whose own order follows the layout. A tile in the other
//! order gets the same runs through a small buffer.

use std::ops::Range;

use ndarray::{ArrayViewMut1, ArrayViewMut2};

use super::window::{Block, Line, Tap, for_each_line};
use crate::element::Element;
use crate::geometry::{Axis, Layout, PaddingMode, PatchGeometry};

/// Elements moved at a time where the tile's order does not follow the layout.
pub(super) const CHUNK: usize = 256;

/// Writes `block` of the patch matrix of `x` (the whole batch) into `tile`, `[rows, columns]`, any strides.
///
/// Every element of the tile is written; `pad` stands where padding is a number.
pub(crate) fn unfold_tile<T: Element>(
    geometry: &PatchGeometry,
    x: &[T],
    block: &Block,
    pad: T,
    tile: &mut ArrayViewMut2<'_, T>,
) {
    match geometry.layout {
        Layout::ChannelsFirst => {
            let taps = geometry.taps();
            for (row, index) in tile.rows_mut().into_iter().zip(block.rows.clone()) {
                let channel = block.channels.start + index / taps;
                let tap = Tap::new(geometry, index % taps);
                in_runs(row, block.columns.start, |columns, run| {
                    gather_row(geometry, x, channel, tap, columns, pad, run);
                });
            }
        }
        Layout::ChannelsLast => {
            let mut columns = tile.columns_mut().into_iter();
            for_each_line(geometry, block.columns.clone(), |line| {
                for x_out in line.inner.clone() {
                    let Some(column) = columns.next() else { return };
                    let position = [line.outer[0], line.outer[1], x_out];
                    in_runs(column, block.rows.start, |rows, run| {
                        gather_column(
                            geometry,
                            x,
                            &block.channels,
                            line.image,
                            position,
                            rows,
                            pad,
                            run,
                        );
                    });
                }
            });
        }
    }
}

/// Lets `write` fill `target`, whole where it is contiguous, else by chunks. `write` gets the index range, from `first`.
#[inline]
fn in_runs<T: Element>(
    mut target: ArrayViewMut1<'_, T>,
    first: usize,
    mut write: impl FnMut(Range<usize>, &mut [T]),
) {
    let length = target.len();
    if let Some(run) = target.as_slice_mut() {
        return write(first..first + length, run);
    }
    let mut buffer = [T::ZERO; CHUNK];
    for begin in (0..length).step_by(CHUNK) {
        let count = CHUNK.min(length - begin);
        write(first + begin..first + begin + count, &mut buffer[..count]);
        let part = target.slice_mut(ndarray::s![begin..begin + count]);
        for (slot, &value) in part.into_iter().zip(&buffer) {
            *slot = value;
        }
    }
}

/// One row of the channels-first patch matrix.
#[inline]
fn gather_row<T: Element>(
    geometry: &PatchGeometry,
    x: &[T],
    channel: usize,
    tap: Tap,
    columns: Range<usize>,
    pad: T,
    run: &mut [T],
) {
    if keeps_planes(geometry) {
        return gather_planes(geometry, x, channel, tap, columns, pad, run);
    }
    let [d, h, w] = &geometry.axes;
    let mode = &geometry.mode;
    let valid = w.valid(tap.0[2]);
    for_each_line(geometry, columns, |line: Line| {
        let target = &mut run[line.offset..line.offset + line.inner.len()];
        let z = mode.source(d.position(tap.0[0], line.outer[0]), d.input);
        let y = mode.source(h.position(tap.0[1], line.outer[1]), h.input);
        let (Some(z), Some(y)) = (z, y) else {
            return target.fill(pad);
        };
        let start =
            (((line.image * geometry.channels + channel) * d.input + z) * h.input + y) * w.input;
        gather_line(
            w,
            mode,
            &x[start..start + w.input],
            tap.0[2],
            &valid,
            line.inner,
            pad,
            target,
        );
    });
}

/// Whether a tap only shifts a plane: as many outputs as inputs on the two inner axes, stride 1, numbers for padding.
fn keeps_planes(geometry: &PatchGeometry) -> bool {
    let [_, h, w] = &geometry.axes;
    let same = |axis: &Axis| axis.stride == 1 && axis.output == axis.input;
    same(h) && same(w) && !geometry.mode.reads_image()
}

/// [`gather_row`] where a tap only shifts planes: one copy a plane, then padding over what it wrapped around.
///
/// With 7 × 7 planes the copies of single lines would cost a tenth of the whole convolution.
fn gather_planes<T: Element>(
    geometry: &PatchGeometry,
    x: &[T],
    channel: usize,
    tap: Tap,
    columns: Range<usize>,
    pad: T,
    run: &mut [T],
) {
    let [d, h, w] = &geometry.axes;
    let plane = h.input * w.input;
    let (rows, valid) = (h.valid(tap.0[1]), w.valid(tap.0[2]));
    if rows.is_empty() || valid.is_empty() {
        // All padding. Elsewhere a tap reaches into the plane, which bounds the shift by the plane.
        return run.fill(pad);
    }
    // Output p of the plane reads input p + shift.
    let shift = h.position(tap.0[1], 0) * w.input as isize + w.position(tap.0[2], 0);
    let mut column = columns.start;
    let mut rest = run;
    while !rest.is_empty() {
        // The part of one plane of outputs that is asked for: elements from..to of it.
        let (number, from) = (column / plane, column % plane);
        let to = plane.min(from + rest.len());
        let (part, next) = rest.split_at_mut(to - from);
        (rest, column) = (next, column + part.len());
        let (image, z) = (number / d.output, number % d.output);
        let Some(z) = geometry.mode.source(d.position(tap.0[0], z), d.input) else {
            part.fill(pad);
            continue;
        };
        let start = ((image * geometry.channels + channel) * d.input + z) * plane;
        let source = &x[start..start + plane];
        // Whole rows inside the input, cut to where the shifted plane has elements at all.
        let inside = |p: usize| p.saturating_add_signed(-shift).min(plane);
        let begin = (rows.start * w.input).max(inside(0)).clamp(from, to);
        let end = (rows.end * w.input).min(inside(plane)).clamp(begin, to);
        part[..begin - from].fill(pad);
        part[end - from..].fill(pad);
        if begin < end {
            let first = begin.wrapping_add_signed(shift);
            part[begin - from..end - from].copy_from_slice(&source[first..first + (end - begin)]);
        }
        // What came from the neighbouring row.
        for row in from / w.input..to.div_ceil(w.input) {
            let line = row * w.input;
            for edge in [line..line + valid.start, line + valid.end..line + w.input] {
                let edge = edge.start.clamp(from, to)..edge.end.clamp(from, to);
                part[edge.start - from..edge.end - from].fill(pad);
            }
        }
    }
}

/// One line: padding, the stretch inside the input, padding.
#[inline]
#[allow(clippy::too_many_arguments)] // one call site; a struct would be built per line
fn gather_line<T: Element>(
    axis: &Axis,
    mode: &PaddingMode,
    source: &[T],
    tap: usize,
    valid: &Range<usize>,
    outputs: Range<usize>,
    pad: T,
    target: &mut [T],
) {
    let begin = valid.start.clamp(outputs.start, outputs.end);
    let end = valid.end.clamp(begin, outputs.end);
    let edge = |o: usize| match mode.source(axis.position(tap, o), axis.input) {
        Some(index) => source[index],
        None => pad,
    };
    let (left, rest) = target.split_at_mut(begin - outputs.start);
    let (middle, right) = rest.split_at_mut(end - begin);
    for (slot, o) in left.iter_mut().zip(outputs.start..) {
        *slot = edge(o);
    }
    for (slot, o) in right.iter_mut().zip(end..) {
        *slot = edge(o);
    }
    if middle.is_empty() {
        return;
    }
    let first = begin * axis.stride + tap * axis.dilation - axis.pad_before;
    if axis.stride == 1 {
        middle.copy_from_slice(&source[first..first + middle.len()]);
    } else {
        for (slot, &value) in middle
            .iter_mut()
            .zip(source[first..].iter().step_by(axis.stride))
        {
            *slot = value;
        }
    }
}

/// One column of the channels-last patch matrix: the patch of one position.
#[inline]
#[allow(clippy::too_many_arguments)] // one call site; a struct would be built per position
fn gather_column<T: Element>(
    geometry: &PatchGeometry,
    x: &[T],
    channels: &Range<usize>,
    image: usize,
    position: [usize; 3],
    rows: Range<usize>,
    pad: T,
    run: &mut [T],
) {
    let [_, _, w] = &geometry.axes;
    let count = channels.len();
    let whole_rows = count == geometry.channels && w.dilation == 1;
    let mut tap = Tap::new(geometry, rows.start / count);
    let mut skip = rows.start % count;
    let mut run = run;
    while !run.is_empty() {
        // A kernel row inside the image is one contiguous stretch of it.
        let stretch = w.kernel * count;
        if whole_rows && skip == 0 && tap.0[2] == 0 && run.len() >= stretch {
            let x_in = w.position(0, position[2]);
            if x_in >= 0 && x_in as usize + w.kernel <= w.input {
                let (target, rest) = run.split_at_mut(stretch);
                run = rest;
                match source_pixel(geometry, image, tap, position) {
                    Some(pixel) => target.copy_from_slice(&x[pixel * count..][..stretch]),
                    None => target.fill(pad),
                }
                tap.0[2] = w.kernel - 1;
                tap.advance(geometry);
                continue;
            }
        }
        let length = (count - skip).min(run.len());
        let (target, rest) = run.split_at_mut(length);
        run = rest;
        match source_pixel(geometry, image, tap, position) {
            Some(pixel) => {
                let start = pixel * geometry.channels + channels.start + skip;
                target.copy_from_slice(&x[start..start + length]);
            }
            None => target.fill(pad),
        }
        skip = 0;
        tap.advance(geometry);
    }
}

/// The pixel (over the whole batch) that `tap` of `position` reads, unless it lies in constant padding.
#[inline]
pub(super) fn source_pixel(
    geometry: &PatchGeometry,
    image: usize,
    tap: Tap,
    position: [usize; 3],
) -> Option<usize> {
    let mut pixel = image;
    for (axis, (&k, &o)) in geometry.axes.iter().zip(tap.0.iter().zip(&position)) {
        pixel = pixel * axis.input + geometry.mode.source(axis.position(k, o), axis.input)?;
    }
    Some(pixel)
}

#[cfg(test)]
mod tests {
    use crate::unfold::{PatchOrder, unfold};
    use crate::{ConvOptions, Error, Layout, PaddingMode};
    use ndarray::{Array1, Array3, array, s};

    fn line(mode: PaddingMode, pad: (usize, usize)) -> Vec<f64> {
        let x = array![[[1., 2., 3.]]];
        let options = ConvOptions::new().padding([pad]).padding_mode(mode);
        unfold(&x, &[1], &options, PatchOrder::ElementsByPositions)
            .unwrap()
            .into_raw_vec_and_offset()
            .0
    }

    #[test]
    fn what_stands_in_the_padding() {
        assert_eq!(line(PaddingMode::Zeros, (2, 1)), [0., 0., 1., 2., 3., 0.]);
        assert_eq!(
            line(PaddingMode::Constant(7.0), (1, 2)),
            [7., 1., 2., 3., 7., 7.]
        );
        assert_eq!(
            line(PaddingMode::Reflect, (2, 2)),
            [3., 2., 1., 2., 3., 2., 1.]
        );
        assert_eq!(
            line(PaddingMode::Replicate, (2, 5)),
            [1., 1., 1., 2., 3., 3., 3., 3., 3., 3.]
        );
        assert_eq!(
            line(PaddingMode::Circular, (3, 2)),
            [1., 2., 3., 1., 2., 3., 1., 2.]
        );
    }

    /// PyTorch's order: channels outermost, then the kernel; channels last keeps channels innermost.
    #[test]
    fn order_within_a_patch() {
        let x = Array3::from_shape_fn((1, 2, 3), |(_, c, w)| (10 * c + w) as f64);
        let first = unfold(
            &x,
            &[2],
            &ConvOptions::new(),
            PatchOrder::PositionsByElements,
        )
        .unwrap();
        assert_eq!(
            first.slice(s![0, 1, ..]),
            Array1::from(vec![1., 2., 11., 12.])
        );
        let last = x.permuted_axes([0, 2, 1]);
        let options = ConvOptions::new().layout(Layout::ChannelsLast);
        let last = unfold(&last, &[2], &options, PatchOrder::PositionsByElements).unwrap();
        assert_eq!(
            last.slice(s![0, 1, ..]),
            Array1::from(vec![1., 11., 2., 12.])
        );
    }

    /// oneDNN 122, PyTorch 9404 and 73189: sizes that wrapped or crashed elsewhere.
    #[test]
    fn sizes_beyond_the_machine_are_errors() {
        let x = Array3::<f32>::zeros((1, 1, 4));
        let huge = ConvOptions::new().padding([(1 << 59, 1 << 59)]);
        assert!(matches!(
            unfold(&x, &[1 << 30], &huge, PatchOrder::ElementsByPositions),
            Err(Error::Overflow { .. } | Error::Allocation { .. })
        ));
        let large = ConvOptions::new().padding([(1 << 44, 0)]);
        assert!(matches!(
            unfold(&x, &[2], &large, PatchOrder::ElementsByPositions),
            Err(Error::Allocation { .. })
        ));
    }
}
