//! Networks: planning, sessions, passes.
#![cfg(feature = "network")]

mod sessions;
