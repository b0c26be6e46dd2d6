//! What was measured of a network, as one JSON object or as lines for people.

use serde::Serialize;

use super::layers::LayerRow;
use crate::cli::bench::report::seconds;
use crate::cli::model::aligned;
use crate::cli::{bytes, printable, significant};

/// The fields are the keys of the JSON object, in this order.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The file, as it was named.
    pub model: String,
    pub batch: usize,
    pub threads: usize,
    pub images_per_second: f64,
    /// Of one batch, as all times of runs.
    pub median_seconds: f64,
    pub p90_seconds: f64,
    pub p99_seconds: f64,
    pub min_seconds: f64,
    pub runs: usize,
    /// Of one batch: two for a multiply-add of the direct algorithms.
    pub operations: u64,
    pub gflops: f64,
    /// Of all threads together.
    pub peak_gflops: f64,
    /// What activations take, sharing places, and what they would take without.
    pub arena_bytes: usize,
    pub activation_bytes: usize,
    pub import_seconds: f64,
    pub planning_seconds: f64,
    pub isa: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerRow>>,
}

impl Report {
    /// Milliseconds with three digits.
    fn milliseconds(value: f64) -> String {
        format!("{} ms", significant(value * 1e3))
    }

    /// For a picture: the model, how it ran, and what came of it.
    pub fn title(&self) -> String {
        let name = std::path::Path::new(&self.model).file_name();
        let name = name.map_or(self.model.clone().into(), |name| name.to_string_lossy());
        format!(
            "{}, batch {}, threads: {}, {}: {} images/s",
            console::truncate_str(&printable(&name), 50, "…"),
            self.batch,
            self.threads,
            self.isa,
            significant(self.images_per_second)
        )
    }

    /// The table; `inputs` has a line for each input.
    pub fn lines(&self, inputs: &[String]) -> Vec<String> {
        let row = |what: &str, value: String, note: &str| [what.to_owned(), value, note.to_owned()];
        let time = |what, value| row(what, Self::milliseconds(value), "a batch");
        let peak = format!(
            "{:.1}% of the measured peak of {} ({})",
            100.0 * self.gflops / self.peak_gflops,
            significant(self.peak_gflops),
            self.isa
        );
        let plural = if self.threads == 1 { "" } else { "s" };
        let mut lines = vec![format!(
            "{}, batch {}, {} thread{plural}",
            self.model, self.batch, self.threads
        )];
        lines.extend(inputs.iter().map(|input| format!("input  {input}")));
        lines.push(String::new());
        let rows = [
            row(
                "images/s",
                significant(self.images_per_second),
                "batch / median",
            ),
            row("runs", self.runs.to_string(), ""),
            time("median", self.median_seconds),
            time("p90", self.p90_seconds),
            time("p99", self.p99_seconds),
            time("least", self.min_seconds),
            row("GFLOP/s", significant(self.gflops), &peak),
            row("arena", bytes(self.arena_bytes as u64), ""),
            row(
                "activations",
                bytes(self.activation_bytes as u64),
                "all of them together",
            ),
            row("import", seconds(self.import_seconds), ""),
            row("planning", seconds(self.planning_seconds), ""),
        ];
        lines.extend(aligned(&rows, [false, true, false]));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            model: "models/a\u{1b}.onnx".to_owned(),
            batch: 16,
            threads: 2,
            images_per_second: 128.0,
            median_seconds: 0.125,
            p90_seconds: 0.13,
            p99_seconds: 0.14,
            min_seconds: 0.12,
            runs: 24,
            operations: 12_500_000_000,
            gflops: 100.0,
            peak_gflops: 200.0,
            arena_bytes: 1 << 20,
            activation_bytes: 3 << 20,
            import_seconds: 0.01,
            planning_seconds: 0.5,
            isa: "avx2".to_owned(),
            layers: None,
        }
    }

    #[test]
    fn the_json_keys_are_the_contract() {
        let object = serde_json::to_string(&report()).unwrap();
        assert_eq!(
            object,
            r#"{"model":"models/a\u001b.onnx","batch":16,"threads":2,"images_per_second":128.0,"median_seconds":0.125,"p90_seconds":0.13,"p99_seconds":0.14,"min_seconds":0.12,"runs":24,"operations":12500000000,"gflops":100.0,"peak_gflops":200.0,"arena_bytes":1048576,"activation_bytes":3145728,"import_seconds":0.01,"planning_seconds":0.5,"isa":"avx2"}"#
        );
    }

    #[test]
    fn lines_say_everything() {
        let lines = report().lines(&["x  f32  16x3x8x8".to_owned()]);
        assert_eq!(lines[1], "input  x  f32  16x3x8x8");
        for (line, expected) in lines[3..].iter().zip([
            "images/s          128  batch / median",
            "runs               24",
            "median         125 ms  a batch",
            "p90            130 ms  a batch",
            "p99            140 ms  a batch",
            "least          120 ms  a batch",
            "GFLOP/s           100  50.0% of the measured peak of 200 (avx2)",
            "arena        1.00 MiB",
            "activations  3.00 MiB  all of them together",
            "import        10.0 ms",
            "planning       500 ms",
        ]) {
            assert_eq!(line, expected);
        }
        let title = report().title();
        assert!(
            title.starts_with("a\u{fffd}.onnx, batch 16, threads: 2"),
            "{title}"
        );
    }
}
