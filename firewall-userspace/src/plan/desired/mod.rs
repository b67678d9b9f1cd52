//! What a store would hold if it were as a document wants it.
//!
//! Objects keep their ids where the document means them: by id, else by name, a rule by its properties. Ids that the
//! store does not know are taken over, so that what is exported from one host means the same objects on another.

mod groups;
mod interfaces;
mod prefix_lists;
mod references;

use std::collections::HashSet;

use super::{PlanError, PlanErrors, State};
use crate::model::{Document, GroupId, Peer, PrefixListId, SecurityGroup};
use references::References;

/// The state that a document wants, given the one that is.
///
/// # Errors
///
/// All that is wrong with the document: references to what will not be there, changes that AWS does not have, deletions
/// of what is in use.
pub fn desired(stored: &State, document: &Document) -> Result<State, PlanErrors> {
    let mut errors = Vec::new();
    let prefix_lists = prefix_lists::desired(stored, document.prefix_lists.as_deref(), &mut errors);
    let groups = groups::identify(stored, document.groups.as_deref(), &mut errors);
    if !errors.is_empty() {
        // What refers to them would seem to be wrong too.
        return Err(PlanErrors(errors));
    }
    let references = References::new(&groups, &prefix_lists);
    let members = groups::members(&groups, stored);
    let groups = groups::with_rules(&groups, stored, &references, &mut errors);
    let interfaces = interfaces::desired(stored, document.interfaces.as_deref(), &references, &mut errors);
    let state = State { groups, members, prefix_lists, interfaces };
    check_deletions(stored, &state, &mut errors);
    if errors.is_empty() { Ok(state) } else { Err(PlanErrors(errors)) }
}

/// AWS deletes no group and no prefix list that is in use.
fn check_deletions(stored: &State, state: &State, errors: &mut Vec<PlanError>) {
    let remaining: HashSet<GroupId> = state.groups.iter().map(|group| group.id).collect();
    let carried: HashSet<GroupId> =
        state.interfaces.iter().flat_map(|interface| &interface.groups).copied().collect();
    for group in stored.groups.iter().filter(|group| !remaining.contains(&group.id)) {
        // Rules refer to what remains, so that only interfaces can be in the way.
        if carried.contains(&group.id)
            && let Err(source) = group.check_deletable(&[], &state.interfaces)
        {
            errors.push(PlanError::Group { group: group.name.clone(), source });
        }
    }
    let remaining: HashSet<PrefixListId> = state.prefix_lists.iter().map(|list| list.id).collect();
    let referred = referred_lists(&state.groups);
    for list in stored.prefix_lists.iter().filter(|list| !remaining.contains(&list.id)) {
        if referred.contains(&list.id)
            && let Err(source) = list.check_deletable(&state.groups)
        {
            errors.push(PlanError::PrefixList { list: list.name.clone(), source });
        }
    }
}

fn referred_lists(groups: &[SecurityGroup]) -> HashSet<PrefixListId> {
    let rules = groups.iter().flat_map(|group| &group.rules);
    rules
        .filter_map(|rule| match rule.peer {
            Peer::PrefixList(list) => Some(list),
            Peer::Cidr(_) | Peer::Group(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
