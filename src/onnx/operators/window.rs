//! Attributes of everything that slides a window: strides, dilations, padding.

use super::super::reader::NodeReader;
use crate::error::{Error, Result};
use crate::geometry::{Padding, PerAxis};

/// A value for each axis; `default` where the attribute is absent.
pub(super) fn per_axis(reader: &NodeReader, name: &str, default: usize) -> Result<PerAxis> {
    Ok(match reader.sizes(name)? {
        Some(values) => PerAxis::list(&values),
        None => PerAxis::all(default),
    })
}

/// `auto_pad` and `pads`, `[before…, after…]`, which exclude each other.
pub(super) fn padding(reader: &NodeReader) -> Result<Padding> {
    let automatic = reader.choice(
        "auto_pad",
        &[
            ("NOTSET", None),
            ("SAME_UPPER", Some(Padding::SameUpper)),
            ("SAME_LOWER", Some(Padding::SameLower)),
            ("VALID", Some(Padding::Valid)),
        ],
    )?;
    let pads = reader.sizes("pads")?;
    let wrong = |expected: &str, pads: &[usize]| Error::Attribute {
        name: "pads".to_owned(),
        expected: expected.to_owned(),
        got: format!("{pads:?}"),
    };
    match (automatic, pads) {
        (None, None) => Ok(Padding::Valid),
        (Some(automatic), None) => Ok(automatic),
        // Zeros beside an automatic padding say nothing; exporters write them.
        (Some(automatic), Some(pads)) if pads.iter().all(|&pad| pad == 0) => Ok(automatic),
        (Some(_), Some(pads)) => Err(wrong("absent beside auto_pad", &pads)),
        (None, Some(pads)) if pads.len() % 2 == 0 => {
            let (before, after) = pads.split_at(pads.len() / 2);
            let pairs: Vec<_> = before.iter().copied().zip(after.iter().copied()).collect();
            Ok(Padding::Explicit(PerAxis::list(&pairs)))
        }
        (None, Some(pads)) => Err(wrong("two for each axis", &pads)),
    }
}
