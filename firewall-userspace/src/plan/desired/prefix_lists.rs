//! The prefix lists that a document wants.

use std::collections::{BTreeSet, HashSet};

use super::super::{PlanError, State};
use crate::model::{DocumentPrefixList, ModelError, PrefixList, PrefixListEntry, PrefixListName};

/// The prefix lists that there will be: those that are listed, or those that are stored if none are.
pub(super) fn desired(
    stored: &State,
    listed: Option<&[DocumentPrefixList]>,
    errors: &mut Vec<PlanError>,
) -> Vec<PrefixList> {
    let Some(listed) = listed else {
        return stored.prefix_lists.clone();
    };
    let mut names: HashSet<&PrefixListName> = HashSet::new();
    let mut lists = Vec::new();
    for wanted in listed {
        let list = if names.insert(&wanted.name) {
            desired_list(wanted, &stored.prefix_lists, listed)
        } else {
            Err(about(wanted, ModelError::DuplicatePrefixList { name: wanted.name.clone() }))
        };
        match list {
            Ok(list) => lists.push(list),
            Err(error) => errors.push(error),
        }
    }
    lists
}

fn desired_list(
    wanted: &DocumentPrefixList,
    stored: &[PrefixList],
    listed: &[DocumentPrefixList],
) -> Result<PrefixList, PlanError> {
    let by_name = stored.iter().find(|list| list.name == wanted.name);
    let known = match wanted.id {
        Some(id) => stored.iter().find(|list| list.id == id),
        None => by_name,
    };
    // A name becomes free with the list that has it, not by renaming that one in the same document.
    let has_name =
        |list: &&PrefixList| known.is_none() || listed.iter().any(|other| other.id == Some(list.id));
    if by_name.filter(has_name).is_some_and(|other| known.is_none_or(|known| known.id != other.id)) {
        return Err(about(wanted, ModelError::DuplicatePrefixList { name: wanted.name.clone() }));
    }
    let entries = wanted.entries.clone();
    let new = PrefixList::new(wanted.name.clone(), wanted.family, wanted.max_entries, entries)
        .map_err(|source| about(wanted, source))?;
    let new = PrefixList { tags: wanted.tags.clone(), ..new };
    let Some(known) = known else {
        return Ok(PrefixList { id: wanted.id.unwrap_or(new.id), ..new });
    };
    if known.family != wanted.family {
        return Err(PlanError::PrefixListFamily {
            list: wanted.name.clone(),
            stored: known.family,
            wanted: wanted.family,
        });
    }
    Ok(next_version(known, new))
}

/// AWS: a change of the entries makes a new version, one of name, size or tags does not. Their order means nothing.
fn next_version(known: &PrefixList, wanted: PrefixList) -> PrefixList {
    fn entries(list: &PrefixList) -> BTreeSet<&PrefixListEntry> {
        list.entries.iter().collect()
    }
    if entries(known) == entries(&wanted) {
        return PrefixList { id: known.id, version: known.version, entries: known.entries.clone(), ..wanted };
    }
    PrefixList { id: known.id, version: known.version + 1, ..wanted }
}

fn about(wanted: &DocumentPrefixList, source: ModelError) -> PlanError {
    PlanError::PrefixList { list: wanted.name.clone(), source }
}
