//! The same elements in the same order with another shape: Reshape, Flatten, Squeeze, Unsqueeze, Identity.
//!
//! Nothing is done where the output takes the place of the input; otherwise it is a copy.

use std::sync::Arc;

use super::super::check::{
    at_most, axes, axis, check_rank, integers, optional, required, turned, wrong, wrong_attribute,
};
use super::super::strided::Strided;
use super::super::{Fact, Facts, Operator, Step};
use crate::error::{Result, product};
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::tensor::{View, ViewMut};
use crate::plan::PlanOptions;

/// Reshape, Flatten, Squeeze, Unsqueeze or Identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Input 1 is the shape; 0 copies a size unless it is allowed as one, -1 takes what is left.
    Reshape { allow_zero: bool },
    /// Two axes: the product of the sizes before an axis, and of those from it on.
    Flatten { axis: i64 },
    /// Without axes of size 1: those of input 1, or all.
    Squeeze,
    /// With axes of size 1 where input 1 says.
    Unsqueeze,
    /// The same shape.
    Identity,
    /// A shape that is decided.
    To(Vec<usize>),
}

impl Reshape {
    /// Inputs: data, shape. In the shape 0 stands for the size of the input on that axis, or for itself with
    /// `allow_zero`, and one -1 for what is left.
    pub fn new(allow_zero: bool) -> Self {
        let kind = Kind::Reshape { allow_zero };
        Self { kind }
    }

    /// Two axes: the product of the sizes before `axis`, and of those from it on.
    pub fn flatten(axis: i64) -> Self {
        let kind = Kind::Flatten { axis };
        Self { kind }
    }

    /// Inputs: data, axes. Without the axes, which must have size 1, or without all that have.
    pub fn squeeze() -> Self {
        let kind = Kind::Squeeze;
        Self { kind }
    }

    /// Inputs: data, axes. With axes of size 1, which are counted in the output.
    pub fn unsqueeze() -> Self {
        let kind = Kind::Unsqueeze;
        Self { kind }
    }

    /// Nothing changes.
    pub fn identity() -> Self {
        let kind = Kind::Identity;
        Self { kind }
    }

    /// One input, which gets this shape.
    pub fn to(shape: impl Into<Vec<usize>>) -> Self {
        let kind = Kind::To(shape.into());
        Self { kind }
    }

    /// Whether the output is the input, shape and all.
    pub fn is_identity(&self) -> bool {
        self.kind == Kind::Identity
    }

    fn shape(&self, inputs: &Facts) -> Result<Vec<usize>> {
        let most = match self.kind {
            Kind::Flatten { .. } | Kind::Identity => 1,
            _ => 2,
        };
        at_most(inputs, most)?;
        let data = &required(inputs, 0, "data")?.shape;
        let shape = match &self.kind {
            Kind::Reshape { allow_zero } => {
                let wanted = integers(required(inputs, 1, "shape")?, "shape")?;
                wanted_shape(data, &wanted, *allow_zero)?
            }
            Kind::Flatten { axis: at } => {
                // The axis behind the last is as good as any.
                let end = i64::try_from(data.len()).is_ok_and(|rank| rank == *at);
                let at = match end {
                    true => data.len(),
                    false => axis("axis", *at, data.len())?,
                };
                let (outer, inner) = data.split_at(at);
                vec![product("output", outer)?, product("output", inner)?]
            }
            Kind::Squeeze => match optional(inputs, 1) {
                Some(fact) => squeezed(data, &integers(fact, "axes")?)?,
                None => data.iter().copied().filter(|&size| size != 1).collect(),
            },
            Kind::Unsqueeze => {
                let places = integers(required(inputs, 1, "axes")?, "axes")?;
                check_rank("axes", data.len().saturating_add(places.len()))?;
                let places = axes("axes", &places, data.len() + places.len())?;
                let mut sizes = data.iter().copied();
                (0..data.len() + places.len())
                    .map(|axis| match places.contains(&axis) {
                        true => 1,
                        false => sizes.next().unwrap_or(1),
                    })
                    .collect()
            }
            Kind::Identity => data.clone(),
            Kind::To(shape) => shape.clone(),
        };
        let (got, expected) = (product("output", &shape)?, product("data", data)?);
        if got != expected {
            return Err(wrong(
                "shape",
                format!("of {expected} elements, as many as {data:?} has"),
                format!("{shape:?} of {got}"),
            ));
        }
        Ok(shape)
    }
}

/// The shape that input 1 of Reshape asks for.
fn wanted_shape(data: &[usize], wanted: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    check_rank("shape", wanted.len())?;
    let got = || format!("{wanted:?}");
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (axis, &size) in wanted.iter().enumerate() {
        shape.push(match size {
            0 if !allow_zero => *data.get(axis).ok_or_else(|| {
                let expected = format!("without 0 behind the {} axes of data", data.len());
                wrong("shape", expected, got())
            })?,
            -1 if open.replace(axis).is_none() => 1,
            _ => usize::try_from(size)
                .map_err(|_| wrong("shape", "sizes, and -1 at most once", got()))?,
        });
    }
    if let Some(axis) = open {
        if allow_zero && wanted.contains(&0) {
            return Err(wrong("shape", "0 or -1, not both", got()));
        }
        let (total, known) = (product("data", data)?, product("output", &shape)?);
        // Nothing is left of nothing.
        shape[axis] = match (total, known) {
            (0, _) => 0,
            (_, 0) => return Err(wrong("shape", format!("of {total} elements"), got())),
            _ if total % known != 0 => {
                let expected = format!("sizes whose product divides {total}");
                return Err(wrong("shape", expected, got()));
            }
            _ => total / known,
        };
    }
    Ok(shape)
}

fn squeezed(data: &[usize], places: &[i64]) -> Result<Vec<usize>> {
    let places = axes("axes", places, data.len())?;
    if let Some(&axis) = places.iter().find(|&&axis| data[axis] != 1) {
        let got = format!("{axis}, of size {}", data[axis]);
        return Err(wrong_attribute("axes", "axes of size 1", got));
    }
    let kept = data.iter().enumerate();
    Ok(kept
        .filter(|(axis, _)| !places.contains(axis))
        .map(|(_, &size)| size)
        .collect())
}

/// Whether elements lie in the same order with the channels first and last.
fn lies_the_same(shape: &[usize]) -> bool {
    shape.len() < 3 || shape[1] == 1 || shape[2..].iter().all(|&size| size == 1)
}

/// What a file says of it.
#[cfg(feature = "onnx")]
impl Reshape {
    /// Whether 0 in the shape of a Reshape stands for itself.
    pub(crate) fn allows_zero(&self) -> bool {
        self.kind == Kind::Reshape { allow_zero: true }
    }

    /// The axis of a Flatten.
    pub(crate) fn flatten_axis(&self) -> Option<i64> {
        match self.kind {
            Kind::Flatten { axis } => Some(axis),
            _ => None,
        }
    }

    /// The shape, where it is decided.
    pub(crate) fn target(&self) -> Option<&[usize]> {
        match &self.kind {
            Kind::To(shape) => Some(shape),
            _ => None,
        }
    }
}

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Reshape { .. } | Kind::To(_) => "Reshape",
            Kind::Flatten { .. } => "Flatten",
            Kind::Squeeze => "Squeeze",
            Kind::Unsqueeze => "Unsqueeze",
            Kind::Identity => "Identity",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let shape = self.shape(inputs)?;
        Ok(vec![Fact::new(required(inputs, 0, "data")?.dtype, shape)])
    }

    fn by_image(&self, _inputs: &Facts, batched: &[bool]) -> bool {
        // Elements keep their order, and the caller sees that the first axis keeps its length.
        first_alone(batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Same::step(product("data", &required(inputs, 0, "data")?.shape)?)
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        if self.is_identity() {
            return Some(Arc::new(self.clone()));
        }
        let (from, to) = (&optional(inputs, 0)?.shape, self.shape(inputs).ok()?);
        let pixels = from.len() >= 3 && to.len() >= 3 && from[..2] == to[..2];
        let same = pixels || lies_the_same(from) && lies_the_same(&to);
        same.then(|| Arc::new(Self::to(turned(&to))) as Arc<dyn Operator>)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (x, dy) = (backward.input(0)?, backward.d_output()?);
        let shape = backward.fact(x)?.shape.clone();
        let gradient = backward.reshape(dy, &shape)?;
        backward.give(0, gradient)
    }

    fn shape_inputs(&self) -> &'static [usize] {
        match self.kind {
            Kind::Reshape { .. } | Kind::Squeeze | Kind::Unsqueeze => &[1],
            _ => &[],
        }
    }
}

/// The first output is the first input.
pub(super) struct Same {
    copy: Strided,
}

impl Same {
    /// For `len` elements.
    pub(super) fn step(len: usize) -> Result<Box<dyn Step>> {
        let copy = Strided::permuted(&[len], &[0])?;
        Ok(Box::new(Self { copy }))
    }
}

impl Step for Same {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match (inputs.first().copied().flatten(), outputs.first_mut()) {
            (Some(input), Some(output)) => self.copy.run(input, output),
            // In place.
            _ => Ok(()),
        }
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{
        check_gradient, constant, doubles, fact, infer, integers as int, run,
    };
    use super::*;
    use crate::network::DType;

    fn reshaped(from: &[usize], to: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
        let (data, shape) = (fact(from), constant(to));
        Ok(infer(&Reshape::new(allow_zero), &[&data, &shape])?
            .remove(0)
            .shape)
    }

    #[test]
    fn zeros_copy_and_minus_one_takes_the_rest() {
        assert_eq!(reshaped(&[2, 3, 4], &[0, -1], false).unwrap(), [2, 12]);
        assert_eq!(reshaped(&[2, 3, 4], &[-1], false).unwrap(), [24]);
        assert_eq!(reshaped(&[2, 0, 4], &[4, 0, 9], true).unwrap(), [4, 0, 9]);
        assert_eq!(reshaped(&[0, 3], &[0, -1], false).unwrap(), [0, 0]);
        assert!(reshaped(&[1], &[], false).unwrap().is_empty());
        assert_eq!(reshaped(&[], &[1, 1], false).unwrap(), [1, 1]);
        for (to, allow_zero) in [
            (&[5, -1][..], false),
            (&[-1, -1], false),
            (&[-2, 3], false),
            (&[2, 3, 4, 0], false),
            (&[0, -1], true),
            (&[25], false),
            (&[i64::MAX, i64::MAX], false),
            (&[1; 65], false),
        ] {
            assert!(reshaped(&[2, 3, 4], to, allow_zero).is_err(), "{to:?}");
        }
    }

    #[test]
    fn a_computed_shape_cannot_be_planned() {
        let (data, mut shape) = (fact(&[4]), constant(&[2, 2]));
        shape.value = None;
        let error = infer(&Reshape::new(false), &[&data, &shape]).unwrap_err();
        assert!(error.to_string().contains("constant"), "{error}");
        let float = fact(&[1]);
        assert!(infer(&Reshape::new(false), &[&data, &float]).is_err());
        assert!(infer(&Reshape::new(false), &[&data]).is_err());
    }

    #[test]
    fn flatten_squeeze_unsqueeze() {
        let shape = |operator: Reshape, inputs: &[&Fact]| {
            infer(&operator, inputs).map(|mut facts| facts.remove(0).shape)
        };
        let x = fact(&[2, 1, 3, 1]);
        for (axis, expected) in [(0, [1, 6]), (1, [2, 3]), (-1, [6, 1]), (4, [6, 1])] {
            assert_eq!(shape(Reshape::flatten(axis), &[&x]).unwrap(), expected);
        }
        assert!(shape(Reshape::flatten(5), &[&x]).is_err());
        assert_eq!(shape(Reshape::flatten(0), &[&fact(&[])]).unwrap(), [1, 1]);
        assert_eq!(shape(Reshape::squeeze(), &[&x]).unwrap(), [2, 3]);
        assert_eq!(
            shape(Reshape::squeeze(), &[&x, &constant(&[-1])]).unwrap(),
            [2, 1, 3]
        );
        assert!(shape(Reshape::squeeze(), &[&x, &constant(&[0])]).is_err());
        let (y, places) = (fact(&[3, 4]), constant(&[2, 0, -1]));
        assert_eq!(
            shape(Reshape::unsqueeze(), &[&y, &places]).unwrap(),
            [1, 3, 1, 4, 1]
        );
        assert!(shape(Reshape::unsqueeze(), &[&y, &constant(&[1, 1])]).is_err());
        assert!(shape(Reshape::unsqueeze(), &[&y, &constant(&[3])]).is_err());
    }

    #[test]
    fn gradients_by_central_differences() {
        let x = doubles(&[2, 1, 3, 1], 1, -1.0, 1.0);
        check_gradient(Reshape::flatten(1), std::slice::from_ref(&x), &[0]);
        check_gradient(Reshape::identity(), std::slice::from_ref(&x), &[0]);
        check_gradient(Reshape::squeeze(), std::slice::from_ref(&x), &[0]);
        check_gradient(Reshape::unsqueeze(), &[x.clone(), int(&[0])], &[0]);
        check_gradient(Reshape::new(false), &[x, int(&[3, -1])], &[0]);
    }

    #[test]
    fn elements_stay_in_order_of_any_type() {
        let x = ndarray::arr2(&[[1i8, 2, 3], [4, 5, 6]]).into_dyn();
        let outputs = run(&Reshape::flatten(0), &[x.into()]).unwrap();
        assert_eq!(outputs[0].shape(), [1, 6]);
        assert_eq!(outputs[0].dtype(), DType::I8);
    }

    #[test]
    fn channels_last_where_no_element_moves() {
        let last = |from: &[usize], to: &[i64]| {
            let (data, shape) = (fact(from), constant(to));
            let operator = Reshape::new(false).channels_last(&[Some(&data), Some(&shape)])?;
            let data = fact(&turned(from));
            Some(infer(&*operator, &[&data, &shape]).unwrap().remove(0).shape)
        };
        assert_eq!(last(&[2, 8, 1, 1], &[2, 8]), Some(vec![2, 8]));
        assert_eq!(last(&[2, 8], &[2, 8, 1, 1]), Some(vec![2, 1, 1, 8]));
        assert_eq!(last(&[2, 8, 3, 4], &[2, 8, 12]), Some(vec![2, 12, 8]));
        assert_eq!(last(&[2, 1, 3, 4], &[2, 12]), Some(vec![2, 12]));
        assert_eq!(last(&[2, 8, 3, 4], &[2, 96]), None);
        assert_eq!(last(&[2, 8, 3, 4], &[2, 4, 2, 12]), None);
    }
}
