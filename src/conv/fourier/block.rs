//! One block: windows to spectra, products, spectra to results.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, ArrayViewMut5};
use rustfft::num_complex::Complex;

use super::transform::{Real, Work};
use super::window::{self, Tile};
use super::{Fourier, Part};
use crate::error::{Error, Result};
use crate::gemm::product;
use crate::kernel::{Far, Finish, Left, Product, Turns};
use crate::plan::TOGETHER;

impl<R: Real> Fourier<R> {
    /// A block of the result: channels `channel..` of one group, or of several that are depthwise.
    pub(super) fn block(
        &self,
        (x, weights): (&[R], &[R]),
        part: &Part,
        channel: usize,
        out: &mut ArrayViewMut5<'_, R>,
        scratch: &mut [R],
    ) -> Result<()> {
        let even = scratch.len() / 2 * 2;
        let scratch: &mut [Complex<R>] = bytemuck::cast_slice_mut(&mut scratch[..even]);
        let (lines, rest) = scratch.split_at_mut(self.tiles.lines());
        let (rest, spectra) = rest.split_at_mut(self.tiles.work());
        let mut work = Work { lines, rest };
        if self.tiles.depthwise {
            self.depthwise((x, weights), part, channel, out, spectra, &mut work);
            return Ok(());
        }
        let (f, tiles, sources) = (self.tiles.frequencies(), part.count(), self.tiles.sources);
        let group = channel / self.results;
        let first = channel - group * self.results;
        let results = out.dim().1;
        let (of_source, spectra) = spectra.split_at_mut(tiles * sources * f);
        let (of_result, products) = spectra.split_at_mut(tiles * results * f);
        let mut windows = of_source.chunks_exact_mut(f);
        for tile in part.tiles() {
            for (source, spectrum) in (0..sources).zip(&mut windows) {
                self.transform(x, &tile, group * sources + source, spectrum, &mut work);
            }
        }
        let weights = &weights[group * f * sources * self.panels().columns()..];
        let products: &mut [R] = bytemuck::cast_slice_mut(products);
        let (v, m) = products.split_at_mut(TOGETHER * self.tiles.steps()[0]);
        for begin in (0..f).step_by(TOGETHER) {
            let some = begin..f.min(begin + TOGETHER);
            self.take_apart(of_source, some.clone(), tiles, v);
            for (column, width) in self.panels().each() {
                let wanted = column / 2..((column + width) / 2).min(first + results);
                if wanted.is_empty() || wanted.start < first {
                    continue;
                }
                let panel = &weights[f * sources * column..][..f * sources * width];
                self.multiply(
                    v,
                    tiles,
                    &panel[begin * sources * width..],
                    m,
                    (some.len(), width),
                )?;
                let to = wanted.start - first..wanted.end - first;
                self.join(m, tiles, width, of_result, (results, to), some.clone());
            }
        }
        let mut spectra = of_result.chunks_exact_mut(f);
        for tile in part.tiles() {
            for (index, spectrum) in (0..results).zip(&mut spectra) {
                self.finish(spectrum, &tile, index, out, &mut work);
            }
        }
        Ok(())
    }

    /// V ← some frequencies of the spectra of all windows, real and imaginary parts in rows of their own.
    fn take_apart(&self, spectra: &[Complex<R>], some: Range<usize>, tiles: usize, v: &mut [R]) {
        let (f, sources) = (self.tiles.frequencies(), self.tiles.sources);
        let step = self.tiles.steps()[0];
        for (window, spectrum) in spectra.chunks_exact(f).enumerate() {
            for (at, value) in spectrum[some.clone()].iter().enumerate() {
                v[at * step + window] = value.re;
                v[at * step + tiles * sources + window] = value.im;
            }
        }
    }

    /// The spectra of `results` channels a tile, of which a panel made `to`, ← the products in M.
    fn join(
        &self,
        m: &[R],
        tiles: usize,
        width: usize,
        spectra: &mut [Complex<R>],
        (results, to): (usize, Range<usize>),
        some: Range<usize>,
    ) {
        let (f, step) = (self.tiles.frequencies(), self.tiles.steps()[1]);
        for tile in 0..tiles {
            for (index, result) in to.clone().enumerate() {
                let spectrum = &mut spectra[(tile * results + result) * f..][some.clone()];
                let (re, im) = (tile * width + 2 * index, (tiles + tile) * width + 2 * index);
                for (at, value) in spectrum.iter_mut().enumerate() {
                    let m = &m[at * step..];
                    *value = Complex::new(m[re] - m[im + 1], m[re + 1] + m[im]);
                }
            }
        }
    }

    /// `spectrum` ← that of one window.
    fn transform(
        &self,
        x: &[R],
        tile: &Tile,
        channel: usize,
        spectrum: &mut [Complex<R>],
        work: &mut Work<'_, R>,
    ) {
        let lengths = self.tiles.lengths;
        self.source.read(x, tile, channel, lengths, work.lines);
        self.transform
            .forward(work, self.source.used(tile, lengths), spectrum);
    }

    /// M[f] ← V[f] · U[f] for `count` frequencies and one panel of `width` columns.
    fn multiply(
        &self,
        v: &[R],
        tiles: usize,
        panel: &[R],
        m: &mut [R],
        (count, width): (usize, usize),
    ) -> Result<()> {
        let sources = self.tiles.sources;
        let [v_step, m_step] = self.tiles.steps();
        let each = v
            .chunks_exact(v_step)
            .zip(m.chunks_exact_mut(m_step))
            .zip(panel.chunks_exact(sources * width));
        for ((v, m), u) in each.take(count) {
            let m = &mut m[..2 * tiles * width];
            let (single_v, single_u) = (R::singles(v), R::singles(u));
            if let (Some(a), Some(b), Some(m)) = (single_v, single_u, R::singles_mut(m)) {
                let product = Product {
                    left: Left::Scalars,
                    a,
                    rows: &self.rows[..2 * tiles],
                    terms: &self.terms,
                    b,
                    apart: None,
                    columns: width,
                    turns: Turns::LONG,
                    first: 0,
                    far: Far::Nothing,
                };
                let m = ArrayViewMut2::from_shape((2 * tiles, width), m).map_err(too_short)?;
                product.run(self.tiles.isa, m, &Finish::NONE);
                continue;
            }
            // (2 tiles × channels) · (channels × width) -> (2 tiles × width)
            let matrix = |shape, data| ArrayView2::from_shape(shape, data).map_err(too_short);
            let v = matrix((2 * tiles, sources), &v[..2 * tiles * sources])?;
            let m = ArrayViewMut2::from_shape((2 * tiles, width), m).map_err(too_short)?;
            product(self.engine, v, matrix((sources, width), u)?, R::ZERO, m)?;
        }
        Ok(())
    }

    /// The results of `tile` in channel `channel` of `out` ← `spectrum`, which is lost.
    fn finish(
        &self,
        spectrum: &mut [Complex<R>],
        tile: &Tile,
        channel: usize,
        out: &mut ArrayViewMut5<'_, R>,
        work: &mut Work<'_, R>,
    ) {
        let lengths = self.tiles.lengths;
        let wanted = window::pairs(tile.lengths, [0; 3], lengths);
        self.transform.back(spectrum, wanted, work);
        window::write(work.lines, lengths, tile, channel, out);
    }

    /// Channels `channel..` of the result, each of its own channel of the source.
    fn depthwise(
        &self,
        (x, weights): (&[R], &[R]),
        part: &Part,
        channel: usize,
        out: &mut ArrayViewMut5<'_, R>,
        spectra: &mut [Complex<R>],
        work: &mut Work<'_, R>,
    ) {
        let f = self.tiles.frequencies();
        let spectrum = &mut spectra[..f];
        for index in 0..out.dim().1 {
            let weights = &weights[(channel + index) * 2 * f..][..2 * f];
            let weights: &[Complex<R>] = bytemuck::cast_slice(weights);
            for tile in part.tiles() {
                self.transform(x, &tile, channel + index, spectrum, work);
                for (value, weight) in spectrum.iter_mut().zip(weights) {
                    *value = *value * weight;
                }
                self.finish(spectrum, &tile, index, out, work);
            }
        }
    }
}

fn too_short(_: ndarray::ShapeError) -> Error {
    Error::Overflow { what: "tile" }
}
