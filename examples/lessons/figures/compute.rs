//! The library on single images of one channel.

use anyhow::Result;
use gemmconv::{ConvGeometry, ConvOptions, ConvPlan, PlanOptions, conv2d};
use ndarray::{Array2, Array4};

/// The numbers from `first` on, in rows.
pub fn counted(rows: usize, columns: usize, first: usize) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(row, column)| {
        (first + row * columns + column) as f64
    })
}

/// One image of one channel, or one kernel.
pub fn batch(plane: &Array2<f64>) -> Result<Array4<f64>> {
    let (rows, columns) = plane.dim();
    Ok(plane.to_shape((1, 1, rows, columns))?.to_owned())
}

/// The first channel of the first image.
pub fn plane(batch: Array4<f64>) -> Array2<f64> {
    batch.slice_move(ndarray::s![0, 0, .., ..])
}

/// y = x ⋆ w
pub fn conv(x: &Array2<f64>, w: &Array2<f64>, options: &ConvOptions) -> Result<Array2<f64>> {
    Ok(plane(conv2d(&batch(x)?, &batch(w)?, None, options)?))
}

/// dw and dx of y = x ⋆ w.
pub fn gradients(
    x: &Array2<f64>,
    w: &Array2<f64>,
    dy: &Array2<f64>,
    options: &ConvOptions,
) -> Result<(Array2<f64>, Array2<f64>)> {
    let (x, w, dy) = (batch(x)?, batch(w)?, batch(dy)?);
    let geometry = ConvGeometry::new(x.shape(), w.shape(), options)?;
    let plan = ConvPlan::new(&geometry, &PlanOptions::new())?;
    let dw = plan.backward_weight(&x, &dy)?;
    let dx = plan.backward_input(&plan.prepare(&w)?, &dy)?;
    Ok((plane(dw), plane(dx)))
}
