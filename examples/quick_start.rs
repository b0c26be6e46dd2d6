//! The README's two snippets: one call, and a plan with its gradients.
//!
//! `cargo run --release --example quick_start`

use gemmconv::{
    Activation, ConvGeometry, ConvOptions, ConvPlan, Epilogue, Padding, Pass, PlanOptions, Wanted,
    conv2d,
};
use ndarray::{Array1, Array4};

fn main() -> Result<(), gemmconv::Error> {
    let x = Array4::<f32>::ones((8, 3, 32, 32)); // N, C, H, W
    let w = Array4::<f32>::ones((16, 3, 5, 5)); // O, C/groups, kh, kw
    let b = Array1::<f32>::zeros(16);
    let options = ConvOptions::new().stride(2).padding(Padding::SameUpper);
    let y = conv2d(&x, &w, Some(&b), &options)?;
    assert_eq!(y.dim(), (8, 16, 16, 16));

    let geometry = ConvGeometry::new(x.shape(), w.shape(), &ConvOptions::new().padding(2))?;
    let plan = ConvPlan::<f32>::new(&geometry, &PlanOptions::new())?;
    let weights = plan.prepare(&w)?;
    let y = plan.forward(&x, &weights, &Epilogue::none().activation(Activation::Relu))?;
    let gradients = plan.backward(&x, &weights, &y, Wanted::ALL)?;
    assert_eq!(
        gradients.d_input.map(|d_input| d_input.dim()),
        Some(x.dim())
    );
    println!("{}", plan.explain(Pass::Forward));
    Ok(())
}
