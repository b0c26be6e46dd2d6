//! Training does not notice which sums are exact: the same network from the same seed, by `Exact` and by `Fast`.
//!
//! ```text
//! x [N, 1, 16, 16] -> conv 3 × 3, 16, ReLU -> conv 3 × 3, 32, ReLU -> mean over pixels -> 3 classes, softmax
//! ```
//!
//! The classes are stripes across, down and diagonal, under noise. The second layer is what `Fast` gives to Winograd's
//! algorithm, in all three passes.

use gemmconv::{
    Accuracy, Activation, ConvGeometry, ConvOptions, ConvPlan, Epilogue, Pass, PlanOptions, Wanted,
};
use ndarray::{Array1, Array2, Array4, Axis};

const BATCH: usize = 16;
const SIDE: usize = 16;
const STEPS: usize = 60;
const RATE: f32 = 0.3;

struct Layer {
    plan: ConvPlan<f32>,
    w: Array4<f32>,
    b: Array1<f32>,
}

impl Layer {
    fn new(
        channels: usize,
        outputs: usize,
        accuracy: Accuracy,
        random: &mut fastrand::Rng,
    ) -> Self {
        let options = ConvOptions::new().padding(1);
        let (input, shape) = ([BATCH, channels, SIDE, SIDE], [outputs, channels, 3, 3]);
        let geometry = ConvGeometry::new(&input, &shape, &options).unwrap();
        let plan = ConvPlan::new(&geometry, &PlanOptions::new().accuracy(accuracy)).unwrap();
        // He's initialisation.
        let size = (6.0 / (9 * channels) as f32).sqrt();
        let w = Array4::from_shape_simple_fn(shape, || size * (2.0 * random.f32() - 1.0));
        let b = Array1::zeros(outputs);
        Self { plan, w, b }
    }

    fn forward(&self, x: &Array4<f32>) -> Array4<f32> {
        let weights = self.plan.prepare(&self.w).unwrap();
        let bias = self.b.to_vec();
        let epilogue = Epilogue::none().bias(&bias).activation(Activation::Relu);
        let y = self.plan.forward(x, &weights, &epilogue).unwrap();
        y.into_dimensionality().unwrap()
    }

    /// One step down; the gradient of the input. `dy` is that of the output before its activation.
    fn step(&mut self, x: &Array4<f32>, dy: &Array4<f32>) -> Array4<f32> {
        let weights = self.plan.prepare(&self.w).unwrap();
        let gradients = self.plan.backward(x, &weights, dy, Wanted::ALL).unwrap();
        let dw: Array4<f32> = gradients.d_weight.unwrap().into_dimensionality().unwrap();
        self.w.scaled_add(-RATE, &dw);
        let db = Array1::from_iter(gradients.d_bias.unwrap());
        self.b.scaled_add(-RATE, &db);
        gradients.d_input.unwrap().into_dimensionality().unwrap()
    }
}

/// Striped pictures and their classes.
fn pictures(random: &mut fastrand::Rng) -> (Array4<f32>, Vec<usize>) {
    let classes: Vec<usize> = (0..BATCH).map(|_| random.usize(0..3)).collect();
    let phases: Vec<usize> = (0..BATCH).map(|_| random.usize(0..4)).collect();
    let x = Array4::from_shape_fn([BATCH, 1, SIDE, SIDE], |(n, _, row, column)| {
        let along = [row, column, row + column][classes[n]] + phases[n];
        let stripe = if along % 4 < 2 { 0.5 } else { -0.5 };
        stripe + random.f32() - 0.5
    });
    (x, classes)
}

/// The loss of every step.
fn train(accuracy: Accuracy) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(11);
    let mut first = Layer::new(1, 16, accuracy, &mut random);
    let mut second = Layer::new(16, 32, accuracy, &mut random);
    for pass in Pass::ALL {
        let exact = second.plan.recipe_of(pass).kind().is_exact();
        assert_eq!(exact, accuracy == Accuracy::Exact, "{pass}");
    }
    let mut dense = Array2::from_shape_simple_fn((32, 3), || random.f32() - 0.5);
    let pixels = (SIDE * SIDE) as f32;
    let steps = (0..STEPS).map(|_| {
        let (x, classes) = pictures(&mut random);
        let a = first.forward(&x);
        let b = second.forward(&a);
        let means = b.sum_axis(Axis(3)).sum_axis(Axis(2)) / pixels;
        let mut scores = means.dot(&dense);
        let mut loss = 0.0;
        for (mut scores, &class) in scores.rows_mut().into_iter().zip(&classes) {
            scores.mapv_inplace(f32::exp);
            scores /= scores.sum();
            loss -= scores[class].ln() / BATCH as f32;
            scores[class] -= 1.0;
            scores /= BATCH as f32;
        }
        let d_means = scores.dot(&dense.t());
        dense.scaled_add(-RATE, &means.t().dot(&scores));
        let db = Array4::from_shape_fn(b.dim(), |(n, c, row, column)| {
            let passes = b[[n, c, row, column]] > 0.0;
            if passes {
                d_means[[n, c]] / pixels
            } else {
                0.0
            }
        });
        let mut da = second.step(&a, &db);
        da.zip_mut_with(&a, |d, &a| *d = if a > 0.0 { *d } else { 0.0 });
        first.step(&x, &da);
        loss
    });
    steps.collect()
}

#[test]
fn the_loss_goes_down_alike() {
    let (exact, fast) = (train(Accuracy::Exact), train(Accuracy::Fast));
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    // ln 3 is what guessing costs.
    assert!(mean(&exact[..5]) > 0.8, "{exact:?}");
    assert!(mean(&exact[STEPS - 5..]) < 0.4, "{exact:?}");
    assert_ne!(exact, fast);
    for (step, (exact, fast)) in exact.iter().zip(&fast).enumerate() {
        let apart = (exact - fast).abs();
        assert!(
            apart < 1e-3 * exact.max(0.1),
            "step {step}: {exact} and {fast}"
        );
    }
}
