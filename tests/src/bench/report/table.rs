//! For people: a table for each unit, and the targets.

use std::fmt::Write as _;

use super::super::contender::Contender;
use super::super::samples::{Row, Samples};
use super::super::targets::{Limit, Outcome};
use super::Report;

/// Wide enough for `12345 (12345-12345)`.
const COLUMN: usize = 21;

/// The report as text.
#[must_use]
pub fn to_table(report: &Report) -> String {
    let mut text = head(report);
    let mut unit = None;
    for row in &report.rows {
        if unit.replace(row.unit) != Some(row.unit) {
            text.push('\n');
            text.push_str(&heading(row));
        }
        text.push_str(&line(row));
    }
    text.push_str("\ntargets (docs/decisions.md, \"Targets\"): by medians, by least samples\n");
    for outcome in &report.targets {
        text.push_str(&target(outcome));
    }
    text
}

fn head(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{}, {} CPUs, Linux {}, {:.1}% of the time stolen\n",
        machine.processor,
        machine.processors,
        machine.kernel,
        100.0 * report.stolen
    );
    for (weakness, mitigation) in &machine.mitigations {
        let _ = writeln!(text, "  {weakness}: {mitigation}");
    }
    if machine.bpf_statistics {
        text.push_str("  kernel.bpf_stats_enabled=1: every BPF program is slower than it need be\n");
    }
    let _ = writeln!(text, "command: {}", report.command);
    text.push_str("medians (least-greatest); each line was measured in turns, in one run\n");
    text
}

fn heading(row: &Row) -> String {
    let contenders = Contender::ALL.map(|contender| format!("{contender:>COLUMN$}")).concat();
    format!("{:<44}{contenders}\n", row.unit.to_string())
}

fn line(row: &Row) -> String {
    let cell = |contender: Contender| row.samples.get(&contender).map(cell).unwrap_or_default();
    let cells = Contender::ALL.map(|contender| format!("{:>COLUMN$}", cell(contender))).concat();
    let void = row.void.as_ref().map(|reason| format!("  VOID: {reason}")).unwrap_or_default();
    format!("{:<44}{cells}{void}\n", row.scenario)
}

fn cell(samples: &Samples) -> String {
    match (samples.median(), samples.range()) {
        (Some(median), Some((least, greatest))) if least < greatest => {
            format!("{} ({}-{})", digits(median), digits(least), digits(greatest))
        }
        (Some(median), _) => digits(median),
        _ => String::new(),
    }
}

/// Three digits are more than measurements are worth.
fn digits(value: f64) -> String {
    match value.abs() {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn target(outcome: &Outcome) -> String {
    let state = match outcome.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "unknown",
    };
    let [measured, of_least] =
        [outcome.measured, outcome.of_least].map(|value| value.map_or_else(|| "-".to_owned(), digits));
    let limit = match outcome.limit {
        Limit::AtMost(limit) => format!("<= {}", digits(limit)),
        Limit::AtLeast(limit) => format!(">= {}", digits(limit)),
    };
    format!("  {state:<8} {measured:>8} {of_least:>8}  {limit:<9} {}\n", outcome.target)
}
