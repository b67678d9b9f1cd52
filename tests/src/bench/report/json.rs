//! For programs, and as the baseline of a later run.

use serde_json::{Value, json};

use super::super::samples::Row;
use super::Report;
use super::baseline::ratios;

/// The report as JSON.
#[must_use]
pub fn to_json(report: &Report) -> Value {
    json!({
        "machine": report.machine,
        "command": report.command,
        "stolen": report.stolen,
        "rows": report.rows.iter().map(row).collect::<Vec<_>>(),
        "targets": report.targets,
        "ratios": ratios(report),
    })
}

fn row(row: &Row) -> Value {
    let contenders = row.samples.iter().map(|(contender, samples)| {
        let range = samples.range();
        let figures = json!({
            "median": samples.median(),
            "min": range.map(|(least, _)| least),
            "max": range.map(|(_, greatest)| greatest),
            "samples": samples,
        });
        (contender.name().to_owned(), figures)
    });
    json!({
        "scenario": row.scenario,
        "unit": row.unit,
        "void": row.void,
        "contenders": contenders.collect::<serde_json::Map<_, _>>(),
    })
}
