//! Models that learn: what is a parameter, what stays, architectures, other last layers, averaged gradients.

use gemmconv::network::{Graph, Network, NetworkOptions, Tensor, Unary};
use gemmconv::train::architectures::Architecture;
use gemmconv::train::layers::{
    Parallel, Residual, Sequential, activation, average_pool, batch_norm, conv, conv_transpose,
    dropout, flatten, global_average, linear, locally_connected, max_pool, relu, separable,
    softmax,
};
use gemmconv::train::{Model, Trainer, TrainerOptions, flatten_scores, replace_head, scores};
use gemmconv::{Error, PoolOptions, TransposedOptions};
use ndarray::{Array1, ArrayD, IxDyn};

const BATCH: usize = 6;

/// Pictures and classes that have nothing to do with each other.
fn batch(seed: u64, images: usize, shape: &[usize], classes: usize) -> (Tensor, Tensor) {
    let mut random = fastrand::Rng::with_seed(seed);
    let shape = [&[images], shape].concat();
    let pixels = ArrayD::from_shape_simple_fn(IxDyn(&shape), || random.f32());
    let labels = Array1::from_shape_fn(images, |image| (image % classes) as i64);
    (pixels.into(), labels.into_dyn().into())
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.array::<f32>().unwrap().iter().copied().collect()
}

fn trainer(layers: &Sequential, options: TrainerOptions) -> Trainer {
    let model = Model::new(layers.graph(&[3, 8, 8], 1).unwrap()).unwrap();
    Trainer::new(model, options).unwrap()
}

/// A layer of every kind.
fn everything() -> Sequential {
    let branch = |channels| Sequential::new().then(conv(channels, 1)).then(relu());
    let parallel = Parallel::new().branch(branch(4)).branch(
        Sequential::new()
            .then(conv(4, 3).padding(1))
            .then(activation(Unary::Sigmoid)),
    );
    let body = Sequential::new()
        .then(conv(8, 3).padding(1).no_bias())
        .then(batch_norm())
        .then(relu());
    Sequential::new()
        .then(parallel)
        .then(Residual::new(body))
        .then(max_pool(PoolOptions::new(2)))
        .then(separable(12, 3, 1))
        .then(conv_transpose(6, 2).options(TransposedOptions::new().stride(2)))
        .then(average_pool(PoolOptions::new(2)))
        .then(locally_connected(6, 2))
        .then(dropout(0.25))
        .then(global_average())
        .then(flatten())
        .then(linear(5))
        .then(activation(Unary::Tanh))
        .then(linear(3))
        .then(softmax())
}

#[test]
fn every_layer_learns_and_the_loss_falls() {
    let (images, classes) = batch(1, BATCH, &[3, 8, 8], 3);
    let mut trainer = trainer(&everything(), TrainerOptions::new());
    let before = trainer.model().clone();
    let first = trainer.step(&images, &classes, 0.05).unwrap().loss;
    for (parameter, old) in trainer.model().parameters().iter().zip(before.parameters()) {
        assert_ne!(parameter.tensor, old.tensor, "{}", parameter.name);
    }
    for (statistic, old) in trainer.model().statistics().iter().zip(before.statistics()) {
        assert_ne!(statistic.tensor, old.tensor, "{}", statistic.name);
    }
    let mut last = first;
    for _ in 0..150 {
        last = trainer.step(&images, &classes, 0.05).unwrap().loss;
    }
    assert!(last < 0.5 * first, "{first} {last}");
    // The trained graph is one of inference: it ends in probabilities, and drops nothing.
    let network = Network::new(trainer.model().graph()).unwrap();
    let run = || network.run(&[("image", &images)]).unwrap().remove(0).1;
    let sums = run();
    assert_eq!(sums, run());
    for row in sums.array::<f32>().unwrap().outer_iter() {
        assert!((row.sum() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let (images, classes) = batch(2, BATCH, &[3, 8, 8], 3);
    let weights = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut trainer = trainer(&everything(), TrainerOptions::new().seed(9));
            for _ in 0..5 {
                trainer.step(&images, &classes, 0.05).unwrap();
            }
            let model = trainer.model();
            model
                .tensors()
                .map(|(_, tensor)| tensor.clone())
                .collect::<Vec<_>>()
        })
    };
    let one = weights(1);
    assert_eq!(one, weights(2));
    assert_eq!(one, weights(3));
}

#[test]
fn rewriting_the_graph_changes_rounding_alone() {
    let (images, classes) = batch(3, BATCH, &[3, 8, 8], 3);
    let losses = |rewrite: bool| {
        let network = NetworkOptions::new().rewrite(rewrite);
        // Dropout drops other elements in another layout.
        let layers = Sequential::new()
            .then(conv(8, 3).padding(1))
            .then(batch_norm())
            .then(relu())
            .then(max_pool(PoolOptions::new(2)))
            .then(conv(4, 3))
            .then(relu())
            .then(flatten())
            .then(linear(3));
        let mut trainer = trainer(&layers, TrainerOptions::new().network(network));
        let loss = |_| trainer.step(&images, &classes, 0.02).unwrap().loss;
        (0..8).map(loss).collect::<Vec<_>>()
    };
    for (plain, rewritten) in losses(false).into_iter().zip(losses(true)) {
        assert!((plain - rewritten).abs() < 1e-4, "{plain} {rewritten}");
    }
}

#[test]
fn gradients_of_parts_make_those_of_the_whole() {
    let layers = Sequential::new()
        .then(conv(4, 3))
        .then(relu())
        .then(flatten())
        .then(linear(3));
    let (images, classes) = batch(4, 8, &[3, 8, 8], 3);
    let part = |range: std::ops::Range<usize>| {
        let rows = ndarray::Slice::from(range);
        let images = images
            .array::<f32>()
            .unwrap()
            .slice_axis(ndarray::Axis(0), rows)
            .to_owned();
        let classes = classes
            .array::<i64>()
            .unwrap()
            .slice_axis(ndarray::Axis(0), rows)
            .to_owned();
        (Tensor::from(images), Tensor::from(classes))
    };
    let mut whole = trainer(&layers, TrainerOptions::new());
    whole.step(&images, &classes, 0.1).unwrap();
    let mut halves = trainer(&layers, TrainerOptions::new().accumulate(2));
    for range in [0..4, 4..8] {
        let (images, classes) = part(range);
        halves.step(&images, &classes, 0.1).unwrap();
    }
    assert!(!halves.waits());
    for ((name, whole), (_, halves)) in whole.model().tensors().zip(halves.model().tensors()) {
        for (whole, halves) in floats(whole).into_iter().zip(floats(halves)) {
            assert!((whole - halves).abs() < 1e-5, "{name}: {whole} {halves}");
        }
    }
    // What waits at the end of an epoch is not lost.
    let mut three = trainer(&layers, TrainerOptions::new().accumulate(3));
    let before = three.model().clone();
    three.step(&images, &classes, 0.1).unwrap();
    assert!(three.waits() && three.model().parameters()[0].tensor == before.parameters()[0].tensor);
    three.flush(0.1).unwrap();
    assert!(!three.waits());
    assert_eq!(
        three.model().parameters()[0].tensor,
        whole.model().parameters()[0].tensor
    );
}

#[test]
fn what_is_frozen_stays() {
    let layers = everything();
    let mut model = Model::new(layers.graph(&[3, 8, 8], 1).unwrap()).unwrap();
    let frozen = model.freeze("norm1").unwrap() + model.freeze("conv1").unwrap();
    assert_eq!(frozen, 4);
    let error = model.freeze("cnov").unwrap_err().to_string();
    assert!(
        error.contains("cnov") && error.contains("conv1.weight"),
        "{error}"
    );
    let before = model.clone();
    let mut trainer = Trainer::new(model, TrainerOptions::new()).unwrap();
    assert_eq!(trainer.learning().count(), before.parameters().len() - 4);
    let (images, classes) = batch(5, BATCH, &[3, 8, 8], 3);
    for _ in 0..3 {
        trainer.step(&images, &classes, 0.1).unwrap();
    }
    let after = trainer.model();
    for ((name, after), (_, before)) in after.tensors().zip(before.tensors()) {
        // The statistics of a frozen normalisation stay too.
        let stays = name.starts_with("norm1") || name.starts_with("conv1.");
        assert_eq!(after == before, stays, "{name}");
    }
    let mut model = before;
    for name in ["conv", "norm", "linear", "deconv", "local"] {
        model.freeze(name).unwrap();
    }
    assert!(Trainer::new(model, TrainerOptions::new()).is_err());
}

#[test]
fn architectures_have_their_parameters() {
    let count = |architecture: Architecture, input: &[usize]| {
        let graph = architecture.layers(10).graph(input, 0).unwrap();
        Model::new(graph).unwrap().count()
    };
    assert_eq!(count(Architecture::MnistCnn, &[1, 28, 28]), 458_570);
    assert_eq!(count(Architecture::Lenet5, &[1, 28, 28]), 61_706);
    // 0.27 million in the paper, with shortcuts of zeros; here they are projections.
    assert_eq!(count(Architecture::Resnet20, &[3, 32, 32]), 272_474);
    assert!(count(Architecture::MobilenetSmall, &[3, 32, 32]) > 100_000);
    for architecture in Architecture::ALL {
        assert_eq!(Architecture::named(architecture.name()), Some(architecture));
        let classes = 4;
        let model = Model::new(architecture.layers(classes).graph(&[1, 32, 32], 0).unwrap());
        let mut trainer = Trainer::new(model.unwrap(), TrainerOptions::new()).unwrap();
        let (images, labels) = batch(6, 4, &[1, 32, 32], classes);
        let first = trainer.step(&images, &labels, 0.01).unwrap().loss;
        assert!(first.is_finite(), "{}", architecture.name());
    }
    let error = Architecture::Lenet5
        .layers(10)
        .graph(&[1, 8, 8], 0)
        .unwrap_err();
    assert!(error.to_string().contains("conv2"), "{error}");
}

#[test]
fn a_head_for_other_classes() {
    let check = |graph: &Graph| {
        let other = replace_head(graph, 7, 3).unwrap();
        let model = Model::new(other).unwrap();
        let before = Model::new(graph.clone()).unwrap();
        let changed = model.parameters().iter().zip(before.parameters());
        let changed = changed
            .filter(|(now, then)| now.tensor != then.tensor)
            .count();
        assert_eq!(changed, 2, "weight and bias of one layer");
        let mut trainer = Trainer::new(model, TrainerOptions::new()).unwrap();
        let (images, classes) = batch(7, BATCH, &[3, 8, 8], 7);
        let report = trainer.step(&images, &classes, 0.01).unwrap();
        assert_eq!(report.scores.shape(), [BATCH, 7]);
    };
    check(&everything().graph(&[3, 8, 8], 0).unwrap());
    let by_conv = Sequential::new()
        .then(conv(6, 3))
        .then(relu())
        .then(conv(4, 1))
        .then(relu())
        .then(global_average())
        .then(flatten());
    // The bias of the last layer begins at 0 and stays 0 there, of another length.
    check(&by_conv.graph(&[3, 8, 8], 0).unwrap());
    let none = Sequential::new().then(global_average()).then(flatten());
    let error = replace_head(&none.graph(&[3, 8, 8], 0).unwrap(), 7, 0).unwrap_err();
    assert!(error.to_string().contains("no layer"), "{error}");
    let graph = everything().graph(&[3, 8, 8], 0).unwrap();
    assert_ne!(scores(&graph).unwrap(), graph.outputs()[0]);
}

/// Networks like SqueezeNet end in a pooling: [N, classes, 1, 1], with a softmax behind it or without.
#[test]
fn scores_with_axes_of_one_element() {
    for ends_in_softmax in [false, true] {
        let mut layers = Sequential::new()
            .then(conv(8, 3).padding(1))
            .then(relu())
            .then(conv(5, 1))
            .then(global_average());
        if ends_in_softmax {
            layers = layers.then(activation(Unary::Neg)).then(softmax());
        }
        let mut graph = layers.graph(&[3, 8, 8], 1).unwrap();
        let name = graph.name(graph.outputs()[0]).to_owned();
        flatten_scores(&mut graph).unwrap();
        graph.check().unwrap();
        assert_eq!(graph.name(graph.outputs()[0]) == name, ends_in_softmax);
        let scores = scores(&graph).unwrap();
        assert!(graph.name(scores).ends_with(":flat"));
        let network = Network::new(graph.clone()).unwrap();
        let (images, classes) = batch(5, BATCH, &[3, 8, 8], 5);
        let made = network.run(&[("image", images.clone())]).unwrap();
        assert_eq!(made[0].1.shape(), [BATCH, 5]);
        let model = Model::new(graph).unwrap();
        let mut trainer = Trainer::new(model, TrainerOptions::new()).unwrap();
        let losses: Vec<f32> = (0..8)
            .map(|_| trainer.step(&images, &classes, 0.2).unwrap().loss)
            .collect();
        assert!(losses[7] < losses[0], "{losses:?}");
    }
}

#[test]
fn a_loss_that_is_no_number_changes_nothing_and_is_located() {
    let layers = Sequential::new()
        .then(conv(4, 3))
        .then(relu())
        .then(flatten())
        .then(linear(3));
    let mut trainer = trainer(&layers, TrainerOptions::new());
    let (images, classes) = batch(8, BATCH, &[3, 8, 8], 3);
    trainer.step(&images, &classes, 0.1).unwrap();
    let mut broken = images.array::<f32>().unwrap().clone();
    broken[[2, 1, 3, 3]] = f32::NAN;
    let before: Vec<Tensor> = trainer.model().tensors().map(|(_, t)| t.clone()).collect();
    let error = trainer.step(&broken.into(), &classes, 0.1).unwrap_err();
    let Error::NotFinite { step, layer, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*step, 2);
    assert!(
        layer.as_ref().unwrap().contains("input \"image\""),
        "{error}"
    );
    let after: Vec<Tensor> = trainer.model().tensors().map(|(_, t)| t.clone()).collect();
    assert_eq!(before, after);
    assert!(trainer.step(&images, &classes, 0.1).is_ok());

    // Numbers that are finite, and whose sums are not.
    let mut model = trainer.model().clone();
    let weight = ArrayD::from_elem(IxDyn(&[4, 3, 3, 3]), f32::MAX);
    model.set("conv1.weight", weight.into()).unwrap();
    let mut trainer = Trainer::new(model, TrainerOptions::new()).unwrap();
    let error = trainer
        .step(&images, &classes, 0.1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("step 1") && error.contains("come out of conv1 (Conv)"),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let layers = Sequential::new().then(flatten()).then(linear(3));
    let mut trainer = trainer(&layers, TrainerOptions::new());
    let (images, classes) = batch(9, BATCH, &[3, 8, 8], 3);
    let (other, fewer) = batch(9, BATCH - 1, &[3, 8, 9], 3);
    assert!(trainer.step(&images, &fewer, 0.1).is_err());
    assert!(trainer.step(&other, &fewer, 0.1).is_err());
    let wrong = Tensor::from(Array1::from(vec![3i64; BATCH]).into_dyn());
    let error = trainer.step(&images, &wrong, 0.1).unwrap_err().to_string();
    assert!(
        error.contains("from 0 to 2") && error.contains('3'),
        "{error}"
    );
    assert!(trainer.step(&images, &classes, f64::NAN).is_err());
    assert!(trainer.step(&images, &classes, 0.1).is_ok());
    for options in [
        TrainerOptions::new().accumulate(0),
        TrainerOptions::new().momentum(1.5),
        TrainerOptions::new().smoothing(1.0),
    ] {
        let model = trainer.model().clone();
        let made = Trainer::new(model, options);
        let failed = made.and_then(|mut made| made.step(&images, &classes, 0.1).map(|_| ()));
        assert!(failed.is_err());
    }
    let nothing = Sequential::new().then(flatten());
    assert!(Model::new(nothing.graph(&[3, 8, 8], 0).unwrap()).is_err());
}
