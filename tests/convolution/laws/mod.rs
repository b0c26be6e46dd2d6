//! Laws that a convolution obeys whatever its sizes. On integers every law is exact.

mod derivatives;
mod linear;
mod rounding;
mod shifts;
mod table;
mod threads;
mod transposed;
mod views;
