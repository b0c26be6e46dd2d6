//! One call, one convolution: any ndarray view, any strides.

use ndarray::{Array, ArrayRef, ArrayRef1, Dimension, Ix3, Ix4, Ix5};

use super::epilogue::Epilogue;
use super::plan::ConvPlan;
use super::transposed::TransposedPlan;
use crate::element::{Element, standard};
use crate::error::{Error, Result};
use crate::geometry::{ConvGeometry, ConvOptions, TransposedGeometry, TransposedOptions};
use crate::plan::{Pass, PlanOptions};

/// Convolves a batch of any rank: `[N, C, …]` with `[O, C/g, kernel…]`, or `[N, …, C]` channels last.
///
/// This is cross-correlation, as every deep-learning library has it; `options.flip_kernel` makes it true
/// convolution. [`ConvPlan`] does the same work without preparing anew at each call.
///
/// # Errors
/// Those of [`ConvGeometry::new`] and [`ConvPlan::new`]; a bias that is not O long.
pub fn conv<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    weight: &ArrayRef<T, D>,
    bias: Option<&ArrayRef1<T>>,
    options: &ConvOptions,
) -> Result<Array<T, D>> {
    let geometry = ConvGeometry::new(x.shape(), weight.shape(), options)?;
    check_bias(bias, geometry.output_channels())?;
    let plan = ConvPlan::for_passes(&geometry, &once(), &[Pass::Forward])?;
    let bias = bias.map(standard).transpose()?;
    let epilogue = Epilogue {
        bias: bias.as_deref(),
        ..Epilogue::none()
    };
    plan.forward_given(x, weight, &epilogue)
}

/// Convolves signals: `[N, C, L]` with `[O, C/g, k]`. See [`conv`].
///
/// # Errors
/// Those of [`conv`].
pub fn conv1d<T: Element>(
    x: &ArrayRef<T, Ix3>,
    weight: &ArrayRef<T, Ix3>,
    bias: Option<&ArrayRef1<T>>,
    options: &ConvOptions,
) -> Result<Array<T, Ix3>> {
    conv(x, weight, bias, options)
}

/// Convolves images: `[N, C, H, W]` with `[O, C/g, kh, kw]`. See [`conv`].
///
/// # Errors
/// Those of [`conv`].
///
/// ```
/// use gemmconv::{ConvOptions, conv2d};
/// use ndarray::array;
///
/// let image = array![[[[1., 2., 3.], [4., 5., 6.], [7., 8., 9.]]]];
/// let kernel = array![[[[0., 1.], [2., 3.]]]];
/// let y = conv2d(&image, &kernel, None, &ConvOptions::new())?;
/// assert_eq!(y, array![[[[25., 31.], [43., 49.]]]]);
/// # Ok::<(), gemmconv::Error>(())
/// ```
pub fn conv2d<T: Element>(
    x: &ArrayRef<T, Ix4>,
    weight: &ArrayRef<T, Ix4>,
    bias: Option<&ArrayRef1<T>>,
    options: &ConvOptions,
) -> Result<Array<T, Ix4>> {
    conv(x, weight, bias, options)
}

/// Convolves volumes: `[N, C, D, H, W]` with `[O, C/g, kd, kh, kw]`. See [`conv`].
///
/// # Errors
/// Those of [`conv`].
pub fn conv3d<T: Element>(
    x: &ArrayRef<T, Ix5>,
    weight: &ArrayRef<T, Ix5>,
    bias: Option<&ArrayRef1<T>>,
    options: &ConvOptions,
) -> Result<Array<T, Ix5>> {
    conv(x, weight, bias, options)
}

/// Transposed convolution of any rank: `[N, I, …]` with `[I, O/g, kernel…]`.
///
/// # Errors
/// Those of [`TransposedGeometry::new`] and [`TransposedPlan::new`]; a bias that is not O long.
pub fn conv_transpose<T: Element, D: Dimension>(
    x: &ArrayRef<T, D>,
    weight: &ArrayRef<T, D>,
    bias: Option<&ArrayRef1<T>>,
    options: &TransposedOptions,
) -> Result<Array<T, D>> {
    let geometry = TransposedGeometry::new(x.shape(), weight.shape(), options)?;
    check_bias(bias, geometry.output_channels())?;
    let plan = TransposedPlan::new(&geometry, &once())?;
    let bias = bias.map(standard).transpose()?;
    let epilogue = Epilogue {
        bias: bias.as_deref(),
        ..Epilogue::none()
    };
    plan.forward(x, &plan.prepare(weight)?, &epilogue)
}

/// Transposed convolution of signals: `[N, I, L]` with `[I, O/g, k]`. See [`conv_transpose`].
///
/// # Errors
/// Those of [`conv_transpose`].
pub fn conv_transpose1d<T: Element>(
    x: &ArrayRef<T, Ix3>,
    weight: &ArrayRef<T, Ix3>,
    bias: Option<&ArrayRef1<T>>,
    options: &TransposedOptions,
) -> Result<Array<T, Ix3>> {
    conv_transpose(x, weight, bias, options)
}

/// Transposed convolution of images: `[N, I, H, W]` with `[I, O/g, kh, kw]`. See [`conv_transpose`].
///
/// # Errors
/// Those of [`conv_transpose`].
pub fn conv_transpose2d<T: Element>(
    x: &ArrayRef<T, Ix4>,
    weight: &ArrayRef<T, Ix4>,
    bias: Option<&ArrayRef1<T>>,
    options: &TransposedOptions,
) -> Result<Array<T, Ix4>> {
    conv_transpose(x, weight, bias, options)
}

/// Transposed convolution of volumes: `[N, I, D, H, W]` with `[I, O/g, kd, kh, kw]`. See [`conv_transpose`].
///
/// # Errors
/// Those of [`conv_transpose`].
pub fn conv_transpose3d<T: Element>(
    x: &ArrayRef<T, Ix5>,
    weight: &ArrayRef<T, Ix5>,
    bias: Option<&ArrayRef1<T>>,
    options: &TransposedOptions,
) -> Result<Array<T, Ix5>> {
    conv_transpose(x, weight, bias, options)
}

/// Weights are prepared for one call.
fn once() -> PlanOptions {
    PlanOptions::new().weights_change(true)
}

fn check_bias<T>(bias: Option<&ArrayRef1<T>>, channels: usize) -> Result<()> {
    match bias {
        Some(bias) if bias.len() != channels => Err(Error::Shape {
            what: "bias",
            expected: vec![channels],
            got: bias.shape().to_vec(),
        }),
        _ => Ok(()),
    }
}
