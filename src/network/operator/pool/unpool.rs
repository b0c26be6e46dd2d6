//! MaxUnpool: values go back to where a maximum pooling found them, the rest is zero.
//!
//! ```text
//! y[k[i]] = x[i]             k counts over all of y, with the channels first
//! size of y on an axis       (input − 1) · stride + kernel − pads, unless input 2 says
//! ```
//!
//! With a given shape the indices count over that, as ONNX Runtime and PyTorch have it: they come from the pooling of
//! an array of that shape. Where an index occurs more than once the last value stays.

use super::super::check::{
    at_most, has_axes, has_shape, has_type, integers, optional, read, required, sizes, write,
    wrong, wrong_attribute,
};
use super::super::{Fact, Facts, Operator, Step};
use crate::error::{Result, check_len, product};
use crate::network::tensor::{DType, View, ViewMut, with_type};
use crate::plan::PlanOptions;

/// Puts each value where its index says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxUnpool {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    pads: Vec<(usize, usize)>,
}

impl MaxUnpool {
    /// Inputs: values, indices, output shape, which may be left out. Kernel, stride and padding, before and after, of
    /// each spatial axis are those of the pooling.
    pub fn new(
        kernel: impl Into<Vec<usize>>,
        strides: impl Into<Vec<usize>>,
        pads: impl Into<Vec<(usize, usize)>>,
    ) -> Self {
        Self {
            kernel: kernel.into(),
            strides: strides.into(),
            pads: pads.into(),
        }
    }

    fn inferred(&self, shape: &[usize]) -> Result<Vec<usize>> {
        let rank = shape.len() - 2;
        for (name, length) in [
            ("kernel_shape", self.kernel.len()),
            ("strides", self.strides.len()),
            ("pads", self.pads.len()),
        ] {
            if length != rank {
                let expected = format!("a value for each of {rank} axes");
                return Err(wrong_attribute(name, expected, format!("{length} values")));
            }
        }
        let mut output = shape[..2].to_vec();
        for (axis, &length) in shape[2..].iter().enumerate() {
            let (kernel, stride) = (self.kernel[axis], self.strides[axis]);
            for (name, value) in [("kernel_shape", kernel), ("strides", stride)] {
                if value == 0 {
                    return Err(wrong_attribute(name, "1 or more", value));
                }
            }
            let (before, after) = self.pads[axis];
            let span = length
                .checked_sub(1)
                .and_then(|steps| steps.checked_mul(stride));
            let span = span.and_then(|span| span.checked_add(kernel));
            let size = span.and_then(|span| span.checked_sub(before)?.checked_sub(after));
            output.push(size.filter(|&size| size > 0).ok_or_else(|| {
                let got = format!("of size {length} on axis {axis}");
                wrong("X", "large enough for an output of 1 or more", got)
            })?);
        }
        Ok(output)
    }

    fn shape(&self, inputs: &Facts) -> Result<Vec<usize>> {
        at_most(inputs, 3)?;
        let (x, indices) = (required(inputs, 0, "X")?, required(inputs, 1, "I")?);
        has_axes(x, "X", 3)?;
        has_type(indices, "I", &[DType::I64])?;
        has_shape(indices, "I", &x.shape)?;
        let inferred = self.inferred(&x.shape)?;
        let Some(given) = optional(inputs, 2) else {
            return Ok(inferred);
        };
        let shape = sizes("output_shape", &integers(given, "output_shape")?)?;
        if shape.len() != x.shape.len() || shape[..2] != x.shape[..2] {
            let expected = format!(
                "{} sizes that begin with {:?}",
                x.shape.len(),
                &x.shape[..2]
            );
            return Err(wrong("output_shape", expected, format!("{shape:?}")));
        }
        Ok(shape)
    }
}

impl Operator for MaxUnpool {
    fn name(&self) -> &'static str {
        "MaxUnpool"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let shape = self.shape(inputs)?;
        product("output", &shape)?;
        Ok(vec![Fact::new(required(inputs, 0, "X")?.dtype, shape)])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(Unpooling {
            dtype: required(inputs, 0, "X")?.dtype,
        }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[2]
    }
}

struct Unpooling {
    dtype: DType,
}

impl Step for Unpooling {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        let indices: &[i64] = read(inputs, 1)?;
        with_type!(self.dtype, T => {
            let (x, y): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
            check_len("indices", x.len(), indices.len())?;
            y.fill(T::default());
            let len = y.len();
            for (&value, &index) in x.iter().zip(indices) {
                let slot = usize::try_from(index).ok().and_then(|index| y.get_mut(index));
                *slot.ok_or_else(|| wrong("I", format!("in 0..{len}"), index.to_string()))? = value;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{constant, fact, floats, infer, integers, run};
    use super::*;

    fn unpool() -> MaxUnpool {
        MaxUnpool::new([2, 2], [2, 2], [(0, 0), (0, 0)])
    }

    #[test]
    fn values_go_back() {
        let x = floats(&[1, 1, 2, 2], [1.0, 2.0, 3.0, 4.0]);
        let indices = integers(&[5, 7, 13, 15]).reshape(&[1, 1, 2, 2]).unwrap();
        let mut expected = [0.0; 16];
        [expected[5], expected[7], expected[13], expected[15]] = [1.0, 2.0, 3.0, 4.0];
        let y = run(&unpool(), &[x.clone(), indices.clone()]).unwrap();
        assert_eq!(y[0], floats(&[1, 1, 4, 4], expected));
        let y = run(&unpool(), &[x.clone(), indices, integers(&[1, 1, 5, 5])]).unwrap();
        assert_eq!(y[0].array::<f32>().unwrap()[[0, 0, 1, 2]], 2.0);
        for index in [16, -1] {
            let indices = integers(&[0, 1, 2, index]).reshape(&[1, 1, 2, 2]).unwrap();
            assert!(run(&unpool(), &[x.clone(), indices]).is_err());
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let (x, mut indices) = (fact(&[1, 1, 2, 2]), fact(&[1, 1, 2, 2]));
        indices.dtype = DType::I64;
        let pads = |pad| MaxUnpool::new([2, 2], [2, 2], [(pad, 0), (0, 0)]);
        assert!(infer(&pads(3), &[&x, &indices]).is_ok());
        assert!(infer(&pads(4), &[&x, &indices]).is_err());
        assert!(infer(&MaxUnpool::new([2], [2], [(0, 0)]), &[&x, &indices]).is_err());
        assert!(
            infer(
                &MaxUnpool::new([0, 2], [2, 2], [(0, 0); 2]),
                &[&x, &indices]
            )
            .is_err()
        );
        assert!(
            infer(
                &MaxUnpool::new([2, 2], [usize::MAX, 2], [(0, 0); 2]),
                &[&x, &indices]
            )
            .is_err()
        );
        for shape in [&[1, 1, 4][..], &[1, 2, 4, 4], &[1, 1, -4, 4]] {
            assert!(infer(&unpool(), &[&x, &indices, &constant(shape)]).is_err());
        }
        let other = Fact::new(DType::I64, [1, 1, 2, 3]);
        assert!(infer(&unpool(), &[&x, &other]).is_err());
    }
}
