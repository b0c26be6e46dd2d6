//! How Einsum is computed: operand by operand, from left to right, each pair as one product of matrices.
//!
//! ```text
//! each operand        repeated letters: its diagonal; axes of length 1 are no axes
//! a, b: the result so far and the next operand
//!     summed          over what one of them alone has, if neither later operands nor the output have it
//!     contracted      over what both have, under the same condition
//! last                the axes in the order of the output
//! ```
//!
//! Where there is nothing to contract over, elements are multiplied one by one; where what both have is all there is,
//! too, and then summed. What is made in between lies in scratch if it is f32; a run of another type allocates it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::Array1;

use super::equation::{Bound, Label};
use super::pairing::{Array, Axis, Pair, Place, joined};
use crate::error::{Result, product};
use crate::network::memory::Lifetime;
use crate::network::operator::check::wrong;
use crate::network::operator::convolution::Prepared;
use crate::network::operator::matrix::matmul::MatMulStep;
use crate::network::operator::matrix::product::Sizes;
use crate::network::operator::strided::{Strided, strides};
use crate::network::operator::{Binary, Fact, Operator, Reduce, ReduceKind, Step};
use crate::network::tensor::{DType, Tensor};
use crate::plan::PlanOptions;

/// Something that is done with one array or two.
pub(super) enum Work {
    Copy(Strided),
    Step(Box<dyn Step>),
}

pub(super) struct Stage {
    pub reads: [Option<Place>; 2],
    pub writes: Place,
    pub work: Work,
}

/// The stages of an Einsum, which grow one by one; none where something is empty.
pub(super) struct Contraction<'a> {
    facts: &'a [&'a Fact],
    prepared: &'a Prepared<f32>,
    options: &'a PlanOptions,
    pub dtype: DType,
    /// The axes of what comes out that are longer than 1.
    output: Vec<Label>,
    pub stages: Vec<Stage>,
    pub buffers: Vec<Lifetime>,
}

impl<'a> Contraction<'a> {
    /// That of the operands of an equation, whose facts fit it.
    pub fn new(
        bound: &Bound,
        facts: &'a [&'a Fact],
        prepared: &'a Prepared<f32>,
        options: &'a PlanOptions,
    ) -> Result<Self> {
        let longer = |label: &Label| bound.lengths.get(label).is_some_and(|&length| length > 1);
        let output = bound.output.iter().copied();
        let mut made = Self {
            facts,
            prepared,
            options,
            dtype: facts.first().map_or(DType::F32, |fact| fact.dtype),
            output: output.filter(longer).collect(),
            stages: Vec::new(),
            buffers: Vec::new(),
        };
        if bound.lengths.values().all(|&length| length > 0) {
            made.contract(bound)?;
        }
        Ok(made)
    }

    /// All stages.
    fn contract(&mut self, bound: &Bound) -> Result<()> {
        let operands = bound.operands.iter().enumerate();
        let operands = operands.map(|(number, labels)| self.operand(number, labels));
        let operands = operands.collect::<Result<Vec<_>>>()?;
        // The last operand that has a label; one more where it comes out.
        let mut until = BTreeMap::new();
        for (number, array) in operands.iter().enumerate() {
            until.extend(array.labels().into_iter().map(|label| (label, number)));
        }
        let count = operands.len();
        until.extend(self.output.iter().map(|&label| (label, count)));
        let needed = |label: Label, after: usize| until.get(&label).is_some_and(|&at| at > after);
        let mut operands = operands.into_iter().enumerate();
        let Some((_, mut result)) = operands.next() else {
            return Err(wrong("the number of inputs", "1 or more", "0"));
        };
        for (number, array) in operands {
            let (left, right) = (result.labels(), array.labels());
            let keeps = |label, other: &[Label]| needed(label, number) || other.contains(&label);
            let a = self.summed(result, |label| keeps(label, &right))?;
            let b = self.summed(array, |label| keeps(label, &left))?;
            let still = |label| needed(label, number);
            result = self.contracted(a, b, still, number + 1 == count)?;
        }
        let result = self.summed(result, |label| needed(label, count - 1))?;
        self.finish(result)
    }

    /// An operand: its diagonal where labels are repeated, without axes of length 1.
    fn operand(&self, number: usize, labels: &[Label]) -> Result<Array> {
        let shape = &self.facts[number].shape;
        let mut axes: Vec<Axis> = Vec::new();
        for ((&label, &length), &stride) in labels.iter().zip(shape).zip(&strides(shape)?) {
            match axes.iter_mut().find(|axis| axis.label == label) {
                _ if length == 1 => {}
                Some(axis) => axis.stride += stride,
                None => axes.push(Axis {
                    label,
                    length,
                    stride,
                }),
            }
        }
        Ok(Array {
            place: Place::Operand(number),
            axes,
            span: product("an operand of Einsum", shape)?,
        })
    }

    /// A new array, dense, with these axes.
    fn buffer(&mut self, axes: &[(Label, usize)]) -> Result<Array> {
        let shape: Vec<usize> = axes.iter().map(|&(_, length)| length).collect();
        let len = product("an intermediate of Einsum", &shape)?;
        let axes = axes.iter().zip(strides(&shape)?);
        let axes = axes.map(|(&(label, length), stride)| Axis {
            label,
            length,
            stride,
        });
        let stage = self.stages.len();
        self.buffers.push(Lifetime {
            dtype: self.dtype,
            len,
            first: stage,
            last: stage,
        });
        Ok(Array {
            place: Place::Buffer(self.buffers.len() - 1),
            axes: axes.collect(),
            span: len,
        })
    }

    fn push(&mut self, reads: [Option<Place>; 2], writes: Place, work: Work) {
        for place in reads.into_iter().flatten() {
            if let Place::Buffer(number) = place {
                self.buffers[number].last = self.stages.len();
            }
        }
        self.stages.push(Stage {
            reads,
            writes,
            work,
        });
    }

    /// The copy of an array with those axes of `order` that it has in this order.
    fn copy(array: &Array, order: &[Label]) -> Result<Strided> {
        let find = |label: &Label| array.axes.iter().find(|axis| axis.label == *label);
        let axes = order.iter().filter_map(find);
        let axes: Vec<_> = axes.map(|axis| (axis.length, axis.stride)).collect();
        Strided::new(0, &axes, array.span)
    }

    /// An array with those axes of `order` that it has in this order, moved unless it lies so.
    fn arranged(&mut self, array: Array, order: &[Label]) -> Result<Array> {
        if array.lies(order.iter()) {
            return Ok(array);
        }
        let copy = Self::copy(&array, order)?;
        let own = order.iter().copied().filter(|&label| array.has(label));
        let axes: Vec<_> = own.map(|label| (label, array.length(label))).collect();
        let made = self.buffer(&axes)?;
        self.push([Some(array.place), None], made.place, Work::Copy(copy));
        Ok(made)
    }

    /// An array summed over the axes that are not kept.
    fn summed(&mut self, array: Array, kept: impl Fn(Label) -> bool) -> Result<Array> {
        if array.axes.iter().all(|axis| kept(axis.label)) {
            return Ok(array);
        }
        let labels = array.labels();
        let array = self.arranged(array, &labels)?;
        let (mut shape, mut over, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for (number, axis) in array.axes.iter().enumerate() {
            shape.push(axis.length);
            match kept(axis.label) {
                true => left.push((axis.label, axis.length)),
                false => over.extend(i64::try_from(number)),
            }
        }
        let over = Tensor::from(Array1::from(over).into_dyn());
        let facts = [Fact::new(self.dtype, shape), Fact::constant(Arc::new(over))];
        let facts = [Some(&facts[0]), Some(&facts[1])];
        let step = Reduce::new(ReduceKind::Sum, false).step(&facts, self.options)?;
        let made = self.buffer(&left)?;
        self.push([Some(array.place), None], made.place, Work::Step(step));
        Ok(made)
    }

    /// Two arrays contracted over what both have and is not needed. `last`: the result is the output.
    fn contracted(
        &mut self,
        a: Array,
        b: Array,
        needed: impl Fn(Label) -> bool,
        last: bool,
    ) -> Result<Array> {
        let inner = a.labels().into_iter();
        let inner: Vec<_> = inner.filter(|&label| !needed(label)).collect();
        let alone = |own: &Array, other: &Array| own.axes.iter().any(|axis| !other.has(axis.label));
        if inner.is_empty() || !alone(&a, &b) && !alone(&b, &a) {
            let mut order = a.labels();
            order.extend(b.labels().into_iter().filter(|&label| !a.has(label)));
            if last && inner.is_empty() {
                order = self.output.clone();
            }
            let made = self.multiplied(a, b, &order)?;
            return self.summed(made, needed);
        }
        let pair = Pair {
            arrays: [&a, &b],
            inner: &inner,
            wanted: last.then_some(&self.output[..]),
        };
        let way = pair.best();
        let way = way.ok_or_else(|| wrong("an operand of Einsum", "a factor", "none"))?;
        let (left, right) = if way.swapped { (b, a) } else { (a, b) };
        let (batch, inner, [rows, columns]) = (&way.batch, &way.inner, &way.sides);
        let (left, left_turned) = self.factor(left, batch, rows, inner)?;
        let (right, right_turned) = self.factor(right, batch, inner, columns)?;
        let length = |array: &Array, labels: &[Label]| array.lengths(labels).iter().product();
        let made = self.buffer(&joined([&left, &right], &way.result()))?;
        let batches = [&left, &right, &made].map(|array| array.lengths(batch));
        let sizes = Sizes::new(
            [
                length(&left, rows),
                length(&left, inner),
                length(&right, columns),
            ],
            [left_turned, right_turned],
            batches,
        );
        let computed = Fact::new(self.dtype, []);
        let facts = [&left, &right].map(|array| match array.place {
            Place::Operand(number) => self.facts[number],
            _ => &computed,
        });
        let step = MatMulStep::step(sizes, facts, self.prepared, self.options)?;
        self.push(
            [Some(left.place), Some(right.place)],
            made.place,
            Work::Step(step),
        );
        Ok(made)
    }

    /// Two arrays multiplied element by element; the axes of the result in this order.
    fn multiplied(&mut self, a: Array, b: Array, order: &[Label]) -> Result<Array> {
        let (a, b) = (self.arranged(a, order)?, self.arranged(b, order)?);
        let facts = [&a, &b].map(|array| Fact::new(self.dtype, array.lengths(order)));
        let made = self.buffer(&joined([&a, &b], order))?;
        let step = Binary::Mul.step(&[Some(&facts[0]), Some(&facts[1])], self.options)?;
        self.push([Some(a.place), Some(b.place)], made.place, Work::Step(step));
        Ok(made)
    }

    /// A factor of matrices `rows` × `columns`, and whether it lies as `columns` × `rows`.
    fn factor(
        &mut self,
        array: Array,
        batch: &[Label],
        rows: &[Label],
        columns: &[Label],
    ) -> Result<(Array, bool)> {
        if let Some(turned) = array.turned(batch, rows, columns) {
            return Ok((array, turned));
        }
        let order = [batch, rows, columns].concat();
        Ok((self.arranged(array, &order)?, false))
    }

    /// The last stage writes what comes out.
    fn finish(&mut self, array: Array) -> Result<()> {
        let own = array.place;
        if let (Some(stage), Place::Buffer(number)) = (self.stages.last_mut(), own)
            && stage.writes == own
            && array.lies(self.output.iter())
        {
            stage.writes = Place::Output;
            self.buffers[number].len = 0;
            return Ok(());
        }
        let copy = Self::copy(&array, &self.output)?;
        self.push([Some(own), None], Place::Output, Work::Copy(copy));
        Ok(())
    }
}
