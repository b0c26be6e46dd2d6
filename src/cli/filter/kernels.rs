//! Kernels: by name, typed as text, or read from a `.npy` file.
//!
//! ```text
//! "sobel-x"                     a name, see `named`
//! "1 0 -1; 2 0 -2; 1 0 -1"      rows apart by `;`, numbers by spaces or commas, fractions as 1/9
//! edges.npy                     [kh, kw], or a bank [K, kh, kw] or [K, 1, kh, kw]
//! ```
//!
//! Every kernel is used as it is printed (cross-correlation): the weight in the right column meets the
//! pixel to the right.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use ndarray::{Array2, Array3, ArrayD, Axis};
use thiserror::Error;

use super::named::NAMED;
use crate::data::npy;
use crate::network::{Tensor, View};

/// The largest kernel file that is read. A bank of 1024 kernels of 64 × 64 doubles fits.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The most weights of a kernel file, however few bytes each has there: as f32 they take 64 MiB.
const MAX_WEIGHTS: usize = 16 << 20;

/// One kernel of a bank.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// What stands in file names; unique within a bank.
    pub name: String,
    /// What stands in captions.
    pub caption: String,
    /// The weights, `[kh, kw]`.
    pub weights: Array2<f32>,
}

/// What is wrong with numbers given as text.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum KernelError {
    /// Nothing between the quotes.
    #[error("the text is empty; write rows of numbers as in \"1 0 -1; 2 0 -2; 1 0 -1\"")]
    Empty,
    /// Nothing between two `;`.
    #[error("row {row} is empty")]
    EmptyRow {
        /// Counted from 1.
        row: usize,
    },
    /// Rows of different lengths.
    #[error("row {row} has {got} numbers, row 1 has {expected}")]
    Ragged {
        /// Counted from 1.
        row: usize,
        /// The length of row 1.
        expected: usize,
        /// The length of this row.
        got: usize,
    },
    /// Something that is no number.
    #[error("\"{text}\" in row {row}, column {column} is not a number")]
    NotANumber {
        /// What stands there.
        text: String,
        /// Counted from 1.
        row: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Infinite, not a number, or too large for `f32`.
    #[error("the number in row {row}, column {column} is {value}; it must be finite")]
    NotFinite {
        /// The weight as `f32`.
        value: f32,
        /// Counted from 1.
        row: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A word that is no name of a kernel.
    #[error("there is no kernel named \"{name}\"; there are {}", NAMED.iter().map(|kernel| kernel.name).collect::<Vec<_>>().join(", "))]
    UnknownName {
        /// The word.
        name: String,
    },
}

/// All kernels of the `--kernel` values, with names made unique.
pub fn parse_bank(values: &[OsString]) -> anyhow::Result<Vec<Kernel>> {
    let mut bank: Vec<Kernel> = Vec::new();
    for value in values {
        for mut kernel in
            parse(value).with_context(|| format!("--kernel \"{}\"", value.display()))?
        {
            if kernel.name.is_empty() {
                kernel.name = format!("kernel-{}", bank.len() + 1);
            }
            let name = kernel.name.clone();
            let mut repeat = 2;
            while bank.iter().any(|other| other.name == kernel.name) {
                kernel.name = format!("{name}-{repeat}");
                repeat += 1;
            }
            bank.push(kernel);
        }
    }
    ensure!(!bank.is_empty(), "no kernel given");
    Ok(bank)
}

/// The kernels of one `--kernel` value. A kernel given as text has no name yet.
fn parse(value: &OsString) -> anyhow::Result<Vec<Kernel>> {
    let path = Path::new(value);
    let Some(wanted) = value.to_str().map(str::trim) else {
        return read_npy(path); // Neither a name nor a number is anything but UTF-8.
    };
    if let Some(kernel) = NAMED
        .iter()
        .find(|kernel| kernel.name.eq_ignore_ascii_case(wanted))
    {
        return Ok(vec![Kernel {
            name: kernel.name.into(),
            caption: kernel.name.into(),
            weights: kernel.weights(),
        }]);
    }
    let extension = path.extension();
    if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        return read_npy(path);
    }
    // Numbers first: a file that happens to be called 5 does not change what 5 means.
    match parse_rows(wanted) {
        Ok(weights) => Ok(vec![Kernel {
            name: String::new(),
            caption: wanted.split_whitespace().collect::<Vec<_>>().join(" "),
            weights,
        }]),
        Err(_) if path.is_file() => read_npy(path),
        Err(error) => Err(error.into()),
    }
}

/// The matrix written as `1 0 -1; 2 0 -2; 1 0 -1`.
///
/// # Errors
/// [`KernelError`]: nothing given, rows of different lengths, something that is not a finite number.
pub fn parse_rows(text: &str) -> Result<Array2<f32>, KernelError> {
    // A `;` at the end of a line separates no more than the line's end does.
    let line = |line| {
        let line = str::trim_end(line);
        line.strip_suffix(';').unwrap_or(line).split(';')
    };
    let rows: Vec<&str> = text.split('\n').flat_map(line).collect();
    if text
        .trim_matches(|symbol: char| symbol == ';' || symbol.is_whitespace())
        .is_empty()
    {
        return Err(KernelError::Empty);
    }
    let mut weights = Vec::new();
    let mut width = 0;
    for (row, line) in rows.iter().enumerate() {
        let before = weights.len();
        let tokens = line.split(|symbol: char| symbol == ',' || symbol.is_whitespace());
        for (column, token) in tokens.filter(|token| !token.is_empty()).enumerate() {
            weights.push(parse_weight(token, text, row + 1, column + 1)?);
        }
        let got = weights.len() - before;
        match row {
            _ if got == 0 => return Err(KernelError::EmptyRow { row: row + 1 }),
            0 => width = got,
            _ if got != width => {
                return Err(KernelError::Ragged {
                    row: row + 1,
                    expected: width,
                    got,
                });
            }
            _ => {}
        }
    }
    Ok(
        Array2::from_shape_vec((rows.len(), width), weights)
            .expect("every row has `width` numbers"),
    )
}

/// A number or a fraction such as `1/9`. `whole` is the kernel as given, for the message about a mistyped name.
fn parse_weight(token: &str, whole: &str, row: usize, column: usize) -> Result<f32, KernelError> {
    let number = match token.split_once('/') {
        None => token.parse::<f64>().ok(),
        Some((above, below)) => above
            .parse::<f64>()
            .ok()
            .zip(below.parse::<f64>().ok())
            .map(|(a, b)| a / b),
    };
    let Some(number) = number else {
        // One word that begins with a letter was meant as a name.
        return Err(
            if whole == token && token.starts_with(char::is_alphabetic) {
                KernelError::UnknownName { name: token.into() }
            } else {
                KernelError::NotANumber {
                    text: token.into(),
                    row,
                    column,
                }
            },
        );
    };
    finite(number as f32, row, column)
}

fn finite(value: f32, row: usize, column: usize) -> Result<f32, KernelError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(KernelError::NotFinite { value, row, column })
    }
}

/// The array of a `.npy` file, of any shape and any real element type.
///
/// # Errors
/// A file that cannot be read, is too large or holds no such array.
pub fn read_array(path: &Path) -> anyhow::Result<ArrayD<f32>> {
    let tensor = npy::read(&read_file(path)?)?;
    Ok(ArrayD::from_shape_vec(tensor.shape(), singles(&tensor)?)?)
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let facts = std::fs::metadata(path).context("cannot read the file")?;
    ensure!(facts.is_file(), "the file is not a regular file");
    ensure!(
        facts.len() <= MAX_FILE_BYTES,
        "the file has {} bytes, at most {MAX_FILE_BYTES} are read",
        facts.len()
    );
    std::fs::read(path).context("cannot read the file")
}

/// The kernel or the bank of a `.npy` file, of any real element type.
fn read_npy(path: &Path) -> anyhow::Result<Vec<Kernel>> {
    let bank = parse_npy(&read_file(path)?)?;
    let stem = path
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let stem: String = stem
        .chars()
        .map(|symbol| {
            if symbol.is_alphanumeric() || "-_.".contains(symbol) {
                symbol
            } else {
                '-'
            }
        })
        .collect();
    let digits = bank.len_of(Axis(0)).saturating_sub(1).to_string().len();
    let kernels = bank.outer_iter().enumerate().map(|(index, weights)| {
        for ((row, column), &weight) in weights.indexed_iter() {
            finite(weight, row + 1, column + 1)
                .with_context(|| format!("kernel {index} of the bank"))?;
        }
        let name = match bank.len_of(Axis(0)) {
            1 => stem.clone(),
            _ => format!("{stem}-{index:0digits$}"),
        };
        Ok(Kernel {
            caption: name.clone(),
            name,
            weights: weights.to_owned(),
        })
    });
    kernels.collect()
}

/// The array of a `.npy` file as a bank `[K, kh, kw]`.
fn parse_npy(bytes: &[u8]) -> anyhow::Result<Array3<f32>> {
    let tensor = npy::read(bytes)?;
    let shape = match *tensor.shape() {
        [height, width] => [1, height, width],
        [kernels, height, width] | [kernels, 1, height, width] => [kernels, height, width],
        [_, channels, _, _] => bail!(
            "a bank of shape {:?} has {channels} input channels; every colour channel is filtered by itself, \
             so give [K, 1, kh, kw]",
            tensor.shape()
        ),
        _ => bail!(
            "an array of shape {:?} is no kernel; give [kh, kw], [K, kh, kw] or [K, 1, kh, kw]",
            tensor.shape()
        ),
    };
    Ok(Array3::from_shape_vec(shape, singles(&tensor)?)?)
}

/// The elements in standard order.
fn singles(tensor: &Tensor) -> anyhow::Result<Vec<f32>> {
    ensure!(
        !tensor.is_empty(),
        "an array of shape {:?} has no elements",
        tensor.shape()
    );
    ensure!(
        tensor.len() <= MAX_WEIGHTS,
        "an array of shape {:?} has more than {MAX_WEIGHTS} elements, the most that are read",
        tensor.shape()
    );
    Ok(match tensor.view() {
        View::F32(elements) => elements.to_vec(),
        View::F64(elements) => elements.iter().map(|&v| v as f32).collect(),
        View::F16(elements) => elements.iter().map(|&v| v.into()).collect(),
        View::Bf16(elements) => elements.iter().map(|&v| v.into()).collect(),
        View::Bool(elements) => elements.iter().map(|&v| f32::from(u8::from(v))).collect(),
        View::I8(elements) => elements.iter().map(|&v| v.into()).collect(),
        View::I16(elements) => elements.iter().map(|&v| v.into()).collect(),
        View::I32(elements) => elements.iter().map(|&v| v as f32).collect(),
        View::I64(elements) => elements.iter().map(|&v| v as f32).collect(),
        View::U8(elements) => elements.iter().map(|&v| v.into()).collect(),
        View::U16(elements) => elements.iter().map(|&v| v.into()).collect(),
        View::U32(elements) => elements.iter().map(|&v| v as f32).collect(),
        View::U64(elements) => elements.iter().map(|&v| v as f32).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::named::list;
    use super::*;
    use ndarray::{Array, Dimension, array};
    use ndarray_npy::{WritableElement, WriteNpyExt};

    fn bytes<T: WritableElement, D: Dimension>(array: &Array<T, D>) -> Vec<u8> {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn rows_are_parsed() {
        let sobel = array![[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]];
        for text in [
            "1 0 -1; 2 0 -2; 1 0 -1",
            "1,0,-1;2,0,-2;1,0,-1;",
            "1 0 -1\n2 0 -2\n1, 0, -1",
            "1 0 -1;\n2 0 -2; \r\n1 0 -1",
            "1e0 0 -1;2 0 -2;+1 0 -1",
        ] {
            assert_eq!(parse_rows(text), Ok(sobel.clone()), "{text}");
        }
        assert_eq!(parse_rows("1/9 -1/2"), Ok(array![[1.0 / 9.0, -0.5]]));
        assert_eq!(parse_rows("-3"), Ok(array![[-3.0]]));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse_rows(""), Err(KernelError::Empty));
        assert_eq!(parse_rows(" ; "), Err(KernelError::Empty));
        assert_eq!(parse_rows("1;;2"), Err(KernelError::EmptyRow { row: 2 }));
        assert_eq!(parse_rows(";1"), Err(KernelError::EmptyRow { row: 1 }));
        assert_eq!(
            parse_rows("1 2; 3"),
            Err(KernelError::Ragged {
                row: 2,
                expected: 2,
                got: 1
            })
        );
        assert_eq!(
            parse_rows("1 2; 3 x"),
            Err(KernelError::NotANumber {
                text: "x".into(),
                row: 2,
                column: 2
            })
        );
        for text in ["inf", "1 nan", "1e39", "1/0", "0/0"] {
            assert!(
                matches!(parse_rows(text), Err(KernelError::NotFinite { .. })),
                "{text}"
            );
        }
        let error = parse_bank(&["sobl".into()]).unwrap_err();
        assert!(format!("{error:#}").contains("sobel-x"), "{error:#}");
    }

    #[test]
    fn a_file_of_few_bytes_a_weight_is_still_too_large() {
        let many = Array::<i8, _>::zeros((1, 4096, 4097));
        let error = parse_npy(&bytes(&many)).unwrap_err().to_string();
        assert!(error.contains("more than 16777216 elements"), "{error}");
    }

    #[test]
    fn every_name_is_a_kernel_of_its_own() {
        let names: Vec<OsString> = NAMED
            .iter()
            .map(|kernel| kernel.name.to_uppercase().into())
            .collect();
        let bank = parse_bank(&names).unwrap();
        assert_eq!(bank.len(), NAMED.len());
        for (kernel, named) in bank.iter().zip(NAMED) {
            assert_eq!(kernel.name, named.name);
            assert!(
                named
                    .rows
                    .iter()
                    .all(|row| row.len() == named.rows[0].len())
            );
            assert!(list().contains(named.name));
        }
        let sum = |name: &str| {
            bank.iter()
                .find(|kernel| kernel.name == name)
                .unwrap()
                .weights
                .sum()
        };
        for name in [
            "identity",
            "blur",
            "gaussian",
            "sharpen",
            "emboss",
            "shift-left",
            "shift-down",
        ] {
            assert!((sum(name) - 1.0).abs() < 1e-6, "{name}");
        }
        for name in [
            "outline",
            "edge",
            "sobel-x",
            "sobel-y",
            "prewitt",
            "prewitt-y",
            "laplacian",
        ] {
            assert_eq!(sum(name), 0.0, "{name}");
        }
    }

    #[test]
    fn names_in_a_bank_are_unique() {
        let values = ["blur", "1 2", "blur", "1 2", "BLUR"].map(OsString::from);
        let names: Vec<String> = parse_bank(&values)
            .unwrap()
            .into_iter()
            .map(|kernel| kernel.name)
            .collect();
        assert_eq!(names, ["blur", "kernel-2", "blur-2", "kernel-4", "blur-3"]);
    }

    #[test]
    fn arrays_of_every_kind_are_read() {
        let two = array![[1i64, -2], [3, 4]];
        let expected = array![[[1.0f32, -2.0], [3.0, 4.0]]];
        assert_eq!(parse_npy(&bytes(&two)).unwrap(), expected);
        assert_eq!(
            parse_npy(&bytes(&two.mapv(|v| v as f32))).unwrap(),
            expected
        );
        assert_eq!(
            parse_npy(&bytes(&two.mapv(|v| v as f64))).unwrap(),
            expected
        );
        assert_eq!(parse_npy(&bytes(&two.mapv(|v| v as i8))).unwrap(), expected);
        assert_eq!(
            parse_npy(&bytes(&two.mapv(|v| v as i16))).unwrap(),
            expected
        );
        assert_eq!(
            parse_npy(&bytes(&two.mapv(|v| v as i32))).unwrap(),
            expected
        );
        assert_eq!(
            parse_npy(&bytes(&two.mapv(|v| v > 0))).unwrap(),
            array![[[1.0, 0.0], [1.0, 1.0]]]
        );
        // Fortran order: what NumPy writes of a transposed array.
        assert_eq!(
            parse_npy(&bytes(&two.clone().reversed_axes())).unwrap(),
            array![[[1.0, 3.0], [-2.0, 4.0]]]
        );
        let bank = Array::from_shape_fn((5, 2, 3), |(k, i, j)| (100 * k + 10 * i + j) as f64);
        let read = parse_npy(&bytes(&bank)).unwrap();
        assert_eq!(read, bank.mapv(|v| v as f32));
        assert_eq!(parse_npy(&bytes(&bank.insert_axis(Axis(1)))).unwrap(), read);
    }

    #[test]
    fn a_file_becomes_a_named_bank() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my bank.npy");
        std::fs::write(&path, bytes(&Array3::<f32>::ones((11, 1, 2)))).unwrap();
        let bank = parse_bank(&[path.to_str().unwrap().into()]).unwrap();
        assert_eq!(bank.len(), 11);
        assert_eq!(
            (bank[0].name.as_str(), bank[10].name.as_str()),
            ("my-bank-00", "my-bank-10")
        );
        std::fs::write(&path, bytes(&array![[1.0, f64::INFINITY]])).unwrap();
        let error = format!(
            "{:#}",
            parse_bank(&[path.to_str().unwrap().into()]).unwrap_err()
        );
        assert!(error.contains("finite"), "{error}");
        assert!(parse_bank(&[folder.path().join("none.npy").to_str().unwrap().into()]).is_err());
    }

    #[test]
    fn broken_arrays_are_refused() {
        for array in [
            vec![],
            vec![3],
            vec![0, 3],
            vec![2, 3, 3, 3],
            vec![1, 1, 1, 1, 1],
        ] {
            assert!(
                parse_npy(&bytes(&ArrayD::<f32>::zeros(array.clone()))).is_err(),
                "{array:?}"
            );
        }
        let good = bytes(&array![[1.0f32, 2.0], [3.0, 4.0]]);
        for len in 0..good.len() {
            assert!(parse_npy(&good[..len]).is_err(), "cut to {len}");
        }
        let swap = |from: &str, to: &str| {
            let start = good
                .windows(from.len())
                .position(|window| window == from.as_bytes())
                .unwrap();
            [&good[..start], to.as_bytes(), &good[start + from.len()..]].concat()
        };
        // Replacements of equal length keep the header's own length right.
        for (from, to) in [
            ("(2, 2)", "(2, 9)"),
            ("(2, 2)", "(0, 2)"),
            ("<f4", "<f2"),
            ("<f4", "|S4"),
            ("(2, 2)", "(((((("),
        ] {
            assert!(parse_npy(&swap(from, to)).is_err(), "{to}");
        }
        let header = |text: &str| {
            [
                b"\x93NUMPY\x02\x00",
                &(text.len() as u32).to_le_bytes()[..],
                text.as_bytes(),
            ]
            .concat()
        };
        let deep = format!("{{'descr': {}", "(".repeat(9000));
        let huge = "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967295, 4294967295, 4294967295), }\n";
        for file in [
            header(&deep),
            header(huge),
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(),
            b"PK\x03\x04".to_vec(),
        ] {
            assert!(parse_npy(&file).is_err());
        }
    }
}
