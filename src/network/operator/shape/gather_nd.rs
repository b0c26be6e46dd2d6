//! GatherND: parts of an array, named by lists of indices.
//!
//! ```text
//! y[n…, i…, b…] = x[n…, k[n…, i…, ..], b…]           the last axis of k is a list of indices
//! ```

use super::super::check::{
    at_most, check_rank, has_axes, has_type, read, required, write, wrong, wrong_attribute,
};
use super::super::strided::strides;
use super::super::{Fact, Facts, Operator, Step};
use super::gather::position;
use crate::error::{Result, check_len, product};
use crate::network::tensor::{DType, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// The parts of its input that lists of indices name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherND {
    pub(crate) batch_dims: usize,
}

impl GatherND {
    /// Inputs: data, indices, whose first `batch_dims` axes are those of the data.
    pub fn new(batch_dims: usize) -> Self {
        Self { batch_dims }
    }
}

/// The sizes of indices that are lists: axes in common, axes in a list.
pub(super) fn check_lists(data: &Fact, indices: &Fact, batch: usize) -> Result<(usize, usize)> {
    has_type(indices, "indices", &[DType::I64])?;
    has_axes(indices, "indices", 1)?;
    has_axes(data, "data", 1)?;
    let (&width, outer) = indices.shape.split_last().unwrap_or((&0, &[]));
    let most = data.shape.len().min(outer.len());
    if batch > most || data.shape[..batch] != outer[..batch] {
        return Err(wrong_attribute(
            "batch_dims",
            format!(
                "axes that {:?} and {:?} begin with",
                data.shape, indices.shape
            ),
            batch,
        ));
    }
    let left = data.shape.len() - batch;
    if width == 0 || width > left {
        return Err(wrong(
            "indices",
            format!("lists of 1..={left} indices"),
            format!("{width}"),
        ));
    }
    if let Some(value) = &indices.value {
        let lists: &[i64] = read(&[Some(value.view())], 0)?;
        for list in lists.chunks_exact(width) {
            for (&index, &length) in list.iter().zip(&data.shape[batch..]) {
                position(index, length)?;
            }
        }
    }
    Ok((batch, width))
}

impl Operator for GatherND {
    fn name(&self) -> &'static str {
        "GatherND"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let (data, indices) = (
            required(inputs, 0, "data")?,
            required(inputs, 1, "indices")?,
        );
        let (batch, width) = check_lists(data, indices, self.batch_dims)?;
        let lists = &indices.shape[..indices.shape.len() - 1];
        let shape = [lists, &data.shape[batch + width..]].concat();
        check_rank("indices", shape.len())?;
        product("output", &shape)?;
        Ok(vec![Fact::new(data.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (data, indices) = (
            required(inputs, 0, "data")?,
            required(inputs, 1, "indices")?,
        );
        let (batch, width) = check_lists(data, indices, self.batch_dims)?;
        let lists = &indices.shape[batch..indices.shape.len() - 1];
        Ok(Box::new(Lists {
            dtype: data.dtype,
            lists: product("indices", lists)?,
            slices: Slices::new(&data.shape[batch..], width)?,
        }))
    }
}

/// The part of an array that a list of indices names.
pub(super) struct Slices {
    /// Length and stride of the axes that a list has indices for.
    axes: Vec<(usize, usize)>,
    /// Elements of the array and of a part.
    whole: usize,
    pub(super) inner: usize,
}

impl Slices {
    pub(super) fn new(shape: &[usize], width: usize) -> Result<Self> {
        let strides = strides(shape)?;
        Ok(Self {
            axes: (shape[..width].iter().zip(&strides))
                .map(|(&length, stride)| (length, stride.unsigned_abs()))
                .collect(),
            whole: product("data", shape)?,
            inner: product("data", &shape[width..])?,
        })
    }

    pub(super) fn width(&self) -> usize {
        self.axes.len()
    }

    /// Where the part that `list` names begins.
    pub(super) fn begin(&self, list: &[i64]) -> Result<usize> {
        let mut begin = 0;
        for (&index, &(length, stride)) in list.iter().zip(&self.axes) {
            begin += position(index, length)? * stride;
        }
        Ok(begin)
    }
}

struct Lists {
    dtype: DType,
    /// Lists for each array of the batch.
    lists: usize,
    slices: Slices,
}

impl Step for Lists {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let indices: &[i64] = read(inputs, 1)?;
        let Slices { whole, inner, .. } = self.slices;
        with_type!(self.dtype, T => {
            let (data, output): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
            let lists = indices.chunks_exact(self.slices.width()).enumerate();
            check_len("output", lists.len() * inner, output.len())?;
            for (number, list) in lists {
                let begin = number / self.lists * whole + self.slices.begin(list)?;
                let part = &data[begin..begin + inner];
                output[number * inner..][..inner].copy_from_slice(part);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::testing::{fact, floats, infer, integers, run};
    use super::*;
    use crate::network::Tensor;

    fn table(shape: &[usize], values: &[i64]) -> Tensor {
        integers(values).reshape(shape).unwrap()
    }

    #[test]
    fn lists_of_the_specification() {
        let x = floats(&[2, 2, 2], (0..8).map(|i| i as f32));
        let gather = |batch, lists| {
            run(&GatherND::new(batch), &[x.clone(), lists])
                .unwrap()
                .remove(0)
        };
        let y = gather(0, table(&[2, 2], &[0, 1, 1, -2]));
        assert_eq!(y, floats(&[2, 2], [2.0, 3.0, 4.0, 5.0]));
        let y = gather(1, table(&[2, 1], &[1, 0]));
        assert_eq!(y, floats(&[2, 2], [2.0, 3.0, 4.0, 5.0]));
        let y = gather(0, table(&[2, 3], &[0, 0, 1, 1, 1, 1]));
        assert_eq!(y, floats(&[2], [1.0, 7.0]));
        let x = fact(&[2, 2, 2]);
        for (batch, shape, values) in [
            (0, [1, 4], &[0, 0, 0, 0][..]),
            (0, [1, 0], &[]),
            (2, [2, 1], &[0, 0]),
            (1, [3, 1], &[0, 0, 0]),
            (0, [1, 1], &[2]),
        ] {
            let indices = Fact::constant(Arc::new(table(&shape, values)));
            assert!(infer(&GatherND::new(batch), &[&x, &indices]).is_err());
        }
    }
}
