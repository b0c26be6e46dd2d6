//! Axes of a reduction, with the channels first and last.

use crate::network::operator::check::{span, turned, turned_axis};

/// `[lengths before, its length, lengths after]` of an axis.
pub(super) fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [span(&shape[..axis]), shape[axis], span(&shape[axis + 1..])]
}

/// `shape` after a reduction over `axes`, which stay with length 1 where they are kept.
pub(super) fn reduced_shape(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let lengths = shape.iter().enumerate();
    lengths
        .filter(|(axis, _)| keep || !axes.contains(axis))
        .map(|(axis, &length)| if axes.contains(&axis) { 1 } else { length })
        .collect()
}

/// Whether reducing the turned axes of a turned array of the logical `shape` gives the turned result.
///
/// Without the axes that are gone, the rest may come in another order than that of a turned array of their number.
pub(super) fn reduces_turned(shape: &[usize], axes: &[usize], keep: bool) -> bool {
    if keep || shape.len() < 3 {
        return true;
    }
    let logical: Vec<usize> = (0..shape.len()).collect();
    let stays = |axis: &usize| !axes.contains(axis);
    let long = |order: Vec<usize>| -> Vec<usize> {
        order.into_iter().filter(|&axis| shape[axis] != 1).collect()
    };
    let lie = turned(&logical).into_iter().filter(stays).collect();
    let kept: Vec<usize> = logical.into_iter().filter(stays).collect();
    long(lie) == long(turned(&kept))
}

/// `axes` of an array of `rank` axes as they stand with the channels last.
pub(super) fn turned_axes(axes: &[usize], rank: usize) -> Vec<usize> {
    axes.iter().map(|&axis| turned_axis(axis, rank)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_would_lie_otherwise_are_known() {
        let shape = [2, 3, 4, 5];
        assert!(reduces_turned(&shape, &[2, 3], false));
        assert!(reduces_turned(&shape, &[3], false));
        assert!(reduces_turned(&shape, &[1], true));
        assert!(reduces_turned(&shape, &[0, 1, 2, 3], false));
        assert!(!reduces_turned(&shape, &[1], false));
        assert!(!reduces_turned(&shape, &[0], false));
        assert!(reduces_turned(&[2, 3, 4, 1], &[1], false));
        assert!(reduces_turned(&[2, 3], &[1], false));
    }
}
