//! From resources to groups, rules and prefix lists.

use std::collections::HashSet;

use firewall_common::abi::Direction;

use super::Resource;
use super::attributes::{
    Attribute, Group, GroupRule, InlineRule, PrefixList, PrefixListEntry, RuleType, VpcRule,
};
use super::plan::RuleIdentity;
use super::references::{Expression, References};
use super::rules::{Peers, RuleSource, add_peers};
use crate::interchange::draft::{Draft, DraftGroup, DraftPrefixList};
use crate::interchange::input::{self, note_other_fields};
use crate::interchange::omission::{Cause, Omissions};
use crate::interchange::{ImportError, ports};
use crate::model::{self, GroupName, RuleId, Service, Tags};

const GROUP: &str = "aws_security_group";
const DEFAULT_GROUP: &str = "aws_default_security_group";
const GROUP_RULE: &str = "aws_security_group_rule";
const VPC_INGRESS_RULE: &str = "aws_vpc_security_group_ingress_rule";
const VPC_EGRESS_RULE: &str = "aws_vpc_security_group_egress_rule";
const PREFIX_LIST: &str = "aws_ec2_managed_prefix_list";
const PREFIX_LIST_ENTRY: &str = "aws_ec2_managed_prefix_list_entry";
const ATTACHMENTS: [&str; 2] =
    ["aws_network_interface_sg_attachment", "aws_vpc_security_group_vpc_association"];

/// The types whose identifier an attribute for a group may hold.
pub(super) const GROUPS: [&str; 2] = [GROUP, DEFAULT_GROUP];
/// The same for a prefix list.
pub(super) const PREFIX_LISTS: [&str; 1] = [PREFIX_LIST];

/// Adds what the resources of one file say. Rules that a group's resource has, and that are `replaced`, are left out.
pub(super) fn add(
    draft: &mut Draft,
    resources: &[Resource],
    references: &References<'_>,
    replaced: &HashSet<RuleIdentity>,
) -> Result<(), ImportError> {
    let of_other_files = draft.rules.len();
    for resource in resources.iter().filter(|resource| !resource.is_data) {
        if GROUPS.contains(&resource.kind.as_str()) {
            add_group(draft, resource, references)?;
        }
    }
    let inline = draft.rules.split_off(of_other_files);
    draft.rules.extend(inline.into_iter().filter(|rule| !replaced.contains(&RuleIdentity::of(rule))));
    for resource in resources.iter().filter(|resource| resource.kind == PREFIX_LIST) {
        add_prefix_list(draft, resource)?;
    }
    for resource in resources.iter().filter(|resource| !resource.is_data) {
        if is_rule(&resource.kind) {
            add_rule(draft, resource, references)?;
        } else if resource.kind == PREFIX_LIST_ENTRY {
            add_entry(draft, resource, references)?;
        } else if ATTACHMENTS.contains(&resource.kind.as_str()) {
            draft.omissions.push(&resource.place, Cause::Attachment);
        }
    }
    Ok(())
}

/// Whether a resource of this type is a rule.
pub(super) fn is_rule(kind: &str) -> bool {
    [GROUP_RULE, VPC_INGRESS_RULE, VPC_EGRESS_RULE].contains(&kind)
}

/// Adds the rules of a resource that is one.
pub(super) fn add_rule(
    draft: &mut Draft,
    resource: &Resource,
    references: &References<'_>,
) -> Result<(), ImportError> {
    match resource.kind.as_str() {
        VPC_INGRESS_RULE => add_vpc_rule(draft, resource, Direction::Ingress, references),
        VPC_EGRESS_RULE => add_vpc_rule(draft, resource, Direction::Egress, references),
        _ => add_group_rule(draft, resource, references),
    }
}

fn add_group(draft: &mut Draft, resource: &Resource, references: &References<'_>) -> Result<(), ImportError> {
    const WITHOUT_MEANING: [&str; 4] = ["arn", "revoke_rules_on_delete", "timeouts", "region"];
    let group: Group = resource.attributes()?;
    let place = &resource.place;
    note_other(&group.other, resource, &WITHOUT_MEANING, &mut draft.omissions);
    note_owner(resource, [("vpc_id", &group.vpc_id), ("owner_id", &group.owner_id)], &mut draft.omissions);
    let id = match &group.id {
        Some(id) => input::identifier(id, &format!("{place}.id"), &mut draft.omissions)?,
        None => None,
    };
    let name = group_name(&group, resource, &mut draft.omissions)?;
    let address = resource.address.to_string();
    let key = group.id.clone().unwrap_or_else(|| address.clone());
    for (direction, attribute, rules) in
        [(Direction::Ingress, "ingress", group.ingress), (Direction::Egress, "egress", group.egress)]
    {
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            let place = format!("{place}.{attribute}[{index}]");
            let source = RuleSource {
                service: service(&rule.protocol, rule.from_port, rule.to_port, &place)?,
                resource,
                expression: Some(attribute),
                owner: group.owner_id.as_deref(),
                group: key.clone(),
                id: None,
                direction,
                description: rule.description.clone(),
                tags: Tags::default(),
                place,
            };
            add_peers(draft, references, &source, inline_peers(rule));
        }
    }
    draft.groups.push(DraftGroup {
        place: place.clone(),
        keys: group.id.into_iter().chain([address]).collect(),
        id,
        name,
        description: group.description,
        tags: input::tags(group.tags.iter(), &format!("{place}.tags"), &mut draft.omissions),
        members: Default::default(),
        vpc: group.vpc_id,
    });
    Ok(())
}

/// The name; one like it where only AWS will tell.
fn group_name(
    group: &Group,
    resource: &Resource,
    omissions: &mut Omissions,
) -> Result<GroupName, ImportError> {
    let parse = |name: &str| {
        name.parse()
            .map_err(|source| ImportError::Invalid { place: format!("{}.name", resource.place), source })
    };
    if let Some(name) = &group.name {
        return parse(name);
    }
    if resource.kind == DEFAULT_GROUP {
        return Ok(GroupName::default_group());
    }
    let prefix = group.name_prefix.as_deref().map(|prefix| prefix.trim_end_matches(['-', '_', '.', ' ']));
    let prefix = prefix.filter(|prefix| !prefix.is_empty()).unwrap_or(resource.address.name());
    let index = resource.address.index().map(|index| format!("-{}", index.trim_matches('"')));
    let name = parse(&format!("{prefix}{}", index.unwrap_or_default()))?;
    omissions.push(
        format!("{}.name", resource.place),
        Cause::NameUnknownUntilApply { new_name: name.to_string() },
    );
    Ok(name)
}

fn inline_peers(rule: InlineRule) -> Peers {
    Peers {
        ipv4: ("cidr_blocks", rule.cidr_blocks),
        ipv6: ("ipv6_cidr_blocks", rule.ipv6_cidr_blocks),
        prefix_lists: ("prefix_list_ids", rule.prefix_list_ids),
        groups: ("security_groups", rule.security_groups),
        is_self: rule.is_self == Some(true),
    }
}

fn add_group_rule(
    draft: &mut Draft,
    resource: &Resource,
    references: &References<'_>,
) -> Result<(), ImportError> {
    let rule: GroupRule = resource.attributes()?;
    let place = &resource.place;
    note_other(&rule.other, resource, &["id", "timeouts", "region"], &mut draft.omissions);
    let Some(group) = group_key(draft, resource, rule.security_group_id, references) else {
        return Ok(());
    };
    let source = RuleSource {
        service: service(&rule.protocol, rule.from_port, rule.to_port, place)?,
        resource,
        expression: None,
        owner: None,
        group,
        id: rule_id(draft, resource, rule.security_group_rule_id.as_deref())?,
        direction: match rule.direction {
            RuleType::Ingress => Direction::Ingress,
            RuleType::Egress => Direction::Egress,
        },
        description: rule.description,
        tags: Tags::default(),
        place: place.clone(),
    };
    let peers = Peers {
        ipv4: ("cidr_blocks", rule.cidr_blocks),
        ipv6: ("ipv6_cidr_blocks", rule.ipv6_cidr_blocks),
        prefix_lists: ("prefix_list_ids", rule.prefix_list_ids),
        groups: ("source_security_group_id", rule.source_security_group_id.into_list()),
        is_self: rule.is_self == Some(true),
    };
    add_peers(draft, references, &source, peers);
    Ok(())
}

fn add_vpc_rule(
    draft: &mut Draft,
    resource: &Resource,
    direction: Direction,
    references: &References<'_>,
) -> Result<(), ImportError> {
    let rule: VpcRule = resource.attributes()?;
    let place = &resource.place;
    note_other(&rule.other, resource, &["id", "arn", "region"], &mut draft.omissions);
    let Some(group) = group_key(draft, resource, rule.security_group_id, references) else {
        return Ok(());
    };
    let source = RuleSource {
        service: service(&rule.ip_protocol, rule.from_port, rule.to_port, place)?,
        resource,
        expression: None,
        owner: None,
        group,
        id: rule_id(draft, resource, rule.security_group_rule_id.as_deref())?,
        direction,
        description: rule.description,
        tags: input::tags(rule.tags.iter(), &format!("{place}.tags"), &mut draft.omissions),
        place: place.clone(),
    };
    let peers = Peers {
        ipv4: ("cidr_ipv4", rule.cidr_ipv4.into_list()),
        ipv6: ("cidr_ipv6", rule.cidr_ipv6.into_list()),
        prefix_lists: ("prefix_list_id", rule.prefix_list_id.into_list()),
        groups: ("referenced_security_group_id", rule.referenced_security_group_id.into_list()),
        is_self: false,
    };
    add_peers(draft, references, &source, peers);
    Ok(())
}

fn add_prefix_list(draft: &mut Draft, resource: &Resource) -> Result<(), ImportError> {
    const AWS: &str = "AWS";
    let list: PrefixList = resource.attributes()?;
    let place = &resource.place;
    note_other(
        &list.other,
        resource,
        &["arn", "version", "region", "filter", "timeouts"],
        &mut draft.omissions,
    );
    note_owner(resource, [("owner_id", &list.owner_id)], &mut draft.omissions);
    let is_of_aws = list.owner_id.as_deref() == Some(AWS);
    let id = match &list.id {
        Some(id) if !is_of_aws => input::identifier(id, &format!("{place}.id"), &mut draft.omissions)?,
        _ => None,
    };
    let mut entries = Vec::new();
    for entry in list.entry.into_iter().flatten() {
        entries.extend(known_entry(entry, &format!("{place}.entry"), &mut draft.omissions));
    }
    draft.prefix_lists.push(DraftPrefixList {
        place: place.clone(),
        keys: list.id.into_iter().chain([resource.address.to_string()]).collect(),
        id,
        name: list.name,
        is_of_aws,
        family: list.address_family,
        max_entries: list.max_entries,
        tags: input::tags(list.tags.iter(), &format!("{place}.tags"), &mut draft.omissions),
        entries: Some(entries),
    });
    Ok(())
}

/// Adds an entry that has its own resource. The state has it in that of its list as well.
fn add_entry(draft: &mut Draft, resource: &Resource, references: &References<'_>) -> Result<(), ImportError> {
    let mut entry: PrefixListEntry = resource.attributes()?;
    let place = &resource.place;
    let id = std::mem::take(&mut entry.prefix_list_id);
    let Some(key) = key(draft, resource, ("prefix_list_id", id), &PREFIX_LISTS, references) else {
        return Ok(());
    };
    let Some(entry) = known_entry(entry, place, &mut draft.omissions) else {
        return Ok(());
    };
    let Some(list) = draft.prefix_lists.iter_mut().find(|list| list.keys.contains(&key)) else {
        draft.omissions.push(place, Cause::EntryOfUnknownList { list: key });
        return Ok(());
    };
    let entries = list.entries.get_or_insert_default();
    if !entries.iter().any(|known| known.prefix == entry.prefix) {
        entries.push(entry);
    }
    Ok(())
}

fn known_entry(
    entry: PrefixListEntry,
    place: &str,
    omissions: &mut Omissions,
) -> Option<model::PrefixListEntry> {
    let Some(cidr) = entry.cidr.known() else {
        omissions.push(format!("{place}.cidr"), Cause::UnknownUntilApply);
        return None;
    };
    Some(model::PrefixListEntry { prefix: cidr.0.canonical(), description: entry.description })
}

/// A key of the group that a rule belongs to; none, and an omission, where it cannot be told.
fn group_key(
    draft: &mut Draft,
    resource: &Resource,
    id: Attribute<String>,
    references: &References<'_>,
) -> Option<String> {
    key(draft, resource, ("security_group_id", id), &GROUPS, references)
}

fn key(
    draft: &mut Draft,
    resource: &Resource,
    (attribute, value): (&str, Attribute<String>),
    types: &[&str],
    references: &References<'_>,
) -> Option<String> {
    if let Some(id) = value.known() {
        return Some(id);
    }
    if let Expression::Resource(other) = references.of(resource, attribute, types) {
        return Some(other.address.to_string());
    }
    draft.omissions.push(format!("{}.{attribute}", resource.place), Cause::UnknownUntilApply);
    None
}

fn rule_id(draft: &mut Draft, resource: &Resource, id: Option<&str>) -> Result<Option<RuleId>, ImportError> {
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    input::identifier(id, &format!("{}.security_group_rule_id", resource.place), &mut draft.omissions)
}

fn service(protocol: &str, from: Option<i64>, to: Option<i64>, place: &str) -> Result<Service, ImportError> {
    ports::service(protocol, from, to)
        .map_err(|source| ImportError::Invalid { place: place.to_owned(), source })
}

fn note_other(
    fields: &input::OtherFields,
    resource: &Resource,
    without_meaning: &[&str],
    omissions: &mut Omissions,
) {
    note_other_fields(fields, &resource.place, &every(resource), without_meaning, omissions);
}

fn note_owner<const N: usize>(
    resource: &Resource,
    attributes: [(&str, &Option<String>); N],
    omissions: &mut Omissions,
) {
    for (attribute, _) in attributes.into_iter().filter(|(_, value)| value.is_some()) {
        omissions.push_once(format!("{}.{attribute}", every(resource)), Cause::NoMeaningOnHost);
    }
}

/// The place of all resources of this type in the file.
fn every(resource: &Resource) -> String {
    let file = resource.place.strip_suffix(&resource.address.to_string()).unwrap_or_default();
    format!("{file}{}[*]", resource.kind)
}
