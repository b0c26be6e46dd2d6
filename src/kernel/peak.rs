//! The machine's peak: fused multiply-adds a second that one thread can issue, measured.
//!
//! ```text
//! acc[i] ← acc[i] · x + y      for i in 0..24 (AVX-512) or 0..12 (AVX2) vectors, again and again
//! peak = 2 · lanes · accumulators · rounds / seconds of the fastest run
//! ```
//!
//! Everything stays in registers, so nothing but the multiply-add units is measured. The chains are
//! independent: two units with a latency of four cycles need eight in flight, and twice or three
//! times as many leave no bubble. The values tend to a fixed point near 1, never to a denormal.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

use super::Isa;
use crate::element::Element;

/// The factor and the summand; the fixed point is SUMMAND / (1 − FACTOR) = 1.
const FACTOR: f64 = 0.999;
const SUMMAND: f64 = 0.001;
const START: f64 = 0.5;

/// Elements of the portable loop's accumulator: eight vectors of 128 bits in f32.
const PLAIN: usize = 32;

/// Runs, and seconds of each: long enough for the clock and for the core to reach its frequency.
const RUNS: usize = 12;
const RUN_SECONDS: f64 = 2e-3;

/// GFLOP/s of fused multiply-add on one thread, two operations each, in the vectors of [`Isa::selected`]: the widest
/// that there are, unless the variable `GEMMCONV_ISA` says otherwise.
///
/// Measured once in a process, in some 30 ms, and remembered. The figure is what one core reaches
/// while the others idle; several at once may run at a lower clock.
///
/// ```
/// let peak = gemmconv::kernel::peak_gflops::<f32>();
/// assert!(peak.is_finite() && peak > 0.0);
/// ```
pub fn peak_gflops<T: Element>() -> f64 {
    static SINGLE: OnceLock<f64> = OnceLock::new();
    static DOUBLE: OnceLock<f64> = OnceLock::new();
    // `Element` is sealed: four bytes are an f32, eight an f64.
    if size_of::<T>() == size_of::<f32>() {
        *SINGLE.get_or_init(|| measure(|rounds| chains_f32(Isa::selected(), rounds)))
    } else {
        *DOUBLE.get_or_init(|| measure(|rounds| chains_f64(Isa::selected(), rounds)))
    }
}

/// What a register loop did: the floating-point operations of a round and where its chains ended.
struct Chains {
    operations_a_round: usize,
    /// The sum over all chains divided by their number.
    mean: f64,
}

/// GFLOP/s of the fastest of several runs of `chains`.
fn measure(chains: impl Fn(usize) -> Chains) -> f64 {
    let seconds = |rounds: usize| {
        let start = Instant::now();
        let result = chains(black_box(rounds));
        black_box(result.mean);
        (
            start.elapsed().as_secs_f64().max(1e-9),
            result.operations_a_round,
        )
    };
    // Double the rounds until one run is long enough.
    let mut rounds = 1 << 10;
    while rounds < 1 << 40 && seconds(rounds).0 < RUN_SECONDS {
        rounds *= 2;
    }
    (0..RUNS)
        .map(|_| seconds(rounds))
        .map(|(seconds, operations)| operations as f64 * rounds as f64 / seconds / 1e9)
        .fold(0.0, f64::max)
}

/// The loop over f32 in the given instruction set.
fn chains_f32(isa: Isa, rounds: usize) -> Chains {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token `Avx512` exists, and its only constructor found AVX-512F on this CPU.
        Isa::Avx512(_) => unsafe { x86::avx512_f32(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token `Avx2Fma` exists, and its only constructor found AVX2 and FMA on this CPU.
        Isa::Avx2Fma(_) => unsafe { x86::avx2_f32(rounds) },
        Isa::Portable => plain_f32(rounds),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512(_) | Isa::Avx2Fma(_) => plain_f32(rounds),
    }
}

/// The loop over f64 in the given instruction set.
fn chains_f64(isa: Isa, rounds: usize) -> Chains {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token `Avx512` exists, and its only constructor found AVX-512F on this CPU.
        Isa::Avx512(_) => unsafe { x86::avx512_f64(rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token `Avx2Fma` exists, and its only constructor found AVX2 and FMA on this CPU.
        Isa::Avx2Fma(_) => unsafe { x86::avx2_f64(rounds) },
        Isa::Portable => plain_f64(rounds),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512(_) | Isa::Avx2Fma(_) => plain_f64(rounds),
    }
}

/// Whether `mul_add` is an instruction in plain code. Elsewhere it is a slow library call, and a
/// multiplication followed by an addition is the fastest the target has.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

fn plain_f32(rounds: usize) -> Chains {
    portable::<f32>(
        rounds,
        |a, x, y| if FUSED { a.mul_add(x, y) } else { a * x + y },
    )
}

fn plain_f64(rounds: usize) -> Chains {
    portable::<f64>(
        rounds,
        |a, x, y| if FUSED { a.mul_add(x, y) } else { a * x + y },
    )
}

/// `PLAIN` chains in plain Rust, which the compiler turns into whatever vectors the target has.
fn portable<T: Element>(rounds: usize, step: impl Fn(T, T, T) -> T) -> Chains {
    let (x, y) = (
        black_box(T::from_f64(FACTOR)),
        black_box(T::from_f64(SUMMAND)),
    );
    let mut chains = [black_box(T::from_f64(START)); PLAIN];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = step(*chain, x, y);
        }
    }
    Chains {
        operations_a_round: 2 * PLAIN,
        mean: mean(chains.iter().map(|&chain| chain.to_f64())),
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::{Chains, FACTOR, START, SUMMAND, mean};

    /// AVX-512 has 32 registers: 24 accumulators and two constants leave some to spare.
    const WIDE: usize = 24;
    /// AVX2 has 16 registers: 12 accumulators and two constants.
    const NARROW: usize = 12;

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512_f32(rounds: usize) -> Chains {
        let x = _mm512_set1_ps(black_box(FACTOR as f32));
        let y = _mm512_set1_ps(black_box(SUMMAND as f32));
        let mut chains = [_mm512_set1_ps(black_box(START as f32)); WIDE];
        for _ in 0..rounds {
            for chain in &mut chains {
                *chain = _mm512_fmadd_ps(*chain, x, y);
            }
        }
        Chains {
            operations_a_round: 2 * 16 * WIDE,
            mean: mean(
                chains
                    .iter()
                    .map(|&chain| f64::from(_mm512_reduce_add_ps(chain)) / 16.0),
            ),
        }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512_f64(rounds: usize) -> Chains {
        let x = _mm512_set1_pd(black_box(FACTOR));
        let y = _mm512_set1_pd(black_box(SUMMAND));
        let mut chains = [_mm512_set1_pd(black_box(START)); WIDE];
        for _ in 0..rounds {
            for chain in &mut chains {
                *chain = _mm512_fmadd_pd(*chain, x, y);
            }
        }
        Chains {
            operations_a_round: 2 * 8 * WIDE,
            mean: mean(
                chains
                    .iter()
                    .map(|&chain| _mm512_reduce_add_pd(chain) / 8.0),
            ),
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2_f32(rounds: usize) -> Chains {
        let x = _mm256_set1_ps(black_box(FACTOR as f32));
        let y = _mm256_set1_ps(black_box(SUMMAND as f32));
        let mut chains = [_mm256_set1_ps(black_box(START as f32)); NARROW];
        for _ in 0..rounds {
            for chain in &mut chains {
                *chain = _mm256_fmadd_ps(*chain, x, y);
            }
        }
        Chains {
            operations_a_round: 2 * 8 * NARROW,
            mean: mean(chains.iter().map(|&chain| {
                // Eight lanes, folded to four, two, one.
                let four = _mm_add_ps(
                    _mm256_castps256_ps128(chain),
                    _mm256_extractf128_ps::<1>(chain),
                );
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                let one = _mm_add_ss(two, _mm_shuffle_ps::<1>(two, two));
                f64::from(_mm_cvtss_f32(one)) / 8.0
            })),
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2_f64(rounds: usize) -> Chains {
        let x = _mm256_set1_pd(black_box(FACTOR));
        let y = _mm256_set1_pd(black_box(SUMMAND));
        let mut chains = [_mm256_set1_pd(black_box(START)); NARROW];
        for _ in 0..rounds {
            for chain in &mut chains {
                *chain = _mm256_fmadd_pd(*chain, x, y);
            }
        }
        Chains {
            operations_a_round: 2 * 4 * NARROW,
            mean: mean(chains.iter().map(|&chain| {
                // Four lanes, folded to two, one.
                let two = _mm_add_pd(
                    _mm256_castpd256_pd128(chain),
                    _mm256_extractf128_pd::<1>(chain),
                );
                let one = _mm_add_sd(two, _mm_unpackhi_pd(two, two));
                _mm_cvtsd_f64(one) / 4.0
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every lane of every chain does the same sum, so the mean is the scalar recurrence itself.
    #[test]
    fn every_instruction_set_computes_the_recurrence() {
        for isa in Isa::available() {
            // Plain code may multiply and add with two roundings.
            let fused = FUSED || isa != Isa::Portable;
            for rounds in [0, 1, 2, 77] {
                let (mut single, mut double) = (START as f32, START);
                for _ in 0..rounds {
                    let (x, y) = (FACTOR as f32, SUMMAND as f32);
                    single = if fused {
                        single.mul_add(x, y)
                    } else {
                        single * x + y
                    };
                    double = if fused {
                        double.mul_add(FACTOR, SUMMAND)
                    } else {
                        double * FACTOR + SUMMAND
                    };
                }
                let close = |got: f64, expected: f64, roundoff: f64| {
                    (got - expected).abs() <= 64.0 * roundoff
                };
                let got = chains_f32(isa, rounds).mean;
                assert!(
                    close(got, f64::from(single), f32::UNIT_ROUNDOFF),
                    "{isa} {rounds}: {got}"
                );
                let got = chains_f64(isa, rounds).mean;
                assert!(
                    close(got, double, f64::UNIT_ROUNDOFF),
                    "{isa} {rounds}: {got}"
                );
            }
        }
    }

    #[test]
    fn the_peak_is_measured_once() {
        let peak = peak_gflops::<f32>();
        assert!(peak.is_finite() && peak > 0.0, "{peak}");
        assert_eq!(peak.to_bits(), peak_gflops::<f32>().to_bits());
        let double = peak_gflops::<f64>();
        assert!(double.is_finite() && double > 0.0, "{double}");
    }
}
