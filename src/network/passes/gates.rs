//! Products with a function of one of their factors, which are functions of one number themselves.
//!
//! ```text
//! x · Sigmoid(a x)                   Swish, as exporters wrote it before there was one (EfficientNet, YOLO)
//! x · HardSigmoid(x), 1/6 and 1/2    HardSwish
//! x · Tanh(Softplus(x))              Mish
//! ½ · x · (1 + Erf(x / √2))          Gelu; factors in any order
//! ```
//!
//! One pass over the elements instead of two to five.

use std::f64::consts::FRAC_1_SQRT_2;
use std::sync::Arc;

use super::edit::{Uses, operator};
use crate::error::Result;
use crate::network::draft::{Draft, Node};
use crate::network::operator::{Binary, Unary};
use crate::network::tensor::{DType, Tensor};

/// Products within a product that are looked at.
const MOST_PRODUCTS: usize = 2;

/// How far √2 or 1/6 of a model of f32 may be from that, relative to it: some write 1.41421.
const NEAR: f64 = 1e-5;

pub(super) fn run(draft: &mut Draft) -> Result<()> {
    let gate = |node: &Node| {
        let function = operator::<Unary>(node);
        matches!(
            function,
            Some(Unary::Sigmoid | Unary::HardSigmoid { .. } | Unary::Tanh | Unary::Erf)
        )
    };
    if !draft.nodes.iter().any(gate) {
        return Ok(());
    }
    let mut index = 0;
    while index < draft.nodes.len() {
        if let Some(found) = Search::new(draft, index).and_then(|search| search.function()) {
            let node = &draft.nodes[index];
            let what = format!("{} is {:?}", node.name, found.function);
            draft.nodes[index] = Node {
                operator: Arc::new(found.function),
                inputs: vec![Some(found.x)],
                ..node.clone()
            };
            draft.note("gates", what);
            let mut nodes = found.nodes;
            nodes.sort_unstable();
            for &inner in nodes.iter().rev() {
                draft.nodes.remove(inner);
            }
            index -= nodes.len();
        }
        index += 1;
    }
    Ok(())
}

/// What a product is, and the nodes before it that it takes with it.
struct Found {
    function: Unary,
    x: usize,
    nodes: Vec<usize>,
}

/// A product, in its factors.
struct Search<'d> {
    draft: &'d Draft,
    uses: Uses,
    /// The node that makes it.
    index: usize,
    /// The product of the constant factors.
    constant: f64,
    /// The others, each with the node that reads it.
    factors: Vec<(usize, usize)>,
    /// The products within.
    products: Vec<usize>,
}

impl<'d> Search<'d> {
    /// The product that node `index` is; `None` where it is another operator.
    fn new(draft: &'d Draft, index: usize) -> Option<Self> {
        if operator(&draft.nodes[index]) != Some(&Binary::Mul) {
            return None;
        }
        let mut search = Self {
            draft,
            uses: Uses::new(draft),
            index,
            constant: 1.0,
            factors: Vec::new(),
            products: Vec::new(),
        };
        let mut next = vec![index];
        while let Some(index) = next.pop() {
            for &value in draft.nodes[index].inputs.iter().flatten() {
                if let Some(number) = search.number(value) {
                    search.constant *= number;
                    continue;
                }
                match search.alone(value, index) {
                    Some(within)
                        if operator(&draft.nodes[within]) == Some(&Binary::Mul)
                            && search.products.len() < MOST_PRODUCTS =>
                    {
                        search.products.push(within);
                        next.push(within);
                    }
                    _ => search.factors.push((value, index)),
                }
            }
        }
        Some(search)
    }

    /// The function of one of the two factors that the product is.
    fn function(self) -> Option<Found> {
        let &[first, second] = &self.factors[..] else {
            return None;
        };
        for ((gate, reader), (x, _)) in [(first, second), (second, first)] {
            let Some((function, constant, nodes)) = self.gate(gate, reader, x) else {
                continue;
            };
            // A constant of more axes would give the result more axes.
            let output = *self.draft.nodes[self.index].outputs.first()?;
            let (made, from) = (self.draft.fact(output).ok()?, self.draft.fact(x).ok()?);
            let same = made.shape == from.shape && made.dtype == from.dtype;
            if same && self.constant == constant {
                return Some(Found {
                    function,
                    x,
                    nodes: [nodes, self.products].concat(),
                });
            }
        }
        None
    }

    /// What x times `gate`, which node `reader` reads, and a constant are; that constant, and the nodes that make the
    /// gate.
    fn gate(&self, gate: usize, reader: usize, x: usize) -> Option<(Unary, f64, Vec<usize>)> {
        let maker = self.alone(gate, reader)?;
        let node = &self.draft.nodes[maker];
        let from = node.inputs.first().copied().flatten()?;
        if operator(node) == Some(&Binary::Add) {
            let (one, erf) = self.with_number(maker)?;
            let inner = self.alone(erf, maker)?;
            let argument = self.draft.nodes[inner].inputs.first().copied().flatten()?;
            let scale = self.alone(argument, inner)?;
            let (slope, of) = self.scaled(scale)?;
            let normal = operator(&self.draft.nodes[inner]) == Some(&Unary::Erf)
                && one == 1.0
                && self.near(x, slope, FRAC_1_SQRT_2)
                && of == x;
            let nodes = vec![maker, inner, scale];
            return normal.then_some((Unary::Gelu { tanh: false }, 0.5, nodes));
        }
        match *operator::<Unary>(node)? {
            Unary::Sigmoid if from == x => Some((Unary::Swish { alpha: 1.0 }, 1.0, vec![maker])),
            Unary::Sigmoid => {
                let scale = self.alone(from, maker)?;
                let (slope, of) = self.scaled(scale)?;
                let alpha = slope as f32;
                let fits = alpha.is_finite() && (self.is_single(x) || f64::from(alpha) == slope);
                (of == x && fits).then(|| (Unary::Swish { alpha }, 1.0, vec![maker, scale]))
            }
            Unary::HardSigmoid { alpha, beta } => {
                let hard = self.near(x, alpha.into(), 1.0 / 6.0) && beta == 0.5;
                (hard && from == x).then_some((Unary::HardSwish, 1.0, vec![maker]))
            }
            Unary::Tanh => {
                let inner = self.alone(from, maker)?;
                let node = &self.draft.nodes[inner];
                let soft = operator(node) == Some(&Unary::Softplus);
                (soft && node.inputs[..] == [Some(x)])
                    .then(|| (Unary::Mish, 1.0, vec![maker, inner]))
            }
            _ => None,
        }
    }

    /// The node that makes `value`, if node `reader` alone reads that.
    fn alone(&self, value: usize, reader: usize) -> Option<usize> {
        let maker = self.uses.maker(value)?;
        self.uses.only(value, reader).then_some(maker)
    }

    /// The factor of node `index`, and the value that it is a multiple of.
    fn scaled(&self, index: usize) -> Option<(f64, usize)> {
        let node = &self.draft.nodes[index];
        match (operator::<Binary>(node)?, &node.inputs[..]) {
            (Binary::Mul, _) => self.with_number(index),
            (Binary::Div, &[Some(x), Some(by)]) => Some((1.0 / self.number(by)?, x)),
            _ => None,
        }
    }

    /// The constant that is one of the two inputs of node `index`, and the other.
    fn with_number(&self, index: usize) -> Option<(f64, usize)> {
        let &[Some(a), Some(b)] = &self.draft.nodes[index].inputs[..] else {
            return None;
        };
        let either = self.number(a).map(|number| (number, b));
        either.or_else(|| self.number(b).map(|number| (number, a)))
    }

    /// Whether `number` stands for `expected` beside x: f64 are not given digits that they had not.
    fn near(&self, x: usize, number: f64, expected: f64) -> bool {
        self.is_single(x) && (number - expected).abs() <= NEAR * expected
    }

    fn is_single(&self, x: usize) -> bool {
        self.draft
            .fact(x)
            .is_ok_and(|fact| fact.dtype == DType::F32)
    }

    /// The number that a constant of one element is.
    fn number(&self, value: usize) -> Option<f64> {
        match self.draft.values[value].fact.as_ref()?.value.as_deref()? {
            Tensor::F32(array) if array.len() == 1 => array.first().map(|&number| number.into()),
            Tensor::F64(array) if array.len() == 1 => array.first().copied(),
            _ => None,
        }
    }
}
