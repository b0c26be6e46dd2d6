//! Attributes of everything that slides a window: strides, dilations, padding.

use super::super::reader::NodeReader;
use super::super::writer::{NodeWriter, Written};
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

/// The number of spatial axes, where anything says it.
pub(super) fn rank(node: &NodeWriter, kernel: Option<usize>) -> Option<usize> {
    let of = |input: usize| Some(node.fact(input)?.shape.len().saturating_sub(2));
    kernel.or_else(|| of(1)).or_else(|| of(0))
}

fn listed<V: Copy>(
    name: &'static str,
    values: &PerAxis<V>,
    rank: Option<usize>,
) -> std::result::Result<Vec<V>, String> {
    let rank = rank.ok_or_else(|| format!("{name}, of unknown many axes"))?;
    let values = (0..rank).map(|axis| values.get(name, rank, axis));
    values
        .collect::<Result<_>>()
        .map_err(|error| error.to_string())
}

/// A value for each axis, where any is not the default.
pub(super) fn write_per_axis(
    node: &mut NodeWriter,
    name: &'static str,
    values: &PerAxis,
    default: usize,
    rank: Option<usize>,
) -> Written {
    if *values == PerAxis::all(default) {
        return Ok(());
    }
    let values = listed(name, values, rank)?;
    match values.iter().all(|&value| value == default) {
        true => Ok(()),
        false => node.sizes(name, &values),
    }
}

/// `auto_pad` or `pads`, `[before…, after…]`; neither for no padding.
pub(super) fn write_padding(
    node: &mut NodeWriter,
    padding: &Padding,
    rank: Option<usize>,
) -> Written {
    match padding {
        Padding::Valid => {}
        Padding::SameUpper => node.string("auto_pad", "SAME_UPPER"),
        Padding::SameLower => node.string("auto_pad", "SAME_LOWER"),
        Padding::Explicit(pads) => {
            if *pads == PerAxis::all((0, 0)) {
                return Ok(());
            }
            let pads = listed("pads", pads, rank)?;
            let (before, after): (Vec<_>, Vec<_>) = pads.into_iter().unzip();
            node.sizes("pads", &[before, after].concat())?;
        }
    }
    Ok(())
}
