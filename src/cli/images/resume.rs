//! What an interrupted run has left: the rows that are whole, each compared with the picture that it should be for.
//!
//! ```text
//! header, row 0, row 1, …, row n−1, part of row n          cut off after row n−1; the work goes on with picture n
//! ```
//!
//! Rows are appended in the order of the pictures, so nothing else needs to be remembered.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::rows::Format;

/// A file of rows to which more are appended.
#[derive(Debug)]
pub(super) struct Rows {
    /// At its end.
    pub file: File,
    /// Rows that are there.
    pub count: usize,
    /// Those of them that hold an error.
    pub failed: usize,
}

impl Rows {
    /// A new file; what was there is replaced.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            file: File::create(path).with_context(|| format!("creating {}", path.display()))?,
            count: 0,
            failed: 0,
        })
    }

    /// The file at `path` with the rows of the first of `pictures`, without what follows the last whole row; a new
    /// file where there is none.
    ///
    /// # Errors
    /// Rows under another header, for other pictures, or more than there are pictures: nothing is changed then.
    pub fn resume(path: &Path, format: Format, header: &str, pictures: &[PathBuf]) -> Result<Self> {
        if !path.exists() {
            return Self::create(path);
        }
        ensure!(
            format != Format::Text,
            "rows for people cannot be resumed; write .csv or .jsonl"
        );
        let of = || path.display().to_string();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .with_context(of)?;
        ensure!(
            file.metadata().with_context(of)?.is_file(),
            "{} is not a regular file",
            path.display()
        );
        let mut rows = Self::whole(&file, format, header, pictures).with_context(of)?;
        file.set_len(rows.1).with_context(of)?;
        file.seek(SeekFrom::End(0)).with_context(of)?;
        rows.0.file = file;
        Ok(rows.0)
    }

    /// The whole rows, and where they end.
    fn whole(
        file: &File,
        format: Format,
        header: &str,
        pictures: &[PathBuf],
    ) -> Result<(Self, u64)> {
        let mut rows = Self {
            file: file.try_clone()?,
            count: 0,
            failed: 0,
        };
        let mut reader = BufReader::new(file);
        let mut end = 0;
        let mut record = Vec::new();
        if !header.is_empty() {
            if !next(&mut reader, format, &mut record)? {
                let torn = header.as_bytes().starts_with(&record);
                ensure!(torn, "it does not begin with {:?}", header.trim_end());
                return Ok((rows, 0));
            }
            ensure!(
                record == header.as_bytes(),
                "its columns are {:?}, these would be {:?}",
                String::from_utf8_lossy(&record).trim_end(),
                header.trim_end()
            );
            end = record.len() as u64;
        }
        while next(&mut reader, format, &mut record)? {
            let number = rows.count + 1;
            let (path, failed) = match format {
                Format::Jsonl => object(&record),
                _ => fields(&record),
            }
            .with_context(|| format!("row {number} is not a row of this command"))?;
            let Some(picture) = pictures.get(rows.count) else {
                bail!(
                    "row {number} is for {path:?}, but there are only {} pictures",
                    pictures.len()
                );
            };
            let picture = picture.to_string_lossy();
            ensure!(
                path == picture,
                "row {number} is for {path:?}, where the list has {picture:?}; to go on takes the same pictures in \
                 the same order"
            );
            rows.count += 1;
            rows.failed += usize::from(failed);
            end += record.len() as u64;
        }
        Ok((rows, end))
    }
}

/// Reads the next whole record, with its end of line; false where there is none. In CSV a field may hold line ends.
fn next(reader: &mut impl BufRead, format: Format, record: &mut Vec<u8>) -> Result<bool> {
    record.clear();
    loop {
        let before = record.len();
        reader.read_until(b'\n', record)?;
        if record.last() != Some(&b'\n') || record.len() == before {
            return Ok(false);
        }
        let quotes = record.iter().filter(|&&byte| byte == b'"').count();
        if format != Format::Csv || quotes % 2 == 0 {
            return Ok(true);
        }
    }
}

/// The path of a row of CSV, and whether it holds an error.
fn fields(record: &[u8]) -> Option<(String, bool)> {
    let text = str::from_utf8(record).ok()?;
    let (path, rest) = match text.strip_prefix('"') {
        None => {
            let (path, rest) = text.split_once(',')?;
            (path.to_owned(), rest)
        }
        Some(quoted) => {
            let end = end_of_quotes(quoted)?;
            let rest = quoted[end + 1..].strip_prefix(',')?;
            (quoted[..end].replace("\"\"", "\""), rest)
        }
    };
    let failed = !rest.starts_with([',', '\n']);
    Some((path, failed))
}

/// The quotation mark that ends a field, of which the first has been read: no second one follows it.
fn end_of_quotes(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == b'"')?;
        match bytes.get(at + 1) {
            Some(b'"') => at += 2,
            _ => return Some(at),
        }
    }
}

/// The path of an object, and whether it holds an error.
fn object(record: &[u8]) -> Option<(String, bool)> {
    let object: Value = serde_json::from_slice(record).ok()?;
    let path = object.get("path")?.as_str()?.to_owned();
    Some((path, object.get("error").is_some()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    /// However long the part is that was written, what is added to it makes the whole.
    #[test]
    fn cut_anywhere_and_resumed() {
        let pictures: Vec<PathBuf> = ["a.png", "b, \"c\"\n,.png", "dé.png"]
            .map(PathBuf::from)
            .into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        for format in [Format::Csv, Format::Jsonl] {
            let header = format.header(1);
            let row = |index: usize| {
                let path = pictures[index].to_string_lossy();
                format.row(&path, Err("a \"fault\", sadly"), 1)
            };
            let all = header.clone() + &row(0) + &row(1) + &row(2);
            for len in 0..=all.len() {
                fs::write(&path, &all.as_bytes()[..len]).unwrap();
                let mut rows = Rows::resume(&path, format, &header, &pictures).unwrap();
                assert_eq!(rows.failed, rows.count);
                if rows.file.metadata().unwrap().len() == 0 {
                    rows.file.write_all(header.as_bytes()).unwrap();
                }
                for index in rows.count..3 {
                    rows.file.write_all(row(index).as_bytes()).unwrap();
                }
                assert_eq!(fs::read_to_string(&path).unwrap(), all, "{len}");
            }
        }
    }

    #[test]
    fn other_rows_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let header = Format::Csv.header(1);
        let pictures = [PathBuf::from("a.png")];
        let good = format!("{header}a.png,,1,,0.5\n");
        for (text, expected) in [
            ("precious", "does not begin"),
            ("precious\n", "columns"),
            ("path,error\n", "columns"),
            (&format!("{header}b.png,,1,,0.5\n"), "\"b.png\""),
            (&format!("{good}b.png,,1,,0.5\n"), "only 1 pictures"),
            (&format!("{header}a.png\n"), "row 1 is not"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Rows::resume(&path, Format::Csv, &header, &pictures).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{text}: {error:#}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, &good).unwrap();
        let rows = Rows::resume(&path, Format::Csv, &header, &pictures).unwrap();
        assert_eq!((rows.count, rows.failed), (1, 0));
    }
}
