//! WHAT SHAPE: sizes only, every sum and product checked.
//!
//! One spatial axis at a time ([`Axis`]), then the whole of a convolution ([`ConvGeometry`]), a
//! transposed one ([`TransposedGeometry`]) and a pooling ([`PoolGeometry`]). No floats, no slices of
//! data, no threads. Whatever is wrong with a request is found here, once, for every entry point.

mod axis;
mod conv;
mod options;
mod padding;
mod patch;
mod per_axis;
mod pool;
mod receptive;
mod sweep;
mod transposed;
mod window;

pub use axis::Axis;
pub use conv::ConvGeometry;
pub use options::{ConvOptions, Layout};
pub use padding::{Padding, PaddingMode};
pub use patch::PatchGeometry;
pub use per_axis::PerAxis;
pub(crate) use pool::spatial_rank;
pub use pool::{PoolGeometry, PoolOptions};
pub use receptive::{ReceptiveField, receptive_field};
pub(crate) use sweep::SweepAxis;
pub use transposed::{TransposedGeometry, TransposedOptions};
pub use window::Divisor;
pub(crate) use window::{Taps, WindowAxis};
