//! Checkpoints: folders from which a training goes on as if it had never stopped.
//!
//! ```text
//! FOLDER/step-00001234/weights.safetensors    parameters and running statistics
//!                      state.safetensors      the slots of the optimizer
//!                      state.json             {"format": 1, "step": 1234, "state": what the training keeps besides}
//!
//! save:  write FOLDER/.writing-step-00001234/, every file and the folder flushed to the disk
//!        rename it to step-00001234, flush FOLDER                       complete from here on
//!        of the older ones all but some: rename to .removing-…, flush FOLDER, delete
//! ```
//! So a folder that is named `step-…` is complete whenever the process is killed or the machine stops, and is never
//! written again. What begins with `.writing-` or `.removing-` was left by a process that ended early; the next one
//! deletes it. A lock keeps two processes from writing into one folder; reading needs none.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::weights::{Encoded, NamedTensor, Weights};
use crate::data::picture::read_file;
use crate::error::{Error, Result};

/// The version of `state.json` that is written and read.
const FORMAT: u32 = 1;

/// The largest `state.json` that is read.
const MAX_STATE_BYTES: u64 = 64 << 20;

const WEIGHTS: &str = "weights.safetensors";
const SLOTS: &str = "state.safetensors";
const STATE: &str = "state.json";
const LOCK: &str = ".lock";

/// The note that tells the step of a file, so that files of two checkpoints are not taken for one.
const STEP: &str = "step";

/// What a checkpoint is made of.
#[derive(Debug)]
pub struct Contents<'c, S> {
    /// The number of steps that were done.
    pub step: u64,
    /// Parameters and running statistics.
    pub weights: &'c [NamedTensor<'c>],
    /// Notes in the file of weights, such as architecture and classes; `step` is added.
    pub metadata: &'c BTreeMap<String, String>,
    /// The slots of the optimizer.
    pub slots: &'c [NamedTensor<'c>],
    /// Everything else: epoch, seed, options. Give new fields `#[serde(default)]`, and older files remain readable.
    pub state: &'c S,
}

/// A checkpoint that was read; its files belong to the same step.
#[derive(Debug)]
pub struct Checkpoint<S> {
    /// Its folder.
    pub path: PathBuf,
    /// The number of steps that were done.
    pub step: u64,
    /// Parameters and running statistics.
    pub weights: Weights,
    /// The slots of the optimizer.
    pub slots: Weights,
    /// Everything else.
    pub state: S,
}

/// The newest checkpoint that can be read.
#[derive(Debug)]
pub struct Newest<S> {
    /// None where there is none.
    pub checkpoint: Option<Checkpoint<S>>,
    /// What is wrong with newer ones: warnings, if there is a checkpoint.
    pub skipped: Vec<Error>,
}

/// What came of saving.
#[derive(Debug)]
pub struct Saved {
    /// The folder of the new checkpoint.
    pub path: PathBuf,
    /// Older checkpoints that could not be removed: warnings.
    pub kept: Vec<Error>,
}

/// `state.json`.
#[derive(Serialize, Deserialize)]
struct StateFile<S> {
    format: u32,
    step: u64,
    state: S,
}

/// The name of a checkpoint, in the order of age. A step that is saved again gets the next revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    step: u64,
    revision: u64,
}

impl Name {
    fn text(self) -> String {
        match self.revision {
            1 => format!("step-{:08}", self.step),
            revision => format!("step-{:08}-{revision}", self.step),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let numbers = text.strip_prefix("step-")?;
        let (step, revision) = numbers.split_once('-').unwrap_or((numbers, "1"));
        let name = Self {
            step: step.parse().ok()?,
            revision: revision.parse().ok()?,
        };
        (name.text() == text).then_some(name)
    }

    fn writing(self) -> String {
        format!(".writing-{}", self.text())
    }

    fn removing(self) -> String {
        format!(".removing-{}", self.text())
    }

    /// Whether `text` is what [`writing`](Self::writing) or [`removing`](Self::removing) make.
    fn is_left_over(text: &str) -> bool {
        let name = text
            .strip_prefix(".writing-")
            .or_else(|| text.strip_prefix(".removing-"));
        name.and_then(Self::parse).is_some()
    }
}

/// A folder of checkpoints that this process writes.
///
/// ```
/// use gemmconv::train::checkpoint::{Checkpoints, Contents};
/// use gemmconv::train::weights::{NamedTensor, Target};
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let folder = temporary.path().join("run");
/// let checkpoints = Checkpoints::open(folder, 3)?;
/// checkpoints.save(&Contents {
///     step: 1234,
///     weights: &[NamedTensor { name: "bias", shape: &[2], values: &[0.5, -1.0] }],
///     metadata: &Default::default(),
///     slots: &[],
///     state: &"anything that serde writes and reads".to_owned(),
/// })?;
///
/// let newest = checkpoints.newest::<String>()?.checkpoint.expect("one was saved");
/// let mut bias = [0.0; 2];
/// newest.weights.load_into(&mut [Target { name: "bias", shape: &[2], values: &mut bias }])?;
/// assert_eq!((newest.step, bias), (1234, [0.5, -1.0]));
/// # Ok::<(), gemmconv::Error>(())
/// ```
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    lock: File,
}

impl Drop for Checkpoints {
    /// To close the file is not enough while a process that another thread starts still has it. However this one ends,
    /// the system releases the lock.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Checkpoints {
    /// Takes `folder` for this process, makes it if it is missing, and deletes what an interrupted process left in it.
    /// Of the checkpoints, the last `keep` are kept. For a training from the start, see [`is_empty`](Self::is_empty).
    ///
    /// # Errors
    /// `keep` is 0; [`Error::Io`], with the kind `WouldBlock` where another process has the folder.
    pub fn open(folder: impl Into<PathBuf>, keep: usize) -> Result<Self> {
        let folder = folder.into();
        if keep == 0 {
            return Err(Error::ZeroCount {
                what: "checkpoints to keep",
            });
        }
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(failed(&folder))?;
            let parent = folder.parent().filter(|parent| parent != &Path::new(""));
            flush_folder(parent.unwrap_or(Path::new(".")))?;
        }
        let path = folder.join(LOCK);
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = "another process writes checkpoints here";
                let busy = io::Error::new(io::ErrorKind::WouldBlock, message);
                return Err(failed(&folder)(busy));
            }
            // A file system without locks.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(failed(&path)(error)),
        }
        for name in names(&folder)? {
            if Name::is_left_over(&name) {
                let path = folder.join(name);
                fs::remove_dir_all(&path).map_err(failed(&path))?;
            }
        }
        Ok(Self { folder, keep, lock })
    }

    /// Whether there is no checkpoint. A training from the start should refuse other folders: what is newest is told
    /// by the step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(list(&self.folder)?.is_empty())
    }

    /// Saves a checkpoint, then removes those before it but for the last few. All that is complete stays as it is until
    /// the new one is complete.
    ///
    /// # Errors
    /// Those of [`Encoded::new`]; a state that JSON does not hold, such as one with NaN; [`Error::Io`] with the file,
    /// on a full disk for instance (kind `StorageFull`). The checkpoints before are whole then, and the new one is
    /// not there or complete.
    pub fn save<S>(&self, contents: &Contents<'_, S>) -> Result<Saved>
    where
        S: Serialize + DeserializeOwned,
    {
        let step = contents.step;
        let mut metadata = contents.metadata.clone();
        metadata.insert(STEP.to_owned(), step.to_string());
        let weights = Encoded::new(contents.weights, &metadata)?;
        metadata.retain(|key, _| key == STEP);
        let slots = Encoded::new(contents.slots, &metadata)?;
        let state = encoded_state(step, contents.state)?;

        let there = list(&self.folder)?;
        let same = there.iter().filter(|name| name.step == step);
        let revision = same.map(|name| name.revision).max().unwrap_or(0);
        let name = Name {
            step,
            revision: revision.saturating_add(1),
        };
        let part = self.folder.join(name.writing());
        let path = self.folder.join(name.text());
        let write = || {
            if part.exists() {
                fs::remove_dir_all(&part).map_err(failed(&part))?;
            }
            fs::create_dir(&part).map_err(failed(&part))?;
            write_file(&part.join(WEIGHTS), |file| weights.write(file))?;
            write_file(&part.join(SLOTS), |file| slots.write(file))?;
            write_file(&part.join(STATE), |file| file.write_all(&state))?;
            flush_folder(&part)?;
            fs::rename(&part, &path).map_err(failed(&path))
        };
        if let Err(error) = write() {
            // What this does not delete, the next process will.
            let _ = fs::remove_dir_all(&part);
            return Err(error);
        }
        flush_folder(&self.folder)?;
        let older: Vec<_> = there.into_iter().filter(|old| *old < name).collect();
        let surplus = older.len().saturating_sub(self.keep - 1);
        let removed = older[..surplus].iter().map(|&old| self.remove(old));
        let kept = removed.filter_map(Result::err).collect();
        Ok(Saved { path, kept })
    }

    fn remove(&self, name: Name) -> Result<()> {
        let path = self.folder.join(name.text());
        let away = self.folder.join(name.removing());
        fs::rename(&path, &away).map_err(failed(&path))?;
        // Or the disk might have the deletions and not the new name.
        flush_folder(&self.folder)?;
        fs::remove_dir_all(&away).map_err(failed(&away))
    }

    /// [`newest`] of this folder.
    ///
    /// # Errors
    /// Those of [`newest`].
    pub fn newest<S: DeserializeOwned>(&self) -> Result<Newest<S>> {
        newest(&self.folder)
    }
}

/// The newest checkpoint in `folder` that can be read. Nothing is changed, so that another process may write meanwhile.
///
/// # Errors
/// [`Error::Io`] where the folder cannot be read.
pub fn newest<S: DeserializeOwned>(folder: impl AsRef<Path>) -> Result<Newest<S>> {
    let folder = folder.as_ref();
    // A writer may remove what was listed; then there are newer ones. This many times it will not.
    for _ in 0..10 {
        let mut skipped = Vec::new();
        let mut vanished = false;
        for name in list(folder)?.into_iter().rev() {
            let path = folder.join(name.text());
            match load::<S>(&path).and_then(|loaded| named(loaded, name)) {
                Ok(checkpoint) => {
                    return Ok(Newest {
                        checkpoint: Some(checkpoint),
                        skipped,
                    });
                }
                Err(_) if !path.exists() => {
                    vanished = true;
                    break;
                }
                Err(error) => skipped.push(error),
            }
        }
        if !vanished {
            return Ok(Newest {
                checkpoint: None,
                skipped,
            });
        }
    }
    let message = "checkpoints are removed faster than they are read";
    Err(failed(folder)(io::Error::other(message)))
}

/// Reads the checkpoint in the folder `path`, whatever its name.
///
/// # Errors
/// [`Error::Io`]; a file that is damaged, of another step than the others, or of a format of a later version, all
/// with its path.
pub fn load<S: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Checkpoint<S>> {
    let path = path.as_ref();
    let (step, state) = read_state(&path.join(STATE))?;
    let read = |name: &str| {
        let file = path.join(name);
        let weights = Weights::read(&file)?;
        let noted = weights.metadata().get(STEP);
        if noted.map(String::as_str) != Some(&step.to_string()) {
            let noted = noted.map_or("none", String::as_str);
            let what = format!("the file is of step {noted:?}, {STATE} beside it of step {step}");
            return Err(Error::Data { what }.at(file.display().to_string()));
        }
        Ok(weights)
    };
    Ok(Checkpoint {
        weights: read(WEIGHTS)?,
        slots: read(SLOTS)?,
        path: path.to_owned(),
        step,
        state,
    })
}

/// `checkpoint`, if it is of the step that its folder says.
fn named<S>(checkpoint: Checkpoint<S>, name: Name) -> Result<Checkpoint<S>> {
    if checkpoint.step == name.step {
        return Ok(checkpoint);
    }
    let what = format!("the files are of step {}", checkpoint.step);
    Err(Error::Data { what }.at(checkpoint.path.display().to_string()))
}

/// The bytes of `state.json`, which were read again once.
fn encoded_state<S: Serialize + DeserializeOwned>(step: u64, state: &S) -> Result<Vec<u8>> {
    let failed = |error: serde_json::Error| Error::Data {
        what: format!("the state cannot be written as JSON: {error}"),
    };
    let file = StateFile {
        format: FORMAT,
        step,
        state,
    };
    let bytes = serde_json::to_vec_pretty(&file).map_err(failed)?;
    // NaN would be written as `null`, and be found out only when the training is to go on.
    serde_json::from_slice::<StateFile<S>>(&bytes).map_err(failed)?;
    Ok(bytes)
}

fn read_state<S: DeserializeOwned>(path: &Path) -> Result<(u64, S)> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let place = |error: Error| error.at(path.display().to_string());
    let broken = |error: serde_json::Error| {
        let what = format!("the state is broken: {error}");
        place(Error::Data { what })
    };
    let bytes = read_file(path, MAX_STATE_BYTES).map_err(|error| match error {
        error @ Error::Io { .. } => error,
        error => place(error),
    })?;
    let Version { format } = serde_json::from_slice(&bytes).map_err(broken)?;
    if format != FORMAT {
        let what = format!("the state has format {format}, this version reads {FORMAT}");
        return Err(place(Error::Data { what }));
    }
    let file: StateFile<S> = serde_json::from_slice(&bytes).map_err(broken)?;
    Ok((file.step, file.state))
}

/// The names of all that is in `folder`, but for those that are no text.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(failed(folder))?;
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    let names: io::Result<Vec<_>> = names.collect();
    Ok(names
        .map_err(failed(folder))?
        .into_iter()
        .flatten()
        .collect())
}

/// The checkpoints in `folder`, oldest first.
fn list(folder: &Path) -> Result<Vec<Name>> {
    let names = names(folder)?;
    let mut list: Vec<_> = names.iter().filter_map(|name| Name::parse(name)).collect();
    list.sort_unstable();
    Ok(list)
}

fn write_file(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let mut file = File::create_new(path).map_err(failed(path))?;
    write(&mut file).map_err(failed(path))?;
    file.sync_all().map_err(failed(path))
}

/// Flushes the names in `folder` to the disk, where the system can do that.
fn flush_folder(folder: &Path) -> Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let flushed = File::open(folder).and_then(|folder| folder.sync_all());
    match flushed {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other.map_err(failed(folder)),
    }
}

/// The error for a path.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::io(path, &error)
}
