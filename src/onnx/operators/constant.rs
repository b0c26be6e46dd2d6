//! Nodes that hold a tensor: they become constants of the graph, not operators.

use ndarray::{Array1, arr0};

use super::super::reader::NodeReader;
use crate::error::{Error, Result};
use crate::network::Tensor;

/// The value of a `Constant` node: one of its attributes.
pub(in super::super) fn constant(reader: &NodeReader) -> Result<Tensor> {
    reader.expect_inputs(0, 0)?;
    let mut values = Vec::new();
    values.extend(reader.tensor("value")?);
    values.extend(
        reader
            .optional_float("value_float")?
            .map(|value| arr0(value).into_dyn().into()),
    );
    values.extend(
        reader
            .optional_int("value_int")?
            .map(|value| arr0(value).into_dyn().into()),
    );
    values.extend(
        reader
            .floats("value_floats")?
            .map(|values| Array1::from(values).into_dyn().into()),
    );
    values.extend(
        reader
            .ints("value_ints")?
            .map(|values| Array1::from(values).into_dyn().into()),
    );
    let found = values.len();
    match values.pop() {
        Some(value) if found == 1 => Ok(value),
        _ => Err(Error::Model {
            what: format!(
                "{found} values among value, value_float(s) and value_int(s), expected 1"
            ),
        }),
    }
}
