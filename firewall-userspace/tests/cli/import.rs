//! Import from AWS and Terraform.

use std::fs;

use serde_json::Value;

use crate::instance::{Instance, text};

const GROUPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/aws/security-groups.json");
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/aws/security-group-rules.json");
const STATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/terraform/state.json");

#[test]
fn a_policy_file_goes_to_stdout_and_what_is_left_out_to_stderr() {
    let instance = Instance::new();
    let output = instance.run(&["import", "aws", GROUPS, RULES, "--interface", "eth1=lb,app"]);
    assert_eq!(output.status.code(), Some(0));
    let policy = text(&output.stdout);
    assert!(policy.starts_with("version: 1\n"), "{policy}");
    assert!(policy.ends_with("interfaces:\n  - name: eth1\n    groups: [lb, app]\n"), "{policy}");
    let messages = text(&output.stderr);
    assert!(messages.contains("not carried over: ") && messages.contains("of a peered VPC"), "{messages}");
    assert!(messages.contains("SecurityGroups[].VpcId"), "{messages}");
    let quiet = instance.run(&["-q", "import", "aws", GROUPS, RULES]);
    assert_eq!((quiet.status.code(), text(&quiet.stderr)), (Some(0), String::new()));
}

#[test]
fn a_policy_file_is_written_where_it_is_wanted() {
    let (instance, directory) = (Instance::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("policy.yaml");
    let path = path.to_str().unwrap();
    assert_eq!(instance.succeeds(&["import", "terraform", STATE, "--out", path]), "");
    assert_eq!(fs::read_to_string(path).unwrap(), instance.succeeds(&["import", "terraform", STATE]));
    let json: Value = instance.json(&["import", "terraform", STATE]);
    assert_eq!(json["groups"][0]["name"], "db-0");
}

#[test]
fn strict_fails_if_a_rule_is_left_out_but_not_for_what_no_host_has() {
    let (instance, directory) = (Instance::new(), tempfile::tempdir().unwrap());
    let path = directory.path().join("policy.yaml");
    let message = instance.fails(65, &["import", "aws", GROUPS, "--strict", "--out", path.to_str().unwrap()]);
    assert!(message.contains("error: not everything is carried over: 3 left out"), "{message}");
    assert!(!path.exists());
    instance.succeeds(&["import", "terraform", STATE, "--strict"]);
}

#[test]
fn what_cannot_be_imported_is_refused_with_what_to_do() {
    let instance = Instance::new();
    let cases: [(&[&str], &str); 5] = [
        (&["aws", STATE], "help: `sgfw import aws` reads what the AWS CLI prints"),
        (&["aws", RULES], "help: add the output of `aws ec2 describe-security-groups`"),
        (&["aws", GROUPS, GROUPS], "help: give one of the two"),
        (&["aws", GROUPS, "--interface", "eth1=nonesuch"], "help: there are: default, lb, app"),
        (&["aws", GROUPS, "--vpc", "vpc-1"], "help: there are: vpc-0a1b2c3d4e5f60718"),
    ];
    for (arguments, help) in cases {
        let message = instance.fails(65, &[&["import"], arguments].concat());
        assert!(message.contains(help), "{arguments:?}: {message}");
    }
    let message = instance.fails(65, &["import", "aws", "/nonexistent"]);
    assert!(message.contains("error: cannot read /nonexistent: No such file"), "{message}");
    instance.fails(64, &["import", "aws", GROUPS, "--interface", "eth1"]);
}

#[test]
fn what_is_stored_is_exported_for_aws_and_terraform_and_imported_again() {
    let (instance, directory) = (Instance::with_groups(), tempfile::tempdir().unwrap());
    let path = directory.path().join("groups.json");
    fs::write(&path, instance.succeeds(&["export", "--format", "aws"])).unwrap();
    let imported = instance.succeeds(&["import", "aws", path.to_str().unwrap(), "--strict"]);
    let stored = instance.succeeds(&["export", "--format", "native"]);
    let groups = |policy: &str| {
        policy.split_once("groups:").unwrap().1.split("prefix_lists:").next().map(str::to_owned)
    };
    assert_eq!(groups(&imported).unwrap().trim_end(), groups(&stored).unwrap().trim_end());
    let configuration = instance.succeeds(&["export", "--format", "terraform"]);
    assert!(configuration.contains("resource \"aws_security_group\" \"web\" {"), "{configuration}");
    instance.fails(64, &["export", "--format", "nft", "-f", "toml"]);
}
