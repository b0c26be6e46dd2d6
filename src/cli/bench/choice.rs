//! How good the plan's own choice was, where other recipes were measured beside it.
//!
//! ```text
//! lost = time of the choice ÷ time of the best recipe that it could have taken > 1 + MARGIN
//! ```

use super::report::{Row, seconds};
use super::ways::is_candidate;
use crate::Accuracy;
use crate::cli::significant;

/// What a choice may be slower than the best: less is noise, and as good.
const MARGIN: f64 = 0.10;

/// A line that counts the choices that lost, and a line for each of them; none where nothing was to choose.
pub(crate) fn summary(rows: &[Row], accuracy: Accuracy) -> Vec<String> {
    let mut cases = 0;
    let mut lost = Vec::new();
    // The rows of one pass of one problem follow each other.
    for rows in rows.chunk_by(|a, b| (a.case, &a.direction) == (b.case, &b.direction)) {
        let quickest = |wanted: &dyn Fn(&Row) -> bool| {
            let rows = rows.iter().filter(|row| wanted(row));
            rows.min_by(|a, b| a.median_seconds.total_cmp(&b.median_seconds))
        };
        let candidate = |row: &Row| {
            let kind = row.recipe.parse();
            kind.is_ok_and(|kind| is_candidate(kind, accuracy))
        };
        let (Some(choice), Some(best)) = (quickest(&|row| row.chosen), quickest(&candidate)) else {
            continue;
        };
        if rows.iter().filter(|row| candidate(row)).count() < 2 {
            continue;
        }
        cases += 1;
        let times = choice.median_seconds / best.median_seconds;
        if times > 1.0 + MARGIN {
            let name = |row: &Row| match &row.engine {
                Some(engine) => format!("{} on {engine}", row.recipe),
                None => row.recipe.clone(),
            };
            lost.push(format!(
                "  {} {}: {} {}, {} {}, {} times",
                choice.label(),
                choice.direction,
                name(choice),
                seconds(choice.median_seconds),
                name(best),
                seconds(best.median_seconds),
                significant(times)
            ));
        }
    }
    if cases > 0 {
        let count = format!(
            "the plan's choice lost more than {:.0}% on {} of {cases}",
            100.0 * MARGIN,
            lost.len()
        );
        lost.insert(0, count);
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::report::tests::row;

    fn of(case: usize, recipe: &str, milliseconds: f64, chosen: bool) -> Row {
        Row {
            case,
            recipe: recipe.into(),
            engine: None,
            median_seconds: milliseconds / 1e3,
            chosen,
            ..row()
        }
    }

    #[test]
    fn choices_are_compared_with_the_best_candidate() {
        let rows = [
            // The loops are no candidate, however quick.
            of(0, "naive", 0.1, false),
            of(0, "unfold", 1.0, false),
            of(0, "direct", 1.09, true),
            of(1, "direct", 3.0, true),
            of(1, "unfold", 2.0, false),
            of(1, "grouped", 1.5, false),
            // Nothing to choose from, and nothing chosen.
            of(2, "naive", 1.0, false),
            of(2, "unfold", 5.0, true),
            of(3, "direct", 1.0, false),
            of(3, "unfold", 5.0, false),
        ];
        let expected = [
            "the plan's choice lost more than 10% on 1 of 2",
            "  first forward: direct 3.00 ms, grouped 1.50 ms, 2.00 times",
        ];
        assert_eq!(summary(&rows, Accuracy::Fast), expected);
        for nothing in [&rows[..1], &rows[6..], &[]] {
            assert!(summary(nothing, Accuracy::Fast).is_empty());
        }
        // Two passes of a problem are two cases.
        let pass = |direction: &str| {
            let rows = [of(0, "direct", 1.0, true), of(0, "unfold", 2.0, false)];
            rows.map(|row| Row {
                direction: direction.into(),
                ..row
            })
        };
        let passes = [pass("forward"), pass("backward-input")].concat();
        assert!(summary(&passes, Accuracy::Fast)[0].ends_with("0 of 2"));
        // What is not exact is no candidate where sums have to be.
        let rows = [
            of(0, "direct", 2.0, true),
            of(0, "unfold", 3.0, false),
            of(0, "winograd-f4", 1.0, false),
        ];
        let count = |accuracy| summary(&rows, accuracy)[0].clone();
        assert!(count(Accuracy::Fast).ends_with("1 of 1"));
        assert!(count(Accuracy::Exact).ends_with("0 of 1"));
    }
}
