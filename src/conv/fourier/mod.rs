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

mod block;
mod kernels;
mod transform;
mod window;

pub(super) use kernels::Kernels;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use ndarray::{ArrayViewMut5, Axis};

use self::transform::{Real, Transform};
use self::window::{Source, Tile};
use super::epilogue::Epilogue;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::gemm::Engine;
use crate::geometry::{ConvGeometry, Layout, SweepAxis};
use crate::kernel::{Left, Panels, offsets};
use crate::parallel::{Lanes, try_for_each_tile};
use crate::plan::{FourierTiles, Pass, sweep_axes};
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
    let single = single(geometry, pass, tiles, &engine)?;
    let double = double(geometry, pass, tiles, &engine)?;
    let (single, double): (&dyn Any, &dyn Any) = (&single, &double);
    let found: Option<&Option<Arc<dyn FourierPass<T>>>> =
        single.downcast_ref().or_else(|| double.downcast_ref());
    found.cloned().flatten().ok_or(Error::Unsupported {
        what: "fft",
        wanted: "the elements are neither f32 nor f64",
    })
}

/// What a pass in elements of type R is, if `engine` is one of R.
type Made<R> = Result<Option<Arc<dyn FourierPass<R>>>>;

fn made<R: Real>(
    geometry: &ConvGeometry,
    pass: Pass,
    tiles: &FourierTiles,
    engine: &dyn Any,
) -> Made<R> {
    // `Element` is sealed: T is the type of exactly one of the two.
    let Some(engine) = engine.downcast_ref::<&'static dyn Engine<R>>() else {
        return Ok(None);
    };
    Ok(Some(Arc::new(Fourier::new(
        geometry, pass, tiles, *engine,
    )?)))
}

// Compiled here, once, and not in every crate that plans a convolution.
fn single(
    geometry: &ConvGeometry,
    pass: Pass,
    tiles: &FourierTiles,
    engine: &dyn Any,
) -> Made<f32> {
    made(geometry, pass, tiles, engine)
}

fn double(
    geometry: &ConvGeometry,
    pass: Pass,
    tiles: &FourierTiles,
    engine: &dyn Any,
) -> Made<f64> {
    made(geometry, pass, tiles, engine)
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
