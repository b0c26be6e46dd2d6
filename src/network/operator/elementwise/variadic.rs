//! Max, Min, Sum and Mean of any number of inputs, broadcast.
//!
//! ```text
//! y = f(f(x₀, x₁), x₂) …      each in turn, in the output; NaN wins a maximum and a minimum
//! ```

use std::sync::Arc;

use super::aligned::channels_last;
use super::broadcast::{Broadcast, broadcast_shape, place, zip_in_place};
use super::in_pieces;
use super::number::{Number, Ordered, with_number};
use super::unbroadcast::{give_sum, number};
use super::{Binary, Cast, Where};
use crate::error::Result;
use crate::geometry::Axis;
use crate::kernel::Isa;
use crate::network::gradient::Backward;
use crate::network::graph::ValueId;
use crate::network::operator::by_image::elementwise as by_element;
use crate::network::operator::check::{
    FLOATS, fits, has_type, read, read_optional, required, write, wrong,
};
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::{DType, View, ViewMut};
use crate::plan::PlanOptions;

/// A function of all inputs, element by element. Every variant is the ONNX operator of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variadic {
    /// The largest.
    Max,
    /// The mean, of floats.
    Mean,
    /// The smallest.
    Min,
    /// The sum.
    Sum,
}

impl Operator for Variadic {
    fn name(&self) -> &'static str {
        match self {
            Self::Max => "Max",
            Self::Mean => "Mean",
            Self::Min => "Min",
            Self::Sum => "Sum",
        }
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let first = required(inputs, 0, "data_0")?;
        match self {
            Self::Mean => has_type(first, "data_0", FLOATS)?,
            _ => fits(first, "data_0", "a type of numbers", |dtype| {
                dtype != DType::Bool
            })?,
        }
        let mut shapes = Vec::with_capacity(inputs.len());
        for index in 0..inputs.len() {
            let input = required(inputs, index, "an input")?;
            has_type(input, "an input", &[first.dtype])?;
            shapes.push(&input.shape[..]);
        }
        Ok(vec![Fact::new(first.dtype, broadcast_shape(&shapes)?)])
    }

    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        by_element(inputs, batched)
    }

    fn step(&self, inputs: &Facts, _options: &PlanOptions) -> Result<Box<dyn Step>> {
        let mut shapes = Vec::with_capacity(inputs.len());
        for index in 0..inputs.len() {
            shapes.push(&required(inputs, index, "an input")?.shape[..]);
        }
        let out = broadcast_shape(&shapes)?;
        let plans = (1..shapes.len()).map(|index| {
            let before = if index == 1 { shapes[0] } else { &out[..] };
            Broadcast::new(&out, [before, shapes[index]])
        });
        Ok(Box::new(VariadicStep {
            operator: *self,
            dtype: required(inputs, 0, "data_0")?.dtype,
            plans: plans.collect(),
            place: place(&inputs[..inputs.len().min(2)], &out),
            isa: Isa::selected(),
        }))
    }

    fn window(&self, _inputs: &Facts) -> Option<Vec<Axis>> {
        Some(Vec::new())
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        channels_last(Arc::new(*self), inputs)
    }

    fn gradient(&self, backward: &mut Backward) -> Result<()> {
        let dy = backward.d_output()?;
        let given = |&index: &usize| backward.input_fact(index).is_some();
        let count = (0..).take_while(given).count();
        match self {
            Self::Sum => (0..count).try_for_each(|index| give_sum(backward, index, dy)),
            Self::Mean => {
                let count_number = number(backward, dy, count as f64)?;
                let share = backward.node(Binary::Div, &[dy, count_number])?;
                (0..count).try_for_each(|index| give_sum(backward, index, share))
            }
            Self::Max | Self::Min => shared(backward, dy, count),
        }
    }
}

/// The gradient of an extreme: inputs that have it share dY equally, as two do in PyTorch.
fn shared(backward: &mut Backward, dy: ValueId, count: usize) -> Result<()> {
    let y = backward.output(0)?;
    let dtype = backward.fact(y)?.dtype;
    let mut equal = Vec::with_capacity(count);
    let mut ones = Vec::with_capacity(count);
    for index in 0..count {
        let x = backward.input(index)?;
        let same = backward.node(Binary::Equal, &[x, y])?;
        equal.push(same);
        ones.push(backward.node(Cast::To(dtype), &[same])?);
    }
    let number_equal = backward.node(Variadic::Sum, &ones)?;
    let (share, zero) = (
        backward.node(Binary::Div, &[dy, number_equal])?,
        number(backward, dy, 0.0)?,
    );
    for (index, same) in equal.into_iter().enumerate() {
        if backward.wants(index) {
            let gradient = backward.node(Where, &[same, share, zero])?;
            give_sum(backward, index, gradient)?;
        }
    }
    Ok(())
}

struct VariadicStep {
    operator: Variadic,
    dtype: DType,
    /// For every input but the first, how it meets what those before it gave.
    plans: Vec<Broadcast<2>>,
    place: Option<usize>,
    isa: Isa,
}

impl VariadicStep {
    fn fold<T: Number>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        f: impl Fn(T, T) -> T + Copy + Sync,
    ) -> Result<()> {
        let y = write::<T>(outputs, 0)?;
        let first = read_optional::<T>(inputs, 0)?;
        let mut plans = self.plans.iter().enumerate();
        match (plans.next(), first) {
            (Some((_, plan)), _) => {
                let pair = [first, read_optional(inputs, 1)?];
                zip_in_place(plan, pair, y, self.isa, f);
            }
            (None, Some(x)) => y.copy_from_slice(x),
            (None, None) => {}
        }
        for (before, plan) in plans {
            zip_in_place(
                plan,
                [None, Some(read(inputs, before + 1)?)],
                y,
                self.isa,
                f,
            );
        }
        if self.operator == Variadic::Mean {
            let count = T::from_f64((self.plans.len() + 1) as f64);
            in_pieces(y, |_, y| y.iter_mut().for_each(|y| *y = y.over(count)));
        }
        Ok(())
    }
}

impl Step for VariadicStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        if self.dtype == DType::F32 {
            return match self.operator {
                Variadic::Max => self.fold(inputs, outputs, |a: f32, b| a.larger(b)),
                Variadic::Min => self.fold(inputs, outputs, |a: f32, b| a.smaller(b)),
                Variadic::Sum | Variadic::Mean => self.fold(inputs, outputs, |a: f32, b| a + b),
            };
        }
        with_number!(
            self.dtype,
            T => {
                let f = match self.operator {
                    Variadic::Max => T::larger,
                    Variadic::Min => T::smaller,
                    Variadic::Sum | Variadic::Mean => T::plus,
                };
                self.fold::<T>(inputs, outputs, f)
            },
            Err(wrong("data_0", "a type of numbers", self.dtype.name()))
        )
    }

    fn in_place(&self) -> Option<usize> {
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::operator::testing::{
        check_gradient, doubles, fact, floats, infer, integers, run,
    };

    #[test]
    fn inputs_of_many_shapes() {
        let inputs = [
            floats(&[2, 1], [1.0, 5.0]),
            floats(&[3], [2.0, 4.0, 6.0]),
            floats(&[], [3.0]),
        ];
        let of = |operator: Variadic| run(&operator, &inputs).unwrap().remove(0);
        assert_eq!(
            of(Variadic::Max),
            floats(&[2, 3], [3.0, 4.0, 6.0, 5.0, 5.0, 6.0])
        );
        assert_eq!(
            of(Variadic::Min),
            floats(&[2, 3], [1.0, 1.0, 1.0, 2.0, 3.0, 3.0])
        );
        assert_eq!(
            of(Variadic::Sum),
            floats(&[2, 3], [6.0, 8.0, 10.0, 10.0, 12.0, 14.0])
        );
        let means = [6.0, 8.0, 10.0, 10.0, 12.0, 14.0].map(|sum| sum / 3.0);
        assert_eq!(of(Variadic::Mean), floats(&[2, 3], means));
    }

    #[test]
    fn one_input_and_integers() {
        for operator in [Variadic::Max, Variadic::Min, Variadic::Sum, Variadic::Mean] {
            let x = [floats(&[2], [1.0, -2.0])];
            assert_eq!(run(&operator, &x).unwrap(), x);
        }
        let y = run(&Variadic::Max, &[integers(&[1, -9]), integers(&[-1, 7])]).unwrap();
        assert_eq!(y, [integers(&[1, 7])]);
    }

    #[test]
    fn nan_wins() {
        for operator in [Variadic::Max, Variadic::Min] {
            let inputs = [floats(&[2], [f32::NAN, 1.0]), floats(&[2], [1.0, f32::NAN])];
            let y = run(&operator, &inputs).unwrap();
            assert!(y[0].array::<f32>().unwrap().iter().all(|y| y.is_nan()));
        }
    }

    #[test]
    fn gradients_by_central_differences() {
        for operator in [Variadic::Sum, Variadic::Mean, Variadic::Max, Variadic::Min] {
            let x = [[2, 3, 4].as_slice(), &[4], &[3, 1]];
            let x: Vec<_> = (0..3)
                .map(|i| doubles(x[i], 7 + i as u64, -1.0, 1.0))
                .collect();
            check_gradient(operator, &x, &[0, 1, 2]);
            check_gradient(operator, &x[..1], &[0]);
        }
    }

    /// Two of three inputs have the maximum.
    #[test]
    fn ties_share_the_gradient() {
        use crate::network::{Graph, Network, NetworkOptions};
        let mut graph = Graph::new();
        let names = ["a", "b", "c"];
        let x = names.map(|name| graph.input(name, DType::F32, None));
        let y = graph.node("y", Variadic::Max, &x);
        graph.output(y);
        let network = Network::with_gradients(graph, y, &x, NetworkOptions::new()).unwrap();
        let given = [3.0, 1.0, 3.0].map(|value| floats(&[1], [value]));
        let given: Vec<_> = names.into_iter().zip(given).collect();
        let made = network.run(&given).unwrap();
        let made: Vec<_> = made.into_iter().map(|(_, tensor)| tensor).collect();
        assert_eq!(
            made,
            [3.0, 0.5, 0.0, 0.5].map(|value| floats(&[1], [value]))
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(infer(&Variadic::Max, &[]).is_err());
        assert!(Variadic::Max.infer(&[Some(&fact(&[1])), None]).is_err());
        assert!(infer(&Variadic::Sum, &[&fact(&[2]), &fact(&[3])]).is_err());
        assert!(infer(&Variadic::Mean, &[&Fact::new(DType::I32, [2])]).is_err());
        assert!(infer(&Variadic::Sum, &[&fact(&[2]), &Fact::new(DType::F64, [2])]).is_err());
    }
}
