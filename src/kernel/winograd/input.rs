//! V = Bᵀ d B of tiles side by side, read wherever their pixels lie.

use super::super::Isa;
use super::super::simd::{Apart, Simd, run_by};
use super::points::Input;
use super::{Spectrum, Tiling, Unwritten, by_points};

/// The place of a line or of a pixel that the image does not have.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// Tiles side by side: pixel (i, j) of tile t begins at `rows[i] + columns[t · step + j]`, `step` being that of
/// [`TileAxis`](super::TileAxis) across.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileRow<'a> {
    pub(crate) x: &'a [f32],
    /// Where each line of a tile begins, or [`OUTSIDE`].
    pub(crate) rows: &'a [usize],
    /// Where each pixel stands in a line, or [`OUTSIDE`]; a step each tile, and what the last result reads beyond.
    pub(crate) columns: &'a [usize],
    /// How many of the lines and of the columns results are made of. Beyond them the tiles have zeros: a number that
    /// no result is made of must not be infinite either.
    pub(crate) used: [usize; 2],
    /// What a pixel outside has in each channel.
    pub(crate) border: &'a [f32],
    /// As many zeros.
    pub(crate) zeros: &'a [f32],
    /// Channels of a pixel, beside each other.
    pub(crate) channels: usize,
}

impl TileRow<'_> {
    /// to[f · step + t · pitch ..][..channels] ← product f of tile t. Lanes beyond the last channel are written too.
    ///
    /// # Panics
    /// Where a length does not fit: a bug in this crate.
    pub(crate) fn run(&self, isa: Isa, tiling: Tiling, to: &mut [f32], spectrum: Spectrum) {
        tiling.check();
        let ([down, across], step) = (tiling.sides(), tiling.axes[1].step());
        assert!(
            self.rows.len() == down
                && self.columns.len() >= across
                && (self.columns.len() - across).is_multiple_of(step),
            "lines and columns of tiles"
        );
        let tiles = (self.columns.len() - across) / step + 1;
        let most = |places: &[usize]| places.iter().copied().filter(|&at| at != OUTSIDE).max();
        if let (Some(row), Some(column)) = (most(self.rows), most(self.columns)) {
            assert!(
                row + column + self.channels <= self.x.len(),
                "the source of a transform"
            );
        }
        assert!(
            self.border.len() >= self.channels && self.zeros.len() >= self.channels,
            "the border of a transform"
        );
        let width = self.channels.next_multiple_of(isa.lanes());
        assert!(
            spectrum.end(tiling.products(), tiles, width) <= to.len(),
            "the result of a transform"
        );
        let job = Job {
            row: self,
            tiling,
            tiles,
            to: to.as_mut_ptr(),
            spectrum,
        };
        // SAFETY: the assertions above prove every read and every write: a
        // pixel begins at most at the largest row plus the largest column, and whole vectors of V end with `width`.
        unsafe {
            run_by(isa, &job);
        }
    }
}

/// A row of tiles whose lengths have been checked.
struct Job<'a> {
    row: &'a TileRow<'a>,
    tiling: Tiling,
    tiles: usize,
    to: *mut f32,
    spectrum: Spectrum,
}

impl Apart for &Job<'_> {
    /// # Safety
    /// As checked by `TileRow::run`, and the CPU has `S`.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, s: S) {
        // SAFETY: the caller's.
        unsafe { by_points!(input of self.tiling, self.tiles::<S>(s)) }
    }
}

impl Job<'_> {
    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn tiles<
        S: Simd,
        D: Input<DD, ND>,
        A: Input<DA, NA>,
        const DD: usize,
        const ND: usize,
        const DA: usize,
        const NA: usize,
    >(
        &self,
        s: S,
    ) {
        let row = self.row;
        for tile in 0..self.tiles {
            let mut pixels = [[std::ptr::null(); DA]; DD];
            for (i, line) in pixels.iter_mut().enumerate() {
                for (j, pixel) in line.iter_mut().enumerate() {
                    let column = tile * self.tiling.axes[1].step() + j;
                    let (down, across) = (row.rows[i], row.columns[column]);
                    *pixel = if i >= row.used[0] || column >= row.used[1] {
                        row.zeros.as_ptr()
                    } else if down == OUTSIDE || across == OUTSIDE {
                        row.border.as_ptr()
                    } else {
                        row.x.as_ptr().wrapping_add(down + across)
                    };
                }
            }
            let mut channel = 0;
            // SAFETY: every pixel has `channels` numbers; tile `tile` of every product has room for whole vectors.
            unsafe {
                let to = self.to.add(tile * self.spectrum.pitch);
                while channel < row.channels {
                    let count = S::LANES.min(row.channels - channel);
                    let places = [channel, count, self.spectrum.step];
                    transform::<S, D, A, DD, ND, DA, NA>(s, &pixels, places, to.add(channel));
                    channel += S::LANES;
                }
            }
        }
    }
}

/// `count` ≤ LANES channels of one tile, from `channel` on; products are `step` apart.
///
/// # Safety
/// Every pixel has those channels, a vector may be written to each product, and the CPU has `S`.
#[inline(always)]
unsafe fn transform<
    S: Simd,
    D: Input<DD, ND>,
    A: Input<DA, NA>,
    const DD: usize,
    const ND: usize,
    const DA: usize,
    const NA: usize,
>(
    s: S,
    pixels: &[[*const f32; DA]; DD],
    [channel, count, step]: [usize; 3],
    to: *mut f32,
) {
    // SAFETY: the caller's; every loop writes all of what is read after it.
    unsafe {
        let mut columns = Unwritten::<[S::V; ND], DA>::new();
        for j in 0..DA {
            let mut d = [s.zero(); DD];
            if count == S::LANES {
                for (d, line) in d.iter_mut().zip(pixels) {
                    *d = s.load(line[j].add(channel));
                }
            } else {
                for (d, line) in d.iter_mut().zip(pixels) {
                    *d = s.load_first(line[j].add(channel), count);
                }
            }
            columns.write(j, D::input(s, d));
        }
        let columns = columns.written();
        for i in 0..ND {
            let mut line = [s.zero(); DA];
            for (v, column) in line.iter_mut().zip(columns) {
                *v = column[i];
            }
            for (j, &v) in A::input(s, line).iter().enumerate() {
                s.store(to.add((i * NA + j) * step), v);
            }
        }
    }
}
