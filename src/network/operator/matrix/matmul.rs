//! MatMul: products of matrices in the last two axes, as numpy does it.
//!
//! ```text
//! A [batch…, m, k]   B [batch…, k, n]   ->   C [batch…, m, n]      the batches broadcast
//! a vector is a row on the left and a column on the right; its axis is missing in C
//! ```

use std::sync::Arc;

use super::Linear;
use super::product::{Native, Sizes, by_engine, by_loops};
use crate::conv::Epilogue;
use crate::error::{Error, Result, product};
use crate::gemm::EngineKind;
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::operator::check::{at_most, fits, has_type, read, required, write};
use crate::network::operator::convolution::Prepared;
use crate::network::operator::elementwise::{broadcast_shape, with_number};
use crate::network::operator::{Fact, Facts, Gemm, Operator, Step, Transpose};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// MatMul: inputs A and B of one type of numbers.
#[derive(Clone, Debug, Default)]
pub struct MatMul {
    prepared: Prepared<f32>,
}

impl MatMul {
    /// The operator.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with room for what follows, where the second factor is one constant matrix.
    pub(crate) fn linear(&self, inputs: &Facts) -> Option<Linear> {
        Linear::of(inputs, &self.prepared)
    }
}

/// Every matrix of an array of so many axes transposed.
fn last_two_swapped(rank: usize) -> Transpose {
    let mut order: Vec<usize> = (0..rank).collect();
    if let [.., rows, columns] = &mut order[..] {
        std::mem::swap(rows, columns);
    }
    Transpose::new(order)
}

fn operands<'a>(inputs: &Facts<'a>) -> Result<[&'a Fact; 2]> {
    Ok([required(inputs, 0, "A")?, required(inputs, 1, "B")?])
}

/// The sizes of the product of arrays of these shapes, and the shape of the result.
pub(super) fn sizes(a: &[usize], b: &[usize]) -> Result<(Sizes, Vec<usize>)> {
    let wrong = |expected: String| Error::Operand {
        operand: "B",
        expected,
        got: format!("of shape {b:?}"),
    };
    let (Some((&k, rest)), Some((&last, before))) = (a.split_last(), b.split_last()) else {
        return Err(wrong(format!(
            "of one axis or more, as A of shape {a:?} must be"
        )));
    };
    let (m, a_batch) = match rest.split_last() {
        Some((&m, batch)) => (Some(m), batch),
        None => (None, rest),
    };
    let (rows, n, b_batch) = match before.split_last() {
        Some((&rows, batch)) => (rows, Some(last), batch),
        None => (last, None, before),
    };
    if rows != k {
        return Err(wrong(format!(
            "with {k} rows, as A of shape {a:?} has columns"
        )));
    }
    let batch = broadcast_shape(&[a_batch, b_batch])?;
    let mut shape = batch.clone();
    shape.extend(m);
    shape.extend(n);
    product("a product of matrices", &shape)?;
    let batches = [a_batch.to_vec(), b_batch.to_vec(), batch];
    let sides = [m.unwrap_or(1), k, n.unwrap_or(1)];
    Ok((Sizes::new(sides, [false; 2], batches), shape))
}

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "MatMul"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        let [a, b] = operands(inputs)?;
        fits(a, "A", "a type of numbers", |dtype| dtype != DType::Bool)?;
        has_type(b, "B", &[a.dtype])?;
        let (_, shape) = sizes(&a.shape, &b.shape)?;
        Ok(vec![Fact::new(a.dtype, shape)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        let rank = |index: usize| {
            inputs
                .get(index)
                .copied()
                .flatten()
                .map_or(0, |fact| fact.shape.len())
        };
        first_alone(batched) && rank(0) >= 2 && (rank(1) < rank(0) || rank(1) == 2)
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let [a, b] = operands(inputs)?;
        let (sizes, _) = sizes(&a.shape, &b.shape)?;
        MatMulStep::step(sizes, [a, b], &self.prepared, options)
    }

    /// ```text
    /// dA = dC · Bᵀ     dB = Aᵀ · dC     summed over the batches that were broadcast
    /// ```
    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let (a, b) = (backward.input(0)?, backward.input(1)?);
        let shapes = [a, b].map(|value| backward.fact(value).map(|fact| fact.shape.clone()));
        let [Ok(a_shape), Ok(b_shape)] = shapes else {
            return Err(backward.unsupported());
        };
        // Vectors as matrices of one row and one column.
        let mut dy_shape = backward.fact(backward.d_output()?)?.shape.clone();
        let (mut a_matrix, mut b_matrix) = (a_shape.clone(), b_shape.clone());
        if b_shape.len() == 1 {
            b_matrix.push(1);
            dy_shape.push(1);
        }
        if a_shape.len() == 1 {
            a_matrix.insert(0, 1);
            dy_shape.insert(dy_shape.len() - 1, 1);
        }
        let dy = backward.d_output()?;
        let dy = backward.reshape(dy, &dy_shape)?;
        let a = backward.reshape(a, &a_matrix)?;
        let b = backward.reshape(b, &b_matrix)?;
        if let [_, n] = b_matrix[..] {
            // One matrix for all rows of A: two products of matrices.
            let k = b_matrix[0];
            let rows = product("rows of A", &a_matrix[..a_matrix.len() - 1])?;
            let dy = backward.reshape(dy, &[rows, n])?;
            if backward.wants(0) {
                let gradient = backward.node(Gemm::new(1.0, 0.0, false, true), &[dy, b])?;
                let gradient = backward.reshape(gradient, &a_shape)?;
                backward.give(0, gradient)?;
            }
            if backward.wants(1) {
                let a = backward.reshape(a, &[rows, k])?;
                let gradient = backward.node(Gemm::new(1.0, 0.0, true, false), &[a, dy])?;
                let gradient = backward.reshape(gradient, &b_shape)?;
                backward.give(1, gradient)?;
            }
            return Ok(());
        }
        if backward.wants(0) {
            let turned = backward.node(last_two_swapped(b_matrix.len()), &[b])?;
            let gradient = backward.node(Self::new(), &[dy, turned])?;
            let gradient = backward.sum_to(gradient, &a_matrix)?;
            let gradient = backward.reshape(gradient, &a_shape)?;
            backward.give(0, gradient)?;
        }
        if backward.wants(1) {
            let turned = backward.node(last_two_swapped(a_matrix.len()), &[a])?;
            let gradient = backward.node(Self::new(), &[turned, dy])?;
            let gradient = backward.sum_to(gradient, &b_matrix)?;
            let gradient = backward.reshape(gradient, &b_shape)?;
            backward.give(1, gradient)?;
        }
        Ok(())
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let flat = inputs.iter().flatten().all(|fact| fact.shape.len() < 3);
        flat.then(|| Arc::new(self.clone()) as Arc<dyn Operator>)
    }
}

/// A product of these sizes.
pub(super) struct MatMulStep {
    sizes: Sizes,
    dtype: DType,
    native: Option<Native>,
    engine: EngineKind,
}

impl MatMulStep {
    /// Of factors of one type, which may be constant; their shapes do not matter.
    pub(super) fn step(
        sizes: Sizes,
        [a, b]: [&Fact; 2],
        prepared: &Prepared<f32>,
        options: &PlanOptions,
    ) -> Result<Box<dyn Step>> {
        let native = if a.dtype == DType::F32 {
            let constants = [a.value.as_ref(), b.value.as_ref()];
            Native::new(&sizes, constants, 1.0, prepared, options)?
        } else {
            None
        };
        Ok(Box::new(Self {
            sizes,
            dtype: a.dtype,
            native,
            engine: options.engine,
        }))
    }
}

impl Step for MatMulStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        if let Some(native) = &self.native {
            let x = read(inputs, 1 - native.factor())?;
            return native.run(x, &Epilogue::none(), write(outputs, 0)?, scratch);
        }
        let (sizes, engine) = (&self.sizes, self.engine);
        match self.dtype {
            DType::F32 => {
                let (a, b) = (read::<f32>(inputs, 0)?, read(inputs, 1)?);
                by_engine(sizes, engine, a, b, write(outputs, 0)?)
            }
            DType::F64 => {
                let (a, b) = (read::<f64>(inputs, 0)?, read(inputs, 1)?);
                by_engine(sizes, engine, a, b, write(outputs, 0)?)
            }
            dtype => with_number!(
                dtype,
                T => {
                    let (a, b) = (read::<T>(inputs, 0)?, read::<T>(inputs, 1)?);
                    by_loops(sizes, a, b, write::<T>(outputs, 0)?);
                    Ok(())
                },
                Ok(())
            ),
        }
    }

    fn scratch_len(&self) -> usize {
        self.native.as_ref().map_or(0, Native::scratch_len)
    }

    fn multiply_adds(&self) -> u64 {
        self.sizes.multiply_adds()
    }

    fn recipe(&self) -> String {
        self.native
            .as_ref()
            .map_or_else(String::new, Native::recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{fact, floats, infer, integers};
    use crate::network::tensor::Tensor;
    use half::f16;
    use ndarray::{ArrayD, Dimension, IxDyn};

    fn filled(shape: &[usize], seed: usize) -> Tensor {
        let len: usize = shape.iter().product();
        floats(shape, (0..len).map(|i| ((i * 7 + seed) % 11) as f32 - 5.0))
    }

    /// The product by its definition; operands have two axes or more.
    fn product(a: &Tensor, b: &Tensor, shape: &[usize]) -> Tensor {
        let (a, b) = (a.array::<f32>().unwrap(), b.array::<f32>().unwrap());
        let k = a.shape()[a.ndim() - 1];
        let place = |array: &ArrayD<f32>, index: &[usize], row: usize, column: usize| {
            let batch = array.ndim() - 2;
            let skip = index.len() - 2 - batch;
            let mut at: Vec<usize> = (0..batch)
                .map(|axis| {
                    if array.shape()[axis] == 1 {
                        0
                    } else {
                        index[skip + axis]
                    }
                })
                .collect();
            at.extend([row, column]);
            array[IxDyn(&at)]
        };
        let rank = shape.len();
        ArrayD::from_shape_fn(IxDyn(shape), |index| {
            let index = index.slice();
            (0..k)
                .map(|p| place(a, index, index[rank - 2], p) * place(b, index, p, index[rank - 1]))
                .sum::<f32>()
        })
        .into()
    }

    /// The result with `constant` operands known at planning.
    fn run(a: &Tensor, b: &Tensor, constant: [bool; 2]) -> Result<Tensor> {
        let known = |tensor: &Tensor, constant: bool| match constant {
            true => Fact::constant(Arc::new(tensor.clone())),
            false => Fact::new(tensor.dtype(), tensor.shape()),
        };
        let facts = [known(a, constant[0]), known(b, constant[1])];
        let facts = [Some(&facts[0]), Some(&facts[1])];
        let operator = MatMul::new();
        let fact = operator.infer(&facts)?.remove(0);
        let step = operator.step(&facts, &PlanOptions::new())?;
        let mut y = Tensor::zeros(fact.dtype, &fact.shape)?;
        let mut scratch = vec![f32::NAN; step.scratch_len()];
        step.run(
            &[Some(a.view()), Some(b.view())],
            &mut [y.view_mut()],
            &mut scratch,
        )?;
        Ok(y)
    }

    #[test]
    fn every_way_gives_the_product() {
        let cases: [(&[usize], &[usize], &[usize]); 8] = [
            (&[3, 4], &[4, 5], &[3, 5]),
            (&[2, 3, 4], &[4, 5], &[2, 3, 5]),
            (&[2, 3, 4], &[2, 4, 5], &[2, 3, 5]),
            (&[3, 4], &[2, 4, 5], &[2, 3, 5]),
            (&[2, 1, 3, 4], &[3, 4, 5], &[2, 3, 3, 5]),
            (&[1, 1], &[1, 1], &[1, 1]),
            (&[150, 40], &[40, 600], &[150, 600]),
            (&[1, 300], &[300, 70], &[1, 70]),
        ];
        for (a, b, c) in cases {
            let (a, b) = (filled(a, 1), filled(b, 2));
            let want = product(&a, &b, c);
            for constant in [[false, false], [false, true], [true, false]] {
                assert_eq!(run(&a, &b, constant).unwrap(), want, "{constant:?} {c:?}");
            }
        }
    }

    #[test]
    fn vectors_lose_their_axis() {
        let (row, square) = (
            floats(&[2], [1.0, 2.0]),
            floats(&[2, 2], [1.0, 2.0, 3.0, 4.0]),
        );
        for constant in [[false, false], [false, true], [true, false]] {
            assert_eq!(
                run(&row, &square, constant).unwrap(),
                floats(&[2], [7.0, 10.0])
            );
            assert_eq!(
                run(&square, &row, constant).unwrap(),
                floats(&[2], [5.0, 11.0])
            );
            assert_eq!(run(&row, &row, constant).unwrap(), floats(&[], [5.0]));
        }
    }

    #[test]
    fn empty_products_are_zero() {
        let zero = run(&floats(&[2, 0], []), &floats(&[0, 2], []), [false, true]).unwrap();
        assert_eq!(zero, floats(&[2, 2], [0.0; 4]));
        let none = run(
            &floats(&[0, 2], []),
            &floats(&[2, 3], [0.0; 6]),
            [false, true],
        )
        .unwrap();
        assert_eq!(none, floats(&[0, 3], []));
    }

    #[test]
    fn integers_wrap_and_halves_are_summed_exactly() {
        let y = run(&integers(&[i64::MAX, 2]), &integers(&[2, 1]), [false; 2]).unwrap();
        assert_eq!(y.array::<i64>().unwrap().first(), Some(&0));
        let halves = |value: f32| -> Tensor {
            ArrayD::from_elem(IxDyn(&[4096]), f16::from_f32(value)).into()
        };
        let y = run(&halves(1.0), &halves(0.5), [false; 2]).unwrap();
        assert_eq!(
            y.array::<f16>().unwrap().first(),
            Some(&f16::from_f32(2048.0))
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let operator = MatMul::new();
        for (a, b) in [
            (&[2, 3][..], &[2, 3][..]),
            (&[], &[1]),
            (&[2], &[]),
            (&[2, 2, 2], &[3, 2, 2]),
        ] {
            assert!(
                infer(&operator, &[&fact(a), &fact(b)]).is_err(),
                "{a:?} {b:?}"
            );
        }
        let long = usize::MAX / 2;
        assert!(infer(&operator, &[&fact(&[long, 1]), &fact(&[1, long])]).is_err());
        let other = Fact::new(DType::F64, [2, 2]);
        assert!(infer(&operator, &[&fact(&[2, 2]), &other]).is_err());
        let truth = Fact::new(DType::Bool, [2, 2]);
        assert!(infer(&operator, &[&truth, &truth]).is_err());
    }

    #[test]
    fn central_differences() {
        use crate::network::operator::testing::{check_gradient, doubles};
        let shapes: [(&[usize], &[usize]); 8] = [
            (&[3, 4], &[4, 2]),
            (&[2, 3, 4], &[4, 2]),
            (&[2, 3, 4], &[2, 4, 2]),
            (&[2, 1, 3, 4], &[5, 4, 2]),
            (&[4], &[4, 2]),
            (&[3, 4], &[4]),
            (&[4], &[4]),
            (&[4], &[3, 4, 2]),
        ];
        for (a, b) in shapes {
            let inputs = [doubles(a, 1, -1.0, 1.0), doubles(b, 2, -1.0, 1.0)];
            check_gradient(MatMul::new(), &inputs, &[0, 1]);
        }
    }
}
