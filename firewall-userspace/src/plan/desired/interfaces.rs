//! The groups and options that a document wants interfaces to have.

use std::collections::{BTreeSet, HashSet};

use super::super::{PlanError, State};
use super::references::References;
use crate::model::{DocumentInterface, GroupId, Interface, ModelError};

/// The attached interfaces as they will be: those that are listed changed, the others as they are.
pub(super) fn desired(
    stored: &State,
    listed: Option<&[DocumentInterface]>,
    references: &References,
    errors: &mut Vec<PlanError>,
) -> Vec<Interface> {
    let mut interfaces = stored.interfaces.clone();
    let mut names: HashSet<&str> = HashSet::new();
    for wanted in listed.unwrap_or_default() {
        let name = &wanted.name;
        if !names.insert(name) {
            errors.push(PlanError::InterfaceListedTwice { interface: name.clone() });
            continue;
        }
        let Some(interface) = interfaces.iter_mut().find(|interface| interface.name == *name) else {
            errors.push(PlanError::InterfaceNotAttached { interface: name.clone() });
            continue;
        };
        match groups(wanted, references) {
            Ok(groups) => set_groups(interface, groups),
            Err(source) => errors.push(PlanError::Interface { interface: name.clone(), source }),
        }
        if let Some(options) = &wanted.options {
            interface.options = options.clone();
        }
    }
    interfaces
}

fn groups(wanted: &DocumentInterface, references: &References) -> Result<Vec<GroupId>, ModelError> {
    let mut groups = Vec::new();
    for reference in &wanted.groups {
        let group = references.group(reference)?;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    if groups.is_empty() {
        return Err(ModelError::NoGroups { interface: wanted.name.clone() });
    }
    Ok(groups)
}

/// The order of groups means nothing: the same groups in another order are no change.
fn set_groups(interface: &mut Interface, groups: Vec<GroupId>) {
    let set = |groups: &[GroupId]| groups.iter().copied().collect::<BTreeSet<_>>();
    if set(&interface.groups) != set(&groups) {
        interface.groups = groups;
    }
}
