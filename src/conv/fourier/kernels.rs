//! The spectra of the weights.
//!
//! ```text
//! h[at] = w[tap]        where the tap stands in the window        U = conj F h / (2 · pixels)
//!
//! dense       [group][panel][f][source channel][width]       a panel: (re, im) of each channel of the result
//! depthwise   [channel][f]                                    (re, im)
//! ```
//!
//! The conjugate makes a correlation of the product; the factor undoes what the transforms leave (`transform.rs`).
//! They are computed in f64 and rounded once.

use super::transform::{Transform, Work};
use crate::element::Element;
use crate::error::Result;
use crate::geometry::{ConvGeometry, SweepAxis};
use crate::kernel::{Isa, Left, Panels};
use crate::plan::{FourierTiles, Pass, TOGETHER, fourier_spectra};
use rustfft::num_complex::Complex;

/// What the spectra of some weights depend on, and the means to make them.
#[derive(Clone, Debug)]
pub(in crate::conv) struct Kernels {
    transform: Transform<f64>,
    isa: Isa,
    groups: usize,
    pub(in crate::conv) backward: bool,
    /// Channels of a group on the side of the source and of the result.
    sources: usize,
    results: usize,
    depthwise: bool,
    /// For every tap of the weight its row and column in a window.
    places: Vec<[usize; 2]>,
    /// Numbers of all weights' spectra, and of f64 that they are made in.
    numbers: usize,
    made_in: usize,
}

impl PartialEq for Kernels {
    fn eq(&self, other: &Self) -> bool {
        let key = |kernels: &Self| {
            (
                kernels.transform.lengths(),
                kernels.isa,
                [kernels.groups, kernels.sources, kernels.results],
                kernels.backward,
            )
        };
        key(self) == key(other) && self.places == other.places
    }
}

impl Eq for Kernels {}

impl Kernels {
    /// The spectra that `pass` wants.
    ///
    /// # Errors
    /// A geometry that has no sweep; more numbers than there can be.
    pub(in crate::conv) fn new(
        geometry: &ConvGeometry,
        pass: Pass,
        tiles: &FourierTiles,
    ) -> Result<Self> {
        let backward = pass == Pass::BackwardInput;
        let axes = super::axes(geometry, pass)?;
        let (outputs, inputs) = (geometry.outputs_per_group(), geometry.channels_per_group());
        let (sources, results) = match backward {
            true => (outputs, inputs),
            false => (inputs, outputs),
        };
        let numbers = fourier_spectra(geometry, tiles, backward)?;
        Ok(Self {
            transform: Transform::new(tiles.lengths),
            isa: tiles.isa,
            groups: geometry.groups(),
            backward,
            sources,
            results,
            depthwise: tiles.depthwise,
            places: places(geometry, &axes, tiles.lengths),
            numbers,
            made_in: tiles.made_in(),
        })
    }

    /// Numbers of all spectra.
    pub(in crate::conv) fn len(&self) -> usize {
        self.numbers
    }

    /// Numbers of f64 that [`prepare`](Self::prepare) works in.
    pub(in crate::conv) fn made_in(&self) -> usize {
        self.made_in
    }

    /// `prepared` ← the spectra of `given`, `[O, C/g, kernel…]`.
    pub(in crate::conv) fn prepare<T: Element>(
        &self,
        given: &[T],
        prepared: &mut [T],
        work: &mut [f64],
    ) {
        let [planes, rows, columns] = self.transform.lengths();
        let f = (columns / 2 + 1) * rows * planes;
        let work: &mut [Complex<f64>] = bytemuck::cast_slice_mut(work);
        let (spectra, work) = work.split_at_mut(TOGETHER / 2 * f);
        let (lines, rest) = work.split_at_mut((planes * rows).div_ceil(2) * columns);
        let mut work = Work { lines, rest };
        if self.depthwise {
            for (channel, prepared) in prepared.chunks_exact_mut(2 * f).enumerate() {
                self.spectrum(given, channel, 0, &mut spectra[..f], &mut work);
                for (pair, value) in prepared.chunks_exact_mut(2).zip(&*spectra) {
                    pair[0] = T::from_f64(value.re);
                    pair[1] = T::from_f64(value.im);
                }
            }
            return;
        }
        let panels = Panels::new(self.isa, Left::Scalars, 2 * self.results);
        let mut begin = 0;
        for group in 0..self.groups {
            for (first, width) in panels.each() {
                let panel = &mut prepared[begin..begin + f * self.sources * width];
                begin += panel.len();
                let results = first / 2..self.results.min((first + width) / 2);
                for source in 0..self.sources {
                    for some in results.clone().step_by(TOGETHER / 2) {
                        let count = (TOGETHER / 2).min(results.end - some);
                        for (result, spectrum) in
                            spectra.chunks_exact_mut(f).take(count).enumerate()
                        {
                            let result = group * self.results + some + result;
                            self.spectrum(given, result, source, spectrum, &mut work);
                        }
                        for at in 0..f {
                            let place = (at * self.sources + source) * width + 2 * some - first;
                            let pairs = panel[place..place + 2 * count].chunks_exact_mut(2);
                            for (pair, spectrum) in pairs.zip(spectra.chunks_exact(f)) {
                                pair[0] = T::from_f64(spectrum[at].re);
                                pair[1] = T::from_f64(spectrum[at].im);
                            }
                        }
                    }
                }
            }
        }
    }

    /// `spectrum` ← U of the kernel between a channel of the result, counted over all groups, and one of its group's
    /// source.
    fn spectrum<T: Element>(
        &self,
        given: &[T],
        result: usize,
        source: usize,
        spectrum: &mut [Complex<f64>],
        work: &mut Work<'_, f64>,
    ) {
        let kernel = if self.backward {
            let group = result / self.results;
            (group * self.sources + source) * self.results + result % self.results
        } else {
            result * self.sources + source
        };
        let columns = self.transform.lengths()[2];
        let pixels: usize = self.transform.lengths().iter().product();
        work.lines.fill(Complex::default());
        for (tap, &[row, column]) in self.places.iter().enumerate() {
            let weight = given[kernel * self.places.len() + tap].to_f64();
            let pair = &mut work.lines[row / 2 * columns + column];
            *if row % 2 == 0 {
                &mut pair.re
            } else {
                &mut pair.im
            } = weight;
        }
        let last = self.places.iter().map(|place| place[0] / 2).max();
        self.transform
            .forward(work, |pair| Some(pair) <= last, spectrum);
        // Twice the spectrum on both sides of the product.
        let scale = 0.25 / pixels as f64;
        for value in spectrum {
            *value = value.conj() * scale;
        }
    }
}

/// Row (planes and rows counted on) and column of every tap in a window, in the order of the weight.
fn places(geometry: &ConvGeometry, axes: &[SweepAxis; 3], lengths: [usize; 3]) -> Vec<[usize; 2]> {
    let kernel = [0, 1, 2].map(|axis| geometry.patch.axes[axis].kernel);
    let taps = geometry.patch.taps();
    let mut places = vec![[0; 2]; taps];
    // With stride 1 there is one phase.
    let of = |axis: usize| axes[axis].phases.iter().flatten();
    for z in of(0) {
        for y in of(1) {
            for x in of(2) {
                let tap = (z.kernel * kernel[1] + y.kernel) * kernel[2] + x.kernel;
                let tap = match geometry.flips_kernel() {
                    true => taps - 1 - tap,
                    false => tap,
                };
                places[tap] = [z.at * lengths[1] + y.at, x.at];
            }
        }
    }
    places
}
