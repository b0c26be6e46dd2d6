//! The gradients of functions of two: nodes of the same kind, and sums where an input was broadcast.
//!
//! ```text
//! a + b    dA = dY            dB = dY
//! a - b    dA = dY            dB = -dY
//! a b      dA = b dY          dB = a dY
//! a / b    dA = dY / b        dB = -dY y / b
//! aᵇ       dA = b aᵇ⁻¹ dY, 0 where b = 0        dB = y ln a dY, 0 where a = 0 ≤ b
//! PRelu    dA = dY where a > 0, else b dY       dB = min(a, 0) dY
//! ```
//!
//! At the kink of PRelu, and where a power has no derivative, this is what PyTorch takes.

use super::unbroadcast::{give_product, give_sum, number};
use super::{Binary, Cast, Unary, Variadic, Where};
use crate::error::Result;
use crate::network::gradient::Backward;
use crate::network::graph::ValueId;

/// The nodes of the gradient of `operator`.
pub(super) fn gradient(operator: Binary, backward: &mut Backward) -> Result<()> {
    let (dy, a, b) = (backward.d_output()?, backward.input(0)?, backward.input(1)?);
    match operator {
        Binary::Add => {
            give_sum(backward, 0, dy)?;
            give_sum(backward, 1, dy)
        }
        Binary::Sub => {
            give_sum(backward, 0, dy)?;
            negated(backward, dy)
        }
        Binary::Mul => {
            give_product(backward, 0, [dy, b])?;
            give_product(backward, 1, [dy, a])
        }
        Binary::Div => {
            let gradient = backward.node(Binary::Div, &[dy, b])?;
            give_sum(backward, 0, gradient)?;
            if backward.wants(1) {
                let y = backward.output(0)?;
                let product = backward.node(Binary::Mul, &[gradient, y])?;
                negated(backward, product)?;
            }
            Ok(())
        }
        Binary::Pow => power(backward, [a, b], dy),
        Binary::PRelu => {
            let zero = number(backward, a, 0.0)?;
            if backward.wants(0) {
                let above = backward.node(Binary::Greater, &[a, zero])?;
                let sloped = backward.node(Binary::Mul, &[dy, b])?;
                let gradient = backward.node(Where, &[above, dy, sloped])?;
                backward.give(0, gradient)?;
            }
            if backward.wants(1) {
                let below = backward.node(Variadic::Min, &[a, zero])?;
                give_product(backward, 1, [dy, below])?;
            }
            Ok(())
        }
        _ => Err(backward.unsupported()),
    }
}

/// Gives the second input `-gradient`, which is summed first.
fn negated(backward: &mut Backward, gradient: ValueId) -> Result<()> {
    if backward.wants(1) {
        let input = backward.input(1)?;
        let shape = backward.fact(input)?.shape.clone();
        let sum = backward.sum_to(gradient, &shape)?;
        let gradient = backward.node(Unary::Neg, &[sum])?;
        backward.give(1, gradient)?;
    }
    Ok(())
}

fn power(backward: &mut Backward, [a, exponent]: [ValueId; 2], dy: ValueId) -> Result<()> {
    let (dtype, own) = (backward.fact(a)?.dtype, backward.fact(exponent)?.dtype);
    let b = match dtype == own {
        true => exponent,
        false => backward.node(Cast::To(dtype), &[exponent])?,
    };
    let (zero, one) = (number(backward, a, 0.0)?, number(backward, a, 1.0)?);
    if backward.wants(0) {
        let less = backward.node(Binary::Sub, &[b, one])?;
        let slope = backward.node(Binary::Pow, &[a, less])?;
        let slope = backward.node(Binary::Mul, &[b, slope])?;
        let none = backward.node(Binary::Equal, &[b, zero])?;
        let slope = backward.node(Where, &[none, zero, slope])?;
        give_product(backward, 0, [dy, slope])?;
    }
    if backward.wants(1) {
        let y = backward.output(0)?;
        let logarithm = backward.node(Unary::Log, &[a])?;
        let slope = backward.node(Binary::Mul, &[y, logarithm])?;
        let nothing = backward.node(Binary::Equal, &[a, zero])?;
        let grows = backward.node(Binary::GreaterOrEqual, &[b, zero])?;
        let none = backward.node(Binary::And, &[nothing, grows])?;
        let slope = backward.node(Where, &[none, zero, slope])?;
        let mut gradient = backward.node(Binary::Mul, &[dy, slope])?;
        if dtype != own {
            gradient = backward.node(Cast::To(own), &[gradient])?;
        }
        give_sum(backward, 1, gradient)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{check_gradient, doubles};
    use crate::network::tensor::Tensor;

    /// Shapes with and without broadcasting, in either input.
    const SHAPES: [[&[usize]; 2]; 6] = [
        [&[2, 3, 4], &[2, 3, 4]],
        [&[2, 3, 2, 2], &[3, 1, 1]],
        [&[2, 3, 2, 2], &[2, 3, 1, 1]],
        [&[4], &[2, 3, 4]],
        [&[2, 1, 3], &[4, 1]],
        [&[], &[5]],
    ];

    #[test]
    fn arithmetic_by_central_differences() {
        for operator in [
            Binary::Add,
            Binary::Sub,
            Binary::Mul,
            Binary::Div,
            Binary::Pow,
        ] {
            for [a, b] in SHAPES {
                let (a, b) = (doubles(a, 1, 0.5, 2.0), doubles(b, 2, 0.5, 2.0));
                check_gradient(operator, &[a, b], &[0, 1]);
            }
        }
    }

    #[test]
    fn an_input_that_is_read_twice() {
        let x = doubles(&[2, 3], 1, 0.5, 2.0);
        check_gradient(Binary::Mul, &[x.clone(), x], &[1]);
    }

    #[test]
    fn slopes_of_prelu() {
        for slope in [&[3, 1, 1][..], &[1], &[2, 3, 2, 2]] {
            let x = doubles(&[2, 3, 2, 2], 3, -1.0, 1.0);
            check_gradient(Binary::PRelu, &[x, doubles(slope, 4, -0.5, 0.5)], &[0, 1]);
        }
    }

    #[test]
    fn powers_of_negative_numbers_by_whole_exponents() {
        let exponents: Tensor = ndarray::arr1(&[0i64, 1, 2, 3]).into_dyn().into();
        check_gradient(
            Binary::Pow,
            &[doubles(&[3, 4], 5, -2.0, 2.0), exponents],
            &[0],
        );
    }
}
