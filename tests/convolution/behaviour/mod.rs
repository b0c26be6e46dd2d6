//! What happens in every odd case: refused requests as typed errors with their numbers, special values, empty
//! batches, memory, and the traps that other libraries fell into. Nothing panics.

mod buffers;
mod channels;
mod memory;
mod nonsense;
mod refused;
mod regressions;
mod transposed;
mod traps;
mod values;
