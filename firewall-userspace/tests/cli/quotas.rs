//! Quotas.

use serde_json::{Value, json};

use crate::instance::{Instance, authorize, text};

fn value(instance: &Instance, name: &str) -> Value {
    let quotas = instance.json(&["quota", "list"])["Quotas"].as_array().unwrap().clone();
    quotas.into_iter().find(|quota| quota["QuotaName"] == name).unwrap()["Value"].clone()
}

#[test]
fn nothing_is_limited_until_a_quota_is_set() {
    let instance = Instance::with_groups();
    assert_eq!(value(&instance, "security-groups"), Value::Null);
    instance.succeeds(&["quota", "set", "--preset", "aws", "security-groups=3"]);
    assert_eq!(value(&instance, "rules-per-security-group"), 60);
    assert_eq!(value(&instance, "security-groups"), 3);
    let create = ["group", "create", "db", "--description", "x"];
    let message = instance.fails(65, &create);
    assert!(message.contains("error[SecurityGroupLimitExceeded]"), "{message}");
    assert!(message.contains("sgfw quota set security-groups=N"), "{message}");
    instance.succeeds(&["quota", "reset", "security-groups"]);
    instance.succeeds(&create);
    assert_eq!(value(&instance, "rules-per-security-group"), 60);
    instance.succeeds(&["quota", "reset"]);
    assert_eq!(value(&instance, "rules-per-security-group"), Value::Null);
}

#[test]
fn what_is_over_a_quota_already_stays_and_does_not_grow() {
    let instance = Instance::with_groups();
    instance.succeeds(&["quota", "set", "security-groups=1"]);
    instance.succeeds(&authorize("app", &["--protocol", "all", "--cidr", "10.0.0.0/8"]));
    instance.fails(65, &["group", "create", "db", "--description", "x"]);
    instance.succeeds(&["group", "delete", "app"]);
}

#[test]
fn lists_have_quotas_of_size_number_and_references() {
    let instance = Instance::with_groups();
    instance.succeeds(&[
        "quota",
        "set",
        "prefix-lists=1",
        "entries-per-prefix-list=5",
        "references-per-prefix-list=1",
    ]);
    let create =
        |name, room| ["prefix-list", "create", name, "--address-family", "ipv4", "--max-entries", room];
    assert!(instance.fails(65, &create("offices", "6")).contains("'offices' with room for 6 entries"));
    instance.succeeds(&create("offices", "5"));
    instance.fails(65, &create("sites", "5"));
    let rule = ["--protocol", "all", "--prefix-list", "offices"];
    instance.succeeds(&authorize("app", &rule));
    instance.fails(65, &authorize("web", &rule));
}

#[test]
fn the_check_tells_what_would_not_fit_aws() {
    let instance = Instance::with_groups();
    let output = instance.run(&["quota", "check"]);
    assert!(text(&output.stderr).contains("everything fits"), "{}", text(&output.stderr));
    instance.succeeds(&["prefix-list", "create", "cdn", "--address-family", "ipv6", "--max-entries", "61"]);
    instance.succeeds(&authorize("app", &["--protocol", "all", "--prefix-list", "cdn"]));
    let exceeded = instance.json(&["quota", "check"])["Exceeded"].clone();
    assert_eq!(
        exceeded,
        json!([{
            "QuotaName": "rules-per-security-group", "Used": 61, "Limit": 60,
            "Message": "security group 'app' with 61 IPv6 ingress rules, of at most 60",
        }])
    );
    assert!(instance.succeeds(&["quota", "check"]).contains("'app'"));
}

#[test]
fn unknown_quotas_are_refused() {
    let instance = Instance::new();
    for quota in ["nonsense=1", "security-groups", "security-groups=-1", "security-groups=many"] {
        assert!(instance.fails(64, &["quota", "set", quota]).contains("rules-per-security-group"), "{quota}");
    }
    assert!(instance.fails(65, &["quota", "reset", "nonsense"]).contains("rules-per-security-group"));
    instance.fails(64, &["quota", "set"]);
}
