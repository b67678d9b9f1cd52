//! Tags and ARNs of groups, rules and prefix lists.

use serde_json::{Value, json};

use crate::instance::{Instance, authorize};

const SSH: [&str; 6] = ["--protocol", "tcp", "--port", "22", "--cidr", "203.0.113.5/32"];

fn group(instance: &Instance, reference: &str) -> Value {
    instance.json(&["group", "show", reference])["SecurityGroups"][0].clone()
}

#[test]
fn every_kind_of_resource_carries_tags() {
    let instance = Instance::with_groups();
    let rule = instance.succeeds(&authorize("app", &SSH));
    let list = instance.succeeds(&[
        "prefix-list",
        "create",
        "offices",
        "--address-family",
        "ipv4",
        "--max-entries",
        "2",
        "--tag",
        "owner=net",
    ]);
    instance.succeeds(&["tag", "set", "app", "env=production", "Name=app"]);
    instance.succeeds(&["tag", "set", rule.trim(), "ticket=NET-7"]);
    instance.succeeds(&["tag", "set", list.trim(), "owner=ops", "empty="]);
    let tag = |key: &str, value: &str| json!({ "Key": key, "Value": value });
    assert_eq!(group(&instance, "app")["Tags"], json!([tag("Name", "app"), tag("env", "production")]));
    let rules =
        instance.json(&["rule", "list", "app", "--filter", "tag:ticket=NET-7"])["SecurityGroupRules"].clone();
    assert_eq!(rules[0]["Tags"], json!([tag("ticket", "NET-7")]));
    let list = &instance.json(&["prefix-list", "show", "offices"])["PrefixLists"][0];
    assert_eq!(list["Tags"], json!([tag("empty", ""), tag("owner", "ops")]));
    assert!(instance.succeeds(&["group", "show", "app"]).contains("Tags:        Name=app, env=production\n"));

    let all = instance.json(&["tag", "list"])["Tags"].as_array().unwrap().clone();
    assert_eq!(all.len(), 5);
    assert!(all.contains(&json!({
        "Key": "ticket", "Value": "NET-7", "ResourceId": rule.trim(), "ResourceType": "security-group-rule",
    })));
    let left = instance.json(&["tag", "remove", "app", "env", "nonesuch"]);
    assert_eq!(left["Tags"], json!([tag("Name", "app")]));
    assert_eq!(group(&instance, "app")["Tags"], json!([tag("Name", "app")]));
}

#[test]
fn tags_go_with_what_carried_them() {
    let instance = Instance::with_groups();
    let rule = instance.succeeds(&authorize("app", &[&SSH[..], &["--tag", "a=b"]].concat()));
    instance.succeeds(&["tag", "set", "app", "a=b"]);
    instance.succeeds(&["rule", "revoke", rule.trim()]);
    assert_eq!(instance.json(&["tag", "list"])["Tags"].as_array().unwrap().len(), 1);
    instance.succeeds(&["group", "delete", "app"]);
    assert_eq!(instance.json(&["tag", "list"])["Tags"], json!([]));
}

#[test]
fn invalid_tags_and_unknown_resources_are_refused() {
    let instance = Instance::with_groups();
    let cases: [(&str, &[&str]); 6] = [
        ("InvalidParameterValue", &["tag", "set", "web", "aws:x=1"]),
        ("InvalidParameterValue", &["tag", "set", "web", "good=1", "a=<b>"]),
        ("InvalidGroup.NotFound", &["tag", "set", "nonesuch", "a=b"]),
        ("InvalidSecurityGroupRuleId.NotFound", &["tag", "set", "sgr-00000000000000000", "a=b"]),
        ("InvalidSecurityGroupRuleId.Malformed", &["tag", "remove", "sgr-1", "a"]),
        ("InvalidPrefixListID.NotFound", &["tag", "remove", "pl-00000000000000000", "a"]),
    ];
    for (code, command) in cases {
        let message = instance.fails(65, command);
        assert!(
            message.contains(&format!("error[{code}]")) && message.contains("help: "),
            "{command:?}: {message}"
        );
    }
    instance.fails(64, &["tag", "set", "web", "novalue"]);
    let many: Vec<String> = (0..51).map(|number| format!("k{number}=v")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(
        instance.fails(65, &[&["tag", "set", "web"], &many[..]].concat()).contains("error[TagLimitExceeded]")
    );
}

#[test]
fn an_arn_is_shown_and_read_wherever_an_id_is() {
    let instance = Instance::with_groups();
    let list = instance.json(&[
        "prefix-list",
        "create",
        "offices",
        "--address-family",
        "ipv4",
        "--max-entries",
        "2",
    ]);
    let list_arn = list["PrefixList"]["PrefixListArn"].as_str().unwrap();
    let web = group(&instance, "web");
    let (id, arn) = (web["GroupId"].as_str().unwrap(), web["SecurityGroupArn"].as_str().unwrap());
    assert_eq!(arn, format!("arn:aws:ec2:::security-group/{id}"));
    let of_aws = format!("arn:aws:ec2:us-east-1:123456789012:security-group/{id}");
    for arn in [arn, &of_aws] {
        assert_eq!(group(&instance, arn), web);
    }
    let rule = ["--protocol", "all", "--source-group", arn, "--prefix-list", list_arn];
    let rules = instance.json(&authorize(&of_aws, &rule))["SecurityGroupRules"].clone();
    let rule = &rules[0];
    assert_eq!(rule["ReferencedGroupInfo"]["GroupId"], id);
    let rule_arn = rule["SecurityGroupRuleArn"].as_str().unwrap();
    assert_eq!(
        rule_arn,
        format!("arn:aws:ec2:::security-group-rule/{}", rule["SecurityGroupRuleId"].as_str().unwrap())
    );
    instance.succeeds(&["tag", "set", rule_arn, "a=b"]);
    instance.succeeds(&["rule", "revoke", rule_arn]);
    instance.fails(65, &["rule", "revoke", arn]);
    instance.succeeds(&["prefix-list", "show", list_arn]);
}
