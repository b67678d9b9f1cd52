//! For each field the published schema and the reader agree.

use serde_json::json;

use super::*;

fn example_json() -> Value {
    serde_json::from_str(&fs::read_to_string(example("three-tiers.json")).unwrap()).unwrap()
}

fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(name.to_owned(), value)),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        _ => panic!("{pointer} is in no map or list"),
    }
}

/// Whether the schema and the reader accept the example with one value changed.
fn accept(pointer: &str, value: &Value) -> (bool, bool) {
    let mut document = example_json();
    set(&mut document, pointer, value.clone());
    let read = read_files(&[("a.json", &document.to_string())]);
    (VALIDATOR.is_valid(&document), read.is_ok())
}

#[test]
fn accept_the_example() {
    assert_eq!(accept("/version", &json!(1)), (true, true));
}

#[test]
fn accept_what_is_valid() {
    let rule = "/groups/0/ingress/0";
    let valid = [
        ("/groups/2/name", json!("a.b c_-:/()#,@[]+=&;{}!$*")),
        ("/groups/0/ingress/0/description", json!("")),
        ("/groups/0/tags", json!({ "größe": "4/2 @x" })),
        ("/groups/0/members", json!([])),
        (rule, json!({ "protocol": "all", "cidr": "::/0" })),
        (rule, json!({ "protocol": -1, "group": "sg-0123456789abcdef0" })),
        (rule, json!({ "protocol": "TCP", "ports": "0-65535", "cidr": "2001:db8::/32" })),
        (rule, json!({ "protocol": "17", "ports": 53, "prefix_list": "pl-0123456789abcdef0" })),
        (rule, json!({ "protocol": "icmpv6", "type": 128, "cidr": "::ffff:0:0/96" })),
        (rule, json!({ "protocol": "1", "type": -1, "code": -1, "cidr": "10.0.0.0/8" })),
        (rule, json!({ "id": "sgr-0123456789abcdef0", "protocol": 47, "cidr": ["10.0.0.0/8"] })),
        ("/prefix_lists/0/max_entries", json!(4_294_967_295_u32)),
        ("/prefix_lists/0/family", json!("IPv4")),
        ("/interfaces/0/timeouts", json!({})),
    ];
    for (pointer, value) in valid {
        assert_eq!(accept(pointer, &value), (true, true), "schema, reader: {pointer} = {value}");
    }
}

#[test]
fn refuse_what_is_not() {
    let rule = "/groups/0/ingress/0";
    let invalid = [
        ("/version", json!(2)),
        ("/version", json!("1")),
        ("/groops", json!([])),
        ("/groups", json!({})),
        ("/groups", json!(null)),
        ("/groups/0", json!({ "name": "a" })),
        ("/groups/0", json!({ "description": "a" })),
        ("/groups/0/nam", json!("a")),
        ("/groups/2/name", json!("sg-web")),
        ("/groups/2/name", json!(" ")),
        ("/groups/2/name", json!("it's")),
        ("/groups/2/name", json!("x".repeat(256))),
        ("/groups/2/name", json!(1)),
        ("/groups/0/id", json!("sg-0123")),
        ("/groups/0/description", json!("naïve")),
        ("/groups/0/description", json!("")),
        ("/groups/0/tags", json!({ "aws:x": "y" })),
        ("/groups/0/tags", json!({ "a": 1 })),
        ("/groups/0/tags", json!({ "a": "b\nc" })),
        ("/groups/0/tags", json!({ "": "b" })),
        ("/groups/0/members", json!("10.0.0.0/8")),
        ("/groups/0/members", json!(["10.0.0.1"])),
        ("/groups/0/members", json!(["10.0.0.0/8", "10.0.0.0/8"])),
        (rule, json!({})),
        (rule, json!({ "protocol": "all" })),
        (rule, json!({ "protocol": "gre", "cidr": "::/0" })),
        (rule, json!({ "protocol": 256, "cidr": "::/0" })),
        (rule, json!({ "protocol": true, "cidr": "::/0" })),
        (rule, json!({ "protocol": "tcp", "cidr": "::/0" })),
        (rule, json!({ "protocol": 6, "cidr": "::/0" })),
        (rule, json!({ "protocol": "tcp", "ports": 65536, "cidr": "::/0" })),
        (rule, json!({ "protocol": "tcp", "ports": "all", "cidr": "::/0" })),
        (rule, json!({ "protocol": "tcp", "ports": 1.5, "cidr": "::/0" })),
        (rule, json!({ "protocol": "tcp", "ports": 1, "type": 8, "cidr": "::/0" })),
        (rule, json!({ "protocol": "all", "ports": 1, "cidr": "::/0" })),
        (rule, json!({ "protocol": "icmp", "type": 256, "cidr": "10.0.0.0/8" })),
        (rule, json!({ "protocol": "icmp", "type": "8", "cidr": "10.0.0.0/8" })),
        (rule, json!({ "protocol": "icmp", "code": 0, "cidr": "10.0.0.0/8" })),
        (rule, json!({ "protocol": "icmp", "type": -1, "code": 0, "cidr": "10.0.0.0/8" })),
        (rule, json!({ "protocol": "all", "cidr": [] })),
        (rule, json!({ "protocol": "all", "cidr": "everywhere" })),
        (rule, json!({ "protocol": "all", "cidr": "::/0", "group": "lb" })),
        (rule, json!({ "protocol": "all", "group": "sg-" })),
        (rule, json!({ "protocol": "all", "prefix_list": "pl-1" })),
        (rule, json!({ "protocol": "all", "cidr": "::/0", "description": "it's" })),
        (rule, json!({ "protocol": "all", "cidr": "::/0", "id": "sg-0123456789abcdef0" })),
        (rule, json!({ "id": "sgr-0123456789abcdef0", "protocol": "all", "cidr": ["10.0.0.0/8", "::/0"] })),
        ("/groups/0/egress", json!(null)),
        ("/prefix_lists/0", json!({ "name": "offices", "family": "ipv4" })),
        ("/prefix_lists/0/name", json!("com.amazonaws.s3")),
        ("/prefix_lists/0/name", json!("a\tb")),
        ("/prefix_lists/0/family", json!("ipv5")),
        ("/prefix_lists/0/max_entries", json!(0)),
        ("/prefix_lists/0/max_entries", json!(4_294_967_296_u64)),
        ("/prefix_lists/0/entries", json!([{ "prefix": "10.0.0.0/8" }])),
        ("/prefix_lists/0/entries", json!(["10.0.0.0/8", "10.0.0.0/8"])),
        ("/interfaces/0", json!({ "name": "eth1" })),
        ("/interfaces/0/name", json!("eth1/2")),
        ("/interfaces/0/name", json!("sixteen-bytes-xx")),
        ("/interfaces/0/groups", json!([])),
        ("/interfaces/0/groups", json!(["lb", "lb"])),
        ("/interfaces/0/timeouts", json!({ "udp": 29 })),
        ("/interfaces/0/timeouts", json!({ "tcp_established": 432_001 })),
        ("/interfaces/0/timeouts", json!({ "tcp-syn": 60 })),
        ("/interfaces/0/icmp_errors", json!("all")),
        ("/interfaces/0/tcp_strict", json!("on")),
        ("/interfaces/0/always_track", json!(true)),
        ("/interfaces/0/exempt", json!({ "arp": 1 })),
    ];
    for (pointer, value) in invalid {
        assert_eq!(accept(pointer, &value), (false, false), "schema, reader: {pointer} = {value}");
    }
}
