//! Models against recorded tensors, in the folders that ONNX's own tests and its model zoo use.
//!
//! ```text
//! folder/model.onnx
//! folder/test_data_set_0/input_0.pb, input_1.pb, …, output_0.pb, …
//!
//! |got − expected| ≤ max(atol + rtol · |expected|, of_largest · max |expected|)
//!                                                         floats; integers and truth values are equal
//! ```

use std::path::{Path, PathBuf};

use super::{ImportOptions, import, read_tensor};
use crate::error::{Error, Result};
use crate::network::{Network, NetworkOptions, Tensor, View};

/// How far floats may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// In parts of the expected value.
    pub rtol: f64,
    /// In absolute terms.
    pub atol: f64,
    /// In parts of the largest value expected in the tensor.
    pub of_largest: f64,
}

impl Tolerance {
    /// That of ONNX's own runner, for single operators.
    pub const OPERATOR: Self = Self {
        rtol: 1e-3,
        atol: 1e-7,
        of_largest: 0.0,
    };
    /// [`OPERATOR`](Self::OPERATOR), and 1e-5 of the largest value: what is left of large terms that cancel is
    /// as exact as they are.
    pub const NETWORK: Self = Self {
        of_largest: 1e-5,
        ..Self::OPERATOR
    };
}

/// What came of a model or a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Everything is within the tolerance.
    Passed {
        /// The largest difference of a float, divided by the largest value expected in its tensor.
        largest: f64,
    },
    /// Something is not, or could not be computed.
    Failed {
        /// What, with the numbers.
        what: String,
    },
    /// The model has operators that are not there.
    Unsupported {
        /// All of them.
        operators: Vec<String>,
    },
}

/// The models at `path`: the file itself, the `model.onnx` of a folder, or those of all folders below it.
///
/// # Errors
/// A folder that cannot be read.
pub fn models(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut folders, mut models) = (vec![path.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        let model = folder.join("model.onnx");
        if model.is_file() {
            models.push(model);
        } else {
            folders.extend(entries(&folder)?.into_iter().filter(|entry| {
                // A link to a folder could lead round in a circle.
                entry.is_dir() && !entry.is_symlink()
            }));
        }
    }
    models.sort();
    Ok(models)
}

/// What a folder holds, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| failed_to_read(folder, &error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn failed_to_read(path: &Path, error: &std::io::Error) -> Error {
    Error::io(path, error)
}

/// The tensor in a `.pb` file.
///
/// # Errors
/// A file that cannot be read, or that holds no tensor.
pub fn read_tensor_file(path: &Path) -> Result<(String, Tensor)> {
    let bytes = std::fs::read(path).map_err(|error| failed_to_read(path, &error))?;
    read_tensor(&bytes).map_err(|error| error.at(path.display().to_string()))
}

/// Runs a model on the inputs recorded beside it and compares what comes out, all sets together.
pub fn verify(
    model: &Path,
    import_options: &ImportOptions,
    network_options: &NetworkOptions,
    tolerance: Tolerance,
) -> Verdict {
    let sets = match verify_sets(model, import_options, network_options, tolerance) {
        Ok(sets) => sets,
        Err(error) => return verdict(&error),
    };
    let mut worst = 0f64;
    for (set, verdict) in sets {
        match verdict {
            Verdict::Passed { largest } => worst = worst.max(largest),
            Verdict::Failed { what } => {
                return Verdict::Failed {
                    what: format!("{}: {what}", set.display()),
                };
            }
            Verdict::Unsupported { .. } => return verdict,
        }
    }
    Verdict::Passed { largest: worst }
}

/// [`verify`], with what came of each set.
///
/// # Errors
/// A model that cannot be read, and one that has no sets.
pub fn verify_sets(
    model: &Path,
    import_options: &ImportOptions,
    network_options: &NetworkOptions,
    tolerance: Tolerance,
) -> Result<Vec<(PathBuf, Verdict)>> {
    let graph = import(model, import_options)?;
    let network = Network::with_options(graph, network_options.clone())?;
    let folder = match model.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut sets = Vec::new();
    for set in entries(folder)? {
        let name = set.file_name().map(|name| name.to_string_lossy());
        if name.is_some_and(|name| name.starts_with("test_data_set_")) && set.is_dir() {
            let verdict = match one_set(&set, &network, tolerance) {
                Ok(largest) => Verdict::Passed { largest },
                Err(error) => verdict(&error),
            };
            sets.push((set, verdict));
        }
    }
    match sets.is_empty() {
        true => Err(Error::Model {
            what: format!("no test_data_set_* in {}", folder.display()),
        }),
        false => Ok(sets),
    }
}

fn verdict(error: &Error) -> Verdict {
    match unsupported(error) {
        Some(operators) => Verdict::Unsupported {
            operators: operators.to_vec(),
        },
        None => Verdict::Failed {
            what: error.to_string(),
        },
    }
}

/// The operators that are not there, where that is what is wrong.
fn unsupported(error: &Error) -> Option<&[String]> {
    match error {
        Error::UnsupportedOperators { list } => Some(list),
        Error::At { source, .. } => unsupported(source),
        _ => None,
    }
}

/// The tensors `kind_0.pb`, `kind_1.pb`, … of a set.
fn recorded(set: &Path, kind: &str) -> Result<Vec<(String, Tensor)>> {
    let mut tensors = Vec::new();
    loop {
        let path = set.join(format!("{kind}_{}.pb", tensors.len()));
        if !path.is_file() {
            return Ok(tensors);
        }
        tensors.push(read_tensor_file(&path)?);
    }
}

fn one_set(set: &Path, network: &Network, tolerance: Tolerance) -> Result<f64> {
    let graph = network.graph();
    let mut inputs = recorded(set, "input")?;
    // Names are often left out: then the order counts.
    for (at, (name, _)) in inputs.iter_mut().enumerate() {
        let known = |name: &str| {
            graph
                .inputs()
                .iter()
                .any(|input| graph.name(input.value) == name)
        };
        if !known(name) {
            let input = graph.inputs().get(at).ok_or_else(|| Error::Model {
                what: format!(
                    "input_{at}.pb for a model of {} inputs",
                    graph.inputs().len()
                ),
            })?;
            *name = graph.name(input.value).to_owned();
        }
    }
    let outputs = network.run(&inputs)?;
    let expected = recorded(set, "output")?;
    if expected.is_empty() {
        return Err(Error::Model {
            what: "no output_0.pb".to_owned(),
        });
    }
    let mut largest = 0f64;
    for (at, (name, expected)) in expected.iter().enumerate() {
        let got = match outputs.iter().find(|(known, _)| known == name) {
            Some(found) => Some(found),
            None => outputs.get(at),
        };
        let (name, got) = got.ok_or_else(|| Error::Model {
            what: format!("output_{at}.pb for a model of {} outputs", outputs.len()),
        })?;
        let comparison = compare(got, expected, tolerance);
        let found = comparison.map_err(|what| Error::Model {
            what: format!("output {name:?}: {what}"),
        })?;
        largest = largest.max(found);
    }
    Ok(largest)
}

/// The largest difference between two tensors, divided by the largest finite value expected; or what is wrong:
/// another type or shape, or elements outside the tolerance. NaN equals NaN, infinity itself.
pub fn compare(
    got: &Tensor,
    expected: &Tensor,
    tolerance: Tolerance,
) -> std::result::Result<f64, String> {
    if got.dtype() != expected.dtype() {
        return Err(format!(
            "elements are {}, expected {}",
            got.dtype().name(),
            expected.dtype().name()
        ));
    }
    if got.shape() != expected.shape() {
        return Err(format!(
            "shape {:?}, expected {:?}",
            got.shape(),
            expected.shape()
        ));
    }
    match (floats(got.view()), floats(expected.view())) {
        (Some(got), Some(expected)) => compare_floats(&got, &expected, tolerance),
        _ if got == expected => Ok(0.0),
        _ => Err("elements differ".to_owned()),
    }
}

/// The elements where they are floats.
fn floats(view: View) -> Option<Vec<f64>> {
    Some(match view {
        View::F32(elements) => elements.iter().map(|&value| value.into()).collect(),
        View::F64(elements) => elements.to_vec(),
        View::F16(elements) => elements.iter().map(|&value| value.into()).collect(),
        View::Bf16(elements) => elements.iter().map(|&value| value.into()).collect(),
        _ => return None,
    })
}

fn compare_floats(
    got: &[f64],
    expected: &[f64],
    tolerance: Tolerance,
) -> std::result::Result<f64, String> {
    let scale = expected
        .iter()
        .filter(|value| value.is_finite())
        .fold(0f64, |scale, value| scale.max(value.abs()));
    let (mut largest, mut outside, mut worst) = (0f64, 0usize, (0f64, 0usize));
    for (at, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        if got == expected || (got.is_nan() && expected.is_nan()) {
            continue;
        }
        let difference = match (got - expected).abs() {
            // One of them is NaN or infinite, the other is not.
            difference if !difference.is_finite() => f64::INFINITY,
            difference => difference,
        };
        let allowed = tolerance.atol + tolerance.rtol * expected.abs();
        let excess = difference / allowed.max(tolerance.of_largest * scale);
        // The quotient of infinities is NaN.
        if excess > 1.0 || difference == f64::INFINITY {
            outside += 1;
        }
        if excess > worst.0 || difference == f64::INFINITY {
            worst = (excess, at);
        }
        largest = largest.max(difference);
    }
    if outside > 0 {
        let (_, at) = worst;
        return Err(format!(
            "{outside} of {} elements are outside the tolerance; the largest difference is {largest:e}; number \
             {at}, the furthest outside, is {}, expected {}",
            expected.len(),
            got[at],
            expected[at]
        ));
    }
    Ok(largest / if scale > 0.0 { scale } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr1;

    fn check(got: &[f32], expected: &[f32]) -> std::result::Result<f64, String> {
        let tensor = |values: &[f32]| Tensor::from(arr1(values).into_dyn());
        compare(&tensor(got), &tensor(expected), Tolerance::OPERATOR)
    }

    #[test]
    fn the_largest_difference_in_parts_of_the_largest_value() {
        assert_eq!(check(&[4.0, 1.0], &[4.0, 1.0]), Ok(0.0));
        assert_eq!(
            check(&[4.0, 1.0 + f32::EPSILON], &[4.0, 1.0]),
            Ok(f64::from(f32::EPSILON) / 4.0)
        );
        assert!(check(&[4.0, 1.001_5], &[4.0, 1.0]).is_err_and(|what| what.contains("number 1")));
        assert_eq!(check(&[5e-8], &[0.0]), Ok(f64::from(5e-8f32)));
        assert!(check(&[2e-7], &[0.0]).is_err());
        let network = |got: &[f32], expected: &[f32]| {
            let tensor = |values: &[f32]| Tensor::from(arr1(values).into_dyn());
            compare(&tensor(got), &tensor(expected), Tolerance::NETWORK)
        };
        assert!(network(&[9e-6, 1.0], &[0.0, 1.0]).is_ok());
        assert!(network(&[1.1e-5, 1.0], &[0.0, 1.0]).is_err());
    }

    #[test]
    fn what_is_not_finite_equals_itself_alone() {
        const VALUES: [f32; 4] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
        for (at, got) in VALUES.iter().enumerate() {
            for (other, expected) in VALUES.iter().enumerate() {
                let same = check(&[*got, 2.0], &[*expected, 2.0]) == Ok(0.0);
                assert_eq!(same, at == other, "{got} for {expected}");
                if at != other {
                    assert!(
                        check(&[*got], &[*expected]).is_err(),
                        "{got} for {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn types_shapes_and_integers_are_equal() {
        let float = Tensor::from(arr1(&[1f32, 2.0]).into_dyn());
        let double = Tensor::from(arr1(&[1f64, 2.0]).into_dyn());
        let row = float.clone().reshape(&[1, 2]).unwrap();
        let integers = |last: i64| Tensor::from(arr1(&[i64::MAX, last]).into_dyn());
        let check = |got: &Tensor, expected: &Tensor| compare(got, expected, Tolerance::OPERATOR);
        assert_eq!(
            check(&float, &double).unwrap_err(),
            "elements are f32, expected f64"
        );
        assert_eq!(
            check(&row, &float).unwrap_err(),
            "shape [1, 2], expected [2]"
        );
        assert_eq!(check(&integers(1), &integers(1)), Ok(0.0));
        assert!(check(&integers(2), &integers(1)).is_err());
    }
}
