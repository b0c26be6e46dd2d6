//! How two arrays become the factors of one product of matrices.
//!
//! ```text
//! batch      what both have and is still needed; leading axes of one of them alone, along which the other repeats
//! inner      what both have and is not needed
//! rows       what one alone has         columns    what the other alone has
//!
//! A [batch, rows, inner] · B [batch, inner, columns] -> [batch, rows, columns]
//! ```
//!
//! Either factor may lie transposed, the factors may change places, batch and inner axes may have any order: of all
//! ways the one is taken for which the fewest elements move.

use super::equation::Label;
use crate::network::operator::check::span;

/// Where an array lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Operand(usize),
    Buffer(usize),
    Output,
}

/// An axis of an array: its label, how long it is, how far apart its elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub label: Label,
    pub length: usize,
    pub stride: isize,
}

/// An array on the way. Its axes are longer than 1 and have different labels.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub place: Place,
    pub axes: Vec<Axis>,
    /// Elements of what it lies in.
    pub span: usize,
}

impl Array {
    pub fn labels(&self) -> Vec<Label> {
        self.axes.iter().map(|axis| axis.label).collect()
    }

    pub fn has(&self, label: Label) -> bool {
        self.axes.iter().any(|axis| axis.label == label)
    }

    /// The length of an axis; 1 where it is not there.
    pub fn length(&self, label: Label) -> usize {
        let axis = self.axes.iter().find(|axis| axis.label == label);
        axis.map_or(1, |axis| axis.length)
    }

    /// The lengths of the axes `labels`.
    pub fn lengths(&self, labels: &[Label]) -> Vec<usize> {
        labels.iter().map(|&label| self.length(label)).collect()
    }

    /// The number of its elements.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|axis| axis.length).product()
    }

    /// Whether its elements lie one after another, those axes of `order` that it has in this order, and no others.
    pub fn lies<'l>(&self, order: impl Iterator<Item = &'l Label>) -> bool {
        let mut stride = self.len();
        let own = order.copied().filter(|&label| self.has(label));
        self.axes.iter().map(|axis| axis.label).eq(own)
            && self.axes.iter().all(|axis| {
                stride /= axis.length;
                usize::try_from(axis.stride) == Ok(stride)
            })
    }

    /// Whether its matrices lie as `columns` × `rows`, not as `rows` × `columns`; `None` where they lie neither way.
    pub fn turned(&self, batch: &[Label], rows: &[Label], columns: &[Label]) -> Option<bool> {
        let batch = || batch.iter();
        if self.lies(batch().chain(rows).chain(columns)) {
            return Some(false);
        }
        let turned = self.lies(batch().chain(columns).chain(rows));
        turned.then_some(true)
    }
}

/// The axes of a product of matrices.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub batch: Vec<Label>,
    pub inner: Vec<Label>,
    /// The rows of the first factor and the columns of the second.
    pub sides: [Vec<Label>; 2],
    /// Whether the second array is the first factor.
    pub swapped: bool,
}

/// Two arrays with an axis in common to sum over, of which one has an axis that the other has not.
pub(super) struct Pair<'a> {
    pub arrays: [&'a Array; 2],
    /// The axes to sum over.
    pub inner: &'a [Label],
    /// The axes of the result, where their order matters.
    pub wanted: Option<&'a [Label]>,
}

impl Way {
    /// The axes of the result.
    pub fn result(&self) -> Vec<Label> {
        [&self.batch[..], &self.sides[0], &self.sides[1]].concat()
    }
}

impl Pair<'_> {
    /// The way for which the fewest elements move.
    pub fn best(&self) -> Option<Way> {
        let [a, b] = self.arrays;
        let alone = [(a, b), (b, a)].map(|(own, other)| {
            let own = own.labels().into_iter();
            own.filter(|&label| !other.has(label)).collect::<Vec<_>>()
        });
        // The axes that lead the batch, though one array alone has them. One at least is left for its side.
        let mut leads = vec![[0, 0]];
        leads.extend((1..alone[0].len()).map(|lead| [lead, 0]));
        leads.extend((1..alone[1].len()).map(|lead| [0, lead]));
        let ways = leads.into_iter().flat_map(|lead| self.ways(&alone, lead));
        ways.min_by_key(|way| self.moved(way))
    }

    /// All ways where so many of the axes that one array alone has lead the batch.
    fn ways(&self, alone: &[Vec<Label>; 2], lead: [usize; 2]) -> Vec<Way> {
        let [a, b] = self.arrays;
        let (first, rows) = alone[0].split_at(lead[0]);
        let (second, columns) = alone[1].split_at(lead[1]);
        let shared = |of: &Array, other: &Array, inner: bool| -> Vec<Label> {
            let labels = of.labels().into_iter();
            let both = labels.filter(|&label| other.has(label));
            both.filter(|label| self.inner.contains(label) == inner)
                .collect()
        };
        let [own, other] = [shared(a, b, false), shared(b, a, false)]
            .map(|batch| [first, second, &batch[..]].concat());
        let batches = [self.sorted(&own), own, other];
        let inners = [shared(a, b, true), shared(b, a, true)];
        let sides = |labels: &[Label]| [self.sorted(labels), labels.to_vec()];
        let (rows, columns) = (sides(rows), sides(columns));
        let mut ways = Vec::new();
        for number in 0..batches.len() * 16 {
            let bit = |bit: usize| number >> bit & 1;
            let mut way = Way {
                batch: batches[number >> 4].clone(),
                inner: inners[bit(1)].clone(),
                sides: [rows[bit(2)].clone(), columns[bit(3)].clone()],
                swapped: bit(0) == 1,
            };
            if way.swapped {
                way.sides.reverse();
            }
            ways.push(way);
        }
        ways
    }

    /// Labels in the order that is wanted, if one is.
    fn sorted(&self, labels: &[Label]) -> Vec<Label> {
        let mut labels = labels.to_vec();
        if let Some(wanted) = self.wanted {
            labels.sort_by_key(|label| wanted.iter().position(|other| other == label));
        }
        labels
    }

    /// Elements that move, before the product and behind it.
    fn moved(&self, way: &Way) -> usize {
        let [a, b] = self.arrays;
        let factors = if way.swapped { [b, a] } else { [a, b] };
        let mut moved = 0usize;
        for (factor, side) in factors.into_iter().zip(&way.sides) {
            if factor.turned(&way.batch, side, &way.inner).is_none() {
                moved = moved.saturating_add(factor.len());
            }
        }
        let result = way.result();
        if self.wanted.is_some_and(|wanted| wanted != result) {
            let made = joined(self.arrays, &result);
            moved = moved.saturating_add(span(made.iter().map(|(_, length)| length)));
        }
        moved
    }
}

/// The axes `order` of what two arrays make together, with their lengths.
pub(super) fn joined([a, b]: [&Array; 2], order: &[Label]) -> Vec<(Label, usize)> {
    let lengths = order.iter();
    let lengths = lengths.map(|&label| a.length(label).max(b.length(label)));
    order.iter().copied().zip(lengths).collect()
}
