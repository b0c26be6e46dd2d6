//! What is done to gradients before a step: clipped, and averaged over several batches.
//!
//! ```text
//! norm     √ Σ g²            over all elements of all parameters, in f64
//! factor   min(1, limit / (norm + 10⁻⁶))
//! mean     Σ w_b g_b / Σ w_b    over batches b of w_b examples, as a running mean: G ← G + (g − G) · w / W
//! ```
//! [Pascanu et al. 2013](https://proceedings.mlr.press/v28/pascanu13.html); the 10⁻⁶ is PyTorch's. The sum goes piece
//! after piece, in an order that lengths alone decide.

use rayon::prelude::*;

use super::text::in_range;
use crate::element::reserved;
use crate::error::{Error, Result, check_len};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::parallel::{for_each_piece, threads};

/// Elements of a task: 64 KiB.
const PIECE: usize = 16 << 10;

/// Sums that grow beside each other, two vectors of f64.
const LANES: usize = 16;

/// The root of the sum of squares of all elements of `gradients`.
///
/// NaN where one of them is NaN, infinite where one is infinite: such a step must not be done.
pub fn norm<G: AsRef<[f32]>>(gradients: &[G]) -> f64 {
    let mut sum = 0.0;
    for gradient in gradients {
        let gradient = gradient.as_ref();
        let squares = |piece: &[f32]| compiled(Isa::selected(), Squares(piece));
        if gradient.len() <= PIECE || threads() == 1 {
            sum = gradient.chunks(PIECE).map(squares).fold(sum, |a, b| a + b);
            continue;
        }
        let parts: Vec<f64> = gradient.par_chunks(PIECE).map(squares).collect();
        sum = parts.into_iter().fold(sum, |a, b| a + b);
    }
    sum.sqrt()
}

/// Σ x², the lanes joined at the end.
struct Squares<'x>(&'x [f32]);

impl Loop for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<A: Arithmetic>(self) -> f64 {
        let (rows, rest) = self.0.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        for row in rows {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        sums.iter().sum::<f64>() + rest
    }
}

/// What gradients of this norm are multiplied by so that it is at most `limit`; 1 where it is already, or is not finite.
///
/// [`Step::scale`](super::optimizer::Step::scale) takes it, which saves a pass over the gradients.
///
/// # Errors
/// A limit that is not positive, is infinite or NaN.
pub fn factor(norm: f64, limit: f64) -> Result<f32> {
    check_limit(limit)?;
    let factor = limit / (norm + 1e-6);
    match norm.is_finite() && factor < 1.0 {
        true => Ok(factor as f32),
        false => Ok(1.0),
    }
}

/// Makes every element at most `limit` in size; NaN stays.
///
/// # Errors
/// A limit that is not positive in f32, is infinite or NaN.
pub fn by_value<G: AsMut<[f32]>>(gradients: &mut [G], limit: f64) -> Result<()> {
    check_limit(limit)?;
    let limit = limit as f32;
    for gradient in gradients {
        for_each_piece(gradient.as_mut(), PIECE, &|_, piece| {
            compiled(Isa::selected(), Clamp(piece, limit));
        });
    }
    Ok(())
}

struct Clamp<'x>(&'x mut [f32], f32);

impl Loop for Clamp<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self(piece, limit) = self;
        for x in piece {
            *x = x.clamp(-limit, limit);
        }
    }
}

fn check_limit(limit: f64) -> Result<()> {
    let inside = (limit as f32) > 0.0 && (limit as f32).is_finite();
    in_range("the limit of clipping", limit, "above 0 and finite", inside)
}

/// The mean gradients of several batches, as if they had been one.
#[derive(Debug, Clone)]
pub struct Accumulator {
    means: Vec<Vec<f32>>,
    examples: u64,
}

impl Accumulator {
    /// For gradients of these lengths; no batch yet.
    ///
    /// # Errors
    /// No memory.
    pub fn new(lengths: &[usize]) -> Result<Self> {
        let means = lengths.iter().map(|&len| {
            let mut mean = reserved(len)?;
            mean.resize(len, 0.0);
            Ok(mean)
        });
        Ok(Self {
            means: means.collect::<Result<_>>()?,
            examples: 0,
        })
    }

    /// Joins the gradients of a mean loss over `examples` examples. Those of a first batch are kept as they are.
    ///
    /// # Errors
    /// No examples; another number of gradients, or another length. Nothing is changed then.
    pub fn add<G: AsRef<[f32]>>(&mut self, gradients: &[G], examples: usize) -> Result<()> {
        if examples == 0 {
            return Err(Error::ZeroCount { what: "examples" });
        }
        check_len("the list of gradients", self.means.len(), gradients.len())?;
        for (mean, gradient) in self.means.iter().zip(gradients) {
            check_len("a gradient", mean.len(), gradient.as_ref().len())?;
        }
        let before = self.examples;
        self.examples = before.saturating_add(examples as u64);
        let share = (examples as f64 / self.examples as f64) as f32;
        for (mean, gradient) in self.means.iter_mut().zip(gradients) {
            let gradient = gradient.as_ref();
            if before == 0 {
                mean.copy_from_slice(gradient);
                continue;
            }
            for_each_piece(mean, PIECE, &|index, piece| {
                let gradient = &gradient[index * PIECE..][..piece.len()];
                compiled(Isa::selected(), Join(piece, gradient, share));
            });
        }
        Ok(())
    }

    /// The mean of each gradient so far; zeros before the first batch.
    pub fn means(&self) -> &[Vec<f32>] {
        &self.means
    }

    /// How many examples are in it.
    pub fn examples(&self) -> u64 {
        self.examples
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.examples = 0;
        for mean in &mut self.means {
            mean.fill(0.0);
        }
    }
}

/// G ← G + (g − G) · share
struct Join<'g>(&'g mut [f32], &'g [f32], f32);

impl Loop for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self(means, gradients, share) = self;
        for (mean, &gradient) in means.iter_mut().zip(gradients) {
            *mean += (gradient - *mean) * share;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(len: usize, seed: u64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..len).map(|_| random.f32() - 0.5).collect()
    }

    fn pool(threads: usize) -> rayon::ThreadPool {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        builder.build().unwrap()
    }

    #[test]
    fn norms() {
        assert_eq!(norm(&[vec![3.0], vec![], vec![0.0, -4.0]]), 5.0);
        assert_eq!(norm::<Vec<f32>>(&[]), 0.0);
        // Squares that f32 does not hold.
        assert_eq!(norm(&[[3e30f32, 4e30]]), {
            let (a, b) = (f64::from(3e30f32), f64::from(4e30f32));
            (a * a + b * b).sqrt()
        });
        assert!(norm(&[[1.0, f32::NAN]]).is_nan());
        assert_eq!(norm(&[[1.0, f32::NEG_INFINITY]]), f64::INFINITY);
        let lengths = [1, 15, 16, 17, PIECE, PIECE + 1, 3 * PIECE + 7];
        let gradients = lengths.map(|len| drawn(len, len as u64));
        // Few bits: sums that no order rounds.
        let coarse = gradients.each_ref().map(|gradient| {
            let rounded = gradient.iter().map(|x| (x * 256.0).round() / 256.0);
            rounded.collect::<Vec<f32>>()
        });
        let squares = coarse.iter().flatten().map(|&x| f64::from(x).powi(2));
        assert_eq!(norm(&coarse), squares.sum::<f64>().sqrt());
        let one = pool(1).install(|| norm(&gradients));
        assert_eq!(one, pool(3).install(|| norm(&gradients)));
    }

    #[test]
    fn clipping() {
        assert_eq!(factor(5.0, 10.0), Ok(1.0));
        assert_eq!(factor(10.0, 5.0), Ok((5.0 / (10.0 + 1e-6)) as f32));
        assert_eq!(factor(0.0, 1.0), Ok(1.0));
        assert_eq!(factor(f64::NAN, 1.0), Ok(1.0));
        assert_eq!(factor(f64::INFINITY, 1.0), Ok(1.0));
        for limit in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-60] {
            let error = factor(1.0, limit).unwrap_err();
            assert!(matches!(error, Error::Parameter { .. }), "{error}");
            assert!(by_value(&mut [[1.0]], limit).is_err());
        }
        let mut values = [1.0, -3.0, 0.25, f32::INFINITY, -0.0, f32::NAN];
        by_value(&mut [&mut values[..]], 0.5).unwrap();
        assert_eq!(values[..5], [0.5, -0.5, 0.25, 0.5, 0.0]);
        assert!(values[5].is_nan());
    }

    #[test]
    fn batches_are_averaged() {
        let lengths = [3, 0, 2 * PIECE + 5];
        let mut accumulator = Accumulator::new(&lengths).unwrap();
        let batch = |seed| lengths.map(|len| drawn(len, seed));
        let batches = [(batch(1), 3), (batch(2), 5), (batch(3), 64)];
        accumulator.add(&batches[0].0, batches[0].1).unwrap();
        assert_eq!(accumulator.means(), batches[0].0);
        for (gradients, examples) in &batches[1..] {
            accumulator.add(gradients, *examples).unwrap();
        }
        assert_eq!(accumulator.examples(), 72);
        for (index, mean) in accumulator.means().iter().enumerate() {
            for (at, &mean) in mean.iter().enumerate() {
                let of = |(gradients, examples): &([Vec<f32>; 3], usize)| {
                    f64::from(gradients[index][at]) * *examples as f64
                };
                let expected = batches.iter().map(of).sum::<f64>() / 72.0;
                assert!((f64::from(mean) - expected).abs() < 1e-7);
            }
        }
        let kept = accumulator.clone();
        let error = accumulator.add(&batches[0].0[..2], 3).unwrap_err();
        assert!(matches!(error, Error::BufferLength { .. }), "{error}");
        let error = accumulator.add(&batches[0].0, 0).unwrap_err();
        assert!(matches!(error, Error::ZeroCount { .. }), "{error}");
        let short = [drawn(3, 1), vec![], drawn(4, 1)];
        assert!(accumulator.add(&short, 1).is_err());
        assert_eq!(accumulator.means(), kept.means());
        accumulator.clear();
        assert_eq!(accumulator.examples(), 0);
        assert!(
            accumulator
                .means()
                .iter()
                .flatten()
                .all(|&mean| mean == 0.0)
        );
    }
}
