//! What `--input` and `--kernel` say: a size, numbers, or a file of numbers.
//!
//! ```text
//! 5, 5x7                   a size: small whole numbers are made up for it
//! "1 2 3; 4 5 6"           one channel, as `filter --kernel` reads it; channels apart by `|`
//! picture.npy              [h, w] or [C, h, w] or [1, C, h, w]; for kernels [O, C/g, h, w] too
//! ```

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Array3, Array4, ArrayD, Axis, Ix2, Ix3, Ix4, concatenate, stack};

use crate::cli::filter::{NAMED, parse_rows, read_array};

/// One `--input`, or one `--kernel`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    /// Height and width.
    Size([usize; 2]),
    /// Numbers, `[channels, h, w]`.
    Planes(Array3<f64>),
    /// Several kernels, `[O, C/g, h, w]`.
    Kernels(Array4<f64>),
}

/// Reads the input.
///
/// # Errors
/// Neither size nor numbers nor a file of them; more than one image.
pub(super) fn input(text: &OsStr) -> Result<Given> {
    let named = || format!("--input \"{}\"", text.display());
    let given = read(text).with_context(named)?;
    match given {
        Given::Kernels(images) if images.len_of(Axis(0)) == 1 => {
            Ok(Given::Planes(images.index_axis_move(Axis(0), 0)))
        }
        Given::Kernels(images) => Err(anyhow::anyhow!(
            "{} images are given, one is explained",
            images.len_of(Axis(0))
        ))
        .with_context(named),
        given => Ok(given),
    }
}

/// Reads the kernels: one size, or the numbers of each output channel.
///
/// # Errors
/// What is no kernel; kernels of different shapes; a size beside others.
pub(super) fn kernels(texts: &[impl AsRef<OsStr>]) -> Result<Given> {
    let mut banks = Vec::new();
    for text in texts.iter().map(AsRef::as_ref) {
        let named = || format!("--kernel \"{}\"", text.display());
        let bank = match (read_kernel(text).with_context(named)?, texts.len()) {
            (Given::Size(size), 1) => return Ok(Given::Size(size)),
            (Given::Size(_), _) => {
                return Err(anyhow::anyhow!(
                    "a size stands alone; for several kernels of a size use --outputs"
                ))
                .with_context(named);
            }
            (Given::Planes(kernel), _) => kernel.insert_axis(Axis(0)),
            (Given::Kernels(bank), _) => bank,
        };
        banks.push(bank);
    }
    let views: Vec<_> = banks.iter().map(|bank| bank.view()).collect();
    let all = concatenate(Axis(0), &views).with_context(|| {
        let shapes: Vec<_> = banks.iter().map(|bank| &bank.shape()[1..]).collect();
        format!("the kernels have different shapes: {shapes:?}")
    })?;
    Ok(Given::Kernels(all))
}

/// A kernel of a name, or what [`read`] reads. A file of three axes holds kernels of one channel, as for `filter`.
fn read_kernel(text: &OsStr) -> Result<Given> {
    let name = text.to_str().map(str::trim);
    let named = |name| {
        NAMED
            .iter()
            .find(|kernel| kernel.name.eq_ignore_ascii_case(name))
    };
    if let Some(kernel) = name.and_then(named) {
        let weights = kernel.weights().mapv(f64::from);
        return Ok(Given::Planes(weights.insert_axis(Axis(0))));
    }
    let from_file = is_npy(text);
    Ok(match read(text)? {
        Given::Planes(kernels) if from_file => Given::Kernels(kernels.insert_axis(Axis(1))),
        given => given,
    })
}

fn is_npy(text: &OsStr) -> bool {
    let extension = Path::new(text).extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}

fn read(text: &OsStr) -> Result<Given> {
    let path = Path::new(text);
    if is_npy(text) {
        return file(path);
    }
    let Some(words) = text.to_str().map(str::trim) else {
        bail!("neither a size nor numbers nor the name of a .npy file");
    };
    if let Some(size) = size(words)? {
        return Ok(Given::Size(size));
    }
    let mut planes = Vec::new();
    for plane in words.split('|') {
        planes.push(parse_rows(plane.trim())?.mapv(f64::from));
    }
    let views: Vec<_> = planes.iter().map(|plane| plane.view()).collect();
    let all = stack(Axis(0), &views).with_context(|| {
        let sizes: Vec<_> = planes.iter().map(|plane| plane.dim()).collect();
        format!("the channels have different sizes: {sizes:?}")
    })?;
    Ok(Given::Planes(all))
}

/// `5` and `5x7`; nothing where the text is no size. Zero is one, so that the library may say what it is wrong for.
fn size(text: &str) -> Result<Option<[usize; 2]>> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let digits = |side: &str| !side.is_empty() && side.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(height) || !digits(width) {
        return Ok(None);
    }
    let side = |side: &str| {
        side.parse()
            .with_context(|| format!("{side} is above {}, the largest size", usize::MAX))
    };
    Ok(Some([side(height)?, side(width)?]))
}

fn file(path: &Path) -> Result<Given> {
    let array = read_array(path)?;
    ensure!(
        array.iter().all(|value| value.is_finite()),
        "the file holds a number that is not finite"
    );
    let array: ArrayD<f64> = array.mapv(f64::from);
    Ok(match array.ndim() {
        2 => Given::Planes(array.into_dimensionality::<Ix2>()?.insert_axis(Axis(0))),
        3 => Given::Planes(array.into_dimensionality::<Ix3>()?),
        4 => Given::Kernels(array.into_dimensionality::<Ix4>()?),
        _ => bail!(
            "an array of shape {:?} is neither an image nor kernels",
            array.shape()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn sizes_and_numbers_are_told_apart() {
        assert_eq!(input("5".as_ref()).unwrap(), Given::Size([5, 5]));
        assert_eq!(input(" 5x0 ".as_ref()).unwrap(), Given::Size([5, 0]));
        assert_eq!(
            input("1 2; 3 4".as_ref()).unwrap(),
            Given::Planes(array![[[1., 2.], [3., 4.]]])
        );
        assert_eq!(
            input("1 2 | 3 4".as_ref()).unwrap(),
            Given::Planes(array![[[1., 2.]], [[3., 4.]]])
        );
        assert_eq!(input("5;".as_ref()).unwrap(), Given::Planes(array![[[5.]]]));
        assert_eq!(
            kernels(&["1 -1", "2 -2"]).unwrap(),
            Given::Kernels(array![[[[1., -1.]]], [[[2., -2.]]]])
        );
        assert_eq!(kernels(&["2x3"]).unwrap(), Given::Size([2, 3]));
        let sobel = kernels(&["Sobel-X"]).unwrap();
        assert!(matches!(sobel, Given::Kernels(bank) if bank.shape() == [1, 1, 3, 3]));
    }

    #[test]
    fn mistakes_are_named() {
        let said = |result: Result<Given>| format!("{:#}", result.unwrap_err());
        let error = said(input("1 2; 3".as_ref()));
        assert!(error.contains("row 2 has 1 numbers"), "{error}");
        let error = said(input("1 2 | 3".as_ref()));
        assert!(error.contains("channels have different sizes"), "{error}");
        let error = said(kernels(&["1 2", "3"]));
        assert!(error.contains("stands alone"), "{error}");
        let error = said(kernels(&["1 2", "1 2 3"]));
        assert!(error.contains("different shapes"), "{error}");
        let error = said(input("99999999999999999999999".as_ref()));
        assert!(error.contains("largest size"), "{error}");
        for text in ["", "x", "5x", "5x5x5", "-1x2", "none.npy", "1e999 2"] {
            assert!(input(text.as_ref()).is_err(), "{text}");
        }
    }
}
