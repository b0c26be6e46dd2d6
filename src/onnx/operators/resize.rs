//! Resizing, and moves between channels and pixels.

use super::Build;

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[];
