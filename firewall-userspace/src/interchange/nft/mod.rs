//! Writes a document as a ruleset of nftables with connection tracking, which does the same on a host without sgfw.
//!
//! An interface is two chains, of what arrives and of what leaves. They return where sgfw admits, because a forwarded
//! packet must pass those of both its interfaces, and drop at their end.

mod chain;
mod sets;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt::Write as _;

use firewall_common::abi::Direction;

use super::Exported;
use super::identifier::Identifiers;
use super::omission::{Cause, NftablesDifference, Omissions};
use crate::model::{Document, DocumentGroup, DocumentInterface, FlowTimeouts, GroupReference};
use sets::Sets;

const HEADER: &str = "\
#!/usr/sbin/nft -f
# The security groups of sgfw as a ruleset of nftables. What it does otherwise:
#
# - Every connection is tracked. sgfw keeps no state where both directions are open to every peer, as AWS.
# - A group as peer stands for its declared members. sgfw adds the addresses of the interfaces that carry it.
# - Timeouts and the size of the connection table are of the whole host: net.netfilter.nf_conntrack_*.
# - Fragments are put together before they are judged.
# - ARP and frames without IP pass: a table of the family inet does not see them.
# - It is an interface's name that counts, whichever interface has it.
# - Addresses that `sgfw exempt` lists are not in it.

table inet sgfw
delete table inet sgfw
";

/// Writes the rules of the groups that interfaces of the document carry.
#[must_use]
pub fn write(document: &Document) -> Exported {
    let mut omissions = Omissions::default();
    note_uncarried_groups(document, &mut omissions);
    let mut sets = Sets::new(document);
    let mut identifiers = Identifiers::default();
    let mut chains = String::new();
    let mut hooks = Hooks::default();
    for interface in document.interfaces.iter().flatten() {
        if !is_nameable(&interface.name) {
            difference(&mut omissions, interface, "name", NftablesDifference::InterfaceName);
            continue;
        }
        note_options(interface, &mut omissions);
        let prefix = identifiers.give(&interface.name);
        let groups = groups_of(interface, document);
        for direction in [Direction::Ingress, Direction::Egress] {
            let name = format!("{prefix}_{}", direction.name());
            chains += &chain::chain(&name, interface, &groups, direction, &mut sets, &mut omissions);
            hooks.jump(&interface.name, &name, direction);
        }
    }
    let table = format!("{}{hooks}{chains}", sets.declarations());
    let text = format!("{HEADER}table inet sgfw {{\n{}\n}}\n", table.trim_end());
    Exported { text, not_carried_over: omissions.into_vec() }
}

/// The base chains.
#[derive(Default)]
struct Hooks {
    ingress: String,
    egress: String,
}

impl Hooks {
    fn jump(&mut self, interface: &str, chain: &str, direction: Direction) {
        let (jumps, key) = match direction {
            Direction::Ingress => (&mut self.ingress, "iifname"),
            Direction::Egress => (&mut self.egress, "oifname"),
        };
        *jumps += &format!("\t\t{key} \"{interface}\" jump {chain}\n");
    }
}

impl std::fmt::Display for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ingress, egress } = self;
        for (hook, jumps) in
            [("input", ingress), ("forward", &format!("{ingress}{egress}")), ("output", egress)]
        {
            f.write_str("\tchain ")?;
            write!(
                f,
                "{hook} {{\n\t\ttype filter hook {hook} priority filter; policy accept;\n{jumps}\t}}\n\n"
            )?;
        }
        Ok(())
    }
}

/// The groups that an interface carries, as far as the document describes them.
fn groups_of<'d>(interface: &DocumentInterface, document: &'d Document) -> Vec<&'d DocumentGroup> {
    let described = interface.groups.iter().filter_map(|group| find_group(group, document));
    described.collect()
}

/// The group that is meant.
fn find_group<'d>(reference: &GroupReference, document: &'d Document) -> Option<&'d DocumentGroup> {
    document.groups.iter().flatten().find(|group| match reference {
        GroupReference::Id(id) => group.id == Some(*id),
        GroupReference::Name(name) => group.name.collides_with(name),
    })
}

fn note_uncarried_groups(document: &Document, omissions: &mut Omissions) {
    let interfaces = document.interfaces.iter().flatten();
    let carried: HashSet<&str> = interfaces
        .flat_map(|interface| groups_of(interface, document))
        .map(|group| group.name.as_str())
        .collect();
    for group in document.groups.iter().flatten().filter(|group| !carried.contains(group.name.as_str())) {
        omissions.push(format!("group {}", group.name), Cause::Nftables(NftablesDifference::NotCarried));
    }
}

fn note_options(interface: &DocumentInterface, omissions: &mut Omissions) {
    let Some(options) = &interface.options else {
        return;
    };
    if options.timeouts != FlowTimeouts::default() {
        difference(omissions, interface, "timeouts", NftablesDifference::Timeouts);
    }
    if !options.exemptions.arp || !options.exemptions.non_ip {
        difference(omissions, interface, "exempt", NftablesDifference::NonIp);
    }
}

fn difference(
    omissions: &mut Omissions,
    interface: &DocumentInterface,
    what: &str,
    difference: NftablesDifference,
) {
    omissions.push(format!("interface {}: {what}", interface.name), Cause::Nftables(difference));
}

/// nftables has no escape for a quotation mark, and takes an asterisk at the end for a pattern.
fn is_nameable(interface: &str) -> bool {
    !interface.contains(['"', '\n', '\\']) && !interface.ends_with('*')
}

/// Appends a line of a chain.
fn line(chain: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(chain, "\t\t{line}");
}
