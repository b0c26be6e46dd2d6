//! Where values lie: buffers reused as lifetimes end.
//!
//! ```text
//! largest buffer first: among the gaps between those already placed that live at the same time, the smallest
//! that it fits; where there is none, the end
//! ```
//!
//! Every type of elements has its own arena. Offsets are multiples of a cache line.

use super::tensor::DType;
use crate::element::LINE;
use crate::error::{Result, product, sum};

const WHAT: &str = "arena";

/// A buffer and the steps during which it must keep its content, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub dtype: DType,
    /// Elements.
    pub len: usize,
    pub first: usize,
    pub last: usize,
}

/// Where every buffer begins, in elements of its own type, and how long each arena is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    pub offsets: Vec<usize>,
    /// One for every type that has buffers.
    pub arenas: Vec<(DType, usize)>,
}

impl Placement {
    /// Places `buffers`.
    pub fn new(buffers: &[Lifetime]) -> Result<Self> {
        let mut placement = Self {
            offsets: vec![0; buffers.len()],
            arenas: Vec::new(),
        };
        for &dtype in DType::ALL {
            let mut order: Vec<usize> = (0..buffers.len())
                .filter(|&index| buffers[index].dtype == dtype)
                .collect();
            if order.is_empty() {
                continue;
            }
            // Empty ones stay at 0.
            order.retain(|&index| buffers[index].len > 0);
            // Of equals the first one first, so that the result does not depend on the sort.
            order.sort_by_key(|&index| std::cmp::Reverse(buffers[index].len));
            let len = placement.place(buffers, &order)?;
            placement.arenas.push((dtype, len));
        }
        Ok(placement)
    }

    /// Places the buffers of one type in this order; the length of their arena.
    fn place(&mut self, buffers: &[Lifetime], order: &[usize]) -> Result<usize> {
        let mut arena = 0;
        for (rank, &index) in order.iter().enumerate() {
            let buffer = &buffers[index];
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for &other in &order[..rank] {
                if buffers[other].first <= buffer.last && buffer.first <= buffers[other].last {
                    let begin = self.offsets[other];
                    taken.push((begin, sum(WHAT, &[begin, room(&buffers[other])?])?));
                }
            }
            taken.sort_unstable();
            let needed = room(buffer)?;
            let offset = best_gap(&taken, needed);
            self.offsets[index] = offset;
            arena = arena.max(sum(WHAT, &[offset, needed])?);
        }
        Ok(arena)
    }

    /// Bytes of all arenas.
    pub fn bytes(&self) -> Result<usize> {
        let each = self
            .arenas
            .iter()
            .map(|&(dtype, len)| product(WHAT, &[len, dtype.bytes()]))
            .collect::<Result<Vec<_>>>()?;
        sum(WHAT, &each)
    }
}

/// Elements of a buffer, up to whole cache lines.
fn room(buffer: &Lifetime) -> Result<usize> {
    let line = LINE / buffer.dtype.bytes();
    product(WHAT, &[buffer.len.div_ceil(line), line])
}

/// The beginning of the smallest gap of at least `needed` between `taken`, or the end of them all.
fn best_gap(taken: &[(usize, usize)], needed: usize) -> usize {
    let mut best: Option<(usize, usize)> = None;
    let mut end = 0;
    for &(begin, stop) in taken {
        let gap = begin.saturating_sub(end);
        if gap >= needed && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, end));
        }
        end = end.max(stop);
    }
    best.map_or(end, |(_, begin)| begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(len: usize, first: usize, last: usize) -> Lifetime {
        Lifetime {
            dtype: DType::F32,
            len,
            first,
            last,
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Lifetime> = (0..10).map(|step| buffer(160, step, step + 1)).collect();
        let placement = Placement::new(&chain).unwrap();
        assert_eq!(placement.arenas, [(DType::F32, 320)]);
        assert_eq!(placement.bytes().unwrap(), 1280);
    }

    #[test]
    fn the_smallest_gap_is_taken() {
        assert_eq!(best_gap(&[(0, 16), (64, 80), (96, 128)], 16), 80);
        assert_eq!(best_gap(&[(0, 16), (64, 80), (96, 128)], 48), 16);
        assert_eq!(best_gap(&[(0, 16), (64, 80), (96, 128)], 49), 128);
        assert_eq!(best_gap(&[(0, 64), (16, 32), (80, 96)], 16), 64);
        assert_eq!(best_gap(&[], 5), 0);
    }

    #[test]
    fn buffers_that_live_together_never_overlap() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..50 {
            let buffers: Vec<Lifetime> = (0..40)
                .map(|_| {
                    let first = random.usize(..30);
                    buffer(random.usize(..500), first, first + random.usize(..6))
                })
                .collect();
            let placement = Placement::new(&buffers).unwrap();
            for (a, one) in buffers.iter().enumerate() {
                for (b, other) in buffers.iter().enumerate().skip(a + 1) {
                    let together = one.first <= other.last && other.first <= one.last;
                    let (p, q) = (placement.offsets[a], placement.offsets[b]);
                    let apart = p + one.len <= q || q + other.len <= p;
                    assert!(!together || apart || one.len == 0 || other.len == 0);
                }
                assert_eq!(placement.offsets[a] % 16, 0);
                assert!(placement.offsets[a] + one.len <= placement.arenas[0].1);
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_errors() {
        let huge = buffer(usize::MAX / 8, 0, 1);
        assert!(Placement::new(&[huge, huge]).unwrap().bytes().is_err());
        assert!(Placement::new(&[huge; 9]).is_err());
        assert_eq!(Placement::new(&[]).unwrap().bytes(), Ok(0));
    }
}
