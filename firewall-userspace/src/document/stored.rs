//! What is stored, as a document: the way back from a store to a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::IpNet;

use crate::model::{
    Document, DocumentGroup, DocumentInterface, DocumentPeer, DocumentPrefixList, DocumentRule, GroupId,
    GroupReference, Interface, Peer, PrefixList, PrefixListId, PrefixListReference, SecurityGroup,
    SecurityRule,
};

/// What is stored with its ids, so that planning the document again changes nothing. References are by name, for people.
#[must_use]
pub fn of_stored(
    groups: &[SecurityGroup],
    mut members: BTreeMap<GroupId, Vec<IpNet>>,
    prefix_lists: &[PrefixList],
    interfaces: Vec<Interface>,
) -> Document {
    let names = Names::new(groups, prefix_lists);
    let document_groups = groups.iter().map(|group| {
        let members = members.remove(&group.id).unwrap_or_default();
        names.group(group, members.into_iter().collect())
    });
    Document {
        groups: Some(document_groups.collect()),
        prefix_lists: Some(prefix_lists.iter().map(prefix_list).collect()),
        interfaces: Some(interfaces.into_iter().map(|interface| names.interface(interface)).collect()),
    }
}

/// How ids are called in the document.
struct Names {
    groups: HashMap<GroupId, GroupReference>,
    prefix_lists: HashMap<PrefixListId, PrefixListReference>,
}

impl Names {
    fn new(groups: &[SecurityGroup], prefix_lists: &[PrefixList]) -> Self {
        let group = |group: &SecurityGroup| (group.id, GroupReference::Name(group.name.clone()));
        let list = |list: &PrefixList| (list.id, PrefixListReference::Name(list.name.clone()));
        Self {
            groups: groups.iter().map(group).collect(),
            prefix_lists: prefix_lists.iter().map(list).collect(),
        }
    }

    fn group(&self, group: &SecurityGroup, members: BTreeSet<IpNet>) -> DocumentGroup {
        DocumentGroup {
            id: Some(group.id),
            name: group.name.clone(),
            description: group.description.clone(),
            tags: group.tags.clone(),
            members,
            rules: group.rules.iter().map(|rule| self.rule(rule)).collect(),
        }
    }

    fn rule(&self, rule: &SecurityRule) -> DocumentRule {
        DocumentRule {
            id: Some(rule.id),
            direction: rule.direction,
            service: rule.service,
            peer: match rule.peer {
                Peer::Cidr(prefix) => DocumentPeer::Cidr(prefix),
                Peer::Group(id) => DocumentPeer::Group(self.group_reference(id)),
                Peer::PrefixList(id) => {
                    let reference = self.prefix_lists.get(&id).cloned();
                    DocumentPeer::PrefixList(reference.unwrap_or(PrefixListReference::Id(id)))
                }
            },
            description: rule.description.clone(),
            tags: rule.tags.clone(),
        }
    }

    fn interface(&self, interface: Interface) -> DocumentInterface {
        DocumentInterface {
            name: interface.name,
            groups: interface.groups.into_iter().map(|id| self.group_reference(id)).collect(),
            options: Some(interface.options),
        }
    }

    fn group_reference(&self, id: GroupId) -> GroupReference {
        self.groups.get(&id).cloned().unwrap_or(GroupReference::Id(id))
    }
}

fn prefix_list(list: &PrefixList) -> DocumentPrefixList {
    DocumentPrefixList {
        id: Some(list.id),
        name: list.name.clone(),
        family: list.family,
        max_entries: list.max_entries,
        tags: list.tags.clone(),
        entries: list.entries.clone(),
    }
}
