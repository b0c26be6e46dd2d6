//! Taps of a convolution that meet nothing but zero padding, cut from its weights.
//!
//! ```text
//! 3 x 3 taps of dilation 24 and as much padding over 14 x 14 pixels   ->   1 x 1 without padding
//! ```

use std::sync::Arc;

use super::edit::operator;
use crate::error::Result;
use crate::network::draft::Draft;
use crate::network::operator::Conv;

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    for index in 0..draft.nodes.len() {
        let node = &draft.nodes[index];
        let Some(conv) = operator::<Conv>(node) else {
            continue;
        };
        let facts = draft.facts(&node.inputs)?;
        let Some((conv, weight)) = conv.cut(&facts)? else {
            continue;
        };
        let lengths = |shape: &[usize]| {
            let lengths = shape.iter().skip(2).map(usize::to_string);
            lengths.collect::<Vec<_>>().join(" x ")
        };
        let whole = facts[1].map_or(String::new(), |fact| lengths(&fact.shape));
        let name = node.name.clone();
        let what = format!("{} of {whole} in {name}", lengths(weight.shape()));
        draft.note("taps", what);
        let weight = draft.constant(format!("{name}:taps"), weight);
        draft.nodes[index].operator = Arc::new(conv);
        draft.nodes[index].inputs[1] = Some(weight);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::reference;
    use crate::geometry::{ConvGeometry, ConvOptions, Padding, PaddingMode};
    use crate::network::{DType, Graph, Network, Tensor};
    use ndarray::{ArrayD, IxDyn};

    fn numbers(shape: &[usize], seed: u64) -> ArrayD<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        ArrayD::from_shape_simple_fn(IxDyn(shape), || random.f32() - 0.5)
    }

    fn network(options: &ConvOptions, weight: ArrayD<f32>) -> Network {
        let mut graph = Graph::new();
        let x = graph.input("x", DType::F32, None);
        let lengths = weight.shape()[2..].to_vec();
        let weight = graph.constant("w", Tensor::from(weight));
        let conv = Conv::new(options.clone()).kernel(lengths);
        let y = graph.node("conv", conv, &[x, weight]);
        graph.output(y);
        Network::new(graph).unwrap()
    }

    /// What the pass did to a convolution that gives what the loops give with all taps.
    fn cut(input: &[usize], weight: ArrayD<f32>, options: &ConvOptions) -> Option<String> {
        let geometry = ConvGeometry::new(input, weight.shape(), options).unwrap();
        let x = numbers(input, 7);
        let mut expected = ArrayD::zeros(geometry.output_shape());
        let [from, by] = [&x, &weight].map(|array| array.as_slice().unwrap());
        reference::forward(&geometry, from, by, None, expected.as_slice_mut().unwrap());
        let given = [("x", Tensor::from(x))];
        let network = network(options, weight);
        let got = network.run(&given).unwrap().remove(0).1;
        let got = got.array::<f32>().unwrap();
        assert_eq!(got.shape(), expected.shape());
        for (got, expected) in got.iter().zip(&expected) {
            let equal = (got - expected).abs() <= 1e-5 || got.is_nan() && expected.is_nan();
            assert!(equal, "{got} {expected} {options:?}");
        }
        let session = network.session(&given).unwrap();
        let mut changes = session.changes().iter();
        let change = changes.find(|change| change.pass == "taps");
        change.map(|change| change.what.clone())
    }

    #[test]
    fn the_same_as_with_all_taps() {
        let new = ConvOptions::new;
        for (input, weight, options, taps) in [
            // As in DeepLabV3.
            (
                vec![1, 8, 14, 14],
                vec![4, 8, 3, 3],
                new().dilation(24).padding(24),
                "1 x 1 of 3 x 3",
            ),
            (
                vec![2, 4, 5, 9],
                vec![6, 2, 3, 3],
                new().dilation(7).padding(7).groups(2),
                "1 x 3 of 3 x 3",
            ),
            // More padding than the taps need, and less on one side.
            (
                vec![1, 3, 3, 4],
                vec![2, 3, 4, 3],
                new().dilation(5).padding([(12, 7), (0, 9)]),
                "1 x 2 of 4 x 3",
            ),
            (
                vec![1, 2, 4, 4],
                vec![3, 2, 3, 3],
                new().stride(2).dilation(4).padding(Padding::SameUpper),
                "2 x 2 of 3 x 3",
            ),
            (
                vec![1, 3, 2, 2],
                vec![5, 3, 3, 3],
                new()
                    .stride(2)
                    .padding(1)
                    .padding_mode(PaddingMode::Constant(0.0)),
                "2 x 2 of 3 x 3",
            ),
            (
                vec![1, 3, 3],
                vec![2, 3, 4],
                new().dilation(3).padding([(9, 3)]).flip_kernel(true),
                "2 of 4",
            ),
            (
                vec![1, 1, 1, 2, 3],
                vec![2, 1, 3, 3, 3],
                new().padding(1),
                "1 x 3 x 3 of 3 x 3 x 3",
            ),
        ] {
            let change = cut(&input, numbers(&weight, 8), &options);
            assert_eq!(change, Some(format!("{taps} in conv")), "{options:?}");
        }
    }

    #[test]
    fn what_the_padding_adds_is_left_alone() {
        let options = ConvOptions::new().dilation(4).padding(4);
        let (input, shape) = ([1, 2, 4, 4], [3, 2, 3, 3]);
        assert!(cut(&input, numbers(&shape, 1), &options).is_some());
        for value in [f32::INFINITY, f32::NAN] {
            let mut weight = numbers(&shape, 1);
            weight[[1, 0, 0, 2]] = value;
            assert_eq!(cut(&input, weight, &options), None);
        }
        let weight = || numbers(&shape, 1);
        for mode in [
            PaddingMode::Constant(1.0),
            PaddingMode::Replicate,
            PaddingMode::Circular,
        ] {
            let options = options.clone().padding_mode(mode);
            assert_eq!(cut(&input, weight(), &options), None);
        }
        // One pixel more, and every tap meets one.
        assert_eq!(cut(&[1, 2, 5, 5], weight(), &options), None);
    }

    #[test]
    fn sessions_share_what_is_cut() {
        let options = ConvOptions::new().dilation(9).padding(9);
        let network = network(&options, numbers(&[2, 3, 3, 3], 1));
        let weight = |size: [usize; 2]| {
            let shape = [&[1, 3], &size[..]].concat();
            let session = network.session_for(&[("x", shape)]).unwrap();
            let weight = session.draft.nodes[0].inputs[1].unwrap();
            let fact = session.draft.fact(weight).unwrap();
            fact.value.clone().unwrap()
        };
        let [first, second, rows, whole] = [[7, 8], [9, 5], [7, 10], [10, 10]].map(weight);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.shape(), [2, 3, 1, 1]);
        assert_eq!(rows.shape(), [2, 3, 1, 3]);
        assert_eq!(whole.shape(), [2, 3, 3, 3]);
    }
}
