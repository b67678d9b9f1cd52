//! `interfaces`.

use super::rule::group_reference;
use super::value::{Once, prefixes, word};
use super::walk::{Fields, Reported, Walk};
use super::whole::Definition;
use crate::document::problem::ProblemKind;
use crate::document::tree::Node;
use crate::model::{
    DocumentInterface, Exemption, Exemptions, FlowTimeouts, GroupReference, IcmpErrors, InterfaceOptions,
    Timeout,
};

const FIELDS: &[&str] =
    &["name", "groups", "timeouts", "icmp_errors", "tcp_strict", "audit", "always_track", "exempt"];
const OPTIONS: &[&str] = &["timeouts", "icmp_errors", "tcp_strict", "audit", "always_track", "exempt"];
/// The words of [`Timeout`] and [`Exemption`], spelled as the fields of a document are.
const TIMEOUTS: &[&str] = &[
    "tcp_syn",
    "tcp_established",
    "tcp_fin",
    "tcp_closed",
    "tcp_doubt",
    "udp",
    "udp_stream",
    "icmp",
    "other",
];
const EXEMPTIONS: &[&str] = &["arp", "neighbor_discovery", "multicast_listener", "dhcp_client", "non_ip"];

/// An interface with its groups and options.
pub(super) fn interface(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<DocumentInterface, Reported> {
    let fields = walk.fields(node, FIELDS)?;
    let name = walk.required(&fields, "name", name);
    let groups = walk.required(&fields, "groups", groups);
    let options = options(&fields, walk);
    Ok(DocumentInterface { name: name?, groups: groups?, options: options? })
}

/// The kernel's rules for names (`dev_valid_name`).
fn name(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<String, Reported> {
    const MAX_LENGTH: usize = 15;
    let name = walk.text(node)?;
    let is_valid = (1..=MAX_LENGTH).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if !is_valid {
        return Err(walk.report(node, ProblemKind::InvalidInterfaceName { name: name.to_owned() }));
    }
    let definition = Definition { name: name.to_owned(), place: walk.place(node.span.clone()) };
    walk.whole.interfaces.push(definition);
    Ok(name.to_owned())
}

fn groups(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<Vec<GroupReference>, Reported> {
    let mut seen = Once::of(node);
    let groups = walk.list(node, |item, walk| {
        let reference = group_reference(item, walk)?;
        seen.check(reference.to_string().to_ascii_lowercase(), item, "the security group", walk)?;
        Ok(reference)
    })?;
    if groups.is_empty() {
        // AWS: an interface carries at least one.
        return Err(walk.report(node, ProblemKind::Empty));
    }
    Ok(groups)
}

/// None of them: they stay as they are. Any of them: all are meant, and those that are not there are the defaults.
fn options(fields: &Fields<'_, '_>, walk: &mut Walk<'_>) -> Result<Option<InterfaceOptions>, Reported> {
    let timeouts = walk.optional(fields, "timeouts", timeouts);
    let icmp_errors = walk.optional(fields, "icmp_errors", |node, walk| {
        word(node, walk, IcmpErrors::from_name, &IcmpErrors::ALL.map(IcmpErrors::name))
    });
    let tcp_strict = walk.optional(fields, "tcp_strict", |node, walk| walk.boolean(node));
    let audit = walk.optional(fields, "audit", |node, walk| walk.boolean(node));
    let always_track = walk.optional(fields, "always_track", prefixes);
    let exemptions = walk.optional(fields, "exempt", exemptions);
    let options = InterfaceOptions {
        timeouts: timeouts?.unwrap_or_default(),
        icmp_errors: icmp_errors?.unwrap_or_default(),
        tcp_strict: tcp_strict?.unwrap_or_default(),
        audit: audit?.unwrap_or_default(),
        always_track: always_track?.unwrap_or_default(),
        exemptions: exemptions?.unwrap_or_default(),
    };
    Ok(OPTIONS.iter().any(|name| fields.get(name).is_some()).then_some(options))
}

fn timeouts(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<FlowTimeouts, Reported> {
    let fields = walk.fields(node, TIMEOUTS)?;
    let mut timeouts = FlowTimeouts::default();
    let mut outcome = Ok(());
    for (name, timeout) in TIMEOUTS.iter().zip(Timeout::ALL) {
        let set = walk.optional(&fields, name, |node, walk| {
            let seconds = walk.integer(node)?;
            // What no u32 holds is out of every range, as the largest one is.
            let seconds = u32::try_from(seconds).unwrap_or(if seconds < 0 { 0 } else { u32::MAX });
            timeouts.set(timeout, seconds).map_err(|error| walk.report(node, error))
        });
        outcome = set.map(drop).and(outcome);
    }
    outcome.map(|()| timeouts)
}

fn exemptions(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<Exemptions, Reported> {
    let fields = walk.fields(node, EXEMPTIONS)?;
    let mut exemptions = Exemptions::default();
    let mut outcome = Ok(());
    for (name, kind) in EXEMPTIONS.iter().zip(Exemption::ALL) {
        let is_exempt = walk.optional(&fields, name, |node, walk| walk.boolean(node));
        outcome = is_exempt
            .map(|is_exempt| is_exempt.into_iter().for_each(|on| exemptions.set(kind, on)))
            .and(outcome);
    }
    outcome.map(|()| exemptions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_the_words_of_the_command_line() {
        let spelled = |name: &str| name.replace('-', "_");
        assert_eq!(TIMEOUTS, Timeout::ALL.map(|timeout| spelled(timeout.name())));
        assert_eq!(EXEMPTIONS, Exemption::ALL.map(|kind| spelled(kind.name())));
    }
}
