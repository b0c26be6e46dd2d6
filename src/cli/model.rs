//! What the commands that run models share: how much memory and how many threads, and tensors in files.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use console::measure_text_width;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::part::Part;
use super::{bytes, printable};
use crate::data::npy;
use crate::network::{Graph, Network, NetworkOptions, Tensor};
use crate::onnx::{ImportOptions, import, read_tensor};

/// Limits of a model.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// Number of threads that compute; by default as many as the machine has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// The most memory that reading the model may take, and again that running it may, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,
}

impl ModelArgs {
    pub(crate) fn limit(&self) -> usize {
        usize::try_from(u64::from(self.memory) << 20).unwrap_or(usize::MAX)
    }

    pub(crate) fn import_options(&self) -> ImportOptions {
        ImportOptions::new().memory_limit(self.limit())
    }

    pub(crate) fn network_options(&self) -> NetworkOptions {
        NetworkOptions::new().memory_limit(self.limit())
    }

    pub(crate) fn import(&self, model: &Path) -> Result<Graph> {
        Ok(import(model, &self.import_options())?)
    }

    pub(crate) fn network(&self, graph: Graph) -> Result<Network> {
        Ok(Network::with_options(graph, self.network_options())?)
    }

    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None => thread::available_parallelism().map_or(1, usize::from),
        }
    }

    pub(crate) fn pool(&self) -> Result<ThreadPool> {
        thread_pool(self.threads())
    }

    /// The bytes of a regular file that is not beyond the limit.
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let facts = fs::metadata(path).context("cannot be read")?;
        // Opening a pipe that nobody writes to would wait for ever.
        ensure!(facts.is_file(), "is not a regular file");
        let limit = u64::try_from(self.limit())?;
        ensure!(
            facts.len() <= limit,
            "has {} on disk, the limit is {}; raise it with --memory",
            bytes(facts.len()),
            bytes(limit)
        );
        fs::read(path).context("cannot be read")
    }

    /// The tensor in a `.npy` or `.pb` file, with the name that it has there.
    pub(crate) fn tensor(&self, path: &Path) -> Result<(String, Tensor)> {
        let of = || path.display().to_string();
        match path.extension().and_then(OsStr::to_str) {
            Some("npy") => {
                let tensor = npy::read(&self.read(path).with_context(of)?).with_context(of)?;
                Ok((String::new(), tensor))
            }
            Some("pb") => read_tensor(&self.read(path).with_context(of)?).with_context(of),
            _ => bail!(
                "{}: tensors are read from .npy and .pb files",
                path.display()
            ),
        }
    }
}

/// A pool of so many threads.
pub(crate) fn thread_pool(threads: usize) -> Result<ThreadPool> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .with_context(|| format!("starting {threads} threads"))
}

/// `[1, 3, 224, 224]` as `1x3x224x224`; a single number as `scalar`.
pub(crate) fn shape(shape: &[usize]) -> String {
    match shape {
        [] => "scalar".to_owned(),
        sizes => {
            let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
            sizes.join("x")
        }
    }
}

/// The rows of a table below each other, the columns apart; numbers, which are `right`, end below each other.
pub(crate) fn aligned<R: AsRef<[String]>>(rows: &[R], right: impl AsRef<[bool]>) -> Vec<String> {
    let right = right.as_ref();
    let mut widths = vec![0; right.len()];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = measure_text_width(cell).max(*width);
        }
    }
    let line = |row: &R| {
        let cells = row.as_ref().iter().zip(&widths).zip(right);
        let line: String = cells
            .map(|((cell, width), right)| {
                let space = " ".repeat(width - measure_text_width(cell));
                match right {
                    true => format!("{space}{cell}  "),
                    false => format!("{cell}{space}  "),
                }
            })
            .collect();
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Writes a file whole or not at all.
pub(crate) fn write_file(path: &Path, contents: &[u8]) -> Result<()> {
    let writing = || format!("cannot write {}", path.display());
    let part = Part::beside(path).with_context(writing)?;
    part.file().write_all(contents).with_context(writing)?;
    part.keep()
}

/// A line on standard output, without control characters.
pub(crate) fn say(line: &str) -> Result<()> {
    writeln!(io::stdout().lock(), "{}", printable(line)).context("writing to standard output")
}
