//! Management prefixes and panic mode, as far as they need no interface.

use serde_json::{Value, json};

use crate::instance::{Instance, authorize, text};

fn prefixes(instance: &Instance) -> Vec<Value> {
    instance.json(&["management", "list"])["ManagementPrefixes"].as_array().unwrap().clone()
}

#[test]
fn a_management_prefix_is_for_ssh_unless_something_else_is_asked_for() {
    let instance = Instance::new();
    let ids = instance.succeeds(&["management", "add", "eth1", "203.0.113.0/24", "2001:db8::/48"]);
    let id = instance.succeeds(&[
        "management",
        "add",
        "eth1",
        "--protocol",
        "udp",
        "--port",
        "51820",
        "0.0.0.0/0",
    ]);
    let ids: Vec<&str> = ids.lines().chain(id.lines()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| id.starts_with("sgr-") && id.len() == 21), "{ids:?}");
    let row = |id: &str, protocol: &str, port: u16, cidr: &str| {
        json!({
            "SecurityGroupRuleId": id, "Interface": "eth1", "IpProtocol": protocol, "FromPort": port, "ToPort": port,
            "Cidr": cidr,
        })
    };
    let expected = [
        row(ids[0], "tcp", 22, "203.0.113.0/24"),
        row(ids[1], "tcp", 22, "2001:db8::/48"),
        row(ids[2], "udp", 51820, "0.0.0.0/0"),
    ];
    assert_eq!(prefixes(&instance), expected);
    let table = format!(
        "RULE ID                INTERFACE  PROTOCOL  PORTS  ADDRESS\n\
         {}  eth1       tcp       22     203.0.113.0/24\n\
         {}  eth1       tcp       22     2001:db8::/48\n\
         {}  eth1       udp       51820  0.0.0.0/0\n",
        ids[0], ids[1], ids[2]
    );
    assert_eq!(instance.succeeds(&["management", "list"]), table);
}

#[test]
fn an_interface_that_is_not_attached_is_pointed_out() {
    let output = Instance::new().run(&["management", "add", "eht1", "203.0.113.7/24"]);
    let expected = "warning: 203.0.113.7/24 has bits set beyond its prefix length; taken as 203.0.113.0/24, as AWS does\n\
                    warning: interface eht1 is not attached; this will count once it is\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn management_prefixes_are_removed_by_exact_properties_all_or_none() {
    let instance = Instance::new();
    instance.succeeds(&["management", "add", "eth1", "203.0.113.0/24", "198.51.100.0/24"]);
    let cases: [&[&str]; 4] = [
        &["eth2", "203.0.113.0/24"],
        &["eth1", "203.0.113.0/25"],
        &["eth1", "--port", "23", "203.0.113.0/24"],
        &["eth1", "203.0.113.0/24", "192.0.2.0/24"],
    ];
    for case in cases {
        instance.fails(65, &[&["management", "remove"], case].concat());
    }
    let message = instance.fails(65, &["management", "remove", "eth1", "192.0.2.0/24"]);
    let expected = "error: tcp 22 from 192.0.2.0/24 on eth1 is not declared for management\n\
                    help: `sgfw management list` shows the management prefixes\n";
    assert_eq!(message, expected);
    instance.succeeds(&["management", "remove", "eth1", "198.51.100.0/24", "203.0.113.0/24"]);
    assert_eq!(prefixes(&instance), Vec::<Value>::new());
}

#[test]
fn invalid_management_prefixes_are_refused() {
    let instance = Instance::new();
    instance.succeeds(&["management", "add", "eth1", "203.0.113.0/24"]);
    let cases: [(i32, &[&str]); 7] = [
        (64, &["eth1"]),
        (65, &["eth1", "203.0.113.0"]),
        (65, &["eth1", "203.0.113.0/24"]),
        (65, &["eth1", "192.0.2.0/24", "192.0.2.0/24"]),
        (65, &["eth1", "--protocol", "udp", "192.0.2.0/24"]),
        (65, &["eth1", "--protocol", "icmp", "192.0.2.0/24"]),
        (65, &["eth1", "--port", "ssh", "192.0.2.0/24"]),
    ];
    for (status, arguments) in cases {
        let message = instance.fails(status, &[&["management", "add"], arguments].concat());
        assert!(status == 64 || message.contains("help: "), "{message}");
    }
}

#[test]
fn panic_mode_is_on_until_it_is_turned_off() {
    let instance = Instance::with_groups();
    assert_eq!(instance.json(&["status"])["Panic"], false);
    instance.fails(64, &["panic"]);
    instance.fails(64, &["panic", "maybe"]);

    let switch = |switch: &str| text(&instance.run(&["panic", switch]).stderr);
    let expected = "panic mode is on: attached interfaces drop everything but tracked flows, exempt kinds of traffic and \
                    new connections from management prefixes\n";
    assert_eq!(switch("on"), expected);
    assert_eq!(switch("on"), "panic mode was on already\n");
    assert_eq!(instance.json(&["status"])["Panic"], true);
    assert!(instance.succeeds(&["status"]).starts_with("PANIC MODE IS ON: "));
    let output =
        instance.run(&authorize("app", &["--protocol", "tcp", "--port", "80", "--cidr", "10.0.0.0/8"]));
    let expected = "warning: panic mode is on; what is stored takes effect when `sgfw panic off` ends it\n";
    assert_eq!(text(&output.stderr), expected);

    assert_eq!(switch("off"), "panic mode is off; what is stored is in force\n");
    assert_eq!(switch("off"), "panic mode was not on\n");
    assert_eq!(instance.json(&["status"])["Panic"], false);
    assert_eq!(instance.run(&["group", "list"]).stderr, b"");
}
