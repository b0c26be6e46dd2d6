//! What each epoch came to, in a file that a run appends to: a line of JSON an epoch (`log.jsonl`).
//!
//! ```text
//! {"epoch":1,…}⏎{"epoch":2,…}⏎{"epoch":3,"st         a run killed while it wrote: the last line is dropped
//! resume(2)  ──►  the lines of epochs 1 and 2         later ones are dropped, for their epochs come again
//! ```
//!
//! Epochs rise from line to line. A line is on the disk when [`TrainingLog::append`] returns. JSON has no number
//! for NaN and the infinities: they are written as `null` and read as NaN.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use super::checkpoint::failed;
use crate::data::picture::read_file;
use crate::error::{Error, Result};

/// Bytes of a log that are read: some hundred thousand epochs.
const MOST_BYTES: u64 = 64 << 20;

/// One epoch. Accuracies are shares, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: u64,
    /// Steps of the optimizer up to its end.
    pub step: u64,
    /// Of its last step.
    #[serde(deserialize_with = "number")]
    pub learning_rate: f64,
    /// The mean over its examples, each at the step that saw it.
    #[serde(deserialize_with = "number")]
    pub train_loss: f64,
    /// Of the same predictions.
    #[serde(deserialize_with = "number")]
    pub train_accuracy: f64,
    /// The mean over the test set after it, where there is one.
    #[serde(default, deserialize_with = "some_number")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// Of the test set.
    #[serde(default, deserialize_with = "some_number")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// Examples trained on for each second of training.
    #[serde(deserialize_with = "number")]
    pub images_per_second: f64,
    /// How long it took, with its test.
    #[serde(deserialize_with = "number")]
    pub seconds: f64,
}

fn number<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

/// A key that is missing has its default; one that is `null` has a number that JSON does not have.
fn some_number<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<f64>, D::Error> {
    number(from).map(Some)
}

/// A log that lines are appended to.
#[derive(Debug)]
pub struct TrainingLog {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    len: u64,
    /// The last epoch of them.
    last: u64,
}

impl TrainingLog {
    /// A new log; what was there is replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let log = Self::open(path, 0, 0)?;
        log.file.set_len(0).map_err(failed(path))?;
        Ok(log)
    }

    /// The log at `path` as it was after `epoch`, and its records. Later lines and one that was cut are taken out of
    /// the file; where there is no file, there is a new one.
    ///
    /// # Errors
    /// Those of [`read_log`], with the file as it was.
    pub fn resume(path: impl AsRef<Path>, epoch: u64) -> Result<(Self, Vec<EpochRecord>)> {
        let path = path.as_ref();
        let bytes = match read_file(path, MOST_BYTES) {
            Err(Error::Io {
                kind: ErrorKind::NotFound,
                ..
            }) => Vec::new(),
            bytes => bytes?,
        };
        let lines = lines(&bytes, path)?;
        let kept = lines.partition_point(|(_, record)| record.epoch <= epoch);
        let mut text = Vec::new();
        let mut records = Vec::new();
        for (line, record) in lines.into_iter().take(kept) {
            text.extend_from_slice(line);
            text.push(b'\n');
            records.push(record);
        }
        if text != bytes {
            replace(path, &text).map_err(failed(path))?;
        }
        let last = records
            .last()
            .map_or(0, |record: &EpochRecord| record.epoch);
        let log = Self::open(path, text.len() as u64, last)?;
        Ok((log, records))
    }

    /// Every write goes to the end, wherever a failed one stopped.
    fn open(path: &Path, len: u64, last: u64) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self {
            path: path.to_path_buf(),
            file: file.map_err(failed(path))?,
            len,
            last,
        })
    }

    /// Appends a line and waits for the disk.
    ///
    /// # Errors
    /// An epoch that is not after the last one ([`Error::Data`]); [`Error::Io`], with the file as it was where it can
    /// still be cut.
    pub fn append(&mut self, record: &EpochRecord) -> Result<()> {
        if record.epoch <= self.last {
            return Err(not_after(record.epoch, self.last).at(self.path.display().to_string()));
        }
        let mut line = serde_json::to_vec(record).map_err(|error| Error::Data {
            what: error.to_string(),
        })?;
        line.push(b'\n');
        let written = self.file.write_all(&line);
        if let Err(error) = written.and_then(|()| self.file.sync_all()) {
            // What a full disk took of the line would stand before the next one.
            let _ = self.file.set_len(self.len);
            return Err(failed(&self.path)(error));
        }
        self.len += line.len() as u64;
        self.last = record.epoch;
        Ok(())
    }
}

/// The records of the log at `path`, without a last line that was cut.
///
/// # Errors
/// A line that is no record, or whose epoch is not after the one before, by its number ([`Error::At`]); a file that
/// cannot be read ([`Error::Io`]) or has more than 64 MiB.
pub fn read_log(path: impl AsRef<Path>) -> Result<Vec<EpochRecord>> {
    let path = path.as_ref();
    let bytes = read_file(path, MOST_BYTES)?;
    let lines = lines(&bytes, path)?.into_iter();
    Ok(lines.map(|(_, record)| record).collect())
}

/// Each line with its record. The last one may lack its end: it is whole if it can be read, for no part of an object
/// is one.
fn lines<'a>(bytes: &'a [u8], path: &Path) -> Result<Vec<(&'a [u8], EpochRecord)>> {
    let mut lines: Vec<(&[u8], EpochRecord)> = Vec::new();
    let mut last = 0;
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let text = line.strip_suffix(b"\n");
        let place = || format!("{}, line {}", path.display(), index + 1);
        let record: EpochRecord = match (serde_json::from_slice(text.unwrap_or(line)), text) {
            (Ok(record), _) => record,
            (Err(_), None) => break,
            (Err(error), Some(_)) => {
                let what = format!("not the record of an epoch: {error}");
                return Err(Error::Data { what }.at(place()));
            }
        };
        if record.epoch <= last {
            return Err(not_after(record.epoch, last).at(place()));
        }
        last = record.epoch;
        lines.push((text.unwrap_or(line), record));
    }
    Ok(lines)
}

fn not_after(epoch: u64, last: u64) -> Error {
    let what = match last {
        0 => "epoch 0, counted from 1".to_owned(),
        last => format!("epoch {epoch} after epoch {last}"),
    };
    Error::Data { what }
}

/// Writes a file beside `path` and gives it its name: there is the old one or the new one, never a part.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&part)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch: u64) -> EpochRecord {
        EpochRecord {
            epoch,
            step: 469 * epoch,
            learning_rate: 0.1 / 3.0,
            train_loss: 0.5 / epoch as f64,
            train_accuracy: 0.95,
            test_loss: Some(0.25),
            test_accuracy: epoch.is_multiple_of(2).then_some(0.975),
            images_per_second: 2140.5,
            seconds: 28.0,
        }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        (folder, path)
    }

    /// A log of epochs 1 to `count`.
    fn written(path: &Path, count: u64) {
        let mut log = TrainingLog::create(path).unwrap();
        for epoch in 1..=count {
            log.append(&record(epoch)).unwrap();
        }
    }

    #[test]
    fn what_is_appended_is_read_again() {
        let (_folder, path) = folder();
        written(&path, 3);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.starts_with(r#"{"epoch":1,"step":469,"#), "{text}");
        assert!(!text.lines().next().unwrap().contains("test_accuracy"));
        assert_eq!(
            read_log(&path).unwrap(),
            [record(1), record(2), record(3)].to_vec()
        );
        let mut log = TrainingLog::create(&path).unwrap();
        assert_eq!(read_log(&path).unwrap(), []);
        let error = log.append(&record(0)).unwrap_err().to_string();
        assert!(error.contains("counted from 1"), "{error}");
        log.append(&record(2)).unwrap();
        let error = log.append(&record(2)).unwrap_err().to_string();
        assert!(error.contains("epoch 2 after epoch 2"), "{error}");
        assert_eq!(read_log(&path).unwrap(), [record(2)]);
    }

    #[test]
    fn numbers_that_json_lacks_become_nan() {
        let (_folder, path) = folder();
        let mut log = TrainingLog::create(&path).unwrap();
        log.append(&EpochRecord {
            train_loss: f64::INFINITY,
            test_loss: Some(f64::NAN),
            test_accuracy: None,
            ..record(1)
        })
        .unwrap();
        let records = read_log(&path).unwrap();
        assert!(records[0].train_loss.is_nan());
        assert!(records[0].test_loss.unwrap().is_nan());
        assert_eq!(records[0].test_accuracy, None);
    }

    #[test]
    fn a_line_that_was_cut_is_dropped() {
        let (folder, path) = folder();
        written(&path, 3);
        let whole = fs::read(&path).unwrap();
        let two = whole.len()
            - 1
            - whole[..whole.len() - 1]
                .rsplit(|&b| b == b'\n')
                .next()
                .unwrap()
                .len();
        for len in two..=whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            // Only the end of the line is missing: nothing of the record is.
            let epochs = if len + 1 >= whole.len() { 3 } else { 2 };
            assert_eq!(read_log(&path).unwrap().len(), epochs, "{len} bytes");
            let (mut log, records) = TrainingLog::resume(&path, 9).unwrap();
            assert_eq!(records.len(), epochs, "{len} bytes");
            log.append(&record(4)).unwrap();
            let records = read_log(&path).unwrap();
            assert_eq!(records.len(), epochs + 1, "{len} bytes");
            assert_eq!(records.last(), Some(&record(4)));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn epochs_that_come_again_are_dropped() {
        let (folder, path) = folder();
        for epoch in 0..=5 {
            written(&path, 4);
            let before = fs::read(&path).unwrap();
            let (log, records) = TrainingLog::resume(&path, epoch).unwrap();
            assert_eq!(records, (1..=epoch.min(4)).map(record).collect::<Vec<_>>());
            assert_eq!(read_log(&path).unwrap(), records);
            // What is kept has the same bytes.
            let after = fs::read(&path).unwrap();
            assert!(before.starts_with(&after));
            assert_eq!((log.len, log.last), (after.len() as u64, epoch.min(4)));
        }
        let none = folder.path().join("none.jsonl");
        let (mut log, records) = TrainingLog::resume(&none, 7).unwrap();
        assert!(records.is_empty());
        log.append(&record(8)).unwrap();
        assert_eq!(read_log(&none).unwrap(), [record(8)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_no_log_is_said_by_its_line() {
        let (folder, path) = folder();
        written(&path, 2);
        let good = fs::read_to_string(&path).unwrap();
        let one = good.lines().next().unwrap();
        for (text, line, what) in [
            (format!("{good}{{\"epoch\":3}}\n"), 3, "missing field"),
            (format!("{one}\n\n{one}\n"), 2, "not the record"),
            (format!("{good}{one}\n"), 3, "epoch 1 after epoch 2"),
            (one.replace(":1,", ":0,") + "\n", 1, "counted from 1"),
            (one.replace(":1,", ":-1,") + "\n", 1, "invalid value"),
            (format!("{one}\n\u{0}\u{7f}\n"), 2, "not the record"),
        ] {
            fs::write(&path, &text).unwrap();
            for error in [
                read_log(&path).unwrap_err(),
                TrainingLog::resume(&path, 1).unwrap_err(),
            ] {
                assert!(matches!(error, Error::At { .. }), "{error:?}");
                let error = error.to_string();
                assert!(error.contains(&format!("line {line}: ")), "{error}");
                assert!(error.contains(what), "{error}");
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, [0xff, b'\n']).unwrap();
        assert!(read_log(&path).is_err());
        assert!(matches!(
            read_log(folder.path().join("none")),
            Err(Error::Io { .. })
        ));
        assert!(TrainingLog::resume(folder.path(), 1).is_err());
        assert!(TrainingLog::create(folder.path()).is_err());
    }
}
