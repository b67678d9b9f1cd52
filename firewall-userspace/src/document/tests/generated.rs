//! Any document, written and read again.

use std::collections::{BTreeSet, HashSet};

use firewall_common::abi::Direction;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::model::{
    AddressFamily, DocumentGroup, DocumentInterface, DocumentPrefixList, DocumentRule, Exemption,
    FlowTimeouts, GroupReference, IcmpSelector, InterfaceOptions, PortRange, PrefixListEntry,
    PrefixListReference, Protocol, Service, Tags, Timeout,
};

/// Of names and descriptions.
const TEXT: &str = r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,12}";

/// Of the descriptions of groups.
const GROUP_DESCRIPTION: &str = r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{1,12}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_document_that_is_written_reads_back_as_it_was(document in documents()) {
        let json = write_json(&document).unwrap();
        let texts = [
            ("a.yaml", write_yaml(&document)),
            ("a.toml", write_toml(&document).unwrap()),
            ("a.json", json.clone()),
        ];
        for (name, text) in texts {
            match read_files(&[(name, &text)]) {
                Ok(reading) => prop_assert_eq!(&reading.document, &document, "{}:\n{}", name, text),
                Err(error) => prop_assert!(false, "{}\n{}", error.render(Color::No), text),
            }
        }
        let errors: Vec<String> =
            VALIDATOR.iter_errors(&serde_json::from_str(&json).unwrap()).map(|error| error.to_string()).collect();
        prop_assert!(errors.is_empty(), "{:?}\n{}", errors, json);
    }

    #[test]
    fn a_file_with_a_random_mistake_is_read_or_refused_with_a_place(
        name in prop_oneof![Just("three-tiers.yaml"), Just("three-tiers.toml"), Just("three-tiers.json")],
        place in any::<prop::sample::Index>(),
        removed in 0..6_usize,
        inserted in "[\\PC\\n\\t\\r\\[\\]{}&*!|>'\"%@#:,=-]{0,6}",
    ) {
        let text: Vec<char> = fs::read_to_string(example(name)).unwrap().chars().collect();
        let start = place.index(text.len());
        let end = (start + removed).min(text.len());
        let text = String::from_iter(text[..start].iter().copied().chain(inserted.chars()).chain(text[end..].iter().copied()));
        if let Err(error) = read_files(&[(name, &text)]) {
            prop_assert!(error.findings().all(|finding| finding.position.is_some()));
            prop_assert!(error.render(Color::No).contains(name));
        }
    }
}

/// Any document.
pub(crate) fn documents() -> impl Strategy<Value = Document> {
    let groups = (0..4_usize, 0..3_usize).prop_flat_map(|(groups, lists)| {
        let group = move |number| groups_of(number, groups, lists);
        let group_list = (0..groups).map(group).collect::<Vec<_>>();
        let prefix_lists = (0..lists).map(prefix_lists).collect::<Vec<_>>();
        let interfaces = (0..3).map(move |number| interfaces(number, groups)).collect::<Vec<_>>();
        (group_list, prefix_lists, option::of(interfaces))
    });
    groups.prop_map(|(groups, prefix_lists, interfaces)| Document {
        groups: Some(groups),
        prefix_lists: Some(prefix_lists),
        interfaces,
    })
}

fn groups_of(number: usize, groups: usize, lists: usize) -> impl Strategy<Value = DocumentGroup> {
    let rules = vec(rules(groups, lists), 0..6);
    (ids("sg-"), GROUP_DESCRIPTION, tags(), btree_set(prefixes(), 0..12), rules).prop_map(
        move |(id, description, tags, members, mut rules)| {
            let mut seen = HashSet::new();
            rules.retain(|rule| {
                seen.insert(format!(
                    "{:?} {:?} {:?}",
                    rule.direction == Direction::Egress,
                    rule.service,
                    rule.peer
                ))
            });
            // The order of the file: a group lists what arrives first.
            rules.sort_by_key(|rule| rule.direction == Direction::Egress);
            DocumentGroup {
                id: id.map(|id| id.parse().unwrap()),
                name: group_name(number).parse().unwrap(),
                description: description.parse().unwrap(),
                tags,
                members,
                rules,
            }
        },
    )
}

fn rules(groups: usize, lists: usize) -> impl Strategy<Value = DocumentRule> {
    let peer = prop_oneof![
        prefixes().prop_map(DocumentPeer::Cidr),
        group_references(groups).prop_map(DocumentPeer::Group),
        (0..=lists, any::<u64>()).prop_map(move |(number, id)| {
            let text = if number == lists { format!("pl-{id:017x}") } else { list_name(number) };
            DocumentPeer::PrefixList(text.parse::<PrefixListReference>().unwrap())
        }),
    ];
    (ids("sgr-"), any::<bool>(), services(), peer, option::of(TEXT), tags()).prop_map(
        |(id, egress, service, peer, description, tags)| DocumentRule {
            id: id.map(|id| id.parse().unwrap()),
            direction: if egress { Direction::Egress } else { Direction::Ingress },
            service,
            peer,
            description: description.map(|text| text.parse().unwrap()),
            tags,
        },
    )
}

fn services() -> impl Strategy<Value = Service> {
    let ports = (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap());
    let one = any::<u16>().prop_map(|port| PortRange::new(port, port).unwrap());
    let icmp = prop_oneof![
        Just(IcmpSelector::All),
        any::<u8>().prop_map(IcmpSelector::Type),
        any::<(u8, u8)>().prop_map(|(icmp_type, code)| IcmpSelector::TypeCode(icmp_type, code)),
    ];
    (any::<u8>(), prop_oneof![ports, one], icmp, any::<bool>()).prop_map(|(number, ports, icmp, all)| {
        let protocol = if all {
            Protocol::All
        } else {
            Protocol::from_number([1, 6, 17, 58, number][usize::from(number % 5)])
        };
        let takes_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
        let takes_type = matches!(protocol, Protocol::Icmp | Protocol::Icmpv6);
        Service::new(protocol, takes_ports.then_some(ports), takes_type.then_some(icmp)).unwrap()
    })
}

fn prefix_lists(number: usize) -> impl Strategy<Value = DocumentPrefixList> {
    let entries = vec((prefixes(), option::of(TEXT)), 0..8);
    (ids("pl-"), any::<bool>(), 0..5_u32, tags(), entries).prop_map(move |(id, v6, room, tags, entries)| {
        let family = if v6 { AddressFamily::Ipv6 } else { AddressFamily::Ipv4 };
        let mut seen = HashSet::new();
        let entries: Vec<PrefixListEntry> = entries
            .into_iter()
            .filter(|(prefix, _)| AddressFamily::of(prefix) == family && seen.insert(*prefix))
            .map(|(prefix, text)| PrefixListEntry {
                prefix,
                description: text.map(|text| text.parse().unwrap()),
            })
            .collect();
        DocumentPrefixList {
            id: id.map(|id| id.parse().unwrap()),
            name: list_name(number).parse().unwrap(),
            family,
            max_entries: u32::try_from(entries.len()).unwrap().max(1) + room,
            tags,
            entries,
        }
    })
}

fn interfaces(number: usize, groups: usize) -> impl Strategy<Value = DocumentInterface> {
    (vec(group_references(groups), 1..4), option::of(options())).prop_map(move |(mut groups, options)| {
        let mut seen = HashSet::new();
        groups.retain(|group| seen.insert(group.to_string()));
        DocumentInterface { name: format!("eth{number}"), groups, options }
    })
}

fn options() -> impl Strategy<Value = InterfaceOptions> {
    let seconds = Timeout::ALL.map(|timeout| option::of(timeout.range())).to_vec();
    let exempt = vec(any::<bool>(), Exemption::ALL.len());
    (seconds, any::<bool>(), any::<bool>(), btree_set(prefixes(), 0..3), exempt).prop_map(
        |(seconds, rules_only, tcp_strict, always_track, exempt)| {
            let mut options = InterfaceOptions { tcp_strict, always_track, ..InterfaceOptions::default() };
            if rules_only {
                options.icmp_errors = IcmpErrors::RulesOnly;
            }
            let mut timeouts = FlowTimeouts::default();
            for (timeout, seconds) in Timeout::ALL.into_iter().zip(seconds) {
                seconds.into_iter().for_each(|seconds| timeouts.set(timeout, seconds).unwrap());
            }
            options.timeouts = timeouts;
            for (kind, exempt) in Exemption::ALL.into_iter().zip(exempt) {
                options.exemptions.set(kind, exempt);
            }
            options
        },
    )
}

/// A group of the document, or one outside it by id.
fn group_references(groups: usize) -> impl Strategy<Value = GroupReference> {
    (0..=groups, any::<u64>()).prop_map(move |(number, id)| {
        let text = if number == groups { format!("sg-{id:017x}") } else { group_name(number) };
        text.parse().unwrap()
    })
}

/// Names that every language has to quote in its own way, or not.
fn group_name(number: usize) -> String {
    ["web", "1e3", "- a: b #c", "{x: [*y]}!"][number].to_owned()
}

fn list_name(number: usize) -> String {
    ["büro \"8\" \\ 'n", "\u{2028}\u{feff}no\u{200b}", "😀"][number].to_owned()
}

fn tags() -> impl Strategy<Value = Tags> {
    let pairs = vec((r"[\p{L}0-9 +=._:/@\-]{1,8}", r"[\p{L}0-9 +=._:/@\-]{0,40}"), 0..4);
    pairs.prop_map(|pairs| {
        let mut tags = Tags::default();
        let parsed = pairs.iter().filter_map(|(key, value)| Some((key.parse().ok()?, value.parse().ok()?)));
        tags.set(parsed).unwrap();
        tags
    })
}

fn ids(prefix: &'static str) -> impl Strategy<Value = Option<String>> {
    option::of(any::<u64>().prop_map(move |digits| format!("{prefix}{digits:017x}")))
}

fn prefixes() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0..=32_u8)
        .prop_map(|(address, length)| IpNet::V4(Ipv4Net::new(address.into(), length).unwrap().trunc()));
    let v6 = (any::<u128>(), 0..=128_u8)
        .prop_map(|(address, length)| IpNet::V6(Ipv6Net::new(address.into(), length).unwrap().trunc()));
    prop_oneof![v4, v6]
}

#[test]
fn what_is_written_reads_well() {
    let document = read(&[Input::Path(example("three-tiers.toml"))]).unwrap();
    let expected = fs::read_to_string(example("three-tiers.exported.yaml")).unwrap();
    assert_eq!(write_yaml(&document), expected);
    let members: BTreeSet<IpNet> =
        (0..20_u32).map(|n| IpNet::V4(Ipv4Net::new(n.into(), 32).unwrap())).collect();
    let mut longer = document;
    longer.groups.iter_mut().flatten().for_each(|group| group.members.clone_from(&members));
    assert!(write_yaml(&longer).contains("    members:\n      - 0.0.0.0/32\n      - 0.0.0.1/32\n"));
}
