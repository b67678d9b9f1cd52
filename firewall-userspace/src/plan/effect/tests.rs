use std::collections::BTreeMap;

use firewall_common::abi::Direction;

use super::*;
use crate::compile::InterfaceInput;
use crate::model::{GroupId, InterfaceOptions, Peer, SecurityGroup, SecurityRule, Service, Tags};

mod reference;

/// A policy of one interface with one group, of rules such as `ingress tcp 443 0.0.0.0/0`.
fn compiled(rules: &[&str]) -> CompiledState {
    compiled_groups(&[rules])
}

/// The same with several groups.
fn compiled_groups(groups: &[&[&str]]) -> CompiledState {
    let ids: Vec<GroupId> =
        (0..groups.len()).map(|number| format!("sg-{number:017x}").parse().unwrap()).collect();
    let interface =
        InterfaceInput { slot: 3, zone: 1, groups: ids.clone(), options: InterfaceOptions::default() };
    let mut number = 0;
    let mut group = |(&id, rules): (&GroupId, &&[&str])| SecurityGroup {
        id,
        name: "web".parse().unwrap(),
        description: "web".parse().unwrap(),
        tags: Tags::default(),
        rules: rules
            .iter()
            .map(|text| {
                number += 1;
                rule(number, id, text)
            })
            .collect(),
    };
    let groups: Vec<SecurityGroup> = ids.iter().zip(groups).map(&mut group).collect();
    let members = BTreeMap::new();
    let input =
        PolicyInput { interfaces: vec![interface], groups: groups.into(), members, ..PolicyInput::default() };
    CompiledState::new(&input).unwrap()
}

fn rule(number: usize, group: GroupId, text: &str) -> SecurityRule {
    let words: Vec<&str> = text.split(' ').collect();
    let (ports, icmp) = match words[1] {
        "tcp" | "udp" => (Some(words[2].parse().unwrap()), None),
        "icmp" | "icmpv6" => (None, Some(words[2].parse().unwrap())),
        _ => (None, None),
    };
    SecurityRule {
        id: format!("sgr-{number:017x}").parse().unwrap(),
        group,
        direction: if words[0] == "ingress" { Direction::Ingress } else { Direction::Egress },
        service: Service::new(words[1].parse().unwrap(), ports, icmp).unwrap(),
        peer: Peer::Cidr(words[words.len() - 1].parse().unwrap()),
        description: None,
        tags: Tags::default(),
    }
}

fn texts(regions: &[Region]) -> Vec<String> {
    let list = |texts: Vec<String>| texts.join(", ");
    let text = |region: &Region| {
        assert_eq!(region.slots, [3]);
        let services = list(region.services.iter().map(ToString::to_string).collect());
        let peers = list(region.peers.iter().map(ToString::to_string).collect());
        format!("{} {services}: {peers}", region.direction.name())
    };
    regions.iter().map(text).collect()
}

fn newly_reachable(before: &[&str], after: &[&str]) -> Vec<String> {
    let effect = Effect::between(&compiled(before), &compiled(after));
    let reverse = Effect::between(&compiled(after), &compiled(before));
    assert_eq!(effect.newly_reachable, reverse.no_longer_reachable);
    texts(&effect.newly_reachable)
}

#[test]
fn a_rule_is_shown_as_it_stands_where_nothing_overlaps() {
    assert_eq!(newly_reachable(&[], &["ingress tcp 443 0.0.0.0/0"]), ["ingress tcp 443: 0.0.0.0/0"]);
    assert_eq!(
        newly_reachable(&[], &["egress icmp 3/4 10.0.0.0/8"]),
        ["egress icmp type 3 code 4: 10.0.0.0/8"]
    );
    assert_eq!(newly_reachable(&[], &["ingress icmpv6 128 ::/0"]), ["ingress icmpv6 type 128: ::/0"]);
    assert_eq!(newly_reachable(&[], &["ingress 47 10.0.0.0/8"]), ["ingress protocol 47: 10.0.0.0/8"]);
    assert_eq!(newly_reachable(&[], &["ingress all 10.0.0.0/8"]), ["ingress all protocols: 10.0.0.0/8"]);
    assert_eq!(newly_reachable(&[], &["ingress all ::/0"]), ["ingress all protocols: ::/0"]);
    assert_eq!(newly_reachable(&[], &["ingress udp 0-65535 10.0.0.0/8"]), ["ingress udp all: 10.0.0.0/8"]);
}

#[test]
fn only_what_was_not_reachable_before_is_new() {
    let before = ["ingress tcp 443 10.0.0.0/8"];
    assert_eq!(
        newly_reachable(&before, &["ingress tcp 443 0.0.0.0/0"]),
        ["ingress tcp 443: 0.0.0.0-9.255.255.255, 11.0.0.0-255.255.255.255"]
    );
    assert_eq!(
        newly_reachable(&["ingress tcp 22-30 10.0.0.0/8"], &["ingress tcp 20-40 10.0.0.0/8"]),
        ["ingress tcp 20-21, tcp 31-40: 10.0.0.0/8"]
    );
    assert_eq!(
        newly_reachable(&["ingress tcp 443 10.0.0.0/8"], &["ingress all 10.0.0.0/8"]),
        ["ingress tcp 0-442, tcp 444-65535, udp all, icmp all, every other protocol: 10.0.0.0/8"]
    );
    assert_eq!(
        newly_reachable(&["ingress icmp 3/4 10.0.0.0/8"], &["ingress icmp -1 10.0.0.0/8"]),
        [
            "ingress icmp types 0-2, icmp type 3 codes 0-3, icmp type 3 codes 5-255, icmp types 4-255: 10.0.0.0/8"
        ]
    );
}

#[test]
fn the_same_policy_in_other_words_changes_nothing() {
    let before = ["ingress tcp 0-65535 10.0.0.0/8"];
    let after = [
        "ingress tcp 0-79 10.0.0.0/8",
        "ingress tcp 80-65535 10.0.0.0/9",
        "ingress tcp 80-65535 10.128.0.0/9",
        "ingress tcp 443 10.1.0.0/16",
    ];
    assert_eq!(newly_reachable(&before, &after), Vec::<String>::new());
    assert_eq!(newly_reachable(&after, &before), Vec::<String>::new());
}

#[test]
fn what_wider_peers_may_reach_is_repeated_where_that_is_shorter() {
    assert_eq!(
        newly_reachable(&[], &["ingress all 10.0.0.0/8", "ingress tcp 443 0.0.0.0/0"]),
        ["ingress all protocols: 10.0.0.0/8", "ingress tcp 443: 0.0.0.0/0"]
    );
    assert_eq!(
        newly_reachable(&[], &["ingress tcp 22 10.0.0.0/8", "ingress tcp 443 0.0.0.0/0"]),
        ["ingress tcp 22: 10.0.0.0/8", "ingress tcp 443: 0.0.0.0/0"]
    );
}

#[test]
fn neighbouring_prefixes_are_one_range() {
    let rules: Vec<String> =
        (0..1024).map(|number| format!("ingress tcp 22 10.0.{}.{}/32", number / 256, number % 256)).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    assert_eq!(newly_reachable(&[], &rules), ["ingress tcp 22: 10.0.0.0/22"]);
}

#[test]
fn tracking_changes_where_the_reverse_direction_opens_or_closes() {
    let closed = compiled(&["ingress tcp 443 0.0.0.0/0"]);
    let open = compiled(&["ingress tcp 443 0.0.0.0/0", "egress all 0.0.0.0/0"]);
    assert_eq!(texts(&Effect::between(&closed, &open).no_longer_tracked), ["ingress tcp 443: 0.0.0.0/0"]);
    assert_eq!(texts(&Effect::between(&open, &closed).newly_tracked), ["ingress tcp 443: 0.0.0.0/0"]);
}

/// Each redundant rule as `NUMBER < NUMBER`, `=` for those that admit the same.
fn redundant(groups: &[&[&str]]) -> Vec<String> {
    let state = compiled_groups(groups);
    let number = |rule: RuleId| state.rules.iter().position(|known| *known == rule).unwrap() + 1;
    let text = |row: RedundantRule| {
        let relation = match row.redundancy {
            Redundancy::Duplicate => '=',
            Redundancy::Shadowed => '<',
        };
        format!("{} {relation} {}", number(row.rule), number(row.covered_by))
    };
    Effect::between(&state, &state).redundant_rules.into_iter().map(text).collect()
}

#[test]
fn a_rule_of_two_groups_is_a_duplicate_once() {
    assert_eq!(redundant(&[&["ingress tcp 22 10.0.0.0/8"], &["ingress tcp 22 10.0.0.0/8"]]), ["2 = 1"]);
}

#[test]
fn a_narrower_rule_is_shadowed_and_one_that_two_others_cover_together_is_not() {
    assert_eq!(redundant(&[&["ingress tcp 22 10.1.0.0/16", "ingress all 10.0.0.0/8"]]), ["1 < 2"]);
    assert_eq!(
        redundant(&[&[
            "ingress tcp 22 10.0.0.0/8",
            "ingress tcp 22 10.0.0.0/9",
            "ingress tcp 22 10.128.0.0/9"
        ]]),
        ["2 < 1", "3 < 1"]
    );
    assert_eq!(
        redundant(&[&[
            "ingress tcp 20-29 10.0.0.0/8",
            "ingress tcp 20-24 10.0.0.0/7",
            "ingress tcp 25-29 10.0.0.0/7"
        ]]),
        Vec::<String>::new()
    );
    assert_eq!(
        redundant(&[&["ingress tcp 22 10.0.0.0/8", "egress tcp 22 10.0.0.0/8"]]),
        Vec::<String>::new()
    );
}

#[test]
fn ranges_are_prefixes_where_they_can_be() {
    let reached = |prefix: &str| newly_reachable(&[], &[&format!("ingress tcp 22 {prefix}")]);
    for prefix in
        ["0.0.0.0/0", "128.0.0.0/1", "10.0.0.1/32", "255.255.255.255/32", "::/0", "::1/128", "ff00::/8"]
    {
        assert_eq!(reached(prefix), [format!("ingress tcp 22: {prefix}")]);
    }
}
