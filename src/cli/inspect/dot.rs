//! The graph in Graphviz's language.

use std::collections::HashMap;
use std::fmt::Write;

use super::table::Report;
use crate::cli::model::shape;

/// A box for each layer, an arrow with its shape for each value.
pub(super) fn graph(report: &Report) -> String {
    let mut text = String::from("digraph model {\n  node [shape=box, fontname=\"sans-serif\"];\n");
    let mut makers: HashMap<&str, (String, String)> = HashMap::new();
    for (index, [name, dtype, shape]) in report.inputs.iter().enumerate() {
        let id = format!("input{index}");
        let label = quoted(&[name, dtype]);
        let _ = writeln!(text, "  {id} [label={label}, shape=ellipse];");
        makers.insert(name, (id, shape.clone()));
    }
    for (index, layer) in report.layers.iter().enumerate() {
        let id = format!("layer{index}");
        let label = quoted(&[layer.operator, layer.name]);
        let _ = writeln!(text, "  {id} [label={label}];");
        for input in &layer.inputs {
            if let Some((maker, shape)) = makers.get(input) {
                let _ = writeln!(text, "  {maker} -> {id} [label={}];", quoted(&[shape]));
            }
        }
        for output in &layer.outputs {
            makers.insert(output.name, (id.clone(), shape(&output.shape)));
        }
    }
    for (index, [name, dtype, shape]) in report.outputs.iter().enumerate() {
        let label = quoted(&[name, dtype]);
        let _ = writeln!(text, "  output{index} [label={label}, shape=ellipse];");
        if let Some((maker, _)) = makers.get(name.as_str()) {
            let _ = writeln!(
                text,
                "  {maker} -> output{index} [label={}];",
                quoted(&[shape])
            );
        }
    }
    text.push_str("}\n");
    text
}

/// Lines of a label. Names come from strangers' files.
fn quoted(lines: &[&str]) -> String {
    let escaped = lines.iter().map(|line| {
        crate::cli::printable(line)
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
    });
    format!("\"{}\"", escaped.collect::<Vec<_>>().join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn labels_stay_labels() {
        assert_eq!(
            quoted(&["Conv", "a\"b\\c\nd"]),
            "\"Conv\\na\\\"b\\\\c\u{fffd}d\""
        );
    }
}
