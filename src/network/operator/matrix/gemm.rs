//! Gemm: `Y = alpha · A · B + beta · C`.
//!
//! ```text
//! A (m × k), or k × m transposed   B (k × n), or n × k transposed   C broadcasts to m × n   ->   Y (m × n)
//! a constant B: alpha is in its prepared weights; a constant C that is the same for all rows is their bias
//! ```

use std::sync::Arc;

use ndarray::{ArrayD, IxDyn};

use super::product::{Native, Sizes, by_engine, by_loops};
use crate::conv::Epilogue;
use crate::error::{Error, Result, product};
use crate::gemm::EngineKind;
use crate::kernel::Isa;
use crate::network::gradient::Backward;
use crate::network::operator::by_image::first_alone;
use crate::network::operator::check::{
    at_most, fits, has_type, optional, read, required, write, wrong,
};
use crate::network::operator::convolution::Prepared;
use crate::network::operator::elementwise::{
    Broadcast, Number, broadcast_shape, with_number, zip_in_place,
};
use crate::network::operator::{Binary, Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, Tensor, View, ViewMut};
use crate::plan::PlanOptions;

/// Gemm: inputs A and B, matrices of one type of numbers, and C, which may be left out.
#[derive(Clone, Debug)]
pub struct Gemm {
    /// The factor of A · B.
    pub alpha: f32,
    /// The factor of C; with 0 it is not read.
    pub beta: f32,
    /// Whether A is given as k × m.
    pub transpose_a: bool,
    /// Whether B is given as n × k.
    pub transpose_b: bool,
    prepared: Prepared<f32>,
}

impl Gemm {
    /// The operator.
    pub fn new(alpha: f32, beta: f32, transpose_a: bool, transpose_b: bool) -> Self {
        Self {
            alpha,
            beta,
            transpose_a,
            transpose_b,
            prepared: Prepared::default(),
        }
    }

    fn sizes(&self, a: &Fact, b: &Fact) -> Result<Sizes> {
        let sides = |fact: &Fact, operand, turned| match fact.shape[..] {
            [rows, columns] if turned => Ok([columns, rows]),
            [rows, columns] => Ok([rows, columns]),
            _ => Err(wrong(
                operand,
                "a matrix",
                format!("of shape {:?}", fact.shape),
            )),
        };
        let [m, k] = sides(a, "A", self.transpose_a)?;
        let [rows, n] = sides(b, "B", self.transpose_b)?;
        if rows != k {
            return Err(wrong(
                "B",
                format!("with {k} rows, as A of shape {:?} has columns", a.shape),
                format!("{rows} rows, shape {:?}", b.shape),
            ));
        }
        product("a product of matrices", &[m, n])?;
        let transposed = [self.transpose_a, self.transpose_b];
        Ok(Sizes::new([m, k, n], transposed, Default::default()))
    }

    /// C where it is there and counts.
    fn addend<'a>(&self, inputs: &Facts<'a>) -> Option<&'a Fact> {
        optional(inputs, 2).filter(|_| self.beta != 0.0)
    }

    /// beta · C as a number a column, where that is constant and C the same for all rows.
    fn bias(&self, addend: &Fact, sizes: &Sizes) -> Option<Vec<f32>> {
        let rows = addend
            .shape
            .len()
            .checked_sub(2)
            .map_or(1, |axis| addend.shape[axis]);
        let values = addend.value.as_deref()?.array::<f32>()?;
        if rows != 1 {
            return None;
        }
        let scaled = values.iter().map(|value| self.beta * value);
        Some(match values.len() {
            1 => scaled.cycle().take(sizes.n).collect(),
            _ => scaled.collect(),
        })
    }
}

impl Operator for Gemm {
    fn name(&self) -> &'static str {
        "Gemm"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 3)?;
        let (a, b) = (required(inputs, 0, "A")?, required(inputs, 1, "B")?);
        fits(a, "A", "a type of numbers", |dtype| dtype != DType::Bool)?;
        has_type(b, "B", &[a.dtype])?;
        let sizes = self.sizes(a, b)?;
        let shape = vec![sizes.m, sizes.n];
        if let Some(c) = optional(inputs, 2) {
            has_type(c, "C", &[a.dtype])?;
            if broadcast_shape(&[&shape, &c.shape])? != shape {
                return Err(wrong(
                    "C",
                    format!("of a shape that broadcasts to {shape:?}"),
                    format!("{:?}", c.shape),
                ));
            }
        }
        Ok(vec![Fact::new(a.dtype, shape)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        // C is spread over the rows.
        let row = |c: &Fact| c.shape.len() < 2 || c.shape[0] == 1;
        let c = inputs.get(2).copied().flatten();
        first_alone(batched) && !self.transpose_a && c.is_none_or(row)
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (a, b) = (required(inputs, 0, "A")?, required(inputs, 1, "B")?);
        let sizes = self.sizes(a, b)?;
        let constants = [None, b.value.as_ref()];
        let native = if a.dtype == DType::F32 {
            Native::new(&sizes, constants, self.alpha, &self.prepared, options)?
        } else {
            None
        };
        let addend = self.addend(inputs);
        let bias = match (&native, addend) {
            (Some(_), Some(c)) => self.bias(c, &sizes),
            _ => None,
        };
        let shape = [sizes.m, sizes.n];
        let addend = addend.filter(|_| bias.is_none());
        Ok(Box::new(GemmStep {
            dtype: a.dtype,
            alpha: if native.is_some() { 1.0 } else { self.alpha },
            beta: self.beta,
            addend: addend.map(|c| Broadcast::new(&shape, [&shape, &c.shape])),
            sizes,
            native,
            bias,
            engine: options.engine,
            isa: Isa::selected(),
        }))
    }

    /// ```text
    /// dA = alpha · dY · Bᵀ     dB = alpha · Aᵀ · dY     dC = beta · dY, summed to its shape
    /// ```
    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let dy = backward.d_output()?;
        let (a, b) = (backward.input(0)?, backward.input(1)?);
        let (ta, tb) = (self.transpose_a, self.transpose_b);
        let times = |turned: [bool; 2]| Self::new(self.alpha, 0.0, turned[0], turned[1]);
        if backward.wants(0) {
            let gradient = match ta {
                false => backward.node(times([false, !tb]), &[dy, b])?,
                true => backward.node(times([tb, true]), &[b, dy])?,
            };
            backward.give(0, gradient)?;
        }
        if backward.wants(1) {
            let gradient = match tb {
                false => backward.node(times([!ta, false]), &[a, dy])?,
                true => backward.node(times([true, ta]), &[dy, a])?,
            };
            backward.give(1, gradient)?;
        }
        if backward.wants(2) {
            let shape = backward.fact(backward.input(2)?)?.shape.clone();
            let mut gradient = backward.sum_to(dy, &shape)?;
            if self.beta != 1.0 {
                let beta = match backward.fact(dy)?.dtype {
                    DType::F64 => Tensor::from(ArrayD::from_elem(IxDyn(&[]), f64::from(self.beta))),
                    _ => Tensor::from(ArrayD::from_elem(IxDyn(&[]), self.beta)),
                };
                let beta = backward.constant(beta);
                gradient = backward.node(Binary::Mul, &[gradient, beta])?;
            }
            backward.give(2, gradient)?;
        }
        Ok(())
    }

    fn channels_last(&self, _inputs: &Facts) -> Option<Arc<dyn Operator>> {
        // Matrices are not turned.
        Some(Arc::new(self.clone()))
    }
}

struct GemmStep {
    sizes: Sizes,
    dtype: DType,
    /// What is left to do with the product, and with C.
    alpha: f32,
    beta: f32,
    native: Option<Native>,
    bias: Option<Vec<f32>>,
    /// How C is read for the result, where it is not the bias.
    addend: Option<Broadcast<2>>,
    engine: EngineKind,
    isa: Isa,
}

impl GemmStep {
    /// y ← alpha · y + beta · C
    fn add<T: Number + Scalar>(&self, inputs: &[Option<View>], y: &mut [T]) -> Result<()> {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        let plain = self.alpha == 1.0 && self.beta == 1.0;
        if let Some(plan) = &self.addend {
            let c = read::<T>(inputs, 2)?;
            zip_in_place(plan, [None, Some(c)], y, self.isa, |y: T, c: T| {
                if plain {
                    y.plus(c)
                } else {
                    T::from_f64(alpha * y.to_f64() + beta * c.to_f64())
                }
            });
        } else if self.alpha != 1.0 {
            y.iter_mut()
                .for_each(|y| *y = T::from_f64(alpha * y.to_f64()));
        }
        Ok(())
    }
}

impl Step for GemmStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        let (sizes, engine) = (&self.sizes, self.engine);
        match self.dtype {
            DType::F32 => {
                let y = write::<f32>(outputs, 0)?;
                match &self.native {
                    Some(native) => {
                        let epilogue = Epilogue {
                            bias: self.bias.as_deref(),
                            ..Epilogue::none()
                        };
                        native.run(read(inputs, 0)?, &epilogue, y, scratch)?;
                    }
                    None => by_engine(sizes, engine, read(inputs, 0)?, read(inputs, 1)?, y)?,
                }
                self.add(inputs, y)
            }
            DType::F64 => {
                let y = write::<f64>(outputs, 0)?;
                by_engine(sizes, engine, read(inputs, 0)?, read(inputs, 1)?, y)?;
                self.add(inputs, y)
            }
            dtype => with_number!(
                dtype,
                T => {
                    let y = write::<T>(outputs, 0)?;
                    by_loops(sizes, read::<T>(inputs, 0)?, read::<T>(inputs, 1)?, y);
                    self.add(inputs, y)
                },
                Err(Error::Unsupported { what: "a product", wanted: "truth values" })
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
    use crate::network::operator::testing::{fact, floats, infer};
    use crate::network::tensor::Tensor;
    use ndarray::Array2;

    fn filled(rows: usize, columns: usize, seed: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(i, j)| {
            ((i * 7 + j * 3 + seed) % 11) as f32 - 5.0
        })
    }

    fn run(gemm: &Gemm, inputs: &[Option<&Tensor>], constant: bool) -> Result<Tensor> {
        let facts: Vec<Option<Fact>> = inputs
            .iter()
            .enumerate()
            .map(|(index, input)| {
                input.map(|tensor| match constant && index > 0 {
                    true => Fact::constant(Arc::new(tensor.clone())),
                    false => Fact::new(tensor.dtype(), tensor.shape()),
                })
            })
            .collect();
        let facts: Vec<_> = facts.iter().map(Option::as_ref).collect();
        let fact = gemm.infer(&facts)?.remove(0);
        let step = gemm.step(&facts, &PlanOptions::new())?;
        let mut y = Tensor::zeros(fact.dtype, &fact.shape)?;
        let mut scratch = vec![f32::NAN; step.scratch_len()];
        let views: Vec<_> = inputs.iter().map(|input| input.map(Tensor::view)).collect();
        step.run(&views, &mut [y.view_mut()], &mut scratch)?;
        Ok(y)
    }

    /// Small integers and factors that are powers of two: every way is exact.
    #[test]
    fn every_way_gives_the_same() {
        let (m, k, n) = (5, 33, 40);
        let (a, b) = (filled(m, k, 1), filled(k, n, 2));
        let addends: [Option<Tensor>; 6] = [
            None,
            Some(floats(&[], [3.0])),
            Some(floats(&[n], (0..n).map(|i| i as f32))),
            Some(floats(&[1, n], (0..n).map(|i| i as f32))),
            Some(floats(&[m, 1], (0..m).map(|i| i as f32))),
            Some(filled(m, n, 3).into_dyn().into()),
        ];
        for (alpha, beta) in [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)] {
            for c in &addends {
                let mut want = a.dot(&b) * alpha;
                if let Some(c) = c {
                    want = want
                        + c.array::<f32>()
                            .unwrap()
                            .broadcast((m, n))
                            .unwrap()
                            .to_owned()
                            * beta;
                }
                let want: Tensor = want.into_dyn().into();
                for bits in 0..4 {
                    let turn = |matrix: &Array2<f32>, turned: bool| -> Tensor {
                        let matrix = if turned {
                            matrix.t().to_owned()
                        } else {
                            matrix.clone()
                        };
                        matrix.into_dyn().into()
                    };
                    let (turn_a, turn_b) = (bits & 1 == 1, bits & 2 == 2);
                    let gemm = Gemm::new(alpha, beta, turn_a, turn_b);
                    let (a, b) = (turn(&a, turn_a), turn(&b, turn_b));
                    for constant in [false, true] {
                        let got = run(&gemm, &[Some(&a), Some(&b), c.as_ref()], constant).unwrap();
                        assert_eq!(got, want, "{gemm:?} constant {constant}");
                    }
                }
            }
        }
    }

    #[test]
    fn with_beta_zero_c_is_not_read() {
        let one = floats(&[1, 1], [1.0]);
        let y = run(
            &Gemm::new(2.0, 0.0, false, false),
            &[Some(&one), Some(&one), Some(&floats(&[1], [f32::NAN]))],
            false,
        );
        assert_eq!(y.unwrap(), floats(&[1, 1], [2.0]));
    }

    #[test]
    fn doubles_integers_and_empty_sums() {
        let doubles: Tensor = ndarray::arr2(&[[1.5, 2.0]]).into_dyn().into();
        let y = run(
            &Gemm::new(1.0, 1.0, false, true),
            &[Some(&doubles), Some(&doubles)],
            true,
        );
        assert_eq!(y.unwrap(), ndarray::arr2(&[[6.25]]).into_dyn().into());
        let numbers: Tensor = ndarray::arr2(&[[i32::MAX, 2]]).into_dyn().into();
        let other: Tensor = ndarray::arr2(&[[1, 1]]).into_dyn().into();
        let y = run(
            &Gemm::new(1.0, 1.0, false, true),
            &[Some(&numbers), Some(&other)],
            false,
        );
        assert_eq!(
            y.unwrap(),
            ndarray::arr2(&[[i32::MIN + 1]]).into_dyn().into()
        );
        let (a, b, c) = (
            floats(&[2, 0], []),
            floats(&[0, 1], []),
            floats(&[1], [7.0]),
        );
        let y = run(
            &Gemm::new(1.0, 1.0, false, false),
            &[Some(&a), Some(&b), Some(&c)],
            true,
        );
        assert_eq!(y.unwrap(), floats(&[2, 1], [7.0, 7.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let gemm = Gemm::new(1.0, 1.0, false, false);
        let square = fact(&[2, 2]);
        assert!(infer(&gemm, &[&square, &fact(&[3, 2])]).is_err());
        assert!(infer(&gemm, &[&square, &fact(&[2])]).is_err());
        assert!(infer(&gemm, &[&fact(&[1, 2, 2]), &square]).is_err());
        assert!(infer(&gemm, &[&square, &square, &fact(&[3])]).is_err());
        assert!(infer(&gemm, &[&square, &square, &fact(&[1, 2, 2])]).is_err());
        assert!(infer(&gemm, &[&square, &Fact::new(DType::F64, [2, 2])]).is_err());
    }

    #[test]
    fn central_differences() {
        use crate::network::operator::testing::{check_gradient, doubles};
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            let shape = |turned: bool, [rows, columns]: [usize; 2]| match turned {
                true => [columns, rows],
                false => [rows, columns],
            };
            let a = doubles(&shape(ta, [3, 4]), 1, -1.0, 1.0);
            let b = doubles(&shape(tb, [4, 5]), 2, -1.0, 1.0);
            for c in [&[5][..], &[3, 1], &[1], &[3, 5]] {
                let c = doubles(c, 3, -1.0, 1.0);
                let gemm = Gemm::new(0.5, -2.0, ta, tb);
                check_gradient(gemm, &[a.clone(), b.clone(), c], &[0, 1, 2]);
            }
        }
    }
}
