//! The program `gemmconv`: arguments to a command, one file a command.

pub mod problem;
