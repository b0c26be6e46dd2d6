//! CIFAR-10 and CIFAR-100 in their binary form.
//!
//! ```text
//! CIFAR-10   label, 3072 pixels                   data_batch_1.bin, … │ test_batch.bin    batches.meta.txt
//! CIFAR-100  coarse label, label, 3072 pixels     train.bin           │ test.bin          fine_label_names.txt
//! ```
//!
//! A record is an image of 32 × 32: its red plane, its green one, its blue one. A file is a whole number of records.
//! The labels of CIFAR-100 are the fine ones.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ndarray::Array4;

use super::dataset::{InMemory, Split, names_in, numbered};
use super::{failed, regular, unreadable, within};
use crate::element::{filled, reserved};
use crate::error::{Error, Result, product};

/// Bytes of the pixels of an image.
const PIXELS: usize = 3 * SIDE * SIDE;
const SIDE: usize = 32;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cifar {
    /// Ten classes.
    Ten,
    /// A hundred.
    Hundred,
}

impl Cifar {
    /// How many classes.
    pub fn classes(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }

    /// How many values the labels of a record have, in their order; the last one is the class.
    fn labels(self) -> &'static [usize] {
        match self {
            Self::Ten => &[10],
            Self::Hundred => &[20, 100],
        }
    }

    /// What its files are called, for messages.
    pub(super) fn looked_for(self, split: Split) -> &'static str {
        match (self, split) {
            (Self::Ten, Split::Train) => "data_batch_1.bin, data_batch_2.bin, …",
            (Self::Ten, Split::Test) => "test_batch.bin",
            (Self::Hundred, Split::Train) => "train.bin",
            (Self::Hundred, Split::Test) => "test.bin",
        }
    }

    /// The files of `split` in a directory.
    ///
    /// # Errors
    /// A directory that cannot be listed; a gap in the numbers of `data_batch_*.bin`.
    pub fn files(self, dir: &Path, split: Split) -> Result<Vec<PathBuf>> {
        if (self, split) != (Self::Ten, Split::Train) {
            let file = dir.join(self.looked_for(split));
            return Ok(if file.exists() {
                vec![file]
            } else {
                Vec::new()
            });
        }
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir).map_err(|error| failed(dir, &error))? {
            let name = entry.map_err(|error| failed(dir, &error))?.file_name();
            let number = name.to_str().and_then(|name| {
                let number = name.strip_prefix("data_batch_")?.strip_suffix(".bin")?;
                number.parse::<usize>().ok()
            });
            numbers.extend(number);
        }
        numbers.sort_unstable();
        let expected = 1..=numbers.len();
        match numbers.iter().copied().eq(expected) {
            true => Ok(numbers
                .iter()
                .map(|number| dir.join(format!("data_batch_{number}.bin")))
                .collect()),
            false => Err(unreadable(format!(
                "the files data_batch_*.bin have the numbers {numbers:?}, expected 1 to {}",
                numbers.len()
            ))
            .at(dir.display().to_string())),
        }
    }

    /// The names of the classes that stand in a directory, else their numbers.
    ///
    /// # Errors
    /// A list that cannot be read, or has another number of names.
    pub fn class_names(self, dir: &Path) -> Result<Vec<String>> {
        let path = dir.join(match self {
            Self::Ten => "batches.meta.txt",
            Self::Hundred => "fine_label_names.txt",
        });
        match path.exists() {
            true => names_in(&path, Some(self.classes())),
            false => Ok(numbered(self.classes())),
        }
    }

    /// The examples in `files`, one file after the other, of at most `limit` bytes.
    ///
    /// # Errors
    /// A file that cannot be read or is no whole number of records; a label out of range; more bytes than the limit.
    pub fn read(self, files: &[PathBuf], names: Vec<String>, limit: u64) -> Result<InMemory> {
        let record = self.labels().len() + PIXELS;
        let mut counts = Vec::with_capacity(files.len());
        let mut total = 0usize;
        for path in files {
            let (_, len) = regular(path)?;
            let count = whole(len, record).map_err(|error| error.at(path.display().to_string()))?;
            total = total.saturating_add(count);
            counts.push(count);
        }
        let bytes = product("CIFAR's images", &[total, PIXELS])?;
        within(bytes as u64, limit, || format!("{total} images"))?;
        let mut pixels = reserved(bytes)?;
        let mut labels = reserved(total)?;
        for (path, count) in files.iter().zip(counts) {
            self.append(path, count, &mut pixels, &mut labels)?;
        }
        let shape = (total, 3, SIDE, SIDE);
        let images = Array4::from_shape_vec(shape, pixels);
        InMemory::new(
            images.map_err(|error| unreadable(error.to_string()))?,
            labels,
            names,
        )
    }

    /// Reads the `count` records of a file, one at a time.
    fn append(
        self,
        path: &Path,
        count: usize,
        pixels: &mut Vec<u8>,
        labels: &mut Vec<usize>,
    ) -> Result<()> {
        let place = || path.display().to_string();
        let kinds = self.labels();
        let mut file = std::io::BufReader::with_capacity(1 << 16, regular(path)?.0);
        let mut record = filled(kinds.len() + PIXELS, 0)?;
        for example in 0..count {
            let read = file.read_exact(&mut record);
            read.map_err(|error| failed(path, &error))?;
            let (head, image) = record.split_at(kinds.len());
            for (&label, &classes) in head.iter().zip(kinds) {
                if usize::from(label) >= classes {
                    return Err(Error::Label {
                        example,
                        label: label.into(),
                        classes,
                    }
                    .at(place()));
                }
            }
            labels.extend(head.last().map(|&label| usize::from(label)));
            pixels.extend_from_slice(image);
        }
        Ok(())
    }
}

/// How many records a file of `len` bytes holds.
fn whole(len: u64, record: usize) -> Result<usize> {
    let (count, left) = (len / record as u64, len % record as u64);
    if left != 0 {
        return Err(unreadable(format!(
            "{len} bytes are {count} records of {record} and {left} bytes more"
        )));
    }
    usize::try_from(count).map_err(|_| Error::Overflow {
        what: "CIFAR's images",
    })
}
