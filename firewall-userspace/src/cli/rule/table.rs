//! Rules as tables for people.

use super::super::table::Table;
use crate::model::{IcmpSelector, PortRange, Service};
use crate::operations::queries::rules::RuleRow;
use crate::operations::queries::tracking::Tracking;

/// Rules for people.
pub(in crate::cli) fn rule_table(rules: &[RuleRow]) -> Table {
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
    for RuleRow { rule, group, peer, tracking } in rules {
        let named = |name: &String| format!("{} ({name})", rule.peer);
        table.row([
            rule.id.to_string(),
            group.clone(),
            rule.direction.name().to_owned(),
            rule.service.protocol().to_string(),
            ports(rule.service),
            peer.as_ref().map_or_else(|| rule.peer.to_string(), named),
            tracking.map_or("-", Tracking::name).to_owned(),
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
