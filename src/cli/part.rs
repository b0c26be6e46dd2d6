//! Files written whole or not at all: into a new file beside the target, which is then renamed.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

/// A new file beside its target, removed again unless it is kept.
pub(crate) struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Part {
    /// Makes the file. The target stays as it is until [`keep`](Self::keep).
    ///
    /// # Errors
    /// A target that exists and is no regular file; a folder that cannot be written in.
    pub(crate) fn beside(target: &Path) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        if let Ok(facts) = fs::metadata(target) {
            // Renaming onto a device or a folder would replace it or fail in words nobody understands.
            ensure!(
                facts.is_file(),
                "{} exists and is not a regular file",
                target.display()
            );
        }
        // A link stays a link: what it points to is replaced.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_path_buf());
        let name = target
            .file_name()
            .context("the output name is empty")?
            .to_string_lossy();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // A long name plus the suffix could pass the file system's 255 bytes.
        let start: String = name.chars().take(40).collect();
        let path = target.with_file_name(format!(".{start}.{}-{number}.part", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .read(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("cannot write in the folder of {}", target.display()))?;
        Ok(Self {
            file,
            path,
            target,
            kept: false,
        })
    }

    /// What is written to.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file the name of its target, replacing what was there.
    ///
    /// # Errors
    /// Whatever the file system says; the target is then as it was.
    pub(crate) fn keep(mut self) -> Result<()> {
        fs::rename(&self.path, &self.target)
            .with_context(|| format!("cannot write {}", self.target.display()))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing is lost if this fails: the error that led here is what the person needs to see.
            let _ = fs::remove_file(&self.path);
        }
    }
}
