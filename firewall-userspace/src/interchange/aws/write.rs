//! Writes a document as the AWS CLI prints groups, rules and prefix lists.
//!
//! All three are in one text, for [`read`](fn@super::read) takes it back: the identifiers and tags of rules are only in
//! `SecurityGroupRules`, and the entries stand with their list.

use std::collections::BTreeMap;

use firewall_common::abi::Direction;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::interchange::Exported;
use crate::interchange::omission::{Cause, Omissions};
use crate::model::{
    Description, Document, DocumentGroup, DocumentPeer, DocumentPrefixList, DocumentRule, GroupReference,
    PrefixListReference, Service, Tags,
};

const SYSTEM: &str = "AWS";

/// Writes the document.
#[must_use]
pub fn write(document: &Document) -> Exported {
    let mut omissions = Omissions::default();
    let mut output = Map::new();
    if let Some(groups) = &document.groups {
        let shown = groups.iter().map(|group| group_json(group, document)).collect();
        output.insert("SecurityGroups".to_owned(), Value::Array(shown));
        let rules = groups.iter().flat_map(|group| rules_json(group, document, &mut omissions)).collect();
        output.insert("SecurityGroupRules".to_owned(), Value::Array(rules));
    }
    if let Some(lists) = &document.prefix_lists {
        output.insert("PrefixLists".to_owned(), lists.iter().map(prefix_list_json).collect());
    }
    for interface in document.interfaces.iter().flatten() {
        omissions.push(format!("interface {}", interface.name), Cause::Interface { system: SYSTEM });
    }
    Exported { text: format!("{:#}\n", Value::Object(output)), not_carried_over: omissions.into_vec() }
}

fn group_json(group: &DocumentGroup, document: &Document) -> Value {
    let members: Vec<String> = group.members.iter().map(ToString::to_string).collect();
    let mut shown = json!({
        "GroupName": group.name.as_str(),
        "Description": group.description.as_str(),
        "Tags": tags_json(&group.tags),
        "IpPermissions": permissions_json(group, Direction::Ingress, document),
        "IpPermissionsEgress": permissions_json(group, Direction::Egress, document),
    });
    insert(&mut shown, "GroupId", group.id);
    if !members.is_empty() {
        shown["Members"] = members.into();
    }
    shown
}

/// Rules of equal protocol and ports are one permission with several peers.
fn permissions_json(group: &DocumentGroup, direction: Direction, document: &Document) -> Vec<Value> {
    let mut permissions: BTreeMap<Service, Value> = BTreeMap::new();
    for rule in group.rules.iter().filter(|rule| rule.direction == direction) {
        let permission = permissions.entry(rule.service).or_insert_with(|| empty_permission(rule.service));
        let (list, mut peer) = match &rule.peer {
            DocumentPeer::Cidr(IpNet::V4(prefix)) => ("IpRanges", json!({ "CidrIp": prefix.to_string() })),
            DocumentPeer::Cidr(IpNet::V6(prefix)) => {
                ("Ipv6Ranges", json!({ "CidrIpv6": prefix.to_string() }))
            }
            DocumentPeer::PrefixList(list) => {
                ("PrefixListIds", json!({ "PrefixListId": list_id(list, document) }))
            }
            DocumentPeer::Group(group) => ("UserIdGroupPairs", group_peer_json(group, document)),
        };
        insert(&mut peer, "Description", rule.description.as_ref().map(Description::as_str));
        if let Some(peers) = permission[list].as_array_mut() {
            peers.push(peer);
        }
    }
    permissions.into_values().collect()
}

fn empty_permission(service: Service) -> Value {
    let mut permission = json!({
        "IpProtocol": service.aws_protocol(),
        "IpRanges": [],
        "Ipv6Ranges": [],
        "PrefixListIds": [],
        "UserIdGroupPairs": [],
    });
    // AWS leaves the ports of protocol -1 out here, and shows -1 in `describe-security-group-rules`.
    if let Some((from, to)) = service.aws_ports() {
        permission["FromPort"] = from.into();
        permission["ToPort"] = to.into();
    }
    permission
}

/// The rules of a group that has an identifier to tell whose they are.
fn rules_json(group: &DocumentGroup, document: &Document, omissions: &mut Omissions) -> Vec<Value> {
    if let Some(id) = group.id {
        let id = id.to_string();
        return group.rules.iter().map(|rule| rule_json(rule, &id, document)).collect();
    }
    if group.rules.iter().any(|rule| rule.id.is_some() || !rule.tags.is_empty()) {
        omissions.push(format!("rules of group {}", group.name), Cause::RuleIdentity);
    }
    Vec::new()
}

fn rule_json(rule: &DocumentRule, group: &str, document: &Document) -> Value {
    let (from, to) = rule.service.aws_ports().unwrap_or((-1, -1));
    let mut shown = json!({
        "GroupId": group,
        "IsEgress": rule.direction == Direction::Egress,
        "IpProtocol": rule.service.aws_protocol(),
        "FromPort": from,
        "ToPort": to,
        "Tags": tags_json(&rule.tags),
    });
    insert(&mut shown, "SecurityGroupRuleId", rule.id);
    insert(&mut shown, "Description", rule.description.as_ref());
    match &rule.peer {
        DocumentPeer::Cidr(IpNet::V4(prefix)) => shown["CidrIpv4"] = prefix.to_string().into(),
        DocumentPeer::Cidr(IpNet::V6(prefix)) => shown["CidrIpv6"] = prefix.to_string().into(),
        DocumentPeer::PrefixList(list) => shown["PrefixListId"] = list_id(list, document).into(),
        DocumentPeer::Group(group) => shown["ReferencedGroupInfo"] = group_peer_json(group, document),
    }
    shown
}

fn prefix_list_json(list: &DocumentPrefixList) -> Value {
    let entries: Vec<Value> = list
        .entries
        .iter()
        .map(|entry| {
            let mut shown = json!({ "Cidr": entry.prefix.to_string() });
            insert(&mut shown, "Description", entry.description.as_ref());
            shown
        })
        .collect();
    let mut shown = json!({
        "PrefixListName": list.name.as_str(),
        "AddressFamily": list.family.to_string(),
        "MaxEntries": list.max_entries,
        "Tags": tags_json(&list.tags),
        "Entries": entries,
    });
    insert(&mut shown, "PrefixListId", list.id);
    shown
}

/// By identifier where the group has one; by name otherwise, as AWS does in a default VPC.
fn group_peer_json(reference: &GroupReference, document: &Document) -> Value {
    let by_name = |name: &str| json!({ "GroupName": name });
    match reference {
        GroupReference::Id(id) => json!({ "GroupId": id.to_string() }),
        GroupReference::Name(name) => {
            let group = document.groups.iter().flatten().find(|group| group.name.collides_with(name));
            match group.and_then(|group| group.id) {
                Some(id) => json!({ "GroupId": id.to_string() }),
                None => by_name(group.map_or(name, |group| &group.name).as_str()),
            }
        }
    }
}

fn list_id(reference: &PrefixListReference, document: &Document) -> String {
    let PrefixListReference::Name(name) = reference else {
        return reference.to_string();
    };
    let list = document.prefix_lists.iter().flatten().find(|list| list.name == *name);
    list.and_then(|list| list.id).map_or_else(|| name.to_string(), |id| id.to_string())
}

fn tags_json(tags: &Tags) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({ "Key": key.as_str(), "Value": value.as_str() })).collect()
}

fn insert(object: &mut Value, field: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        object[field] = value.to_string().into();
    }
}
