//! Weights prepared once, for sessions of any sizes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::conv::PreparedWeights;
use crate::error::Result;
use crate::network::tensor::Tensor;

/// Prepared weights, each with the constant that it was made from.
///
/// An operator and its copies for other layouts and with other epilogues share one of these.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared(Arc<Mutex<Vec<(Weak<Tensor>, Arc<PreparedWeights<f32>>)>>>);

impl Prepared {
    /// What was made from `weight` before and `fits`, or what `make` makes.
    pub fn get(
        &self,
        weight: &Arc<Tensor>,
        fits: impl Fn(&PreparedWeights<f32>) -> bool,
        make: impl FnOnce() -> Result<PreparedWeights<f32>>,
    ) -> Result<Arc<PreparedWeights<f32>>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A weak reference keeps the address from being given away, not the tensor.
        held.retain(|(from, _)| from.strong_count() > 0);
        let found = held
            .iter()
            .find(|(from, made)| std::ptr::eq(from.as_ptr(), Arc::as_ptr(weight)) && fits(made));
        if let Some((_, made)) = found {
            return Ok(made.clone());
        }
        let made = Arc::new(make()?);
        held.push((Arc::downgrade(weight), made.clone()));
        Ok(made)
    }
}
