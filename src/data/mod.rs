//! Files to arrays: every size that a file claims is checked before anything is allocated for it.
//!
//! ```text
//! npy       tensors of NumPy
//! picture   JPEG, PNG, … ──► prepare: crop, resize, scale ──► what a network takes
//! ```

pub mod npy;
pub mod picture;
pub mod prepare;

use crate::error::Error;

/// The error for bytes that are not what they should be.
fn unreadable(what: String) -> Error {
    Error::Data { what }
}
