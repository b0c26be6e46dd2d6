//! Normalisations by what stands in the same image: by channel, by group, by row, along an axis, across channels.
//!
//! ```text
//! y = (x − mean) / sqrt(variance + ε) · scale + bias         over the elements that are normalised together
//! ```

mod along;
mod batch_backward;
mod batch_training;
mod change;
mod channels;
mod columns;
mod local;
mod rows;

pub use along::{LpNormalization, MeanVarianceNormalization};
pub use batch_backward::BatchNormBackward;
pub use batch_training::BatchNormTraining;
pub use channels::{GroupNormalization, InstanceNormalization};
pub use local::Lrn;
pub use rows::{LayerNormalization, RmsNormalization};

use super::check::wrong_attribute;
use crate::element::Element;
use crate::error::Result;
use crate::kernel::halved;
use crate::network::tensor::DType;

/// The types that are normalised.
const FLOATS: [DType; 2] = [DType::F32, DType::F64];

/// Most columns that are summed at once: a few vectors of sums stay in registers or L1.
const COLUMNS: usize = 64;

/// Rows, or elements of a lane, that are summed in the type of the elements before their sum goes to f64.
const JOINED: usize = 16;

/// Σ term(x, centre) of every column of `rows`, each of at most [`COLUMNS`] elements.
#[inline(always)]
fn column_sums<'x, T: Element>(
    rows: impl Iterator<Item = &'x [T]>,
    centre: &[T; COLUMNS],
    term: impl Fn(T, T) -> T,
) -> [f64; COLUMNS] {
    let (mut sums, mut part) = ([0.0; COLUMNS], [T::ZERO; COLUMNS]);
    for (number, row) in rows.enumerate() {
        // A whole row is a loop of known length.
        match <&[T; COLUMNS]>::try_from(row) {
            Ok(row) => {
                for ((part, &x), &centre) in part.iter_mut().zip(row).zip(centre) {
                    *part += term(x, centre);
                }
            }
            Err(_) => {
                for ((part, &x), &centre) in part.iter_mut().zip(row).zip(centre) {
                    *part += term(x, centre);
                }
            }
        }
        if number % JOINED == JOINED - 1 {
            join(&mut sums, &mut part);
        }
    }
    join(&mut sums, &mut part);
    sums
}

/// Moves what was summed in the type of the elements to f64.
#[inline(always)]
fn join<T: Element>(sums: &mut [f64; COLUMNS], part: &mut [T; COLUMNS]) {
    for (sum, part) in sums.iter_mut().zip(part) {
        *sum += part.to_f64();
        *part = T::ZERO;
    }
}

/// Lanes of the sums along a row.
const LANES: usize = 16;

/// Σ term(x, centre).
#[inline(always)]
fn sum<T: Element>(row: &[T], centre: T, term: impl Fn(T, T) -> T) -> f64 {
    let mut sum = 0.0;
    for block in row.chunks(LANES * JOINED) {
        let mut part = [T::ZERO; LANES];
        let mut add = |values: &[T]| {
            for (part, &x) in part.iter_mut().zip(values) {
                *part += term(x, centre);
            }
        };
        let (chunks, rest) = block.as_chunks::<LANES>();
        chunks.iter().for_each(|chunk| add(chunk));
        add(rest);
        sum += halved(part.map(T::to_f64), |a, b| a + b);
    }
    sum
}

/// x, as a term.
#[inline(always)]
fn itself<T: Element>(x: T, _: T) -> T {
    x
}

/// (x − centre)²
#[inline(always)]
fn squared<T: Element>(x: T, centre: T) -> T {
    (x - centre) * (x - centre)
}

/// An ε that a root can be taken with.
fn check_epsilon(epsilon: f32) -> Result<()> {
    if epsilon.is_finite() && epsilon >= 0.0 {
        return Ok(());
    }
    Err(wrong_attribute("epsilon", "0 or more", epsilon))
}
