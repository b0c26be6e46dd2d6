//! Plain loops over explicit lists of taps, channels first: what every operator must give.

use gemmconv::pool::NO_ELEMENT;
use gemmconv::{Element, PoolOptions};
use ndarray::{ArrayD, IxDyn};

/// One sliding axis, in the words of the definition.
#[derive(Clone, Copy, Debug)]
pub struct Sliding {
    pub input: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pad: (usize, usize),
    pub ceil: bool,
}

/// One window along one axis: input positions of the taps inside, and how many taps lie on the
/// padded input.
pub type Line = (Vec<usize>, usize);

impl Sliding {
    pub fn lines(&self) -> Vec<Line> {
        let padded = self.pad.0 + self.input + self.pad.1;
        let extent = self.dilation * (self.kernel - 1) + 1;
        let mut lines = Vec::new();
        let mut start = 0;
        while start + extent <= padded
            // In ceil mode one more where the last one stopped short of the end, if it starts before it.
            || (self.ceil && start < self.pad.0 + self.input && start - self.stride + extent < padded)
        {
            let taps = (0..self.kernel).map(|tap| start + tap * self.dilation);
            let counted = taps.clone().filter(|&tap| tap < padded).count();
            let inside = taps.filter(|&tap| tap >= self.pad.0 && tap < self.pad.0 + self.input);
            lines.push((inside.map(|tap| tap - self.pad.0).collect(), counted));
            start += self.stride;
        }
        lines
    }
}

pub fn adaptive_lines(input: usize, output: usize) -> Vec<Line> {
    (0..output)
        .map(|o| {
            let begin = o * input / output;
            let end = ((o + 1) * input).div_ceil(output);
            ((begin..end).collect(), end - begin)
        })
        .collect()
}

/// One window of a plane: flat positions of the taps inside, in row-major order, and the padded count.
pub struct Window {
    pub taps: Vec<usize>,
    pub counted: usize,
}

fn windows(lengths: &[usize], lines: &[Vec<Line>]) -> Vec<Window> {
    let mut windows = vec![Window {
        taps: vec![0],
        counted: 1,
    }];
    for (&length, axis) in lengths.iter().zip(lines) {
        windows = windows
            .iter()
            .flat_map(|outer| {
                axis.iter().map(|(inside, counted)| Window {
                    taps: outer
                        .taps
                        .iter()
                        .flat_map(|tap| inside.iter().map(move |position| tap * length + position))
                        .collect(),
                    counted: outer.counted * counted,
                })
            })
            .collect();
    }
    windows
}

/// What every operator gives for a batch with its channels first.
pub struct Judge {
    pub windows: Vec<Window>,
    pub output_shape: Vec<usize>,
}

impl Judge {
    pub fn new(shape: &[usize], lines: &[Vec<Line>]) -> Self {
        let mut output_shape = shape[..2].to_vec();
        output_shape.extend(lines.iter().map(Vec::len));
        Self {
            windows: windows(&shape[2..], lines),
            output_shape,
        }
    }

    /// `each(plane, window)` for every output.
    pub fn outputs<T, U>(&self, x: &ArrayD<T>, each: impl Fn(&[T], &Window) -> U) -> ArrayD<U> {
        let pixels: usize = x.shape()[2..].iter().product();
        let planes = x.as_slice().unwrap().chunks_exact(pixels);
        let values = planes.flat_map(|plane| {
            self.windows
                .iter()
                .map(|window| each(plane, window))
                .collect::<Vec<_>>()
        });
        ArrayD::from_shape_vec(IxDyn(&self.output_shape), values.collect()).unwrap()
    }

    pub fn argmax<T: Element>(&self, x: &ArrayD<T>) -> ArrayD<usize> {
        self.outputs(x, |plane, window| {
            let mut best = NO_ELEMENT;
            for &tap in &window.taps {
                if best == NO_ELEMENT
                    || plane[tap] > plane[best]
                    || (plane[tap].is_nan() && !plane[best].is_nan())
                {
                    best = tap;
                }
            }
            best
        })
    }

    pub fn max<T: Element>(&self, x: &ArrayD<T>) -> ArrayD<T> {
        self.outputs(x, |plane, window| {
            let mut best = T::NEG_INFINITY;
            for &tap in &window.taps {
                if plane[tap] > best || plane[tap].is_nan() {
                    best = plane[tap];
                }
            }
            best
        })
    }

    pub fn divisor(window: &Window, options: &PoolOptions) -> f64 {
        match options.divisor_override {
            Some(divisor) => divisor as f64,
            None if options.count_include_pad => window.counted as f64,
            None => window.taps.len().max(1) as f64,
        }
    }

    pub fn average<T: Element>(&self, x: &ArrayD<T>, options: &PoolOptions) -> ArrayD<f64> {
        self.outputs(x, |plane, window| {
            let sum: f64 = window.taps.iter().map(|&tap| plane[tap].to_f64()).sum();
            sum / Self::divisor(window, options)
        })
    }

    pub fn norm<T: Element>(&self, x: &ArrayD<T>, p: f64) -> ArrayD<f64> {
        self.outputs(x, |plane, window| {
            let sum: f64 = window
                .taps
                .iter()
                .map(|&tap| plane[tap].to_f64().abs().powf(p))
                .sum();
            sum.powf(1.0 / p)
        })
    }

    /// dx with `share(image and channel, tap, window number)` added at every tap.
    pub fn fold(&self, shape: &[usize], share: impl Fn(usize, usize, usize) -> f64) -> ArrayD<f64> {
        let pixels: usize = shape[2..].iter().product();
        let mut d_input = vec![0.0; shape.iter().product()];
        for (number, plane) in d_input.chunks_exact_mut(pixels).enumerate() {
            for (output, window) in self.windows.iter().enumerate() {
                for &tap in &window.taps {
                    plane[tap] += share(number, tap, output);
                }
            }
        }
        ArrayD::from_shape_vec(IxDyn(shape), d_input).unwrap()
    }
}
