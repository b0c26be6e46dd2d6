//! The gradient of Relu before a maximum, behind it: at the few elements of the maxima.
//!
//! ```text
//! r = Relu(x)      p, taps = MaxPool(r)
//! dx = Relu′(r) · MaxPoolBackward(taps, dp)    =    MaxPoolBackward(taps, Relu′(p) · dp)
//! ```
//!
//! What a maximum p > 0 gives goes to an element that is p itself; what p = 0 gives would be dropped there. The same
//! bits, from fewer elements, and r is not needed any more.

use super::edit::{Uses, operator};
use crate::network::draft::{Draft, Node};
use crate::network::operator::{Pool, PoolBackward, Unary, UnaryBackward};

pub(super) fn run(draft: &mut Draft) {
    for index in 0..draft.nodes.len() {
        let Some((pooling, p)) = found(draft, index) else {
            continue;
        };
        let (below, above) = (draft.nodes[pooling].clone(), draft.nodes[index].clone());
        let (taps, dp) = (below.inputs[0], below.inputs[1]);
        let masked = below.outputs[0];
        // What lay between has the shape of dp from now on.
        draft.values[masked].fact = dp.and_then(|dp| draft.values[dp].fact.clone());
        draft.note(
            "relu_of_maximum",
            format!("{} before {}", above.name, below.name),
        );
        draft.nodes[pooling] = Node {
            inputs: vec![Some(p), dp],
            outputs: vec![masked],
            ..above.clone()
        };
        draft.nodes[index] = Node {
            inputs: vec![taps, Some(masked)],
            outputs: above.outputs,
            ..below
        };
    }
}

/// Where node `index` is the gradient of a Relu that a pooling alone reads: the node of the gradient of that, and what
/// the pooling makes.
fn found(draft: &Draft, index: usize) -> Option<(usize, usize)> {
    let node = &draft.nodes[index];
    let relu = |node: &Node| {
        operator::<UnaryBackward>(node).is_some_and(|back| back.function() == Unary::Relu)
    };
    let &[Some(r), Some(dr)] = &node.inputs[..] else {
        return None;
    };
    if !relu(node) {
        return None;
    }
    let uses = Uses::new(draft);
    let pooling = uses.maker(dr).filter(|_| uses.only(dr, index))?;
    let back = operator::<PoolBackward>(&draft.nodes[pooling])?;
    let taps = draft.nodes[pooling].inputs[0].filter(|_| back.of_maximum())?;
    let maximum = &draft.nodes[uses.maker(taps)?];
    operator::<Pool>(maximum)?;
    let of_r = maximum.inputs.first() == Some(&Some(r)) && maximum.outputs.get(1) == Some(&taps);
    let function = operator::<Unary>(&draft.nodes[uses.maker(r)?]);
    (of_r && function == Some(&Unary::Relu)).then_some((pooling, maximum.outputs[0]))
}

#[cfg(test)]
mod tests {
    use crate::geometry::{ConvOptions, PoolOptions};
    use crate::network::{
        Binary, Conv, DType, Graph, Network, NetworkOptions, Pool, Reduce, ReduceKind, Tensor,
        Unary,
    };

    fn numbers(shape: &[usize], seed: u64) -> Tensor {
        let mut random = fastrand::Rng::with_seed(seed);
        // Some are equal, and Relu makes many zeros.
        let number = || (random.f32() * 16.0).round() / 4.0 - 2.5;
        ndarray::ArrayD::from_shape_simple_fn(shape, number).into()
    }

    /// All outputs of Conv, Relu, MaxPool and a loss, and whether the pass found something.
    fn run(windows: &PoolOptions, read_twice: bool, rewrite: bool) -> (Vec<Tensor>, bool) {
        let mut graph = Graph::new();
        let [x, w, r] = ["x", "w", "r"].map(|name| graph.input(name, DType::F32, None));
        let image = graph.node("image", Unary::Relu, &[x]);
        let pooled = graph.node("pooled", Pool::max(windows.clone()), &[image]);
        let options = ConvOptions::new().padding(1);
        let y = graph.node("y", Conv::new(options), &[pooled, w]);
        let product = graph.node("product", Binary::Mul, &[y, r]);
        let sum = Reduce::new(ReduceKind::Sum, false);
        let mut loss = graph.node("loss", sum.clone(), &[product]);
        if read_twice {
            let own = graph.node("own", sum, &[image]);
            loss = graph.node("both", Binary::Add, &[loss, own]);
        }
        graph.output(loss);
        let options = NetworkOptions::new().rewrite(rewrite);
        let network = Network::with_gradients(graph, loss, &[x, w], options).unwrap();
        let x = numbers(&[2, 5, 9, 8], 1);
        let p = crate::PoolGeometry::new(x.shape(), windows).unwrap();
        let given = [
            ("x", x),
            ("w", numbers(&[3, 5, 3, 3], 2)),
            ("r", numbers(&[&[2, 3][..], &p.outputs()].concat(), 3)),
        ];
        let made = network.run(&given).unwrap();
        let session = network.session(&given).unwrap();
        let mut changes = session.changes().iter();
        let found = changes.any(|change| change.pass == "relu_of_maximum");
        (made.into_iter().map(|(_, tensor)| tensor).collect(), found)
    }

    #[test]
    fn the_same_bits_as_without() {
        for windows in [
            PoolOptions::new(2),
            PoolOptions::new(3).stride(1).padding(1),
            PoolOptions::new(3).stride(2).ceil_mode(true),
        ] {
            let (plain, found) = run(&windows, false, false);
            assert!(!found);
            let (rewritten, found) = run(&windows, false, true);
            assert!(found);
            let [dx, rewritten_dx] =
                [&plain, &rewritten].map(|made| made[1].array::<f32>().unwrap());
            // Sums of quarters are exact: the convolution has no roundings in which recipes differ.
            assert_eq!(dx, rewritten_dx);
            assert!(dx.iter().any(|&dx| dx != 0.0));
            assert_eq!(plain[2], rewritten[2]);
        }
    }

    #[test]
    fn a_relu_that_something_else_reads_is_left_alone() {
        let (plain, _) = run(&PoolOptions::new(2), true, false);
        let (rewritten, found) = run(&PoolOptions::new(2), true, true);
        assert!(!found);
        assert_eq!(plain[1], rewritten[1]);
    }
}
