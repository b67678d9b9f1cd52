//! A run held against an earlier one, by ratios alone: times of another machine, or another hour, are other times.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::super::contender::Contender;
use super::super::samples::{Row, Unit};
use super::Report;

/// How much worse a ratio may be without being reported: what two runs on a quiet machine differ by.
pub const TOLERANCE: f64 = 0.25;

/// A ratio that has become worse.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// Of what: `SCENARIO: CONTENDER / CONTENDER`.
    pub ratio: String,
    /// In the baseline.
    pub before: f64,
    /// In this run.
    pub now: f64,
}

/// How `sgfw` stands to nftables, or to nothing, in each row that is not void: the lower the better.
#[must_use]
pub fn ratios(report: &Report) -> BTreeMap<String, f64> {
    report.rows.iter().flat_map(row_ratios).collect()
}

fn row_ratios(row: &Row) -> Vec<(String, f64)> {
    let mut ratios = Vec::new();
    for sgfw in [Contender::SgfwXdp, Contender::SgfwTc] {
        let Some(value) = row.median(sgfw) else {
            continue;
        };
        let others = [Contender::Nftables, Contender::None, Contender::EmptyXdp, Contender::EmptyTc];
        match others.into_iter().find_map(|other| Some((other, row.median(other)?))) {
            Some((other, by)) if row.unit.is_better_when_more() => {
                ratios.push((format!("{}: {other} / {sgfw}", row.scenario), by / value));
            }
            Some((other, by)) => ratios.push((format!("{}: {sgfw} / {other}", row.scenario), value / by)),
            // Neither depends on the machine's speed.
            None if matches!(row.unit, Unit::Instructions | Unit::Bytes) => {
                ratios.push((format!("{}: {sgfw}", row.scenario), value));
            }
            None => {}
        }
    }
    ratios
}

/// The ratios that are worse than in the baseline by more than [`TOLERANCE`]. What only one of both has is left out.
///
/// # Errors
///
/// When the baseline is no report.
pub fn regressions(report: &Report, baseline: &Value) -> Result<Vec<Regression>> {
    let before = baseline["ratios"].as_object().context("the baseline has no `ratios`: is it a report?")?;
    let now = ratios(report);
    let both = now.into_iter().filter_map(|(ratio, now)| {
        let before = before.get(&ratio)?.as_f64()?;
        Some(Regression { ratio, before, now })
    });
    Ok(both.filter(|ratio| ratio.now > ratio.before * (1.0 + TOLERANCE)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::machine::Machine;
    use super::*;

    fn report(sgfw: f64, rate: f64) -> Report {
        let mut denied = Row::new("denied", Unit::NanosecondsPerFrame);
        denied.push(Contender::SgfwTc, sgfw);
        denied.push(Contender::Nftables, 400.0);
        let mut http = Row::new("http", Unit::PerSecond);
        http.push(Contender::SgfwTc, rate);
        http.push(Contender::Nftables, 1000.0);
        Report::new(Machine::examine().unwrap(), String::new(), 0.0, vec![denied, http])
    }

    #[test]
    fn only_ratios_that_are_clearly_worse_are_regressions() {
        let baseline = super::super::to_json(&report(200.0, 1000.0));
        assert_eq!(regressions(&report(240.0, 900.0), &baseline).unwrap(), []);
        assert_eq!(regressions(&report(100.0, 2000.0), &baseline).unwrap(), []);

        let slower = regressions(&report(260.0, 1000.0), &baseline).unwrap();
        assert_eq!(slower.len(), 1);
        assert_eq!(slower[0].ratio, "denied: sgfw-tc / nftables");
        let fewer = regressions(&report(200.0, 700.0), &baseline).unwrap();
        assert_eq!(fewer.len(), 1);
        assert_eq!(fewer[0].ratio, "http: nftables / sgfw-tc");
    }

    #[test]
    fn a_baseline_that_is_no_report_is_refused() {
        assert!(regressions(&report(1.0, 1.0), &json!({"rows": []})).is_err());
    }
}
