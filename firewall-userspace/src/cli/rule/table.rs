//! Rules as tables for people.

use std::collections::BTreeMap;

use super::super::group::names;
use super::super::table::Table;
use crate::model::{IcmpSelector, Peer, PortRange, PrefixList, RuleId, SecurityGroup, SecurityRule, Service};
use crate::operations::queries::tracking::Tracking;

/// Rules for people.
pub(in crate::cli) fn rule_table(
    rules: &[SecurityRule],
    groups: &[SecurityGroup],
    prefix_lists: &[PrefixList],
    tracking: &BTreeMap<RuleId, Tracking>,
) -> Table {
    let group_names = names(groups);
    let mut table = Table::new(&[
        "RULE ID",
        "GROUP",
        "DIRECTION",
        "PROTOCOL",
        "PORTS",
        "PEER",
        "TRACKING",
        "DESCRIPTION",
    ]);
    for rule in rules {
        let peer_name = match rule.peer {
            Peer::Cidr(_) => None,
            Peer::Group(id) => group_names.get(&id).cloned(),
            Peer::PrefixList(id) => {
                prefix_lists.iter().find(|list| list.id == id).map(|list| list.name.to_string())
            }
        };
        table.row([
            rule.id.to_string(),
            group_names.get(&rule.group).cloned().unwrap_or_default(),
            rule.direction.name().to_owned(),
            rule.service.protocol().to_string(),
            ports(rule.service),
            peer_name.map_or_else(|| rule.peer.to_string(), |name| format!("{} ({name})", rule.peer)),
            tracking.get(&rule.id).map_or("-", |tracking| tracking.name()).to_owned(),
            rule.description.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]);
    }
    table
}

/// The ports, or the ICMP type and code, for people.
pub(in crate::cli) fn ports(service: Service) -> String {
    match (service.ports(), service.icmp()) {
        (Some(ports), _) if ports == PortRange::ALL => "all".to_owned(),
        (Some(ports), _) => ports.to_string(),
        (None, Some(IcmpSelector::Type(icmp_type))) => format!("type {icmp_type}"),
        (None, Some(IcmpSelector::TypeCode(icmp_type, code))) => format!("type {icmp_type} code {code}"),
        (None, Some(IcmpSelector::All) | None) => "all".to_owned(),
    }
}
