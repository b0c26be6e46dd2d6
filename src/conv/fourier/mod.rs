//! Convolution by Fourier transforms of overlapping tiles, forward and backward input.
//!
//! ```text
//! for each block of tiles (in parallel):
//!     X[tile, channel] ← F window  of every tile and channel                          window.rs, transform.rs
//!     for some frequencies f at a time, each panel of results, each f:
//!         V (2 tiles × channels) ← X[f]
//!         M (2 tiles × 2 columns) ← V · U[f] (channels × 2 columns)
//!         Y[tile, column][f] ← (M_rr − M_ii) + i (M_ri + M_ir)
//!     y ← F⁻¹ Y,  what did not wrap around of it;  epilogue
//! ```
//!
//! Complex products are real ones of the real and imaginary parts: V has two rows for each tile, U two columns for
//! each channel, interleaved, and M all four products. U is made by `prepare` (`kernels.rs`). In f32 the product is
//! that of `kernel/`, in f64 an engine's. A depthwise window is transformed, multiplied and transformed back by itself.
//!
//! A dilated kernel is a large one here. Numbers of a tile share their rounding, as in Winograd's algorithm.

mod kernels;
mod transform;
mod window;

pub(super) use kernels::Kernels;

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayView2, ArrayViewMut2, ArrayViewMut5, Axis};
use rustfft::num_complex::Complex;

use self::transform::{Real, Transform, Work};
use self::window::{Source, Tile};
use super::epilogue::Epilogue;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::gemm::{Engine, product};
use crate::geometry::{ConvGeometry, Layout, SweepAxis};
use crate::kernel::{Finish, Left, Panels, Product, SUM, offsets};
use crate::parallel::{Lanes, try_for_each_tile};
use crate::plan::{FourierTiles, Pass, TOGETHER, sweep_axes};
use crate::unfold::planes;

/// Channels of one task of a depthwise pass.
const CHANNELS: usize = 4;

/// A pass by Fourier transforms, whatever its elements.
pub(super) trait FourierPass<T: Element>: fmt::Debug + Send + Sync {
    /// `y` ← epilogue(sums over the windows of `x`). Lengths have been checked.
    fn run(
        &self,
        x: &[T],
        weights: &[T],
        epilogue: &Epilogue<'_, T>,
        y: &mut [T],
        lanes: &Lanes<'_, T>,
        threads: usize,
    ) -> Result<()>;
}

/// The pass of `geometry` for elements of type `T`.
///
/// # Errors
/// A geometry that has no sweep; no memory for the tables.
pub(super) fn pass<T: Element>(
    geometry: &ConvGeometry,
    pass: Pass,
    tiles: &FourierTiles,
    engine: &'static dyn Engine<T>,
) -> Result<Arc<dyn FourierPass<T>>> {
    fn made<R: Real>(
        geometry: &ConvGeometry,
        pass: Pass,
        tiles: &FourierTiles,
        engine: &dyn Any,
    ) -> Result<Option<Arc<dyn FourierPass<R>>>> {
        // `Element` is sealed: T is the type of exactly one of the two.
        let Some(engine) = engine.downcast_ref::<&'static dyn Engine<R>>() else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Fourier::new(
            geometry, pass, tiles, *engine,
        )?)))
    }
    let single = made::<f32>(geometry, pass, tiles, &engine)?;
    let double = made::<f64>(geometry, pass, tiles, &engine)?;
    let (single, double): (&dyn Any, &dyn Any) = (&single, &double);
    let found: Option<&Option<Arc<dyn FourierPass<T>>>> =
        single.downcast_ref().or_else(|| double.downcast_ref());
    found.cloned().flatten().ok_or(Error::Unsupported {
        what: "fft",
        wanted: "the elements are neither f32 nor f64",
    })
}

/// The axes of a pass, from its source to its result.
fn axes(geometry: &ConvGeometry, pass: Pass) -> Result<[SweepAxis; 3]> {
    sweep_axes(geometry, pass).map_err(|wanted| Error::Unsupported {
        what: "fft",
        wanted,
    })
}

/// The tables of a pass.
#[derive(Debug)]
struct Fourier<R: Real> {
    source: Source,
    tiles: FourierTiles,
    transform: Transform<R>,
    engine: &'static dyn Engine<R>,
    batch: usize,
    groups: usize,
    /// Channels of the result in one group.
    results: usize,
    /// Rows and channels in V.
    rows: Vec<u32>,
    terms: Vec<u32>,
}

impl<R: Real> Fourier<R> {
    fn new(
        geometry: &ConvGeometry,
        pass: Pass,
        tiles: &FourierTiles,
        engine: &'static dyn Engine<R>,
    ) -> Result<Self> {
        let results = match pass {
            Pass::BackwardInput => geometry.channels_per_group(),
            _ => geometry.outputs_per_group(),
        };
        // Depthwise there are no products.
        let [rows, terms] = match tiles.depthwise {
            true => [0; 2],
            false => [2 * tiles.block(), tiles.sources],
        };
        Ok(Self {
            source: Source::new(geometry, pass)?,
            tiles: *tiles,
            transform: Transform::new(tiles.lengths),
            engine,
            batch: geometry.batch(),
            groups: geometry.groups(),
            results,
            rows: offsets((0..rows).map(|row| row * tiles.sources))?,
            terms: offsets(0..terms)?,
        })
    }

    fn panels(&self) -> Panels {
        Panels::new(self.tiles.isa, Left::Scalars, 2 * self.results)
    }

    /// Results of one image that a block spans on each axis.
    fn span(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.tiles.tiles[axis].saturating_mul(self.tiles.results[axis]))
    }

    /// Channels of the result of one task: all of a group, unless threads would find nothing to do.
    fn channels_per_task(&self, threads: usize) -> usize {
        if self.tiles.depthwise {
            return CHANNELS;
        }
        let span = self.span();
        let blocks: usize = (0..3)
            .map(|axis| self.source.axes[axis].result.div_ceil(span[axis]))
            .fold(1, usize::saturating_mul);
        let tasks = self.batch.div_ceil(self.tiles.images) * blocks * self.groups;
        if threads < 2 || tasks >= 2 * threads || self.groups > 1 {
            return self.results;
        }
        // Every task transforms the whole source anew.
        let fair = self.results.div_ceil(threads.div_ceil(tasks.max(1)));
        (self.panels().cut(2 * fair) / 2).clamp(1, self.results)
    }

    /// A block of the result: channels `channel..` of one group, or of several that are depthwise.
    fn block(
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
                    columns: width,
                    turn: SUM,
                    first: 0,
                    far: false,
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

impl<R: Real> FourierPass<R> for Fourier<R> {
    fn run(
        &self,
        x: &[R],
        weights: &[R],
        epilogue: &Epilogue<'_, R>,
        y: &mut [R],
        lanes: &Lanes<'_, R>,
        threads: usize,
    ) -> Result<()> {
        let [planes_, rows, columns] = [0, 1, 2].map(|axis| self.source.axes[axis].result);
        let channels = self.groups * self.results;
        let shape = [self.batch, channels, planes_ * rows * columns];
        let residual = epilogue
            .residual
            .map(|residual| planes(self.source.layout, shape, residual))
            .transpose()?;
        let got = y.len();
        let y = match self.source.layout {
            Layout::ChannelsFirst => {
                ArrayViewMut5::from_shape([self.batch, channels, planes_, rows, columns], y)
            }
            Layout::ChannelsLast => {
                ArrayViewMut5::from_shape([self.batch, planes_, rows, columns, channels], y)
                    .map(|y| y.permuted_axes([0, 4, 1, 2, 3]))
            }
        };
        let y = y.map_err(|_| Error::BufferLength {
            what: "result",
            expected: shape.iter().product(),
            got,
        })?;
        let span = self.span();
        let channels = self.channels_per_task(threads);
        let block = [self.tiles.images, channels, span[0], span[1], span[2]];
        try_for_each_tile(
            y,
            block,
            threads > 1,
            &|[image, channel, z, row, column], mut out| {
                let (images, _, lengths_z, lengths_y, lengths_x) = out.dim();
                let part = Part {
                    image,
                    images,
                    begin: [z, row, column],
                    lengths: [lengths_z, lengths_y, lengths_x],
                    results: self.tiles.results,
                };
                lanes
                    .with(|scratch| self.block((x, weights), &part, channel, &mut out, scratch))?;
                for (dz, mut plane) in out.axis_iter_mut(Axis(2)).enumerate() {
                    for (dy, mut line) in plane.axis_iter_mut(Axis(2)).enumerate() {
                        let position = ((z + dz) * rows + row + dy) * columns + column;
                        epilogue.apply([image, channel, position], residual.as_ref(), &mut line);
                    }
                }
                Ok(())
            },
        )
    }
}

/// A part of the result: some images, a box of positions.
struct Part {
    image: usize,
    images: usize,
    begin: [usize; 3],
    lengths: [usize; 3],
    /// Of a tile.
    results: [usize; 3],
}

impl Part {
    /// Tiles of one image on each axis.
    fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.lengths[axis].div_ceil(self.results[axis]))
    }

    fn count(&self) -> usize {
        self.images * self.counts().iter().product::<usize>()
    }

    fn tiles(&self) -> impl Iterator<Item = Tile> + '_ {
        let [planes, rows, columns] = self.counts();
        (0..self.count()).map(move |index| {
            let (rest, x) = (index / columns, index % columns);
            let (rest, y) = (rest / rows, rest % rows);
            let (image, z) = (rest / planes, rest % planes);
            let at = [0, 1, 2].map(|axis| [z, y, x][axis] * self.results[axis]);
            Tile {
                image: [self.image + image, image],
                begin: [0, 1, 2].map(|axis| self.begin[axis] + at[axis]),
                at,
                lengths: [0, 1, 2]
                    .map(|axis| self.results[axis].min(self.lengths[axis] - at[axis])),
            }
        })
    }
}
