//! The files of `--json` and `--svg`: made before hours are spent on what is to be written into them,
//! and never at the cost of what lies under their names until they are complete.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::part::Part;

/// An open file that takes its name when it is kept.
pub(crate) struct OutputFile {
    path: PathBuf,
    place: Place,
}

enum Place {
    Beside(Part),
    /// A device or a pipe (`--json >(jq .)`) cannot be replaced; it is written to as it is.
    Itself(File),
}

impl OutputFile {
    /// Opens the file to be called `path`.
    ///
    /// # Errors
    /// A folder that is not there or cannot be written in.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let creating = || format!("creating {}", path.display());
        let special = fs::metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_dir());
        let place = if special {
            let file = OpenOptions::new().write(true).open(path);
            Place::Itself(file.with_context(creating)?)
        } else {
            Place::Beside(Part::beside(path).with_context(creating)?)
        };
        Ok(Self {
            path: path.to_path_buf(),
            place,
        })
    }

    /// Appends `text`.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub(crate) fn write(&self, text: &str) -> Result<()> {
        let mut file = match &self.place {
            Place::Beside(part) => part.file(),
            Place::Itself(file) => file,
        };
        file.write_all(text.as_bytes())
            .with_context(|| format!("writing {}", self.path.display()))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(crate) fn keep(self) -> Result<()> {
        match self.place {
            Place::Beside(part) => part.keep(),
            Place::Itself(_) => Ok(()),
        }
    }
}

/// The files that were asked for.
pub(crate) struct OutputFiles {
    pub json: Option<OutputFile>,
    pub svg: Option<OutputFile>,
}

impl OutputFiles {
    /// Opens them. `inputs` are the files that are read, each with its option.
    ///
    /// # Errors
    /// One file by two names; a folder that is not there or cannot be written in.
    pub(crate) fn create(
        json: Option<&Path>,
        svg: Option<&Path>,
        inputs: &[(&str, &Path)],
    ) -> Result<Self> {
        let outputs = [("--json", json), ("--svg", svg)];
        let outputs = outputs
            .into_iter()
            .filter_map(|(option, path)| Some((option, path?)));
        refuse_equal(&outputs.collect::<Vec<_>>(), inputs)?;
        Ok(Self {
            json: json.map(OutputFile::create).transpose()?,
            svg: svg.map(OutputFile::create).transpose()?,
        })
    }
}

/// Refuses to write a file that is read, or two results into one.
///
/// # Errors
/// The first path that is named twice.
fn refuse_equal(outputs: &[(&str, &Path)], inputs: &[(&str, &Path)]) -> Result<()> {
    // A new file has no canonical path yet, its folder has.
    let place = |path: &Path| {
        fs::canonicalize(path).ok().or_else(|| {
            let folder = match path.parent()? {
                empty if empty.as_os_str().is_empty() => Path::new("."),
                folder => folder,
            };
            Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
        })
    };
    let mut taken: Vec<(&str, PathBuf)> = inputs
        .iter()
        .filter_map(|&(option, path)| Some((option, place(path)?)))
        .collect();
    for &(option, path) in outputs {
        let special = fs::metadata(path).is_ok_and(|facts| !facts.is_file());
        let Some(path) = place(path).filter(|_| !special) else {
            continue;
        };
        if let Some((other, _)) = taken.iter().find(|(_, other)| *other == path) {
            bail!(
                "{other} and {option} name the same file, {}",
                path.display()
            );
        }
        taken.push((option, path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_complete_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.json");
        fs::write(&path, "old").unwrap();
        let file = OutputFile::create(&path).unwrap();
        file.write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let file = OutputFile::create(&path).unwrap();
        file.write("new").unwrap();
        file.keep().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(OutputFile::create(&folder.path().join("none/x.svg")).is_err());
        assert!(OutputFile::create(folder.path()).is_err());
    }

    #[test]
    fn one_file_by_two_names_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let new = folder.path().join("new");
        let again = folder.path().join("sub/../new");
        let options = [("--json", new.as_path()), ("--svg", again.as_path())];
        let error = refuse_equal(&options, &[]).unwrap_err().to_string();
        assert!(error.contains("--json and --svg"), "{error}");
        assert!(refuse_equal(&options[..1], &[]).is_ok());
        fs::write(&new, "x").unwrap();
        let error = refuse_equal(&options[..1], &[("--problems", &again)]).unwrap_err();
        assert!(error.to_string().contains("--problems and --json"));
    }
}
