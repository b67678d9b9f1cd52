use proptest::prelude::*;

use super::*;
use crate::model::{
    Document, IngressHook, Interface, InterfaceId, InterfaceOptions, ModelError, RuleId, SecurityGroup,
    Timeout,
};
use crate::plan::{Change, Changes, strategy};

/// A document, written as in a file.
fn document(text: &str) -> Document {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    std::fs::write(&path, format!("version: 1\n{text}")).unwrap();
    crate::document::read(&[path.into()]).unwrap_or_else(|errors| {
        panic!("{}", errors.render(crate::document::Color::No));
    })
}

fn empty() -> State {
    State { groups: vec![SecurityGroup::default_group().unwrap()], ..State::default() }
}

/// What a document makes of a new store.
fn stored(text: &str) -> State {
    desired(&empty(), &document(text)).unwrap()
}

fn interface(state: &State, name: &str, group: &str) -> Interface {
    Interface {
        id: InterfaceId::random().unwrap(),
        name: name.to_owned(),
        slot: 0,
        zone: 1,
        ingress_hook: IngressHook::Auto,
        log_drops: false,
        groups: vec![group_of(state, group).id],
        options: InterfaceOptions::default(),
    }
}

fn group_of<'s>(state: &'s State, name: &str) -> &'s SecurityGroup {
    state.groups.iter().find(|group| group.name.as_str() == name).unwrap()
}

fn changes(state: &State, text: &str) -> Changes {
    Changes::between(state, &desired(state, &document(text)).unwrap())
}

fn errors(state: &State, text: &str) -> Vec<String> {
    desired(state, &document(text)).unwrap_err().0.iter().map(ToString::to_string).collect()
}

/// `+` added, `~` changed, `-` deleted, in the order of the list.
fn signs<'c, T: 'c>(changes: impl IntoIterator<Item = &'c Change<T>>) -> String {
    let sign = |change: &Change<T>| match change {
        Change::Add(_) => '+',
        Change::Update { .. } => '~',
        Change::Delete(_) => '-',
    };
    changes.into_iter().map(sign).collect()
}

const WEB: &str =
    "groups: [{name: web, description: web tier, ingress: [{protocol: tcp, ports: 443, cidr: 0.0.0.0/0}]}]";

proptest! {
    #[test]
    fn what_is_as_a_document_says_needs_no_change(first in strategy::document(), second in strategy::document()) {
        let state = desired(&empty(), &first).unwrap();
        // What the document does not list may be in use by the group `default`, if it does not list that either.
        let Ok(state) = desired(&state, &second) else { return Ok(()) };
        let again = desired(&state, &second).unwrap();
        prop_assert!(Changes::between(&state, &again).is_empty());
    }
}

#[test]
fn sections_that_a_document_lacks_are_left_alone() {
    let state = stored(&format!("{WEB}\nprefix_lists: [{{name: office, family: ipv4, max_entries: 1}}]"));
    assert!(changes(&state, "").is_empty());
    assert!(changes(&state, WEB).is_empty());
    let gone = changes(&state, "prefix_lists: []");
    assert_eq!((signs(&gone.prefix_lists).as_str(), gone.groups.len()), ("-", 0));
}

#[test]
fn groups_that_are_not_listed_are_deleted_but_for_the_default_group() {
    let gone = changes(&stored(WEB), "groups: []");
    assert_eq!(signs(gone.groups.iter().map(|change| &change.group)), "-");
    assert_eq!(gone.groups[0].group.newest().name.as_str(), "web");
    assert_eq!(gone.rule_count().deleted, 3);
}

#[test]
fn the_default_group_of_another_store_is_that_of_this_one() {
    let text = "groups: [{name: default, id: sg-0123456789abcdef0, description: default VPC security group,
                 ingress: [{protocol: all, group: sg-0123456789abcdef0}]}]";
    assert!(changes(&empty(), text).is_empty());
}

#[test]
fn a_rule_is_the_same_by_its_properties_and_by_its_id() {
    let state = stored(WEB);
    let id = group_of(&state, "web").rules.iter().find(|rule| rule.direction.name() == "ingress").unwrap().id;
    let with = |rule: &str| {
        changes(&state, &format!("groups: [{{name: web, description: web tier, ingress: [{rule}]}}]"))
    };
    let described = with("{protocol: tcp, ports: 443, cidr: 0.0.0.0/0, description: the world}");
    assert_eq!(signs(&described.groups[0].rules), "~");
    let other = with("{protocol: tcp, ports: 8443, cidr: 0.0.0.0/0}");
    assert_eq!(signs(&other.groups[0].rules), "-+");
    let modified = with(&format!("{{id: {id}, protocol: tcp, ports: 8443, cidr: 10.0.0.0/8}}"));
    assert_eq!(signs(&modified.groups[0].rules), "~");
    assert_eq!(modified.groups[0].rules[0].after().unwrap().id, id);
    // AWS: the kind of the peer cannot change, so this is another rule.
    let replaced = with(&format!("{{id: {id}, protocol: tcp, ports: 443, cidr: '::/0'}}"));
    assert_eq!(signs(&replaced.groups[0].rules), "-+");
    assert_ne!(replaced.groups[0].rules[1].after().unwrap().id, id);
}

#[test]
fn ids_that_are_not_known_are_taken_over() {
    let text = "groups: [{name: db, id: sg-00000000000000abc, description: x, egress: [],
                 ingress: [{id: sgr-00000000000000abc, protocol: all, group: sg-00000000000000abc}]}]";
    let state = stored(text);
    let group = group_of(&state, "db");
    assert_eq!(group.id, "sg-00000000000000abc".parse().unwrap());
    assert_eq!(group.rules[0].id, "sgr-00000000000000abc".parse::<RuleId>().unwrap());
    assert!(changes(&state, text).is_empty());
}

#[test]
fn names_and_descriptions_of_groups_cannot_change() {
    let state = stored(WEB);
    let id = group_of(&state, "web").id;
    assert_eq!(
        errors(&state, &format!("groups: [{{name: www, id: {id}, description: web tier}}]")),
        ["group web cannot be renamed to www: the name of a security group cannot be changed"]
    );
    assert_eq!(
        errors(&state, "groups: [{name: Web, description: other}]"),
        [
            "group web is described as \"web tier\", not \"other\": the description of a security group cannot be changed"
        ]
    );
    let renamed = changes(&state, "groups: [{name: www, description: web tier}]");
    assert_eq!(signs(renamed.groups.iter().map(|change| &change.group)), "-+");
}

#[test]
fn a_name_that_another_id_has_is_not_free() {
    let error = desired(
        &stored(WEB),
        &document("groups: [{name: web, id: sg-00000000000000abc, description: web tier}]"),
    );
    let [PlanError::Group { source: ModelError::DuplicateGroup { .. }, .. }] = &error.unwrap_err().0[..]
    else {
        panic!("another error");
    };
}

#[test]
fn a_group_that_an_interface_carries_is_not_deleted() {
    let mut state = stored(WEB);
    state.interfaces = vec![interface(&state, "eth7", "web")];
    let messages = errors(&state, "groups: []");
    assert!(messages[0].contains("interface eth7"), "{messages:?}");
    let moved = "groups: []\ninterfaces: [{name: eth7, groups: [default]}]";
    let changes = changes(&state, moved);
    assert_eq!((changes.groups.len(), signs(&changes.interfaces).as_str()), (1, "~"));
}

#[test]
fn a_group_that_the_default_group_refers_to_is_not_deleted_behind_its_back() {
    let state = stored(
        "groups:
           - {name: web, description: web tier}
           - {name: default, description: x, ingress: [{protocol: all, group: web}]}",
    );
    let messages = errors(&state, "groups: []");
    assert!(messages[0].contains("of group default"), "{messages:?}");
}

#[test]
fn a_prefix_list_that_a_rule_refers_to_is_not_deleted() {
    let list = "prefix_lists: [{name: office, family: ipv4, max_entries: 1}]";
    let group = "groups: [{name: web, description: x, ingress: [{protocol: all, prefix_list: office}]}]";
    let state = stored(&format!("{list}\n{group}"));
    let rule = &group_of(&state, "web").rules.iter().find(|rule| rule.direction.name() == "ingress").unwrap();
    let messages = errors(&state, "prefix_lists: []");
    assert!(messages[0].contains(&rule.id.to_string()), "{messages:?}");
    assert_eq!(changes(&state, "groups: []\nprefix_lists: []").rule_count().deleted, 3);
}

#[test]
fn an_interface_that_is_not_attached_is_an_error_and_one_that_is_not_listed_stays() {
    let mut state = stored(WEB);
    let mut kept = interface(&state, "eth7", "web");
    kept.options.timeouts.set(Timeout::Udp, 45).unwrap();
    state.interfaces = vec![kept];
    assert_eq!(
        errors(&state, "interfaces: [{name: eth8, groups: [web]}]"),
        ["interface eth8 is not attached, and a policy file attaches none"]
    );
    assert!(changes(&state, "interfaces: []").is_empty());
    assert!(changes(&state, "interfaces: [{name: eth7, groups: [web]}]").is_empty());
    let changed = changes(&state, "interfaces: [{name: eth7, groups: [default]}]");
    assert_eq!(changed.interfaces[0].after().unwrap().options.timeouts.get(Timeout::Udp), 45);
}

#[test]
fn entries_make_a_new_version_and_the_size_does_not() {
    let list = |size, entries: &str| {
        format!("prefix_lists: [{{name: office, family: ipv4, max_entries: {size}, entries: [{entries}]}}]")
    };
    let state = stored(&list(2, "{cidr: 10.0.0.0/8}, {cidr: 192.0.2.0/24}"));
    assert!(changes(&state, &list(2, "{cidr: 192.0.2.0/24}, {cidr: 10.0.0.0/8}")).is_empty());
    let version = |text: &str| changes(&state, text).prefix_lists[0].after().unwrap().version;
    assert_eq!(version(&list(3, "{cidr: 10.0.0.0/8}, {cidr: 192.0.2.0/24}")), 1);
    assert_eq!(version(&list(2, "{cidr: 10.0.0.0/8}")), 2);
    let other_family = "prefix_lists: [{name: office, family: ipv6, max_entries: 2}]";
    assert!(errors(&state, other_family)[0].contains("of the family IPv4, not IPv6"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let state = stored(WEB);
    let text = "groups:
      - {name: app, description: x, ingress: [{protocol: all, group: sg-00000000000000abc},
                                              {protocol: all, prefix_list: pl-00000000000000abc}]}
interfaces: [{name: eth8, groups: [app]}]";
    assert_eq!(errors(&state, text).len(), 3);
}
