use super::write;
use crate::document::{Input, read};
use crate::interchange::Exported;
use crate::model::Document;

fn document() -> Document {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/export/document.yaml");
    read(&[Input::Path(path.into())]).unwrap()
}

fn omissions(exported: &Exported) -> Vec<String> {
    exported.not_carried_over.iter().map(ToString::to_string).collect()
}

/// `nft -c -f` accepts the ruleset, and the namespace tests load it.
#[test]
fn a_document_becomes_a_ruleset() {
    assert_eq!(write(&document()).text, include_str!("../../../tests/fixtures/export/ruleset.nft"));
}

#[test]
fn groups_of_interfaces_as_peers_are_listed() {
    let carried = "the peer is a group that interfaces carry; the ruleset has its declared members alone, not the \
                   interfaces' addresses";
    let expected = ["eth1: peer web tier", "br-lan.7: peer default", "br-lan.7: peer web tier"];
    assert_eq!(omissions(&write(&document())), expected.map(|place| format!("interface {place}: {carried}")));
}

#[test]
fn a_group_that_no_interface_carries_is_listed_and_not_in_the_ruleset() {
    let document = Document { interfaces: None, ..document() };
    let exported = write(&document);
    assert!(!exported.text.contains("443"), "{}", exported.text);
    let not_carried = |name: &str| {
        format!("group {name}: no interface carries the group, so the ruleset does not have its rules")
    };
    assert_eq!(omissions(&exported), ["web tier", "web-tier", "default"].map(not_carried));
}

#[test]
fn an_interface_whose_name_nftables_takes_for_a_pattern_is_listed() {
    let mut document = document();
    document.interfaces.as_mut().unwrap()[0].name = "eth*".to_owned();
    let exported = write(&document);
    assert!(!exported.text.contains("\"eth"), "{}", exported.text);
    assert!(
        omissions(&exported)
            .contains(&"interface eth*: name: nftables cannot name this interface".to_owned())
    );
}
