//! Losses: one number for a batch, and its gradient.
//!
//! ```text
//! cross-entropy    scores z [N, C, …], classes t [N, …]      p = softmax(z) along axis 1, M = N · …
//!                  q = (1 − smoothing) · one-hot(t) + smoothing / C
//!                  loss = −1/M Σ q · log p                   dz = (p − q) / M
//! squared error    y, t of one shape                         loss = 1/len Σ (y − t)²,  dy = 2 (y − t) / len
//! ```
//!
//! Sums are f64, of a row at a time, then of all rows in order: the same bits for any number of threads.

use crate::element::Element;
use crate::error::{Error, Result, product};
use crate::network::gradient::Backward;
use crate::network::operator::check::{
    at_most, has_axes, has_shape, has_type, read, read_optional, required, span, write, wrong,
    wrong_attribute,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, Scalar, View, ViewMut};
use crate::plan::PlanOptions;

/// The mean of −log softmax(scores) at the right class. Inputs: scores `[N, C, …]`, classes `[N, …]` of type i64 from 0
/// to C − 1. Outputs: the loss, and the softmax of the scores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// What all classes together get of the right one's share: 0 for none, below 1. (Szegedy and others, 2016.)
    pub smoothing: f32,
}

/// Inputs: softmax, classes, the gradient of the loss.
#[derive(Clone, Copy, Debug)]
struct CrossEntropyBackward(CrossEntropy);

/// The mean of (y − t)². Inputs: y, t.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SquaredError;

/// Inputs: y, t, the gradient of the loss; the output is that of y.
#[derive(Clone, Copy, Debug)]
struct SquaredErrorBackward;

impl CrossEntropy {
    fn rows(&self, inputs: &Facts, scores: &'static str) -> Result<Rows> {
        let (z, classes) = (
            required(inputs, 0, scores)?,
            required(inputs, 1, "classes")?,
        );
        has_axes(z, scores, 2)?;
        has_type(z, scores, &[DType::F32, DType::F64])?;
        has_type(classes, "classes", &[DType::I64])?;
        let mut wanted = z.shape.clone();
        wanted.remove(1);
        has_shape(classes, "classes", &wanted)?;
        if !(0.0..1.0).contains(&self.smoothing) {
            return Err(wrong_attribute(
                "smoothing",
                "at least 0 and below 1",
                self.smoothing,
            ));
        }
        let rows = Rows {
            images: z.shape[0],
            classes: z.shape[1],
            positions: span(&z.shape[2..]),
            smoothing: self.smoothing.into(),
        };
        if product("classes", &wanted)? == 0 || rows.classes == 0 {
            return Err(wrong(
                scores,
                "of one row and one class at least",
                format!("of shape {:?}", z.shape),
            ));
        }
        Ok(rows)
    }
}

impl Operator for CrossEntropy {
    fn name(&self) -> &'static str {
        "CrossEntropy"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 2)?;
        self.rows(inputs, "scores")?;
        let z = required(inputs, 0, "scores")?;
        Ok(vec![
            Fact::new(z.dtype, []),
            Fact::new(z.dtype, z.shape.clone()),
        ])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(LossStep {
            rows: self.rows(inputs, "scores")?,
            dtype: required(inputs, 0, "scores")?.dtype,
        }))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let inputs = [
            backward.output(1)?,
            backward.input(1)?,
            backward.d_output()?,
        ];
        if backward.d_output_of(1).is_some() {
            return Err(backward.unsupported());
        }
        let gradient = backward.node(CrossEntropyBackward(*self), &inputs)?;
        backward.give(0, gradient)
    }
}

impl Operator for CrossEntropyBackward {
    fn name(&self) -> &'static str {
        "CrossEntropyBackward"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        at_most(inputs, 3)?;
        self.0.rows(inputs, "softmax")?;
        let p = required(inputs, 0, "softmax")?;
        has_type(required(inputs, 2, "d loss")?, "d loss", &[p.dtype])?;
        Ok(vec![Fact::new(p.dtype, p.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(LossBackwardStep {
            rows: self.0.rows(inputs, "softmax")?,
            dtype: required(inputs, 0, "softmax")?.dtype,
        }))
    }
}

/// The sizes of scores.
#[derive(Clone, Copy)]
struct Rows {
    images: usize,
    classes: usize,
    positions: usize,
    smoothing: f64,
}

impl Rows {
    fn count(&self) -> usize {
        self.images * self.positions
    }

    /// The elements of row `row`, by class, and the class that is right.
    fn row(
        &self,
        row: usize,
        classes: &[i64],
    ) -> Result<(impl Iterator<Item = usize> + Clone, usize)> {
        let (image, position) = (row / self.positions, row % self.positions);
        let start = image * self.classes * self.positions + position;
        let class = usize::try_from(classes[row]).ok();
        let class = class.filter(|&class| class < self.classes).ok_or_else(|| {
            wrong(
                "classes",
                format!("from 0 to {}", self.classes - 1),
                format!("{} for example {row}", classes[row]),
            )
        })?;
        let step = self.positions;
        Ok((
            (0..self.classes).map(move |class| start + class * step),
            class,
        ))
    }
}

struct LossStep {
    rows: Rows,
    dtype: DType,
}

impl LossStep {
    fn compute<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (z, classes) = (read::<T>(inputs, 0)?, read::<i64>(inputs, 1)?);
        let (loss, softmax) = outputs.split_at_mut(1);
        let (loss, p) = (write::<T>(loss, 0)?, write::<T>(softmax, 0)?);
        let rows = &self.rows;
        let share = rows.smoothing / rows.classes as f64;
        let mut total = 0.0;
        for row in 0..rows.count() {
            let (places, class) = rows.row(row, classes)?;
            // NaN and infinities stay: the loss shows them.
            let largest = (places.clone())
                .map(|at| z[at].to_f64())
                .fold(f64::NEG_INFINITY, f64::max);
            let power = |at: usize| (z[at].to_f64() - largest).exp();
            let sum: f64 = places.clone().map(power).sum();
            let log = sum.ln() + largest;
            let mut loss = 0.0;
            for (index, at) in places.enumerate() {
                p[at] = T::from_f64(power(at) / sum);
                let right = if index == class {
                    1.0 - rows.smoothing
                } else {
                    0.0
                };
                let q = right + share;
                if q > 0.0 {
                    loss += q * (log - z[at].to_f64());
                }
            }
            total += loss;
        }
        loss[0] = T::from_f64(total / rows.count() as f64);
        Ok(())
    }
}

impl Step for LossStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.dtype {
            DType::F64 => self.compute::<f64>(inputs, outputs),
            _ => self.compute::<f32>(inputs, outputs),
        }
    }
}

struct LossBackwardStep {
    rows: Rows,
    dtype: DType,
}

impl LossBackwardStep {
    fn compute<T: Element + Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
    ) -> Result<()> {
        let (p, classes) = (read_optional::<T>(inputs, 0)?, read::<i64>(inputs, 1)?);
        let d_loss = read::<T>(inputs, 2)?[0].to_f64();
        let dz = write::<T>(outputs, 0)?;
        if let Some(p) = p {
            dz.copy_from_slice(p);
        }
        let rows = &self.rows;
        let (share, scale) = (
            rows.smoothing / rows.classes as f64,
            d_loss / rows.count() as f64,
        );
        for row in 0..rows.count() {
            let (places, class) = rows.row(row, classes)?;
            for (index, at) in places.enumerate() {
                let right = if index == class {
                    1.0 - rows.smoothing
                } else {
                    0.0
                };
                dz[at] = T::from_f64((dz[at].to_f64() - right - share) * scale);
            }
        }
        Ok(())
    }
}

impl Step for LossBackwardStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.dtype {
            DType::F64 => self.compute::<f64>(inputs, outputs),
            _ => self.compute::<f32>(inputs, outputs),
        }
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

/// Facts of y and t, which agree.
fn pair<'f>(inputs: &Facts<'f>, operands: usize) -> Result<&'f Fact> {
    at_most(inputs, operands)?;
    let (y, target) = (required(inputs, 0, "y")?, required(inputs, 1, "t")?);
    has_type(y, "y", &[DType::F32, DType::F64])?;
    has_type(target, "t", &[y.dtype])?;
    has_shape(target, "t", &y.shape)?;
    if y.shape.contains(&0) {
        return Err(Error::Operand {
            operand: "y",
            expected: "of one element at least".to_owned(),
            got: format!("of shape {:?}", y.shape),
        });
    }
    Ok(y)
}

impl Operator for SquaredError {
    fn name(&self) -> &'static str {
        "SquaredError"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        Ok(vec![Fact::new(pair(inputs, 2)?.dtype, [])])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(SquaredStep(pair(inputs, 2)?.dtype)))
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let inputs = [backward.input(0)?, backward.input(1)?, backward.d_output()?];
        let gradient = backward.node(SquaredErrorBackward, &inputs)?;
        if backward.wants(1) {
            let other = backward.node(super::Unary::Neg, &[gradient])?;
            backward.give(1, other)?;
        }
        backward.give(0, gradient)
    }
}

struct SquaredStep(DType);

fn squared<T: Element + Scalar>(inputs: &[Option<View>], outputs: &mut [ViewMut]) -> Result<()> {
    let (y, target) = (read::<T>(inputs, 0)?, read::<T>(inputs, 1)?);
    let pairs = y.iter().zip(target);
    let sum: f64 = pairs.map(|(y, t)| (y.to_f64() - t.to_f64()).powi(2)).sum();
    write::<T>(outputs, 0)?[0] = T::from_f64(sum / y.len() as f64);
    Ok(())
}

impl Step for SquaredStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.0 {
            DType::F64 => squared::<f64>(inputs, outputs),
            _ => squared::<f32>(inputs, outputs),
        }
    }
}

impl Operator for SquaredErrorBackward {
    fn name(&self) -> &'static str {
        "SquaredErrorBackward"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let y = pair(inputs, 3)?;
        has_type(required(inputs, 2, "d loss")?, "d loss", &[y.dtype])?;
        Ok(vec![Fact::new(y.dtype, y.shape.clone())])
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        Ok(Box::new(SquaredBackwardStep(pair(inputs, 3)?.dtype)))
    }
}

struct SquaredBackwardStep(DType);

fn squared_backward<T: Element + Scalar>(
    inputs: &[Option<View>],
    outputs: &mut [ViewMut],
) -> Result<()> {
    let (y, target) = (read::<T>(inputs, 0)?, read::<T>(inputs, 1)?);
    let d_loss = read::<T>(inputs, 2)?[0].to_f64();
    let scale = T::from_f64(2.0 * d_loss / y.len() as f64);
    let dy = write::<T>(outputs, 0)?;
    for ((dy, &y), &target) in dy.iter_mut().zip(y).zip(target) {
        *dy = scale * (y - target);
    }
    Ok(())
}

impl Step for SquaredBackwardStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        match self.0 {
            DType::F64 => squared_backward::<f64>(inputs, outputs),
            _ => squared_backward::<f32>(inputs, outputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{check_gradient, doubles, floats, run};
    use crate::network::tensor::Tensor;

    fn classes(shape: &[usize], classes: &[i64]) -> Tensor {
        let array = ndarray::ArrayD::from_shape_vec(shape, classes.to_vec());
        array.unwrap().into()
    }

    #[test]
    fn two_equal_scores_are_one_bit() {
        let made = run(
            &CrossEntropy::default(),
            &[floats(&[1, 2], [3.0, 3.0]), classes(&[1], &[1])],
        );
        let made = made.unwrap();
        assert_eq!(made[0], floats(&[], [std::f32::consts::LN_2]));
        assert_eq!(made[1], floats(&[1, 2], [0.5, 0.5]));
    }

    #[test]
    fn central_differences() {
        for smoothing in [0.0, 0.1] {
            let loss = CrossEntropy { smoothing };
            let scores = doubles(&[3, 5], 1, -2.0, 2.0);
            check_gradient(loss, &[scores, classes(&[3], &[4, 0, 2])], &[0]);
            let scores = doubles(&[2, 3, 2, 1], 1, -2.0, 2.0);
            check_gradient(loss, &[scores, classes(&[2, 2, 1], &[0, 2, 1, 1])], &[0]);
        }
        let (y, target) = (
            doubles(&[3, 4], 1, -1.0, 1.0),
            doubles(&[3, 4], 2, -1.0, 1.0),
        );
        check_gradient(SquaredError, &[y, target], &[0, 1]);
    }

    #[test]
    fn scores_far_apart_give_finite_losses() {
        let scores = floats(&[2, 2], [1e30, -1e30, -80.0, 80.0]);
        let made = run(&CrossEntropy::default(), &[scores, classes(&[2], &[0, 1])]);
        assert_eq!(made.unwrap()[0], floats(&[], [0.0]));
    }

    #[test]
    fn classes_out_of_range_are_errors() {
        let scores = || floats(&[1, 3], [0.0; 3]);
        for class in [-1, 3, i64::MAX, i64::MIN] {
            let error = run(
                &CrossEntropy::default(),
                &[scores(), classes(&[1], &[class])],
            );
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("from 0 to 2") && error.contains(&class.to_string()),
                "{error}"
            );
        }
        let wrong = CrossEntropy { smoothing: 1.0 };
        assert!(run(&wrong, &[scores(), classes(&[1], &[0])]).is_err());
        assert!(
            run(
                &CrossEntropy::default(),
                &[scores(), classes(&[2], &[0, 0])]
            )
            .is_err()
        );
    }
}
