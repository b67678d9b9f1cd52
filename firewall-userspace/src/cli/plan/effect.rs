//! The effect of a plan for people.

use super::super::error::CliError;
use super::super::flows::flow_text;
use super::super::output::Output;
use super::words::{Words, preposition};
use crate::model::Interface;
use crate::operations::queries::plan::Difference;
use crate::plan::{Effect, Redundancy, RedundantRule, Region};

/// How many rows of one kind are shown, and how many peers in one; JSON has all.
const SHOWN: usize = 20;
const SHOWN_PEERS: usize = 6;

/// Shows the effect.
pub(super) fn show(difference: &Difference, words: &Words<'_>, output: &mut Output) -> Result<(), CliError> {
    if difference.after.interfaces.is_empty() {
        output.line("")?;
        return output.line("No interface is attached: no traffic is affected yet.");
    }
    show_audit_mode(difference, output)?;
    let effect = &difference.effect;
    let kinds = [
        ("Newly reachable", &effect.newly_reachable),
        ("No longer reachable", &effect.no_longer_reachable),
        ("Tracked from now on", &effect.newly_tracked),
        (
            "No longer tracked, as in AWS where both directions are open to any peer",
            &effect.no_longer_tracked,
        ),
    ];
    for (title, regions) in kinds {
        show_rows(title, regions.iter().map(|region| region_row(region, words)), output)?;
    }
    if effect.left_out.reachability {
        output.line("")?;
        output.line(
            "What becomes reachable or no longer is was left out: the policies distinguish too much.",
        )?;
    } else if effect.newly_reachable.is_empty() && effect.no_longer_reachable.is_empty() {
        output.line("")?;
        output.line("What is reachable stays the same.")?;
    }
    show_redundant_rules(effect, words, output)?;
    let orphaned = &difference.orphaned_flows;
    let flows = orphaned.flows.iter().map(flow_text);
    let title = format!(
        "Live flows that no rule would admit any more, {}; they live on unless `apply --flows` cuts them",
        orphaned.count()
    );
    show_rows_of(&title, orphaned.count(), flows, output)
}

/// What is said of an interface in audit mode must not be taken for what its packets meet.
fn show_audit_mode(difference: &Difference, output: &mut Output) -> Result<(), CliError> {
    for Interface { name, .. } in difference.audited() {
        output.line("")?;
        output.line(format_args!(
            "{name} is in audit mode, where nothing is dropped: what is said of it would be so without."
        ))?;
    }
    for Interface { name, .. } in difference.audited_no_longer() {
        output.line("")?;
        output.line(format_args!("{name} leaves audit mode: from then on it drops what no rule admits."))?;
    }
    Ok(())
}

/// Shows the rules that change nothing.
pub(super) fn show_redundant_rules(
    effect: &Effect,
    words: &Words<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    if effect.left_out.redundant_rules {
        output.line("")?;
        return output.line("Rules that admit nothing more than another were left out: too many overlap.");
    }
    let rows = effect.redundant_rules.iter().map(|row| redundant_row(row, words));
    show_rows("Rules that admit nothing more than another", rows, output)
}

/// `eth1 ingress tcp 443 from 0.0.0.0/0`.
fn region_row(region: &Region, words: &Words<'_>) -> String {
    let services: Vec<String> = region.services.iter().map(ToString::to_string).collect();
    let mut peers: Vec<String> = region.peers.iter().take(SHOWN_PEERS).map(ToString::to_string).collect();
    if region.peers.len() > SHOWN_PEERS {
        peers.push(format!("… and {} more", region.peers.len() - SHOWN_PEERS));
    }
    format!(
        "{} {} {} {} {}",
        words.deciding_interfaces(&region.slots),
        region.direction.name(),
        services.join(", "),
        preposition(region.direction),
        peers.join(", ")
    )
}

fn redundant_row(row: &RedundantRule, words: &Words<'_>) -> String {
    let relation = match row.redundancy {
        Redundancy::Duplicate => "admits the same as",
        Redundancy::Shadowed => "is shadowed by",
    };
    format!(
        "{}: {} {relation} {}",
        words.interfaces(&row.slots).join(", "),
        words.rule_of_group(row.rule),
        words.rule_of_group(row.covered_by)
    )
}

fn show_rows(
    title: &str,
    rows: impl ExactSizeIterator<Item = String>,
    output: &mut Output,
) -> Result<(), CliError> {
    show_rows_of(title, rows.len() as u64, rows, output)
}

/// Shows the first of so many rows.
fn show_rows_of(
    title: &str,
    count: u64,
    rows: impl Iterator<Item = String>,
    output: &mut Output,
) -> Result<(), CliError> {
    if count == 0 {
        return Ok(());
    }
    output.line("")?;
    output.line(format_args!("{title}:"))?;
    for row in rows.take(SHOWN) {
        output.line(format_args!("    {row}"))?;
    }
    let more = count.saturating_sub(SHOWN as u64);
    if more > 0 {
        output.line(format_args!("    … and {more} more"))?;
    }
    Ok(())
}
