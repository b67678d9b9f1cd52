//! Against what the AWS CLI prints, and back.

use proptest::prelude::*;

use super::{ListEntries, read, write};
use crate::document::tests::generated::documents;
use crate::document::write_yaml;
use crate::interchange::{Cause, ImportError, Imported, Source};
use crate::model::{Document, DocumentPeer, GroupReference, PrefixListReference, Tags};

const GROUPS: &str = include_str!("../../../tests/fixtures/aws/security-groups.json");
const RULES: &str = include_str!("../../../tests/fixtures/aws/security-group-rules.json");
const LISTS: &str = include_str!("../../../tests/fixtures/aws/managed-prefix-lists.json");
const ENTRIES: &str = include_str!("../../../tests/fixtures/aws/prefix-list-entries.json");
const S3_ENTRIES: &str = include_str!("../../../tests/fixtures/aws/s3-entries.json");
const S3: &str = "pl-63a5400a";

fn file(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn everything() -> Imported {
    let files =
        [file("groups", GROUPS), file("rules", RULES), file("lists", LISTS), file("entries", ENTRIES)];
    let s3 = ListEntries { prefix_list: S3.to_owned(), file: file("s3", S3_ENTRIES) };
    read(&files, &[s3], None).unwrap()
}

fn read_text(text: &str) -> Result<Imported, ImportError> {
    read(&[file("x", text)], &[], None)
}

fn error(text: &str) -> String {
    let error = read_text(text).unwrap_err();
    crate::operations::with_sources(&error)
}

/// What was not carried over and says something about traffic.
fn losses(imported: &Imported) -> Vec<String> {
    let losses = imported.not_carried_over.iter().filter(|omission| !omission.is_note());
    losses.map(ToString::to_string).collect()
}

#[test]
fn what_the_aws_cli_prints_is_read_as_one_policy() {
    let expected = "\
version: 1

groups:
  - name: default
    id: sg-0d0d0d0d0d0d0d0d0
    description: default VPC security group
    ingress:
      - {id: sgr-00000000000000001, protocol: all, group: default}
    egress:
      - {id: sgr-00000000000000002, protocol: all, cidr: 0.0.0.0/0}
  - name: lb
    id: sg-0a0a0a0a0a0a0a0a1
    description: load balancers
    tags: {Name: lb}
    ingress:
      - id: sgr-00000000000000003
        protocol: tcp
        ports: 443
        cidr: 0.0.0.0/0
        description: the world
        tags: {Name: https}
      - {id: sgr-00000000000000004, protocol: tcp, ports: 443, cidr: \"::/0\", description: the world}
      - {id: sgr-00000000000000005, protocol: icmp, type: 3, code: 4, cidr: 0.0.0.0/0}
      - {id: sgr-00000000000000006, protocol: tcp, ports: 22, prefix_list: offices, description: offices}
    egress:
      - {id: sgr-00000000000000007, protocol: all, cidr: 0.0.0.0/0}
  - name: app
    id: sg-0b0b0b0b0b0b0b0b2
    description: application
    ingress:
      - id: sgr-00000000000000008
        protocol: tcp
        ports: \"8080-8081\"
        group: lb
        description: from the load balancers
      - {id: sgr-0000000000000000a, protocol: 50, cidr: 192.0.2.0/24}
    egress:
      - {id: sgr-0000000000000000b, protocol: tcp, ports: 443, prefix_list: amazonaws.eu-central-1.s3}
      - {id: sgr-0000000000000000c, protocol: icmpv6, cidr: 2001:db8::/32}

prefix_lists:
  - name: amazonaws.eu-central-1.s3
    family: ipv4
    max_entries: 2
    entries:
      - {cidr: 3.5.136.0/22}
      - {cidr: 52.219.170.0/23}
  - name: offices
    id: pl-0f0f0f0f0f0f0f0f3
    family: ipv4
    max_entries: 5
    tags: {team: network}
    entries:
      - {cidr: 198.51.100.7/32}
      - {cidr: 203.0.113.0/24, description: HQ}
";
    assert_eq!(write_yaml(&everything().document), expected);
}

#[test]
fn what_a_host_cannot_have_is_listed_with_its_place() {
    let imported = everything();
    assert_eq!(
        losses(&imported),
        [
            "groups: .SecurityGroups[2].IpPermissions[0].UserIdGroupPairs[1]: the peer is the group \
             sg-0e0e0e0e0e0e0e0e4 of a peered VPC (active)",
            "rules: .SecurityGroupRules[8]: the peer is the group sg-0e0e0e0e0e0e0e0e4 of a peered VPC (active)",
        ]
    );
    let notes: Vec<String> = imported.not_carried_over.iter().map(ToString::to_string).collect();
    for expected in [
        "groups: .SecurityGroups[].VpcId: has no meaning on a host",
        "groups: .SecurityGroups[].OwnerId: has no meaning on a host",
        "lists: .PrefixLists[0]: the prefix list com.amazonaws.eu-central-1.s3 is called \
         \"amazonaws.eu-central-1.s3\" here",
        "lists: .PrefixLists[1]: prefix list of AWS that no rule refers to",
    ] {
        assert!(notes.iter().any(|note| note == expected), "{expected} is not in {notes:#?}");
    }
    assert!(notes.iter().any(|note| note.contains("\"aws:cloudformation:stack-name\"")));
}

#[test]
fn a_rule_whose_peer_nobody_describes_is_left_out_and_listed() {
    let imported = read_text(
        r#"{"SecurityGroups": [{"GroupName": "web", "OwnerId": "1", "IpPermissions": [{
            "IpProtocol": "tcp", "FromPort": 1, "ToPort": 2,
            "PrefixListIds": [{"PrefixListId": "pl-0123456789abcdef0"}],
            "UserIdGroupPairs": [
                {"GroupId": "sg-00000000000000001", "UserId": "1"},
                {"GroupId": "sg-00000000000000002", "UserId": "2"},
                {"PeeringStatus": "deleted"}
            ]}]}], "NextToken": "more", "Surprise": [1]}"#,
    )
    .unwrap();
    assert_eq!(imported.document.groups.as_ref().unwrap()[0].rules, []);
    assert_eq!(imported.document.prefix_lists, None);
    let causes: Vec<&Cause> = imported.not_carried_over.iter().map(|omission| &omission.cause).collect();
    for expected in [
        Cause::Incomplete,
        Cause::UnknownField,
        Cause::NoPeer,
        Cause::UnknownGroup { group: "sg-00000000000000001".to_owned() },
        Cause::GroupOfOtherAccount { group: "sg-00000000000000002".to_owned(), account: "2".to_owned() },
        Cause::UnknownPrefixList { list: "pl-0123456789abcdef0".to_owned() },
    ] {
        assert!(causes.contains(&&expected), "{expected} is not in {causes:#?}");
    }
}

#[test]
fn groups_of_one_name_in_two_vpcs_need_a_choice() {
    let group = |id, vpc, peer| {
        format!(
            r#"{{"GroupName": "default", "GroupId": "sg-{id:017}", "VpcId": "{vpc}", "IpPermissions": [{{
                "IpProtocol": "-1", "UserIdGroupPairs": [{{"GroupId": "sg-{peer:017}"}}]}}]}}"#
        )
    };
    let text = format!(r#"{{"SecurityGroups": [{}, {}]}}"#, group(1, "vpc-a", 1), group(2, "vpc-b", 1));
    let files = [file("x", &text)];
    let error = read(&files, &[], None).unwrap_err();
    assert!(
        matches!(&error, ImportError::SameName { vpcs, .. } if vpcs[..] == ["vpc-a", "vpc-b"]),
        "{error}"
    );
    let error = read(&files, &[], Some("vpc-c")).unwrap_err();
    assert!(
        matches!(&error, ImportError::UnknownVpc { known, .. } if known[..] == ["vpc-a", "vpc-b"]),
        "{error}"
    );
    let chosen = read(&files, &[], Some("vpc-a")).unwrap();
    assert_eq!(chosen.document.groups.as_ref().unwrap().len(), 1);
    assert_eq!(losses(&chosen), [""; 0]);
    let chosen = read(&files, &[], Some("vpc-b")).unwrap();
    let expected = "x: .SecurityGroups[1].IpPermissions[0].UserIdGroupPairs[0]: the peer is the group \
                    sg-00000000000000001 of another VPC";
    assert_eq!(losses(&chosen), [expected]);
}

#[test]
fn entries_without_a_list_that_they_can_belong_to_are_refused() {
    let groups_and = |more: &[Source], entries: &[ListEntries]| {
        read(&[&[file("groups", GROUPS)], more].concat(), entries, None)
    };
    let error = groups_and(&[file("entries", ENTRIES)], &[]).unwrap_err();
    assert!(matches!(error, ImportError::EntriesOfUnknownList { .. }), "{error}");
    let both = [file("lists", LISTS), file("entries", ENTRIES), file("s3", S3_ENTRIES)];
    let error = groups_and(&both, &[]).unwrap_err();
    assert!(matches!(error, ImportError::EntriesOfUnknownList { .. }), "{error}");
    let of_none = ListEntries { prefix_list: S3.to_owned(), file: file("s3", S3_ENTRIES) };
    let error = groups_and(&[], &[of_none]).unwrap_err();
    assert!(matches!(error, ImportError::UndescribedList { .. }), "{error}");
}

#[test]
fn rules_need_their_groups_and_a_group_is_described_once() {
    let error = read(&[file("rules", RULES)], &[], None).unwrap_err();
    assert!(matches!(error, ImportError::NoGroups), "{error}");
    let error = read(&[file("a", GROUPS), file("b", GROUPS)], &[], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sg-0d0d0d0d0d0d0d0d0 is described twice: a: .SecurityGroups[0] and b: .SecurityGroups[0]"
    );
}

#[test]
fn errors_say_where_and_what_was_expected() {
    let of_permission = |permission: &str| {
        error(&format!(
            "{{\"SecurityGroups\": [{{\"GroupName\": \"web\",\n\"IpPermissions\": [{permission}]}}]}}"
        ))
    };
    assert_eq!(
        of_permission(r#"{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.1"}]}"#),
        "x: .SecurityGroups[0].IpPermissions[0].IpRanges[0].CidrIp: CIDR block 10.0.0.1 is malformed at line 2 \
         column 74"
    );
    assert_eq!(
        of_permission(r#"{"IpProtocol": "tcp", "FromPort": "22", "ToPort": 22}"#),
        "x: .SecurityGroups[0].IpPermissions[0].FromPort: invalid type: string \"22\", expected i64 at line 2 column 56"
    );
    assert_eq!(
        of_permission(r#"{"IpProtocol": "tcp", "FromPort": 22}"#),
        "x: .SecurityGroups[0].IpPermissions[0]: protocol tcp needs a port or a range of ports"
    );
    assert!(error("{\"SecurityGroups\": [").contains("EOF while parsing a list at line 1 column 20"));
    assert!(error(r#"{"SecurityGroups": [{}]}"#).contains("missing field `GroupName`"));
    assert!(error(r#"{"SecurityGroups": []} []"#).contains("trailing characters at line 1"));
    assert!(error(r#"{"format_version": "1.0"}"#).contains("the top-level keys are format_version"));
    let malformed = r#"{"SecurityGroups": [{"GroupName": "web", "GroupId": "sg-nonsense"}]}"#;
    assert_eq!(error(malformed), "x: .SecurityGroups[0].GroupId: malformed id \"sg-nonsense\"");
}

#[test]
fn an_identifier_of_the_short_form_is_replaced_and_still_referred_to() {
    let imported = read_text(
        r#"{"SecurityGroups": [{"GroupName": "web", "GroupId": "sg-1a2b3c4d", "IpPermissions": [{
            "IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1a2b3c4d"}]}]}]}"#,
    )
    .unwrap();
    let group = &imported.document.groups.unwrap()[0];
    assert_eq!(group.id, None);
    assert_eq!(group.rules[0].peer, DocumentPeer::Group(GroupReference::Name("web".parse().unwrap())));
    assert_eq!(imported.not_carried_over[0].cause, Cause::ShortId { id: "sg-1a2b3c4d".to_owned() });
}

#[test]
fn what_was_imported_is_exported_and_imported_again() {
    let imported = everything();
    let exported = write(&imported.document);
    assert_eq!(exported.not_carried_over, []);
    let again = read_text(&exported.text).unwrap();
    assert_eq!(again.not_carried_over, []);
    assert_eq!(again.document, imported.document);
}

proptest! {
    #[test]
    fn any_document_reads_back_as_it_was_written(document in documents()) {
        let exported = write(&document);
        let again = read_text(&exported.text).unwrap();
        prop_assert_eq!(normal(again.document), normal(document));
    }
}

/// What this form has no place for taken out, and in one order: rules of a group without identifier come back in that of
/// their services.
fn normal(mut document: Document) -> Document {
    let all = document.clone();
    let is_described = |peer: &DocumentPeer| match peer {
        DocumentPeer::Cidr(_) => true,
        DocumentPeer::Group(group) => matches!(group, GroupReference::Name(_)),
        DocumentPeer::PrefixList(list) => all.prefix_lists.iter().flatten().any(|known| match list {
            PrefixListReference::Name(name) => known.name == *name,
            PrefixListReference::Id(_) => false,
        }),
    };
    document.interfaces = None;
    for group in document.groups.iter_mut().flatten() {
        group.rules.retain(|rule| is_described(&rule.peer));
        for rule in &mut group.rules {
            rule.description = rule.description.take().filter(|text| !text.as_str().is_empty());
            if group.id.is_none() {
                (rule.id, rule.tags) = (None, Tags::default());
            }
        }
        group.rules.sort_by_key(|rule| format!("{rule:?}"));
    }
    let entries = document.prefix_lists.iter_mut().flatten().flat_map(|list| &mut list.entries);
    entries.for_each(|entry| {
        entry.description = entry.description.take().filter(|text| !text.as_str().is_empty());
    });
    // A section without anything in it is none.
    document.groups = document.groups.filter(|groups| !groups.is_empty());
    document.prefix_lists = document.prefix_lists.filter(|lists| !lists.is_empty());
    document
}
