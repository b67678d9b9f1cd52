//! Groups and their declared members.

use serde_json::json;

use crate::instance::{Instance, authorize};

#[test]
fn a_new_instance_has_the_default_group_alone() {
    let instance = Instance::new();
    let groups = instance.json(&["group", "list"]);
    assert_eq!(groups["SecurityGroups"].as_array().unwrap().len(), 1);
    let default = &groups["SecurityGroups"][0];
    assert_eq!(default["GroupName"], "default");
    assert_eq!(default["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"], default["GroupId"]);
    assert_eq!(default["IpPermissionsEgress"][0]["IpRanges"][0]["CidrIp"], "0.0.0.0/0");
    assert_eq!(default["IpPermissionsEgress"][0]["Ipv6Ranges"][0]["CidrIpv6"], "::/0");
}

#[test]
fn creating_a_group_prints_its_id_by_which_it_is_found() {
    let instance = Instance::new();
    let id = instance.succeeds(&["group", "create", "web", "--description", "web tier"]);
    let id = id.trim();
    assert!(id.starts_with("sg-") && id.len() == 20, "{id}");
    let group = &instance.json(&["group", "show", id])["SecurityGroups"][0];
    assert_eq!(group["GroupName"], "web");
    assert_eq!(group["IpPermissions"].as_array().unwrap().len(), 0);
    assert_eq!(group["IpPermissionsEgress"][0]["IpProtocol"], "-1");
    assert!(group["IpPermissionsEgress"][0].get("FromPort").is_none());
}

#[test]
fn group_names_and_descriptions_follow_aws() {
    let instance = Instance::with_groups();
    let too_long = "x".repeat(256);
    let create = |name| ["group", "create", name, "--description", "x"];
    assert!(instance.fails(65, &create("sg-web")).contains("error[InvalidParameterValue]"));
    assert!(instance.fails(65, &create("it's")).contains("error[InvalidParameterValue]"));
    assert!(instance.fails(65, &create(&too_long)).contains("error[InvalidParameterValue]"));
    assert!(instance.fails(65, &create("default")).contains("error[InvalidGroup.Reserved]"));
    assert!(instance.fails(65, &create("Web")).contains("error[InvalidGroup.Duplicate]"));
    instance.fails(65, &["group", "create", "x", "--description", "the office's"]);
    instance.fails(64, &["group", "create", "x"]);
}

#[test]
fn a_group_in_use_is_not_deleted_and_the_message_names_the_rule() {
    let instance = Instance::with_groups();
    let rule = instance
        .succeeds(&authorize("app", &["--protocol", "tcp", "--port", "8080", "--source-group", "web"]));
    let message = instance.fails(65, &["group", "delete", "web"]);
    assert!(message.contains("error[DependencyViolation]") && message.contains(rule.trim()), "{message}");
    assert!(message.contains("help: "), "{message}");
    instance.succeeds(&["rule", "revoke", rule.trim()]);
    instance.succeeds(&["group", "delete", "web"]);
    assert!(instance.fails(65, &["group", "delete", "default"]).contains("error[CannotDelete]"));
    assert!(instance.fails(65, &["group", "delete", "web"]).contains("error[InvalidGroup.NotFound]"));
    assert!(instance.fails(65, &["group", "show", "sg-12"]).contains("error[InvalidGroupId.Malformed]"));
}

#[test]
fn members_are_declared_and_taken_out_again() {
    let instance = Instance::with_groups();
    instance.succeeds(&["group", "add-member", "web", "10.0.1.10/32", "2001:db8:1::10/128"]);
    let members = |instance: &Instance| {
        instance.json(&["group", "show", "web"])["SecurityGroups"][0]["Members"].clone()
    };
    assert_eq!(members(&instance), json!(["10.0.1.10/32", "2001:db8:1::10/128"]));
    instance.fails(65, &["group", "add-member", "web", "10.0.1.11/32", "10.0.1.10/32"]);
    instance.fails(65, &["group", "add-member", "web", "10.0.1.11"]);
    instance.fails(65, &["group", "remove-member", "web", "10.0.1.10/32", "10.0.1.11/32"]);
    instance.fails(65, &["group", "add-member", "nonesuch", "10.0.1.11/32"]);
    instance.succeeds(&["group", "remove-member", "web", "10.0.1.10/32"]);
    assert_eq!(members(&instance), json!(["2001:db8:1::10/128"]));
}
