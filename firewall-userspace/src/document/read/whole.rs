//! What only the document as a whole shows: what is defined or meant twice, and what is referred to but not there.

use std::collections::HashMap;
use std::hash::Hash;

use firewall_common::abi::Direction;
use ipnet::IpNet;

use crate::document::problem::{Place, Problem, ProblemKind, similar};
use crate::model::{
    DocumentPeer, GroupId, GroupName, GroupReference, PrefixListId, PrefixListName, PrefixListReference,
    Service,
};

/// How many unknown names are compared with all known ones.
const SUGGESTIONS: usize = 100;

/// What the walks over all sources have noted.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// A group or a list has no name that could be read, so that any reference may mean it.
    pub(super) is_incomplete: bool,
    pub(super) has_groups: bool,
    pub(super) has_prefix_lists: bool,
    pub(super) interfaces: Vec<Definition>,
    /// Ids of groups, rules and prefix lists.
    pub(super) ids: Vec<Definition>,
    pub(super) group_references: Vec<(GroupReference, Place)>,
    pub(super) prefix_list_references: Vec<(PrefixListReference, Place)>,
    groups: Vec<Definition>,
    prefix_lists: Vec<Definition>,
    /// Names by id.
    names: HashMap<String, String>,
    /// How many groups there were so far; the number of the one whose rules are seen.
    group: usize,
    rules: Vec<SeenRule>,
}

/// Where something gets its name.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) place: Place,
}

#[derive(Debug)]
struct SeenRule {
    group: usize,
    direction: Direction,
    service: Service,
    peer: DocumentPeer,
    place: Place,
}

/// A peer such that two of them are equal if they mean the same.
#[derive(PartialEq, Eq, Hash)]
enum PeerKey {
    Cidr(IpNet),
    Group(String),
    PrefixList(String),
}

impl Whole {
    /// The rules that are seen from now on are of a new group.
    pub(super) const fn begin_group(&mut self) {
        self.group += 1;
    }

    pub(super) fn define_group(&mut self, name: &GroupName, id: Option<GroupId>, place: Place) {
        self.names.extend(id.map(|id| (id.to_string(), name.to_string())));
        self.groups.push(Definition { name: name.to_string(), place });
    }

    pub(super) fn define_prefix_list(
        &mut self,
        name: &PrefixListName,
        id: Option<PrefixListId>,
        place: Place,
    ) {
        self.names.extend(id.map(|id| (id.to_string(), name.to_string())));
        self.prefix_lists.push(Definition { name: name.to_string(), place });
    }

    pub(super) fn see_rule(
        &mut self,
        direction: Direction,
        service: Service,
        peer: &DocumentPeer,
        place: &Place,
    ) {
        let (group, peer, place) = (self.group, peer.clone(), place.clone());
        self.rules.push(SeenRule { group, direction, service, peer, place });
    }

    /// What is wrong.
    pub(super) fn check(&self) -> Vec<Problem> {
        let lower = |definition: &Definition| definition.name.to_ascii_lowercase();
        let exact = |definition: &Definition| definition.name.clone();
        let mut problems = repeated(&self.groups, lower, "the security group");
        problems.extend(repeated(&self.prefix_lists, exact, "the prefix list"));
        problems.extend(repeated(&self.interfaces, exact, "the interface"));
        problems.extend(repeated(&self.ids, exact, "the id"));
        problems.extend(self.repeated_rules());
        if !self.is_incomplete {
            problems.extend(self.unknown_groups());
            problems.extend(self.unknown_prefix_lists());
        }
        problems
    }

    fn repeated_rules(&self) -> Vec<Problem> {
        let rules = self.rules.iter();
        let keys = rules.map(|SeenRule { group, direction, service, peer, place }| {
            ((*group, *direction == Direction::Egress, *service, self.peer_key(peer)), place)
        });
        clashes(keys, |_| ProblemKind::RepeatedRule)
    }

    fn peer_key(&self, peer: &DocumentPeer) -> PeerKey {
        let name_of = |id: String| self.names.get(&id).cloned().unwrap_or(id);
        match peer {
            DocumentPeer::Cidr(prefix) => PeerKey::Cidr(*prefix),
            DocumentPeer::Group(GroupReference::Name(name)) => {
                PeerKey::Group(name.as_str().to_ascii_lowercase())
            }
            DocumentPeer::Group(GroupReference::Id(id)) => {
                PeerKey::Group(name_of(id.to_string()).to_ascii_lowercase())
            }
            DocumentPeer::PrefixList(PrefixListReference::Name(name)) => {
                PeerKey::PrefixList(name.to_string())
            }
            DocumentPeer::PrefixList(PrefixListReference::Id(id)) => {
                PeerKey::PrefixList(name_of(id.to_string()))
            }
        }
    }

    fn unknown_groups(&self) -> Vec<Problem> {
        let named = self.group_references.iter().filter_map(|(reference, place)| match reference {
            GroupReference::Name(name) if self.has_groups && !name.is_default() => {
                Some((name.as_str(), place))
            }
            _ => None,
        });
        let key = |name: &str| name.to_ascii_lowercase();
        unknown(named, &self.groups, key, |name, similar| ProblemKind::UnknownGroup { name, similar })
    }

    fn unknown_prefix_lists(&self) -> Vec<Problem> {
        let named = self.prefix_list_references.iter().filter_map(|(reference, place)| match reference {
            PrefixListReference::Name(name) if self.has_prefix_lists => Some((name.as_str(), place)),
            _ => None,
        });
        let key = str::to_owned;
        unknown(named, &self.prefix_lists, key, |name, similar| ProblemKind::UnknownPrefixList {
            name,
            similar,
        })
    }
}

fn repeated(
    definitions: &[Definition],
    key: impl Fn(&Definition) -> String,
    what: &'static str,
) -> Vec<Problem> {
    let keys = definitions.iter().map(|definition| (key(definition), &definition.place));
    clashes(keys, |value| ProblemKind::Repeated { what, value: value.clone() })
}

/// Every place whose key an earlier place has.
fn clashes<'p, K: Eq + Hash>(
    keys: impl Iterator<Item = (K, &'p Place)>,
    kind: impl Fn(&K) -> ProblemKind,
) -> Vec<Problem> {
    let mut firsts: HashMap<K, &Place> = HashMap::new();
    let mut problems = Vec::new();
    for (key, place) in keys {
        if let Some(&first) = firsts.get(&key) {
            let (place, first) = (place.clone(), Some(first.clone()));
            problems.push(Problem { place, kind: kind(&key), first });
            continue;
        }
        firsts.insert(key, place);
    }
    problems
}

fn unknown<'r>(
    references: impl Iterator<Item = (&'r str, &'r Place)>,
    definitions: &[Definition],
    key: impl Fn(&str) -> String,
    kind: impl Fn(String, Option<String>) -> ProblemKind,
) -> Vec<Problem> {
    let known: HashMap<String, &str> =
        definitions.iter().map(|definition| (key(&definition.name), definition.name.as_str())).collect();
    let unknown = references.filter(|(name, _)| !known.contains_key(&key(name)));
    let problem = |(number, (name, place)): (usize, (&str, &Place))| {
        let similar = (number < SUGGESTIONS).then(|| similar(name, known.values().copied())).flatten();
        Problem { place: place.clone(), kind: kind(name.to_owned(), similar.map(str::to_owned)), first: None }
    };
    unknown.enumerate().map(problem).collect()
}
