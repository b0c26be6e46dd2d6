//! The sizes of tiles and of the pieces of a kernel.
//!
//! ```text
//! an axis of a tile    R results of K taps, D = (R − 1) · stride + K pixels, N = D products
//! up                   R results, two for each of R / 2 pixels, D = R / 2 + 1, N = D + R / 2
//! a kernel             pieces of K taps; taps beyond its end are zeros
//! ```

/// Most products of a tile.
pub(crate) const MOST_PRODUCTS: usize = 81;

/// Most taps of a tile.
pub(crate) const MOST_TILE_TAPS: usize = 9;

/// One axis of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileAxis {
    /// Results of a tile, R: 4 or 2, or 1 where the kernel has one tap.
    pub results: usize,
    /// Taps that they are made of, K: 3, or 4 of a longer kernel, or 1.
    pub taps: usize,
    /// From one result to the next, in pixels: 1 or 2.
    pub stride: usize,
    /// Whether two results belong to each pixel instead, as in the gradient of the input of stride 2: then R is 8 or 4, and
    /// results begin with one that the middle tap alone is for.
    pub up: bool,
    /// Taps of the whole kernel, which is cut into pieces of K.
    pub kernel: usize,
}

impl TileAxis {
    /// Where nothing is transformed.
    pub(crate) const ONE: Self = Self {
        results: 1,
        taps: 1,
        stride: 1,
        up: false,
        kernel: 1,
    };

    /// Pieces of the kernel.
    pub(crate) fn pieces(self) -> usize {
        self.kernel.div_ceil(self.taps)
    }

    /// The pixel, from the first that result 0 is made of, that the first of result `result` is.
    pub(crate) fn pixel(self, result: usize) -> usize {
        match self.up {
            true => result / 2,
            false => result * self.stride,
        }
    }

    /// Pixels that `results` neighbouring results are made of, by all taps.
    pub(crate) fn pixels(self, results: usize) -> usize {
        match results {
            0 => 0,
            several if self.up => several / 2 + 1,
            several => (several - 1) * self.stride + self.kernel,
        }
    }

    /// Pixels from the first of the first of `tiles` tiles to the last of the last, of all pieces.
    pub(crate) fn window(self, tiles: usize) -> usize {
        (tiles - 1) * self.step() + self.side() + (self.pieces() - 1) * self.taps
    }

    /// Pixels of a tile.
    pub(crate) fn side(self) -> usize {
        match self.up {
            true => self.results / 2 + 1,
            false => (self.results - 1) * self.stride + self.taps,
        }
    }

    /// Products of a tile, N.
    pub(crate) fn products(self) -> usize {
        match self.up {
            true => self.side() + self.results / 2,
            false => self.side(),
        }
    }

    /// From one tile to the next, in pixels.
    pub(crate) fn step(self) -> usize {
        self.pixel(self.results)
    }

    /// What tiles of this kind are called by: 4, 2, or 1 where nothing is transformed.
    pub(crate) fn size(self) -> usize {
        match self.up {
            true => self.results / 2,
            false => self.results,
        }
    }
}

/// The size of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tiling {
    /// Down and across.
    pub axes: [TileAxis; 2],
}

impl Tiling {
    /// Results of a tile, down and across.
    pub(crate) fn results(self) -> [usize; 2] {
        self.axes.map(|axis| axis.results)
    }

    /// Pixels of a tile, down and across.
    pub(crate) fn sides(self) -> [usize; 2] {
        self.axes.map(TileAxis::side)
    }

    /// Products of a tile for each pair of channels.
    pub(crate) fn products(self) -> usize {
        self.axes.iter().map(|axis| axis.products()).product()
    }

    /// 4 or 2.
    pub(crate) fn size(self) -> usize {
        self.axes.map(TileAxis::size).into_iter().max().unwrap_or(1)
    }

    /// Taps of a tile.
    pub(crate) fn taps(self) -> usize {
        self.axes.iter().map(|axis| axis.taps).product()
    }

    /// Pieces of a kernel.
    pub(crate) fn pieces(self) -> usize {
        self.axes.iter().map(|axis| axis.pieces()).product()
    }

    /// Where the first tap of a piece stands in the kernel, down and across.
    pub(crate) fn first_tap(self, piece: usize) -> [usize; 2] {
        let [down, across] = self.axes;
        [
            piece / across.pieces() * down.taps,
            piece % across.pieces() * across.taps,
        ]
    }

    /// Where a tap of a piece stands in the kernel as it is given, row by row, or `turned` round; the last pieces have
    /// taps that the kernel has not.
    pub(crate) fn place(self, piece: usize, tap: usize, turned: bool) -> Option<usize> {
        let (first, [down, across]) = (self.first_tap(piece), self.axes);
        let [row, column] = [first[0] + tap / across.taps, first[1] + tap % across.taps];
        let place = row * across.kernel + column;
        (row < down.kernel && column < across.kernel).then(|| match turned {
            true => down.kernel * across.kernel - 1 - place,
            false => place,
        })
    }

    /// # Panics
    /// Where there are no such tiles: a bug in this crate.
    pub(super) fn check(self) {
        let kinds = self
            .axes
            .map(|axis| (axis.results, axis.taps, axis.stride, axis.up));
        const ONE: (usize, usize, usize, bool) = (1, 1, 1, false);
        let there = match kinds {
            [(4 | 8, 3, 1, true) | (2 | 4, 3, 1 | 2, false), across] if across == kinds[0] => true,
            [ONE, (2 | 4, 3, 1, false) | (4, 4, 1, false)]
            | [(2 | 4, 3, 1, false) | (4, 4, 1, false), ONE] => true,
            _ => false,
        };
        assert!(there, "no tiles of {kinds:?}");
    }
}
