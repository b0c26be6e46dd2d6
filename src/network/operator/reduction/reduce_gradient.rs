//! The gradients of reductions: nodes that spread dY over the elements that were reduced.
//!
//! ```text
//! Sum   dY            SumSquare  2 x dY      LogSum     dY / e^y
//! Mean  dY / n        L1         sign x dY   LogSumExp  e^(x − y) dY
//!                     L2         x dY / y, 0 where y = 0
//! Max, Min            dY / k where x = y, of which there are k: shared equally, as PyTorch's amax
//! ```

use super::axes::reduced_shape;
use super::{Reduce, ReduceKind};
use crate::error::Result;
use crate::network::gradient::Backward;
use crate::network::graph::ValueId;
use crate::network::operator::elementwise::{integers, number};
use crate::network::operator::{Binary, Cast, Expand, Fact, Unary, Where};

/// The nodes of the gradient of `reduce`.
pub(super) fn gradient(reduce: &Reduce, backward: &mut Backward) -> Result<()> {
    let (x, y, dy) = (
        backward.input(0)?,
        backward.output(0)?,
        backward.d_output()?,
    );
    let facts: [Option<&Fact>; 2] = std::array::from_fn(|index| backward.input_fact(index));
    let Some(axes) = reduce.logical(&facts)? else {
        return backward.give(0, dy);
    };
    let shape = backward.fact(x)?.shape.clone();
    let kept = reduced_shape(&shape, &axes, true);
    let (y, dy) = (backward.reshape(y, &kept)?, backward.reshape(dy, &kept)?);
    let gradient = match reduce.reduction {
        ReduceKind::Sum => dy,
        ReduceKind::Mean => {
            let count = axes.iter().map(|&axis| shape[axis] as f64).product();
            let count = number(backward, dy, count)?;
            backward.node(Binary::Div, &[dy, count])?
        }
        ReduceKind::LogSum => {
            let sum = backward.node(Unary::Exp, &[y])?;
            backward.node(Binary::Div, &[dy, sum])?
        }
        ReduceKind::L1 => {
            let sign = backward.node(Unary::Sign, &[x])?;
            backward.node(Binary::Mul, &[dy, sign])?
        }
        ReduceKind::SumSquare => {
            let two = number(backward, dy, 2.0)?;
            let twice = backward.node(Binary::Mul, &[dy, two])?;
            backward.node(Binary::Mul, &[x, twice])?
        }
        ReduceKind::L2 => {
            let zero = number(backward, dy, 0.0)?;
            let none = backward.node(Binary::Equal, &[y, zero])?;
            let ratio = backward.node(Binary::Div, &[dy, y])?;
            let ratio = backward.node(Where, &[none, zero, ratio])?;
            backward.node(Binary::Mul, &[x, ratio])?
        }
        ReduceKind::LogSumExp => {
            let less = backward.node(Binary::Sub, &[x, y])?;
            let weight = backward.node(Unary::Exp, &[less])?;
            backward.node(Binary::Mul, &[weight, dy])?
        }
        ReduceKind::Max | ReduceKind::Min => shared(backward, [x, y, dy], &kept)?,
        ReduceKind::Prod => return Err(backward.unsupported()),
    };
    let gradient = match backward.fact(gradient)?.shape == shape {
        true => gradient,
        false => {
            let shape = backward.constant(integers(shape.iter().map(|&n| n as i64).collect()));
            backward.node(Expand::new(), &[gradient, shape])?
        }
    };
    backward.give(0, gradient)
}

/// dY, shared by the elements that are equal to y.
fn shared(backward: &mut Backward, [x, y, dy]: [ValueId; 3], kept: &[usize]) -> Result<ValueId> {
    let (dtype, zero) = (backward.fact(dy)?.dtype, number(backward, dy, 0.0)?);
    let same = backward.node(Binary::Equal, &[x, y])?;
    let ones = backward.node(Cast::To(dtype), &[same])?;
    let count = backward.sum_to(ones, kept)?;
    let share = backward.node(Binary::Div, &[dy, count])?;
    backward.node(Where, &[same, share, zero])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{check_gradient, doubles, floats, integers};
    use crate::network::{DType, Graph, Network, NetworkOptions};

    #[test]
    fn central_differences() {
        use ReduceKind::*;
        let kinds = [L1, L2, LogSum, LogSumExp, Max, Mean, Min, Sum, SumSquare];
        for kind in kinds {
            let x = doubles(&[2, 3, 2, 2], 1, 0.5, 2.0);
            for keep in [false, true] {
                check_gradient(Reduce::new(kind, keep), std::slice::from_ref(&x), &[0]);
                for axes in [&[1][..], &[-1, 2], &[0, 2, 3]] {
                    let inputs = [x.clone(), integers(axes)];
                    check_gradient(Reduce::new(kind, keep), &inputs, &[0]);
                }
                let none = Reduce::new(kind, keep).none_if_empty(true);
                check_gradient(none, std::slice::from_ref(&x), &[0]);
            }
            check_gradient(Reduce::new(kind, false), &[doubles(&[], 2, 0.5, 2.0)], &[0]);
        }
    }

    fn at(kind: ReduceKind, x: [f32; 4]) -> crate::network::Tensor {
        let mut graph = Graph::new();
        let value = graph.input("x", DType::F32, None);
        let y = graph.node("y", Reduce::new(kind, false), &[value]);
        graph.output(y);
        let network = Network::with_gradients(graph, y, &[value], NetworkOptions::new()).unwrap();
        network.run(&[("x", floats(&[4], x))]).unwrap().remove(1).1
    }

    #[test]
    fn ties_share_and_a_norm_of_zeros_has_no_gradient() {
        let half = floats(&[4], [0.5, 0.0, 0.5, 0.0]);
        assert_eq!(at(ReduceKind::Max, [3.0, 1.0, 3.0, 2.0]), half);
        assert_eq!(at(ReduceKind::Min, [1.0, 2.0, 1.0, 2.0]), half);
        let zeros = floats(&[4], [0.0; 4]);
        assert_eq!(at(ReduceKind::L2, [0.0; 4]), zeros);
        assert_eq!(at(ReduceKind::L1, [0.0; 4]), zeros);
    }
}
