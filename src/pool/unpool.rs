//! Max unpooling: values go back to where a maximum pooling found them, the rest is zero.
//!
//! ```text
//! x, k [N, C, in…]   y [N, C, out…]
//! y[n, c, k[n, c, i]] = x[n, c, i]          dx[n, c, i] = dy[n, c, k[n, c, i]]
//! ```
//!
//! Indices are those of [`max_pool_with_indices`](super::max_pool_with_indices). Where an index occurs
//! more than once, the last value in row-major order stays, and the gradient is taken as if each had
//! stayed, as in PyTorch.

use ndarray::{Array, ArrayRef, Dimension};

use super::array::{check_shape, full, slice_mut, standard};
use super::max::check_indices;
use super::tile::Batch;
use crate::element::Element;
use crate::error::{Error, Result, product};
use crate::geometry::{Layout, PerAxis, spatial_rank};

/// Puts every value where its index says, in planes of `output_size`. PyTorch's `max_unpool1d`, `2d`,
/// `3d`; ONNX's `MaxUnpool`, whose indices count images and channels too.
///
/// # Errors
/// A rank other than 1 to 3; `output_size` listed for another rank, or 0; `indices` of another shape
/// than `x`; an index outside the plane, [`NO_ELEMENT`](super::NO_ELEMENT) too; a size beyond the
/// address space; memory that cannot be had.
///
/// ```
/// use gemmconv::{Layout, PoolOptions, max_pool_with_indices, max_unpool};
/// let x = ndarray::arr3(&[[[1.0f32, 5.0, 2.0, 0.0]]]);
/// let (y, indices) = max_pool_with_indices(&x, &PoolOptions::new(2))?;
/// let back = max_unpool(&y, &indices, 4, Layout::ChannelsFirst)?;
/// assert_eq!(back.as_slice().unwrap(), [0.0, 5.0, 2.0, 0.0]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn max_unpool<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    indices: &ArrayRef<usize, D>,
    output_size: impl Into<PerAxis>,
    layout: Layout,
) -> Result<Array<T, D>> {
    let (rank, output_size) = (spatial_rank(x.shape())?, output_size.into());
    check_shape("indices", indices, x.shape())?;
    let mut outputs = [0; 3];
    for (axis, output) in outputs[..rank].iter_mut().enumerate() {
        *output = output_size.get("output size", rank, axis)?;
        if *output == 0 {
            return Err(Error::Zero {
                what: "output size",
                axis,
            });
        }
    }
    let (images, channels, inputs) = layout.parts(x.shape());
    let pixels: usize = inputs.iter().product();
    let limit = product("output", &outputs[..rank])?;
    product(
        "output",
        &[images.max(1), channels.max(1), limit, size_of::<f64>()],
    )?;

    let (x_data, indices) = (standard(x)?, standard(indices)?);
    check_indices(&indices, limit, |_| false)?;
    let mut y = full(
        &x.raw_dim(),
        &layout.shape(images, channels, &outputs[..rank]),
        T::ZERO,
    )?;
    let batch = Batch::new(images, channels, layout);
    let work = y.len() as u128 + x.len() as u128;
    batch.for_each(slice_mut(&mut y), limit, work, |place, mut y| {
        let x = batch.source(&x_data, pixels, place);
        let indices = batch.source(&indices, pixels, place);
        for input in 0..pixels {
            for (channel, (&index, &value)) in
                indices.pixel(input).iter().zip(x.pixel(input)).enumerate()
            {
                y.pixel(index)[channel] = value;
            }
        }
    })?;
    Ok(y)
}

/// The gradient of the input of [`max_unpool`]; it has the shape of `indices`.
///
/// # Errors
/// A rank other than 1 to 3; other images or channels in `d_output` than in `indices`; an index
/// outside the plane; memory that cannot be had.
pub fn max_unpool_backward<T: Element, D: Dimension>(
    d_output: &ArrayRef<T, D>,
    indices: &ArrayRef<usize, D>,
    layout: Layout,
) -> Result<Array<T, D>> {
    spatial_rank(indices.shape())?;
    let (images, channels, inputs) = layout.parts(indices.shape());
    if d_output.ndim() == indices.ndim() {
        let (_, _, outputs) = layout.parts(d_output.shape());
        check_shape(
            "output gradient",
            d_output,
            &layout.shape(images, channels, outputs),
        )?;
    } else {
        check_shape("output gradient", d_output, indices.shape())?;
    }
    let (_, _, outputs) = layout.parts(d_output.shape());
    let (pixels, limit): (usize, usize) = (inputs.iter().product(), outputs.iter().product());

    let (d_data, index_data) = (standard(d_output)?, standard(indices)?);
    check_indices(&index_data, limit, |_| false)?;
    let mut d_input = full(&d_output.raw_dim(), indices.shape(), T::ZERO)?;
    let batch = Batch::new(images, channels, layout);
    let work = index_data.len() as u128;
    batch.for_each(
        slice_mut(&mut d_input),
        pixels,
        work,
        |place, mut d_input| {
            let d_output = batch.source(&d_data, limit, place);
            let indices = batch.source(&index_data, pixels, place);
            for input in 0..pixels {
                let slots = d_input.pixel(input).iter_mut().enumerate();
                for ((channel, slot), &index) in slots.zip(indices.pixel(input)) {
                    *slot = d_output.at(index, channel);
                }
            }
        },
    )?;
    Ok(d_input)
}
