//! Operators that move elements or make them.

use super::Build;

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[];
