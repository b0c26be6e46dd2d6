//! What a network is given: noise in floats, zeros in integers, of the shapes that the model takes.
//!
//! ```text
//! the file says     N free, or 1 or any other K        an input of one axis, or without K in front
//! it is given       [batch, the other axes]            as it is
//! ```
//!
//! K is the first size of the first input of two axes or more. Where it is not the batch that is wanted, the axis is
//! freed; whether the rest of the model goes along is found when it is planned.

use anyhow::{Context, Result, bail};
use half::{bf16, f16};

use crate::cli::model::shape;
use crate::cli::shape::{Shape, check, required, sizes, tensor_bytes};
use crate::error::{Error, sum};
use crate::network::{Dim, Graph, Input, Tensor, View};

/// The inputs of a model.
#[derive(Debug)]
pub(super) struct Inputs {
    pub batch: usize,
    /// The batch that the file fixes, where it is another.
    pub fixed: Option<usize>,
    tensors: Vec<(String, Tensor)>,
}

impl Inputs {
    /// Inputs for `graph` with `batch` images, or as many as it fixes; axes that stand in the way are freed.
    ///
    /// # Errors
    /// Shapes for inputs that are not there; a batch that no input has; more than `limit` bytes.
    pub fn new(
        graph: &mut Graph,
        batch: Option<usize>,
        shapes: &[Shape],
        limit: usize,
    ) -> Result<Self> {
        check(shapes, graph)?;
        let own = required(graph).find_map(fixed_batch);
        let batch = batch.or(own.filter(|&size| size > 0)).unwrap_or(1);
        let mut inputs = Self {
            batch,
            fixed: own.filter(|&size| size != batch),
            tensors: Vec::new(),
        };
        let (mut freed, mut given) = (Vec::new(), Vec::new());
        for input in required(graph) {
            let name = graph.name(input.value).to_owned();
            let mut sizes = sizes(shapes, &name, input, batch)?;
            if has_batch(input, own)
                && let Some(first) = sizes.first_mut()
                && (*first == 1 || Some(*first) == own)
            {
                *first = batch;
            }
            if let Some(dims) = &input.dims
                && has_batch(input, own)
                && sizes.first() == Some(&batch)
                && matches!(dims.first(), Some(Dim::Size(size)) if *size != batch)
            {
                let free = Dim::Free(String::new());
                let dims = std::iter::once(free).chain(dims[1..].iter().cloned());
                freed.push((name.clone(), dims.collect()));
            }
            given.push((name, input.dtype, sizes));
        }
        if batch > 1
            && given
                .iter()
                .all(|(.., sizes)| sizes.first() != Some(&batch))
        {
            let shapes = given
                .iter()
                .map(|(name, _, sizes)| format!("{name} {}", shape(sizes)));
            bail!(
                "no input has the batch of {batch} as its first axis: {}",
                shapes.collect::<Vec<_>>().join(", ")
            );
        }
        for (name, dims) in freed {
            graph.set_dims(&name, Some(dims))?;
        }
        let mut bytes = Vec::with_capacity(given.len());
        for (name, dtype, sizes) in &given {
            bytes.push(tensor_bytes(name, *dtype, sizes, limit)?);
        }
        let needed = sum("inputs", &bytes)?;
        if needed > limit {
            let budget = limit;
            return Err(Error::MemoryBudget { needed, budget }).context("the inputs together");
        }
        for (seed, (name, dtype, sizes)) in (0..).zip(given) {
            let mut tensor = Tensor::zeros(dtype, &sizes)?;
            add_noise(&mut tensor, seed);
            inputs.tensors.push((name, tensor));
        }
        Ok(inputs)
    }

    /// What is given, by name.
    pub fn tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// All inputs of `graph` in its order: what is given, and the values that the others have in the model.
    pub fn views<'a>(&'a self, graph: &'a Graph) -> Result<Vec<View<'a>>> {
        let views = graph.inputs().iter().map(|input| {
            let name = graph.name(input.value);
            let given = self.tensors.iter().find(|(given, _)| given == name);
            let value = graph.constant_of(input.value).map(|value| value.view());
            let view = given.map(|(_, tensor)| tensor.view()).or(value);
            view.with_context(|| format!("input {name:?} has no value"))
        });
        views.collect()
    }

    /// `data  f32  16x3x224x224` for each.
    pub fn described(&self) -> Vec<String> {
        let line = |(name, tensor): &(String, Tensor)| {
            format!(
                "{name}  {}  {}",
                tensor.dtype().name(),
                shape(tensor.shape())
            )
        };
        self.tensors.iter().map(line).collect()
    }

    /// What is being done where planning fails.
    pub fn planning(&self, model: &str) -> String {
        match self.fixed {
            Some(fixed) => format!(
                "{model}: the file fixes a batch of {fixed}; planning it for {} all the same",
                self.batch
            ),
            None => format!("{model}: planning for a batch of {}", self.batch),
        }
    }
}

/// The first size of an input of two axes or more.
fn fixed_batch(input: &Input) -> Option<usize> {
    match input.dims.as_deref() {
        Some([Dim::Size(size), _, ..]) => Some(*size),
        _ => None,
    }
}

/// Whether the first axis is the batch, which the file fixes as `own`.
fn has_batch(input: &Input, own: Option<usize>) -> bool {
    match input.dims.as_deref() {
        Some([Dim::Free(_), ..]) | None => true,
        Some(_) => own.is_some() && fixed_batch(input) == own,
    }
}

/// Floats between -1 and 1; other types stay as they are.
fn add_noise(tensor: &mut Tensor, seed: u64) {
    let mut generator = fastrand::Rng::with_seed(seed);
    let mut noise = || generator.f32() * 2.0 - 1.0;
    match tensor {
        Tensor::F32(array) => array.iter_mut().for_each(|value| *value = noise()),
        Tensor::F64(array) => array.iter_mut().for_each(|value| *value = noise().into()),
        Tensor::F16(array) => array
            .iter_mut()
            .for_each(|value| *value = f16::from_f32(noise())),
        Tensor::Bf16(array) => array
            .iter_mut()
            .for_each(|value| *value = bf16::from_f32(noise())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::DType;

    fn size(size: usize) -> Dim {
        Dim::Size(size)
    }

    fn free(name: &str) -> Dim {
        Dim::Free(name.to_owned())
    }

    fn graph(inputs: &[(&str, DType, Option<Vec<Dim>>)]) -> Graph {
        let mut graph = Graph::new();
        for (name, dtype, dims) in inputs {
            graph.input(*name, *dtype, dims.clone());
        }
        graph
    }

    fn shapes(graph: &mut Graph, batch: Option<usize>, given: &[&str]) -> Result<Vec<Vec<usize>>> {
        let given: Vec<Shape> = given.iter().map(|text| text.parse().unwrap()).collect();
        let inputs = Inputs::new(graph, batch, &given, 1 << 30)?;
        let shapes = inputs.tensors().iter();
        Ok(shapes.map(|(_, tensor)| tensor.shape().to_vec()).collect())
    }

    #[test]
    fn the_batch_replaces_the_first_axis() {
        let image = |first: Dim| graph(&[("x", DType::F32, Some(vec![first, size(3), free("h")]))]);
        for (first, batch, expected) in [
            (free("n"), None, 1),
            (free("n"), Some(7), 7),
            (size(1), None, 1),
            (size(1), Some(7), 7),
            (size(7), Some(7), 7),
            (size(7), None, 7),
            (size(7), Some(2), 2),
        ] {
            let mut graph = image(first.clone());
            let got = shapes(&mut graph, batch, &[]).unwrap();
            assert_eq!(got, [[expected, 3, 224]], "{first:?} {batch:?}");
            let dims = graph.inputs()[0].dims.as_ref().unwrap();
            assert!(dims[0] == size(expected) || matches!(dims[0], Dim::Free(_)));
        }
        let mut graph = image(free("n"));
        assert_eq!(
            shapes(&mut graph, Some(2), &["x=1x3x9"]).unwrap(),
            [[2, 3, 9]]
        );
        assert_eq!(
            shapes(&mut graph, Some(2), &["x=2x3x9"]).unwrap(),
            [[2, 3, 9]]
        );
        let error = shapes(&mut graph, Some(2), &["x=5x3x9"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("batch of 2") && error.contains("x 5x3x9"),
            "{error}"
        );
    }

    #[test]
    fn inputs_without_a_batch_stay_as_they_are() {
        let inputs = [
            ("image", DType::F32, Some(vec![size(1), size(3)])),
            ("anchors", DType::F32, Some(vec![size(5), size(4)])),
            ("scale", DType::I64, Some(vec![size(1)])),
            ("threshold", DType::F32, Some(vec![])),
        ];
        let mut graph = graph(&inputs);
        let got = shapes(&mut graph, Some(4), &[]).unwrap();
        assert_eq!(got, [vec![4, 3], vec![5, 4], vec![1], vec![]]);
        let inputs = Inputs::new(&mut graph, Some(4), &[], 1 << 20).unwrap();
        let [(_, image), _, (_, scale), _] = inputs.tensors() else {
            panic!("{inputs:?}");
        };
        assert_eq!(scale.integers(), Some(vec![0]));
        let image = image.array::<f32>().unwrap();
        assert!(image.iter().all(|value| value.abs() <= 1.0));
        assert!(image.iter().any(|&value| value != image[[0, 0]]));
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let mut unknown = graph(&[("x", DType::F32, None)]);
        let error = shapes(&mut unknown, None, &[]).unwrap_err().to_string();
        assert!(error.contains("how many axes"), "{error}");
        assert_eq!(shapes(&mut unknown, Some(3), &["x=1x8"]).unwrap(), [[3, 8]]);
        assert!(shapes(&mut unknown, None, &["y=1"]).is_err());
        assert!(shapes(&mut unknown, None, &["x=1", "x=1"]).is_err());
        let mut two = graph(&[
            ("x", DType::F32, Some(vec![free("n"), size(1000)])),
            ("y", DType::F32, Some(vec![free("n"), size(1000)])),
        ]);
        for batch in [7, usize::MAX, usize::MAX / 4000] {
            let error = Inputs::new(&mut two, Some(batch), &[], 40_000).unwrap_err();
            assert!(format!("{error:#}").contains("input"), "{error:#}");
        }
        assert!(Inputs::new(&mut two, Some(5), &[], 40_000).is_ok());
        let mut nothing = graph(&[]);
        assert!(shapes(&mut nothing, Some(2), &[]).is_err());
        assert!(shapes(&mut nothing, None, &[]).unwrap().is_empty());
    }
}
