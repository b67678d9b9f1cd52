//! The difference between two states, object by object.
//!
//! Objects are told apart by their ids: what is the same object in both states is a matter of `desired`.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use ipnet::IpNet;

use super::State;
use crate::model::{GroupId, Interface, PrefixList, SecurityGroup, SecurityRule};

/// What happens to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T> {
    /// It comes to be.
    Add(T),
    /// It becomes another.
    Update {
        /// As it was.
        before: T,
        /// As it will be.
        after: T,
    },
    /// It goes.
    Delete(T),
}

/// What happens to one group. The rules and the members of a group that comes or goes come and go with it, and are listed
/// too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupChange {
    /// What happens to it.
    pub group: Change<SecurityGroup>,
    /// What happens to its rules.
    pub rules: Vec<Change<SecurityRule>>,
    /// Members that are declared.
    pub added_members: Vec<IpNet>,
    /// Members that are taken out.
    pub removed_members: Vec<IpNet>,
}

/// All that has to be done to get from one state to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What happens to groups, by name.
    pub groups: Vec<GroupChange>,
    /// What happens to prefix lists, by name.
    pub prefix_lists: Vec<Change<PrefixList>>,
    /// What happens to interfaces, by name. They are neither added nor deleted.
    pub interfaces: Vec<Change<Interface>>,
}

/// How many objects of a kind change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many come to be.
    pub added: usize,
    /// How many become others.
    pub updated: usize,
    /// How many go.
    pub deleted: usize,
}

impl<T> Change<T> {
    /// As it was, if it was.
    pub const fn before(&self) -> Option<&T> {
        match self {
            Self::Update { before, .. } | Self::Delete(before) => Some(before),
            Self::Add(_) => None,
        }
    }

    /// As it will be, if it will be.
    pub const fn after(&self) -> Option<&T> {
        match self {
            Self::Add(after) | Self::Update { after, .. } => Some(after),
            Self::Delete(_) => None,
        }
    }

    /// The newest that there is of it.
    pub const fn newest(&self) -> &T {
        match self {
            Self::Add(object) | Self::Update { after: object, .. } | Self::Delete(object) => object,
        }
    }
}

impl Changes {
    /// The way from one state to the other.
    #[must_use]
    pub fn between(before: &State, after: &State) -> Self {
        let group_id = |group: &SecurityGroup| group.id;
        let mut groups: Vec<GroupChange> = pairs(&before.groups, &after.groups, group_id)
            .into_iter()
            .filter_map(|pair| group_change(pair, before, after))
            .collect();
        groups.sort_by(|a, b| a.group.newest().name.cmp(&b.group.newest().name));
        let mut prefix_lists = differences(&before.prefix_lists, &after.prefix_lists, |list| list.id);
        prefix_lists.sort_by(|a, b| a.newest().name.cmp(&b.newest().name));
        let mut interfaces = differences(&before.interfaces, &after.interfaces, |interface| interface.id);
        interfaces.sort_by(|a, b| a.newest().name.cmp(&b.newest().name));
        Self { groups, prefix_lists, interfaces }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.prefix_lists.is_empty() && self.interfaces.is_empty()
    }

    /// How many groups change. One counts as updated if its tags or members do, or if any of its rules does.
    #[must_use]
    pub fn group_count(&self) -> Count {
        Count::of(self.groups.iter().map(|change| &change.group))
    }

    /// How many rules change, those of groups that come or go included.
    #[must_use]
    pub fn rule_count(&self) -> Count {
        Count::of(self.groups.iter().flat_map(|change| &change.rules))
    }
}

impl Count {
    /// Counts changes.
    pub fn of<'c, T: 'c>(changes: impl IntoIterator<Item = &'c Change<T>>) -> Self {
        let mut count = Self::default();
        for change in changes {
            match change {
                Change::Add(_) => count.added += 1,
                Change::Update { .. } => count.updated += 1,
                Change::Delete(_) => count.deleted += 1,
            }
        }
        count
    }

    /// Whether none changes.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.added == 0 && self.updated == 0 && self.deleted == 0
    }
}

/// An object before and after; never without both.
type Pair<'s, T> = (Option<&'s T>, Option<&'s T>);

/// Each object of either state, in the order of `before` and then of `after`.
fn pairs<'s, T, I: Eq + Hash>(before: &'s [T], after: &'s [T], id: impl Fn(&T) -> I) -> Vec<Pair<'s, T>> {
    let mut by_id: HashMap<I, &T> = after.iter().map(|object| (id(object), object)).collect();
    let mut pairs: Vec<Pair<'_, T>> =
        before.iter().map(|object| (Some(object), by_id.remove(&id(object)))).collect();
    pairs.extend(
        after.iter().filter(|object| by_id.contains_key(&id(object))).map(|object| (None, Some(object))),
    );
    pairs
}

fn differences<T: Clone + Eq, I: Eq + Hash>(
    before: &[T],
    after: &[T],
    id: impl Fn(&T) -> I,
) -> Vec<Change<T>> {
    pairs(before, after, id).into_iter().filter_map(difference).collect()
}

fn difference<T: Clone + Eq>(pair: Pair<'_, T>) -> Option<Change<T>> {
    match pair {
        (Some(before), Some(after)) if before == after => None,
        (Some(before), Some(after)) => Some(Change::Update { before: before.clone(), after: after.clone() }),
        (None, Some(after)) => Some(Change::Add(after.clone())),
        (Some(before), None) => Some(Change::Delete(before.clone())),
        (None, None) => None,
    }
}

fn group_change(pair: Pair<'_, SecurityGroup>, before: &State, after: &State) -> Option<GroupChange> {
    let id = pair.0.or(pair.1)?.id;
    let rules_of =
        |group: Option<&SecurityGroup>| group.map(|group| sorted(&group.rules)).unwrap_or_default();
    let rules = differences(&rules_of(pair.0), &rules_of(pair.1), |rule| rule.id);
    let (had, has) = (members(before, id), members(after, id));
    let added_members: Vec<IpNet> = has.difference(&had).copied().collect();
    let removed_members: Vec<IpNet> = had.difference(&has).copied().collect();
    let group = match pair {
        // The order of rules means nothing, so the groups as a whole are not compared.
        (Some(before), Some(after)) => {
            let parts_are_same = rules.is_empty() && added_members.is_empty() && removed_members.is_empty();
            if parts_are_same && before.tags == after.tags {
                return None;
            }
            Change::Update { before: before.clone(), after: after.clone() }
        }
        one => difference(one)?,
    };
    Some(GroupChange { group, rules, added_members, removed_members })
}

/// Ingress first, then by service and peer, which is how people look for a rule.
fn sorted(rules: &[SecurityRule]) -> Vec<SecurityRule> {
    let mut rules = rules.to_vec();
    rules.sort_by_key(|rule| (rule.direction as u8, rule.service, rule.peer));
    rules
}

fn members(state: &State, group: GroupId) -> BTreeSet<IpNet> {
    state.members_of(group).iter().copied().collect()
}
