//! The sizes of a pooling.
