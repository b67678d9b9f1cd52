use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::model::{Peer, SecurityRule};
use crate::operations::commands::document::apply;
use crate::operations::{ChangeOptions, Guard, Operator};
use crate::plan::strategy;

fn instance(directory: &tempfile::TempDir) -> Instance {
    Instance {
        state_dir: directory.path().join("state"),
        bpffs: PathBuf::from("/nonexistent"),
        lock_timeout: Duration::from_secs(5),
    }
}

fn carry_out(instance: &Instance, Plan { saved, difference }: &Plan) {
    let operator = Operator::default();
    let options = ChangeOptions::new(&operator, Guard::On);
    let changed = apply(instance, options, saved, &difference.changes).unwrap();
    assert!(changed.leftovers.is_empty());
}

fn stored(instance: &Instance) -> State {
    instance.read(state).unwrap()
}

/// Rules as text, members and entries, under names: a state without the ids that are chosen at random.
fn without_ids(state: &State) -> BTreeMap<String, (BTreeSet<String>, BTreeSet<IpNet>)> {
    let group_names: BTreeMap<_, _> = state.groups.iter().map(|group| (group.id, &group.name)).collect();
    let list_names: BTreeMap<_, _> = state.prefix_lists.iter().map(|list| (list.id, &list.name)).collect();
    let rule = |rule: &SecurityRule| {
        let peer = match rule.peer {
            Peer::Cidr(prefix) => prefix.to_string(),
            Peer::Group(group) => group_names[&group].to_string(),
            Peer::PrefixList(list) => list_names[&list].to_string(),
        };
        format!("{} {:?} {peer} {:?} {:?}", rule.direction.name(), rule.service, rule.description, rule.tags)
    };
    let groups = state.groups.iter().map(|group| {
        let members = state.members_of(group.id).iter().copied().collect();
        (
            format!("group {}: {}", group.name, group.description),
            (group.rules.iter().map(rule).collect(), members),
        )
    });
    let lists = state.prefix_lists.iter().map(|list| {
        let name = format!("list {} {} {} {:?}", list.name, list.max_entries, list.version, list.tags);
        let entries = list.entries.iter();
        let texts = entries.clone().map(|entry| format!("{} {:?}", entry.prefix, entry.description));
        (name, (texts.collect(), entries.map(|entry| entry.prefix).collect()))
    });
    groups.chain(lists).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn applying_a_plan_gives_the_planned_state_and_applying_again_changes_nothing(
        documents in proptest::collection::vec(strategy::document(), 1..4),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let instance = instance(&directory);
        for document in documents {
            // What it does not list may be in use by the group `default`, if it does not list that either.
            let Ok(planned) = plan(&instance, document.clone()) else { continue };
            carry_out(&instance, &planned);
            prop_assert_eq!(without_ids(&stored(&instance)), without_ids(&planned.difference.after));
            prop_assert!(plan(&instance, document).unwrap().difference.changes.is_empty());
        }
    }
}

#[test]
fn what_stays_keeps_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let instance = instance(&directory);
    let before = stored(&instance);
    let document = Document { prefix_lists: Some(Vec::new()), groups: Some(Vec::new()), interfaces: None };
    let planned = plan(&instance, document).unwrap();
    carry_out(&instance, &planned);
    assert_eq!(stored(&instance), before);
}
