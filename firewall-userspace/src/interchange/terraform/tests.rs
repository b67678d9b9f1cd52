//! Against what Terraform 1.11 and the provider hashicorp/aws 5.100 print, and back.

use serde_json::{Value, json};

use super::{read, write};
use crate::document::{self, Input, write_yaml};
use crate::interchange::{Cause, ImportError, Imported, Source};
use crate::model::Document;

const STATE: &str = include_str!("../../../tests/fixtures/terraform/state.json");
const RAW_STATE: &str = include_str!("../../../tests/fixtures/terraform/terraform.tfstate");
const PLAN_TO_CREATE: &str = include_str!("../../../tests/fixtures/terraform/plan-create.json");
const PLAN_TO_CHANGE: &str = include_str!("../../../tests/fixtures/terraform/plan-change.json");
const PLAN_OF_EXPORT: &str = include_str!("../../../tests/fixtures/export/plan.json");

fn read_text(text: &str) -> Result<Imported, ImportError> {
    read(&[Source { name: "x".to_owned(), text: text.to_owned() }], None)
}

fn yaml(text: &str) -> String {
    write_yaml(&read_text(text).unwrap().document)
}

/// What was not carried over and says something about traffic.
fn losses(imported: &Imported) -> Vec<String> {
    let losses = imported.not_carried_over.iter().filter(|omission| !omission.is_note());
    losses.map(ToString::to_string).collect()
}

/// A state with these resources, each by its type, its attributes, and the name `r`.
fn state(resources: &[(&str, Value)]) -> String {
    let resources: Vec<Value> = resources
        .iter()
        .map(|(kind, values)| {
            json!({ "address": format!("{kind}.r"), "mode": "managed", "type": kind, "name": "r", "values": values })
        })
        .collect();
    json!({ "format_version": "1.0", "values": { "root_module": { "resources": resources } } }).to_string()
}

#[test]
fn a_state_is_read_with_the_rules_of_every_kind_of_resource() {
    assert_eq!(yaml(STATE), include_str!("../../../tests/fixtures/terraform/state.yaml"));
    assert_eq!(losses(&read_text(STATE).unwrap()), [""; 0]);
}

#[test]
fn a_raw_state_says_the_same() {
    assert_eq!(yaml(RAW_STATE), yaml(STATE));
}

#[test]
fn what_a_plan_is_to_create_is_known_by_the_expressions_of_its_configuration() {
    assert_eq!(yaml(PLAN_TO_CREATE), include_str!("../../../tests/fixtures/terraform/plan-create.yaml"));
    let imported = read_text(PLAN_TO_CREATE).unwrap();
    assert_eq!(losses(&imported), [""; 0]);
    let name = Cause::NameUnknownUntilApply { new_name: "metrics".to_owned() };
    assert!(imported.not_carried_over.iter().any(|omission| omission.cause == name));
}

#[test]
fn what_a_plan_is_to_change_or_delete_is_as_after_its_apply() {
    assert_eq!(yaml(PLAN_TO_CHANGE), include_str!("../../../tests/fixtures/terraform/plan-change.yaml"));
    assert!(yaml(STATE).contains("8081") && !yaml(PLAN_TO_CHANGE).contains("8081"));
}

#[test]
fn what_the_configuration_does_not_tell_is_listed() {
    let mut plan: Value = serde_json::from_str(PLAN_TO_CREATE).unwrap();
    plan["configuration"]["root_module"]["module_calls"]["app"]["expressions"] = json!({});
    plan["configuration"]["root_module"]["resources"] = json!([{
        "address": "aws_security_group_rule.replication",
        "expressions": { "security_group_id": { "references": ["local.id"] } },
    }]);
    let imported = read_text(&plan.to_string()).unwrap();
    let losses = losses(&imported);
    let expected = [
        "x: aws_security_group_rule.replication.security_group_id: known only after apply",
        "x: aws_security_group_rule.db[0].security_group_id: known only after apply",
        "x: module.app.aws_vpc_security_group_ingress_rule.http[\"8080\"].referenced_security_group_id: known only \
         after apply",
    ];
    for expected in expected {
        assert!(losses.iter().any(|loss| loss == expected), "{expected} is not in {losses:#?}");
    }
    assert!(!write_yaml(&imported.document).contains("8080"));
}

#[test]
fn groups_of_other_accounts_and_attachments_are_listed() {
    let group = json!({
        "id": "sg-00000000000000001", "name": "web", "owner_id": "1",
        "ingress": [{
            "protocol": "tcp", "from_port": 1, "to_port": 2,
            "security_groups": ["1/sg-00000000000000001", "2/sg-00000000000000002"],
        }],
    });
    let attachment = json!({ "security_group_id": "sg-00000000000000001" });
    let text = state(&[("aws_security_group", group), ("aws_network_interface_sg_attachment", attachment)]);
    let imported = read_text(&text).unwrap();
    assert_eq!(
        losses(&imported),
        [
            "x: aws_network_interface_sg_attachment.r: attaches a group in AWS; here an interface carries groups",
            "x: aws_security_group.r.ingress[0]: the peer is the group sg-00000000000000002 of the account 2",
        ]
    );
    assert_eq!(imported.document.groups.unwrap()[0].rules.len(), 1);
}

#[test]
fn entries_of_a_list_may_have_their_own_resources() {
    let list = json!({
        "id": "pl-00000000000000001", "name": "offices", "address_family": "IPv4", "max_entries": 3,
        "entry": [{ "cidr": "10.0.0.0/8", "description": "" }],
    });
    let entry = |cidr: &str, list: &str| json!({ "cidr": cidr, "prefix_list_id": list });
    let text = state(&[
        ("aws_ec2_managed_prefix_list", list),
        ("aws_ec2_managed_prefix_list_entry", entry("10.0.0.0/8", "pl-00000000000000001")),
        ("aws_ec2_managed_prefix_list_entry", entry("192.0.2.0/24", "pl-00000000000000001")),
        ("aws_ec2_managed_prefix_list_entry", entry("192.0.2.0/24", "pl-00000000000000009")),
    ]);
    let imported = read_text(&text).unwrap();
    let lists = imported.document.prefix_lists.as_ref().unwrap();
    let entries: Vec<String> = lists[0].entries.iter().map(|entry| entry.prefix.to_string()).collect();
    assert_eq!(entries, ["10.0.0.0/8", "192.0.2.0/24"]);
    assert_eq!(losses(&imported).len(), 1);
}

#[test]
fn errors_say_which_attribute_of_which_resource() {
    let error = |values: Value| {
        crate::operations::with_sources(&read_text(&state(&[("aws_security_group", values)])).unwrap_err())
    };
    assert_eq!(
        error(json!({ "name": "web", "ingress": [{ "protocol": "tcp", "from_port": "22" }] })),
        "x: aws_security_group.r.ingress[0].from_port: invalid type: string \"22\", expected i64"
    );
    assert_eq!(
        error(json!({ "name": "web", "ingress": [{ "protocol": "-1", "cidr_blocks": ["10.0.0.1"] }] })),
        "x: aws_security_group.r.ingress[0].cidr_blocks[0]: CIDR block 10.0.0.1 is malformed"
    );
    assert_eq!(
        error(json!({ "name": "it's" })),
        "x: aws_security_group.r.name: invalid security group name \"it's\""
    );
    let old = read_text(r#"{"version": 3, "resources": []}"#).unwrap_err();
    assert!(matches!(old, ImportError::StateVersion { version: 3, .. }), "{old}");
    let other = read_text(r#"{"SecurityGroups": []}"#).unwrap_err();
    assert!(matches!(other, ImportError::OtherJson { .. }), "{other}");
}

fn exported_document() -> Document {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/export/document.yaml");
    document::read(&[Input::Path(path.into())]).unwrap()
}

#[test]
fn a_document_becomes_a_configuration() {
    let exported = write(&exported_document());
    assert_eq!(exported.text, include_str!("../../../tests/fixtures/export/main.tf"));
    let omissions: Vec<String> = exported.not_carried_over.iter().map(ToString::to_string).collect();
    assert_eq!(
        omissions,
        [
            "group web tier: members: Terraform has no declared members",
            "interface eth1: Terraform attaches groups to network interfaces of instances",
            "interface br-lan.7: Terraform attaches groups to network interfaces of instances",
        ]
    );
}

/// `plan.json` is what Terraform makes of `main.tf`.
#[test]
fn the_plan_of_the_configuration_is_the_document() {
    let planned = read_text(PLAN_OF_EXPORT).unwrap();
    assert_eq!(losses(&planned), [""; 0]);
    let mut document = exported_document();
    document.interfaces = None;
    document.groups.iter_mut().flatten().for_each(|group| group.members.clear());
    assert_eq!(in_one_order(planned.document), in_one_order(document));
}

/// Terraform has its own order; the description of a default group is not in its hands.
fn in_one_order(mut document: Document) -> Document {
    let groups = document.groups.as_mut().unwrap();
    groups.sort_by_key(|group| group.name.clone());
    for group in groups {
        group.rules.sort_by_key(|rule| format!("{rule:?}"));
        if group.name.is_default() {
            group.description = "".parse().unwrap();
        }
    }
    document
}
