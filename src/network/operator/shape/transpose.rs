//! Transpose: axes in another order.
//!
//! ```text
//! y[i_p₀, i_p₁, …] = x[i₀, i₁, …]            axis j of y is axis permutation[j] of x
//! ```

use super::super::check::{at_most, required, wrong_attribute};
use super::super::strided::Strided;
use super::super::{Fact, Facts, Operator, Step};
use super::reshape::Same;
use crate::error::{Result, product};
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::tensor::{View, ViewMut};
use crate::plan::PlanOptions;

/// The axes of its input in another order.
///
/// It has no form for channels that are last: where values are turned around it, the turns and it are one Transpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    pub(crate) permutation: Option<Vec<usize>>,
}

impl Transpose {
    /// Axis j of the output is axis `permutation[j]` of the input.
    pub fn new(permutation: impl Into<Vec<usize>>) -> Self {
        Self {
            permutation: Some(permutation.into()),
        }
    }

    /// All axes in the opposite order.
    pub fn reversed() -> Self {
        Self { permutation: None }
    }

    /// From `[N, C, …]` to `[N, …, C]`.
    pub fn to_channels_last(rank: usize) -> Self {
        Self::new(super::super::check::turned(&Vec::from_iter(0..rank)))
    }

    /// From `[N, …, C]` to `[N, C, …]`.
    pub fn to_channels_first(rank: usize) -> Self {
        let mut order = Vec::from_iter(0..rank);
        if rank >= 3 {
            order[1..].rotate_right(1);
        }
        Self::new(order)
    }

    /// The order of the axes of an input of `rank` axes.
    ///
    /// # Errors
    /// A permutation of another number of axes, or none.
    pub fn order(&self, rank: usize) -> Result<Vec<usize>> {
        let Some(order) = &self.permutation else {
            return Ok((0..rank).rev().collect());
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(wrong_attribute(
                "perm",
                format!("a permutation of {rank} axes"),
                format!("{order:?}"),
            ));
        }
        Ok(order.clone())
    }

    /// Whether an array of `shape` keeps the order of its elements: only axes of size 1 move.
    pub fn moves_nothing(&self, shape: &[usize]) -> bool {
        self.order(shape.len()).is_ok_and(|order| {
            let kept = order.into_iter().filter(|&axis| shape[axis] != 1);
            kept.is_sorted()
        })
    }

    /// This one and then `next`, in one.
    ///
    /// # Errors
    /// Those of [`Transpose::order`].
    pub fn then(&self, next: &Self, rank: usize) -> Result<Self> {
        let first = self.order(rank)?;
        let order = next.order(rank)?;
        Ok(Self::new(Vec::from_iter(
            order.into_iter().map(|axis| first[axis]),
        )))
    }
}

impl Operator for Transpose {
    fn name(&self) -> &'static str {
        "Transpose"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 1)?;
        let data = required(inputs, 0, "data")?;
        let order = self.order(data.shape.len())?;
        let shape = Vec::from_iter(order.into_iter().map(|axis| data.shape[axis]));
        Ok(vec![Fact::new(data.dtype, shape)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        let rank = inputs
            .first()
            .copied()
            .flatten()
            .map_or(0, |data| data.shape.len());
        first_alone(batched)
            && self
                .order(rank)
                .is_ok_and(|order| order.first() == Some(&0))
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let shape = &required(inputs, 0, "data")?.shape;
        if self.moves_nothing(shape) {
            return Same::step(product("data", shape)?);
        }
        Moved::step(Strided::permuted(shape, &self.order(shape.len())?)?)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (x, dy) = (backward.input(0)?, backward.d_output()?);
        let order = self.order(backward.fact(x)?.shape.len())?;
        let mut back = vec![0; order.len()];
        for (axis, from) in order.into_iter().enumerate() {
            back[from] = axis;
        }
        let gradient = backward.node(Self::new(back), &[dy])?;
        backward.give(0, gradient)
    }
}

/// The output is the first input, moved.
pub(super) struct Moved {
    copy: Strided,
}

impl Moved {
    pub(super) fn step(copy: Strided) -> Result<Box<dyn Step>> {
        Ok(Box::new(Self { copy }))
    }
}

impl Step for Moved {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match (inputs.first().copied().flatten(), outputs.first_mut()) {
            (Some(input), Some(output)) => self.copy.run(input, output),
            _ => Err(super::super::check::wrong("data", "a buffer", "none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{check_gradient, doubles, fact, floats, infer, run};
    use super::*;
    use crate::network::Tensor;

    #[test]
    fn axes_change_places() {
        let x = floats(&[2, 3], (0..6).map(|i| i as f32));
        let y = run(&Transpose::reversed(), std::slice::from_ref(&x)).unwrap();
        assert_eq!(y[0], floats(&[3, 2], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
        let z = run(&Transpose::new([0, 1]), std::slice::from_ref(&x)).unwrap();
        assert_eq!(z[0], x);
        let scalar: Tensor = ndarray::arr0(7i64).into_dyn().into();
        assert_eq!(
            run(&Transpose::reversed(), std::slice::from_ref(&scalar)).unwrap(),
            [scalar]
        );
        let empty = floats(&[0, 3], []);
        assert_eq!(
            run(&Transpose::reversed(), &[empty]).unwrap()[0].shape(),
            [3, 0]
        );
    }

    #[test]
    fn agrees_with_ndarray() {
        let x = ndarray::Array4::from_shape_fn((2, 5, 18, 35), |(n, c, h, w)| {
            (((n * 5 + c) * 18 + h) * 35 + w) as f32
        });
        for order in [[0, 2, 3, 1], [0, 3, 1, 2], [3, 1, 0, 2], [1, 0, 2, 3]] {
            let y = run(&Transpose::new(order), &[x.clone().into_dyn().into()]).unwrap();
            let expected = x.view().permuted_axes(order).into_dyn().to_owned();
            assert_eq!(y[0], Tensor::from(expected));
        }
    }

    #[test]
    fn wrong_permutations_are_errors() {
        for order in [&[0, 0][..], &[0], &[0, 2], &[0, 1, 2]] {
            assert!(infer(&Transpose::new(order), &[&fact(&[2, 3])]).is_err());
        }
    }

    #[test]
    fn turns_compose() {
        let (last, first) = (
            Transpose::to_channels_last(4),
            Transpose::to_channels_first(4),
        );
        assert_eq!(last, Transpose::new([0, 2, 3, 1]));
        assert_eq!(last.then(&first, 4).unwrap(), Transpose::new([0, 1, 2, 3]));
        assert!(last.moves_nothing(&[5, 7, 1, 1]) && last.moves_nothing(&[5, 1, 7, 3]));
        assert!(!last.moves_nothing(&[1, 2, 2, 1]));
        assert!(Transpose::reversed().moves_nothing(&[1, 9, 1]));
        // [a, b, c] -> [c, a, b] -> its own reverse.
        let both = Transpose::new([2, 0, 1])
            .then(&Transpose::reversed(), 3)
            .unwrap();
        assert_eq!(both, Transpose::new([1, 0, 2]));
    }

    #[test]
    fn gradients_go_back() {
        let x = doubles(&[2, 3, 4], 1, -1.0, 1.0);
        check_gradient(Transpose::reversed(), std::slice::from_ref(&x), &[0]);
        check_gradient(Transpose::new([1, 2, 0]), &[x], &[0]);
    }
}
