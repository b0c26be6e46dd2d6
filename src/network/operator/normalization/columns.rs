//! Sums over all pixels of a batch, a number for each channel, in an order that sizes alone give.
//!
//! ```text
//! channels last    rows of channels; narrow ones are joined to rows of up to 64 columns
//! task             so many rows that there are at most 64 tasks; summed for itself, then joined in order
//! channels first   a task is a channel, plane after plane
//! ```
//!
//! What tasks make, f64, stands in the scratch of the session, two words of f32 a number, until it is joined.

use super::{COLUMNS, JOINED, column_sums, itself, squared, sum};
use crate::element::Element;
use crate::error::{Error, Result, product};
use crate::kernel::{Arithmetic, Isa, Loop, compiled};
use crate::parallel::for_each_piece;

/// Elements of a piece of work: some 10 µs.
pub(super) const PIECE: usize = 1 << 15;

/// Most tasks: joining them is not worth a thread.
const MOST: usize = 64;

/// Elements that are read twice while they are in the first-level cache.
const BLOCK: usize = 1 << 13;

/// Numbers that a task makes for each channel.
const MADE: usize = 2;

/// Words of f32 in a number.
const WORDS: usize = 2;

/// Elements of scratch for each task and channel.
const SLOTS: usize = MADE * WORDS;

/// Two numbers for each column.
type Pairs = [[f64; COLUMNS]; MADE];

/// A batch of `[rows, channels]`, or `[images, channels, pixels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    images: usize,
    pub(super) channels: usize,
    /// 1 where the channels are last.
    pub(super) pixels: usize,
    /// Rows of a task; all with the channels first.
    rows: usize,
}

impl Columns {
    /// Of a batch of `shape`, channels first or last.
    ///
    /// # Errors
    /// Fewer than two axes; a batch that does not fit.
    pub fn new(shape: &[usize], last: bool) -> Result<Self> {
        let (channels, pixels) = match (shape, last) {
            ([_, channels], _) => (*channels, 1),
            ([_, channels, pixels @ ..], false) => (*channels, product("an image", pixels)?),
            ([_, .., channels], true) => (*channels, 1),
            _ => {
                return Err(Error::Rank {
                    what: "X",
                    expected: 2,
                    got: shape.len(),
                });
            }
        };
        let len = product("a batch", shape)?;
        let images = match last {
            true => len.checked_div(channels).unwrap_or(0),
            false => shape[0],
        };
        let rows = match pixels {
            1 => {
                let step = (BLOCK / channels.max(1)).max(JOINED);
                let least = images.div_ceil(MOST).max(PIECE.div_ceil(channels.max(1)));
                least.div_ceil(step) * step
            }
            _ => images.max(1),
        };
        Ok(Self {
            images,
            channels,
            pixels,
            rows,
        })
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Elements of a channel.
    pub fn count(&self) -> usize {
        self.images * self.pixels
    }

    fn tasks(&self) -> usize {
        self.images.div_ceil(self.rows)
    }

    /// Elements of scratch.
    pub fn scratch_len(&self) -> usize {
        self.tasks() * self.channels * SLOTS
    }

    /// Pixels whose channels together are a row of columns.
    pub(super) fn joined(&self) -> usize {
        (COLUMNS / self.channels).max(1)
    }

    /// The two numbers of a channel from those of each task, with how many elements they are of, in order.
    fn of_channel<'s>(
        &self,
        scratch: &'s [f32],
        channel: usize,
    ) -> impl Iterator<Item = (f64, [f64; MADE])> + 's {
        let Self {
            images,
            channels,
            pixels,
            rows,
        } = *self;
        (0..self.tasks()).map(move |task| {
            let count = rows.min(images - task * rows) * pixels;
            let slots = &scratch[(task * channels + channel) * SLOTS..];
            (count as f64, [take(slots, 0), take(slots, 1)])
        })
    }

    /// Mean and Σ (x − mean)² of a channel, after [`moments`](Self::moments).
    pub fn moments_of(&self, scratch: &[f32], channel: usize) -> (f64, f64) {
        let mut all = (0.0, 0.0, 0.0);
        for (count, [mean, squares]) in self.of_channel(scratch, channel) {
            join(&mut all, (count, mean, squares));
        }
        (all.1, all.2)
    }

    /// Both sums of a channel, after [`gradient_sums`](Self::gradient_sums).
    pub fn sums_of(&self, scratch: &[f32], channel: usize) -> [f64; MADE] {
        let each = self.of_channel(scratch, channel);
        each.fold([0.0; MADE], |[a, b], (_, [x, y])| [a + x, b + y])
    }

    /// Finds mean and Σ (x − mean)² for every task and channel.
    pub fn moments<T: Element>(&self, x: &[T], scratch: &mut [f32]) {
        let isa = Isa::selected();
        self.run(scratch, &|part, slots| {
            let x = match part {
                Part::Rows(begin, end) => &x[begin..end],
                Part::Channel(_) => x,
            };
            compiled(isa, Moments(*self, x, part, slots));
        });
    }

    /// Finds Σ dy and Σ dy (x − mean) for every task and channel, over the elements that `gate` lets through.
    pub fn gradient_sums<T: Element>(
        &self,
        x: &[T],
        dy: &[T],
        mean: &[T],
        gate: Option<&Gate<T>>,
        scratch: &mut [f32],
    ) {
        let isa = Isa::selected();
        self.run(scratch, &|part, slots| {
            let (x, dy) = match part {
                Part::Rows(begin, end) => (&x[begin..end], &dy[begin..end]),
                Part::Channel(_) => (x, dy),
            };
            let sums = GradientSums {
                columns: *self,
                x,
                dy,
                mean,
                gate,
                part,
                slots,
            };
            compiled(isa, sums);
        });
    }

    fn run(&self, scratch: &mut [f32], body: &(dyn Fn(Part, &mut [f32]) + Sync)) {
        let slots = &mut scratch[..self.scratch_len()];
        if self.pixels > 1 {
            // One task, a channel at a time.
            return for_each_piece(slots, SLOTS, &|channel, slots| {
                body(Part::Channel(channel), slots);
            });
        }
        for_each_piece(slots, self.channels * SLOTS, &|task, slots| {
            let begin = task * self.rows;
            let end = self.images.min(begin + self.rows);
            body(
                Part::Rows(begin * self.channels, end * self.channels),
                slots,
            );
        });
    }
}

/// What a task sums.
#[derive(Clone, Copy)]
enum Part {
    /// Elements from one place to another: whole rows.
    Rows(usize, usize),
    Channel(usize),
}

/// Puts a number into two words.
fn put(slots: &mut [f32], index: usize, value: f64) {
    let bits = value.to_bits();
    // The halves of a word of 64 bits.
    slots[WORDS * index] = f32::from_bits((bits >> 32) as u32);
    slots[WORDS * index + 1] = f32::from_bits(bits as u32);
}

/// The number that [`put`] put there.
fn take(slots: &[f32], index: usize) -> f64 {
    let word = |at: usize| u64::from(slots[WORDS * index + at].to_bits());
    f64::from_bits(word(0) << 32 | word(1))
}

/// Count, mean and Σ (x − mean)² of two samples together (Chan, Golub and LeVeque, 1979).
#[inline(always)]
fn join(all: &mut (f64, f64, f64), (count, mean, squares): (f64, f64, f64)) {
    if count == 0.0 {
        return;
    }
    let total = all.0 + count;
    let apart = mean - all.1;
    all.1 += apart * (count / total);
    all.2 += squares + apart * apart * (all.0 * (count / total));
    all.0 = total;
}

struct Moments<'a, T>(Columns, &'a [T], Part, &'a mut [f32]);

impl<T: Element> Loop for Moments<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        let Self(columns, x, part, slots) = self;
        match part {
            Part::Rows(..) => columns.rows_moments(x, slots),
            Part::Channel(channel) => columns.plane_moments(x, channel, slots),
        }
    }
}

/// The Relu behind a normalisation: it lets through what (x − mean) slope + bias > 0 is, or NaN.
pub(super) struct Gate<'a, T> {
    pub scale: &'a [T],
    /// 1 / √(variance + ε)
    pub slope: &'a [T],
    pub bias: &'a [T],
}

impl<T: Element> Gate<'_, T> {
    /// The slope and the bias of a channel.
    #[inline(always)]
    pub fn of(&self, channel: usize) -> [T; 2] {
        [
            self.scale[channel] * self.slope[channel],
            self.bias[channel],
        ]
    }
}

/// Whether a Relu keeps back what has this distance from the mean: in the same words as the normalisation has it.
#[inline(always)]
pub(super) fn is_shut<T: Element>(distance: T, slope: T, bias: T) -> bool {
    distance * slope + bias <= T::ZERO
}

struct GradientSums<'a, T> {
    columns: Columns,
    x: &'a [T],
    dy: &'a [T],
    mean: &'a [T],
    gate: Option<&'a Gate<'a, T>>,
    part: Part,
    slots: &'a mut [f32],
}

impl<T: Element> Loop for GradientSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<A: Arithmetic>(mut self) {
        match self.part {
            Part::Rows(..) => self.rows(),
            Part::Channel(channel) => self.plane(channel),
        }
    }
}

impl<T: Element> GradientSums<'_, T> {
    #[inline(always)]
    fn rows(&mut self) {
        let (columns, channels) = (self.columns, self.columns.channels);
        for first in (0..channels).step_by(COLUMNS) {
            let width = COLUMNS.min(channels - first);
            let centre = std::array::from_fn(|column| self.mean[first + column % width]);
            let rows = columns
                .rows_of(self.x, first)
                .zip(columns.rows_of(self.dy, first));
            let sums = match self.gate {
                None => pair_sums(rows, &centre, |_, _| false),
                Some(gate) => {
                    let numbers: [_; COLUMNS] =
                        std::array::from_fn(|column| gate.of(first + column % width));
                    let (slope, bias) = (numbers.map(|[slope, _]| slope), numbers.map(|[_, b]| b));
                    pair_sums(rows, &centre, |column, distance| {
                        is_shut(distance, slope[column], bias[column])
                    })
                }
            };
            for column in 0..width {
                let slots = &mut self.slots[(first + column) * SLOTS..];
                put(slots, 0, columns.folded(&sums[0], column));
                put(slots, 1, columns.folded(&sums[1], column));
            }
        }
    }

    #[inline(always)]
    fn plane(&mut self, channel: usize) {
        let columns = self.columns;
        let mut all = [0.0; MADE];
        for image in 0..columns.images {
            let plane = (image * columns.channels + channel) * columns.pixels;
            let plane = plane..plane + columns.pixels;
            let rows = self.x[plane.clone()].chunks(COLUMNS);
            let rows = rows.zip(self.dy[plane].chunks(COLUMNS));
            let centre = [self.mean[channel]; COLUMNS];
            let sums = match self.gate {
                None => pair_sums(rows, &centre, |_, _| false),
                Some(gate) => {
                    let [slope, bias] = gate.of(channel);
                    pair_sums(rows, &centre, |_, distance| is_shut(distance, slope, bias))
                }
            };
            for (all, sums) in all.iter_mut().zip(sums) {
                *all += sums.iter().sum::<f64>();
            }
        }
        put(self.slots, 0, all[0]);
        put(self.slots, 1, all[1]);
    }
}

impl Columns {
    /// Rows of columns from channel `first` on, out of whole pixels.
    #[inline(always)]
    fn rows_of<'x, T>(&self, x: &'x [T], first: usize) -> impl Iterator<Item = &'x [T]> {
        let row = self.joined() * self.channels;
        x.chunks(row)
            .map(move |row| &row[first..row.len().min(first + COLUMNS)])
    }

    /// Adds the columns of one channel to each other.
    #[inline(always)]
    fn folded(&self, sums: &[f64; COLUMNS], column: usize) -> f64 {
        let step = self.channels;
        let columns = self.joined().min(COLUMNS.div_ceil(step));
        (0..columns).fold(0.0, |sum, of| sum + sums[column + of * step])
    }

    #[inline(always)]
    fn rows_moments<T: Element>(&self, x: &[T], slots: &mut [f32]) {
        let channels = self.channels;
        let block = (BLOCK / channels).max(JOINED) * channels;
        for first in (0..channels).step_by(COLUMNS) {
            let width = COLUMNS.min(channels - first);
            let mut all = [(0.0, 0.0, 0.0); COLUMNS];
            for block in x.chunks(block) {
                let count = (block.len() / channels) as f64;
                let sums = column_sums(self.rows_of(block, first), &[T::ZERO; COLUMNS], itself);
                let (mut means, mut centre) = ([0.0; COLUMNS], [T::ZERO; COLUMNS]);
                for (column, mean) in means[..width].iter_mut().enumerate() {
                    *mean = self.folded(&sums, column) / count;
                }
                for (column, centre) in centre.iter_mut().enumerate() {
                    *centre = T::from_f64(means[column % width]);
                }
                let sums = column_sums(self.rows_of(block, first), &centre, squared);
                for column in 0..width {
                    let mean = means[column];
                    // The centre is rounded.
                    let off = mean - centre[column].to_f64();
                    let squares = self.folded(&sums, column) - count * off * off;
                    join(&mut all[column], (count, mean, squares.max(0.0)));
                }
            }
            for (column, all) in all[..width].iter().enumerate() {
                let slots = &mut slots[(first + column) * SLOTS..];
                put(slots, 0, all.1);
                put(slots, 1, all.2);
            }
        }
    }

    #[inline(always)]
    fn plane_moments<T: Element>(&self, x: &[T], channel: usize, slots: &mut [f32]) {
        let mut all = (0.0, 0.0, 0.0);
        for image in 0..self.images {
            let plane = (image * self.channels + channel) * self.pixels;
            for block in x[plane..plane + self.pixels].chunks(BLOCK) {
                let count = block.len() as f64;
                let mean = sum(block, T::ZERO, itself) / count;
                let centre = T::from_f64(mean);
                let off = mean - centre.to_f64();
                let squares = sum(block, centre, squared) - count * off * off;
                join(&mut all, (count, mean, squares.max(0.0)));
            }
        }
        put(slots, 0, all.1);
        put(slots, 1, all.2);
    }
}

/// Σ dy and Σ dy (x − centre) of every column, without the elements that `shut(column, x − centre)`; rows have at most
/// [`COLUMNS`] elements.
#[inline(always)]
fn pair_sums<'x, T: Element>(
    rows: impl Iterator<Item = (&'x [T], &'x [T])>,
    centre: &[T; COLUMNS],
    shut: impl Fn(usize, T) -> bool,
) -> Pairs {
    let mut sums = [[0.0; COLUMNS]; MADE];
    let mut parts = [[T::ZERO; COLUMNS]; MADE];
    for (number, (x, dy)) in rows.enumerate() {
        let [own, products] = &mut parts;
        let mut add = |column: usize, x: T, dy: T| {
            let distance = x - centre[column];
            let dy = if shut(column, distance) { T::ZERO } else { dy };
            own[column] += dy;
            products[column] += dy * distance;
        };
        // A whole row is a loop of known length.
        match (<&[T; COLUMNS]>::try_from(x), <&[T; COLUMNS]>::try_from(dy)) {
            (Ok(x), Ok(dy)) => (0..COLUMNS).for_each(|column| add(column, x[column], dy[column])),
            _ => {
                for (column, (&x, &dy)) in x.iter().zip(dy).enumerate() {
                    add(column, x, dy);
                }
            }
        }
        if number % JOINED == JOINED - 1 {
            super::join(&mut sums[0], &mut parts[0]);
            super::join(&mut sums[1], &mut parts[1]);
        }
    }
    super::join(&mut sums[0], &mut parts[0]);
    super::join(&mut sums[1], &mut parts[1]);
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, seed: u64, mean: f64) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..len).map(|_| mean + random.f64() - 0.5).collect()
    }

    /// All sizes around those of rows, blocks and tasks, against plain sums.
    #[test]
    fn moments_and_sums_are_those_of_plain_loops() {
        for (shape, last) in [
            (&[7, 5][..], false),
            (&[300, 1], false),
            (&[2, 3, 2, 2], false),
            (&[2, 3, 90, 100], false),
            (&[3, 9, 2, 16], true),
            (&[3, 9, 2, 21], true),
            (&[2, 5, 7, 32], true),
            (&[2, 5, 7, 33], true),
            (&[2, 5, 7, 64], true),
            (&[2, 5, 7, 150], true),
            (&[3, 150, 150, 3], true),
        ] {
            let columns = Columns::new(shape, last).unwrap();
            let len = shape.iter().product();
            let (x, dy) = (numbers(len, 1, 3.0), numbers(len, 2, 0.0));
            let singles: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            let mut scratch = vec![f32::NAN; columns.scratch_len()];
            let channels = columns.channels();
            let channel_of = |at: usize| match columns.pixels {
                1 => at % channels,
                pixels => at / pixels % channels,
            };
            let count = columns.count() as f64;
            let mut means = vec![0.0; channels];
            for (at, x) in x.iter().enumerate() {
                means[channel_of(at)] += x / count;
            }
            let mut expected = vec![[0.0; 3]; channels];
            for (at, (x, dy)) in x.iter().zip(&dy).enumerate() {
                let channel = channel_of(at);
                let off = x - means[channel];
                expected[channel][0] += off * off;
                expected[channel][1] += dy;
                expected[channel][2] += dy * off;
            }
            let near = |got: f64, want: f64, limit: f64, what: &str| {
                let error = (got - want).abs();
                assert!(error <= limit * count, "{shape:?} {what}: {got}, {want}");
            };
            columns.moments(&x, &mut scratch);
            for (channel, expected) in expected.iter().enumerate() {
                let (mean, squares) = columns.moments_of(&scratch, channel);
                near(mean * count, means[channel] * count, 1e-13, "mean");
                near(squares, expected[0], 1e-13, "squares");
            }
            columns.gradient_sums(&x, &dy, &means, None, &mut scratch);
            for (channel, expected) in expected.iter().enumerate() {
                let [own, products] = columns.sums_of(&scratch, channel);
                near(own, expected[1], 1e-13, "dy");
                near(products, expected[2], 1e-13, "products");
            }
            columns.moments(&singles, &mut scratch);
            for (channel, expected) in expected.iter().enumerate() {
                let (mean, squares) = columns.moments_of(&scratch, channel);
                near(mean * count, means[channel] * count, 1e-6, "mean of f32");
                near(squares, expected[0], 1e-6, "squares of f32");
            }
        }
    }

    /// A mean of ten thousand deviations, and an element far from all others at the beginning.
    #[test]
    fn far_from_zero_and_with_an_outlier() {
        for last in [false, true] {
            let shape = if last { [4, 60, 60, 8] } else { [4, 8, 60, 60] };
            let columns = Columns::new(&shape, last).unwrap();
            let mut x: Vec<f32> = numbers(4 * 8 * 3600, 3, 0.0)
                .into_iter()
                .map(|x| x as f32 + 3000.0)
                .collect();
            x[0] = 9000.0;
            let of_first = x.iter().enumerate().filter(|(at, _)| match last {
                true => at % 8 == 0,
                false => at / 3600 % 8 == 0,
            });
            let own: Vec<f64> = of_first.map(|(_, &x)| x.into()).collect();
            let mean = own.iter().sum::<f64>() / own.len() as f64;
            let squares: f64 = own.iter().map(|x| (x - mean).powi(2)).sum();
            let mut scratch = vec![0.0; columns.scratch_len()];
            columns.moments(&x, &mut scratch);
            let (got, got_squares) = columns.moments_of(&scratch, 0);
            assert!((got - mean).abs() < 1e-3, "{got}, {mean}");
            let error = (got_squares / squares - 1.0).abs();
            assert!(error < 1e-6, "{got_squares}, {squares}");
        }
    }
}
