//! Which files are read and which are written, all decided before the first picture is touched.
//!
//! ```text
//! one picture, one kernel (or --sheet)   OUT is a file, unless it is a folder already or ends in /
//! otherwise                              OUT is a folder: OUT/<path below the given folder>[-kernel].ext
//! ```
//!
//! No two pictures get the same name, and none gets the name of a picture that is read.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::ImageFormat;

use super::picture::output_format;

/// A picture to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// Its place below the output folder.
    relative: PathBuf,
    /// Whether it was named itself, not found in a folder.
    named: bool,
}

/// What was found under the names that were given.
#[derive(Debug, Default)]
pub struct Found {
    /// The pictures, in the order given; those of a folder sorted by name.
    pub inputs: Vec<Input>,
    /// Names under which there was nothing to read, and why.
    pub missing: Vec<(PathBuf, anyhow::Error)>,
}

/// Looks up what was named: files as they are, folders as the files in them.
///
/// The folder `out` is left out where it lies in a given one, so that a second run does not filter the
/// results of the first. Where `out` is a given folder itself, see [`results_among_inputs`].
pub fn find(names: &[PathBuf], recursive: bool, out: &Path) -> Found {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    let out = fs::canonicalize(out).ok();
    for name in names {
        let listed = match fs::metadata(name) {
            Ok(facts) if facts.is_dir() => list(name, recursive, out.as_deref()),
            Ok(_) => Ok(vec![name.clone()]),
            Err(error) => Err(anyhow!(error).context("cannot be read")),
        };
        let files = match listed {
            Ok(files) if files.is_empty() => {
                let why = if recursive {
                    ""
                } else {
                    "; --recursive looks into the folders in it"
                };
                found
                    .missing
                    .push((name.clone(), anyhow!("is a folder without files{why}")));
                continue;
            }
            Ok(files) => files,
            Err(error) => {
                found.missing.push((name.clone(), error));
                continue;
            }
        };
        for path in files {
            if !seen.insert(fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
                continue;
            }
            let named = path == *name;
            let relative = match path.strip_prefix(name) {
                Ok(below) if !named => below.to_path_buf(),
                _ => PathBuf::from(path.file_name().unwrap_or_default()),
            };
            found.inputs.push(Input {
                path,
                relative,
                named,
            });
        }
    }
    found
}

/// Whether OUT is one of the folders to read, so that a second run would filter the results of the first.
pub fn results_among_inputs(names: &[PathBuf], out: &Path) -> bool {
    let out = fs::canonicalize(out).ok();
    out.is_some_and(|out| {
        let mut folders = names.iter().filter(|name| name.is_dir());
        folders.any(|name| fs::canonicalize(name).is_ok_and(|name| name == out))
    })
}

/// The files in a folder and below it.
///
/// # Errors
/// A folder that cannot be listed.
pub fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    list(folder, true, None)
}

/// The files in a folder, sorted. Hidden ones and linked folders are left out.
fn list(folder: &Path, recursive: bool, out: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    // A list of folders still to visit, not recursion: depth is bounded by the disk alone.
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            if !path.is_dir() {
                files.push(path);
            } else if recursive
                && !entry.file_type().is_ok_and(|kind| kind.is_symlink())
                && (out.is_none() || fs::canonicalize(&path).ok().as_deref() != out)
            {
                folders.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// One picture and the files made of it: one per kernel, or the contact sheet alone.
#[derive(Debug)]
pub struct Job {
    /// The picture to read.
    pub input: PathBuf,
    /// The pictures to write.
    pub outputs: Vec<PathBuf>,
}

/// What the names of the outputs depend on.
pub struct Wanted<'a> {
    /// OUT.
    pub out: &'a Path,
    /// How many pictures and folders were named, found or not.
    pub given: usize,
    /// The names of the kernels.
    pub kernels: Vec<&'a str>,
    /// One contact sheet instead of one picture per kernel.
    pub sheet: bool,
    /// The extension to use in a folder, instead of the input's.
    pub extension: Option<&'a str>,
}

/// Gives every picture the names of its outputs.
///
/// # Errors
/// An output that is an input, that has no format, or a file where a folder is needed.
pub fn plan(inputs: &[Input], wanted: &Wanted) -> Result<Vec<Job>> {
    let out = wanted.out;
    let one = wanted.given == 1
        && matches!(inputs, [Input { named: true, .. }])
        && (wanted.sheet || wanted.kernels.len() == 1);
    let ends_in_separator = out
        .as_os_str()
        .as_encoded_bytes()
        .last()
        .is_some_and(|&last| std::path::is_separator(last.into()));
    let jobs = if one && !out.is_dir() && !ends_in_separator {
        output_format(out).with_context(|| format!("for a folder, write {}/", out.display()))?;
        ensure!(
            wanted.extension.is_none(),
            "{} is a file, whose own name says the format; --format is for a folder",
            out.display()
        );
        vec![Job {
            input: inputs[0].path.clone(),
            outputs: vec![out.to_path_buf()],
        }]
    } else {
        ensure!(
            !out.exists() || out.is_dir(),
            "{} is a file; several pictures need a folder",
            out.display()
        );
        if !ends_in_separator && !out.is_dir() && output_format(out).is_ok() {
            bail!(
                "{} is the name of one picture; several pictures, those of a folder and those of several \
                 kernels go into a folder: write {}/{}",
                out.display(),
                out.display(),
                if wanted.sheet {
                    ""
                } else {
                    ", or for one picture ask for a contact sheet with --sheet"
                }
            );
        }
        in_folder(inputs, wanted)
    };
    spare_inputs(inputs, &jobs)?;
    Ok(jobs)
}

fn in_folder(inputs: &[Input], wanted: &Wanted) -> Vec<Job> {
    let mut taken = HashSet::new();
    let suffixes: Vec<String> = match (wanted.sheet, wanted.kernels.as_slice()) {
        (true, _) => vec!["-sheet".into()],
        (false, [_]) => vec![String::new()],
        (false, kernels) => kernels.iter().map(|kernel| format!("-{kernel}")).collect(),
    };
    let job = |input: &Input| {
        let folder = wanted
            .out
            .join(input.relative.parent().unwrap_or(Path::new("")));
        let extension = match wanted.extension {
            Some(extension) => OsString::from(extension),
            None if wanted.sheet => "png".into(),
            None => like_input(&input.path),
        };
        let outputs = suffixes
            .iter()
            .map(|suffix| free_name(&folder, input, suffix, &extension, &mut taken));
        Job {
            input: input.path.clone(),
            outputs: outputs.collect(),
        }
    };
    inputs.iter().map(job).collect()
}

/// `--format`: an extension of a format that is written, with or without its dot.
///
/// # Errors
/// Anything else, above all what could lead out of the folder.
pub fn extension(text: &str) -> std::result::Result<String, String> {
    let extension = text.strip_prefix('.').unwrap_or(text);
    if extension.is_empty() || !extension.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("an extension is letters and digits, such as png".into());
    }
    output_format(&PathBuf::from(format!("any.{extension}")))
        .map(|_| extension.to_owned())
        .map_err(|error| error.to_string())
}

/// The input's own extension where that is written well, else `png`. GIF has too few colours.
fn like_input(path: &Path) -> OsString {
    match output_format(path) {
        Ok(format) if format != ImageFormat::Gif => path.extension().unwrap_or_default().to_owned(),
        _ => "png".into(),
    }
}

/// `a.png`; where that is taken, `a.gif.png`; where that is taken, `a-2.png`, `a-3.png`, …
fn free_name(
    folder: &Path,
    input: &Input,
    suffix: &str,
    extension: &OsStr,
    taken: &mut HashSet<OsString>,
) -> PathBuf {
    let stem = input.relative.file_stem().unwrap_or_default();
    let whole = input.relative.file_name().unwrap_or_default();
    let build = |start: &OsStr, number: &str| {
        let mut name = start.to_owned();
        name.push(number);
        name.push(suffix);
        name.push(".");
        name.push(extension);
        folder.join(name)
    };
    let numbered = (2u64..).map(|number| build(stem, &format!("-{number}")));
    // Some file systems do not tell A from a.
    let mut names = [build(stem, ""), build(whole, "")]
        .into_iter()
        .chain(numbered);
    names
        .find(|name| taken.insert(name.as_os_str().to_ascii_lowercase()))
        .expect("one of 2⁶⁴ names is free")
}

/// Refuses any output that is one of the pictures to read.
fn spare_inputs(inputs: &[Input], jobs: &[Job]) -> Result<()> {
    let read: HashMap<PathBuf, &Path> = inputs
        .iter()
        .filter_map(|input| Some((fs::canonicalize(&input.path).ok()?, input.path.as_path())))
        .collect();
    for output in jobs.iter().flat_map(|job| &job.outputs) {
        if let Some(input) = fs::canonicalize(output)
            .ok()
            .and_then(|output| read.get(&output).copied())
        {
            bail!(
                "{} would overwrite the picture {}",
                output.display(),
                input.display()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(path: &str, relative: &str, named: bool) -> Input {
        Input {
            path: path.into(),
            relative: relative.into(),
            named,
        }
    }

    fn names(jobs: &[Job]) -> Vec<String> {
        jobs.iter()
            .flat_map(|job| &job.outputs)
            .map(|path| path.display().to_string().replace('\\', "/"))
            .collect()
    }

    fn wanted<'a>(
        out: &'a str,
        kernels: &[&'a str],
        sheet: bool,
        extension: Option<&'a str>,
    ) -> Wanted<'a> {
        Wanted {
            out: Path::new(out),
            given: 1,
            kernels: kernels.to_vec(),
            sheet,
            extension,
        }
    }

    #[test]
    fn one_picture_and_one_kernel_make_a_file() {
        let one = [input("x/a.jpg", "a.jpg", true)];
        assert_eq!(
            names(&plan(&one, &wanted("no/b.png", &["blur"], false, None)).unwrap()),
            ["no/b.png"]
        );
        assert_eq!(
            names(&plan(&one, &wanted("no/", &["blur"], false, None)).unwrap()),
            ["no/a.jpg"]
        );
        assert_eq!(
            names(&plan(&one, &wanted("no/s.png", &["blur", "edge"], true, None)).unwrap()),
            ["no/s.png"]
        );
        for out in ["no/b.xyz", "no/b", "no/b.pbm"] {
            assert!(
                plan(&one, &wanted(out, &["blur"], false, None)).is_err(),
                "{out}"
            );
        }
        let error = plan(&one, &wanted("no/b.png", &["blur", "edge"], false, None)).unwrap_err();
        assert!(error.to_string().contains("--sheet"), "{error}");
    }

    #[test]
    fn a_format_is_an_extension_and_no_path() {
        assert_eq!(extension(".png").as_deref(), Ok("png"));
        assert_eq!(extension("TIF").as_deref(), Ok("TIF"));
        for text in [
            "",
            ".",
            "..png",
            "x/../../../evil.png",
            "a.png",
            "xyz",
            "pbm",
        ] {
            assert!(extension(text).is_err(), "{text}");
        }
        let one = [input("x/a.jpg", "a.jpg", true)];
        let file = plan(&one, &wanted("no/b.png", &["blur"], false, Some("png")));
        assert!(file.unwrap_err().to_string().contains("--format"));
        assert!(plan(&one, &wanted("no/", &["blur"], false, Some("png"))).is_ok());
    }

    #[test]
    fn names_in_a_folder_never_meet() {
        let inputs = [
            input("x/a.jpg", "a.jpg", false),
            input("x/a.gif", "a.gif", false),
            input("x/a.png", "a.png", false),
            input("x/sub/a.png", "sub/a.png", false),
            input("y/A.PNG", "A.PNG", false),
            input("y/notes.txt", "notes.txt", false),
        ];
        let jobs = plan(&inputs, &wanted("no", &["blur"], false, None)).unwrap();
        assert_eq!(
            names(&jobs),
            [
                "no/a.jpg",
                "no/a.png",
                "no/a.png.png",
                "no/sub/a.png",
                "no/A-2.PNG",
                "no/notes.png"
            ]
        );
        let jobs = plan(
            &inputs[..2],
            &wanted("no", &["blur", "edge"], false, Some("tif")),
        )
        .unwrap();
        assert_eq!(
            names(&jobs),
            [
                "no/a-blur.tif",
                "no/a-edge.tif",
                "no/a.gif-blur.tif",
                "no/a.gif-edge.tif"
            ]
        );
        // `b-blur.png` of two kinds: the bank's, and a picture of that name.
        let inputs = [
            input("b.png", "b.png", true),
            input("b.png", "b.png", true),
            input("q/b.png", "b.png", true),
        ];
        let jobs = plan(&inputs, &wanted("no", &["blur"], true, None)).unwrap();
        assert_eq!(
            names(&jobs),
            ["no/b-sheet.png", "no/b.png-sheet.png", "no/b-2-sheet.png"]
        );
    }

    #[test]
    fn an_input_is_never_an_output() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::write(&path, b"precious").unwrap();
        let found = find(&[folder.path().to_path_buf()], false, folder.path());
        assert_eq!(found.inputs.len(), 1);
        let out = folder.path().to_str().unwrap();
        assert!(results_among_inputs(
            &[out.into()],
            &folder.path().join(".")
        ));
        assert!(!results_among_inputs(
            std::slice::from_ref(&path),
            folder.path()
        ));
        let error = plan(&found.inputs, &wanted(out, &["blur"], false, None)).unwrap_err();
        assert!(error.to_string().contains("would overwrite"), "{error}");
        let one = find(std::slice::from_ref(&path), false, &path);
        let roundabout = format!(
            "{out}/../{}/a.png",
            folder.path().file_name().unwrap().display()
        );
        assert!(plan(&one.inputs, &wanted(&roundabout, &["blur"], false, None)).is_err());
    }

    #[test]
    fn folders_are_listed_sorted_without_hidden_files_and_results() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir_all(root.join("out")).unwrap();
        for name in ["b.png", "a.png", ".hidden", "sub/c.png", "out/a.png"] {
            fs::write(root.join(name), b"x").unwrap();
        }
        let relative = |found: &Found| {
            found
                .inputs
                .iter()
                .map(|input| input.relative.clone())
                .collect::<Vec<_>>()
        };
        let names = [
            root.to_path_buf(),
            root.join("a.png"),
            root.join("gone.png"),
            root.join("out/../sub"),
        ];
        let flat = find(&names[..3], false, &root.join("out"));
        assert_eq!(relative(&flat), [Path::new("a.png"), Path::new("b.png")]);
        assert_eq!(flat.missing.len(), 1);
        assert_eq!(flat.missing[0].0, names[2]);
        let deep = find(&names[..1], true, &root.join("out"));
        assert_eq!(
            relative(&deep),
            [
                Path::new("a.png"),
                Path::new("b.png"),
                &Path::new("sub").join("c.png")
            ]
        );
    }
}
