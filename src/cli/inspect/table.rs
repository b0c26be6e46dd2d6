//! The report on a model, as lines of a table or as JSON.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::receptive::{Field, fields};
use crate::cli::model::{aligned, shape};
use crate::cli::{bytes, printable, significant};
use crate::network::{Graph, Layer, Session, Tensor};

/// What is known of a model for given sizes.
pub(super) struct Report<'s> {
    /// Name, type and shape.
    pub inputs: Vec<[String; 3]>,
    pub outputs: Vec<[String; 3]>,
    pub layers: Vec<Layer<'s>>,
    fields: Vec<Field>,
    /// Recipe and scratch of the layers that are run; `None` where another one does the work.
    run: Vec<Option<(String, usize)>>,
    /// Nodes of the file that are computed once.
    constant: usize,
    arena_bytes: usize,
    activation_bytes: usize,
}

impl<'s> Report<'s> {
    /// On `graph` of so many nodes, whose layers are those of `plain`, and which is run as `session`.
    pub fn new(
        graph: &Graph,
        inputs: &[(String, Tensor)],
        nodes: usize,
        plain: &'s Session,
        session: &Session,
    ) -> Self {
        let plain: Vec<Layer> = plain.layers().collect();
        let run: HashMap<&str, (String, usize)> = session
            .layers()
            .map(|layer| (layer.name, (layer.recipe, layer.scratch_bytes)))
            .collect();
        let made: HashMap<&str, [String; 3]> = plain
            .iter()
            .flat_map(|layer| &layer.outputs)
            .map(|output| {
                let line = [
                    output.name.to_owned(),
                    output.dtype.name().to_owned(),
                    shape(&output.shape),
                ];
                (output.name, line)
            })
            .collect();
        let output = |name: &str| match made.get(name) {
            Some(line) => line.clone(),
            None => [name.to_owned(), "constant".to_owned(), String::new()],
        };
        Self {
            inputs: inputs
                .iter()
                .map(|(name, tensor)| {
                    [
                        name.clone(),
                        tensor.dtype().name().to_owned(),
                        shape(tensor.shape()),
                    ]
                })
                .collect(),
            outputs: graph
                .outputs()
                .iter()
                .map(|&value| output(graph.name(value)))
                .collect(),
            fields: fields(inputs, &plain),
            run: plain
                .iter()
                .map(|layer| run.get(layer.name).cloned())
                .collect(),
            constant: nodes.saturating_sub(plain.len()),
            layers: plain,
            arena_bytes: session.arena_bytes(),
            activation_bytes: session.activation_bytes(),
        }
    }

    fn parameters(&self) -> u64 {
        self.layers.iter().map(|layer| layer.parameters).sum()
    }

    fn multiply_adds(&self) -> u64 {
        let each = self.layers.iter().map(|layer| layer.multiply_adds);
        each.fold(0, u64::saturating_add)
    }

    /// The largest, since layers use it one after another.
    fn scratch_bytes(&self) -> usize {
        let each = self.run.iter().flatten().map(|&(_, scratch)| scratch);
        each.max().unwrap_or(0)
    }

    /// The table.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (what, values) in [("input", &self.inputs), ("output", &self.outputs)] {
            lines.extend(values.iter().map(|[name, dtype, shape]| {
                format!("{what:6}  {name}  {dtype} {shape}")
                    .trim_end()
                    .to_owned()
            }));
        }
        lines.push(String::new());
        let mut rows: Vec<[String; 8]> = vec![
            [
                "name",
                "operator",
                "output",
                "parameters",
                "operations",
                "recipe",
                "scratch",
                "field",
            ]
            .map(str::to_owned),
        ];
        rows.extend((0..self.layers.len()).map(|index| self.row(index)));
        const RIGHT: [bool; 8] = [false, false, false, true, true, false, true, true];
        lines.extend(aligned(&rows, RIGHT));
        lines.push(String::new());
        lines.push(self.totals());
        lines
    }

    fn row(&self, index: usize) -> [String; 8] {
        let layer = &self.layers[index];
        let outputs = layer.outputs.iter().map(|output| shape(&output.shape));
        let (recipe, scratch) = match &self.run[index] {
            Some((recipe, 0)) => (recipe.clone(), String::new()),
            Some((recipe, scratch)) => (recipe.clone(), bytes(*scratch as u64)),
            None => ("fused".to_owned(), String::new()),
        };
        let sizes = |field: &Vec<crate::ReceptiveField>| {
            let sizes: Vec<usize> = field.iter().map(|axis| axis.size).collect();
            shape(&sizes)
        };
        [
            printable(layer.name),
            layer.operator.to_owned(),
            outputs.collect::<Vec<_>>().join(", "),
            count(layer.parameters),
            count(layer.multiply_adds.saturating_mul(2)),
            recipe,
            scratch,
            self.fields[index].as_ref().map_or(String::new(), sizes),
        ]
    }

    fn totals(&self) -> String {
        let fused = self.run.iter().filter(|run| run.is_none()).count();
        format!(
            "{} layers, {fused} of them fused; {} nodes computed once; {} parameters; {} operations; arena {} \
             (all activations together {}), scratch {}",
            self.layers.len(),
            self.constant,
            self.parameters(),
            match self.multiply_adds() {
                0 => "0".to_owned(),
                adds => count(adds.saturating_mul(2)),
            },
            bytes(self.arena_bytes as u64),
            bytes(self.activation_bytes as u64),
            bytes(self.scratch_bytes() as u64),
        )
    }

    /// The same as an object.
    pub fn json(&self) -> Value {
        let value = |[name, dtype, shape]: &[String; 3]| json!({"name": name, "type": dtype, "shape": shape});
        let layers = self.layers.iter().zip(&self.run).zip(&self.fields);
        let layers = layers.map(|((layer, run), field)| {
            let shapes = layer.outputs.iter().map(|output| json!(output.shape));
            let field = field.as_ref().map(|axes| {
                let sizes = axes.iter().map(|axis| json!(axis.size));
                sizes.collect::<Vec<_>>()
            });
            json!({
                "name": layer.name,
                "operator": layer.operator,
                "outputs": shapes.collect::<Vec<_>>(),
                "parameters": layer.parameters,
                "multiply_adds": layer.multiply_adds,
                "recipe": run.as_ref().map(|(recipe, _)| recipe),
                "scratch_bytes": run.as_ref().map(|&(_, scratch)| scratch),
                "receptive_field": field,
            })
        });
        json!({
            "inputs": self.inputs.iter().map(value).collect::<Vec<_>>(),
            "outputs": self.outputs.iter().map(value).collect::<Vec<_>>(),
            "layers": layers.collect::<Vec<_>>(),
            "constant_nodes": self.constant,
            "parameters": self.parameters(),
            "multiply_adds": self.multiply_adds(),
            "arena_bytes": self.arena_bytes,
            "activation_bytes": self.activation_bytes,
            "scratch_bytes": self.scratch_bytes(),
        })
    }
}

/// 999, 1.23 k, 12.3 M, 1.23 G; nothing for none.
fn count(value: u64) -> String {
    if value < 1000 {
        return match value {
            0 => String::new(),
            few => few.to_string(),
        };
    }
    let mut rest = value as f64;
    let mut units = ["k", "M", "G", "T"].into_iter().peekable();
    let mut unit = "";
    while rest >= 999.5 && units.peek().is_some() {
        rest /= 1000.0;
        unit = units.next().unwrap_or("");
    }
    format!("{} {unit}", significant(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_for_people() {
        assert_eq!(count(0), "");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_235_496), "1.24 M");
        assert_eq!(count(999_600), "1.00 M");
        assert_eq!(count(u64::MAX), "18446744 T");
    }
}
