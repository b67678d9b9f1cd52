//! `--flows`: what becomes of live flows that lose their rule by a change, and which these are.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::error::CliError;
use super::flows::{flow_json, flow_text};
use super::output::Output;
use crate::operations::ChangeOptions;
use crate::operations::flows::OrphanedFlows;

/// How many flows are shown; JSON has as many as [`OrphanedFlows`] keeps.
const SHOWN: usize = 20;

/// What becomes of live flows that no rule admits any more after a change.
#[derive(Debug, Args)]
pub(super) struct FlowsOption {
    /// What becomes of live flows that no rule admits any more: `keep` lets them live, as AWS does, `cut` ends them at once,
    /// `drain=5m` after a while. A change that waits to be confirmed does so when it is
    #[arg(long, value_name = "keep|cut|drain=DURATION", default_value = "keep", value_parser = flows_choice)]
    flows: FlowsChoice,
}

/// How long after a change orphaned flows are cut, if they are.
#[derive(Clone, Copy, Debug)]
struct FlowsChoice(Option<Duration>);

impl FlowsOption {
    /// How the change is made, with the choice in it.
    pub(super) fn choose<'a>(&self, options: ChangeOptions<'a>) -> ChangeOptions<'a> {
        ChangeOptions { cut_after: self.flows.0, ..options }
    }
}

/// Says which live flows no rule admits after a change, and what becomes of them. JSON has them as data: [`add_flows`].
pub(super) fn tell_flows(flows: &OrphanedFlows, options: ChangeOptions<'_>, output: &Output) {
    if !output.is_json() && !flows.is_empty() {
        output.note(format_args!("Live flows that no rule admits any more, {}:", flows.count()));
        let shown = flows.flows.iter().take(SHOWN);
        shown.for_each(|flow| output.note(format_args!("    {}", flow_text(flow))));
        let more = flows.count().saturating_sub(SHOWN as u64);
        if more > 0 {
            output.note(format_args!("    … and {more} more"));
        }
    }
    tell_fate(flows, options, output);
}

/// Says what becomes of the flows.
pub(super) fn tell_fate(flows: &OrphanedFlows, options: ChangeOptions<'_>, output: &Output) {
    if !flows.is_empty() || options.cut_after.is_some() {
        output.note(fate(flows.count(), options));
    }
}

/// The end of a change that has nothing to show but the flows.
pub(super) fn done_with_flows(
    flows: &OrphanedFlows,
    options: ChangeOptions<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    tell_flows(flows, options, output);
    if output.is_json() {
        let mut outcome = json!({ "Return": true });
        add_flows(&mut outcome, flows, options);
        return output.json(&outcome);
    }
    Ok(())
}

/// Adds the flows, and how many seconds after the change they are cut, to the outcome of a change.
pub(super) fn add_flows(outcome: &mut Value, flows: &OrphanedFlows, options: ChangeOptions<'_>) {
    if let Value::Object(fields) = outcome {
        fields.extend(Map::from_iter([
            ("OrphanedFlows".to_owned(), flows.flows.iter().map(flow_json).collect()),
            ("CutAfterSeconds".to_owned(), options.cut_after.map(|delay| delay.as_secs()).into()),
        ]));
        if flows.more > 0 {
            fields.insert("MoreOrphanedFlows".to_owned(), flows.more.into());
        }
    }
}

/// `2 flows are cut in 5m`.
fn fate(count: u64, options: ChangeOptions<'_>) -> String {
    let flows = if count == 1 { "1 flow".to_owned() } else { format!("{count} flows") };
    let (live_on, are) = match (options.dry_run, count) {
        (true, _) => ("would live on", "would be"),
        (false, 1) => ("lives on", "is"),
        (false, _) => ("live on", "are"),
    };
    let Some(delay) = options.cut_after else {
        return format!("{flows} {live_on} by state (`sgfw flows list --orphaned`)");
    };
    let when = match (delay.is_zero(), options.confirm_within) {
        (true, None) => String::new(),
        (true, Some(_)) => " when the change is confirmed".to_owned(),
        (false, None) => format!(" in {}", humantime::format_duration(delay)),
        (false, Some(_)) => {
            format!(" {} after the change is confirmed", humantime::format_duration(delay))
        }
    };
    format!("{flows} {are} cut{when}")
}

fn flows_choice(text: &str) -> Result<FlowsChoice, String> {
    /// Longer than a flow without packets may live.
    const LONGEST: Duration = Duration::from_secs(7 * 86_400);
    let delay = match text.split_once('=') {
        None if text == "keep" => return Ok(FlowsChoice(None)),
        None if text == "cut" => return Ok(FlowsChoice(Some(Duration::ZERO))),
        Some(("drain", delay)) => humantime::parse_duration(delay).map_err(|error| error.to_string())?,
        _ => return Err("write keep, cut, or drain=DURATION, for example drain=5m".to_owned()),
    };
    if delay > LONGEST {
        return Err("flows are drained for 7 days at most".to_owned());
    }
    Ok(FlowsChoice(Some(delay)))
}

/// How long flows may still live, as `cut-orphaned --after` takes it.
pub(super) fn drain_time(text: &str) -> Result<Duration, String> {
    match flows_choice(&format!("drain={text}"))? {
        FlowsChoice(delay) => Ok(delay.unwrap_or_default()),
    }
}
