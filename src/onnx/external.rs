//! Elements of tensors that stand in another file beside the model.

use super::proto::EntryProto;
use crate::error::{Error, Result};

/// The files that tensors may refer to: none.
pub(super) struct ExternalData;

impl ExternalData {
    /// No file at all.
    pub fn none() -> Self {
        Self
    }

    /// The `bytes` bytes that `entries` say where to find.
    pub fn read(&self, _entries: &[EntryProto], _bytes: usize) -> Result<Vec<u8>> {
        Err(Error::Model {
            what: "its elements are in another file, which is not read here".to_owned(),
        })
    }
}
