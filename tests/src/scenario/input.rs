//! A scenario's policy as the compiler wants it.
//!
//! For the engines that run compiled tables; the oracle must not need it. Ids are numbered in the order of names, so
//! that one policy always compiles to the same tables.

use std::collections::BTreeMap;

use anyhow::Result;
use firewall_userspace::compile::{InterfaceInput, PolicyInput};
use firewall_userspace::model::{
    self, AddressFamily, GroupId, ManagementProperties, PrefixList, PrefixListEntry, PrefixListId,
    SecurityGroup, SecurityRule, Tags,
};

use super::{Management, Peer, Policy, Rule};

/// Lists and references to things that are gone, such as a deleted group, get an id that nothing has.
const GONE: usize = 0xfff;

/// Converts a policy.
///
/// # Errors
///
/// Names that the model refuses.
pub fn policy_input(policy: &Policy) -> Result<PolicyInput<'static>> {
    let names = Names {
        groups: policy.groups.keys().enumerate().map(|(index, name)| (name.as_str(), index)).collect(),
        lists: policy.prefix_lists.keys().enumerate().map(|(index, name)| (name.as_str(), index)).collect(),
    };
    let mut input = PolicyInput {
        exempt_addresses: policy.exempt.clone(),
        management_prefixes: policy.management.iter().map(management).collect(),
        ..PolicyInput::default()
    };
    for (name, group) in &policy.groups {
        let id = names.group(name)?;
        input.members.insert(id, group.members.clone());
        input.groups.to_mut().push(SecurityGroup {
            id,
            name: name.parse()?,
            description: name.parse()?,
            tags: Tags::default(),
            rules: names.rules(id, &group.rules)?,
        });
    }
    for (name, entries) in &policy.prefix_lists {
        input.prefix_lists.to_mut().push(PrefixList {
            id: names.list(name)?,
            name: format!("list {name}").parse()?,
            family: entries.first().map_or(AddressFamily::Ipv4, AddressFamily::of),
            max_entries: 1000,
            version: 1,
            tags: Tags::default(),
            entries: entries.iter().copied().map(PrefixListEntry::from).collect(),
        });
    }
    for (slot, interface) in &policy.interfaces {
        input.interfaces.push(InterfaceInput {
            slot: *slot,
            zone: interface.zone,
            groups: interface.groups.iter().map(|name| names.group(name)).collect::<Result<_>>()?,
            options: interface.options.clone(),
        });
    }
    Ok(input)
}

/// On some interface: it counts on each.
fn management(management: &Management) -> ManagementProperties {
    let Management { service, prefix } = *management;
    ManagementProperties { interface: "any".to_owned(), service, prefix }
}

struct Names<'p> {
    groups: BTreeMap<&'p str, usize>,
    lists: BTreeMap<&'p str, usize>,
}

impl Names<'_> {
    fn group(&self, name: &str) -> Result<GroupId> {
        let index = self.groups.get(name).copied().unwrap_or(GONE);
        Ok(format!("sg-{index:017x}").parse()?)
    }

    fn list(&self, name: &str) -> Result<PrefixListId> {
        let index = self.lists.get(name).copied().unwrap_or(GONE);
        Ok(format!("pl-{index:017x}").parse()?)
    }

    fn rules(&self, group: GroupId, rules: &[Rule]) -> Result<Vec<SecurityRule>> {
        let group_number = group.to_string();
        let digits = group_number.trim_start_matches(GroupId::PREFIX);
        let rule = |(index, rule): (usize, &Rule)| {
            let peer = match &rule.peer {
                Peer::Cidr(prefix) => model::Peer::Cidr(*prefix),
                Peer::Group(name) => model::Peer::Group(self.group(name)?),
                Peer::PrefixList(name) => model::Peer::PrefixList(self.list(name)?),
            };
            // The last digits of the group, then the number of the rule in it.
            let id = format!("sgr-{}{index:05x}", &digits[5..]).parse()?;
            Ok(SecurityRule {
                id,
                group,
                direction: rule.direction,
                service: rule.service,
                peer,
                description: None,
                tags: Tags::default(),
            })
        };
        rules.iter().enumerate().map(rule).collect()
    }
}
