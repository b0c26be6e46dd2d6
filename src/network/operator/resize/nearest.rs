//! The nearest elements, of any type: slabs of what lies behind an axis are copied.

use super::super::Step;
use super::super::check::{read, write};
use super::super::strided::GRAIN;
use super::convert::store;
use super::taps::{OUTSIDE, Taps, sizes};
use crate::error::{Result, check_len};
use crate::network::tensor::{DType, Scalar, View, ViewMut, with_type};
use crate::parallel::for_each_piece;

/// The nearest elements, of any type.
pub(super) struct Nearest {
    pub(super) dtype: DType,
    /// The axes that change and those between them, outermost first.
    pub(super) axes: Vec<Taps>,
    /// Elements behind them.
    pub(super) inner: usize,
    /// Elements of the output.
    pub(super) output: usize,
    pub(super) extrapolation: f32,
}

impl Step for Nearest {
    fn run(
        &self,
        inputs: &[Option<View>],
        outputs: &mut [ViewMut],
        _scratch: &mut [f32],
    ) -> Result<()> {
        with_type!(self.dtype, T => {
            let (x, y): (&[T], &mut [T]) = (read(inputs, 0)?, write(outputs, 0)?);
            check_len("output", self.output, y.len())?;
            let mut outside = [T::default()];
            store(&[f64::from(self.extrapolation)], &mut T::view_mut(&mut outside))?;
            self.copy(x, y, outside[0]);
            Ok(())
        })
    }
}

impl Nearest {
    fn copy<T: Scalar>(&self, x: &[T], y: &mut [T], outside: T) {
        let Some((axis, others)) = self.axes.split_first().filter(|_| !y.is_empty()) else {
            return;
        };
        let slab = sizes(others, self.inner);
        let rows = GRAIN.div_ceil(slab[1]);
        for_each_piece(y, rows * slab[1], &|piece, y| {
            let first = piece * rows;
            let mut y = y;
            let mut done = 0;
            // A piece may begin in one image and end in another.
            while !y.is_empty() {
                let (image, row) = ((first + done) / axis.output, (first + done) % axis.output);
                let count = (axis.output - row).min(y.len() / slab[1]);
                let (now, rest) = y.split_at_mut(count * slab[1]);
                let x = &x[image * axis.input * slab[0]..][..axis.input * slab[0]];
                let places = &axis.places[row..row + count];
                pick(x, now, places, others, self.inner, outside);
                (y, done) = (rest, done + count);
            }
        });
    }
}

/// y[j] ← x[places[j]] for slabs of all that lies behind an axis.
fn pick<T: Scalar>(
    x: &[T],
    y: &mut [T],
    places: &[usize],
    others: &[Taps],
    inner: usize,
    outside: T,
) {
    if others.is_empty() && inner == 1 {
        for (y, &place) in y.iter_mut().zip(places) {
            *y = if place == OUTSIDE { outside } else { x[place] };
        }
        return;
    }
    let [from, to] = sizes(others, inner);
    for (j, &place) in places.iter().enumerate() {
        if place == OUTSIDE {
            y[j * to..][..to].fill(outside);
        } else if j > 0 && places[j - 1] == place {
            y.copy_within((j - 1) * to..j * to, j * to);
        } else {
            let (x, y) = (&x[place * from..][..from], &mut y[j * to..][..to]);
            match others.split_first() {
                None => y.copy_from_slice(x),
                Some((axis, others)) => pick(x, y, &axis.places, others, inner, outside),
            }
        }
    }
}
