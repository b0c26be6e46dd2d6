//! Axes of diagrams: which numbers they show, where their ticks are, and from numbers to pixels.

/// Largest loss over the smallest.
const LOGARITHMIC: f64 = 20.0;

/// From numbers to pixels.
pub(super) struct Axis {
    low: f64,
    high: f64,
    pub logarithmic: bool,
    /// Where lines cross the diagram, and what stands beside them.
    pub ticks: Vec<(f64, String)>,
}

/// The least and the greatest of `values`; none where there are none.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((f64::min(low, value), f64::max(high, value)))
    })
}

impl Axis {
    pub fn of_epochs(first: f64, last: f64) -> Self {
        let space = (0.03 * (last - first)).max(0.25);
        let mut axis = Self::linear(first - space, last + space, 1.0, 10);
        axis.ticks.retain(|&(at, _)| (first..=last).contains(&at));
        axis
    }

    /// From 0 where that is near.
    pub fn of_loss(values: impl Iterator<Item = f64>) -> Self {
        let Some((low, high)) = range(values) else {
            return Self::linear(0.0, 1.0, 0.0, 8);
        };
        if low > 0.0 && high / low > LOGARITHMIC {
            return Self::logarithmic(low / 1.15, high * 1.15);
        }
        let space = match high - low {
            some if some > 1e-6 * high.abs() => 0.06 * some,
            _ if high == 0.0 => 1.0,
            _ => 0.1 * high.abs(),
        };
        let start = match low >= 0.0 && low < 0.4 * high {
            true => 0.0,
            false => low - space,
        };
        Self::linear(start, high + space, 0.0, 8)
    }

    /// Within 0 to 100, at least one wide.
    pub fn of_accuracy(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = range(values).unwrap_or((0.0, 100.0));
        let space = (0.06 * (high - low)).max(0.5);
        // What is not a share has no bounds to keep to.
        let bounds = (low.min(0.0), high.max(100.0));
        let (start, end) = ((low - space).max(bounds.0), (high + space).min(bounds.1));
        Self::linear(start, end, 0.0, 8)
    }

    /// Ticks at multiples of 1, 2 or 5 times a power of ten, `least` or more apart, about `count` of them.
    fn linear(low: f64, high: f64, least: f64, count: u32) -> Self {
        let rough = ((high - low) / f64::from(count)).max(least);
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|&step| step >= 0.999 * rough);
        let step = step.unwrap_or(10.0 * power);
        let decimals = (-step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
        let plain = step >= 1e-6 && low.abs().max(high.abs()) < 1e6;
        let first = (low / step).ceil();
        let ticks = (0..=2 * count)
            .map(|index| (first + f64::from(index)) * step)
            .take_while(|&at| at <= high)
            .map(|at| match plain {
                // −0 is 0.
                true => (at, format!("{:.decimals$}", at + 0.0)),
                false => (at, format!("{at:.2e}")),
            })
            .collect();
        Self {
            low,
            high,
            logarithmic: false,
            ticks,
        }
    }

    /// Ticks at powers of ten, and at 2 and 5 times them where these are few.
    fn logarithmic(low: f64, high: f64) -> Self {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let decades = last - first;
        let factors: &[i32] = match decades {
            ..=3 => &[1, 2, 5],
            _ => &[1],
        };
        let apart = usize::try_from(decades / 8 + 1).unwrap_or(1);
        let ticks = (first..=last)
            .step_by(apart)
            .flat_map(|power| {
                factors
                    .iter()
                    .map(move |factor| format!("{factor}e{power}"))
            })
            .filter_map(|text| {
                let at: f64 = text.parse().ok()?;
                let plain = (1e-4..1e5).contains(&at);
                Some((at, if plain { at.to_string() } else { text }))
            })
            .filter(|&(at, _)| (low..=high).contains(&at))
            .collect();
        Self {
            low,
            high,
            logarithmic: true,
            ticks,
        }
    }

    /// Where `value` lies from `start` to `end`.
    pub fn pixel(&self, value: f64, start: i32, end: i32) -> i32 {
        let share = match self.logarithmic {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        start + (share * f64::from(end - start)).round() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let labels = |axis: &Axis| -> Vec<String> {
            axis.ticks.iter().map(|(_, label)| label.clone()).collect()
        };
        assert_eq!(
            labels(&Axis::of_epochs(1.0, 5.0)),
            ["1", "2", "3", "4", "5"]
        );
        assert_eq!(
            labels(&Axis::of_epochs(1.0, 90.0)),
            ["10", "20", "30", "40", "50", "60", "70", "80", "90"]
        );
        assert_eq!(
            labels(&Axis::of_accuracy([98.0, 99.2].into_iter())),
            ["97.5", "98.0", "98.5", "99.0", "99.5"]
        );
        let loss = Axis::of_loss([0.013, 2.3].into_iter());
        assert_eq!(
            labels(&loss),
            ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]
        );
        assert_eq!(
            labels(&Axis::of_loss([1e-6, 1e20].into_iter())),
            ["0.001", "10", "1e5", "1e9", "1e13", "1e17"]
        );
        for axis in [&loss, &Axis::linear(0.0, 1e-9, 0.0, 8)] {
            assert!(axis.ticks.len() > 3 && axis.ticks.len() < 14);
            for (at, _) in &axis.ticks {
                assert!((0..=100).contains(&axis.pixel(*at, 0, 100)));
            }
        }
    }
}
