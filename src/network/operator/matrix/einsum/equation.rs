//! The equation of Einsum: a term for each operand, and one for what comes out.
//!
//! ```text
//! b i j , b j k -> b i k     letters name axes, spaces mean nothing
//! ...ij,...jk->...ik         an ellipsis stands for the axes that have no letter; they broadcast
//! bij,bjk                    without an arrow: the ellipsis, then what occurs once, A to Z before a to z
//! ```

use std::collections::BTreeMap;

use crate::error::{Error, Result, product};
use crate::network::operator::check::{check_rank, wrong, wrong_attribute};

/// Most characters of an equation; a file of some bytes can ask for a term with each of them.
const LONGEST: usize = 1 << 12;

/// Characters of an equation that an error shows.
const SHOWN: usize = 200;

/// What an axis is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Label {
    /// By its letter.
    Letter(u8),
    /// An axis of the ellipsis, counted from the last one.
    Ellipsis(usize),
}

/// The letters of an operand, and how many of them stand before the ellipsis, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Term {
    letters: Vec<u8>,
    ellipsis: Option<usize>,
}

impl Term {
    /// `None` where there is something else than letters and one ellipsis.
    fn parse(text: &[u8]) -> Option<Self> {
        let (mut term, mut rest) = (Self::default(), text);
        loop {
            rest = match rest {
                [] => return Some(term),
                [b'.', b'.', b'.', rest @ ..] if term.ellipsis.is_none() => {
                    term.ellipsis = Some(term.letters.len());
                    rest
                }
                [letter, rest @ ..] if letter.is_ascii_alphabetic() => {
                    term.letters.push(*letter);
                    rest
                }
                _ => return None,
            };
        }
    }

    /// The axes, of which the ellipsis has `more`.
    fn labels(&self, more: usize) -> Vec<Label> {
        let (before, after) = self.letters.split_at(self.ellipsis.unwrap_or(0));
        let letters = |letters: &[u8]| letters.iter().copied().map(Label::Letter).collect();
        let mut labels: Vec<Label> = letters(before);
        labels.extend((0..more).rev().map(Label::Ellipsis));
        labels.extend::<Vec<Label>>(letters(after));
        labels
    }
}

/// A text that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Equation {
    text: String,
    operands: Vec<Term>,
    output: Term,
}

/// An equation whose axes have lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// The axes of each operand. One of length 1 meets any length.
    pub operands: Vec<Vec<Label>>,
    /// The axes of what comes out, each once.
    pub output: Vec<Label>,
    pub lengths: BTreeMap<Label, usize>,
}

impl Bound {
    /// The shape of what comes out.
    pub fn shape(&self) -> Vec<usize> {
        let lengths = self.output.iter().map(|label| self.lengths[label]);
        lengths.collect()
    }
}

/// The error of an equation.
fn refused(text: &str, expected: impl Into<String>) -> Error {
    let end = text.char_indices().nth(SHOWN).map(|(end, _)| end);
    let shown = match end {
        Some(end) => format!("{:?} and more", &text[..end]),
        None => format!("{text:?}"),
    };
    wrong_attribute("equation", expected, shown)
}

impl Equation {
    /// Fails on what is no equation.
    pub fn new(text: &str) -> Result<Self> {
        if text.len() > LONGEST {
            let expected = format!("at most {LONGEST} characters, not {}", text.len());
            return Err(refused(text, expected));
        }
        let term = |part: &[u8]| {
            let expected = || {
                let part = String::from_utf8_lossy(part);
                format!("terms of letters and one ellipsis, unlike {part:?}")
            };
            Term::parse(part).ok_or_else(|| refused(text, expected()))
        };
        let dense: Vec<u8> = text.bytes().filter(|&byte| byte != b' ').collect();
        let arrow = dense.windows(2).position(|pair| pair == b"->");
        let left = &dense[..arrow.unwrap_or(dense.len())];
        let terms = left.split(|&byte| byte == b',').map(term);
        let operands = terms.collect::<Result<Vec<_>>>()?;
        let mut counts = BTreeMap::<u8, usize>::new();
        for &letter in operands.iter().flat_map(|term| &term.letters) {
            *counts.entry(letter).or_default() += 1;
        }
        let output = match arrow {
            Some(arrow) => term(&dense[arrow + 2..])?,
            None => Term {
                letters: (counts.iter().filter(|(_, count)| **count == 1))
                    .map(|(&letter, _)| letter)
                    .collect(),
                ellipsis: (operands.iter().any(|term| term.ellipsis.is_some())).then_some(0),
            },
        };
        for (at, letter) in output.letters.iter().enumerate() {
            let name = char::from(*letter);
            if output.letters[..at].contains(letter) {
                return Err(refused(text, format!("an output with {name:?} once")));
            }
            if !counts.contains_key(letter) {
                return Err(refused(text, format!("an operand with {name:?}")));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            operands,
            output,
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// For operands of these shapes. Fails where they do not fit it, or each other.
    pub fn bind(&self, shapes: &[&[usize]]) -> Result<Bound> {
        if shapes.len() != self.operands.len() {
            return Err(wrong(
                "the number of inputs",
                format!("{}: {:?}", self.operands.len(), self.text),
                shapes.len().to_string(),
            ));
        }
        let mut operands = Vec::with_capacity(shapes.len());
        let (mut lengths, mut widest) = (BTreeMap::new(), 0);
        for (number, (term, &shape)) in self.operands.iter().zip(shapes).enumerate() {
            check_rank("an input", shape.len())?;
            let named = term.letters.len();
            let more = shape.len().checked_sub(named);
            let more = more.filter(|&more| more == 0 || term.ellipsis.is_some());
            let Some(more) = more else {
                let least = term.ellipsis.map_or("", |_| " or more");
                let expected = format!("of {named} axes{least}: {:?}", self.text);
                return Err(self.misfit(number, shape, expected));
            };
            widest = widest.max(more);
            let labels = term.labels(more);
            for (axis, (&label, &length)) in labels.iter().zip(shape).enumerate() {
                let expected = |other: usize| {
                    let name = match label {
                        Label::Letter(letter) => char::from(letter).to_string(),
                        Label::Ellipsis(_) => "...".to_owned(),
                    };
                    format!("of {other} along {name:?}, axis {axis}: {:?}", self.text)
                };
                let before = labels[..axis].iter().position(|&other| other == label);
                if let Some(other) = before.map(|at| shape[at]).filter(|&other| other != length) {
                    return Err(self.misfit(number, shape, expected(other)));
                }
                let known = lengths.entry(label).or_insert(length);
                match *known {
                    1 => *known = length,
                    other if other == length || length == 1 => {}
                    other => return Err(self.misfit(number, shape, expected(other))),
                }
            }
            operands.push(labels);
        }
        if widest > 0 && self.output.ellipsis.is_none() {
            let expected = format!("an output with the {widest} axes of the ellipsis");
            return Err(refused(&self.text, expected));
        }
        let bound = Bound {
            operands,
            output: self.output.labels(widest),
            lengths,
        };
        check_rank("the output", bound.output.len())?;
        product("the output of Einsum", &bound.shape())?;
        Ok(bound)
    }

    fn misfit(&self, number: usize, shape: &[usize], expected: String) -> Error {
        let got = format!("number {} of shape {shape:?}", number + 1);
        wrong("an input", expected, got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(equation: &str, shapes: &[&[usize]]) -> Result<Vec<usize>> {
        Ok(Equation::new(equation)?.bind(shapes)?.shape())
    }

    /// An equation, the shapes of its operands, and that of the output.
    type Case<'a> = (&'a str, &'a [&'a [usize]], &'a [usize]);

    #[test]
    fn shapes_come_from_letters() {
        let cases: [Case; 14] = [
            ("ij,jk->ik", &[&[2, 3], &[3, 4]], &[2, 4]),
            ("ij,jk", &[&[2, 3], &[3, 4]], &[2, 4]),
            ("ba", &[&[2, 3]], &[3, 2]),
            ("bA", &[&[2, 3]], &[3, 2]),
            ("ii", &[&[3, 3]], &[]),
            ("ii->i", &[&[3, 3]], &[3]),
            ("", &[&[]], &[]),
            (",i", &[&[], &[4]], &[4]),
            (" . .. i -> i...", &[&[5, 6, 7]], &[7, 5, 6]),
            ("i...j", &[&[2, 5, 3]], &[5, 2, 3]),
            ("...i,...i", &[&[6, 3], &[5, 1, 3]], &[5, 6]),
            ("...ij,jk...->ik...", &[&[2, 3], &[3, 4]], &[2, 4]),
            ("ij,jk->ik", &[&[2, 1], &[3, 4]], &[2, 4]),
            (
                "B G H I D , B G H J D -> B G H I J",
                &[&[2, 3, 4, 5, 6], &[2, 3, 4, 7, 6]],
                &[2, 3, 4, 5, 7],
            ),
        ];
        for (equation, shapes, expected) in cases {
            assert_eq!(shape(equation, shapes).unwrap(), expected, "{equation}");
        }
    }

    #[test]
    fn what_is_no_equation_is_told() {
        for text in [
            "i1", "i,j->k", "i->ii", "i..", "....", "... ...", "i->j->i", "i-j", "i>", "ä", "i\tj",
            "->i", "i;j", "-",
        ] {
            let message = Equation::new(text).unwrap_err().to_string();
            assert!(message.contains(&format!("{text:?}")), "{message}");
        }
        assert_eq!(
            Equation::new("ij->ik").unwrap_err().to_string(),
            "attribute equation is \"ij->ik\", expected an operand with 'k'"
        );
        let long = Equation::new(&"ä".repeat(1 << 20)).unwrap_err();
        assert!(long.to_string().len() < 1000);
        let long = Equation::new(&",".repeat(LONGEST)).unwrap();
        assert!(long.bind(&[&[]]).is_err());
    }

    #[test]
    fn operands_that_do_not_fit_are_told() {
        let huge = usize::MAX / 2;
        let cases: [(&str, &[&[usize]]); 9] = [
            ("ij,jk", &[&[2, 3]]),
            ("ij", &[&[2, 3], &[2, 3]]),
            ("ij", &[&[2]]),
            ("i", &[&[2, 3]]),
            ("ij...", &[&[2]]),
            ("ii", &[&[1, 2]]),
            ("i...,i...->i...", &[&[2, 3], &[2, 4]]),
            ("i...->i", &[&[2, 3]]),
            ("i,j->ij", &[&[huge], &[huge]]),
        ];
        for (equation, shapes) in cases {
            assert!(shape(equation, shapes).is_err(), "{equation}");
        }
        let error = shape("ij,jk->ik", &[&[2, 3], &[4, 5]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an input is number 2 of shape [4, 5], expected of 3 along \"j\", axis 0: \"ij,jk->ik\""
        );
        let many = vec![1; 65];
        assert!(shape("...", &[&many]).is_err());
    }
}
