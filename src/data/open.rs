//! What a directory holds, found by the names in it.
//!
//! ```text
//! idx       train-images-idx3-ubyte, train-labels-idx1-ubyte │ t10k-…      also with .gz, also train-images.idx3-ubyte
//! CIFAR-10  data_batch_1.bin, data_batch_2.bin, …            │ test_batch.bin
//! CIFAR-100 train.bin                                        │ test.bin
//! npy       train_images.npy, train_labels.npy               │ test_images.npy, test_labels.npy
//! folders   train/class/picture                              │ test/class/picture, else val/class/picture
//! folder    class/picture: a share of each class, drawn by a seed, is for testing
//! ```
//!
//! The names of the classes of idx and npy may stand in `classes.txt`, one a line. Else their number is one more than
//! the largest label to train with, and each must have an example. A directory that holds several of these is an error:
//! which one is meant is not guessed.

use std::path::{Path, PathBuf};

use super::cifar::Cifar;
use super::dataset::{self, Dataset, InMemory, Split, counted, names_in, numbered};
use super::folder::{Folder, FolderOptions};
use super::listing::{Listing, folders_in};
use super::{idx, named, npy, picture, unreadable};
use crate::error::{Error, Result};
use crate::geometry::Layout;
use crate::network::Tensor;

/// How a directory is read.
#[derive(Clone, Debug)]
pub struct DataOptions {
    classes: Option<usize>,
    memory_limit: u64,
    npy_layout: Layout,
    folder: FolderOptions,
    test_share: f64,
    seed: u64,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl DataOptions {
    /// Up to 1 GiB for the arrays of a split, `.npy` channels first, pictures as in [`FolderOptions::new`]; of a
    /// folder without parts a fifth of each class, drawn by the seed 0, is for testing.
    pub fn new() -> Self {
        Self {
            classes: None,
            memory_limit: idx::DEFAULT_LIMIT,
            npy_layout: Layout::ChannelsFirst,
            folder: FolderOptions::new(),
            test_share: 0.2,
            seed: 0,
        }
    }

    /// Sets the number of classes of idx and npy; some may have no example then.
    pub fn classes(mut self, classes: usize) -> Self {
        self.classes = Some(classes);
        self
    }

    /// Sets the most bytes that a file of arrays may take. (Of pictures, [`FolderOptions::memory_limit`].)
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Sets the order of the axes of images in `.npy`.
    pub fn npy_layout(mut self, layout: Layout) -> Self {
        self.npy_layout = layout;
        self
    }

    /// Sets how pictures become images.
    pub fn folder(mut self, options: FolderOptions) -> Self {
        self.folder = options;
        self
    }

    /// Sets which share of each class of a folder without parts is for testing.
    pub fn test_share(mut self, share: f64) -> Self {
        self.test_share = share;
        self
    }

    /// Sets what that share is drawn by.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// The examples of `split` in a directory, as [`DataOptions::new`] has it.
///
/// # Errors
/// As [`open_with`].
pub fn open(dir: &Path, split: Split) -> Result<Box<dyn Dataset>> {
    open_with(dir, split, &DataOptions::new())
}

/// The examples of `split` in a directory.
///
/// # Errors
/// Nothing that is recognised, or several data sets at once; files that are missing, broken, or contradict each other;
/// a class without an example; no example at all.
pub fn open_with(dir: &Path, split: Split, options: &DataOptions) -> Result<Box<dyn Dataset>> {
    let data: Box<dyn Dataset> = match Kind::of(dir)? {
        Kind::Idx => Box::new(arrays(dir, split, options, &IDX)?),
        Kind::Npy => Box::new(arrays(dir, split, options, &NPY)?),
        Kind::Cifar(kind) => {
            let files = kind.files(dir, split)?;
            if files.is_empty() {
                return Err(missing(dir, &[kind.looked_for(split)]));
            }
            let limit = options.memory_limit;
            Box::new(kind.read(&files, kind.class_names(dir)?, limit)?)
        }
        Kind::Parts => {
            let listing = Listing::of(&part(dir, split)?)?;
            // The classes are those to train with.
            if split == Split::Test
                && let Ok(train) = part(dir, Split::Train)
            {
                same_classes(&Listing::of(&train)?, &listing)?;
            }
            Box::new(Folder::new(listing, &options.folder)?)
        }
        Kind::Folder => {
            let listing = Listing::of(dir).map_err(|error| match &error {
                Error::At { source, .. }
                    if matches!(**source, Error::EmptyClass { examples: 0, .. }) =>
                {
                    missing(dir, &LOOKED_FOR)
                }
                _ => error,
            })?;
            let listing = listing.part(split, options.test_share, options.seed)?;
            Box::new(Folder::new(listing, &options.folder)?)
        }
    };
    match (data.is_empty(), split) {
        (false, _) => Ok(data),
        (true, Split::Train) => Err(nothing("examples to train with", dir)),
        (true, Split::Test) => Err(nothing("examples to test with", dir)),
    }
}

fn nothing(what: &'static str, dir: &Path) -> Error {
    Error::ZeroCount { what }.at(dir.display().to_string())
}

/// What a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Idx,
    Cifar(Cifar),
    Npy,
    Parts,
    Folder,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Idx => "idx files",
            Self::Cifar(Cifar::Ten) => "CIFAR-10",
            Self::Cifar(Cifar::Hundred) => "CIFAR-100",
            Self::Npy => ".npy files",
            Self::Parts => "train/ and test/ with folders of pictures",
            Self::Folder => "folders of pictures",
        }
    }

    /// What `dir` holds.
    fn of(dir: &Path) -> Result<Self> {
        let mut found = Vec::new();
        let folders = folders_in(dir)?;
        for split in [Split::Train, Split::Test] {
            for (files, kind) in [(&IDX, Self::Idx), (&NPY, Self::Npy)] {
                if first(dir, &files.images(split)).is_some() {
                    found.push(kind);
                }
            }
            for kind in [Cifar::Ten, Cifar::Hundred] {
                if !kind.files(dir, split)?.is_empty() {
                    found.push(Self::Cifar(kind));
                }
            }
            // A class may be called train.
            if let Ok(part) = part(dir, split)
                && !folders_in(&part)?.is_empty()
            {
                found.push(Self::Parts);
            }
        }
        found.sort_by_key(|kind| kind.name());
        found.dedup();
        match found[..] {
            [kind] => Ok(kind),
            [] if !folders.is_empty() => Ok(Self::Folder),
            [] => Err(missing(dir, &LOOKED_FOR)),
            _ => {
                let names: Vec<&str> = found.iter().map(|kind| kind.name()).collect();
                Err(unreadable(format!(
                    "holds several data sets, {}: give each a directory of its own",
                    names.join(" and ")
                ))
                .at(dir.display().to_string()))
            }
        }
    }
}

/// What a directory may hold, for the error.
const LOOKED_FOR: [&str; 6] = [
    "train-images-idx3-ubyte[.gz] (MNIST)",
    "data_batch_1.bin (CIFAR-10)",
    "train.bin (CIFAR-100)",
    "train_images.npy",
    "train/ with a folder of pictures for each class",
    "a folder of pictures for each class",
];

/// The error that lists what was looked for.
fn missing(dir: &Path, looked_for: &[impl AsRef<str>]) -> Error {
    let names: Vec<&str> = looked_for.iter().map(AsRef::as_ref).collect();
    unreadable(format!(
        "there is none of what was looked for: {}",
        names.join(", ")
    ))
    .at(dir.display().to_string())
}

/// The first of the names that is a file in `dir`.
fn first(dir: &Path, names: &[String]) -> Option<PathBuf> {
    names
        .iter()
        .map(|name| dir.join(name))
        .find(|path| path.exists())
}

/// The folder of a part.
fn part(dir: &Path, split: Split) -> Result<PathBuf> {
    let names: &[&str] = match split {
        Split::Train => &["train"],
        Split::Test => &["test", "val"],
    };
    let paths = names.iter().map(|name| dir.join(name));
    let mut found = paths.filter(|path| path.is_dir());
    found.next().ok_or_else(|| {
        let names: Vec<String> = names.iter().map(|name| format!("{name}/")).collect();
        missing(dir, &names)
    })
}

fn same_classes(train: &Listing, test: &Listing) -> Result<()> {
    let other = |one: &Listing, other: &Listing| {
        let class = one.classes.iter();
        let mut class = class.filter(|class| !other.classes.contains(class));
        class.next().map(|class| {
            unreadable(format!(
                "class {class:?} of {} is not in {}",
                one.dir.display(),
                other.dir.display()
            ))
        })
    };
    match other(train, test).or_else(|| other(test, train)) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Images and labels in two files of arrays.
struct Arrays {
    /// The names of the files of a split: of images, else of labels.
    names: fn(Split, bool) -> Vec<String>,
    /// An array of images (true) or labels.
    read: fn(&Path, bool, u64) -> Result<Tensor>,
}

impl Arrays {
    fn images(&self, split: Split) -> Vec<String> {
        (self.names)(split, true)
    }

    fn find(&self, dir: &Path, split: Split, images: bool) -> Result<PathBuf> {
        let names = (self.names)(split, images);
        first(dir, &names).ok_or_else(|| missing(dir, &names))
    }
}

const IDX: Arrays = Arrays {
    names: |split, images| {
        let split = match split {
            Split::Train => "train",
            Split::Test => "t10k",
        };
        let (what, axes) = if images { ("images", 3) } else { ("labels", 1) };
        let plain = ["-", "."].map(|dot| format!("{split}-{what}{dot}idx{axes}-ubyte"));
        let packed = plain.each_ref().map(|name| format!("{name}.gz"));
        [plain, packed].concat()
    },
    read: |path, images, limit| {
        let array = idx::read_file(path, limit)?;
        let expected = if images { 3 } else { 1 };
        match array.ndim() {
            rank if rank == expected => Ok(array.into()),
            got => Err(Error::Rank {
                what: if images {
                    "an array of images"
                } else {
                    "an array of labels"
                },
                expected,
                got,
            }
            .at(path.display().to_string())),
        }
    },
};

const NPY: Arrays = Arrays {
    names: |split, images| {
        let what = if images { "images" } else { "labels" };
        vec![format!("{}_{what}.npy", split.name())]
    },
    read: |path, _, limit| {
        let tensor = picture::read_file(path, limit).and_then(|bytes| npy::read(&bytes));
        tensor.map_err(|error| named(error, path))
    },
};

/// The examples of a split in files of arrays.
fn arrays(dir: &Path, split: Split, options: &DataOptions, files: &Arrays) -> Result<InMemory> {
    let limit = options.memory_limit;
    let read = |split, images| -> Result<(PathBuf, Tensor)> {
        let path = files.find(dir, split, images)?;
        let tensor = (files.read)(&path, images, limit)?;
        Ok((path, tensor))
    };
    let (label_path, label_tensor) = read(split, false)?;
    let names = classes(dir, options)?;
    let names = match names {
        Some(names) => names,
        None => {
            // Those to train with say how many classes there are, where they are there.
            let train = match split {
                Split::Test if files.find(dir, Split::Train, false).is_ok() => {
                    let (path, tensor) = read(Split::Train, false)?;
                    Some(dataset::labels(&tensor, None).map_err(|error| named(error, &path))?)
                }
                _ => None,
            };
            let own = || dataset::labels(&label_tensor, None);
            let all = match train {
                Some(train) => train,
                None => own().map_err(|error| named(error, &label_path))?,
            };
            numbered(counted(&all).map_err(|error| named(error, &label_path))?)
        }
    };
    let labels = dataset::labels(&label_tensor, Some(names.len()));
    let labels = labels.map_err(|error| named(error, &label_path))?;
    let (path, images) = read(split, true)?;
    let count = images.shape().first().copied().unwrap_or(0);
    if count != labels.len() {
        let wrong = Error::BufferLength {
            what: "the list of labels",
            expected: count,
            got: labels.len(),
        };
        return Err(named(wrong, &label_path));
    }
    InMemory::from_tensor(images, options.npy_layout, labels, names)
        .map_err(|error| named(error, &path))
}

/// The names of the classes where they or their number are given.
fn classes(dir: &Path, options: &DataOptions) -> Result<Option<Vec<String>>> {
    const MOST: usize = 1 << 20;
    let path = dir.join("classes.txt");
    match options.classes {
        _ if path.exists() => names_in(&path, options.classes).map(Some),
        Some(classes @ 1..=MOST) => Ok(Some(numbered(classes))),
        Some(classes) => Err(Error::Parameter {
            what: "the number of classes",
            got: classes as f64,
            expected: "1 to 2^20",
        }),
        None => Ok(None),
    }
}
