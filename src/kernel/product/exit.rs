//! How sums reach the result: straight out of a tile, through a buffer, or number by number.

use super::tile::Exit;
use super::{Job, Map};
use crate::kernel::moves::MOST_LANES;
use crate::kernel::simd::Simd;

impl Job<'_> {
    /// Whether whole vectors can go straight out of a tile.
    pub(super) fn is_plain(&self) -> bool {
        let whole = |strides: [isize; 2]| strides[1] == 1;
        whole(self.strides)
            && self.residual.is_none_or(|(_, strides)| whole(strides))
            && !matches!(self.map, Map::Leaky { .. })
    }

    /// The way straight out from a row and a column on, for the first or a later piece of the sums, the last or not.
    ///
    /// # Safety
    /// As `run`.
    pub(super) unsafe fn straight(
        &self,
        [row, column]: [usize; 2],
        later: bool,
        last: bool,
    ) -> Exit {
        // SAFETY: the row and the column lie in `out`, the bias has as many numbers as it has columns, and the residual
        // has its shape.
        unsafe {
            Exit {
                to: self.out.offset(row as isize * self.strides[0]).add(column),
                across: self.strides[0],
                add: later || self.accumulate,
                bias: match self.bias {
                    Some(bias) if last => bias.as_ptr().add(column),
                    _ => std::ptr::null(),
                },
                residual: match self.residual {
                    Some((from, [across, _])) if last => {
                        (from.offset(row as isize * across).add(column), across)
                    }
                    _ => (std::ptr::null(), 0),
                },
                bounds: match self.map {
                    Map::Clamp { low, high } if last => Some((low, high)),
                    _ => None,
                },
            }
        }
    }

    /// Writes a tile of `height` × `columns`, which begins at `origin`, out of the buffer (rows `width` apart).
    ///
    /// # Safety
    /// As `run`.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd>(
        &self,
        s: S,
        buffer: *const f32,
        [height, width]: [usize; 2],
        origin: [usize; 2],
        columns: usize,
    ) {
        let at =
            |[across, along]: [isize; 2]| origin[0] as isize * across + origin[1] as isize * along;
        // SAFETY: the tile lies inside `out` and inside the residual, which has its shape.
        let (out, residual) = unsafe {
            (
                self.out.offset(at(self.strides)),
                self.residual
                    .map(|(from, strides)| (from.offset(at(strides)), strides)),
            )
        };
        let [across, along] = self.strides;
        let alike = residual.is_none_or(|(_, strides)| strides == self.strides);
        let residual_at = residual.map(|(from, _)| from);
        let bias = self.bias.map(|bias| &bias[origin[1]..origin[1] + columns]);
        // SAFETY: no more than `columns` columns and `height` rows are touched, by the strides of each view.
        unsafe {
            if along == 1 && alike {
                for lane in (0..columns).step_by(S::LANES) {
                    let count = S::LANES.min(columns - lane);
                    let bias = match bias {
                        Some(bias) => s.load_first(bias.as_ptr().add(lane), count),
                        None => s.zero(),
                    };
                    for i in 0..height {
                        let v = s.add(s.load(buffer.add(i * width + lane)), bias);
                        let place = i as isize * across + lane as isize;
                        self.put(s, v, out, residual_at, place, count);
                    }
                }
            } else if across == 1 && alike {
                for lane in (0..columns).step_by(S::LANES) {
                    for top in (0..height).step_by(S::LANES) {
                        let mut square = s.square();
                        for (i, v) in square.as_mut().iter_mut().enumerate() {
                            if top + i < height {
                                *v = s.load(buffer.add((top + i) * width + lane));
                            }
                        }
                        s.transpose(&mut square);
                        for (j, &v) in square.as_mut().iter().enumerate() {
                            if lane + j < columns {
                                let bias = bias.map_or(0.0, |bias| bias[lane + j]);
                                let v = s.add(v, s.splat(bias));
                                let place = (lane + j) as isize * along + top as isize;
                                let count = S::LANES.min(height - top);
                                self.put(s, v, out, residual_at, place, count);
                            }
                        }
                    }
                }
            } else {
                for i in 0..height {
                    for j in 0..columns {
                        let v = *buffer.add(i * width + j) + bias.map_or(0.0, |bias| bias[j]);
                        self.put_one(v, [origin[0] + i, origin[1] + j]);
                    }
                }
            }
        }
    }

    /// The last steps of one number, the bias added.
    ///
    /// # Safety
    /// The row and the column are inside.
    #[inline(always)]
    unsafe fn put_one(&self, mut v: f32, [row, column]: [usize; 2]) {
        let at = |[across, along]: [isize; 2]| row as isize * across + column as isize * along;
        // SAFETY: the caller's.
        unsafe {
            let to = self.out.offset(at(self.strides));
            if self.accumulate {
                v += *to;
            }
            if let Some((from, strides)) = self.residual {
                v += *from.offset(at(strides));
            }
            *to = self.map.apply(v);
        }
    }

    /// The last steps of `count` rows of one column from `row` on, the bias added.
    ///
    /// # Safety
    /// They are inside, and the CPU has `S`.
    #[inline(always)]
    pub(super) unsafe fn put_rows<S: Simd>(
        &self,
        s: S,
        v: S::V,
        [row, column]: [usize; 2],
        count: usize,
    ) {
        let [across, along] = self.strides;
        let alike = self
            .residual
            .is_none_or(|(_, strides)| strides == self.strides);
        // SAFETY: the caller's.
        unsafe {
            if across == 1 && alike {
                let place = row as isize + column as isize * along;
                let residual = self.residual.map(|(from, _)| from);
                return self.put(s, v, self.out, residual, place, count);
            }
            let mut numbers = [0.0; MOST_LANES];
            s.store(numbers.as_mut_ptr(), v);
            for (lane, &v) in numbers[..count].iter().enumerate() {
                self.put_one(v, [row + lane, column]);
            }
        }
    }

    /// The last steps of `count` neighbouring numbers, which belong to `out + place`.
    ///
    /// # Safety
    /// As `run`; so many numbers may be written there, and read from the residual.
    #[inline(always)]
    unsafe fn put<S: Simd>(
        &self,
        s: S,
        mut v: S::V,
        out: *mut f32,
        residual: Option<*const f32>,
        place: isize,
        count: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let to = out.offset(place);
            if self.accumulate {
                v = s.add(v, s.load_first(to, count));
            }
            if let Some(residual) = residual {
                v = s.add(v, s.load_first(residual.offset(place), count));
            }
            let v = match self.map {
                Map::Identity => v,
                Map::Clamp { low, high } => s.at_most(s.splat(high), s.at_least(s.splat(low), v)),
                Map::Leaky { slope } => s.leaky(s.splat(slope), v),
            };
            s.store_first(to, v, count);
        }
    }
}
