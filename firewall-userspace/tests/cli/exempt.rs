//! Exempt addresses.

use serde_json::{Value, json};

use crate::instance::{Instance, text};

const RESOLVER: [&str; 7] = ["exempt", "add", "--protocol", "udp", "--port", "53", "10.0.0.2/32"];

fn addresses(instance: &Instance) -> Vec<Value> {
    instance.json(&["exempt", "list"])["ExemptAddresses"].as_array().unwrap().clone()
}

#[test]
fn every_address_is_an_exemption_of_its_own() {
    let instance = Instance::new();
    let ids = instance.succeeds(&[&RESOLVER[..], &["2001:db8::2/128", "--description", "resolver"]].concat());
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.iter().all(|id| id.starts_with("exa-") && id.len() == 21), "{ids:?}");
    let row = |id: &str, cidr: &str| {
        json!({
            "ExemptAddressId": id, "IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "Cidr": cidr,
            "Description": "resolver",
        })
    };
    assert_eq!(addresses(&instance), [row(ids[0], "10.0.0.2/32"), row(ids[1], "2001:db8::2/128")]);
    assert_eq!(instance.json(&["status"])["ExemptAddresses"].as_array().unwrap().len(), 2);
    assert!(instance.succeeds(&["status"]).contains("10.0.0.2/32"));
}

#[test]
fn exemptions_are_removed_by_id_or_by_exact_properties_all_or_none() {
    let instance = Instance::new();
    let id = instance.succeeds(&RESOLVER);
    instance.succeeds(&["exempt", "add", "--protocol", "all", "10.0.0.3/32", "10.0.0.4/32"]);

    let message = instance.fails(65, &["exempt", "remove", id.trim(), "exa-00000000000000000"]);
    assert!(message.contains("exa-00000000000000000") && message.contains("help: "), "{message}");
    instance.fails(65, &["exempt", "remove", "exa-nonsense"]);
    instance.fails(65, &["exempt", "remove", "--protocol", "tcp", "--port", "53", "10.0.0.2/32"]);
    let message =
        instance.fails(65, &["exempt", "remove", "--protocol", "all", "10.0.0.3/32", "10.0.0.5/32"]);
    assert!(message.contains("all 10.0.0.5/32 is not exempt"), "{message}");

    assert_eq!(instance.succeeds(&["exempt", "remove", id.trim()]), id);
    instance.succeeds(&["exempt", "remove", "--protocol", "all", "10.0.0.3/32", "10.0.0.4/32"]);
    assert_eq!(addresses(&instance), Vec::<Value>::new());
}

#[test]
fn what_is_exempt_already_is_refused_and_nothing_is_added() {
    let instance = Instance::new();
    instance.succeeds(&RESOLVER);
    let message = instance
        .fails(65, &["exempt", "add", "--protocol", "17", "--port", "53", "10.0.0.3/32", "10.0.0.2/32"]);
    assert!(message.contains("udp 53 10.0.0.2/32 is already exempt"), "{message}");
    instance.fails(65, &["exempt", "add", "--protocol", "all", "10.0.0.9/32", "10.0.0.9/32"]);
}

#[test]
fn the_preset_adds_what_is_missing() {
    let instance = Instance::new();
    instance.succeeds(&["exempt", "add", "--protocol", "tcp", "--port", "80", "169.254.169.254/32"]);
    assert_eq!(instance.succeeds(&["exempt", "add", "--preset", "aws-link-local"]).lines().count(), 8);
    assert_eq!(addresses(&instance).len(), 9);
    assert_eq!(instance.succeeds(&["exempt", "add", "--preset", "aws-link-local"]), "");
}

#[test]
fn invalid_exemptions_are_refused() {
    let instance = Instance::new();
    let cases: [(i32, &[&str]); 8] = [
        (65, &["--protocol", "udp", "10.0.0.2/32"]),
        (65, &["--protocol", "47", "--port", "1", "10.0.0.2/32"]),
        (65, &["--protocol", "all", "10.0.0.2"]),
        (65, &["--protocol", "icmpv6", "10.0.0.2/32"]),
        (64, &["--protocol", "all"]),
        (64, &["10.0.0.2/32"]),
        (64, &["--preset", "aws-link-local", "10.0.0.2/32"]),
        (64, &["--preset", "aws-link-local", "--protocol", "all"]),
    ];
    for (status, arguments) in cases {
        instance.fails(status, &[&["exempt", "add"], arguments].concat());
    }
    let output = instance.run(&["exempt", "add", "--protocol", "all", "10.0.0.2/8"]);
    assert!(text(&output.stderr).contains("warning: 10.0.0.2/8"), "{}", text(&output.stderr));
    assert_eq!(addresses(&instance)[0]["Cidr"], "10.0.0.0/8");
}
