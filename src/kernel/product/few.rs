//! Products of few columns: the lanes are rows, where they follow each other in A and in the result.
//!
//! ```text
//! for each few vectors of rows, each of a run in which rows[i + 1] = rows[i] + 1:
//!     acc ← 0
//!     for t in terms:  for each vector v:  x ← A[rows[v] + terms[t] ..]
//!         for j in columns:  acc[v][j] += x · B[t, j]                                    in registers
//!     out ← finish(acc)
//! ```
//!
//! With as many columns as a vector has lanes or more, lanes are columns and nothing is lost (`tile.rs`); three columns
//! would leave thirteen of sixteen lanes empty. Sums are made of turns, without pieces.

use super::{Job, Left};
use crate::kernel::simd::{Apart, Simd};

/// Most vectors of rows whose sums are made together.
const VECTORS: usize = 4;

/// Most columns of a product that may have its rows in the lanes, by the number of registers: half a vector.
pub(crate) const fn most_columns(registers: usize) -> usize {
    if registers >= 32 { 8 } else { 4 }
}

/// Whether rows follow each other so often that they fill more lanes than the columns would.
pub(super) fn pays<S: Simd>(job: &Job<'_>) -> bool {
    let columns = job.columns;
    if job.left != Left::Scalars || columns > most_columns(S::REGISTERS) || job.first > 0 {
        return false;
    }
    let breaks = job.rows.windows(2).filter(|pair| pair[0] + 1 != pair[1]);
    let vectors = job.rows.len() / S::LANES + breaks.count() + 1;
    vectors * columns < job.rows.len()
}

/// All rows of a product for which this pays.
///
/// # Safety
/// As `Job::run`.
#[inline(always)]
pub(super) unsafe fn run<S: Simd>(s: S, job: &Job<'_>, turn: usize) {
    let most = job.terms.iter().copied().max().unwrap_or(0) as usize;
    let mut row = 0;
    while row < job.rows.len() {
        let mut group = Group {
            job,
            turn,
            rows: [(row, 0); VECTORS],
            count: 0,
        };
        let mut whole = true;
        for v in &mut group.rows[..vectors::<S>(job.columns)] {
            if row == job.rows.len() {
                break;
            }
            let rest = &job.rows[row..job.rows.len().min(row + S::LANES)];
            let count = rest.windows(2).take_while(|pair| pair[0] + 1 == pair[1]);
            *v = (row, count.count() + 1);
            whole &= rest[0] as usize + most + S::LANES <= job.reach;
            row += v.1;
            group.count += 1;
        }
        // SAFETY: the caller's; whole vectors are read only where they lie in A.
        unsafe {
            match whole {
                true => group.columns::<S, true>(s),
                false => group.columns::<S, false>(s),
            }
        }
    }
}

/// How many vectors of rows have their sums, themselves and a weight in registers.
const fn vectors<S: Simd>(columns: usize) -> usize {
    let fit = (S::REGISTERS - 1) / (columns + 1);
    if fit < VECTORS { fit } else { VECTORS }
}

/// Some vectors of rows: the first row of each, and how many there are; none of those beyond `count`.
struct Group<'a> {
    job: &'a Job<'a>,
    turn: usize,
    rows: [(usize, usize); VECTORS],
    /// How many vectors these are.
    count: usize,
}

impl Group<'_> {
    /// # Safety
    /// As `run`; with `WHOLE` a vector can be read from each of the rows at each of the terms.
    #[inline(always)]
    unsafe fn columns<S: Simd, const WHOLE: bool>(&self, s: S) {
        let (width, most) = (most_columns(S::REGISTERS), vectors::<S>(self.job.columns));
        macro_rules! columns {
            ($($columns:literal)*) => {
                // SAFETY: the caller's.
                unsafe {
                    match (self.job.columns, self.count) {
                        $(
                            ($columns, 1) if $columns <= width => s.apart(Sums::<$columns, 1, WHOLE>(self)),
                            ($columns, 2) if $columns <= width => s.apart(Sums::<$columns, 2, WHOLE>(self)),
                            ($columns, _) if $columns <= width && most < 4 => s.apart(Sums::<$columns, 3, WHOLE>(self)),
                            ($columns, _) if $columns <= width => s.apart(Sums::<$columns, 4, WHOLE>(self)),
                        )*
                        (columns, _) => unreachable!("{columns} columns"),
                    }
                }
            };
        }
        columns!(1 2 3 4 5 6 7 8)
    }
}

/// The sums of some vectors of rows, as a function of its own.
struct Sums<'a, const COLUMNS: usize, const VECTORS: usize, const WHOLE: bool>(&'a Group<'a>);

impl<const COLUMNS: usize, const VECTORS: usize, const WHOLE: bool> Apart
    for Sums<'_, COLUMNS, VECTORS, WHOLE>
{
    /// # Safety
    /// As `Group::columns`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        let Group {
            job, turn, rows, ..
        } = self.0;
        let counts: [usize; VECTORS] = std::array::from_fn(|v| rows[v].1);
        // SAFETY: the caller's.
        unsafe {
            let a: [*const f32; VECTORS] =
                std::array::from_fn(|v| job.a.add(job.rows[rows[v].0] as usize));
            let mut b = job.b;
            let mut total = [[s.zero(); VECTORS]; COLUMNS];
            for terms in job.terms.chunks(*turn) {
                let mut acc = [[s.zero(); VECTORS]; COLUMNS];
                for &term in terms {
                    let mut x = [s.zero(); VECTORS];
                    for v in 0..VECTORS {
                        let from = a[v].add(term as usize);
                        x[v] = if WHOLE {
                            s.load(from)
                        } else {
                            s.load_first(from, counts[v])
                        };
                    }
                    for (j, acc) in acc.iter_mut().enumerate() {
                        let weight = s.broadcast(b.add(j));
                        for v in 0..VECTORS {
                            acc[v] = s.fma(x[v], weight, acc[v]);
                        }
                    }
                    // Panels are a vector wide.
                    b = b.add(S::LANES);
                }
                for (total, acc) in total.iter_mut().zip(&acc) {
                    for (total, &acc) in total.iter_mut().zip(acc) {
                        *total = s.add(*total, acc);
                    }
                }
            }
            for (j, total) in total.iter().enumerate() {
                let bias = s.splat(job.bias.map_or(0.0, |bias| bias[j]));
                for (v, &sum) in total.iter().enumerate() {
                    job.put_rows(s, s.add(sum, bias), [rows[v].0, j], counts[v]);
                }
            }
        }
    }
}
