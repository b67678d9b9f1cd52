//! Prefix lists.

use serde_json::{Value, json};

use crate::instance::{Instance, authorize, revoke};

#[test]
fn the_life_of_a_prefix_list() {
    let instance = Instance::with_groups();
    let create =
        ["prefix-list", "create", "offices", "--address-family", "ipv4", "--max-entries", "2", "10.0.0.0/8"];
    let id = instance.succeeds(&create);
    assert!(id.starts_with("pl-"), "{id}");
    instance.fails(65, &create);
    assert_eq!(instance.succeeds(&["prefix-list", "add-entry", "offices", "192.0.2.0/24"]), "2\n");
    instance.fails(65, &["prefix-list", "add-entry", "offices", "198.51.100.0/24"]);
    assert_eq!(instance.succeeds(&["prefix-list", "remove-entry", "offices", "10.0.0.0/8"]), "3\n");
    instance.fails(65, &["prefix-list", "add-entry", "offices", "2001:db8::/32"]);
    instance.fails(65, &["prefix-list", "remove-entry", "offices", "10.0.0.0/8"]);
    let list = &instance.json(&["prefix-list", "show", id.trim()])["PrefixLists"][0];
    assert_eq!((&list["Version"], &list["AddressFamily"]), (&3.into(), &"IPv4".into()));
    assert_eq!(list["Tags"], json!([]));
    assert_eq!(list["Entries"], json!([{ "Cidr": "192.0.2.0/24" }]));

    instance.succeeds(&authorize("app", &["--protocol", "all", "--prefix-list", "offices"]));
    let message = instance.fails(65, &["prefix-list", "delete", "offices"]);
    assert!(message.contains("error[DependencyViolation]"), "{message}");
    instance.succeeds(&revoke("app", &["--protocol", "all", "--prefix-list", id.trim()]));
    instance.succeeds(&["prefix-list", "delete", "offices"]);
    assert_eq!(instance.json(&["prefix-list", "list"])["PrefixLists"], json!([]));
}

fn offices(instance: &Instance, arguments: &[&str]) -> Value {
    let show = [&["prefix-list", "show", "offices"], arguments].concat();
    instance.json(&show)["PrefixLists"][0].clone()
}

#[test]
fn old_versions_are_shown_and_restored_as_new_ones() {
    let instance = Instance::new();
    let create = ["prefix-list", "create", "offices", "--address-family", "ipv4", "--max-entries", "2"];
    instance.succeeds(&[&create[..], &["10.0.0.0/8=Berlin, first floor", "192.0.2.0/24"]].concat());
    instance.succeeds(&["prefix-list", "remove-entry", "offices", "10.0.0.0/8"]);
    instance.succeeds(&["prefix-list", "add-entry", "offices", "10.0.0.0/8=Paris"]);
    let entries = |arguments: &[&str]| offices(&instance, arguments)["Entries"].clone();
    let berlin = json!({ "Cidr": "10.0.0.0/8", "Description": "Berlin, first floor" });
    assert_eq!(entries(&["--version", "1"]), json!([berlin, { "Cidr": "192.0.2.0/24" }]));
    assert_eq!(entries(&["--version", "2"]), json!([{ "Cidr": "192.0.2.0/24" }]));
    assert_eq!(entries(&[])[1]["Description"], "Paris");

    let restore = ["prefix-list", "restore", "offices", "--version", "1", "--current-version"];
    assert_eq!(instance.succeeds(&[&restore[..], &["3"]].concat()), "4\n");
    assert!(entries(&[]).as_array().unwrap().contains(&berlin));
    let row = |version: u64, entries: u64, added: u64, removed: u64| json!({ "Version": version, "Entries": entries, "Added": added, "Removed": removed });
    let history = instance.json(&["prefix-list", "history", "offices"])["Versions"].clone();
    assert_eq!(history, json!([row(1, 2, 2, 0), row(2, 1, 0, 1), row(3, 2, 1, 0), row(4, 2, 1, 1)]));

    for version in ["0", "5"] {
        let message = instance.fails(65, &["prefix-list", "restore", "offices", "--version", version]);
        assert!(message.contains("prefix-list history"), "{message}");
        instance.fails(65, &["prefix-list", "show", "offices", "--version", version]);
    }
    instance.succeeds(&["prefix-list", "remove-entry", "offices", "10.0.0.0/8"]);
    instance.succeeds(&["prefix-list", "modify", "offices", "--max-entries", "1"]);
    let message = instance.fails(65, &["prefix-list", "restore", "offices", "--version", "1"]);
    assert!(message.contains("2 entries are more than the 1"), "{message}");
}

#[test]
fn name_and_size_change_without_a_new_version() {
    let instance = Instance::new();
    let create = |name| ["prefix-list", "create", name, "--address-family", "ipv4", "--max-entries", "2"];
    instance.succeeds(&create("sites"));
    instance.succeeds(&[&create("old")[..], &["10.0.0.0/8", "192.0.2.0/24"]].concat());
    instance.succeeds(&["prefix-list", "modify", "old", "--name", "offices", "--max-entries", "3"]);
    let list = offices(&instance, &[]);
    assert_eq!((&list["Version"], &list["MaxEntries"]), (&1.into(), &3.into()));
    instance.fails(65, &["prefix-list", "modify", "offices", "--max-entries", "1"]);
    instance.fails(65, &["prefix-list", "modify", "offices", "--max-entries", "0"]);
    instance.fails(65, &["prefix-list", "modify", "offices", "--name", "sites"]);
    instance.fails(65, &["prefix-list", "modify", "old", "--name", "new"]);
    instance.fails(64, &["prefix-list", "modify", "offices"]);
}

#[test]
fn references_are_the_groups_and_rules_that_refer_to_a_list() {
    let instance = Instance::with_groups();
    instance.succeeds(&[
        "prefix-list",
        "create",
        "offices",
        "--address-family",
        "ipv4",
        "--max-entries",
        "2",
    ]);
    assert_eq!(instance.json(&["prefix-list", "references", "offices"])["PrefixListAssociations"], json!([]));
    let rule = instance.succeeds(&authorize("app", &["--protocol", "all", "--prefix-list", "offices"]));
    let group = instance.json(&["group", "show", "app"])["SecurityGroups"][0]["GroupId"].clone();
    assert_eq!(
        instance.json(&["prefix-list", "references", "offices"])["PrefixListAssociations"],
        json!([{ "ResourceId": group, "SecurityGroupRuleIds": [rule.trim()] }])
    );
    assert!(instance.succeeds(&["prefix-list", "references", "offices"]).contains(rule.trim()));
}
