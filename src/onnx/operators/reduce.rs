//! Reductions, the softmax family, sorting.

use super::Build;

/// The operators of this family.
pub(super) const TABLE: &[(&str, Build)] = &[];
