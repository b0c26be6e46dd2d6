//! `--shape NAME=1x3x224x224`, and the sizes of a model's inputs where nobody says them.

use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::error::{Error, product};
use crate::network::{DType, Dim, Graph, Input};

/// What a free axis has where nobody says it.
const SIDE: usize = 224;

/// `NAME=1x3x224x224`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shape {
    input: String,
    sizes: Vec<usize>,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected NAME=1x3x224x224".to_owned();
        let (input, sizes) = text.rsplit_once('=').ok_or_else(wrong)?;
        let sizes = sizes.split(['x', ',']).map(|size| size.trim().parse());
        Ok(Self {
            input: input.to_owned(),
            sizes: sizes.collect::<Result<_, _>>().map_err(|_| wrong())?,
        })
    }
}

/// The inputs that have no value in the model.
pub(crate) fn required(graph: &Graph) -> impl Iterator<Item = &Input> {
    let inputs = graph.inputs().iter();
    inputs.filter(|input| graph.constant_of(input.value).is_none())
}

/// Every shape is for an input that takes one, and no input has two.
pub(crate) fn check(shapes: &[Shape], graph: &Graph) -> Result<()> {
    let names: Vec<&str> = required(graph)
        .map(|input| graph.name(input.value))
        .collect();
    for (index, shape) in shapes.iter().enumerate() {
        let name = shape.input.as_str();
        ensure!(
            names.contains(&name),
            "there is no input {name:?} to give; the inputs are {}",
            names.join(", ")
        );
        ensure!(
            shapes[..index].iter().all(|other| other.input != name),
            "--shape {name} is given twice"
        );
    }
    Ok(())
}

/// The sizes of `input`: those that are given; else those of the model, `batch` for a free first axis, and 224.
pub(crate) fn sizes(
    shapes: &[Shape],
    name: &str,
    input: &Input,
    batch: usize,
) -> Result<Vec<usize>> {
    if let Some(given) = shapes.iter().find(|shape| shape.input == name) {
        return Ok(given.sizes.clone());
    }
    let Some(dims) = &input.dims else {
        bail!(
            "the model does not say how many axes the input {name:?} has; give --shape {name}=1x3x224x224"
        );
    };
    let size = |(axis, dim): (usize, &Dim)| match (dim, axis) {
        (Dim::Size(size), _) => *size,
        (Dim::Free(_), 0) => batch,
        (Dim::Free(_), _) => SIDE,
    };
    Ok(dims.iter().enumerate().map(size).collect())
}

/// The bytes of a tensor for the input `name`, at most `limit`.
pub(crate) fn tensor_bytes(
    name: &str,
    dtype: DType,
    sizes: &[usize],
    limit: usize,
) -> Result<usize> {
    let of = || format!("input {name:?} of shape {sizes:?}");
    let needed = product("an input", sizes)
        .and_then(|len| product("an input", &[len, dtype.bytes()]))
        .with_context(of)?;
    if needed > limit {
        let budget = limit;
        return Err(Error::MemoryBudget { needed, budget }).with_context(of);
    }
    Ok(needed)
}

/// Height and width of pictures, `224` or `240x320`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub usize, pub usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        let side = |text: &str| text.trim().parse().ok().filter(|&side| side > 0);
        match (side(height), side(width)) {
            (Some(height), Some(width)) => Ok(Self(height, width)),
            _ => Err("expected a side as 224, or HEIGHTxWIDTH".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_parsed_or_refused() {
        let shape: Shape = "a=b=1x3,8".parse().unwrap();
        assert_eq!(
            (shape.input.as_str(), &shape.sizes[..]),
            ("a=b", &[1, 3, 8][..])
        );
        for text in ["", "x", "x=", "x=1x", "x=-1", "x=1x99999999999999999999"] {
            assert!(text.parse::<Shape>().is_err(), "{text}");
        }
    }

    #[test]
    fn tensors_beyond_the_limit_are_refused_with_numbers() {
        assert_eq!(tensor_bytes("x", DType::F32, &[2, 3], 24).unwrap(), 24);
        let error = tensor_bytes("x", DType::F32, &[2, 3], 23).unwrap_err();
        assert!(format!("{error:#}").contains("[2, 3]"), "{error:#}");
        assert!(tensor_bytes("x", DType::F64, &[usize::MAX / 2, 3], 23).is_err());
    }
}
