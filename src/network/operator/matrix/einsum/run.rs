//! Einsum with its sizes decided: stages, one after another, and where each of them finds what it reads.

use std::ops::Range;

use super::contraction::{Contraction, Stage, Work};
use super::pairing::Place;
use crate::element::filled;
use crate::error::{Error, Result, product};
use crate::network::memory::Placement;
use crate::network::operator::Step;
use crate::network::operator::check::{write, wrong};
use crate::network::tensor::{DType, Scalar, View, ViewMut, with_type};

/// An Einsum whose sizes are decided.
pub(super) struct EinsumStep {
    dtype: DType,
    /// None where something is empty: what comes out is zero, or empty too.
    stages: Vec<Stage>,
    /// Where each buffer begins and ends.
    buffers: Vec<Range<usize>>,
    /// Elements of all buffers.
    held: usize,
}

impl EinsumStep {
    /// Of these stages. Fails where what they make in between has more than `budget` bytes.
    pub(super) fn new(contraction: Contraction, budget: usize) -> Result<Self> {
        let placed = Placement::new(&contraction.buffers)?;
        let held = placed.arenas.first().map_or(0, |&(_, len)| len);
        let dtype = contraction.dtype;
        let needed = product("the intermediates of Einsum", &[held, dtype.bytes()])?;
        if needed > budget {
            return Err(Error::MemoryBudget { needed, budget });
        }
        let buffers = placed.offsets.iter().zip(&contraction.buffers);
        let buffers = buffers.map(|(&start, buffer)| start..start + buffer.len);
        Ok(Self {
            dtype,
            buffers: buffers.collect(),
            stages: contraction.stages,
            held,
        })
    }

    fn steps(&self) -> impl Iterator<Item = &dyn Step> {
        self.stages.iter().filter_map(|stage| match &stage.work {
            Work::Step(step) => Some(step.as_ref()),
            Work::Copy(_) => None,
        })
    }

    /// Every stage, with its intermediates in `held`.
    fn run_in<T: Scalar>(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        held: &mut [T],
        scratch: &mut [f32],
    ) -> Result<()> {
        let output = write::<T>(outputs, 0)?;
        if self.stages.is_empty() {
            output.fill(T::default());
        }
        for stage in &self.stages {
            let [a, b] = stage.reads;
            let ranges = [a, b, Some(stage.writes)].map(|place| match place {
                Some(Place::Buffer(number)) => self.buffers[number].clone(),
                _ => 0..0,
            });
            let apart = held.get_disjoint_mut(ranges);
            let [first, second, made] = apart.map_err(|_| Error::Overflow {
                what: "the intermediates of Einsum",
            })?;
            let reads = [look(a, inputs, first), look(b, inputs, second)];
            let made = match stage.writes {
                Place::Output => &mut *output,
                _ => made,
            };
            match (&stage.work, reads) {
                (Work::Copy(copy), [Some(source), _]) => {
                    copy.run(source, &mut T::view_mut(made))?;
                }
                (Work::Step(step), reads) => {
                    step.run(&reads, &mut [T::view_mut(made)], scratch)?;
                }
                _ => return Err(wrong("an operand of Einsum", "a buffer", "none")),
            }
        }
        Ok(())
    }
}

/// What lies at a place: an input, or else `own`.
fn look<'v, T: Scalar>(
    place: Option<Place>,
    inputs: &[Option<View<'v>>],
    own: &'v [T],
) -> Option<View<'v>> {
    match place? {
        Place::Operand(number) => inputs.get(number).copied().flatten(),
        _ => Some(T::view(own)),
    }
}

impl Step for EinsumStep {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        scratch: &mut [f32],
    ) -> Result<()> {
        if self.dtype == DType::F32 {
            let got = scratch.len();
            let apart = scratch.split_at_mut_checked(self.held);
            let (held, rest) = apart.ok_or(Error::BufferLength {
                what: "scratch",
                expected: self.scratch_len(),
                got,
            })?;
            return self.run_in::<f32>(inputs, outputs, held, rest);
        }
        with_type!(self.dtype, T => {
            let mut held = filled(self.held, T::default())?;
            self.run_in::<T>(inputs, outputs, &mut held, scratch)
        })
    }

    fn scratch_len(&self) -> usize {
        let steps = self.steps().map(Step::scratch_len).max().unwrap_or(0);
        let held = match self.dtype {
            DType::F32 => self.held,
            _ => 0,
        };
        held.saturating_add(steps)
    }

    fn multiply_adds(&self) -> u64 {
        let each = self.steps().map(Step::multiply_adds);
        each.fold(0, u64::saturating_add)
    }

    fn recipe(&self) -> String {
        let each = self.steps().map(Step::recipe);
        let each: Vec<_> = each.filter(|recipe| !recipe.is_empty()).collect();
        each.join(", ")
    }
}
