//! Laws that a convolution obeys whatever its sizes. On integers every law is exact.

#[path = "../support/mod.rs"]
mod support;

mod derivatives;
mod linear;
mod rounding;
mod shifts;
mod table;
mod threads;
mod transposed;
mod views;
