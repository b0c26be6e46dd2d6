//! Moves from the order of an image to the order of lanes.
//!
//! ```text
//! v        ← the numbers of position i, one a lane              read as they lie, or transposed from a line for each
//! to[i · pitch + p · LANES + lane] ← v[picks[p][lane]]           for every list of picks
//! ```
//!
//! And copies of pixels, which are too short for the C library's `memcpy` to be fast.

use super::Isa;
use super::portable::Portable;
use super::simd::Simd;

/// Most lanes of a vector, over all instruction sets.
pub(crate) const MOST_LANES: usize = 16;

/// Which lane each lane of a result takes.
pub(crate) type Picks = [u32; MOST_LANES];

/// Every lane itself.
pub(crate) const AS_THEY_ARE: Picks = {
    let mut picks = [0; MOST_LANES];
    let mut lane = 0;
    while lane < MOST_LANES {
        picks[lane] = lane as u32;
        lane += 1;
    }
    picks
};

/// Where the lanes of a position are found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie<'a> {
    /// `lanes` numbers beside each other, positions `stride` apart, from `begin` on.
    Beside {
        begin: usize,
        stride: usize,
        lanes: usize,
    },
    /// Each in a line of its own, which begins there; positions are neighbours.
    Lines(&'a [usize]),
}

/// Moves `count` positions; lanes that a vector has beyond those that lie there are zero before they are picked.
///
/// # Panics
/// Where a length does not fit: a bug in this crate.
pub(crate) fn to_lanes(
    isa: Isa,
    from: &[f32],
    lie: Lie<'_>,
    count: usize,
    picks: &[Picks],
    to: &mut [f32],
    pitch: usize,
) {
    if count == 0 {
        return;
    }
    let width = isa.lanes();
    match lie {
        Lie::Beside {
            begin,
            stride,
            lanes,
        } => assert!(
            lanes <= width && begin + (count - 1) * stride + lanes <= from.len(),
            "the source of a move"
        ),
        Lie::Lines(lines) => {
            let last = lines.iter().copied().max().unwrap_or(0);
            assert!(
                lines.len() <= width && last + count <= from.len(),
                "the source of a move"
            );
        }
    }
    assert!(
        (count - 1) * pitch + picks.len() * width <= to.len(),
        "the result of a move"
    );
    let mover = Move {
        from: from.as_ptr(),
        lie,
        count,
        picks,
        to: to.as_mut_ptr(),
        pitch,
    };
    // SAFETY: the tokens prove the instruction sets; the assertions above prove every read and every write.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => avx512(token, &mover),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Fma(token) => avx2(token, &mover),
            Isa::Portable => mover.run(Portable),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512(_) | Isa::Avx2Fma(_) => mover.run(Portable),
        }
    }
}

/// to[i · pitch ..][..width] ← from[i · stride ..][..width] for `count` positions i.
///
/// # Panics
/// Where a length does not fit: a bug in this crate.
pub(crate) fn copy_pixels(
    isa: Isa,
    from: &[f32],
    stride: usize,
    to: &mut [f32],
    pitch: usize,
    [count, width]: [usize; 2],
) {
    if count == 0 || width == 0 {
        return;
    }
    assert!(
        (count - 1) * stride + width <= from.len(),
        "the source of a copy"
    );
    assert!(
        (count - 1) * pitch + width <= to.len(),
        "the result of a copy"
    );
    // Pixels that are whole lie beside each other: those of three channels are not copied three by three.
    let [count, width] = match [stride, pitch] == [width; 2] {
        true => [1, count * width],
        false => [count, width],
    };
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    let strides = [stride, pitch];
    // SAFETY: the tokens prove the instruction sets; the assertions above prove every read and every write.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => copy_avx512(token, from, to, strides, [count, width]),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Fma(token) => copy_avx2(token, from, to, strides, [count, width]),
            Isa::Portable => copy(Portable, from, to, strides, [count, width]),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512(_) | Isa::Avx2Fma(_) => copy(Portable, from, to, strides, [count, width]),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn copy_avx512(
    token: super::Avx512,
    from: *const f32,
    to: *mut f32,
    strides: [usize; 2],
    lengths: [usize; 2],
) {
    // SAFETY: the caller's.
    unsafe { copy(token, from, to, strides, lengths) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn copy_avx2(
    token: super::Avx2Fma,
    from: *const f32,
    to: *mut f32,
    strides: [usize; 2],
    lengths: [usize; 2],
) {
    // SAFETY: the caller's.
    unsafe { copy(token, from, to, strides, lengths) }
}

/// # Safety
/// As checked by `copy_pixels`, and the CPU has `S`.
#[inline(always)]
unsafe fn copy<S: Simd>(
    s: S,
    from: *const f32,
    to: *mut f32,
    [stride, pitch]: [usize; 2],
    [count, width]: [usize; 2],
) {
    for i in 0..count {
        // SAFETY: pixel i lies inside both.
        unsafe {
            let (from, to) = (from.add(i * stride), to.add(i * pitch));
            let mut lane = 0;
            while lane + S::LANES <= width {
                s.store(to.add(lane), s.load(from.add(lane)));
                lane += S::LANES;
            }
            if lane < width {
                let some = width - lane;
                s.store_first(to.add(lane), s.load_first(from.add(lane), some), some);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(token: super::Avx512, mover: &Move<'_>) {
    // SAFETY: the caller's.
    unsafe { mover.run(token) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(token: super::Avx2Fma, mover: &Move<'_>) {
    // SAFETY: the caller's.
    unsafe { mover.run(token) }
}

/// A move whose lengths have been checked.
struct Move<'a> {
    from: *const f32,
    lie: Lie<'a>,
    count: usize,
    picks: &'a [Picks],
    to: *mut f32,
    pitch: usize,
}

impl Move<'_> {
    /// # Safety
    /// As checked by `to_lanes`, and the CPU has `S`.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, s: S) {
        let plain = matches!(self.picks, [picks] if *picks == AS_THEY_ARE);
        match self.lie {
            Lie::Beside {
                begin,
                stride,
                lanes,
            } => {
                for i in 0..self.count {
                    // SAFETY: position i and its lanes lie inside.
                    unsafe {
                        let from = self.from.add(begin + i * stride);
                        let v = if lanes == S::LANES {
                            s.load(from)
                        } else {
                            s.load_first(from, lanes)
                        };
                        self.put(s, i, v, plain);
                    }
                }
            }
            Lie::Lines(lines) => {
                for begin in (0..self.count).step_by(S::LANES) {
                    let some = S::LANES.min(self.count - begin);
                    // SAFETY: `some` numbers are left of every line.
                    unsafe {
                        let mut square = s.square();
                        for (v, &line) in square.as_mut().iter_mut().zip(lines) {
                            let from = self.from.add(line + begin);
                            *v = if some == S::LANES {
                                s.load(from)
                            } else {
                                s.load_first(from, some)
                            };
                        }
                        s.transpose(&mut square);
                        for (i, &v) in square.as_mut().iter().enumerate() {
                            if i < some {
                                self.put(s, begin + i, v, plain);
                            }
                        }
                    }
                }
            }
        }
    }

    /// # Safety
    /// As `run`; `i` < count.
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, i: usize, v: S::V, plain: bool) {
        // SAFETY: the result has room for every list of picks of position i.
        unsafe {
            let to = self.to.add(i * self.pitch);
            if plain {
                return s.store(to, v);
            }
            for (index, picks) in self.picks.iter().enumerate() {
                s.store(to.add(index * S::LANES), s.pick(v, picks));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_become_lanes() {
        let from: Vec<f32> = (0..900).map(|i| i as f32).collect();
        for isa in Isa::available() {
            let width = isa.lanes();
            let pairs: Picks = std::array::from_fn(|lane| (lane as u32 / 2 * 2) % width as u32);
            let lists = [vec![AS_THEY_ARE], vec![pairs], vec![pairs, AS_THEY_ARE]];
            for (count, picks) in [1, 3, width - 1, width, width + 1, 33]
                .into_iter()
                .flat_map(|count| lists.iter().map(move |picks| (count, picks)))
            {
                for lanes in [1, width - 1, width] {
                    let lines: Vec<usize> = (0..lanes).map(|lane| 7 + lane * 19).collect();
                    let beside = Lie::Beside {
                        begin: 5,
                        stride: 21,
                        lanes,
                    };
                    for lie in [beside, Lie::Lines(&lines)] {
                        let pitch = picks.len() * width + 2;
                        let mut to = vec![f32::NAN; count * pitch];
                        to_lanes(isa, &from, lie, count, picks, &mut to, pitch);
                        let at = |i: usize, lane: usize| match lie {
                            _ if lane >= lanes => 0.0,
                            Lie::Beside { .. } => (5 + i * 21 + lane) as f32,
                            Lie::Lines(lines) => (lines[lane] + i) as f32,
                        };
                        for (i, to) in to.chunks(pitch).enumerate() {
                            for (list, picks) in picks.iter().enumerate() {
                                for lane in 0..width {
                                    let expected = at(i, picks[lane] as usize);
                                    assert_eq!(to[list * width + lane], expected);
                                }
                            }
                            assert!(to[picks.len() * width..].iter().all(|v| v.is_nan()));
                        }
                    }
                }
            }
        }
    }
}
