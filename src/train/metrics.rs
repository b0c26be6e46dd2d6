//! How good a network is on a data set, batch by batch.
//!
//! ```text
//! accuracy    share of the examples whose own class has the largest logit
//! top k       … one of the k largest
//! confusion   [true class][predicted class]  examples
//! loss        Σ loss of a batch · its examples / examples
//! ```
//!
//! Of equal logits the first class counts as the larger one. Where any logit of an example is NaN, nothing is
//! predicted: the example is counted, but it is never right and stands nowhere in the confusion matrix.

use ndarray::{Array2, ArrayView2, ArrayViewD, Ix2};

use crate::element::filled;
use crate::error::{Error, Result, check_len, check_shape, product};

/// What has been seen so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    classes: usize,
    k: usize,
    examples: u64,
    right: u64,
    in_top: u64,
    undecided: u64,
    loss: f64,
    /// `[true][predicted]`.
    confusion: Vec<u64>,
}

impl Metrics {
    /// Nothing seen, for so many classes; `k` of them are counted as the top.
    ///
    /// # Errors
    /// No classes; a `k` of 0; too many classes for a matrix of them.
    pub fn new(classes: usize, k: usize) -> Result<Self> {
        for (what, count) in [("classes", classes), ("classes of the top", k)] {
            if count == 0 {
                return Err(Error::ZeroCount { what });
            }
        }
        let places = product("the confusion matrix", &[classes, classes])?;
        Ok(Self {
            classes,
            k,
            examples: 0,
            right: 0,
            in_top: 0,
            undecided: 0,
            loss: 0.0,
            confusion: filled(places, 0)?,
        })
    }

    /// Adds a batch: logits `[N, classes]`, the class of each example, and the mean loss over them.
    ///
    /// # Errors
    /// Logits of another shape; a label that is no class. Nothing is counted then.
    pub fn add(&mut self, logits: ArrayViewD<f32>, labels: &[i64], mean_loss: f64) -> Result<()> {
        let shape = [labels.len(), self.classes];
        check_shape("the logits", &shape, logits.shape())?;
        let logits: ArrayView2<f32> =
            logits
                .into_dimensionality::<Ix2>()
                .map_err(|_| Error::Rank {
                    what: "the logits",
                    expected: 2,
                    got: 0,
                })?;
        let classes = self.classes;
        let class = |(example, &label): (usize, &i64)| {
            let class = usize::try_from(label).ok();
            class.filter(|&class| class < classes).ok_or(Error::Label {
                example,
                label: label.into(),
                classes,
            })
        };
        let own: Vec<usize> = labels
            .iter()
            .enumerate()
            .map(class)
            .collect::<Result<_>>()?;
        for (logits, own) in logits.outer_iter().zip(own) {
            self.examples += 1;
            if logits.iter().any(|logit| logit.is_nan()) {
                self.undecided += 1;
                continue;
            }
            let mut best = 0;
            let mut before = 0;
            for (class, &logit) in logits.iter().enumerate() {
                if logit > logits[best] {
                    best = class;
                }
                before += usize::from(logit > logits[own] || (logit == logits[own] && class < own));
            }
            self.right += u64::from(best == own);
            self.in_top += u64::from(before < self.k);
            self.confusion[own * classes + best] += 1;
        }
        if !labels.is_empty() {
            self.loss += mean_loss * labels.len() as f64;
        }
        Ok(())
    }

    /// Joins what another has seen.
    ///
    /// # Errors
    /// Another number of classes, or of those of the top.
    pub fn join(&mut self, other: &Self) -> Result<()> {
        check_len("the classes", self.classes, other.classes)?;
        check_len("the top", self.k, other.k)?;
        self.examples += other.examples;
        self.right += other.right;
        self.in_top += other.in_top;
        self.undecided += other.undecided;
        self.loss += other.loss;
        for (place, count) in self.confusion.iter_mut().zip(&other.confusion) {
            *place += count;
        }
        Ok(())
    }

    fn share(&self, count: u64) -> f64 {
        count as f64 / self.examples as f64
    }

    /// How many examples.
    pub fn examples(&self) -> u64 {
        self.examples
    }

    /// How many of them are right.
    pub fn right(&self) -> u64 {
        self.right
    }

    /// How many have a logit that is not a number.
    pub fn undecided(&self) -> u64 {
        self.undecided
    }

    /// The share that is right; NaN where there are no examples.
    pub fn accuracy(&self) -> f64 {
        self.share(self.right)
    }

    /// How many classes are the top.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The share whose class is one of the top; NaN where there are no examples.
    pub fn top_k(&self) -> f64 {
        self.share(self.in_top)
    }

    /// The mean loss of an example; NaN where there are no examples.
    pub fn loss(&self) -> f64 {
        self.loss / self.examples as f64
    }

    /// `[true class][predicted class]`: how many examples.
    pub fn confusion(&self) -> Array2<u64> {
        Array2::from_shape_fn((self.classes, self.classes), |(own, best)| {
            self.confusion[own * self.classes + best]
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array, arr2};

    use super::*;

    #[test]
    fn counted_by_hand() {
        let mut metrics = Metrics::new(3, 2).unwrap();
        let logits = arr2(&[
            [1.0, 2.0, 0.0],
            [5.0, 2.0, 3.0],
            [-1.0, -2.0, -0.5],
            [0.0, 0.0, 0.0],
        ]);
        // Right; third; second; second by its place.
        metrics
            .add(logits.into_dyn().view(), &[1, 1, 0, 1], 0.5)
            .unwrap();
        assert_eq!((metrics.accuracy(), metrics.top_k()), (0.25, 0.75));
        metrics
            .add(arr2(&[[0.0, 0.0, 9.0]]).into_dyn().view(), &[2], 3.0)
            .unwrap();
        assert_eq!((metrics.examples(), metrics.right()), (5, 2));
        assert_eq!(metrics.loss(), (0.5 * 4.0 + 3.0) / 5.0);
        assert_eq!(
            metrics.confusion(),
            arr2(&[[0, 0, 1], [2, 1, 0], [0, 0, 1]])
        );
        let mut twice = metrics.clone();
        twice.join(&metrics).unwrap();
        assert_eq!(twice.examples(), 10);
        assert_eq!(twice.loss(), metrics.loss());
        assert_eq!(twice.confusion(), metrics.confusion() * 2);
    }

    #[test]
    fn what_is_not_a_number_is_never_right() {
        let mut metrics = Metrics::new(2, 2).unwrap();
        let nan = f32::NAN;
        let logits = arr2(&[[nan, nan], [1.0, nan], [nan, 1.0], [f32::INFINITY, 0.0]]);
        metrics
            .add(logits.into_dyn().view(), &[0, 0, 0, 0], 1.0)
            .unwrap();
        assert_eq!((metrics.right(), metrics.undecided()), (1, 3));
        assert_eq!(metrics.top_k(), 0.25);
        assert_eq!(metrics.confusion().sum(), 1);
    }

    #[test]
    fn infinities_and_ties() {
        let low = f32::NEG_INFINITY;
        let mut metrics = Metrics::new(3, 1).unwrap();
        let logits = arr2(&[[low, low, low], [low, low, low], [0.0, -0.0, low]]);
        metrics
            .add(logits.into_dyn().view(), &[0, 2, 0], 1.0)
            .unwrap();
        assert_eq!(metrics.confusion().row(0).to_vec(), [2, 0, 0]);
        assert_eq!(metrics.confusion().row(2).to_vec(), [1, 0, 0]);
        // A top of all classes has every one.
        let mut all = Metrics::new(3, 9).unwrap();
        let logits = arr2(&[[3.0, 2.0, 1.0]]).into_dyn();
        all.add(logits.view(), &[2], 1.0).unwrap();
        assert_eq!((all.top_k(), all.accuracy()), (1.0, 0.0));
    }

    #[test]
    fn wrong_batches_count_nothing() {
        let mut metrics = Metrics::new(3, 1).unwrap();
        let logits = Array::zeros((2, 3)).into_dyn();
        for labels in [&[0][..], &[0, 3], &[-1, 0], &[0, i64::MIN]] {
            let error = metrics.add(logits.view(), labels, 1.0).unwrap_err();
            assert!(
                matches!(error, Error::Label { classes: 3, .. } | Error::Shape { .. }),
                "{error}"
            );
        }
        assert!(
            metrics
                .add(Array::zeros(6).into_dyn().view(), &[0, 1], 1.0)
                .is_err()
        );
        assert!(
            metrics
                .add(Array::zeros((2, 4)).into_dyn().view(), &[0, 1], 1.0)
                .is_err()
        );
        assert_eq!(metrics, Metrics::new(3, 1).unwrap());
        assert!(metrics.accuracy().is_nan() && metrics.loss().is_nan());
        metrics
            .add(Array::zeros((0, 3)).into_dyn().view(), &[], f64::NAN)
            .unwrap();
        assert_eq!(metrics, Metrics::new(3, 1).unwrap());
        assert!(Metrics::new(0, 1).is_err() && Metrics::new(2, 0).is_err());
        assert!(Metrics::new(usize::MAX, 1).is_err());
    }
}
