//! Sums over images and positions: the gradient of the bias.

use ndarray::Axis;

use crate::element::Element;
use crate::error::Result;
use crate::geometry::Layout;
use crate::parallel::try_for_each_tile;
use crate::unfold::{planes, planes_mut};

/// db ← the sum of dY (`[images, channels, elements]`) over images and elements, in an order that no thread
/// count changes.
pub(super) fn channel_sums<T: Element>(
    layout: Layout,
    shape: [usize; 3],
    dy: &[T],
    db: &mut [T],
    parallel: bool,
) -> Result<()> {
    /// Terms summed in the element type before they join a sum in f64: short sums lose nothing to speak of.
    const CHUNK: usize = 512;
    let dy = planes(layout, shape, dy)?;
    let db = planes_mut(Layout::ChannelsFirst, [1, shape[1], 1], db)?;
    try_for_each_tile(db, [1, 16, 1], parallel, &|[_, first, _], mut tile| {
        for (index, slot) in tile.iter_mut().enumerate() {
            let mut total = 0.0;
            for image in dy.index_axis(Axis(1), first + index).outer_iter() {
                for chunk in image.axis_chunks_iter(Axis(0), CHUNK) {
                    total += sum_in_order(chunk).to_f64();
                }
            }
            *slot = T::from_f64(total);
        }
        Ok(())
    })
}

/// A sum whose order is the same for every stride, so that both layouts agree bit for bit.
fn sum_in_order<T: Element>(values: ndarray::ArrayView1<'_, T>) -> T {
    // Eight running sums hide the latency of the addition.
    let mut sums = [T::ZERO; 8];
    for (index, &value) in values.iter().enumerate() {
        sums[index % 8] += value;
    }
    sums.iter().fold(T::ZERO, |total, &sum| total + sum)
}
