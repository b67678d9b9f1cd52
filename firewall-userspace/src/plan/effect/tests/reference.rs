//! The quick way against the plain one, on policies whose rules overlap in every manner: ports in and across each other,
//! prefixes in prefixes, lists with entries in common, both families, and several interfaces.

use std::borrow::Cow;

use ipnet::IpNet;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::reference;
use super::*;
use crate::model::{AddressFamily, IcmpSelector, PortRange, PrefixList, PrefixListEntry, PrefixListId};

const PREFIXES: [&str; 12] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/31",
    "10.0.0.0/32",
    "10.0.0.1/32",
    "10.0.0.2/32",
    "10.0.1.0/24",
    "128.0.0.0/1",
    "::/0",
    "2001:db8::/32",
    "2001:db8::1/128",
    "2001:db8::2/128",
];
const GROUPS: usize = 3;
const LISTS: usize = 4;

/// What a policy is made of.
#[derive(Clone, Debug)]
struct Parts {
    lists: Vec<Vec<&'static str>>,
    rules: Vec<(usize, Direction, Service, Peer)>,
    interfaces: Vec<Vec<usize>>,
    always_track: bool,
}

fn group_id(number: usize) -> GroupId {
    format!("sg-{number:017x}").parse().unwrap()
}

fn list_id(number: usize) -> PrefixListId {
    format!("pl-{number:017x}").parse().unwrap()
}

/// Ports lie close together, and the widest range is every port.
fn service() -> impl Strategy<Value = Service> {
    let ports = (1..12_u16, 0..12_u16).prop_map(|(first, more)| PortRange::new(first, first + more).unwrap());
    prop_oneof![
        8 => ports.clone().prop_map(Service::Tcp),
        2 => ports.prop_map(Service::Udp),
        1 => Just(Service::Tcp(PortRange::ALL)),
        2 => Just(Service::All),
        1 => select(vec![IcmpSelector::All, IcmpSelector::Type(3), IcmpSelector::TypeCode(3, 4)])
            .prop_map(Service::Icmp),
        1 => Just(Service::Icmpv6(IcmpSelector::All)),
    ]
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        3 => select(PREFIXES.to_vec()).prop_map(|prefix| Peer::Cidr(prefix.parse().unwrap())),
        1 => (0..LISTS).prop_map(|number| Peer::PrefixList(list_id(number))),
    ]
}

fn parts() -> impl Strategy<Value = Parts> {
    let direction = prop_oneof![3 => Just(Direction::Ingress), 1 => Just(Direction::Egress)];
    let rules = vec((0..GROUPS, direction, service(), peer()), 0..25);
    let lists = vec(subsequence(PREFIXES.to_vec(), 0..6), LISTS);
    let carried = btree_set(0..GROUPS, 1..=GROUPS).prop_map(|groups| groups.into_iter().collect());
    (lists, rules, vec(carried, 1..4), any::<bool>())
        .prop_map(|(lists, rules, interfaces, always_track)| Parts { lists, rules, interfaces, always_track })
}

/// The second one is often the first with some rules more or less.
fn pair() -> impl Strategy<Value = (Parts, Parts)> {
    (parts(), parts(), 0..3_usize).prop_map(|(before, mut after, kind)| {
        if kind > 0 {
            let added = after.rules.split_off(after.rules.len().min(3));
            drop(added);
            let kept = before.rules.iter().skip(kind - 1).cloned();
            after.rules.extend(kept);
            after.lists.clone_from(&before.lists);
            after.interfaces.clone_from(&before.interfaces);
        }
        (before, after)
    })
}

fn compiled(parts: &Parts) -> CompiledState {
    let rules_of = |number: usize| {
        let rules = (0..).zip(&parts.rules).filter(move |(_, rule)| rule.0 == number);
        rules.map(|(place, (group, direction, service, peer))| SecurityRule {
            // Not in the order of their ids.
            id: format!("sgr-{:017x}", place * 7919 % 1009 + 1).parse().unwrap(),
            group: group_id(*group),
            direction: *direction,
            service: *service,
            peer: *peer,
            description: None,
            tags: Tags::default(),
        })
    };
    let group = |number| SecurityGroup {
        id: group_id(number),
        name: "web".parse().unwrap(),
        description: "web".parse().unwrap(),
        tags: Tags::default(),
        rules: rules_of(number).collect(),
    };
    let entry = |prefix: &&str| PrefixListEntry { prefix: prefix.parse().unwrap(), description: None };
    let list = |(number, entries): (usize, &Vec<&str>)| PrefixList {
        id: list_id(number),
        name: "list".parse().unwrap(),
        family: AddressFamily::Ipv4,
        max_entries: 100,
        version: 1,
        tags: Tags::default(),
        entries: entries.iter().map(entry).collect(),
    };
    let always_track: Vec<IpNet> = vec!["10.0.0.0/31".parse().unwrap()];
    let interface = |(slot, groups): (u32, &Vec<usize>)| {
        let mut options = InterfaceOptions::default();
        if parts.always_track && slot == 0 {
            options.always_track.extend(always_track.iter().copied());
        }
        InterfaceInput {
            slot,
            zone: 1,
            groups: groups.iter().map(|group| group_id(*group)).collect(),
            options,
        }
    };
    let input = PolicyInput {
        interfaces: (0..).zip(&parts.interfaces).map(interface).collect(),
        groups: Cow::Owned((0..GROUPS).map(group).collect()),
        prefix_lists: Cow::Owned(parts.lists.iter().enumerate().map(list).collect()),
        ..PolicyInput::default()
    };
    CompiledState::new(&input).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_effect_is_what_plain_comparison_finds((before, after) in pair()) {
        let (before, after) = (compiled(&before), compiled(&after));
        prop_assert_eq!(Effect::between(&before, &after), reference::between(&before, &after));
    }

    #[test]
    fn what_is_too_much_is_left_out_whole((before, after) in pair(), work in 0..300_u64) {
        let (before, after) = (compiled(&before), compiled(&after));
        let expected = reference::between(&before, &after);
        let effect = Effect::within(|| Work::of(work), &before, &after);
        let redundant = if effect.left_out.redundant_rules { Vec::new() } else { expected.redundant_rules };
        prop_assert_eq!(effect.redundant_rules, redundant);
        let of_effect = [
            effect.newly_reachable,
            effect.no_longer_reachable,
            effect.newly_tracked,
            effect.no_longer_tracked,
        ];
        let of_expected = [
            expected.newly_reachable,
            expected.no_longer_reachable,
            expected.newly_tracked,
            expected.no_longer_tracked,
        ];
        let nothing = std::array::from_fn(|_| Vec::new());
        prop_assert_eq!(of_effect, if effect.left_out.reachability { nothing } else { of_expected });
    }
}

#[test]
fn two_policies_that_distinguish_too_much_are_not_compared() {
    let before = super::compiled(&["ingress tcp 1-40 10.0.0.0/8", "ingress tcp 20-60 10.0.0.0/9"]);
    let after = super::compiled(&[]);
    let effect = Effect::within(|| Work::of(0), &before, &after);
    assert_eq!(effect.left_out, LeftOut { reachability: true, redundant_rules: false });
    assert_eq!(Effect::within(Work::default, &before, &after).left_out, LeftOut::default());
    let effect = Effect::within(|| Work::of(0), &after, &before);
    assert_eq!(effect.left_out, LeftOut { reachability: true, redundant_rules: true });
}
