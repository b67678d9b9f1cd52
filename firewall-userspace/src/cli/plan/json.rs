//! A plan for programs: all of it.

use serde_json::{Value, json};

use super::super::aws;
use super::super::flows::flow_json;
use super::super::settings::settings_json;
use super::text::{entry_changes, entry_text};
use super::words::Words;
use crate::model::{GroupId, Interface, InterfaceOptions, PrefixList, Tags};
use crate::operations::queries::plan::Difference;
use crate::plan::{Change, Count, GroupChange, IcmpRange, Redundancy, RedundantRule, Region, ServiceRange};

pub(super) fn difference(difference: &Difference) -> Value {
    let words = Words::new(difference);
    let changes = &difference.changes;
    let interfaces = changes.interfaces.iter().map(|change| interface(change, &words));
    // Null is what is not known, because there was too much of it.
    let left_out = difference.effect.left_out;
    let regions = |regions: &[Region]| (!left_out.reachability).then(|| region_list(regions, &words));
    let redundant_rules =
        || difference.effect.redundant_rules.iter().map(|row| redundant(row, &words)).collect();
    let redundant_rules: Option<Vec<Value>> = (!left_out.redundant_rules).then(redundant_rules);
    json!({
        "Generation": difference.generation,
        "HasChanges": !changes.is_empty(),
        "Changes": {
            "Groups": changes.groups.iter().map(group).collect::<Vec<_>>(),
            "PrefixLists": changes.prefix_lists.iter().map(prefix_list).collect::<Vec<_>>(),
            "Interfaces": interfaces.collect::<Vec<_>>(),
        },
        "Effect": {
            "NewlyReachable": regions(&difference.effect.newly_reachable),
            "NoLongerReachable": regions(&difference.effect.no_longer_reachable),
            "NewlyTracked": regions(&difference.effect.newly_tracked),
            "NoLongerTracked": regions(&difference.effect.no_longer_tracked),
            "RedundantRules": redundant_rules,
            "AuditedInterfaces": difference.audited().map(|interface| &interface.name).collect::<Vec<_>>(),
            "OrphanedFlows": difference.orphaned_flows.flows.iter().map(flow_json).collect::<Vec<_>>(),
        },
        "Summary": {
            "Groups": count(changes.group_count()),
            "Rules": count(changes.rule_count()),
            "PrefixLists": count(Count::of(&changes.prefix_lists)),
            "Interfaces": count(Count::of(&changes.interfaces)),
        },
    })
}

const fn action<T>(change: &Change<T>) -> &'static str {
    match change {
        Change::Add(_) => "add",
        Change::Update { .. } => "change",
        Change::Delete(_) => "delete",
    }
}

/// An object before and after, null where it is not there.
fn states<T>(change: &Change<T>, state: impl Fn(&T) -> Value) -> Value {
    json!({
        "Action": action(change),
        "Before": change.before().map(&state),
        "After": change.after().map(&state),
    })
}

fn group(change: &GroupChange) -> Value {
    let group = change.group.newest();
    let tags_of = |tags: Option<&Tags>| tags.map(tags_json);
    let rules = change.rules.iter().map(|rule| states(rule, |rule| json!(aws::Rule::new(rule))));
    json!({
        "Action": action(&change.group),
        "GroupId": group.id.to_string(),
        "GroupName": group.name.to_string(),
        "Description": group.description.to_string(),
        "TagsBefore": tags_of(change.group.before().map(|group| &group.tags)),
        "TagsAfter": tags_of(change.group.after().map(|group| &group.tags)),
        "Rules": rules.collect::<Vec<_>>(),
        "AddedMembers": texts(&change.added_members),
        "RemovedMembers": texts(&change.removed_members),
    })
}

fn prefix_list(change: &Change<PrefixList>) -> Value {
    let state = |list: &PrefixList| {
        json!({
            "PrefixListName": list.name.to_string(),
            "AddressFamily": list.family.to_string(),
            "MaxEntries": list.max_entries,
            "Version": list.version,
            "Tags": tags_json(&list.tags),
        })
    };
    let (added, removed) = entry_changes(change);
    let mut json = states(change, state);
    json["PrefixListId"] = change.newest().id.to_string().into();
    json["AddedEntries"] = added.into_iter().map(entry_text).collect();
    json["RemovedEntries"] = removed.into_iter().map(entry_text).collect();
    json
}

fn interface(change: &Change<Interface>, words: &Words<'_>) -> Value {
    let groups = |groups: &[GroupId]| {
        let group =
            |group: &GroupId| json!({ "GroupId": group.to_string(), "GroupName": words.group(*group) });
        groups.iter().map(group).collect::<Vec<_>>()
    };
    let options = |options: &InterfaceOptions| Value::Object(settings_json(options));
    let mut json = states(
        change,
        |interface: &Interface| json!({ "Groups": groups(&interface.groups), "Options": options(&interface.options) }),
    );
    json["NetworkInterfaceId"] = change.newest().id.to_string().into();
    json["Name"] = change.newest().name.clone().into();
    json
}

fn region_list(regions: &[Region], words: &Words<'_>) -> Vec<Value> {
    let region = |region: &Region| {
        json!({
            "Interfaces": words.interfaces(&region.slots),
            "Direction": region.direction.name(),
            "Peers": texts(&region.peers),
            "Services": region.services.iter().map(service).collect::<Vec<_>>(),
        })
    };
    regions.iter().map(region).collect()
}

/// AWS's fields, as far as AWS has any for it.
fn service(range: &ServiceRange) -> Value {
    let ports = |protocol: &str, first: u16, last: u16| json!({ "IpProtocol": protocol, "FromPort": first, "ToPort": last });
    let icmp = |protocol: &str, range: &IcmpRange| {
        json!({
            "IpProtocol": protocol,
            "FromType": range.first_type,
            "ToType": range.last_type,
            "FromCode": range.first_code,
            "ToCode": range.last_code,
        })
    };
    match range {
        ServiceRange::All => json!({ "IpProtocol": "-1" }),
        ServiceRange::Tcp { first, last } => ports("tcp", *first, *last),
        ServiceRange::Udp { first, last } => ports("udp", *first, *last),
        ServiceRange::Icmp(range) => icmp("icmp", range),
        ServiceRange::Icmpv6(range) => icmp("icmpv6", range),
        ServiceRange::Protocols { first, last } => json!({ "FromProtocol": first, "ToProtocol": last }),
        ServiceRange::EveryOther => json!({ "IpProtocol": "every other" }),
    }
}

fn redundant(row: &RedundantRule, words: &Words<'_>) -> Value {
    let redundancy = match row.redundancy {
        Redundancy::Duplicate => "duplicate",
        Redundancy::Shadowed => "shadowed",
    };
    json!({
        "Interfaces": words.interfaces(&row.slots),
        "SecurityGroupRuleId": row.rule.to_string(),
        "Rule": words.rule_of_group(row.rule),
        "Redundancy": redundancy,
        "CoveredBySecurityGroupRuleId": row.covered_by.to_string(),
        "CoveredByRule": words.rule_of_group(row.covered_by),
    })
}

fn count(count: Count) -> Value {
    json!({ "Add": count.added, "Change": count.updated, "Delete": count.deleted })
}

/// As AWS lists them.
fn tags_json(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({ "Key": key.to_string(), "Value": value.to_string() })).collect()
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
