//! Files to arrays: every size that a file claims is checked before anything is allocated for it.
//!
//! ```text
//! npy       tensors of NumPy
//! picture   JPEG, PNG, … ──► prepare: crop, resize, scale ──► what a network takes
//!
//! idx       MNIST's files                 ─┐
//! cifar     CIFAR-10's and CIFAR-100's     ├─► dataset: images [C, H, W] with labels ─► augment ─► normalise
//! folder    a folder of pictures a class   │   open: what does this directory hold?
//! npy       arrays of images and labels   ─┘
//! ```

#[cfg(feature = "train")]
pub mod augment;
#[cfg(feature = "train")]
pub mod cifar;
#[cfg(feature = "train")]
pub mod dataset;
#[cfg(feature = "train")]
pub mod folder;
#[cfg(feature = "train")]
pub mod idx;
#[cfg(feature = "train")]
pub mod listing;
#[cfg(feature = "train")]
pub mod normalise;
pub mod npy;
#[cfg(feature = "train")]
pub mod open;
pub mod picture;
pub mod prepare;
#[cfg(feature = "train")]
pub(crate) mod random;

use std::any::Any;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::error::{Error, Result};

/// The error for bytes that are not what they should be.
fn unreadable(what: String) -> Error {
    Error::Data { what }
}

/// What the system says about a file.
fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::io(path, error)
}

/// A regular file, open, and its length: opening a pipe that nobody writes to would wait for ever.
fn regular(path: &Path) -> Result<(File, u64)> {
    let facts = fs::metadata(path).map_err(|error| failed(path, &error))?;
    if !facts.is_file() {
        let error = std::io::Error::other("is not a regular file");
        return Err(failed(path, &error));
    }
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    Ok((file, facts.len()))
}

/// An error where more bytes are needed than are allowed.
fn within(needed: u64, limit: u64, what: impl Fn() -> String) -> Result<()> {
    if needed <= limit {
        return Ok(());
    }
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Err(Error::MemoryBudget {
        needed: size(needed),
        budget: size(limit),
    }
    .at(what()))
}

/// `error` with the file that it is about.
#[cfg(feature = "train")]
fn named(error: Error, path: &Path) -> Error {
    match error {
        error @ Error::Io { .. } => error,
        error => error.at(path.display().to_string()),
    }
}

/// `work`, or the error of a panic in it: `who` fails on one file, not on the others.
pub(crate) fn guarded<T>(who: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(unreadable(format!("{who} failed: {}", message(&panic)))))
}

fn message(panic: &Box<dyn Any + Send>) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
