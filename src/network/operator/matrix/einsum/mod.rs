//! Einsum: products of arrays summed over the axes that an equation leaves out.
//!
//! ```text
//! "ij,jk->ik"        y[i, k] = Σⱼ a[i, j] · b[j, k]
//! "bii->b"           y[b]    = Σᵢ a[b, i, i]
//! "b...i,i->b..."    the axes of the ellipsis broadcast, as those of a letter that has length 1 somewhere
//! ```

mod contraction;
mod equation;
mod pairing;
mod run;

use std::sync::Arc;

use contraction::Contraction;
use equation::{Bound, Equation};
use run::EinsumStep;

use crate::error::Result;
use crate::network::operator::check::{fits, has_type, required};
use crate::network::operator::convolution::Prepared;
use crate::network::operator::{Fact, Facts, Operator, Step};
use crate::network::tensor::DType;
use crate::plan::PlanOptions;

/// Einsum: any number of operands of one type of numbers.
#[derive(Clone, Debug)]
pub struct Einsum {
    equation: Equation,
    prepared: Prepared<f32>,
}

impl Einsum {
    /// With this equation, as ONNX and numpy have it: letters, spaces, commas, one ellipsis a term, an arrow.
    ///
    /// # Errors
    /// Something else; an output with a letter that no operand has, or with one twice.
    pub fn new(equation: &str) -> Result<Self> {
        Ok(Self {
            equation: Equation::new(equation)?,
            prepared: Prepared::default(),
        })
    }

    /// The equation, as it was given.
    pub fn equation(&self) -> &str {
        self.equation.text()
    }

    fn operands<'a>(&self, inputs: &Facts<'a>) -> Result<(Vec<&'a Fact>, Bound)> {
        let facts = (0..inputs.len()).map(|index| required(inputs, index, "an input"));
        let facts = facts.collect::<Result<Vec<_>>>()?;
        let shapes: Vec<&[usize]> = facts.iter().map(|fact| &fact.shape[..]).collect();
        let bound = self.equation.bind(&shapes)?;
        Ok((facts, bound))
    }
}

impl Operator for Einsum {
    fn name(&self) -> &'static str {
        "Einsum"
    }

    fn infer(&self, inputs: &Facts) -> Result<Vec<Fact>> {
        let (facts, bound) = self.operands(inputs)?;
        let first = required(inputs, 0, "an input")?;
        fits(first, "an input", "a type of numbers", |dtype| {
            dtype != DType::Bool
        })?;
        for fact in facts {
            has_type(fact, "an input", &[first.dtype])?;
        }
        Ok(vec![Fact::new(first.dtype, bound.shape())])
    }

    /// Where the first axis of what comes out is the first of every batched operand, and of no other.
    fn by_image(&self, inputs: &Facts, batched: &[bool]) -> bool {
        let Ok((_, bound)) = self.operands(inputs) else {
            return false;
        };
        let Some(image) = bound.output.first() else {
            return false;
        };
        bound
            .operands
            .iter()
            .zip(batched)
            .all(|(labels, &batched)| {
                let places = labels.iter().enumerate();
                let mut found = places.filter(|(_, label)| *label == image);
                match batched {
                    true => found.next().is_some_and(|(at, _)| at == 0) && found.next().is_none(),
                    false => found.next().is_none(),
                }
            })
    }

    fn step(&self, inputs: &Facts, options: &PlanOptions) -> Result<Box<dyn Step>> {
        let (facts, bound) = self.operands(inputs)?;
        let contraction = Contraction::new(&bound, &facts, &self.prepared, options)?;
        let step = EinsumStep::new(contraction, options.memory_budget)?;
        Ok(Box::new(step))
    }

    fn channels_last(&self, inputs: &Facts) -> Option<Arc<dyn Operator>> {
        let (facts, bound) = self.operands(inputs).ok()?;
        let flat = bound.output.len() < 3 && facts.iter().all(|fact| fact.shape.len() < 3);
        flat.then(|| Arc::new(self.clone()) as Arc<dyn Operator>)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::equation::Label;
    use super::*;
    use crate::network::operator::Cast;
    use crate::network::operator::testing::{self, fact, floats, infer, integers};
    use crate::network::tensor::Tensor;
    use crate::network::{Dim, Graph, Network};
    use ndarray::{ArrayD, IxDyn};

    fn filled(shape: &[usize], seed: usize) -> Tensor {
        let len: usize = shape.iter().product();
        floats(shape, (0..len).map(|i| ((i * 7 + seed) % 11) as f32 - 5.0))
    }

    /// The definition: every assignment of indices to labels, one after another.
    fn reference(equation: &str, operands: &[Tensor]) -> Tensor {
        let shapes: Vec<&[usize]> = operands.iter().map(Tensor::shape).collect();
        let bound = Equation::new(equation).unwrap().bind(&shapes).unwrap();
        let labels: Vec<(Label, usize)> = bound.lengths.clone().into_iter().collect();
        let mut y = ArrayD::<f32>::zeros(IxDyn(&bound.shape()));
        let count: usize = labels.iter().map(|&(_, length)| length).product();
        for number in 0..count {
            let (mut rest, mut index) = (number, BTreeMap::new());
            for &(label, length) in &labels {
                index.insert(label, rest % length);
                rest /= length;
            }
            let mut product = 1.0;
            for (operand, own) in operands.iter().zip(&bound.operands) {
                let operand = operand.array::<f32>().unwrap();
                let at = own.iter().zip(operand.shape());
                let at: Vec<usize> = at.map(|(label, &length)| index[label] % length).collect();
                product *= operand[IxDyn(&at)];
            }
            let at: Vec<usize> = bound.output.iter().map(|label| index[label]).collect();
            y[IxDyn(&at)] += product;
        }
        y.into()
    }

    /// The result with the operands of `constant`'s bits known at planning.
    fn run(equation: &str, operands: &[Tensor], constant: usize) -> Result<Tensor> {
        let facts = operands.iter().enumerate();
        let facts: Vec<Fact> = facts
            .map(|(index, tensor)| match constant >> index & 1 {
                1 => Fact::constant(Arc::new(tensor.clone())),
                _ => Fact::new(tensor.dtype(), tensor.shape()),
            })
            .collect();
        let facts: Vec<_> = facts.iter().map(Some).collect();
        let operator = Einsum::new(equation)?;
        let fact = operator.infer(&facts)?.remove(0);
        let step = operator.step(&facts, &PlanOptions::new())?;
        let mut y = Tensor::zeros(fact.dtype, &fact.shape)?;
        if let Tensor::F32(array) = &mut y {
            array.fill(f32::NAN);
        }
        let mut scratch = vec![f32::NAN; step.scratch_len()];
        let views: Vec<_> = operands.iter().map(|tensor| Some(tensor.view())).collect();
        step.run(&views, &mut [y.view_mut()], &mut scratch)?;
        Ok(y)
    }

    fn check(equation: &str, shapes: &[&[usize]]) {
        let operands = shapes.iter().enumerate();
        let operands: Vec<Tensor> = operands.map(|(seed, shape)| filled(shape, seed)).collect();
        let want = reference(equation, &operands);
        for constant in 0..1 << operands.len().min(3) {
            let got = run(equation, &operands, constant).unwrap();
            assert_eq!(got, want, "{equation} {shapes:?} {constant:b}");
        }
        // Other types take other loops.
        let doubles = operands.iter().map(|tensor| {
            let array = tensor.array::<f32>().unwrap();
            Tensor::from(array.mapv(f64::from))
        });
        let got = run(equation, &doubles.collect::<Vec<_>>(), 0).unwrap();
        let want = want.array::<f32>().unwrap().mapv(f64::from);
        assert_eq!(got, Tensor::from(want), "{equation} {shapes:?} f64");
    }

    #[test]
    fn equations_of_networks() {
        let grid = [2, 3, 2, 4, 5];
        check(
            "B G H I D , B G H J D -> B G H I J",
            &[&grid, &[2, 3, 2, 3, 5]],
        );
        check(
            "B G H I J , B G H J D -> B G H I D",
            &[&grid, &[2, 3, 2, 5, 3]],
        );
        check("bhwc,hkc->bhwk", &[&[2, 3, 4, 5], &[3, 6, 5]]);
        check("bhwc,wkc->bhwk", &[&[2, 3, 4, 5], &[4, 6, 5]]);
        check("nchw,co->nohw", &[&[2, 3, 4, 5], &[3, 6]]);
        check("ij,bjk->bik", &[&[2, 3], &[4, 3, 5]]);
        check("bqhd,bkhd->bhqk", &[&[2, 3, 4, 5], &[2, 6, 4, 5]]);
        check("bhqk,bkhd->bqhd", &[&[2, 3, 4, 5], &[2, 5, 3, 6]]);
        check("bqd,dhe->bhqe", &[&[2, 3, 4], &[4, 2, 5]]);
    }

    #[test]
    fn equations_of_all_kinds() {
        let cases: [(&str, &[&[usize]]); 36] = [
            ("ij,jk->ik", &[&[3, 4], &[4, 5]]),
            ("ij,jk->ki", &[&[3, 4], &[4, 5]]),
            ("ji,kj", &[&[4, 3], &[5, 4]]),
            ("i,i->", &[&[7], &[7]]),
            ("i,j->ji", &[&[3], &[4]]),
            ("ij,ij->ij", &[&[3, 4], &[3, 4]]),
            ("ij,ij->ji", &[&[3, 4], &[3, 4]]),
            ("bi,bi->b", &[&[3, 4], &[3, 4]]),
            ("ib,bi->b", &[&[4, 3], &[3, 4]]),
            ("ijk,jil->kl", &[&[3, 4, 5], &[4, 3, 2]]),
            ("ij->ji", &[&[3, 4]]),
            ("ij->", &[&[3, 4]]),
            ("ij->j", &[&[3, 4]]),
            ("ijk->ki", &[&[3, 4, 5]]),
            ("ii", &[&[4, 4]]),
            ("ii->i", &[&[4, 4]]),
            ("iji->ij", &[&[3, 4, 3]]),
            ("bii,bjj->bij", &[&[2, 3, 3], &[2, 4, 4]]),
            ("iij,jk->k", &[&[3, 3, 4], &[4, 5]]),
            ("", &[&[]]),
            (",", &[&[], &[]]),
            (",i->i", &[&[], &[4]]),
            ("i,,i", &[&[4], &[], &[4]]),
            ("...", &[&[2, 3]]),
            ("...ij,...jk->...ik", &[&[2, 3, 4], &[2, 4, 5]]),
            ("...ij,...jk", &[&[6, 1, 3, 4], &[2, 4, 5]]),
            ("...i->i...", &[&[2, 3, 4]]),
            ("i...,i...->...", &[&[3, 2, 4], &[3, 4]]),
            ("ab...,b...c->...ca", &[&[2, 3, 4], &[3, 4, 5]]),
            ("ij,jk->ik", &[&[3, 1], &[4, 5]]),
            ("ij,ij->ij", &[&[3, 1], &[1, 4]]),
            ("ij,jk,kl->il", &[&[2, 3], &[3, 4], &[4, 5]]),
            ("ij,kl,jk->il", &[&[2, 3], &[4, 5], &[3, 4]]),
            ("i,j,k,l->lkji", &[&[2], &[3], &[2], &[3]]),
            (
                "ab,bc,cd,da,ab->c",
                &[&[2, 3], &[3, 4], &[4, 2], &[2, 2], &[2, 3]],
            ),
            ("a,b,a,b->", &[&[3], &[4], &[3], &[4]]),
        ];
        for (equation, shapes) in cases {
            check(equation, shapes);
        }
    }

    #[test]
    fn what_is_empty_sums_to_zero() {
        check("ij,jk->ik", &[&[2, 0], &[0, 3]]);
        check("ij,jk->ik", &[&[0, 2], &[2, 3]]);
        check("i->", &[&[0]]);
        check("i,j->j", &[&[0], &[3]]);
        check("i,i->i", &[&[0], &[1]]);
    }

    /// Up to four operands of random letters, some of which have length 1 in one operand alone.
    #[test]
    fn random_equations() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..300 {
            let lengths: Vec<usize> = (0..5).map(|_| random.usize(1..4)).collect();
            let (mut terms, mut shapes, mut met) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..random.usize(1..5) {
                let letters: Vec<usize> =
                    (0..random.usize(0..5)).map(|_| random.usize(..5)).collect();
                terms.push(
                    letters
                        .iter()
                        .map(|&at| char::from(b'a' + at as u8))
                        .collect::<String>(),
                );
                let single = random.usize(..5);
                let length = |&at: &usize| if at == single { 1 } else { lengths[at] };
                shapes.push(letters.iter().map(length).collect::<Vec<_>>());
                met.extend(letters);
            }
            met.sort_unstable();
            met.dedup();
            random.shuffle(&mut met);
            met.truncate(random.usize(..=met.len()));
            let output: String = met.iter().map(|&at| char::from(b'a' + at as u8)).collect();
            let equation = format!("{}->{output}", terms.join(","));
            let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            check(&equation, &shapes);
        }
    }

    #[test]
    fn integers_wrap() {
        let y = run("i,i->", &[integers(&[i64::MAX, 2]), integers(&[2, 1])], 0).unwrap();
        assert_eq!(y.array::<i64>().unwrap().first(), Some(&0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let operator = Einsum::new("ij,jk->ik").unwrap();
        let (x, truth) = (fact(&[2, 2]), Fact::new(DType::Bool, [2, 2]));
        for inputs in [
            &[&x][..],
            &[&x, &x, &x],
            &[&x, &fact(&[3, 2])],
            &[&x, &Fact::new(DType::F64, [2, 2])],
            &[&truth, &truth],
        ] {
            assert!(infer(&operator, inputs).is_err(), "{inputs:?}");
        }
        assert!(operator.infer(&[Some(&x), None]).is_err());
        // What is made in between counts too.
        let operator = Einsum::new("i,j,i,j->").unwrap();
        for (dtype, length) in [
            (DType::F32, 1 << 20),
            (DType::F64, 1 << 20),
            (DType::F32, usize::MAX / 2),
        ] {
            let fact = Fact::new(dtype, [length]);
            let inputs = [Some(&fact); 4];
            assert!(operator.infer(&inputs).is_ok());
            let options = PlanOptions::new().memory_budget(1 << 30);
            assert!(operator.step(&inputs, &options).is_err());
        }
    }

    /// Every type of numbers has its own loops for products, sums and copies.
    #[test]
    fn numbers_of_any_type() {
        let numbers = DType::ALL.iter().copied();
        let cast = |x: &Tensor, dtype: DType| -> Tensor {
            let made = testing::run(&Cast::To(dtype), std::slice::from_ref(x));
            made.unwrap().remove(0)
        };
        let whole = |shape: [usize; 2]| {
            let len = shape[0] * shape[1];
            floats(&shape, (0..len).map(|at| (at % 4) as f32))
        };
        for (equation, shapes) in [
            ("ij,jk->ik", [[3, 4], [4, 5]]),
            ("ij,ij->i", [[3, 4], [3, 4]]),
            ("ij,kl->lj", [[3, 4], [2, 5]]),
        ] {
            let operands = shapes.map(whole);
            let want = reference(equation, &operands);
            for dtype in numbers.clone().filter(|&dtype| dtype != DType::Bool) {
                let operands = operands.each_ref().map(|x| cast(x, dtype));
                let got = run(equation, &operands, 0).unwrap();
                assert_eq!(got, cast(&want, dtype), "{equation} {dtype:?}");
            }
        }
    }

    /// Operands of so many axes that only facts can have them, in as many terms as there are letters.
    #[test]
    fn planning_has_an_end() {
        let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
        let (first, second): (String, String) = (
            letters[..31].iter().collect(),
            letters[30..].iter().collect(),
        );
        let mut terms = vec![first, second];
        terms.extend(letters[..30].iter().map(char::to_string));
        let operator = Einsum::new(&format!("{}->", terms.join(","))).unwrap();
        let facts: Vec<_> = terms
            .iter()
            .map(|term| fact(&vec![2; term.len()]))
            .collect();
        let facts: Vec<_> = facts.iter().map(Some).collect();
        assert!(operator.infer(&facts).is_ok());
        let refused = operator.step(&facts, &PlanOptions::new().memory_budget(1 << 30));
        assert!(matches!(
            refused,
            Err(crate::error::Error::MemoryBudget { .. })
        ));
    }

    /// Only what is read in another order is moved, and a constant is multiplied by the native kernels.
    #[test]
    fn nothing_moves_without_need() {
        let scratch = |equation: &str, shapes: [&[usize]; 2]| {
            let facts = shapes.map(fact);
            let operator = Einsum::new(equation).unwrap();
            let facts = [Some(&facts[0]), Some(&facts[1])];
            let step = operator.step(&facts, &PlanOptions::new()).unwrap();
            step.scratch_len()
        };
        let (q, k) = ([2, 3, 4, 5, 16], [2, 3, 4, 7, 16]);
        assert_eq!(scratch("BGHID,BGHJD->BGHIJ", [&q, &k]), 0);
        assert_eq!(scratch("BGHID,BGHJD->BGHJI", [&q, &k]), 0);
        assert_eq!(scratch("bhwc,hkc->bhwk", [&[2, 3, 4, 5], &[3, 6, 5]]), 0);
        assert_eq!(scratch("ij,bjk->bik", [&[2, 3], &[4, 3, 5]]), 0);
        assert_eq!(
            scratch("bqhd,bkhd->bhqk", [&[1, 8, 2, 16], &[1, 8, 2, 16]]),
            512
        );
        let weights = Fact::constant(Arc::new(filled(&[16, 8], 1)));
        let operator = Einsum::new("bti,oi->bto").unwrap();
        let x = fact(&[2, 3, 8]);
        let step = operator.step(&[Some(&x), Some(&weights)], &PlanOptions::new());
        assert!(!step.unwrap().recipe().is_empty());
    }

    /// A batch that is cut into parts gives what it gives as a whole.
    #[test]
    fn images_by_themselves() {
        let (x, w) = (fact(&[4, 3, 2]), fact(&[3, 5]));
        let by_image = |equation: &str, batched: [bool; 2]| {
            let operator = Einsum::new(equation).unwrap();
            operator.by_image(&[Some(&x), Some(&w)], &batched)
        };
        assert!(by_image("nij,ik->njk", [true, false]));
        assert!(!by_image("nij,ik->jnk", [true, false]));
        assert!(!by_image("nij,ik->njk", [true, true]));
        assert!(!by_image("nij,ik->jk", [true, false]));
        assert!(!by_image("nij,ik", [false, true]));
        let mut graph = Graph::new();
        let dims = [Dim::Free("N".to_owned()), Dim::Size(256), Dim::Size(64)];
        let x = graph.input("x", DType::F32, Some(dims.to_vec()));
        let operator = Einsum::new("n i c, n j c -> n i j").unwrap();
        let y = graph.node("y", operator, &[x, x]);
        graph.output(y);
        let network = Network::new(graph).unwrap();
        let x = filled(&[32, 256, 64], 3);
        let whole = network.run(&[("x", x.clone())]).unwrap();
        assert!(
            network
                .session(&[("x", x.clone())])
                .unwrap()
                .part()
                .is_some()
        );
        let x = x.array::<f32>().unwrap();
        for at in [0, 31] {
            let image = x.slice(ndarray::s![at..at + 1, .., ..]).to_owned();
            let own = network
                .run(&[("x", Tensor::from(image.into_dyn()))])
                .unwrap();
            let y = whole[0].1.array::<f32>().unwrap();
            let y = y.slice(ndarray::s![at..at + 1, .., ..]).to_owned();
            assert_eq!(own[0].1, Tensor::from(y.into_dyn()));
        }
    }
}
