//! Every element of a batch changed with the numbers of its channel, on all threads.
//!
//! ```text
//! channels last    rows of up to 64 columns, each with the numbers of its channel
//! channels first   planes, whose columns have one channel all
//! ```

use super::COLUMNS;
use super::columns::{Columns, PIECE};
use crate::parallel::for_each_piece;

impl Columns {
    /// Calls `body` for all of `y`, on all threads: some columns of some rows, or with the channels first a plane.
    pub fn apply<T: Send>(&self, y: &mut [T], body: &(dyn Fn(Rows<'_, T>) + Sync)) {
        if y.is_empty() {
            return;
        }
        let whole = match self.pixels {
            1 => self.joined() * self.channels,
            pixels => pixels,
        };
        let piece = PIECE.div_ceil(whole) * whole;
        for_each_piece(y, piece, &|index, y| {
            let start = index * piece;
            if self.pixels > 1 {
                for (plane, y) in y.chunks_exact_mut(self.pixels).enumerate() {
                    let number = start / self.pixels + plane;
                    body(Rows {
                        start: start + plane * self.pixels,
                        y,
                        row: self.pixels,
                        begin: 0,
                        plane: Some(number % self.channels),
                    });
                }
                return;
            }
            for first in (0..self.channels).step_by(COLUMNS) {
                body(Rows {
                    start,
                    y: &mut *y,
                    row: whole,
                    begin: first,
                    plane: None,
                });
            }
        });
    }
}

/// Rows of elements to be changed.
pub(super) struct Rows<'a, T> {
    /// The place of the first element.
    pub start: usize,
    pub y: &'a mut [T],
    /// Elements from row to row, and where the columns begin in each.
    row: usize,
    begin: usize,
    /// The one channel of all columns, with the channels first.
    plane: Option<usize>,
}

/// What becomes of some neighbours of a row.
pub(super) trait Change<T> {
    /// Changes `y`, at most [`COLUMNS`] elements from `at` on. Must be `#[inline(always)]`.
    fn change(&self, y: &mut [T], at: usize);
}

impl<T> Rows<'_, T> {
    /// `value(channel)` for every column.
    #[inline(always)]
    pub fn of_columns<U: Copy>(&self, channels: usize, value: impl Fn(usize) -> U) -> [U; COLUMNS] {
        if let Some(channel) = self.plane {
            return [value(channel); COLUMNS];
        }
        let columns = COLUMNS.min(self.row - self.begin);
        // Columns that are not there have any number.
        std::array::from_fn(|column| value((self.begin + column.min(columns - 1)) % channels))
    }

    /// Changes all of them; places are counted from the first element.
    #[inline(always)]
    pub fn each(self, change: &impl Change<T>) {
        let Self { row, begin, .. } = self;
        for (number, y) in self.y.chunks_mut(row).enumerate() {
            let at = number * row + begin;
            let y = &mut y[begin..];
            let columns = match self.plane {
                Some(_) => y.len(),
                None => y.len().min(COLUMNS),
            };
            for (index, y) in y[..columns].chunks_mut(COLUMNS).enumerate() {
                let at = at + index * COLUMNS;
                // A whole row is a loop of known length.
                match <&mut [T; COLUMNS]>::try_from(&mut *y) {
                    Ok(y) => change.change(y, at),
                    Err(_) => change.change(y, at),
                }
            }
        }
    }
}
