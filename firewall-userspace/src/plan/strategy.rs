//! Random documents for property tests. Names come from small pools, so that two documents have much in common.

use std::collections::BTreeSet;

use firewall_common::abi::Direction;
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::model::{
    AddressFamily, Document, DocumentGroup, DocumentPeer, DocumentPrefixList, DocumentRule, GroupReference,
    IcmpSelector, PrefixListEntry, PrefixListReference, Service, Tags,
};

const GROUPS: [&str; 4] = ["app", "db", "default", "web"];
const LISTS: [&str; 2] = ["branches", "office"];
const PREFIXES: [&str; 6] =
    ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "203.0.113.5/32", "::/0", "2001:db8::/32"];

/// A document with both sections whose references are right.
pub(crate) fn document() -> impl Strategy<Value = Document> {
    let names =
        (subsequence(GROUPS.to_vec(), 0..=GROUPS.len()), subsequence(LISTS.to_vec(), 0..=LISTS.len()));
    names.prop_flat_map(|(groups, lists)| {
        let mut referable = groups.clone();
        // It is there whether it is listed or not.
        referable.push("default");
        let groups: Vec<_> =
            groups.into_iter().map(|name| group(name, referable.clone(), lists.clone())).collect();
        let lists: Vec<_> = lists.into_iter().map(prefix_list).collect();
        (groups, lists).prop_map(|(groups, prefix_lists)| Document {
            groups: Some(groups),
            prefix_lists: Some(prefix_lists),
            interfaces: None,
        })
    })
}

fn group(
    name: &'static str,
    groups: Vec<&'static str>,
    lists: Vec<&'static str>,
) -> impl Strategy<Value = DocumentGroup> {
    let members = subsequence(PREFIXES.to_vec(), 0..=2);
    let rules = proptest::collection::vec(rule(groups, lists), 0..6);
    (members, rules, tags()).prop_map(move |(members, mut rules, tags)| {
        let mut seen = Vec::new();
        rules.retain(|rule| {
            let identity = (rule.direction, rule.service, rule.peer.clone());
            let is_new = !seen.contains(&identity);
            seen.push(identity);
            is_new
        });
        DocumentGroup {
            id: None,
            name: name.parse().unwrap(),
            description: name.parse().unwrap(),
            tags,
            members: members.iter().map(|prefix| prefix.parse().unwrap()).collect::<BTreeSet<IpNet>>(),
            rules,
        }
    })
}

fn rule(groups: Vec<&'static str>, lists: Vec<&'static str>) -> impl Strategy<Value = DocumentRule> {
    let direction = select(vec![Direction::Ingress, Direction::Egress]);
    let service = select(vec![
        Service::All,
        Service::Tcp("443".parse().unwrap()),
        Service::Udp("0-65535".parse().unwrap()),
        Service::Icmp(IcmpSelector::TypeCode(8, 0)),
        Service::Icmpv6(IcmpSelector::All),
    ]);
    let peers = PREFIXES.iter().map(|prefix| DocumentPeer::Cidr(prefix.parse().unwrap()));
    let groups =
        groups.into_iter().map(|name| DocumentPeer::Group(GroupReference::Name(name.parse().unwrap())));
    let lists = lists
        .into_iter()
        .map(|name| DocumentPeer::PrefixList(PrefixListReference::Name(name.parse().unwrap())));
    let peer = select(peers.chain(groups).chain(lists).collect::<Vec<_>>());
    let description = select(vec![None, Some("one"), Some("another")]);
    (direction, service, peer, description, tags()).prop_map(
        |(direction, service, peer, description, tags)| DocumentRule {
            id: None,
            direction,
            service,
            peer,
            description: description.map(|text| text.parse().unwrap()),
            tags,
        },
    )
}

fn prefix_list(name: &'static str) -> impl Strategy<Value = DocumentPrefixList> {
    let entries = subsequence(PREFIXES[..4].to_vec(), 0..=4);
    let description = select(vec![None, Some("one"), Some("another")]);
    (5..7_u32, entries, description, tags()).prop_map(move |(max_entries, entries, description, tags)| {
        let entry = |prefix: &str| PrefixListEntry {
            prefix: prefix.parse().unwrap(),
            description: description.map(|text| text.parse().unwrap()),
        };
        DocumentPrefixList {
            id: None,
            name: name.parse().unwrap(),
            family: AddressFamily::Ipv4,
            max_entries,
            tags,
            entries: entries.into_iter().map(entry).collect(),
        }
    })
}

fn tags() -> impl Strategy<Value = Tags> {
    subsequence(vec!["env", "tier"], 0..=2).prop_map(|keys| {
        let mut tags = Tags::default();
        tags.set(keys.iter().map(|key| (key.parse().unwrap(), "x".parse().unwrap()))).unwrap();
        tags
    })
}
