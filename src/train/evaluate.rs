//! How well a network does on examples that it has not learned from.

use super::graph::{free_batch, images_input, scores};
use super::loader::Loader;
use super::metrics::Metrics;
use super::trainer::single;
use crate::error::{Error, Result};
use crate::network::{CrossEntropy, DType, Graph, Network, NetworkOptions, Tensor, View};

/// The classes that are counted as right beside the first: top-5.
const TOP: usize = 5;

/// Runs `graph`, whose first output are scores `[N, classes]` or their softmax, on all batches of `loader`.
///
/// # Errors
/// A graph that takes something else than one batch of images, or has another number of classes than the data; whatever
/// an image has wrong.
pub fn evaluate(graph: &Graph, loader: &Loader, options: &NetworkOptions) -> Result<Metrics> {
    let mut graph = graph.clone();
    let scores = scores(&graph)?;
    free_batch(&mut graph);
    let images = images_input(&graph)?;
    let classes = graph.input("classes", DType::I64, None);
    let loss = graph.node("loss", CrossEntropy::default(), &[scores, classes]);
    graph.outputs.clear();
    graph.output(loss);
    graph.output(scores);
    let network = Network::with_options(graph, options.clone())?;
    let names = loader.data().classes().len();
    let mut metrics = Metrics::new(names, TOP.min(names))?;
    for batch in loader.epoch(0, 0)? {
        let batch = batch?;
        let labels = ndarray::Array1::from(batch.labels).into_dyn();
        let labels = Tensor::from(labels);
        let made = network.run(&[
            (images.as_str(), &Tensor::from(batch.images)),
            ("classes", &labels),
        ])?;
        add(&mut metrics, &made[1].1, &labels, single(&made[0].1)[0])?;
    }
    Ok(metrics)
}

/// Counts a batch of scores and its mean loss.
pub(super) fn add(
    metrics: &mut Metrics,
    scores: &Tensor,
    labels: &Tensor,
    loss: f32,
) -> Result<()> {
    let (Some(scores), View::I64(labels)) = (scores.array::<f32>(), labels.view()) else {
        return Err(Error::Operand {
            operand: "scores",
            expected: "f32, and classes i64".to_owned(),
            got: scores.dtype().name().to_owned(),
        });
    };
    metrics.add(scores.view(), labels, loss.into())
}
