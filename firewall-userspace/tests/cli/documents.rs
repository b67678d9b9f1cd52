//! Policy files as commands write them. What is read is tested beside the reader.

use std::fs;

use firewall_userspace::document::{Input, SCHEMA, read_with_warnings};
use serde_json::Value;

use crate::instance::Instance;

fn with_everything() -> Instance {
    let instance = Instance::with_groups();
    instance.succeeds(&[
        "prefix-list",
        "create",
        "offices",
        "--address-family",
        "ipv4",
        "--max-entries",
        "5",
        "203.0.113.0/24",
    ]);
    instance.succeeds(&["group", "add-member", "app", "10.0.1.10/32"]);
    let rule = ["--protocol", "icmp", "--icmp-type", "3/4", "--prefix-list", "offices"];
    instance.succeeds(&[&["rule", "authorize", "app", "--ingress"], &rule[..]].concat());
    let rule = ["--protocol", "tcp", "--port", "8000-8010", "--source-group", "web"];
    instance.succeeds(&[&["rule", "authorize", "app", "--ingress"], &rule[..]].concat());
    instance
}

#[test]
fn export_prints_what_is_stored_with_its_ids_in_every_language() {
    let instance = with_everything();
    let directory = tempfile::tempdir().unwrap();
    let documents = ["yaml", "toml", "json"].map(|language| {
        let path = directory.path().join(format!("policy.{language}"));
        fs::write(&path, instance.succeeds(&["export", "-f", language])).unwrap();
        read_with_warnings(&[Input::Path(path)]).unwrap().document
    });
    assert_eq!(documents[0], documents[1]);
    assert_eq!(documents[0], documents[2]);

    let yaml = instance.succeeds(&["export", "--format", "native"]);
    let groups = instance.json(&["group", "list"])["SecurityGroups"].clone();
    for group in groups.as_array().unwrap() {
        assert!(yaml.contains(group["GroupId"].as_str().unwrap()), "{yaml}");
    }
    assert!(yaml.contains("protocol: icmp, type: 3, code: 4, prefix_list: offices}"), "{yaml}");
    assert!(yaml.contains("protocol: tcp, ports: \"8000-8010\", group: web}"), "{yaml}");
    assert!(yaml.contains("    members: [10.0.1.10/32]\n"), "{yaml}");
    assert!(yaml.contains("      - {cidr: 203.0.113.0/24}\n"), "{yaml}");
}

#[test]
fn json_output_is_json() {
    let document = with_everything().json(&["export"]);
    assert_eq!(document["version"], 1);
    assert_eq!(document["groups"].as_array().unwrap().len(), 3);
    assert_eq!(document["interfaces"], Value::Array(Vec::new()));
}

#[test]
fn schema_prints_the_schema_of_policy_files() {
    let schema = Instance::new().succeeds(&["schema"]);
    assert_eq!(schema, SCHEMA);
    assert_eq!(serde_json::from_str::<Value>(&schema).unwrap()["title"], "sgfw policy");
}

#[test]
fn unknown_formats_and_languages_are_usage_errors() {
    let instance = Instance::new();
    instance.fails(64, &["export", "--format", "iptables"]);
    instance.fails(64, &["export", "-f", "xml"]);
}
