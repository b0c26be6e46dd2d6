//! Weights in the form of a plan: constants prepared once for sessions of any sizes, others at every run.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use ndarray::{ArrayRef, ArrayView, IxDyn};

use crate::conv::PreparedWeights;
use crate::element::Element;
use crate::error::Result;
use crate::network::operator::Fact;
use crate::network::operator::check::{read, wrong};
use crate::network::tensor::{Scalar, Tensor, View};

/// What prepares weights for itself.
pub(crate) trait Prepares<T: Element> {
    /// `weight` in the form that the forward pass reads.
    fn prepare(&self, weight: &ArrayRef<T, IxDyn>) -> Result<PreparedWeights<T>>;
    /// Other weights in the same place.
    fn update(&self, held: &mut PreparedWeights<T>, weight: &ArrayRef<T, IxDyn>) -> Result<()>;
    /// Whether `prepared` is in that form.
    fn takes(&self, prepared: &PreparedWeights<T>) -> bool;
}

/// Prepared weights, each with the constant that it was made from.
///
/// An operator and its copies for other layouts and with other epilogues share one of these.
#[derive(Debug)]
pub(crate) struct Prepared<T>(Arc<Mutex<Vec<Entry<T>>>>);

/// Forms of one constant that are kept though no session reads them: that of Fourier transforms differs with sizes.
pub(super) const KEPT: usize = 8;

type Entry<T> = (Weak<Tensor>, Arc<PreparedWeights<T>>);

impl<T> Clone for Prepared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Prepared<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Element + Scalar> Prepared<T> {
    /// What was made of `weight` before and `plan` takes, or what it makes now.
    ///
    /// Nothing is locked while it is made: that takes several threads, and one that waits for the others may begin
    /// another run, which comes here too. Then both make it, and the first is kept.
    pub(crate) fn get(
        &self,
        weight: &Arc<Tensor>,
        plan: &impl Prepares<T>,
    ) -> Result<Arc<PreparedWeights<T>>> {
        let held = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |(from, _): &Entry<T>| std::ptr::eq(from.as_ptr(), Arc::as_ptr(weight));
        let found = |held: &[Entry<T>]| {
            let found = held.iter().find(|entry| own(entry) && plan.takes(&entry.1));
            found.map(|(_, made)| made.clone())
        };
        if let Some(made) = found(&held()) {
            return Ok(made);
        }
        let array = weight
            .array::<T>()
            .ok_or_else(|| wrong("W", T::DTYPE.name(), weight.dtype().name()))?;
        let made = Arc::new(plan.prepare(array)?);
        let mut held = held();
        if let Some(made) = found(&held) {
            return Ok(made);
        }
        // A weak reference keeps the address from being given away, not the tensor.
        held.retain(|(from, _)| from.strong_count() > 0);
        let unread = |entry: &Entry<T>| own(entry) && Arc::strong_count(&entry.1) == 1;
        if held.iter().filter(|entry| own(entry)).count() >= KEPT
            && let Some(oldest) = held.iter().position(unread)
        {
            held.remove(oldest);
        }
        held.push((Arc::downgrade(weight), made.clone()));
        Ok(made)
    }
}

/// The weights of a step.
pub(super) enum Weights<T> {
    Constant(Arc<PreparedWeights<T>>),
    /// An input, prepared at every run in a place that each thread keeps.
    Given {
        shape: Vec<usize>,
        places: Mutex<Vec<PreparedWeights<T>>>,
    },
}

impl<T: Element + Scalar> Weights<T> {
    pub fn new(weight: &Fact, prepared: &Prepared<T>, plan: &impl Prepares<T>) -> Result<Self> {
        Ok(match &weight.value {
            Some(value) => Self::Constant(prepared.get(value, plan)?),
            None => Self::Given {
                shape: weight.shape.clone(),
                places: Mutex::new(Vec::new()),
            },
        })
    }

    /// Calls `run` with the weights, those in `given` where they are no constant.
    pub fn with(
        &self,
        given: &[Option<View>],
        plan: &impl Prepares<T>,
        run: impl FnOnce(&PreparedWeights<T>) -> Result<()>,
    ) -> Result<()> {
        let (shape, places) = match self {
            Self::Constant(weights) => return run(weights),
            Self::Given { shape, places } => (shape, places),
        };
        let slice = read(given, 0)?;
        let weight = ArrayView::from_shape(IxDyn(shape), slice)
            .map_err(|_| wrong("W", format!("of shape {shape:?}"), slice.len().to_string()))?;
        let places = || places.lock().unwrap_or_else(PoisonError::into_inner);
        let held = places().pop();
        let prepared = match held {
            Some(mut held) => {
                plan.update(&mut held, &weight)?;
                held
            }
            None => plan.prepare(&weight)?,
        };
        let done = run(&prepared);
        places().push(prepared);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::ConvPlan;
    use crate::geometry::{ConvGeometry, ConvOptions};
    use crate::network::operator::testing::floats;
    use crate::plan::PlanOptions;

    /// A plan that wants a form which no other has.
    struct Particular(ConvPlan<f32>);

    impl Prepares<f32> for Particular {
        fn prepare(&self, weight: &ArrayRef<f32, IxDyn>) -> Result<PreparedWeights<f32>> {
            self.0.prepare(weight)
        }
        fn update(
            &self,
            held: &mut PreparedWeights<f32>,
            weight: &ArrayRef<f32, IxDyn>,
        ) -> Result<()> {
            self.0.update(held, weight)
        }
        fn takes(&self, _prepared: &PreparedWeights<f32>) -> bool {
            false
        }
    }

    #[test]
    fn forms_that_nobody_reads_do_not_pile_up() {
        let geometry = ConvGeometry::new(&[1, 1, 3], &[1, 1, 2], &ConvOptions::new()).unwrap();
        let plan = Particular(ConvPlan::new(&geometry, &PlanOptions::new()).unwrap());
        let weights = [1.0, 2.0].map(|first| Arc::new(floats(&[1, 1, 2], [first, 0.0])));
        let prepared = Prepared::default();
        let read = prepared.get(&weights[0], &plan).unwrap();
        for _ in 0..3 * KEPT {
            for weight in &weights {
                prepared.get(weight, &plan).unwrap();
            }
        }
        let held = prepared.0.lock().unwrap();
        assert_eq!(held.len(), 2 * KEPT);
        assert!(held.iter().any(|(_, made)| Arc::ptr_eq(made, &read)));
    }

    /// A plan that asks for weights itself while it prepares some, as a thread does that meets another run meanwhile.
    struct Meanwhile<'a>(Particular, &'a Prepared<f32>, &'a Arc<Tensor>);

    impl Prepares<f32> for Meanwhile<'_> {
        fn prepare(&self, weight: &ArrayRef<f32, IxDyn>) -> Result<PreparedWeights<f32>> {
            self.1.get(self.2, &self.0)?;
            self.0.prepare(weight)
        }
        fn update(
            &self,
            held: &mut PreparedWeights<f32>,
            weight: &ArrayRef<f32, IxDyn>,
        ) -> Result<()> {
            self.0.update(held, weight)
        }
        fn takes(&self, _prepared: &PreparedWeights<f32>) -> bool {
            false
        }
    }

    #[test]
    fn nothing_is_locked_while_weights_are_prepared() {
        let geometry = ConvGeometry::new(&[1, 1, 3], &[1, 1, 2], &ConvOptions::new()).unwrap();
        let plan = Particular(ConvPlan::new(&geometry, &PlanOptions::new()).unwrap());
        let weight = Arc::new(floats(&[1, 1, 2], [1.0, 2.0]));
        let prepared = Prepared::default();
        let plan = Meanwhile(plan, &prepared, &weight);
        prepared.get(&weight, &plan).unwrap();
        assert_eq!(prepared.0.lock().unwrap().len(), 2);
    }
}
