//! The receptive field of every value, from layer to layer.
//!
//! Where ways join, the field is what they see together, if their pixels lie equally far apart. Behind a layer that
//! sees all of its input, or for which pixels have no meaning, there is none.

use std::collections::HashMap;

use crate::ReceptiveField;
use crate::network::{Layer, Tensor};

/// Along every axis of pixels.
pub(super) type Field = Option<Vec<ReceptiveField>>;

/// The field of the first output of each layer.
pub(super) fn fields(inputs: &[(String, Tensor)], layers: &[Layer]) -> Vec<Field> {
    let mut known: HashMap<&str, Field> = HashMap::new();
    for (name, tensor) in inputs {
        let pixels = tensor.shape().len().checked_sub(2).filter(|&axes| axes > 0);
        known.insert(name, pixels.map(|axes| vec![ReceptiveField::PIXEL; axes]));
    }
    let mut fields = Vec::with_capacity(layers.len());
    for layer in layers {
        let field = after(layer, &known);
        for output in &layer.outputs {
            known.insert(output.name, field.clone());
        }
        fields.push(field);
    }
    fields
}

fn after(layer: &Layer, known: &HashMap<&str, Field>) -> Field {
    let window = layer.window.as_ref()?;
    let mut joined: Field = None;
    for input in &layer.inputs {
        let field = known.get(input)?.as_ref()?;
        joined = Some(match joined {
            None => field.clone(),
            Some(joined) => join(&joined, field)?,
        });
    }
    let field = joined?;
    if window.is_empty() {
        return Some(field);
    }
    if window.len() != field.len() {
        return None;
    }
    let axes = field.iter().zip(window);
    axes.map(|(field, axis)| field.after(axis).ok()).collect()
}

/// What both see.
fn join(one: &[ReceptiveField], other: &[ReceptiveField]) -> Field {
    if one.len() != other.len() {
        return None;
    }
    let both = one.iter().zip(other).map(|(one, other)| {
        let end = |field: &ReceptiveField| field.start.checked_add_unsigned(field.size);
        let start = one.start.min(other.start);
        let size = end(one)?.max(end(other)?).checked_sub(start)?;
        (one.jump == other.jump).then_some(ReceptiveField {
            size: usize::try_from(size).ok()?,
            jump: one.jump,
            start,
        })
    });
    both.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Axis;
    use crate::network::{DType, LayerOutput};

    fn layer<'s>(inputs: &[&'s str], output: &'s str, window: Option<Vec<Axis>>) -> Layer<'s> {
        Layer {
            name: output,
            operator: "any",
            inputs: inputs.to_vec(),
            outputs: vec![LayerOutput {
                name: output,
                dtype: DType::F32,
                shape: vec![1, 1, 9, 9],
                channels_last: false,
            }],
            parameters: 0,
            multiply_adds: 0,
            recipe: String::new(),
            scratch_bytes: 0,
            window,
        }
    }

    fn taps(kernel: usize, stride: usize, pad: usize) -> Option<Vec<Axis>> {
        Some(vec![
            Axis::new(0, 99, kernel, stride, 1, (pad, pad)).unwrap();
            2
        ])
    }

    #[test]
    fn ways_that_join() {
        let image = Tensor::zeros(DType::F32, &[1, 1, 99, 99]).unwrap();
        let layers = [
            layer(&["x"], "a", taps(3, 1, 1)),
            layer(&["a"], "b", taps(3, 1, 1)),
            layer(&["b", "x"], "sum", Some(Vec::new())),
            layer(&["sum"], "half", taps(2, 2, 0)),
            layer(&["half", "x"], "apart", Some(Vec::new())),
            layer(&["half"], "whole", None),
            layer(&["whole"], "behind", Some(Vec::new())),
        ];
        let sizes: Vec<Option<usize>> = fields(&[("x".to_owned(), image)], &layers)
            .into_iter()
            .map(|field| field.map(|axes| axes[1].size))
            .collect();
        assert_eq!(
            sizes,
            [Some(3), Some(5), Some(5), Some(6), None, None, None]
        );
    }
}
