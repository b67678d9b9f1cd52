//! Against what the AWS CLI prints, and back.

use std::collections::BTreeSet;

use firewall_common::abi::Direction;
use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::select;

use super::{ListEntries, read, write};
use crate::document::write_yaml;
use crate::interchange::{Cause, ImportError, Imported, Source};
use crate::model::{
    AddressFamily, Document, DocumentGroup, DocumentPeer, DocumentPrefixList, DocumentRule, GroupReference,
    PrefixListEntry, PrefixListReference, Tags,
};

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
    crate::apply::with_sources(&error)
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
    fn any_document_reads_back_as_it_was_written(document in document()) {
        let exported = write(&document);
        let again = read_text(&exported.text).unwrap();
        prop_assert_eq!(again.not_carried_over, []);
        prop_assert_eq!(in_one_order(again.document), in_one_order(document));
    }
}

/// Rules of a group without identifier come back in the order of their services.
fn in_one_order(mut document: Document) -> Document {
    for group in document.groups.iter_mut().flatten() {
        group.rules.sort_by_key(|rule| format!("{rule:?}"));
    }
    document
}

/// A document of three groups and two prefix lists that refer to each other.
fn document() -> impl Strategy<Value = Document> {
    let groups = [group("web", 1), group("app tier", 2), group("default", 3)];
    (groups, prefix_lists()).prop_map(|(groups, lists)| Document {
        groups: Some(groups.into()),
        prefix_lists: Some(lists),
        interfaces: None,
    })
}

fn group(name: &'static str, number: u64) -> impl Strategy<Value = DocumentGroup> {
    let members = proptest::collection::btree_set(select(prefixes()), 0..3);
    (any::<bool>(), tags(), members, proptest::collection::vec(rule(), 0..8)).prop_map(
        move |(has_id, tags, members, rules)| DocumentGroup {
            id: has_id.then(|| format!("sg-{number:017x}").parse().unwrap()),
            name: name.parse().unwrap(),
            description: "what it is for".parse().unwrap(),
            tags,
            members,
            rules: unique(rules, has_id.then_some(number)),
        },
    )
}

/// Rules of different properties. Where the group has an identifier they have some, and tags.
fn unique(rules: Vec<DocumentRule>, group: Option<u64>) -> Vec<DocumentRule> {
    let mut known = BTreeSet::new();
    let mut rules: Vec<DocumentRule> = rules
        .into_iter()
        .filter(|rule| known.insert(format!("{:?} {:?} {:?}", rule.direction, rule.service, rule.peer)))
        .collect();
    for (index, rule) in rules.iter_mut().enumerate() {
        match group {
            Some(group) => rule.id = Some(format!("sgr-{group:08x}{index:09x}").parse().unwrap()),
            None => rule.tags = Tags::default(),
        }
    }
    rules
}

fn rule() -> impl Strategy<Value = DocumentRule> {
    let direction = select(vec![Direction::Ingress, Direction::Egress]);
    let service = select(vec![
        ("-1", -1, -1),
        ("tcp", 22, 22),
        ("tcp", 0, 65535),
        ("udp", 5000, 6000),
        ("icmp", -1, -1),
        ("icmp", 3, -1),
        ("icmp", 3, 4),
        ("icmpv6", 128, 0),
        ("47", -1, -1),
    ]);
    let description = select(vec![None, Some("a rule; of $5 & {more}")]);
    (direction, service, peer(), description, tags()).prop_map(
        |(direction, (protocol, from, to), peer, description, tags)| DocumentRule {
            id: None,
            direction,
            service: crate::interchange::ports::service(protocol, Some(from), Some(to)).unwrap(),
            peer,
            description: description.map(|text| text.parse().unwrap()),
            tags,
        },
    )
}

fn peer() -> impl Strategy<Value = DocumentPeer> {
    let group = |name: &str| DocumentPeer::Group(GroupReference::Name(name.parse().unwrap()));
    let list = |name: &str| DocumentPeer::PrefixList(PrefixListReference::Name(name.parse().unwrap()));
    let named = vec![group("web"), group("app tier"), group("default"), list("offices"), list("büro \"6\"")];
    prop_oneof![select(prefixes()).prop_map(DocumentPeer::Cidr), select(named)]
}

fn prefix_lists() -> impl Strategy<Value = Vec<DocumentPrefixList>> {
    (any::<bool>(), tags()).prop_map(|(has_id, tags)| {
        let list = |name: &str, family, entries: &[&str]| DocumentPrefixList {
            id: has_id.then(|| format!("pl-{:017x}", entries.len()).parse().unwrap()),
            name: name.parse().unwrap(),
            family,
            max_entries: 7,
            tags: tags.clone(),
            entries: entries
                .iter()
                .map(|entry| PrefixListEntry { prefix: entry.parse().unwrap(), description: None })
                .collect(),
        };
        vec![
            list("offices", AddressFamily::Ipv4, &["203.0.113.0/24", "198.51.100.7/32"]),
            list("büro \"6\"", AddressFamily::Ipv6, &["2001:db8::/32"]),
        ]
    })
}

fn prefixes() -> Vec<IpNet> {
    ["0.0.0.0/0", "::/0", "10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
        .map(|text| text.parse().unwrap())
        .into()
}

fn tags() -> impl Strategy<Value = Tags> {
    proptest::collection::btree_map(select(vec!["Name", "team", "größe"]), select(vec!["", "a b"]), 0..3)
        .prop_map(|pairs| {
            let mut tags = Tags::default();
            tags.set(pairs.into_iter().map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap())))
                .unwrap();
            tags
        })
}
