//! Operators that work on each element by itself, with numpy's broadcasting where they have several inputs.

mod aligned;
mod binary;
mod binary_gradient;
mod broadcast;
mod cast;
mod clip;
mod clip_backward;
mod convert;
mod number;
mod power;
mod select;
mod unary;
mod unary_backward;
mod unbroadcast;
mod values;
mod variadic;

pub use binary::Binary;
pub(super) use broadcast::{Broadcast, broadcast_shape, zip_in_place};
pub use cast::{Cast, Special};
pub use clip::Clip;
pub use clip_backward::ClipBackward;
pub(super) use number::{Integer, Number, Ordered, with_integer, with_number};
pub use select::Where;
pub use unary::Unary;
pub use unary_backward::UnaryBackward;
pub(super) use unbroadcast::{give_sum, integers, number};
pub use variadic::Variadic;

use crate::parallel::for_each_piece;

/// Elements from which a second piece is worth a thread: some 10 µs of work.
pub(super) const PIECE: usize = 1 << 15;

/// Calls `body(start, piece)` for pieces of `y`, on several threads where there are several pieces.
pub(super) fn in_pieces<T: Send>(y: &mut [T], body: impl Fn(usize, &mut [T]) + Sync) {
    for_each_piece(y, PIECE, &|index, piece| body(index * PIECE, piece));
}
