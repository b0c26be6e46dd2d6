//! Thirty steps of PyTorch on real digits, followed: every loss and the last weights.
//!
//! ```text
//! conv(1, 8, 5, pad 2) ─► relu ─► maximum 2 ─► conv(8, 16, 3) ─► relu ─► maximum 2 ─► linear(576, 10)
//! cross-entropy, SGD with momentum 0.9 and decay 1e-4, rate 0.05, batches of 32 in the order of the file
//! ```

use std::path::Path;

use crate::common::data;
use gemmconv::data::dataset::Split;
use gemmconv::data::open::open;
use gemmconv::network::{NetworkOptions, Tensor};
use gemmconv::train::layers::{Sequential, conv, flatten, linear, max_pool, relu};
use gemmconv::train::optimizer::OptimizerOptions;
use gemmconv::train::{Model, Trainer, TrainerOptions};
use gemmconv::{PlanOptions, PoolOptions};
use ndarray::{Array1, ArrayD};
use safetensors::SafeTensors;

const STEPS: usize = 30;
const BATCH: usize = 32;

/// Ours and PyTorch's names.
const NAMES: [(&str, &str); 6] = [
    ("conv1.weight", "c1.weight"),
    ("conv1.bias", "c1.bias"),
    ("conv2.weight", "c2.weight"),
    ("conv2.bias", "c2.bias"),
    ("linear1.weight", "f.weight"),
    ("linear1.bias", "f.bias"),
];

/// The numbers of a tensor of f32 or f64, as f64.
fn numbers(file: &SafeTensors, name: &str) -> ArrayD<f64> {
    let tensor = file.tensor(name).unwrap();
    let values: Vec<f64> = match tensor.dtype() {
        safetensors::Dtype::F64 => {
            let chunks = tensor.data().as_chunks::<8>().0.iter();
            chunks.map(|&bytes| f64::from_le_bytes(bytes)).collect()
        }
        safetensors::Dtype::F32 => {
            let chunks = tensor.data().as_chunks::<4>().0.iter();
            chunks
                .map(|&bytes| f32::from_le_bytes(bytes).into())
                .collect()
        }
        other => panic!("{name} is {other:?}"),
    };
    ArrayD::from_shape_vec(tensor.shape().to_vec(), values).unwrap()
}

/// The first batches of MNIST, in the order of the file, 0 to 1.
fn batches(digits: &Path) -> Vec<(Tensor, Tensor)> {
    let set = open(digits, Split::Train).unwrap();
    (0..STEPS)
        .map(|step| {
            let mut images = ArrayD::<f32>::zeros(vec![BATCH, 1, 28, 28]);
            let examples = step * BATCH..(step + 1) * BATCH;
            for (index, mut image) in examples.clone().zip(images.outer_iter_mut()) {
                set.image(index, image.as_slice_mut().unwrap()).unwrap();
            }
            let labels = examples.map(|index| set.labels()[index] as i64);
            let labels: Array1<i64> = labels.collect();
            (images.into(), labels.into_dyn().into())
        })
        .collect()
}

/// Trains as PyTorch did; the losses and the model.
fn trained(
    file: &SafeTensors,
    batches: &[(Tensor, Tensor)],
    plan: PlanOptions,
) -> (Vec<f64>, Model) {
    let layers = Sequential::new()
        .then(conv(8, 5).padding(2))
        .then(relu())
        .then(max_pool(PoolOptions::new(2)))
        .then(conv(16, 3))
        .then(relu())
        .then(max_pool(PoolOptions::new(2)))
        .then(flatten())
        .then(linear(10));
    let mut model = Model::new(layers.graph(&[1, 28, 28], 0).unwrap()).unwrap();
    for (ours, theirs) in NAMES {
        let first = numbers(file, &format!("init.{theirs}"));
        model
            .set(ours, first.mapv(|value| value as f32).into())
            .unwrap();
    }
    let options = TrainerOptions::new()
        .optimizer(OptimizerOptions::Sgd {
            momentum: 0.9,
            nesterov: false,
            decay: 1e-4,
        })
        .network(NetworkOptions::new().plan(plan));
    let mut trainer = Trainer::new(model, options).unwrap();
    let losses = batches
        .iter()
        .map(|(images, classes)| f64::from(trainer.step(images, classes, 0.05).unwrap().loss));
    let losses = losses.collect();
    (losses, trainer.model().clone())
}

#[test]
fn thirty_steps_of_sgd_are_those_of_pytorch() {
    let (Some(vectors), Some(digits)) = (data("torch-layers"), data("mnist")) else {
        return;
    };
    let bytes = std::fs::read(vectors.join("train_sgd.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let batches = batches(&digits);
    let expected = numbers(&file, "losses.f64");
    let mut worst = (0.0f64, 0.0f64);
    for accuracy in [gemmconv::Accuracy::Exact, gemmconv::Accuracy::Fast] {
        let (losses, model) = trained(&file, &batches, PlanOptions::new().accuracy(accuracy));
        for (step, (got, expected)) in losses.iter().zip(&expected).enumerate() {
            let error = (got - expected).abs();
            worst.0 = worst.0.max(error);
            assert!(
                error <= 1e-5,
                "{accuracy:?}, step {step}: {got}, not {expected}"
            );
        }
        for (ours, theirs) in NAMES {
            let expected = numbers(&file, &format!("final.{theirs}"));
            let found = model.parameters().iter().find(|held| held.name == ours);
            let got = found.unwrap().tensor.array::<f32>().unwrap().clone();
            for (&got, expected) in got.iter().zip(&expected) {
                let error = (f64::from(got) - expected).abs();
                worst.1 = worst.1.max(error);
                assert!(
                    error <= 1e-5 + 1e-4 * expected.abs(),
                    "{accuracy:?}, {ours}: {got}, not {expected}"
                );
            }
        }
    }
    println!(
        "losses within {:.1e}, weights within {:.1e}",
        worst.0, worst.1
    );
}
