//! Which pictures are in a folder of classes, and in which part of it.
//!
//! ```text
//! dir/cat/1.jpg, dir/cat/more/2.png, dir/dog/1.jpg ──► classes cat, dog   labels 0, 0, 1
//!
//! part:  n pictures of a class, shuffled by (seed, class): the first round(share · n) to test, the others to train
//! ```
//!
//! Pictures are the files with an extension of a format that is read, in the folder of the class or below it, sorted
//! by their paths. Hidden files and folders are left out, and below the folder of a class links to folders too.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::dataset::Split;
use super::random::{End, generator};
use super::{failed, unreadable};
use crate::error::{Error, Result};

/// Extensions of the formats that are read.
const EXTENSIONS: [&str; 12] = [
    "png", "jpg", "jpeg", "tif", "tiff", "bmp", "webp", "gif", "pnm", "pbm", "pgm", "ppm",
];

/// The pictures of a folder by their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The folder.
    pub dir: PathBuf,
    /// The names of the classes, sorted.
    pub classes: Vec<String>,
    /// The pictures, class after class.
    pub files: Vec<PathBuf>,
    /// The class of each.
    pub labels: Vec<usize>,
}

impl Listing {
    /// What is in `dir`.
    ///
    /// # Errors
    /// A folder that cannot be listed; no folders in it; a class without pictures.
    pub fn of(dir: &Path) -> Result<Self> {
        let names = folders_in(dir)?;
        if names.is_empty() {
            return Err(
                unreadable("no folder of a class in it".to_owned()).at(dir.display().to_string())
            );
        }
        let mut listing = Self {
            dir: dir.to_path_buf(),
            classes: Vec::with_capacity(names.len()),
            files: Vec::new(),
            labels: Vec::new(),
        };
        let mut empty = None;
        for (class, name) in names.iter().enumerate() {
            let files = pictures_below(&dir.join(name))?;
            let text = name.to_string_lossy().into_owned();
            if files.is_empty() {
                empty.get_or_insert_with(|| text.clone());
            }
            listing.labels.extend(files.iter().map(|_| class));
            listing.files.extend(files);
            listing.classes.push(text);
        }
        match empty {
            None => Ok(listing),
            Some(class) => Err(Error::EmptyClass {
                class,
                examples: listing.files.len(),
            }
            .at(dir.display().to_string())),
        }
    }

    /// The part of it that `split` is: of each class `test_share` of the pictures, drawn by `seed`, are for testing,
    /// but at least one is left to train with, and one to test with if there are two.
    ///
    /// # Errors
    /// A share that is not between 0 and 1.
    pub fn part(&self, split: Split, test_share: f64, seed: u64) -> Result<Self> {
        if !(test_share > 0.0 && test_share < 1.0) {
            return Err(Error::Parameter {
                what: "the share to test with",
                got: test_share,
                expected: "above 0, below 1",
            });
        }
        let mut part = Self {
            files: Vec::new(),
            labels: Vec::new(),
            ..self.clone()
        };
        let mut first = 0;
        for class in 0..self.classes.len() {
            let count = self.labels.iter().filter(|&&label| label == class).count();
            let mut order: Vec<usize> = (first..first + count).collect();
            generator(seed, End::Split, &[class as u64]).shuffle(&mut order);
            // Below `count`, which a share below 1 cannot make larger.
            let wanted = (count as f64 * test_share).round() as usize;
            let test = wanted.clamp(1, count.saturating_sub(1).max(1));
            let test = if count < 2 { 0 } else { test };
            let mut chosen = match split {
                Split::Train => order.split_off(test),
                Split::Test => order[..test].to_vec(),
            };
            chosen.sort_unstable();
            let files = chosen.iter().map(|&index| self.files[index].clone());
            part.files.extend(files);
            part.labels.extend(chosen.iter().map(|_| class));
            first += count;
        }
        Ok(part)
    }
}

fn hidden(name: &OsString) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// The sorted names of the folders in a folder; hidden ones are left out.
pub(super) fn folders_in(dir: &Path) -> Result<Vec<OsString>> {
    let failed = |error| failed(dir, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !hidden(&name) && dir.join(&name).is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The sorted pictures in a folder and below it.
fn pictures_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let failed = |error| failed(&folder, &error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if hidden(&entry.file_name()) {
                continue;
            }
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            if kind.is_dir() {
                folders.push(path);
            } else if is_picture(&path) && !path.is_dir() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}
