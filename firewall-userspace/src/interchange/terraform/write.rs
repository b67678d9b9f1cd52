//! Writes a document as a configuration of Terraform for the provider `hashicorp/aws`.
//!
//! Rules are resources of their own, as the provider recommends; those of `default` stand in the group, for the
//! provider takes the rules of a VPC's default group away unless they do.

use std::collections::HashMap;

use firewall_common::abi::Direction;
use ipnet::IpNet;

use super::hcl::Block;
use crate::interchange::Exported;
use crate::interchange::identifier::Identifiers;
use crate::interchange::omission::{Cause, Omissions};
use crate::model::{
    Description, Document, DocumentGroup, DocumentPeer, DocumentPrefixList, DocumentRule, GroupReference,
    PrefixListReference, Tags,
};

const SYSTEM: &str = "Terraform";
const HEADER: &str = "\
# The security groups of sgfw as resources of the provider hashicorp/aws.

variable \"vpc_id\" {
  description = \"VPC of the security groups\"
  type        = string
}
";

/// Writes the document.
#[must_use]
pub fn write(document: &Document) -> Exported {
    let mut writer = Writer {
        resources: Resources::new(document),
        identifiers: Identifiers::default(),
        text: HEADER.to_owned(),
        omissions: Omissions::default(),
    };
    for list in document.prefix_lists.iter().flatten() {
        writer.prefix_list(list);
    }
    for group in document.groups.iter().flatten() {
        writer.group(group);
    }
    for interface in document.interfaces.iter().flatten() {
        writer.omissions.push(format!("interface {}", interface.name), Cause::Interface { system: SYSTEM });
    }
    Exported { text: writer.text, not_carried_over: writer.omissions.into_vec() }
}

struct Writer {
    resources: Resources,
    /// Of the rules.
    identifiers: Identifiers,
    text: String,
    omissions: Omissions,
}

/// The resource of each group and prefix list, by name and by identifier.
struct Resources {
    groups: HashMap<String, String>,
    prefix_lists: HashMap<String, String>,
}

impl Resources {
    fn new(document: &Document) -> Self {
        let (mut groups, mut identifiers) = (HashMap::new(), Identifiers::default());
        for group in document.groups.iter().flatten() {
            let name = identifiers.give(group.name.as_str());
            groups.extend(group.id.map(|id| (id.to_string(), name.clone())));
            groups.insert(group.name.as_str().to_ascii_lowercase(), name);
        }
        let (mut prefix_lists, mut identifiers) = (HashMap::new(), Identifiers::default());
        for list in document.prefix_lists.iter().flatten() {
            let name = identifiers.give(list.name.as_str());
            prefix_lists.extend(list.id.map(|id| (id.to_string(), name.clone())));
            prefix_lists.insert(list.name.to_string(), name);
        }
        Self { groups, prefix_lists }
    }

    fn group(&self, group: &DocumentGroup) -> String {
        self.groups[&group.name.as_str().to_ascii_lowercase()].clone()
    }
}

impl Writer {
    fn prefix_list(&mut self, list: &DocumentPrefixList) {
        let name = self.resources.prefix_lists[list.name.as_str()].clone();
        let mut block = Block::resource("aws_ec2_managed_prefix_list", &name);
        block.text("name", list.name.as_str());
        block.text("address_family", &list.family.to_string());
        block.expression("max_entries", list.max_entries);
        block.map("tags", tags(&list.tags));
        for entry in &list.entries {
            let mut inner = Block::new("entry");
            inner.text("cidr", &entry.prefix.to_string());
            inner.optional_text("description", entry.description.as_ref().map(Description::as_str));
            block.block(inner);
        }
        self.note_id(list.id.is_some());
        self.add(&block);
    }

    fn group(&mut self, group: &DocumentGroup) {
        let name = self.resources.group(group);
        self.note_id(group.id.is_some());
        if !group.members.is_empty() {
            self.omissions.push(format!("group {}: members", group.name), Cause::Members { system: SYSTEM });
        }
        if group.name.is_default() {
            return self.default_group(group, &name);
        }
        let mut block = Block::resource("aws_security_group", &name);
        block.text("name", group.name.as_str());
        block.text("description", group.description.as_str());
        block.expression("vpc_id", "var.vpc_id");
        block.map("tags", tags(&group.tags));
        self.add(&block);
        for rule in &group.rules {
            self.rule(rule, group, &name);
        }
    }

    fn default_group(&mut self, group: &DocumentGroup, name: &str) {
        let mut block = Block::resource("aws_default_security_group", name);
        block.expression("vpc_id", "var.vpc_id");
        block.map("tags", tags(&group.tags));
        for rule in &group.rules {
            let Some((attribute, value)) = self.inline_peer(rule, group) else {
                continue;
            };
            let mut inner = Block::new(rule.direction.name());
            let (from, to) = rule.service.aws_ports().unwrap_or((0, 0));
            inner.text("protocol", &rule.service.aws_protocol());
            inner.expression("from_port", from);
            inner.expression("to_port", to);
            inner.expression(attribute, value);
            inner.optional_text("description", rule.description.as_ref().map(Description::as_str));
            block.block(inner);
        }
        if group.rules.iter().any(|rule| !rule.tags.is_empty()) {
            self.omissions.push(format!("rules of group {}", group.name), Cause::RuleIdentity);
        }
        self.add(&block);
    }

    fn rule(&mut self, rule: &DocumentRule, group: &DocumentGroup, group_resource: &str) {
        let kind = match rule.direction {
            Direction::Ingress => "aws_vpc_security_group_ingress_rule",
            Direction::Egress => "aws_vpc_security_group_egress_rule",
        };
        self.note_id(rule.id.is_some());
        let Some((attribute, value)) = self.peer(rule, group) else {
            return;
        };
        let protocol = rule.service.protocol();
        let name = self.identifiers.give(&format!("{group_resource}_{}_{protocol}", rule.direction.name()));
        let mut block = Block::resource(kind, &name);
        block.expression("security_group_id", format!("aws_security_group.{group_resource}.id"));
        block.text("ip_protocol", &rule.service.aws_protocol());
        if let Some((from, to)) = rule.service.aws_ports() {
            block.expression("from_port", from);
            block.expression("to_port", to);
        }
        block.expression(attribute, value);
        block.optional_text("description", rule.description.as_ref().map(Description::as_str));
        block.map("tags", tags(&rule.tags));
        self.add(&block);
    }

    /// Attribute and value of the peer of a rule resource.
    fn peer(&mut self, rule: &DocumentRule, group: &DocumentGroup) -> Option<(&'static str, String)> {
        match &rule.peer {
            DocumentPeer::Cidr(IpNet::V4(prefix)) => Some(("cidr_ipv4", format!("\"{prefix}\""))),
            DocumentPeer::Cidr(IpNet::V6(prefix)) => Some(("cidr_ipv6", format!("\"{prefix}\""))),
            DocumentPeer::Group(peer) => {
                Some(("referenced_security_group_id", self.peer_group(peer, group)?))
            }
            DocumentPeer::PrefixList(list) => Some(("prefix_list_id", self.peer_list(list, group)?)),
        }
    }

    /// The same of a rule inside of its group, which takes lists.
    fn inline_peer(&mut self, rule: &DocumentRule, group: &DocumentGroup) -> Option<(&'static str, String)> {
        if let DocumentPeer::Group(GroupReference::Name(name)) = &rule.peer
            && name.collides_with(&group.name)
        {
            return Some(("self", "true".to_owned()));
        }
        let (attribute, value) = self.peer(rule, group)?;
        let attribute = match attribute {
            "cidr_ipv4" => "cidr_blocks",
            "cidr_ipv6" => "ipv6_cidr_blocks",
            "prefix_list_id" => "prefix_list_ids",
            _ => "security_groups",
        };
        Some((attribute, format!("[{value}]")))
    }

    /// The identifier of a group: an expression, or itself if the document does not have the group.
    fn peer_group(&mut self, peer: &GroupReference, group: &DocumentGroup) -> Option<String> {
        let key = peer.to_string().to_ascii_lowercase();
        if let Some(name) = self.resources.groups.get(&key) {
            let kind = if key == "default" { "aws_default_security_group" } else { "aws_security_group" };
            return Some(format!("{kind}.{name}.id"));
        }
        if let GroupReference::Id(id) = peer {
            return Some(format!("\"{id}\""));
        }
        let cause = Cause::UnknownGroup { group: peer.to_string() };
        self.omissions.push(format!("rule of group {}", group.name), cause);
        None
    }

    fn peer_list(&mut self, list: &PrefixListReference, group: &DocumentGroup) -> Option<String> {
        if let Some(name) = self.resources.prefix_lists.get(&list.to_string()) {
            return Some(format!("aws_ec2_managed_prefix_list.{name}.id"));
        }
        if let PrefixListReference::Id(id) = list {
            return Some(format!("\"{id}\""));
        }
        let cause = Cause::UnknownPrefixList { list: list.to_string() };
        self.omissions.push(format!("rule of group {}", group.name), cause);
        None
    }

    fn note_id(&mut self, has_id: bool) {
        if has_id {
            self.omissions.push_once("identifiers", Cause::IdGivenByTerraform);
        }
    }

    fn add(&mut self, block: &Block) {
        self.text += "\n";
        block.write_to(&mut self.text, 0);
    }
}

fn tags(tags: &Tags) -> Vec<(&str, &str)> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}
