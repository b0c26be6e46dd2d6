//! Maxima and averages of f32 with the channels last: lines of windows, by vectors of channels.
//!
//! A task takes some lines of the output, or some channels where an image is one window.

use crate::element::Element;
use crate::geometry::{Layout, PoolGeometry};
use crate::kernel::{Isa, PoolLine, Pooled};
use crate::parallel::{for_each_piece, threads_for};

/// Elements visited by one task, at least.
const TASK_WORK: usize = 1 << 15;

/// Channels of one task where there is a single window: whole cache lines.
const CHANNELS: usize = 256;

/// What a sum is divided by, for the window at a place on each axis.
type Divisor<'d> = dyn Fn([usize; 3]) -> f64 + Sync + 'd;

/// Pools `x` into `y`, whose lengths are those of `geometry`, where this is for them: averages with a divisor, otherwise
/// maxima.
pub(super) fn pool<T: Element>(
    geometry: &PoolGeometry,
    x: &[T],
    y: &mut [T],
    divisor: Option<&Divisor>,
) -> bool {
    let (Layout::ChannelsLast, Some(x)) = (geometry.layout(), T::singles(x)) else {
        return false;
    };
    let Some(y) = T::singles_mut(y) else {
        return false;
    };
    if !y.is_empty() {
        divide(geometry, x, y, divisor);
    }
    true
}

/// Neither `x` nor `y` is empty.
fn divide(geometry: &PoolGeometry, x: &[f32], y: &mut [f32], divisor: Option<&Divisor>) {
    let channels = geometry.channels();
    let windows = geometry.axes[2].output();
    let threads = threads_for(geometry.operations());
    let each = geometry.operations() / y.len() as u128;
    let task = TASK_WORK.div_ceil(usize::try_from(each).unwrap_or(TASK_WORK).max(1));
    let row = windows * channels;
    if geometry.positions() == 1 && y.len() / row < 2 * threads && threads > 1 {
        for (image, y) in y.chunks_exact_mut(channels).enumerate() {
            let step = task.div_ceil(CHANNELS) * CHANNELS;
            for_each_piece(y, step, &|part, y| {
                line(geometry, x, image, part * step, y, divisor);
            });
        }
        return;
    }
    let step = match threads {
        1 => y.len() / row,
        _ => task.div_ceil(row),
    };
    for_each_piece(y, step * row, &|piece, y| {
        for (index, y) in y.chunks_exact_mut(row).enumerate() {
            line(geometry, x, piece * step + index, 0, y, divisor);
        }
    });
}

/// The windows of line `number`, counted over all images, from channel `first` on.
fn line(
    geometry: &PoolGeometry,
    x: &[f32],
    number: usize,
    first: usize,
    y: &mut [f32],
    divisor: Option<&Divisor>,
) {
    let [depth, height, columns] = geometry.axes;
    let channels = geometry.channels();
    let (image, row) = (number / height.output(), number % height.output());
    let (image, plane) = (image / depth.output(), image % depth.output());
    let pixels = geometry.pixels() * channels;
    let line = PoolLine {
        x: &x[image * pixels + first..(image + 1) * pixels],
        inputs: geometry.axes.map(|axis| axis.input()),
        pitch: channels,
        planes: depth.taps(plane),
        rows: height.taps(row),
        columns,
    };
    let width = y.len() / columns.output();
    let divisor = divisor.map(|divisor| move |window| divisor([plane, row, window]) as f32);
    let pooled = match &divisor {
        Some(divisor) => Pooled::Mean(divisor),
        None => Pooled::Maximum,
    };
    line.run(Isa::selected(), pooled, y, [width, width]);
}
