//! The one parallel loop: tiles of an output, written by whichever thread is free.
//!
//! ```text
//! for_each_tile(out [a, b, …], block, body):
//!     out no larger than block on every axis?  body(origin, out)
//!     else: cut the axis with the most blocks at a multiple of its block length; do both halves
//! ```
//!
//! Cutting is ndarray's `split_at`, so two tiles can never overlap and no `unsafe` is needed, however
//! the rows of the tiles interleave in memory. Results are bitwise the same for any pool: a cut never falls
//! inside a sum, and where the cuts of a sum itself matter they depend on the shape alone.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ndarray::{ArrayViewMut, Axis, Dimension};

use crate::error::Result;

/// Most scratch lanes of one call: more threads than this wait for a lane.
const MAX_LANES: usize = 64;

/// Multiply-adds below which waking a second thread costs more than it saves.
///
/// At the peak of an AVX-512 core 2²⁰ multiply-adds take 12 µs, the order of a wake-up. Not tuned by a bench.
pub(crate) const SERIAL_BELOW: u128 = 1 << 20;

thread_local! {
    /// The most threads that work begun on this one may use.
    static SHARE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Those of the pool in force, or the share of them that [`within`] left.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads().min(SHARE.get())
}

/// Runs `work`, which begins parallel work for at most `threads` threads: others have work of their own.
#[cfg(feature = "network")]
pub(crate) fn within<R>(threads: usize, work: impl FnOnce() -> R) -> R {
    struct Before(usize);
    impl Drop for Before {
        fn drop(&mut self) {
            SHARE.set(self.0);
        }
    }
    let _before = Before(SHARE.replace(threads));
    work()
}

/// The threads that a piece of work of `multiply_adds` may use: those of the pool in force, or one.
pub(crate) fn threads_for(multiply_adds: u128) -> usize {
    threads_from(multiply_adds, SERIAL_BELOW)
}

/// [`threads_for`] with the caller's own threshold.
pub(crate) fn threads_from(multiply_adds: u128, serial_below: u128) -> usize {
    if multiply_adds < serial_below {
        1
    } else {
        threads().min(MAX_LANES)
    }
}

/// Calls `body(origin, tile)` for every tile of `out`, at most `block` long on each axis.
///
/// Tiles begin at multiples of `block`. With `parallel` they run on the rayon pool in force.
pub(crate) fn for_each_tile<T, D, F, const AXES: usize>(
    out: ArrayViewMut<'_, T, D>,
    block: [usize; AXES],
    parallel: bool,
    body: &F,
) where
    T: Send,
    D: Dimension,
    F: Fn([usize; AXES], ArrayViewMut<'_, T, D>) + Sync,
{
    let infallible = |origin, tile: ArrayViewMut<'_, T, D>| {
        body(origin, tile);
        Ok(())
    };
    // Nothing in it can fail.
    let _: Result<()> = try_for_each_tile(out, block, parallel, &infallible);
}

/// [`for_each_tile`] with a body that can fail; the first error in the order of tiles is returned.
pub(crate) fn try_for_each_tile<T, D, F, const AXES: usize>(
    out: ArrayViewMut<'_, T, D>,
    block: [usize; AXES],
    parallel: bool,
    body: &F,
) -> Result<()>
where
    T: Send,
    D: Dimension,
    F: Fn([usize; AXES], ArrayViewMut<'_, T, D>) -> Result<()> + Sync,
{
    if out.is_empty() {
        return Ok(());
    }
    split(
        out,
        [0; AXES],
        block.map(|length| length.max(1)),
        parallel,
        body,
    )
}

fn split<T, D, F, const AXES: usize>(
    out: ArrayViewMut<'_, T, D>,
    origin: [usize; AXES],
    block: [usize; AXES],
    parallel: bool,
    body: &F,
) -> Result<()>
where
    T: Send,
    D: Dimension,
    F: Fn([usize; AXES], ArrayViewMut<'_, T, D>) -> Result<()> + Sync,
{
    let blocks: [usize; AXES] =
        std::array::from_fn(|axis| out.len_of(Axis(axis)).div_ceil(block[axis]));
    // The outermost axis with the most blocks.
    let axis = (0..AXES)
        .rev()
        .max_by_key(|&axis| blocks[axis])
        .unwrap_or(0);
    if blocks[axis] <= 1 {
        return body(origin, out);
    }
    let cut = blocks[axis] / 2 * block[axis];
    let (left, right) = out.split_at(Axis(axis), cut);
    let mut second = origin;
    second[axis] += cut;
    let first = || split(left, origin, block, parallel, body);
    let second = || split(right, second, block, parallel, body);
    let (first, second) = if parallel {
        join(first, second)
    } else {
        (first(), second())
    };
    first.and(second)
}

/// How long a thread whose part is done looks for other work without falling asleep.
const PATIENCE: Duration = Duration::from_micros(200);

/// `rayon::join` whose first thread stays awake until the second part is done too: rayon's falls asleep after some
/// 15 µs, and to wake it takes 50, as long as a layer.
pub(crate) fn join<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    let begun = AtomicBool::new(false);
    let done = AtomicBool::new(false);
    rayon::join(
        || {
            let result = first();
            // Unless another thread has begun it, this one does the second part next.
            if begun.load(Ordering::Acquire) {
                wait(&done);
            }
            result
        },
        || {
            begun.store(true, Ordering::Release);
            // However it ends, nobody waits for it any longer.
            let _done = Done(&done);
            second()
        },
    )
}

/// Calls `body(index, piece)` for the pieces of `out`, `length` long but for the last, on the rayon pool in force.
///
/// `body` is called through a pointer: so rayon's machinery is compiled once for a type, not for every loop.
pub(crate) fn for_each_piece<T: Send>(
    out: &mut [T],
    length: usize,
    body: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let body = |index: usize, piece: &mut [T]| {
        body(index, piece);
        Ok(())
    };
    // Nothing in it can fail.
    let _: Result<()> = try_for_each_piece(out, length, &body);
}

/// [`for_each_piece`] with a body that can fail; the first error in their order is returned.
pub(crate) fn try_for_each_piece<T: Send>(
    out: &mut [T],
    length: usize,
    body: &(dyn Fn(usize, &mut [T]) -> Result<()> + Sync),
) -> Result<()> {
    pieces(out, length.max(1), 0, threads() > 1, body)
}

/// [`try_for_each_piece`] for the pieces from number `first` on.
fn pieces<T: Send>(
    out: &mut [T],
    length: usize,
    first: usize,
    parallel: bool,
    body: &(dyn Fn(usize, &mut [T]) -> Result<()> + Sync),
) -> Result<()> {
    let count = out.len().div_ceil(length);
    if !parallel || count <= 1 {
        let mut each = out.chunks_mut(length).enumerate();
        return each.try_for_each(|(index, piece)| body(first + index, piece));
    }
    let (left, right) = out.split_at_mut(count / 2 * length);
    let (left, right) = join(
        || pieces(left, length, first, true, body),
        || pieces(right, length, first + count / 2, true, body),
    );
    left.and(right)
}

/// Most threads that are kept awake.
#[cfg(feature = "network")]
const MOST_AWAKE: usize = 8;

/// Runs `work`, many short pieces of parallel work one after another, while the other threads of the pool stay awake
/// between them: to wake one takes as long as a piece.
///
/// `join` offers the waiting first, so that a thread that comes for work finds it. One that came for it inside another
/// piece would keep that from ending, hence the patience.
#[cfg(feature = "network")]
pub(crate) fn awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let others = rayon::current_num_threads()
        .min(MOST_AWAKE)
        .saturating_sub(1);
    let done = AtomicBool::new(false);
    let waiters = || waiters(others, &done);
    let work = || {
        // However the work ends, the others do.
        let _done = Done(&done);
        work()
    };
    rayon::join(work, waiters).0
}

/// Tells those who wait.
struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// So many threads that wait.
#[cfg(feature = "network")]
fn waiters(count: usize, done: &AtomicBool) {
    match count {
        0 => {}
        1 => wait(done),
        _ => {
            rayon::join(
                || waiters(count / 2, done),
                || waiters(count - count / 2, done),
            );
        }
    }
}

/// Does what work there is until `done`, or until there was none for a while.
fn wait(done: &AtomicBool) {
    let mut since = Instant::now();
    while !done.load(Ordering::Acquire) {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => since = Instant::now(),
            _ if since.elapsed() > PATIENCE => break,
            _ => std::hint::spin_loop(),
        }
    }
}

/// Scratch cut into equal lanes; a tile borrows a free one while it runs.
pub(crate) struct Lanes<'s, T> {
    slots: [Mutex<&'s mut [T]>; MAX_LANES],
    count: usize,
}

impl<'s, T> Lanes<'s, T> {
    /// Cuts `scratch` into lanes of `length`, as many as fit, at least one and at most `threads`.
    ///
    /// The caller has checked that one lane fits.
    pub(crate) fn new(mut scratch: &'s mut [T], length: usize, threads: usize) -> Self {
        let fits = scratch.len().checked_div(length).unwrap_or(MAX_LANES);
        let count = fits.min(threads).clamp(1, MAX_LANES);
        let slots = std::array::from_fn(|index| {
            let length = if index < count { length } else { 0 };
            let (lane, rest) = std::mem::take(&mut scratch).split_at_mut(length);
            scratch = rest;
            Mutex::new(lane)
        });
        Self { slots, count }
    }

    /// Runs `body` with a lane. `body` must not start parallel work of its own: the lane would wait for it.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&mut [T]) -> R) -> R {
        let lanes = &self.slots[..self.count];
        let first = rayon::current_thread_index().unwrap_or(0) % self.count;
        let free =
            (0..self.count).find_map(|step| lanes[(first + step) % self.count].try_lock().ok());
        // More threads than lanes: wait for one. A panic elsewhere leaves garbage in scratch, which is what it holds anyway.
        let mut lane: MutexGuard<'_, &mut [T]> =
            free.unwrap_or_else(|| lanes[first].lock().unwrap_or_else(PoisonError::into_inner));
        body(&mut lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use ndarray::Array3;

    #[test]
    fn every_element_is_visited_once_at_block_boundaries() {
        for parallel in [false, true] {
            for (shape, block) in [
                ([5, 7, 11], [2, 3, 4]),
                ([1, 1, 9], [1, 1, 2]),
                ([4, 4, 4], [9, 9, 9]),
                ([3, 0, 2], [1, 1, 1]),
            ] {
                let mut visits = Array3::<u32>::zeros(shape);
                for_each_tile(visits.view_mut(), block, parallel, &|origin, mut tile| {
                    for axis in 0..3 {
                        assert_eq!(origin[axis] % block[axis], 0);
                        assert!(tile.len_of(Axis(axis)) <= block[axis]);
                    }
                    tile += 1;
                });
                assert!(visits.iter().all(|&count| count == 1));
            }
        }
    }

    #[test]
    fn both_parts_are_done_once_however_they_are_divided() {
        fn sum(numbers: &[u64]) -> u64 {
            match numbers {
                [] => 0,
                [one] => *one,
                _ => {
                    let (left, right) = numbers.split_at(numbers.len() / 2);
                    let (left, right) = join(|| sum(left), || sum(right));
                    left + right
                }
            }
        }
        let numbers: Vec<u64> = (0..1000).collect();
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            assert_eq!(pool.install(|| sum(&numbers)), 499_500);
        }
        // A panic in either part comes out, and nobody waits for it.
        for part in 0..2 {
            let caught = std::panic::catch_unwind(|| {
                join(|| assert_ne!(part, 0), || assert_ne!(part, 1));
            });
            assert!(caught.is_err());
        }
    }

    #[test]
    fn pieces_are_numbered_and_the_first_error_comes_out() {
        let mut out = vec![0usize; 23];
        for_each_piece(&mut out, 5, &|index, piece| piece.fill(index));
        let expected: Vec<usize> = (0..23).map(|at| at / 5).collect();
        assert_eq!(out, expected);
        let fails = try_for_each_piece(&mut out, 5, &|index, _| match index {
            0 | 1 => Ok(()),
            index => Err(Error::BufferLength {
                what: "piece",
                expected: index,
                got: 0,
            }),
        });
        let first = Error::BufferLength {
            what: "piece",
            expected: 2,
            got: 0,
        };
        assert_eq!(fails, Err(first));
    }

    #[test]
    fn lanes_are_disjoint_and_waiting_works() {
        let mut scratch = vec![0u8; 10];
        let lanes = Lanes::new(&mut scratch, 4, 8);
        assert_eq!(lanes.count, 2);
        rayon::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|_| {
                    lanes.with(|lane| {
                        assert_eq!(lane.len(), 4);
                        lane.iter_mut().for_each(|byte| *byte += 1);
                    });
                });
            }
        });
        assert_eq!(
            scratch.iter().map(|&byte| u32::from(byte)).sum::<u32>(),
            32 * 4
        );
        assert_eq!(&scratch[8..], [0, 0]);
    }
}
