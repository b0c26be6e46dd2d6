//! The timing loop: untimed runs, then runs until the budget is spent.
//!
//! ```text
//! warm-up          caches and branch predictors see the data once; short runs go on until the threads have
//!                  settled on cores of their own, which takes some milliseconds
//! 5 ≤ runs ≤ most  as many as fit into the budget
//! patience         for loops known to be slow: a warm-up longer than it counts as the only run, and
//!                  fewer than five runs will do
//! ```

use std::time::{Duration, Instant};

/// Fewer runs say nothing about the median.
pub(crate) const FEWEST_RUNS: usize = 5;
/// More do not change it.
const MOST_RUNS: usize = 300;
/// Seconds of warming up, unless the budget is smaller.
const WARM_UP: f64 = 0.05;

/// What was measured; `runs` is the number of timed runs, honest where there was only one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Timing {
    pub median_seconds: f64,
    /// Nine of ten runs took no longer, and 99 of 100.
    pub p90_seconds: f64,
    pub p99_seconds: f64,
    pub min_seconds: f64,
    pub runs: usize,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Seconds of timed work.
    pub budget: f64,
    /// Where given, seconds after which fewer than five runs are enough.
    pub patience: Option<f64>,
    /// Runs that are enough even where the budget is not spent.
    pub most: usize,
}

impl Limits {
    /// As many runs as fit into `budget` seconds, at least five and at most 300.
    pub(crate) fn new(budget: f64) -> Self {
        Self {
            budget,
            patience: None,
            most: MOST_RUNS,
        }
    }
}

/// Times `run`, whose first failure ends it.
pub(crate) fn time<E>(limits: Limits, mut run: impl FnMut() -> Result<(), E>) -> Result<Timing, E> {
    let mut timed = || {
        let start = Instant::now();
        run().map(|()| start.elapsed())
    };
    let warm_up = timed()?.as_secs_f64();
    if limits.patience.is_some_and(|patience| warm_up > patience) {
        return Ok(summary(vec![warm_up]));
    }
    let mut warmed = warm_up;
    while warmed < WARM_UP.min(limits.budget) {
        warmed += timed()?.as_secs_f64();
    }
    let mut seconds = Vec::with_capacity(MOST_RUNS);
    let mut spent = Duration::ZERO;
    while seconds.len() < limits.most {
        let one = timed()?;
        spent += one;
        seconds.push(one.as_secs_f64());
        let spent = spent.as_secs_f64();
        let enough = seconds.len() >= FEWEST_RUNS && spent >= limits.budget;
        let too_slow = limits
            .patience
            .is_some_and(|patience| spent >= patience.max(limits.budget));
        if enough || too_slow {
            break;
        }
    }
    Ok(summary(seconds))
}

/// What is to be said of at least one time.
pub(crate) fn summary(mut seconds: Vec<f64>) -> Timing {
    seconds.sort_by(f64::total_cmp);
    let runs = seconds.len();
    let (low, high) = (seconds[(runs - 1) / 2], seconds[runs / 2]);
    // The smallest time that so many of a hundred do not exceed.
    let percentile = |percent: usize| seconds[(runs * percent).div_ceil(100).clamp(1, runs) - 1];
    // A clock that did not move must not divide by zero later.
    Timing {
        median_seconds: ((low + high) / 2.0).max(1e-9),
        p90_seconds: percentile(90).max(1e-9),
        p99_seconds: percentile(99).max(1e-9),
        min_seconds: seconds[0].max(1e-9),
        runs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    fn count(limits: Limits, pause: Duration) -> (Timing, usize) {
        let mut calls = 0;
        let timing = time(limits, || {
            calls += 1;
            sleep(pause);
            Ok::<(), ()>(())
        })
        .unwrap();
        (timing, calls)
    }

    #[test]
    fn median_and_minimum() {
        let odd = summary(vec![3.0, 1.0, 2.0]);
        assert_eq!(
            (odd.median_seconds, odd.min_seconds, odd.runs),
            (2.0, 1.0, 3)
        );
        assert_eq!(summary(vec![4.0, 1.0, 2.0, 3.0]).median_seconds, 2.5);
        assert_eq!(summary(vec![0.0]).median_seconds, 1e-9);
        let many = summary((1..=200).rev().map(f64::from).collect());
        assert_eq!((many.p90_seconds, many.p99_seconds), (180.0, 198.0));
        assert_eq!((odd.p90_seconds, odd.p99_seconds), (3.0, 3.0));
    }

    #[test]
    fn at_least_five_runs_after_one_untimed() {
        let limits = Limits::new(0.0);
        let (timing, calls) = count(limits, Duration::from_millis(1));
        assert_eq!((timing.runs, calls), (5, 6));
        assert!(timing.min_seconds >= 1e-3);
    }

    #[test]
    fn at_most_so_many() {
        let limits = Limits::new(60.0);
        assert_eq!(count(limits, Duration::ZERO).0.runs, MOST_RUNS);
    }

    #[test]
    fn slow_loops_run_once_and_say_so() {
        let limits = Limits {
            patience: Some(0.001),
            ..Limits::new(0.0)
        };
        let (timing, calls) = count(limits, Duration::from_millis(2));
        assert_eq!((timing.runs, calls), (1, 1));
        let limits = Limits {
            patience: Some(0.05),
            ..Limits::new(0.0)
        };
        let (timing, calls) = count(limits, Duration::from_millis(30));
        assert!((1..FEWEST_RUNS).contains(&timing.runs), "{timing:?}");
        assert_eq!(calls, timing.runs + 1);
    }

    #[test]
    fn a_failure_ends_it() {
        let limits = Limits::new(0.0);
        assert_eq!(time(limits, || Err::<(), _>("broken")), Err("broken"));
    }
}
