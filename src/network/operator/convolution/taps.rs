//! Taps at the ends of a kernel that meet no pixel at any position, cut from the weights.
//!
//! ```text
//! 3 taps of dilation 4, padding 4:     0 0 0 0 a b c 0 0 0 0
//! position 0                           |       |       |
//! position 2                               |       |       |        a tap and no padding compute the same
//! ```
//!
//! Finite weights times zeros are left out, nothing else. What was cut from a constant is kept with the operator: it is
//! the same constant for every session of these taps, so that its prepared form is shared as that of all others is.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ndarray::{ArrayD, Slice};

use super::conv::Conv;
use super::weights::KEPT;
use crate::element::Element;
use crate::error::Result;
use crate::geometry::{Axis, Padding, PerAxis};
use crate::network::operator::Facts;
use crate::network::operator::check::required;
use crate::network::tensor::Tensor;

/// Constants and what was cut from them: the taps that remain of each axis.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts(Arc<Mutex<Vec<Cut>>>);

type Cut = (Weak<Tensor>, Vec<Range<usize>>, Arc<Tensor>);

impl Cuts {
    /// The taps `kept` of `weight`; `None` where not all of it is finite.
    fn get(&self, weight: &Arc<Tensor>, kept: &[Range<usize>]) -> Option<Arc<Tensor>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(from, ..)| from.strong_count() > 0);
        let own = |(from, ..): &Cut| std::ptr::eq(from.as_ptr(), Arc::as_ptr(weight));
        if let Some(found) = held.iter().find(|cut| own(cut) && cut.1 == kept) {
            return Some(found.2.clone());
        }
        let made = Arc::new(match weight.as_ref() {
            Tensor::F32(weight) => cut(weight, kept)?,
            Tensor::F64(weight) => cut(weight, kept)?,
            _ => return None,
        });
        if held.iter().filter(|cut| own(cut)).count() >= KEPT
            && let Some(oldest) = held.iter().position(own)
        {
            held.remove(oldest);
        }
        held.push((Arc::downgrade(weight), kept.to_vec(), made.clone()));
        Some(made)
    }
}

/// The taps `kept` of `weight`, `[O, C/g, kernel…]`, if all of it is finite.
fn cut<T: Element>(weight: &ArrayD<T>, kept: &[Range<usize>]) -> Option<Tensor>
where
    Tensor: From<ArrayD<T>>,
{
    if !weight.iter().all(|value| value.to_f64().is_finite()) {
        return None;
    }
    let part = weight.slice_each_axis(|axis| match axis.axis.index().checked_sub(2) {
        Some(axis) => Slice::from(kept[axis].clone()),
        None => Slice::from(..),
    });
    Some(part.as_standard_layout().into_owned().into())
}

impl Conv {
    /// The same without the taps of the file head, and its weights; `None` where there are none, where the weights are
    /// no finite constant, or where the padding is not zeros.
    pub(crate) fn cut(&self, inputs: &Facts) -> Result<Option<(Self, Arc<Tensor>)>> {
        let mode = self.options.padding_mode;
        let Some(weight) = &required(inputs, 1, "W")?.value else {
            return Ok(None);
        };
        if mode.reads_image() || mode.constant() != 0.0 {
            return Ok(None);
        }
        let geometry = self.geometry(inputs)?;
        let axes = geometry.axes();
        let inside: Vec<_> = axes.iter().map(Axis::inside).collect();
        if axes
            .iter()
            .zip(&inside)
            .all(|(axis, taps)| taps.len() == axis.kernel())
        {
            return Ok(None);
        }
        let pads = axes.iter().zip(&inside).map(|(axis, taps)| {
            let (before, after) = axis.pad();
            let behind = axis.kernel() - taps.end;
            (
                before - taps.start * axis.dilation(),
                after - behind * axis.dilation(),
            )
        });
        let mut conv = self.clone();
        conv.options.padding = Padding::Explicit(PerAxis::list(&pads.collect::<Vec<_>>()));
        conv.kernel = Some(inside.iter().map(Range::len).collect());
        // A flipped kernel has its last tap first.
        let kept = axes
            .iter()
            .zip(inside)
            .map(|(axis, taps)| match geometry.flips_kernel() {
                true => axis.kernel() - taps.end..axis.kernel() - taps.start,
                false => taps,
            });
        let weight = self.cuts.get(weight, &kept.collect::<Vec<_>>());
        Ok(weight.map(|weight| (conv, weight)))
    }
}
