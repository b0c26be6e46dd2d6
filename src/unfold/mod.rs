//! PATCHES: unfold (im2col) and fold (col2im), rank 1 to 3, whole and by tile.
//!
//! ```text
//! unfold:  patches[k, p]  = padded(x)[source(k, p)]            a gather; padding is never a copy of x
//! fold:    x[source(k, p)] += patches[k, p]                    its exact adjoint: ⟨unfold x, u⟩ = ⟨x, fold u⟩
//! ```
//!
//! The order of a patch follows the layout, so that memory is read and written in runs: channels first
//! counts `k = (c, k₀, k₁, …)` as PyTorch does, channels last counts `k = (k₀, k₁, …, c)`. A constant
//! that stands in the padding is no function of x: fold ignores it, as it ignores zeros.

mod fold;
mod gather;
mod window;

use ndarray::{
    Array, Array3, ArrayBase, ArrayRef, ArrayView3, ArrayViewMut3, Axis, Dimension, Ix3, RawData,
};

use crate::element::{Element, filled, standard};
use crate::error::{Error, Result, check_shape, product};
use crate::geometry::{ConvOptions, Layout, PatchGeometry};
use crate::parallel;

pub(crate) use fold::fold_tile;
pub(crate) use gather::unfold_tile;
pub(crate) use window::Block;

/// Which index of the patch matrix runs down its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PatchOrder {
    /// K × P: a row per patch element, a column per position (PyTorch's `unfold`).
    ElementsByPositions,
    /// P × K: a row per position, a column per patch element.
    PositionsByElements,
}

/// The patch matrices of a batch (im2col): `[N, K, P]` or `[N, P, K]`.
///
/// `x` is `[N, C, …]` or `[N, …, C]` as `options.layout` says, `kernel` the lengths of the window;
/// K = C · taps, P the product of the output lengths. Groups and kernel flip play no part.
///
/// # Errors
/// Those of [`PatchGeometry::new`]; a patch matrix beyond the address space or the memory there is.
///
/// ```
/// use gemmconv::unfold::{PatchOrder, unfold};
/// use gemmconv::ConvOptions;
/// use ndarray::{array, s};
///
/// let x = array![[[[1., 2., 3.], [4., 5., 6.], [7., 8., 9.]]]];
/// let patches = unfold(&x, &[2, 2], &ConvOptions::new(), PatchOrder::PositionsByElements)?;
/// assert_eq!(patches.slice(s![0, 0, ..]), array![1., 2., 4., 5.]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn unfold<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    kernel: &[usize],
    options: &ConvOptions,
    order: PatchOrder,
) -> Result<Array3<T>> {
    let geometry = PatchGeometry::new(x.shape(), kernel, options)?;
    let [batch, rows, columns] = matrix_shape(&geometry, order)?;
    let data = filled(product("patch matrix", &[batch, rows, columns])?, T::ZERO)?;
    let mut patches = array3([batch, rows, columns], data)?;
    unfold_into(&geometry, x, order, &mut patches)?;
    Ok(patches)
}

/// [`unfold`] into an array that the caller owns; every element of it is overwritten.
///
/// # Errors
/// `x` or `patches` of another shape than `geometry` gives.
pub fn unfold_into<T: Element, D: Dimension>(
    geometry: &PatchGeometry,
    x: &ArrayRef<T, D>,
    order: PatchOrder,
    patches: &mut ArrayRef<T, Ix3>,
) -> Result<()> {
    check_shape("input", &geometry.input_shape(), x.shape())?;
    check_shape(
        "patch matrix",
        &matrix_shape(geometry, order)?,
        patches.shape(),
    )?;
    let x = standard(x)?;
    let pad = T::from_f64(geometry.mode.constant());
    let positions = geometry.positions();
    let parallel = parallel::threads_for(patches.len() as u128) > 1;
    // [N, K, P] whatever the order in memory.
    let by_element = match order {
        PatchOrder::ElementsByPositions => patches.view_mut(),
        PatchOrder::PositionsByElements => patches.view_mut().permuted_axes([0, 2, 1]),
    };
    let block = [1, rows_per_task(geometry), positions];
    parallel::for_each_tile(by_element, block, parallel, &|[image, row, _], mut tile| {
        let block = Block {
            channels: 0..geometry.channels,
            rows: row..row + tile.len_of(Axis(1)),
            columns: image * positions..(image + 1) * positions,
        };
        unfold_tile(
            geometry,
            &x,
            &block,
            pad,
            &mut tile.index_axis_mut(Axis(0), 0),
        );
    });
    Ok(())
}

/// Adds patch matrices back into an image batch (col2im), the adjoint of [`unfold`].
///
/// `patches` is `[N, K, P]` or `[N, P, K]`, `input` the shape of the image batch, which several
/// sizes of patch matrix could belong to.
///
/// # Errors
/// Those of [`PatchGeometry::new`]; patches of another shape than the geometry gives.
pub fn fold<T: Element, D: Dimension>(
    patches: &ArrayRef<T, Ix3>,
    input: D,
    kernel: &[usize],
    options: &ConvOptions,
    order: PatchOrder,
) -> Result<Array<T, D>> {
    let geometry = PatchGeometry::new(input.slice(), kernel, options)?;
    let data = filled(geometry.input_len(), T::ZERO)?;
    let mut x =
        Array::from_shape_vec(input, data).map_err(|_| Error::Overflow { what: "image" })?;
    fold_into(&geometry, patches, order, &mut x)?;
    Ok(x)
}

/// [`fold`] into an array that the caller owns; every element of it is overwritten.
///
/// # Errors
/// `patches` or `x` of another shape than `geometry` gives.
pub fn fold_into<T: Element, D: Dimension>(
    geometry: &PatchGeometry,
    patches: &ArrayRef<T, Ix3>,
    order: PatchOrder,
    x: &mut ArrayRef<T, D>,
) -> Result<()> {
    check_shape("input", &geometry.input_shape(), x.shape())?;
    check_shape(
        "patch matrix",
        &matrix_shape(geometry, order)?,
        patches.shape(),
    )?;
    let by_element = match order {
        PatchOrder::ElementsByPositions => patches.view(),
        PatchOrder::PositionsByElements => patches.view().permuted_axes([0, 2, 1]),
    };
    if let Some(slice) = x.as_slice_mut() {
        return fold_images(geometry, by_element, slice);
    }
    let mut standard = filled(geometry.input_len(), T::ZERO)?;
    fold_images(geometry, by_element, &mut standard)?;
    for (slot, value) in x.iter_mut().zip(standard) {
        *slot = value;
    }
    Ok(())
}

/// [`fold_into`] for patches `[N, K, P]`, by image and, channels first, by channel: no two tasks touch one element.
/// Allocates nothing.
///
/// `patches` has the shape that the geometry gives.
pub(crate) fn fold_images<T: Element>(
    geometry: &PatchGeometry,
    patches: ArrayView3<'_, T>,
    x: &mut [T],
) -> Result<()> {
    let (positions, taps) = (geometry.positions(), geometry.taps());
    let parallel = parallel::threads_for(patches.len() as u128) > 1;
    let channels = match geometry.layout {
        Layout::ChannelsFirst => 1,
        Layout::ChannelsLast => geometry.channels,
    };
    let image_view = channel_view(geometry, x)?;
    let block = [1, channels, geometry.pixels()];
    parallel::for_each_tile(
        image_view,
        block,
        parallel,
        &|[image, channel, _], mut tile| {
            tile.fill(T::ZERO);
            let block = Block {
                channels: match geometry.layout {
                    Layout::ChannelsFirst => channel..channel + 1,
                    Layout::ChannelsLast => 0..geometry.channels,
                },
                rows: 0..channels * taps,
                columns: image * positions..(image + 1) * positions,
            };
            let first = channel * taps;
            let matrix = patches.index_axis(Axis(0), image);
            let matrix = matrix.slice(ndarray::s![first..first + channels * taps, ..]);
            fold_tile(geometry, &block, matrix, image, &mut tile);
        },
    );
    Ok(())
}

/// An image batch in standard layout as `[N, C, pixels]`, whichever the layout.
pub(crate) fn channel_view<'a, T>(
    geometry: &PatchGeometry,
    x: &'a mut [T],
) -> Result<ArrayViewMut3<'a, T>> {
    planes_mut(
        geometry.layout,
        [geometry.batch, geometry.channels, geometry.pixels()],
        x,
    )
}

/// `data` as `[images, channels, elements]`, whichever the layout.
pub(crate) fn planes_mut<T>(
    layout: Layout,
    shape: [usize; 3],
    data: &mut [T],
) -> Result<ArrayViewMut3<'_, T>> {
    let got = data.len();
    let view = ArrayViewMut3::from_shape(in_memory(layout, shape), data);
    view.map(|view| by_channel(layout, view))
        .map_err(|_| wrong_length(shape, got))
}

/// `data` as `[images, channels, elements]`, whichever the layout.
pub(crate) fn planes<T>(
    layout: Layout,
    shape: [usize; 3],
    data: &[T],
) -> Result<ArrayView3<'_, T>> {
    let view = ArrayView3::from_shape(in_memory(layout, shape), data);
    view.map(|view| by_channel(layout, view))
        .map_err(|_| wrong_length(shape, data.len()))
}

/// The axes of `[images, channels, elements]` in the order of memory.
fn in_memory(layout: Layout, [images, channels, elements]: [usize; 3]) -> [usize; 3] {
    match layout {
        Layout::ChannelsFirst => [images, channels, elements],
        Layout::ChannelsLast => [images, elements, channels],
    }
}

/// The axes of a view in the order of memory as `[images, channels, elements]`.
fn by_channel<S: RawData>(layout: Layout, view: ArrayBase<S, Ix3>) -> ArrayBase<S, Ix3> {
    match layout {
        Layout::ChannelsFirst => view,
        Layout::ChannelsLast => view.permuted_axes([0, 2, 1]),
    }
}

fn wrong_length(shape: [usize; 3], got: usize) -> Error {
    Error::BufferLength {
        what: "image",
        expected: shape.iter().product(),
        got,
    }
}

/// `[N, K, P]` or `[N, P, K]`.
fn matrix_shape(geometry: &PatchGeometry, order: PatchOrder) -> Result<[usize; 3]> {
    let (batch, elements, positions) = (geometry.batch, geometry.patch_len(), geometry.positions());
    product(
        "patch matrix",
        &[batch, elements, positions, size_of::<f64>()],
    )?;
    Ok(match order {
        PatchOrder::ElementsByPositions => [batch, elements, positions],
        PatchOrder::PositionsByElements => [batch, positions, elements],
    })
}

/// Patch elements of one parallel task: whole channels first, one task last (its rows interleave).
fn rows_per_task(geometry: &PatchGeometry) -> usize {
    match geometry.layout {
        Layout::ChannelsFirst => geometry.taps(),
        Layout::ChannelsLast => geometry.patch_len(),
    }
}

fn array3<T>(shape: [usize; 3], data: Vec<T>) -> Result<Array3<T>> {
    Array3::from_shape_vec(shape, data).map_err(|_| Error::Overflow {
        what: "patch matrix",
    })
}
