//! Normalisations by what stands in the same image: by channel, by group, by row, along an axis, across channels.
//!
//! ```text
//! y = (x − mean) / sqrt(variance + ε) · scale + bias         over the elements that are normalised together
//! ```

mod along;
mod channels;
mod local;
mod rows;

pub use along::{LpNormalization, MeanVarianceNormalization};
pub use channels::{GroupNormalization, InstanceNormalization};
pub use local::Lrn;
pub use rows::{LayerNormalization, RmsNormalization};

use super::check::wrong_attribute;
use crate::element::Element;
use crate::error::Result;
use crate::network::tensor::DType;

/// The types that are normalised.
const FLOATS: [DType; 2] = [DType::F32, DType::F64];

/// Most columns that are summed at once: a few vectors of sums stay in registers or L1.
const COLUMNS: usize = 64;

/// Rows that are summed in the type of the elements before their sum goes to f64.
const JOINED: usize = 16;

/// Σ term(column, x) of every column of `rows`, each of at most [`COLUMNS`] elements.
fn column_sums<'x, T: Element>(
    rows: impl Iterator<Item = &'x [T]>,
    term: impl Fn(usize, T) -> T,
) -> [f64; COLUMNS] {
    let (mut sums, mut part) = ([0.0; COLUMNS], [T::ZERO; COLUMNS]);
    let mut join = |part: &mut [T; COLUMNS]| {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += part.to_f64();
            *part = T::ZERO;
        }
    };
    for (number, row) in rows.enumerate() {
        for (column, (part, &x)) in part.iter_mut().zip(row).enumerate() {
            *part += term(column, x);
        }
        if number % JOINED == JOINED - 1 {
            join(&mut part);
        }
    }
    join(&mut part);
    sums
}

/// Σ term(x).
fn sum<T: Element>(row: &[T], term: impl Fn(T) -> T) -> f64 {
    column_sums(row.chunks(COLUMNS), |_, x| term(x))
        .iter()
        .sum()
}

/// An ε that a root can be taken with.
fn check_epsilon(epsilon: f32) -> Result<()> {
    if epsilon.is_finite() && epsilon >= 0.0 {
        return Ok(());
    }
    Err(wrong_attribute("epsilon", "0 or more", epsilon))
}
