//! Pictures of what was learned.

use anyhow::Result;
use ndarray::{Array2, Array3, ArrayView3, Axis, Ix4};

use super::folder::RunFolder;
use super::{confusion, curves, filters, maps};
use crate::data::dataset::Dataset;
use crate::network::{Graph, Network, NetworkOptions, Tensor, ValueId};
use crate::train::{EpochRecord, Fit, Model};

/// Draws the curves of all epochs.
pub(super) fn curves(folder: &RunFolder, records: &[EpochRecord], title: &str) -> Result<()> {
    let (svg, png) = (folder.file("curves.svg"), folder.file("curves.png"));
    curves::write(records, title, &svg, &png)
}

/// The first example of a data set, as the network takes it.
pub(super) fn example(data: &dyn Dataset, fit: &Fit) -> Result<Array3<f32>> {
    let [channels, height, width] = data.shape();
    let mut image = vec![0.0; channels * height * width];
    data.image(0, &mut image)?;
    if let Some(normalise) = fit.normalise() {
        normalise.run(&mut image, height * width)?;
    }
    Ok(Array3::from_shape_vec((channels, height, width), image)?)
}

/// Draws the first filters, the maps that they make of `example`, and the confusion matrix.
pub(super) fn write(
    folder: &RunFolder,
    model: &Model,
    example: ArrayView3<f32>,
    counts: Option<&Array2<u64>>,
    classes: &[String],
) -> Result<()> {
    if let Some(counts) = counts {
        confusion::write(&folder.file("confusion.png"), counts.view(), classes)?;
    }
    let four = |tensor: &Tensor| {
        let array = tensor.array::<f32>()?.view();
        array
            .into_dimensionality::<Ix4>()
            .ok()
            .map(|array| array.to_owned())
    };
    let found = model
        .parameters()
        .iter()
        .find_map(|parameter| Some((&parameter.name, four(&parameter.tensor)?)));
    if let Some((name, weights)) = found {
        filters::write(&folder.file("filters.png"), weights.view(), name)?;
    }
    let graph = model.graph();
    if let Some((name, value)) = first_maps(&graph) {
        let made = activations(graph, value, example)?;
        if let Some(made) = four(&made) {
            let made = made.index_axis(Axis(0), 0);
            maps::write(&folder.file("features.png"), example, made, &name)?;
        }
    }
    Ok(())
}

/// The first convolution's output, behind its activation if it has one alone.
fn first_maps(graph: &Graph) -> Option<(String, ValueId)> {
    let mut nodes = graph.nodes().iter();
    let conv = nodes.find(|node| node.operator.name() == "Conv")?;
    let output = conv.outputs.first().copied().flatten()?;
    let mut readers = graph
        .nodes()
        .iter()
        .filter(|node| node.inputs.contains(&Some(output)));
    let next = readers.next().filter(|_| readers.next().is_none());
    let value = next
        .filter(|node| node.operator.name() == "Relu")
        .and_then(|node| node.outputs.first().copied().flatten())
        .unwrap_or(output);
    Some((graph.name(value).to_owned(), value))
}

fn activations(mut graph: Graph, value: ValueId, example: ArrayView3<f32>) -> Result<Tensor> {
    let name = graph.name(value).to_owned();
    graph.set_outputs(&[name])?;
    let images = crate::train::images_input(&graph)?;
    crate::train::free_batch(&mut graph);
    let network = Network::with_options(graph, NetworkOptions::new())?;
    let image = example.to_owned().insert_axis(Axis(0)).into_dyn();
    let mut made = network.run(&[(images, Tensor::from(image))])?;
    Ok(made.swap_remove(0).1)
}
