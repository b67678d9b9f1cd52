//! Settings of interfaces, as far as they need no interface.

use serde_json::{Value, json};

use crate::instance::Instance;

#[test]
fn settings_are_those_of_an_attached_interface() {
    let instance = Instance::with_groups();
    for command in [
        &["set-timeouts", "eth7", "--udp", "45"][..],
        &["set-options", "eth7", "--tcp-strict", "on"],
        &["set-options", "eth7", "--audit", "off"],
        &["show", "eth7"],
    ] {
        let message = instance.fails(65, &[&["interface"], command].concat());
        assert!(message.contains("interface eth7 is not attached"), "{message}");
        assert!(message.contains("sgfw interface list"), "{message}");
    }
}

#[test]
fn a_command_that_sets_nothing_or_two_things_at_once_is_not_understood() {
    let instance = Instance::with_groups();
    let cases: [&[&str]; 10] = [
        &["set-timeouts", "eth7"],
        &["set-timeouts", "eth7", "--udp", "soon"],
        &["set-timeouts", "eth7", "--udp", "-1"],
        &["set-options", "eth7"],
        &["set-options", "eth7", "--icmp-errors", "some"],
        &["set-options", "eth7", "--tcp-strict", "maybe"],
        &["set-options", "eth7", "--audit"],
        &["set-options", "eth7", "--exempt", "arp"],
        &["set-options", "eth7", "--exempt", "igmp=on"],
        &["set-options", "eth7", "--always-track", "on", "--always-track-prefix", "10.0.0.0/8"],
    ];
    for command in cases {
        instance.fails(64, &[&["interface"], command].concat());
    }
    let message = instance.fails(64, &["interface", "set-options", "eth7", "--exempt", "arp=maybe"]);
    assert!(message.contains("neighbor-discovery"), "{message}");
}

#[test]
fn rules_of_no_interface_are_neither_tracked_nor_untracked() {
    let instance = Instance::with_groups();
    let rules = instance.json(&["rule", "list", "web"])["SecurityGroupRules"].as_array().unwrap().clone();
    assert!(!rules.is_empty() && rules.iter().all(|rule| rule["Tracking"] == Value::Null), "{rules:?}");
    let table = instance.succeeds(&["rule", "list", "web"]);
    assert!(table.lines().next().unwrap().contains("TRACKING"), "{table}");
}

#[test]
fn without_interfaces_no_flow_expires() {
    let instance = Instance::with_groups();
    let nothing = json!({ "Removed": 0, "Cut": 0, "AskedForSocket": 0 });
    assert_eq!(instance.json(&["flows", "expire"]), nothing);
}
