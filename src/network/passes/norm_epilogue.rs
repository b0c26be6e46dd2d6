//! Sums and Relu into the batch normalisation before them, and the gradient of that Relu into the gradient of it.
//!
//! ```text
//! Add(norm(x), r)      r of the same shape, made before: the residual of the normalisation, which takes the place of Add
//! Relu(norm(x))        its end
//! y = Relu(norm(x)):   dnorm(x, Relu′(y) dy)   =   dnorm behind a Relu, which makes y again from x     without a residual
//! ```
//!
//! The same bits, with fewer ways through memory.

use std::sync::Arc;

use super::edit::{Uses, operator};
use crate::error::Result;
use crate::network::draft::{Draft, Node};
use crate::network::operator::{
    BatchNormBackward, BatchNormTraining, Binary, Unary, UnaryBackward, Variadic,
};

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    let mut index = 0;
    while index < draft.nodes.len() {
        // Each leaves node `index` out, so that the next one has its number.
        if !(residual(draft, index)? || relu(draft, index) || gradient(draft, index)) {
            index += 1;
        }
    }
    Ok(())
}

/// The node that makes `value`, where that is a normalisation which node `reader` alone reads.
fn norm(draft: &Draft, uses: &Uses, value: Option<usize>, reader: usize) -> Option<usize> {
    let maker = uses.maker(value.filter(|&value| uses.only(value, reader))?)?;
    let node = &draft.nodes[maker];
    let plain = operator::<BatchNormTraining>(node).is_some_and(|norm| !norm.has_relu());
    (plain && node.outputs.first().copied() == value).then_some(maker)
}

/// Makes a sum of two part of the normalisation that made one of them.
fn residual(draft: &mut Draft, index: usize) -> Result<bool> {
    let node = &draft.nodes[index];
    let sum = operator(node) == Some(&Binary::Add) || operator(node) == Some(&Variadic::Sum);
    let (true, &[Some(a), Some(b)]) = (sum, &node.inputs[..]) else {
        return Ok(false);
    };
    let uses = Uses::new(draft);
    // The later one, so that the other does not wait.
    let found = [(a, b), (b, a)].into_iter().filter_map(|(own, other)| {
        let by = norm(draft, &uses, Some(own), index)?;
        (draft.nodes[by].inputs.len() <= BatchNormTraining::RESIDUAL).then_some((by, other))
    });
    let Some((by, other)) = found.max_by_key(|&(by, _)| by) else {
        return Ok(false);
    };
    let (made, added) = (draft.fact(node.outputs[0])?, draft.fact(other)?);
    let from = draft.fact(draft.nodes[by].outputs[0])?;
    if added.shape != made.shape || from.shape != made.shape || added.dtype != made.dtype {
        return Ok(false);
    }
    // Its numbers must not be wanted before the sum is.
    let kept = &draft.nodes[by].outputs[1..];
    let early = draft.nodes[by..index].iter();
    if early
        .flat_map(|node| node.inputs.iter().flatten())
        .any(|value| kept.contains(value))
    {
        return Ok(false);
    }
    let mut norm = draft.nodes[by].clone();
    norm.inputs.resize(BatchNormTraining::RESIDUAL, None);
    norm.inputs.push(Some(other));
    norm.outputs[0] = node.outputs[0];
    note(draft, index, &norm);
    draft.nodes[index] = norm;
    draft.nodes.remove(by);
    Ok(true)
}

/// Makes a Relu the end of the normalisation before it.
fn relu(draft: &mut Draft, index: usize) -> bool {
    let node = &draft.nodes[index];
    if operator(node) != Some(&Unary::Relu) {
        return false;
    }
    let uses = Uses::new(draft);
    let by = norm(draft, &uses, node.inputs[0], index);
    let Some((by, norm)) =
        by.and_then(|by| Some((by, operator::<BatchNormTraining>(&draft.nodes[by])?)))
    else {
        return false;
    };
    draft.nodes[by].operator = Arc::new(norm.with_relu());
    draft.absorb(NAME, index, by);
    true
}

/// Makes the gradient of a Relu part of that of the normalisation which ends with it.
fn gradient(draft: &mut Draft, index: usize) -> bool {
    let uses = Uses::new(draft);
    let Some((mask, behind)) = gradient_of(draft, &uses, index) else {
        return false;
    };
    note(draft, mask, &behind);
    draft.nodes[index] = behind;
    draft.nodes.remove(mask);
    true
}

/// Where node `index` is the gradient of a normalisation that ends with a Relu: the node of the gradient of that, and
/// what takes the place of both.
fn gradient_of(draft: &Draft, uses: &Uses, index: usize) -> Option<(usize, Node)> {
    let node = &draft.nodes[index];
    let &[x, Some(dz), scale, mean, slope] = &node.inputs[..] else {
        return None;
    };
    let back = operator::<BatchNormBackward>(node)?;
    let mask = uses.maker(dz).filter(|_| uses.only(dz, index))?;
    if operator::<UnaryBackward>(&draft.nodes[mask])?.function() != Unary::Relu {
        return None;
    }
    let &[Some(y), dy] = &draft.nodes[mask].inputs[..] else {
        return None;
    };
    let forward = &draft.nodes[uses.maker(y)?];
    let ends = operator::<BatchNormTraining>(forward)?.has_relu();
    let &[own_x, own_scale, bias] = &forward.inputs[..] else {
        return None;
    };
    let kept = [y, mean?, slope?] == [0, 1, 3].map(|output| forward.outputs[output]);
    let same = ends && kept && [x, scale] == [own_x, own_scale];
    let behind = Node {
        operator: Arc::new(back.clone().behind_relu()),
        inputs: vec![x, dy, scale, mean, slope, bias],
        ..node.clone()
    };
    same.then_some((mask, behind))
}

const NAME: &str = "norm_epilogue";

/// Writes down that node `index` became a part of `by`.
fn note(draft: &mut Draft, index: usize, by: &Node) {
    let node = &draft.nodes[index];
    let what = format!("{} ({}) into {}", node.name, node.operator.name(), by.name);
    draft.note(NAME, what);
}

#[cfg(test)]
mod tests {
    use crate::geometry::ConvOptions;
    use crate::network::{
        BatchNormTraining, Binary, Conv, DType, Graph, Network, NetworkOptions, Reduce, ReduceKind,
        Tensor, Unary,
    };

    fn numbers(shape: &[usize], seed: u64) -> Tensor {
        let mut random = fastrand::Rng::with_seed(seed);
        ndarray::ArrayD::from_shape_simple_fn(shape, || random.f32() - 0.5).into()
    }

    /// A block as residual networks have it: outputs and changes.
    fn run(channels: usize, both: bool, rewrite: bool) -> (Vec<Tensor>, Vec<String>) {
        let mut graph = Graph::new();
        let names = ["x", "w", "v", "scale", "bias", "r"];
        let [x, w, v, scale, bias, r] = names.map(|name| graph.input(name, DType::F32, None));
        let norm = |graph: &mut Graph, name: &str, of| {
            graph.node(name, BatchNormTraining::new(1e-3), &[of, scale, bias])
        };
        let conv = || Conv::new(ConvOptions::new().padding(1));
        let first = graph.node("conv1", conv(), &[x, w]);
        let first = norm(&mut graph, "norm1", first);
        let first = graph.node("relu1", Unary::Relu, &[first]);
        let second = graph.node("conv2", conv(), &[first, v]);
        let second = norm(&mut graph, "norm2", second);
        let other = match both {
            true => norm(&mut graph, "norm3", first),
            false => first,
        };
        let sum = graph.node("add", Binary::Add, &[other, second]);
        let y = graph.node("relu2", Unary::Relu, &[sum]);
        let product = graph.node("product", Binary::Mul, &[y, r]);
        let loss = graph.node("loss", Reduce::new(ReduceKind::Sum, false), &[product]);
        graph.output(y);
        graph.output(loss);
        let options = NetworkOptions::new().rewrite(rewrite);
        let wanted = [x, w, v, scale, bias];
        let network = Network::with_gradients(graph, loss, &wanted, options).unwrap();
        let image = [3, channels, 7, 9];
        let given = [
            ("x", numbers(&image, 1)),
            ("w", numbers(&[channels, channels, 3, 3], 2)),
            ("v", numbers(&[channels, channels, 3, 3], 3)),
            ("scale", numbers(&[channels], 4)),
            ("bias", numbers(&[channels], 5)),
            ("r", numbers(&image, 6)),
        ];
        let made = network.run(&given).unwrap();
        let session = network.session(&given).unwrap();
        let changes = session.changes().iter();
        let changes = changes.filter(|change| change.pass == super::NAME);
        (
            made.into_iter().map(|(_, tensor)| tensor).collect(),
            changes.map(|change| change.what.clone()).collect(),
        )
    }

    #[test]
    fn results_and_gradients_are_those_without() {
        for channels in [1, 6, 16, 70] {
            for both in [false, true] {
                let (plain, none) = run(channels, both, false);
                assert!(none.is_empty());
                let (rewritten, changes) = run(channels, both, true);
                let all = changes.join(", ");
                for part in [
                    "relu1 (Relu) into norm1",
                    "add (Add) into norm",
                    "relu2 (Relu) into norm",
                    "(UnaryBackward) into",
                ] {
                    assert!(all.contains(part), "{part} is not in: {all}");
                }
                assert_eq!(plain.len(), rewritten.len());
                for (plain, rewritten) in plain.iter().zip(&rewritten) {
                    let [plain, rewritten] =
                        [plain, rewritten].map(|made| made.array::<f32>().unwrap());
                    let most = plain
                        .iter()
                        .fold(0.0f32, |most, value| most.max(value.abs()));
                    for (plain, rewritten) in plain.iter().zip(rewritten) {
                        // Layouts and recipes of the convolutions differ, and so do their roundings.
                        let error = (plain - rewritten).abs();
                        assert!(error <= 2e-5 * (1.0 + most), "{plain} {rewritten}");
                    }
                }
            }
        }
    }
}
