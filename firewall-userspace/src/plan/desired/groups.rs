//! The groups that a document wants, with their rules and members.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::discriminant;

use ipnet::IpNet;

use super::super::{PlanError, State};
use super::references::References;
use crate::model::{
    AddressFamily, DocumentGroup, DocumentPeer, DocumentRule, GroupId, GroupName, ModelError, Peer, RuleId,
    RuleProperties, SecurityGroup, SecurityRule, Service,
};

/// A group that there will be, under its id.
pub(super) struct IdentifiedGroup<'d> {
    pub(super) id: GroupId,
    /// A name that is stored stays as it is: what the document writes may differ by case.
    pub(super) name: &'d GroupName,
    /// As it is stored, if it is.
    pub(super) stored: Option<&'d SecurityGroup>,
    /// As the document wants it. What it does not list stays as it is.
    pub(super) wanted: Option<&'d DocumentGroup>,
}

/// The groups that there will be: those that are listed and `default`, or those that are stored if none are.
pub(super) fn identify<'d>(
    stored: &'d State,
    listed: Option<&'d [DocumentGroup]>,
    errors: &mut Vec<PlanError>,
) -> Vec<IdentifiedGroup<'d>> {
    let Some(listed) = listed else {
        return stored.groups.iter().map(unlisted).collect();
    };
    let known = StoredGroups::new(stored);
    let mut groups: Vec<IdentifiedGroup<'_>> = Vec::new();
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for wanted in listed {
        match known.identify(wanted) {
            Ok(group) if ids.insert(group.id) && names.insert(lower_case(&wanted.name)) => groups.push(group),
            Ok(_) => errors.push(about(wanted, ModelError::DuplicateGroup { name: wanted.name.clone() })),
            Err(error) => errors.push(error),
        }
    }
    let default = stored.groups.iter().filter(|group| group.name.is_default() && !ids.contains(&group.id));
    groups.extend(default.map(unlisted));
    groups
}

/// The declared members of the groups that there will be.
pub(super) fn members(groups: &[IdentifiedGroup<'_>], stored: &State) -> BTreeMap<GroupId, Vec<IpNet>> {
    let members_of = |group: &IdentifiedGroup<'_>| match group.wanted {
        Some(wanted) => wanted.members.iter().copied().collect(),
        None => stored.members_of(group.id).to_vec(),
    };
    let members = groups.iter().map(|group| (group.id, members_of(group)));
    members.filter(|(_, members): &(_, Vec<IpNet>)| !members.is_empty()).collect()
}

/// The groups as they will be.
pub(super) fn with_rules(
    groups: &[IdentifiedGroup<'_>],
    stored: &State,
    references: &References,
    errors: &mut Vec<PlanError>,
) -> Vec<SecurityGroup> {
    let stored_rules = stored.groups.iter().flat_map(|group| &group.rules);
    let mut used: HashSet<RuleId> = stored_rules.map(|rule| rule.id).collect();
    let mut result = Vec::new();
    for group in groups {
        let Some(wanted) = group.wanted else {
            result.extend(group.stored.cloned());
            continue;
        };
        let description = group.stored.map_or(&wanted.description, |stored| &stored.description).clone();
        let mut rules = GroupRules::new(group, &mut used);
        for rule in &wanted.rules {
            if let Err(source) = rules.resolve(rule, references) {
                errors.push(about(wanted, source));
            }
        }
        match rules.identify() {
            Ok(rules) => result.push(SecurityGroup {
                id: group.id,
                name: group.name.clone(),
                description,
                tags: wanted.tags.clone(),
                rules,
            }),
            Err(source) => errors.push(about(wanted, source)),
        }
    }
    result
}

/// The stored groups by what a document may call them.
struct StoredGroups<'d> {
    by_id: HashMap<GroupId, &'d SecurityGroup>,
    by_name: HashMap<String, &'d SecurityGroup>,
}

impl<'d> StoredGroups<'d> {
    fn new(stored: &'d State) -> Self {
        Self {
            by_id: stored.groups.iter().map(|group| (group.id, group)).collect(),
            by_name: stored.groups.iter().map(|group| (lower_case(&group.name), group)).collect(),
        }
    }

    fn identify(&self, wanted: &'d DocumentGroup) -> Result<IdentifiedGroup<'d>, PlanError> {
        let by_id = wanted.id.and_then(|id| self.by_id.get(&id)).copied();
        let by_name = self.by_name.get(&lower_case(&wanted.name)).copied();
        // Each store has its own `default`, so that one of another store means that of this one.
        let goes_by_name = wanted.id.is_none() || wanted.name.is_default();
        let Some(stored) = by_id.or(by_name.filter(|_| goes_by_name)) else {
            if by_name.is_some() {
                // Under another id: it would have to go before the new one can come, which its interfaces forbid.
                return Err(about(wanted, ModelError::DuplicateGroup { name: wanted.name.clone() }));
            }
            let id = wanted.id.map_or_else(GroupId::random, Ok).map_err(|source| about(wanted, source))?;
            return Ok(IdentifiedGroup { id, name: &wanted.name, stored: None, wanted: Some(wanted) });
        };
        check_unchangeable(wanted, stored)?;
        Ok(IdentifiedGroup { wanted: Some(wanted), ..unlisted(stored) })
    }
}

/// AWS: "You can't change the name and description of a security group after it is created." What another store's
/// `default` is described as does not matter, like its id.
fn check_unchangeable(wanted: &DocumentGroup, stored: &SecurityGroup) -> Result<(), PlanError> {
    if !stored.name.collides_with(&wanted.name) {
        return Err(PlanError::GroupRenamed { stored: stored.name.clone(), wanted: wanted.name.clone() });
    }
    if stored.description != wanted.description && !stored.name.is_default() {
        return Err(PlanError::GroupDescribedAnew {
            group: stored.name.clone(),
            stored: stored.description.to_string(),
            wanted: wanted.description.to_string(),
        });
    }
    Ok(())
}

/// What tells the rules of one group apart; `RuleProperties` for hashing.
type Key = (u8, Service, Peer);

fn key(properties: RuleProperties) -> Key {
    (properties.direction as u8, properties.service, properties.peer)
}

/// The rules of one group on the way to their ids.
struct GroupRules<'d, 'u> {
    group: GroupId,
    stored_by_id: HashMap<RuleId, &'d SecurityRule>,
    stored_by_properties: HashMap<Key, &'d SecurityRule>,
    /// Ids that are given: those of the whole store, and new ones.
    used: &'u mut HashSet<RuleId>,
    wanted: Vec<(RuleProperties, &'d DocumentRule)>,
    keys: HashSet<Key>,
}

impl<'d, 'u> GroupRules<'d, 'u> {
    fn new(group: &IdentifiedGroup<'d>, used: &'u mut HashSet<RuleId>) -> Self {
        let stored: &[SecurityRule] = group.stored.map_or(&[], |stored| &stored.rules);
        Self {
            group: group.id,
            stored_by_id: stored.iter().map(|rule| (rule.id, rule)).collect(),
            stored_by_properties: stored.iter().map(|rule| (key(rule.properties()), rule)).collect(),
            used,
            wanted: Vec::new(),
            keys: HashSet::new(),
        }
    }

    fn resolve(&mut self, rule: &'d DocumentRule, references: &References) -> Result<(), ModelError> {
        let peer = match &rule.peer {
            DocumentPeer::Cidr(prefix) => Peer::Cidr(*prefix),
            DocumentPeer::Group(reference) => Peer::Group(references.group(reference)?),
            DocumentPeer::PrefixList(reference) => Peer::PrefixList(references.prefix_list(reference)?),
        };
        let properties = RuleProperties { direction: rule.direction, service: rule.service, peer };
        if !self.keys.insert(key(properties)) {
            return Err(ModelError::RepeatedRule { rule: properties });
        }
        self.wanted.push((properties, rule));
        Ok(())
    }

    /// First the rules that the document means by id: what is left may be meant by properties.
    fn identify(self) -> Result<Vec<SecurityRule>, ModelError> {
        let Self { group, stored_by_id, stored_by_properties, used, wanted, .. } = self;
        let mut taken: HashSet<RuleId> = HashSet::new();
        let mut by_id = |(properties, rule): &(RuleProperties, &DocumentRule)| {
            let stored = stored_by_id.get(&rule.id?)?;
            (may_become(stored, *properties) && taken.insert(stored.id)).then_some(stored.id)
        };
        let ids: Vec<Option<RuleId>> = wanted.iter().map(&mut by_id).collect();
        let mut rules = Vec::with_capacity(wanted.len());
        for ((properties, rule), id) in wanted.into_iter().zip(ids) {
            let same = stored_by_properties.get(&key(properties)).map(|stored| stored.id);
            let id = match id.or_else(|| same.filter(|id| taken.insert(*id))) {
                Some(id) => id,
                None => new_id(rule.id, used)?,
            };
            let RuleProperties { direction, service, peer } = properties;
            let (description, tags) = (rule.description.clone(), rule.tags.clone());
            rules.push(SecurityRule { id, group, direction, service, peer, description, tags });
        }
        Ok(rules)
    }
}

/// AWS modifies a rule under its id unless the direction or the kind of its peer changes; a rule that does is another one.
fn may_become(stored: &SecurityRule, wanted: RuleProperties) -> bool {
    let kind = |peer: Peer| match peer {
        Peer::Cidr(prefix) => (discriminant(&peer), Some(AddressFamily::of(&prefix))),
        Peer::Group(_) | Peer::PrefixList(_) => (discriminant(&peer), None),
    };
    stored.direction == wanted.direction && kind(stored.peer) == kind(wanted.peer)
}

/// The id that the document gives a rule, if it is free: rules do not move between groups.
fn new_id(written: Option<RuleId>, used: &mut HashSet<RuleId>) -> Result<RuleId, ModelError> {
    match written {
        Some(id) if used.insert(id) => Ok(id),
        _ => RuleId::random(),
    }
}

fn unlisted(stored: &SecurityGroup) -> IdentifiedGroup<'_> {
    IdentifiedGroup { id: stored.id, name: &stored.name, stored: Some(stored), wanted: None }
}

fn about(wanted: &DocumentGroup, source: ModelError) -> PlanError {
    PlanError::Group { group: wanted.name.clone(), source }
}

fn lower_case(name: &GroupName) -> String {
    name.as_str().to_ascii_lowercase()
}
