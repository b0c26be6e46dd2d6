//! The native recipes by themselves: every instruction set that this CPU has, at the edges of tiles and vectors, on
//! slices that lie anywhere, with every epilogue.

mod edges;
mod epilogue;
mod isa;
mod layer;
mod shares;
mod slices;
mod special;
mod sums;
mod training;
mod weights;
mod winograd;
mod winograd_pieces;
mod winograd_weight;
