//! Winograd's algorithm, forward and backward input.
//!
//! ```text
//! for each block of tiles (in parallel):
//!     V[f][tile][piece, channel] ← Bᵀ d B  of the pixels d of every tile               read.rs
//!     for each panel of results:
//!         for each product f:  M[f] (tiles × columns) ← V[f] (tiles × terms) · U[f] (terms × columns)
//!         y[tiles, columns] ← finish( Aᵀ m A )
//! ```
//!
//! U, the transformed weights, is made once by `prepare.rs` (`[group][panel][f][piece, channel][width]`) and read once
//! for each block. Larger kernels are cut into pieces: each has its own pixels, which follow each other like channels, and
//! one sum of products is that of all pieces. Backward input is a correlation of dY with the kernels turned round, by the
//! same code; with stride 2 two of its results belong to each pixel of dY. The tiles of a dilated kernel have results and
//! pixels that lie apart, see `Part`.

mod ahead;
mod part;
mod prepare;
mod read;
mod weight;

pub(in crate::conv) use prepare::WinogradKernels;
pub(in crate::conv) use weight::WinogradWeight;

use ndarray::{ArrayView4, ArrayViewMut4, s};

use self::ahead::Ahead;
use self::part::{Part, Run};
use super::pack::Source;
use super::sweep::Finale;
use super::{Target, aligned, batch_mut};
use crate::element::filled;
use crate::error::{Error, Result};
use crate::geometry::{ConvGeometry, Layout};
use crate::kernel::{Far, Finish, Left, Outcome, Panels, Product, Spectrum, Sums, Turns, offsets};
use crate::parallel::{Lanes, try_for_each_tile};
use crate::plan::{Blocks, Pass, WinogradTiles};

/// What sums of products round, the last transform makes larger. Turns of 32 terms halve the error of sums of 256 at a
/// cost that is lost in the noise; half as many cost 3 %.
const TURNS: Turns = Turns::of(32);

/// With more terms than this, the sum of so many turns rounds as much as they do. With shorter turns, and about as many in
/// a piece as there are pieces, 512 channels have 2.1 times the error of the direct recipe, not 2.4, for 2 to 7 % of the
/// time.
const MANY: usize = 256;
const SHORT_TURN: usize = 24;

/// A pass by Winograd's algorithm.
#[derive(Clone, Debug)]
pub(in crate::conv) struct Winograd {
    source: Source,
    tiles: WinogradTiles,
    batch: usize,
    groups: usize,
    /// Channels of the result in one group.
    results: usize,
    /// Where the lines and the pixels of a line stand, those of one phase after another: in the image, or in the copy
    /// of a window.
    places: [Vec<usize>; 2],
    /// What stands outside the image, and zeros, for every channel of a group.
    border: Vec<f32>,
    zeros: Vec<f32>,
    /// Places of tiles and channels in V.
    rows: Vec<u32>,
    terms: Vec<u32>,
    /// The window of a block, one vector of channels, where it is copied.
    window: Blocks,
}

impl Winograd {
    /// The sums of `pass`, forward or backward input.
    ///
    /// # Errors
    /// A geometry that has no sweep; no memory for the tables.
    pub(in crate::conv) fn new(
        geometry: &ConvGeometry,
        pass: Pass,
        tiles: &WinogradTiles,
    ) -> Result<Self> {
        let results = match pass {
            Pass::BackwardInput => geometry.channels_per_group(),
            _ => geometry.outputs_per_group(),
        };
        let source = Source::new(geometry, pass)?;
        let [rows, columns] = tiles.window();
        let window = Blocks {
            isa: tiles.isa,
            grouped: true,
            images: tiles.images,
            lengths: [1, tiles.span()[0], tiles.span()[1]],
            window: [1, rows, columns],
            packed: true,
            plain: false,
            outer: false,
            channels: 1,
            panel: 0,
        };
        let pitch = tiles.pitch();
        let (pieces, sources) = (tiles.tiling.pieces(), tiles.sources);
        Ok(Self {
            places: read::places(&source, tiles)?,
            border: filled(tiles.of_piece(), source.mode.constant() as f32)?,
            zeros: filled(tiles.of_piece(), 0.0)?,
            rows: offsets((0..tiles.block()).map(|tile| tile * pitch))?,
            terms: offsets(
                (0..pieces * sources)
                    .map(|term| term / sources * tiles.of_piece() + term % sources),
            )?,
            source,
            tiles: *tiles,
            batch: geometry.batch(),
            groups: geometry.groups(),
            results,
            window,
        })
    }

    /// `y`, as `target` says, ← finale(sums over the windows of `x`). Lengths have been checked; the residual lies as
    /// a whole batch in the layout of the target.
    pub(in crate::conv) fn run(
        &self,
        x: &[f32],
        weights: &[f32],
        finale: Finale<'_>,
        (y, target): (&mut [f32], Target),
        lanes: &Lanes<'_, f32>,
        threads: usize,
    ) -> Result<()> {
        let lengths = [1, 2].map(|axis| self.source.axes[axis].result);
        let shape = [
            self.batch,
            self.groups * self.results,
            lengths[0],
            lengths[1],
        ];
        let y = batch_mut(target, shape, y)?;
        let residual = finale
            .residual
            .map(|residual| batch(target.layout, shape, residual))
            .transpose()?;
        let [rows, columns] = self.tiles.span();
        let block = [
            self.tiles.images,
            self.channels_per_task(threads),
            rows,
            columns,
        ];
        try_for_each_tile(
            y,
            block,
            threads > 1,
            &|[image, channel, row, column], mut out| {
                let (images, channels, rows, columns) = out.dim();
                let part = Part::new(&self.tiles, [image, images], [row, column], [rows, columns]);
                let finale = Finale {
                    bias: finale.bias.map(|bias| &bias[channel..channel + channels]),
                    residual: None,
                    map: finale.map,
                };
                let residual = residual.as_ref().map(|residual| {
                    residual.slice(s![
                        image..image + images,
                        channel..channel + channels,
                        row..row + rows,
                        column..column + columns
                    ])
                });
                lanes.with(|scratch| {
                    for part in part.blocks(&self.tiles) {
                        let finale = (finale, residual);
                        self.block(x, weights, &part, channel, &mut out, finale, scratch);
                    }
                });
                Ok(())
            },
        )
    }

    /// Channels of the result of one task: all of a group, unless threads would find nothing to do.
    fn channels_per_task(&self, threads: usize) -> usize {
        let all = self.tiles.all();
        let [down, across] = [0, 1].map(|axis| all[axis].div_ceil(self.tiles.tiles[axis]));
        let tasks = self.batch.div_ceil(self.tiles.images) * down * across * self.groups;
        if threads < 2 || tasks >= 2 * threads || self.groups > 1 {
            return self.results;
        }
        let fair = self.results.div_ceil((2 * threads).div_ceil(tasks.max(1)));
        self.panels().cut(fair).min(self.results)
    }

    fn panels(&self) -> Panels {
        Panels::new(self.tiles.isa, Left::Scalars, self.results)
    }

    /// One block of the result, channels `channel..` of it.
    #[allow(clippy::too_many_arguments)]
    fn block(
        &self,
        x: &[f32],
        weights: &[f32],
        part: &Part,
        channel: usize,
        out: &mut ArrayViewMut4<'_, f32>,
        (finale, residual): (Finale<'_>, Option<ArrayView4<'_, f32>>),
        scratch: &mut [f32],
    ) {
        let (products, [v_step, m_step]) = (self.tiles.products(), self.tiles.steps());
        let (v, rest) = aligned(scratch).split_at_mut(products * v_step);
        let (m, window) = rest.split_at_mut(products * m_step);
        let group = channel / self.results;
        let sources = self.tiles.sources;
        self.read(x, part, group * sources..(group + 1) * sources, v, window);
        let sources = self.tiles.tiling.pieces() * sources;
        let tiles = part.count(&self.tiles);
        let panels = self.panels();
        let weights = &weights[group * products * sources * panels.columns()..];
        let ahead = Ahead::new(self, x, part, out);
        let first = channel - group * self.results;
        let wanted = first..first + out.dim().1;
        for (begin, width) in panels.each().filter(|(begin, _)| wanted.contains(begin)) {
            let (panel, each) = (&weights[products * sources * begin..], sources * width);
            for f in 0..products {
                let weights = &panel[f * each..][..each];
                let product = Product {
                    left: Left::Scalars,
                    a: &v[f * v_step..],
                    rows: &self.rows[..tiles],
                    terms: &self.terms,
                    b: weights,
                    apart: None,
                    columns: width,
                    turns: turns(sources),
                    first: 0,
                    far: match &ahead {
                        Some(ahead) => ahead.of_product(f, weights, [begin - first, width]),
                        None => Far::Nothing,
                    },
                };
                let m = &mut m[f * m_step..][..tiles * width];
                if let Ok(m) = ndarray::ArrayViewMut2::from_shape((tiles, width), m) {
                    product.run(self.tiles.isa, m, &Finish::NONE);
                }
            }
            let channels = begin - first..wanted.end.min(begin + width) - first;
            let spectrum = Spectrum {
                step: m_step,
                pitch: width,
            };
            let [down, across] = self.tiles.dilation.map(|dilation| dilation as isize);
            part.for_each_run(&self.tiles, |run: &Run| {
                let end = run.at[0] + (run.lengths[0] - 1) * self.tiles.dilation[0] + 1;
                let here = s![
                    run.image,
                    channels.clone(),
                    run.at[0]..end;down,
                    run.at[1]..;across
                ];
                let sums = Sums {
                    m: &m[run.tile * width..],
                    spectrum,
                };
                let outcome = Outcome {
                    out: out.slice_mut(here),
                    bias: finale.bias.map(|bias| &bias[channels.clone()]),
                    residual: residual.as_ref().map(|residual| residual.slice(here)),
                    map: finale.map,
                };
                sums.run(self.tiles.isa, self.tiles.tiling, outcome);
            });
        }
    }
}

/// How sums of so many terms are made.
fn turns(terms: usize) -> Turns {
    if terms <= MANY {
        return TURNS;
    }
    let parts = terms.div_ceil(SHORT_TURN).isqrt() + 1;
    Turns {
        turn: SHORT_TURN,
        piece: terms.div_ceil(parts),
    }
}

/// A batch as `[images, channels, rows, columns]`, to read.
fn batch(
    layout: Layout,
    [images, channels, rows, columns]: [usize; 4],
    data: &[f32],
) -> Result<ArrayView4<'_, f32>> {
    let view = match layout {
        Layout::ChannelsFirst => ArrayView4::from_shape([images, channels, rows, columns], data),
        Layout::ChannelsLast => ArrayView4::from_shape([images, rows, columns, channels], data)
            .map(|view| view.permuted_axes([0, 3, 1, 2])),
    };
    view.map_err(|_| Error::BufferLength {
        what: "residual",
        expected: images * channels * rows * columns,
        got: data.len(),
    })
}
