//! The gradient of average pooling for networks: rows of pixels on all threads, nothing allocated.
//!
//! ```text
//! dx[i] = Σ dy[o] / divisor(o) over the windows o that read i
//! ```

use super::array::check_lengths;
use super::average::{divisor, uniform_divisor};
use super::rows::{LANES, Share, backward};
use crate::element::Element;
use crate::error::Result;
use crate::geometry::PoolGeometry;

/// [`avg_pool_backward`](super::avg_pool_backward) into `d_input`, whatever stood there before; allocates nothing. Sums
/// are in the order of the windows.
///
/// # Errors
/// A slice of the wrong length.
pub(crate) fn avg_pool_rows_backward_into<T: Element>(
    geometry: &PoolGeometry,
    d_output: &[T],
    d_input: &mut [T],
) -> Result<()> {
    check_lengths(
        geometry,
        ("input gradient", d_input.len()),
        ("output gradient", d_output.len()),
    )?;
    let mean = Mean {
        geometry,
        divisor: uniform_divisor(geometry),
        d_output,
    };
    backward(geometry, d_input, &mean)
}

/// An equal part of dy for every tap.
struct Mean<'a, T> {
    geometry: &'a PoolGeometry,
    /// Where all windows have the same.
    divisor: Option<f64>,
    d_output: &'a [T],
}

impl<T: Element> Share<T> for Mean<'_, T> {
    #[inline(always)]
    fn add(&self, dx: &mut [T], at: usize, window: [usize; 3], _: usize) {
        let divisor = self
            .divisor
            .unwrap_or_else(|| divisor(self.geometry, window));
        let divisor = T::from_f64(divisor);
        let dy = &self.d_output[at..][..dx.len()];
        let (dy, dy_left) = dy.as_chunks::<LANES>();
        let (dx, dx_left) = dx.as_chunks_mut::<LANES>();
        for (dx, dy) in dx.iter_mut().zip(dy) {
            // All loads before the store: one vector.
            let (own, dy) = (*dx, *dy);
            *dx = std::array::from_fn(|lane| own[lane] + dy[lane] / divisor);
        }
        for (dx, &dy) in dx_left.iter_mut().zip(dy_left) {
            *dx += dy / divisor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::avg_pool_backward_into;
    use super::*;
    use crate::geometry::{Layout, PoolOptions};

    #[test]
    fn agrees_with_the_plain_gradient() {
        let three = PoolOptions::new(3).stride(2).padding(1);
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let shape = layout.shape(2, 19, &[8, 7]);
            let of = |windows: &PoolOptions| {
                PoolGeometry::new(&shape, &windows.clone().layout(layout)).unwrap()
            };
            for geometry in [
                of(&three),
                of(&three.clone().count_include_pad(false).ceil_mode(true)),
                of(&three.clone().divisor_override(-5)),
                of(&PoolOptions::new(2)),
                of(&three.clone().dilation(2).stride(1)),
                PoolGeometry::global(&shape, layout).unwrap(),
                PoolGeometry::adaptive(&shape, [3, 9], layout).unwrap(),
            ] {
                let dy: Vec<f64> = (0..geometry.output_len())
                    .map(|i| (i % 13) as f64)
                    .collect();
                let len = geometry.input_len();
                let (mut dx, mut want) = (vec![f64::NAN; len], vec![0.0; len]);
                avg_pool_rows_backward_into(&geometry, &dy, &mut dx).unwrap();
                avg_pool_backward_into(&geometry, &dy, &mut want).unwrap();
                for (dx, want) in dx.iter().zip(&want) {
                    assert!(
                        (dx - want).abs() < 1e-12 * (1.0 + want.abs()),
                        "{geometry:?}"
                    );
                }
            }
        }
    }
}
