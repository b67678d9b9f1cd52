//! A plan for people, as Terraform's users read one: what comes, changes and goes, then the effect, then one line of counts.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::super::error::CliError;
use super::super::output::Output;
use super::Titles;
use super::effect;
use super::words::{Words, tags};
use crate::model::{
    Exemption, Interface, InterfaceOptions, PrefixList, PrefixListEntry, SecurityGroup, SecurityRule, Tags,
    Timeout,
};
use crate::operations::queries::plan::Difference;
use crate::plan::{Change, Changes, Count, GroupChange};

/// How many lines of one kind are shown about one object; JSON has all.
const SHOWN: usize = 100;

/// Shows a plan.
pub(super) fn show(titles: &Titles, difference: &Difference, output: &mut Output) -> Result<(), CliError> {
    let words = Words::new(difference);
    if difference.changes.is_empty() {
        output.line(titles.no_changes)?;
        return effect::show_redundant_rules(&difference.effect, &words, output);
    }
    for change in &difference.changes.groups {
        show_group(change, &words, output)?;
    }
    for change in &difference.changes.prefix_lists {
        show_prefix_list(change, output)?;
    }
    for change in &difference.changes.interfaces {
        show_interface(change, &words, output)?;
    }
    effect::show(difference, &words, output)?;
    output.line("")?;
    output.line(format_args!("{}: {}.", titles.counts, summary(&difference.changes)))
}

/// `2 groups to add, 1 to change, 0 to delete; 5 rules to add, 0 to change, 1 to delete`. Prefix lists and interfaces are
/// mentioned where any change.
fn summary(changes: &Changes) -> String {
    let counts = |count: Count, kind: &str| {
        let plural = if count.added == 1 { "" } else { "s" };
        let Count { added, updated, deleted } = count;
        format!("{added} {kind}{plural} to add, {updated} to change, {deleted} to delete")
    };
    let mut parts = vec![counts(changes.group_count(), "group"), counts(changes.rule_count(), "rule")];
    let lists = Count::of(&changes.prefix_lists);
    if !lists.is_zero() {
        parts.push(counts(lists, "prefix list"));
    }
    match changes.interfaces.len() {
        0 => {}
        1 => parts.push("1 interface to change".to_owned()),
        count => parts.push(format!("{count} interfaces to change")),
    }
    parts.join("; ")
}

const fn sign<T>(change: &Change<T>) -> char {
    match change {
        Change::Add(_) => '+',
        Change::Update { .. } => '~',
        Change::Delete(_) => '-',
    }
}

fn show_group(change: &GroupChange, words: &Words<'_>, output: &mut Output) -> Result<(), CliError> {
    let sign = sign(&change.group);
    let SecurityGroup { name, description, .. } = change.group.newest();
    match change.group {
        Change::Add(_) => output.line(format_args!("{sign} group {name}: {description}"))?,
        Change::Update { .. } | Change::Delete(_) => output.line(format_args!("{sign} group {name}"))?,
    }
    show_tags(&change.group, |group| &group.tags, output)?;
    let rules = change.rules.iter().map(|rule| rule_line(rule, words));
    show_lines(rules, "rules", output)?;
    show_lines(change.added_members.iter().map(|member| format!("+ member {member}")), "members", output)?;
    show_lines(change.removed_members.iter().map(|member| format!("- member {member}")), "members", output)
}

/// `~ ingress tcp 22 from 10.0.0.0/8 -> ingress tcp 22 from 10.1.0.0/16 (sgr-…)`.
fn rule_line(change: &Change<SecurityRule>, words: &Words<'_>) -> String {
    match change {
        Change::Add(rule) => format!("+ {}{}", words.rule(rule), quoted(rule)),
        Change::Delete(rule) => format!("- {} ({})", words.rule(rule), rule.id),
        Change::Update { before, after } => {
            let mut line = format!("~ {}", words.rule(before));
            if before.properties() != after.properties() {
                line.push_str(&format!(" -> {}", words.rule(after)));
            }
            line.push_str(&format!(" ({})", after.id));
            let description = |rule: &SecurityRule| {
                rule.description.as_ref().map_or_else(|| "none".to_owned(), |text| format!("\"{text}\""))
            };
            if before.description != after.description {
                line.push_str(&format!(", description {} -> {}", description(before), description(after)));
            }
            if before.tags != after.tags {
                line.push_str(&format!(", tags {} -> {}", tags(&before.tags), tags(&after.tags)));
            }
            line
        }
    }
}

fn quoted(rule: &SecurityRule) -> String {
    rule.description.as_ref().map(|text| format!(" \"{text}\"")).unwrap_or_default()
}

fn show_prefix_list(change: &Change<PrefixList>, output: &mut Output) -> Result<(), CliError> {
    let list = change.newest();
    output.line(format_args!("{} prefix list {}", sign(change), list.name))?;
    if let Change::Add(list) = change {
        show_detail(format_args!("{}, at most {} entries", list.family, list.max_entries), output)?;
    }
    if let Change::Update { before, after } = change {
        if before.name != after.name {
            show_detail(format_args!("~ name {} -> {}", before.name, after.name), output)?;
        }
        if before.max_entries != after.max_entries {
            show_detail(
                format_args!("~ at most {} -> {} entries", before.max_entries, after.max_entries),
                output,
            )?;
        }
    }
    show_tags(change, |list| &list.tags, output)?;
    let (added, removed) = entry_changes(change);
    show_lines(added.into_iter().map(|entry| format!("+ {}", entry_text(entry))), "entries", output)?;
    show_lines(removed.into_iter().map(|entry| format!("- {}", entry_text(entry))), "entries", output)
}

/// Entries that come and entries that go. One with another description does both.
pub(super) fn entry_changes(change: &Change<PrefixList>) -> (Vec<&PrefixListEntry>, Vec<&PrefixListEntry>) {
    fn entries(list: Option<&PrefixList>) -> BTreeSet<&PrefixListEntry> {
        list.map(|list| list.entries.iter().collect()).unwrap_or_default()
    }
    let (before, after) = (entries(change.before()), entries(change.after()));
    (after.difference(&before).copied().collect(), before.difference(&after).copied().collect())
}

/// An entry on a line of its own.
pub(super) fn entry_text(entry: &PrefixListEntry) -> String {
    match &entry.description {
        Some(description) => format!("{} \"{description}\"", entry.prefix),
        None => entry.prefix.to_string(),
    }
}

fn show_interface(
    change: &Change<Interface>,
    words: &Words<'_>,
    output: &mut Output,
) -> Result<(), CliError> {
    output.line(format_args!("{} interface {}", sign(change), change.newest().name))?;
    let Change::Update { before, after } = change else {
        return Ok(());
    };
    if before.groups != after.groups {
        let (before, after) = (words.groups(&before.groups), words.groups(&after.groups));
        show_detail(format_args!("~ groups {before} -> {after}"), output)?;
    }
    for line in option_changes(&before.options, &after.options) {
        show_detail(format_args!("~ {line}"), output)?;
    }
    Ok(())
}

/// One line for each option that differs.
pub(super) fn option_changes(before: &InterfaceOptions, after: &InterfaceOptions) -> Vec<String> {
    let on = |is_on: bool| if is_on { "on" } else { "off" };
    let mut lines = Vec::new();
    let mut differ = |name: String, before: String, after: String| {
        if before != after {
            lines.push(format!("{name} {before} -> {after}"));
        }
    };
    for timeout in Timeout::ALL {
        let seconds = |options: &InterfaceOptions| format!("{} s", options.timeouts.get(timeout));
        differ(format!("timeout {}", timeout.name()), seconds(before), seconds(after));
    }
    let icmp_errors = |options: &InterfaceOptions| options.icmp_errors.name().to_owned();
    differ("ICMP errors".to_owned(), icmp_errors(before), icmp_errors(after));
    let tcp_strict = |options: &InterfaceOptions| on(options.tcp_strict).to_owned();
    differ("TCP strict".to_owned(), tcp_strict(before), tcp_strict(after));
    let audit = |options: &InterfaceOptions| on(options.audit).to_owned();
    differ("audit".to_owned(), audit(before), audit(after));
    let always_track = |options: &InterfaceOptions| {
        let peers: Vec<String> = options.always_track.iter().map(ToString::to_string).collect();
        if peers.is_empty() { "none".to_owned() } else { peers.join(", ") }
    };
    differ("always track".to_owned(), always_track(before), always_track(after));
    for kind in Exemption::ALL {
        let exempt = |options: &InterfaceOptions| on(options.exemptions.has(kind)).to_owned();
        differ(format!("exempt {}", kind.name()), exempt(before), exempt(after));
    }
    lines
}

fn show_tags<T>(
    change: &Change<T>,
    tags_of: impl Fn(&T) -> &Tags,
    output: &mut Output,
) -> Result<(), CliError> {
    match change {
        Change::Add(object) if !tags_of(object).is_empty() => {
            show_detail(format_args!("tags {}", tags(tags_of(object))), output)
        }
        Change::Update { before, after } if tags_of(before) != tags_of(after) => {
            show_detail(format_args!("~ tags {} -> {}", tags(tags_of(before)), tags(tags_of(after))), output)
        }
        _ => Ok(()),
    }
}

/// Lines about an object, but not too many.
fn show_lines(
    lines: impl ExactSizeIterator<Item = String>,
    kind: &str,
    output: &mut Output,
) -> Result<(), CliError> {
    let more = lines.len().saturating_sub(SHOWN);
    for line in lines.take(SHOWN) {
        show_detail(line, output)?;
    }
    if more > 0 {
        show_detail(format_args!("… and {more} more {kind}"), output)?;
    }
    Ok(())
}

fn show_detail(line: impl Display, output: &mut Output) -> Result<(), CliError> {
    output.line(format_args!("    {line}"))
}
