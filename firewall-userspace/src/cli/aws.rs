//! Groups, rules and prefix lists in the JSON shape of the AWS CLI, so that scripts carry over.
//!
//! What has no meaning on a host (account, VPC) is left out, and empty in an ARN. What AWS does not have (members,
//! interfaces) has names in the same style.

use std::collections::BTreeMap;

use firewall_common::abi::Direction;
use ipnet::IpNet;
use serde::Serialize;

use crate::model::{Description, Peer, PrefixList, PrefixListEntry, Resource, SecurityRule, Service, Tags};
use crate::operations::queries::groups::GroupRow;

/// `describe-security-groups`: one of `SecurityGroups`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Group {
    group_id: String,
    group_name: String,
    description: String,
    security_group_arn: String,
    tags: Vec<Tag>,
    ip_permissions: Vec<IpPermission>,
    ip_permissions_egress: Vec<IpPermission>,
    members: Vec<String>,
    interfaces: Vec<String>,
}

impl Group {
    pub(super) fn new(GroupRow { group, members, carriers }: &GroupRow) -> Self {
        Self {
            group_id: group.id.to_string(),
            group_name: group.name.to_string(),
            description: group.description.to_string(),
            security_group_arn: group.id.arn(),
            tags: tags(&group.tags),
            ip_permissions: permissions(&group.rules, Direction::Ingress),
            ip_permissions_egress: permissions(&group.rules, Direction::Egress),
            members: members.iter().map(ToString::to_string).collect(),
            interfaces: carriers.clone(),
        }
    }
}

/// Rules of equal protocol and ports: AWS shows them as one permission with several peers.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct IpPermission {
    ip_protocol: String,
    // AWS leaves the ports of protocol -1 out here, and shows -1 in `describe-security-group-rules`.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_port: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_port: Option<i32>,
    ip_ranges: Vec<PermissionPeer>,
    ipv6_ranges: Vec<PermissionPeer>,
    prefix_list_ids: Vec<PermissionPeer>,
    user_id_group_pairs: Vec<PermissionPeer>,
}

/// A peer under the key of its kind, and the description of its rule.
type PermissionPeer = BTreeMap<&'static str, String>;

/// `describe-security-group-rules`: one of `SecurityGroupRules`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Rule {
    #[serde(flatten)]
    common: RuleFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    referenced_group_info: Option<ReferencedGroup>,
    tags: Vec<Tag>,
    security_group_rule_arn: String,
}

/// A [`Rule`], and whether the traffic that it admits is tracked; null on no interface.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedRule {
    #[serde(flatten)]
    rule: Rule,
    tracking: Option<&'static str>,
}

impl ListedRule {
    pub(super) fn new(rule: &SecurityRule, tracking: Option<&'static str>) -> Self {
        Self { rule: Rule::new(rule), tracking }
    }
}

/// `revoke-security-group-ingress`: one of `RevokedSecurityGroupRules`. Flatter than [`Rule`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RevokedRule {
    #[serde(flatten)]
    common: RuleFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    referenced_group_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RuleFields {
    security_group_rule_id: String,
    group_id: String,
    is_egress: bool,
    ip_protocol: String,
    from_port: i32,
    to_port: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cidr_ipv4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cidr_ipv6: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_list_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReferencedGroup {
    group_id: String,
}

impl Rule {
    pub(super) fn new(rule: &SecurityRule) -> Self {
        let referenced_group_info = referenced_group(rule).map(|group_id| ReferencedGroup { group_id });
        Self {
            common: RuleFields::new(rule),
            referenced_group_info,
            tags: tags(&rule.tags),
            security_group_rule_arn: rule.id.arn(),
        }
    }
}

impl RevokedRule {
    pub(super) fn new(rule: &SecurityRule) -> Self {
        Self { common: RuleFields::new(rule), referenced_group_id: referenced_group(rule) }
    }
}

impl RuleFields {
    fn new(rule: &SecurityRule) -> Self {
        let (from_port, to_port) = rule.service.aws_ports().unwrap_or((-1, -1));
        let (mut cidr_ipv4, mut cidr_ipv6, mut prefix_list_id) = (None, None, None);
        match rule.peer {
            Peer::Cidr(IpNet::V4(prefix)) => cidr_ipv4 = Some(prefix.to_string()),
            Peer::Cidr(IpNet::V6(prefix)) => cidr_ipv6 = Some(prefix.to_string()),
            Peer::PrefixList(list) => prefix_list_id = Some(list.to_string()),
            Peer::Group(_) => {}
        }
        Self {
            security_group_rule_id: rule.id.to_string(),
            group_id: rule.group.to_string(),
            is_egress: rule.direction == Direction::Egress,
            ip_protocol: rule.service.aws_protocol(),
            from_port,
            to_port,
            cidr_ipv4,
            cidr_ipv6,
            prefix_list_id,
            description: description(rule),
        }
    }
}

/// `describe-managed-prefix-lists`: one of `PrefixLists`, with its entries.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ManagedPrefixList {
    prefix_list_id: String,
    prefix_list_name: String,
    prefix_list_arn: String,
    address_family: String,
    max_entries: u32,
    version: u64,
    tags: Vec<Tag>,
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    cidr: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

impl ManagedPrefixList {
    pub(super) fn new(list: &PrefixList) -> Self {
        Self {
            prefix_list_id: list.id.to_string(),
            prefix_list_name: list.name.to_string(),
            prefix_list_arn: list.id.arn(),
            address_family: list.family.to_string(),
            max_entries: list.max_entries,
            version: list.version,
            tags: tags(&list.tags),
            entries: list.entries.iter().map(entry).collect(),
        }
    }
}

/// A tag of the resource whose tags these are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: String,
}

/// `describe-tags`: one of `Tags`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagOfResource {
    #[serde(flatten)]
    tag: Tag,
    resource_id: String,
    resource_type: &'static str,
}

/// The tags of one resource.
pub(super) fn tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: key.to_string(), value: value.to_string() }).collect()
}

/// The tags of one resource, beside others.
pub(super) fn tags_of(resource: Resource, all: &Tags) -> Vec<TagOfResource> {
    let of_resource =
        |tag| TagOfResource { tag, resource_id: resource.to_string(), resource_type: resource.type_name() };
    tags(all).into_iter().map(of_resource).collect()
}

fn entry(entry: &PrefixListEntry) -> Entry {
    let description = entry.description.as_ref().map(Description::to_string);
    Entry { cidr: entry.prefix.to_string(), description }
}

fn permissions(rules: &[SecurityRule], direction: Direction) -> Vec<IpPermission> {
    let mut by_service: BTreeMap<Service, IpPermission> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.direction == direction) {
        let permission = by_service.entry(rule.service).or_insert_with(|| permission(rule.service));
        let (peers, key) = match rule.peer {
            Peer::Cidr(IpNet::V4(_)) => (&mut permission.ip_ranges, "CidrIp"),
            Peer::Cidr(IpNet::V6(_)) => (&mut permission.ipv6_ranges, "CidrIpv6"),
            Peer::PrefixList(_) => (&mut permission.prefix_list_ids, "PrefixListId"),
            Peer::Group(_) => (&mut permission.user_id_group_pairs, "GroupId"),
        };
        let mut peer = PermissionPeer::from([(key, rule.peer.to_string())]);
        peer.extend(description(rule).map(|description| ("Description", description)));
        peers.push(peer);
    }
    by_service.into_values().collect()
}

fn permission(service: Service) -> IpPermission {
    let (from_port, to_port) = service.aws_ports().unzip();
    IpPermission { ip_protocol: service.aws_protocol(), from_port, to_port, ..IpPermission::default() }
}

fn description(rule: &SecurityRule) -> Option<String> {
    rule.description.as_ref().map(ToString::to_string)
}

fn referenced_group(rule: &SecurityRule) -> Option<String> {
    match rule.peer {
        Peer::Group(group) => Some(group.to_string()),
        Peer::Cidr(_) | Peer::PrefixList(_) => None,
    }
}
