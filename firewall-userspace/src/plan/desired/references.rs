//! Which group or prefix list a reference of a document means.

use std::collections::HashMap;

use super::groups::IdentifiedGroup;
use crate::model::{
    GroupId, GroupReference, ModelError, PrefixList, PrefixListId, PrefixListName, PrefixListReference,
};

/// What there will be, by all that it may be called.
pub(super) struct References {
    groups_by_id: HashMap<GroupId, GroupId>,
    /// In lower case: names of groups are unique whatever the case.
    groups_by_name: HashMap<String, GroupId>,
    lists_by_id: HashMap<PrefixListId, PrefixListId>,
    lists_by_name: HashMap<PrefixListName, PrefixListId>,
}

impl References {
    pub(super) fn new(groups: &[IdentifiedGroup<'_>], lists: &[PrefixList]) -> Self {
        let mut references = Self {
            groups_by_id: HashMap::new(),
            groups_by_name: HashMap::new(),
            lists_by_id: HashMap::new(),
            lists_by_name: HashMap::new(),
        };
        for group in groups {
            references.groups_by_id.insert(group.id, group.id);
            references.groups_by_name.insert(group.name.as_str().to_ascii_lowercase(), group.id);
            // The group `default` of another store is that of this one.
            let written = group.wanted.and_then(|wanted| wanted.id);
            references.groups_by_id.extend(written.map(|written| (written, group.id)));
        }
        for list in lists {
            references.lists_by_id.insert(list.id, list.id);
            references.lists_by_name.insert(list.name.clone(), list.id);
        }
        references
    }

    pub(super) fn group(&self, reference: &GroupReference) -> Result<GroupId, ModelError> {
        let found = match reference {
            GroupReference::Id(id) => self.groups_by_id.get(id),
            GroupReference::Name(name) => self.groups_by_name.get(&name.as_str().to_ascii_lowercase()),
        };
        found.copied().ok_or_else(|| ModelError::GroupNotFound { reference: reference.clone() })
    }

    pub(super) fn prefix_list(&self, reference: &PrefixListReference) -> Result<PrefixListId, ModelError> {
        let found = match reference {
            PrefixListReference::Id(id) => self.lists_by_id.get(id),
            PrefixListReference::Name(name) => self.lists_by_name.get(name),
        };
        found.copied().ok_or_else(|| ModelError::PrefixListNotFound { reference: reference.clone() })
    }
}
