//! How the recipe `fft` cuts its work.
//!
//! ```text
//! a tile:     T results on each axis, made of a window of L = T + reach pixels, L a length that transforms well
//! a block:    images × tiles along each axis; its products take longer than reading the transformed weights
//! spectrum:   F = (L_x / 2 + 1) · L_y · L_z complex numbers of each window; the rest are conjugates of these
//! scratch:    spectra of all windows and results of a block; V [f][re, im][tile][source channel] and
//!             M [f][re, im][tile][column]  of a few frequencies; the lines of one window
//! depthwise:  nothing is summed over channels: a window goes through alone, and neither V nor M is needed
//! ```
//!
//! A result that is computed twice is never right twice: circular convolution of length L gives T results that did not
//! wrap around, the rest is left (overlap-save). Small L waste pixels, large L transforms and weights; the lengths are
//! those with the smallest estimate.

use super::tiles::balanced;
use super::{ALIGN, Pass, sweep_axes};
use crate::geometry::ConvGeometry;
use crate::kernel::{Isa, Left, Panels};

/// Longest transform of an axis: the tables of shorter ones stay in the first cache.
pub(crate) const LONGEST: usize = 4096;

/// Lengths tried on one axis, and how many times longer each is than the one before it, at least: with up to two axes,
/// and with three.
const TRIED: [usize; 2] = [16, 6];
const STEP: [f64; 2] = [1.1, 1.4];

/// Frequencies that go through V and M at a time, two cache lines of each spectrum; and numbers of a spectrum of weights
/// that are put in their places at a time.
pub(crate) const TOGETHER: usize = 16;

/// Complex numbers beyond twice its length that a transform may work in: those of short lengths need more.
pub(crate) const ROOM: usize = 64;

/// Tiles of a block above which more of them save nothing.
const MOST_TILES: usize = 16;

/// Elements that keep one product's matrix from the sets of the cache in which the one before lies.
const APART: usize = 16;

/// How one pass is cut into transforms and products.
///
/// Tiles depend on the geometry, the instruction set and the scratch limit, never on threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FourierTiles {
    /// Instruction set of the products.
    pub isa: Isa,
    /// The length of the transform on each axis, outermost first.
    pub lengths: [usize; 3],
    /// Results of a tile on each axis.
    pub results: [usize; 3],
    /// Images of one block.
    pub images: usize,
    /// Most tiles of a block on each axis.
    pub tiles: [usize; 3],
    /// Channels of the source in one group.
    pub sources: usize,
    /// Channels of the result in one group.
    pub channels: usize,
    /// Numbers of the widest panel of results, two for each channel.
    pub columns: usize,
    /// Whether every channel has a kernel of its own and nothing is summed over channels.
    pub depthwise: bool,
}

/// What a pass asks of an axis: results, and how far beyond one its window reaches.
#[derive(Clone, Copy)]
struct Wanted {
    result: usize,
    reach: usize,
}

impl FourierTiles {
    /// The tiles of one pass with at most `limit` elements of scratch a thread.
    ///
    /// # Errors
    /// The reason why this recipe cannot do this pass.
    pub(super) fn new(
        geometry: &ConvGeometry,
        pass: Pass,
        isa: Isa,
        limit: usize,
        seconds: impl Fn(&Self) -> f64,
    ) -> Result<Self, &'static str> {
        if geometry.patch.axes.iter().any(|axis| axis.stride != 1) {
            return Err("the stride is not 1");
        }
        if pass == Pass::BackwardWeight {
            return Err("it makes no gradients of weights");
        }
        let sweep = sweep_axes(geometry, pass)?;
        let wanted = [0, 1, 2].map(|axis| Wanted {
            result: sweep[axis].result.max(1),
            reach: sweep[axis].reach,
        });
        if wanted.iter().any(|axis| axis.reach >= LONGEST) {
            return Err("the kernel is longer than the longest transform");
        }
        let (sources, results) = match pass {
            Pass::BackwardInput => (geometry.outputs_per_group(), geometry.channels_per_group()),
            _ => (geometry.channels_per_group(), geometry.outputs_per_group()),
        };
        let widest = Panels::new(isa, Left::Scalars, results.saturating_mul(2))
            .each()
            .map(|(_, width)| width);
        let plain = Self {
            isa,
            lengths: [1; 3],
            results: [1; 3],
            images: 1,
            tiles: [1; 3],
            sources,
            channels: results,
            columns: widest.max().unwrap_or(0),
            depthwise: sources == 1 && results == 1,
        };
        let mut best: Option<(f64, Self)> = None;
        let three = usize::from(wanted.iter().all(|axis| axis.reach > 0));
        let [planes, rows, columns] = wanted.map(|axis| lengths(axis, three));
        for &z in &planes {
            for &y in &rows {
                for &x in &columns {
                    let mut most = MOST_TILES;
                    while most > 0 {
                        let mut tiles = Self {
                            lengths: [z, y, x],
                            ..plain
                        };
                        if !tiles.fit(geometry.batch(), wanted, most, limit) {
                            break;
                        }
                        let seconds = seconds(&tiles);
                        if best.as_ref().is_none_or(|(least, _)| seconds < *least) {
                            best = Some((seconds, tiles));
                        }
                        most = match tiles.depthwise {
                            true => 0,
                            false => tiles.block().min(most) / 2,
                        };
                    }
                }
            }
        }
        best.map(|(_, tiles)| tiles)
            .ok_or("a tile does not fit the scratch limit")
    }

    /// The largest block of at most `most` tiles that the limit allows; whether there is one.
    fn fit(&mut self, batch: usize, wanted: [Wanted; 3], mut most: usize, limit: usize) -> bool {
        self.results = [0, 1, 2].map(|axis| self.lengths[axis] - wanted[axis].reach);
        let all = [0, 1, 2].map(|axis| wanted[axis].result.div_ceil(self.results[axis]));
        if self.depthwise {
            // A window at a time needs no room for the others.
            (self.images, self.tiles) = (1, all);
            return self.scratch_len() <= limit;
        }
        if self.columns >= self.channels.saturating_mul(2) {
            // One panel gives two threads nothing to share but tiles.
            let count = all
                .iter()
                .fold(batch, |count, &tiles| count.saturating_mul(tiles));
            most = most.min(count.div_ceil(2)).max(1);
        }
        loop {
            let [planes, rows, columns] = all;
            let plane = rows.saturating_mul(columns);
            self.images = balanced(batch, most / planes.saturating_mul(plane).max(1));
            self.tiles = if most < columns {
                [1, 1, balanced(columns, most)]
            } else if most < plane {
                [1, balanced(rows, most / columns), columns]
            } else {
                [balanced(planes, most / plane), rows, columns]
            };
            if self.scratch_len() <= limit {
                return true;
            }
            match self.block() {
                0 | 1 => return false,
                several => most = several - 1,
            }
        }
    }

    /// Complex numbers of a spectrum.
    pub(crate) fn frequencies(&self) -> usize {
        let [planes, rows, columns] = self.lengths;
        (columns / 2 + 1) * rows * planes
    }

    /// Most tiles of a block; those of a depthwise pass share nothing.
    pub(crate) fn block(&self) -> usize {
        let [planes, rows, columns] = self.tiles;
        let plane = rows.saturating_mul(columns);
        planes.saturating_mul(plane).saturating_mul(self.images)
    }

    /// Elements of V and of M from one frequency to the next.
    pub(crate) fn steps(&self) -> [usize; 2] {
        [self.sources, self.columns].map(|channels| {
            let product = self.block().saturating_mul(2).saturating_mul(channels);
            product.next_multiple_of(16).saturating_add(APART)
        })
    }

    /// Complex numbers of all lines of a window, two of them packed into one.
    pub(crate) fn lines(&self) -> usize {
        let [planes, rows, columns] = self.lengths;
        (planes * rows).div_ceil(2) * columns
    }

    /// Complex numbers that a transform works in: no fewer than the library asks for
    /// (a test goes through all lengths), and a plane to turn round where there are three axes.
    pub(crate) fn work(&self) -> usize {
        let [planes, rows, columns] = self.lengths;
        let turned = if planes > 1 { planes * rows } else { 0 };
        2 * planes.max(rows).max(columns) + turned + ROOM
    }

    /// Numbers of f64 that spectra of weights are made in.
    pub(crate) fn made_in(&self) -> usize {
        let spectra = TOGETHER / 2 * self.frequencies();
        2 * (spectra + self.lines() + self.work())
    }

    /// Elements of the spectra of a block, on both sides.
    pub(crate) fn spectra(&self) -> usize {
        let channels = match self.depthwise {
            true => 1,
            false => self.block().saturating_mul(self.sources + self.channels),
        };
        self.frequencies()
            .saturating_mul(2)
            .saturating_mul(channels)
    }

    /// Elements of scratch that one thread needs.
    pub fn scratch_len(&self) -> usize {
        let window = 2 * (self.lines() + self.work()) + ALIGN;
        let products = match self.depthwise {
            true => 0,
            false => {
                let [v, m] = self.steps();
                v.saturating_add(m).saturating_mul(TOGETHER)
            }
        };
        self.spectra()
            .saturating_add(products)
            .saturating_add(window)
    }
}

/// Lengths that transform well and hold at least one result, no longer than all of them need.
fn lengths(axis: Wanted, three: usize) -> Vec<usize> {
    // Nothing is shared by the windows of neighbours.
    if axis.reach == 0 {
        return vec![1];
    }
    let all = axis.result.saturating_add(axis.reach).min(LONGEST);
    let mut lengths: Vec<usize> = Vec::new();
    let mut length = quick(axis.reach + 1);
    while lengths.len() < TRIED[three] {
        lengths.push(length);
        if length >= all {
            break;
        }
        let next = (length as f64 * STEP[three]).ceil() as usize;
        length = quick(next.max(length + 1).min(all));
    }
    lengths
}

/// The smallest length from `least` on whose transform is quick for its size: 2ᵃ · 3ᵇ with a ≥ 2, five times that where
/// it is a multiple of 40 and no shorter than 80, and the shortest ones.
///
/// Measured with `rustfft` 6.4 and AVX, in f32: 0.08 to 0.13 ns · n log₂ n for these, 0.3 to 0.7 for 10, 18, 20, 50, 90.
pub(crate) fn quick(least: usize) -> usize {
    let is_quick = |&length: &usize| {
        let mut rest = length;
        for prime in [2, 3] {
            while rest.is_multiple_of(prime) {
                rest /= prime;
            }
        }
        match rest {
            1 => length.is_multiple_of(4) || length <= 9,
            5 => length == 5 || (length.is_multiple_of(8) && length >= 80),
            _ => false,
        }
    };
    let least = least.max(1);
    // There is a power of 2 before the end.
    (least..=2 * least).find(is_quick).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ConvOptions;

    #[test]
    fn lengths_transform_well() {
        let lengths_in_order = [
            1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 24, 32, 36, 48, 64, 72, 80, 96,
        ];
        assert_eq!(quick(0), 1);
        for pair in lengths_in_order.windows(2) {
            assert_eq!(quick(pair[0] + 1), pair[1]);
        }
        for three in [0, 1] {
            let near = Wanted {
                result: 40,
                reach: 30,
            };
            let tried = lengths(near, three);
            assert_eq!((tried[0], tried[tried.len() - 1]), (32, 72));
            assert!(tried.is_sorted_by(|a, b| a < b));
            let far = Wanted {
                result: usize::MAX,
                reach: 4000,
            };
            let tried = lengths(far, three);
            assert!(tried.len() <= TRIED[three] && tried.iter().all(|&length| length <= LONGEST));
        }
    }

    #[test]
    fn tiles_cover_the_results_and_fit_the_limit() {
        for (side, kernel, channels, limit) in [
            (56, 31, 64, 4 << 20),
            (9, 3, 5, 1 << 14),
            (200, 15, 3, 1 << 18),
        ] {
            let shape = [2, channels, side, side];
            let options = ConvOptions::new().padding(kernel / 2);
            let geometry =
                ConvGeometry::new(&shape, &[channels, channels, kernel, kernel], &options).unwrap();
            let isa = Isa::selected();
            let seconds = |tiles: &FourierTiles| -(tiles.block() as f64);
            for pass in [Pass::Forward, Pass::BackwardInput] {
                let tiles = FourierTiles::new(&geometry, pass, isa, limit, seconds).unwrap();
                assert!(tiles.scratch_len() <= limit, "{tiles:?}");
                for axis in [1, 2] {
                    assert_eq!(tiles.results[axis] + kernel - 1, tiles.lengths[axis]);
                }
                assert_eq!((tiles.lengths[0], tiles.results[0]), (1, 1));
            }
            let error = FourierTiles::new(&geometry, Pass::Forward, isa, 100, seconds);
            assert_eq!(error, Err("a tile does not fit the scratch limit"));
        }
    }
}
