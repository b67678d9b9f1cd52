//! Prefix lists.

use serde_json::json;

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
    assert_eq!(list["Entries"], json!([{ "Cidr": "192.0.2.0/24" }]));

    instance.succeeds(&authorize("app", &["--protocol", "all", "--prefix-list", "offices"]));
    let message = instance.fails(65, &["prefix-list", "delete", "offices"]);
    assert!(message.contains("error[DependencyViolation]"), "{message}");
    instance.succeeds(&revoke("app", &["--protocol", "all", "--prefix-list", id.trim()]));
    instance.succeeds(&["prefix-list", "delete", "offices"]);
    assert_eq!(instance.json(&["prefix-list", "list"])["PrefixLists"], json!([]));
}
