//! The program, run as a person or another program runs it, and what the repository ships beside it.
#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../drawn/mod.rs"]
mod drawn;
#[path = "../support/mod.rs"]
mod support;

mod bench;
mod bench_network;
mod classify;
mod explain;
mod explain_page;
mod filter;
mod lessons;
mod network;
mod shapes;
mod train;
