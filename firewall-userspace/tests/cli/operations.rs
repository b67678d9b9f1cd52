//! Whatever commands have made, an export carries to an empty store.

use std::fs;

use proptest::prelude::*;
use proptest::sample::select;

use crate::instance::Instance;

const GROUPS: [&str; 4] = ["default", "web", "app", "db"];
const LISTS: [&str; 2] = ["offices", "partners"];
const PREFIXES: [&str; 4] = ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "198.51.100.0/24"];
const SERVICES: [&str; 5] = [
    "--protocol all",
    "--protocol tcp --port 443",
    "--protocol udp --port 5000-6000",
    "--protocol icmp --icmp-type 8",
    "--protocol 47",
];

/// A command as it is typed. It may be one that is refused: what is not there cannot be removed.
fn operation() -> impl Strategy<Value = String> {
    let (group, list, prefix) = (select(&GROUPS[..]), select(&LISTS[..]), select(&PREFIXES[..]));
    let peer = prop_oneof![
        select(&PREFIXES[..]).prop_map(|prefix| format!("--cidr {prefix}")),
        select(&GROUPS[..]).prop_map(|group| format!("--source-group {group}")),
        select(&LISTS[..]).prop_map(|list| format!("--prefix-list {list}")),
    ];
    let rule = (group.clone(), select(&["--ingress", "--egress"][..]), select(&SERVICES[..]), peer);
    let rule =
        rule.prop_map(|(group, direction, service, peer)| format!("{group} {direction} {service} {peer}"));
    prop_oneof![
        4 => group.clone().prop_map(|group| format!("group create {group} --description tier")),
        1 => group.clone().prop_map(|group| format!("group delete {group}")),
        8 => rule.clone().prop_map(|rule| format!("rule authorize {rule}")),
        2 => rule.prop_map(|rule| format!("rule revoke {rule}")),
        2 => (group.clone(), prefix.clone()).prop_map(|(group, prefix)| format!("group add-member {group} {prefix}")),
        1 => (group, prefix.clone()).prop_map(|(group, prefix)| format!("group remove-member {group} {prefix}")),
        3 => list.clone().prop_map(|list| format!("prefix-list create {list} --address-family ipv4 --max-entries 3")),
        1 => list.clone().prop_map(|list| format!("prefix-list delete {list}")),
        3 => (list.clone(), prefix.clone()).prop_map(|(list, prefix)| format!("prefix-list add-entry {list} {prefix}")),
        1 => (list, prefix).prop_map(|(list, prefix)| format!("prefix-list remove-entry {list} {prefix}")),
    ]
}

proptest! {
    // Each case is some thirty processes.
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_commands_have_made_an_export_carries_to_an_empty_store(
        operations in prop::collection::vec(operation(), 10..30),
    ) {
        let (made, empty) = (Instance::new(), Instance::new());
        // Enough for the others to be about.
        made.succeeds(&["group", "create", "web", "--description", "tier"]);
        made.succeeds(&["prefix-list", "create", "offices", "--address-family", "ipv4", "--max-entries", "3"]);
        for operation in &operations {
            made.run(&operation.split(' ').collect::<Vec<_>>());
        }
        let exported = made.succeeds(&["export"]);
        let file = empty.state_dir().with_file_name("exported.yaml");
        fs::write(&file, &exported).unwrap();
        let file = file.to_str().unwrap();
        empty.succeeds(&["apply", "--yes", "-f", file]);
        prop_assert_eq!(lines(&empty.succeeds(&["export"])), lines(&exported));
        // And the export says nothing new to either.
        for instance in [&made, &empty] {
            let plan = instance.run(&["plan", "--detailed-exitcode", "-f", file]);
            prop_assert_eq!(plan.status.code(), Some(0), "{:?}", plan);
        }
    }
}

/// The lines of an export, each under the name of what it belongs to, in an order of their own and without the
/// identifiers: the group `default` of each store has its own.
fn lines(exported: &str) -> Vec<String> {
    let mut owner = "";
    let mut lines = Vec::new();
    for line in exported.lines() {
        owner = line.trim().strip_prefix("- name: ").unwrap_or(owner);
        let words = line.split_inclusive(' ').filter(|word| !is_identifier(word));
        lines.push(format!("{owner}: {}", words.collect::<String>()));
    }
    lines.sort_unstable();
    lines
}

fn is_identifier(word: &str) -> bool {
    ["sg-", "sgr-", "pl-"].iter().any(|prefix| word.starts_with(prefix))
}
