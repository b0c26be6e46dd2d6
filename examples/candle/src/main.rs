//! This crate's convolution behind the autograd of [candle](https://github.com/huggingface/candle), as a custom
//! operator: compared with candle's own result and gradients, and timed against them.
//!
//! ```text
//! cd examples/candle && cargo run --release
//! ```
//!
//! ```text
//! x [N, C, H, W] ─┐
//!                 ├─ apply_op2(Convolution) ─► y ─► Σ y² ─► backward() ─► d x, d w
//! w [O, C, kh, kw]┘
//! ```

use std::time::{Duration, Instant};

use candle_core::{CpuStorage, CustomOp2, Device, Error, Layout, Result, Shape, Tensor, Var};
use gemmconv::{ConvGeometry, ConvOptions, ConvPlan, Epilogue, PlanOptions, Wanted};
use ndarray::{ArrayD, ArrayViewD};

/// `conv(x, w)` with its gradients.
struct Convolution {
    options: ConvOptions,
}

impl Convolution {
    /// Planning checks sizes and fills small tables; a layer that always sees the same sizes would keep the plan.
    fn plan(&self, x: &[usize], w: &[usize]) -> Result<ConvPlan<f32>> {
        let geometry = ConvGeometry::new(x, w, &self.options).map_err(Error::wrap)?;
        ConvPlan::new(&geometry, &PlanOptions::new()).map_err(Error::wrap)
    }
}

/// The elements of a contiguous tensor where they lie.
fn view<'s>(storage: &'s CpuStorage, layout: &Layout) -> Result<ArrayViewD<'s, f32>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(Error::Msg("the convolution takes contiguous tensors".to_owned()));
    };
    let elements = &storage.as_slice::<f32>()?[start..end];
    ArrayViewD::from_shape(layout.dims(), elements).map_err(Error::wrap)
}

/// The elements of any tensor.
fn array(tensor: &Tensor) -> Result<ArrayD<f32>> {
    let elements = tensor.flatten_all()?.to_vec1()?;
    ArrayD::from_shape_vec(tensor.dims(), elements).map_err(Error::wrap)
}

fn tensor(array: Option<ArrayD<f32>>) -> Result<Option<Tensor>> {
    let made = array.map(|array| {
        let shape = array.shape().to_vec();
        Tensor::from_vec(array.into_raw_vec_and_offset().0, shape, &Device::Cpu)
    });
    made.transpose()
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "gemmconv"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (view(x, x_layout)?, view(w, w_layout)?);
        let plan = self.plan(x.shape(), w.shape())?;
        let weights = plan.prepare(&w).map_err(Error::wrap)?;
        let y = plan.forward(&x, &weights, &Epilogue::none());
        let y = y.map_err(Error::wrap)?;
        let shape = Shape::from(y.shape());
        Ok((CpuStorage::F32(y.into_raw_vec_and_offset().0), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        d_y: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x, w, d_y) = (array(x)?, array(w)?, array(d_y)?);
        let plan = self.plan(x.shape(), w.shape())?;
        let weights = plan.prepare(&w).map_err(Error::wrap)?;
        let wanted = Wanted {
            bias: false,
            ..Wanted::ALL
        };
        let made = plan.backward(&x, &weights, &d_y, wanted);
        let made = made.map_err(Error::wrap)?;
        Ok((tensor(made.d_input)?, tensor(made.d_weight)?))
    }
}

/// y, d x and d w of Σ y², and how long both ways took.
fn step(x: &Var, w: &Var, conv: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<([Tensor; 3], Duration)> {
    let begun = Instant::now();
    let y = conv(x, w)?;
    let gradients = y.sqr()?.sum_all()?.backward()?;
    let missing = || Error::Msg("no gradient".to_owned());
    let d_x = gradients.get(x).ok_or_else(missing)?.clone();
    let d_w = gradients.get(w).ok_or_else(missing)?.clone();
    Ok(([y, d_x, d_w], begun.elapsed()))
}

/// The largest difference, relative to the largest element.
fn difference(ours: &Tensor, theirs: &Tensor) -> Result<f32> {
    let most = |tensor: &Tensor| tensor.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
    Ok(most(&(ours - theirs)?)? / most(theirs)?)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() -> Result<()> {
    println!("N  C   H×W  O  stride   difference y, dx, dw          candle      gemmconv");
    for (n, c, side, o, stride) in [(8, 3, 64, 16, 1), (8, 32, 28, 64, 1), (8, 64, 28, 64, 2)] {
        let x = Var::randn(0f32, 1.0, (n, c, side, side), &Device::Cpu)?;
        let w = Var::randn(0f32, 0.1, (o, c, 3, 3), &Device::Cpu)?;
        let ours = |x: &Tensor, w: &Tensor| {
            let options = ConvOptions::new().padding(1).stride(stride);
            x.apply_op2(w, Convolution { options })
        };
        let theirs = |x: &Tensor, w: &Tensor| x.conv2d(w, 1, stride, 1, 1);
        let (mut own, mut candle) = (Vec::new(), Vec::new());
        let mut differences = Vec::new();
        for _ in 0..5 {
            let (theirs, time) = step(&x, &w, theirs)?;
            candle.push(time);
            let (ours, time) = step(&x, &w, ours)?;
            own.push(time);
            let pairs = ours.iter().zip(&theirs);
            differences = pairs
                .map(|(ours, theirs)| difference(ours, theirs))
                .collect::<Result<_>>()?;
        }
        let (own, candle) = (median(own), median(candle));
        println!(
            "{n}  {c:2}  {side}×{side}  {o}  {stride}        {:.1e}, {:.1e}, {:.1e}   {candle:9.2?}  {own:9.2?}   {:.1} times",
            differences[0],
            differences[1],
            differences[2],
            candle.as_secs_f64() / own.as_secs_f64()
        );
        for difference in differences {
            if difference > 1e-4 {
                return Err(Error::Msg(format!("the results differ by {difference}")));
            }
        }
    }
    Ok(())
}
