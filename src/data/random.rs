//! Random numbers that depend on what they are for, never on when or by which thread they are asked for.
//!
//! ```text
//! h = 0;  for each part:  h = mix(h + golden ratio + part)      generator seeded with h
//! ```
//!
//! `mix` is the last step of SplitMix64: one to one, and each bit of its input reaches every bit of the result.

use fastrand::Rng;

/// What numbers are for: those for different ends are unrelated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The order of the examples of an epoch.
    Order = 1,
    /// The augmentation of an example.
    Augment = 2,
    /// The examples of a class that are held back for testing.
    Split = 3,
    /// What Dropout drops in a step.
    Drop = 4,
}

/// The generator for one thing: an epoch, an example of an epoch, a class.
pub(crate) fn generator(seed: u64, end: End, parts: &[u64]) -> Rng {
    let start = mix(mix(seed.wrapping_add(GOLDEN)).wrapping_add(end as u64));
    let state = parts.iter().fold(start, |state, &part| {
        mix(state.wrapping_add(GOLDEN).wrapping_add(part))
    });
    Rng::with_seed(state)
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_thing_has_numbers_of_its_own() {
        let first = |seed, end, parts: &[u64]| generator(seed, end, parts).u64(..);
        assert_eq!(
            first(7, End::Augment, &[1, 2]),
            first(7, End::Augment, &[1, 2])
        );
        let mut seen = BTreeSet::new();
        for seed in [0, 1, u64::MAX] {
            for end in [End::Order, End::Augment, End::Split] {
                seen.insert(first(seed, end, &[]));
                for epoch in 0..10 {
                    seen.insert(first(seed, end, &[epoch]));
                    for index in 0..100 {
                        seen.insert(first(seed, end, &[epoch, index]));
                    }
                }
            }
        }
        assert_eq!(seen.len(), 3 * 3 * (1 + 10 + 1000));
    }
}
