//! One convolution of this crate inside a training loop that knows nothing of it.
//!
//! ```text
//! cargo run --release --example custom_training_loop
//! ```
//!
//! Everything but the convolution is plain `ndarray`: the pictures (bars that lie or stand, in noise), the loss, the
//! update. What the loop needs of the crate are four calls: `ConvPlan::new` once, and for each step `update` of the
//! prepared weights, `forward` and `backward`.
//!
//! ```text
//! x [N, 1, 16, 16] ─► convolution, 4 filters of 3 × 3 ─► ReLU ─► mean of each channel ─► · v + c ─► sigmoid ─► loss
//! ```

use fastrand::Rng;
use gemmconv::{ConvGeometry, ConvOptions, ConvPlan, Epilogue, PlanOptions, Wanted};
use ndarray::{Array1, Array4, Axis};

const BATCH: usize = 32;
const SIDE: usize = 16;
const FILTERS: usize = 4;
const RATE: f32 = 1.0;
const STEPS: usize = 200;

/// Pictures of one bar each, and 1 where it stands.
fn pictures(random: &mut Rng) -> (Array4<f32>, Array1<f32>) {
    let mut x = Array4::from_shape_simple_fn((BATCH, 1, SIDE, SIDE), || 0.3 * random.f32());
    let stands = Array1::from_shape_simple_fn(BATCH, || f32::from(u8::from(random.bool())));
    for (mut picture, &stands) in x.outer_iter_mut().zip(&stands) {
        let (line, from) = (random.usize(2..14), random.usize(1..7));
        for step in from..from + 8 {
            let at = if stands > 0.5 {
                [0, step, line]
            } else {
                [0, line, step]
            };
            picture[at] = 1.0;
        }
    }
    (x, stands)
}

fn main() -> gemmconv::Result<()> {
    let random = &mut Rng::with_seed(7);
    let shape = (FILTERS, 1, 3, 3);
    let mut weight = Array4::from_shape_simple_fn(shape, || random.f32() - 0.5);
    let mut bias = Array1::<f32>::zeros(FILTERS);
    let mut v = Array1::from_shape_simple_fn(FILTERS, || random.f32() - 0.5);
    let mut c = 0.0;

    // The sizes of all steps are the same: one plan for all of them, and one place for the prepared weights.
    let options = ConvOptions::new().padding(1);
    let geometry = ConvGeometry::new(&[BATCH, 1, SIDE, SIDE], weight.shape(), &options)?;
    let plan = ConvPlan::new(&geometry, &PlanOptions::new())?;
    let mut prepared = plan.prepare(&weight)?;

    let (mut right, mut seen) = (0, 0);
    for step in 1..=STEPS {
        let (x, stands) = pictures(random);

        // Forward.
        plan.update(&mut prepared, &weight)?;
        let epilogue = Epilogue::none().bias(bias.as_slice().unwrap_or(&[]));
        let sums = plan.forward(&x, &prepared, &epilogue)?;
        let positive = sums.mapv(|sum| sum.max(0.0));
        let means = positive.sum_axis(Axis(3)).sum_axis(Axis(2)) / (SIDE * SIDE) as f32;
        let guess = (means.dot(&v) + c).mapv(|score| 1.0 / (1.0 + (-score).exp()));

        let pairs = guess.iter().zip(&stands);
        let loss: f32 = pairs
            .map(|(p, t)| -(t * p + (1.0 - t) * (1.0 - p)).ln())
            .sum();
        let pairs = guess.iter().zip(&stands);
        right += pairs.filter(|&(&p, &t)| (p > 0.5) == (t > 0.5)).count();
        seen += BATCH;

        // Backward, down to the output of the convolution: d loss / d sums.
        let d_score = (&guess - &stands) / BATCH as f32;
        let d_v = means.t().dot(&d_score);
        let mut d_sums = sums;
        for (mut picture, &d) in d_sums.outer_iter_mut().zip(&d_score) {
            for (mut channel, &v) in picture.outer_iter_mut().zip(&v) {
                let each = d * v / (SIDE * SIDE) as f32;
                channel.mapv_inplace(|sum| if sum > 0.0 { each } else { 0.0 });
            }
        }
        // The convolution's own part. Nobody asks for the gradient of the pictures.
        let wanted = Wanted {
            input: false,
            ..Wanted::ALL
        };
        let gradients = plan.backward(&x, &prepared, &d_sums, wanted)?;

        // Update.
        if let Some(d_weight) = gradients.d_weight {
            weight.scaled_add(-RATE, &d_weight);
        }
        if let Some(d_bias) = gradients.d_bias {
            bias.scaled_add(-RATE, &Array1::from(d_bias));
        }
        v.scaled_add(-20.0 * RATE, &d_v);
        c -= RATE * d_score.sum();

        if step % 40 == 0 {
            let share = 100.0 * right as f32 / seen as f32;
            println!(
                "step {step:3}   loss {:.4}   right {share:5.1} %",
                loss / BATCH as f32
            );
            (right, seen) = (0, 0);
        }
    }
    println!("first filter: {:.2}", weight.index_axis(Axis(0), 0));
    Ok(())
}
