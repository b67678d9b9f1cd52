//! Makes a document of what was read: finds what every reference means, takes the descriptions of one rule together,
//! and leaves out what a host cannot have.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use firewall_common::abi::Direction;

use super::draft::{Draft, DraftGroup, DraftPeer, DraftPrefixList, DraftRule, PeerGroup};
use super::omission::{Cause, Omissions};
use super::{ImportError, Imported};
use crate::model::{
    AddressFamily, Description, Document, DocumentGroup, DocumentPeer, DocumentPrefixList, DocumentRule,
    GroupName, GroupReference, ModelError, PrefixListName, PrefixListReference, Service,
};

impl Draft {
    /// The document; only the groups of one VPC if one is given.
    pub(super) fn into_document(self, vpc: Option<&str>) -> Result<Imported, ImportError> {
        let Self { groups, rules, prefix_lists, mut omissions } = self;
        if groups.is_empty() && !rules.is_empty() {
            return Err(ImportError::NoGroups);
        }
        let has_lists = !prefix_lists.is_empty();
        let has_groups = !groups.is_empty();
        let (groups, of_other_vpcs) = groups_of_vpc(groups, vpc)?;
        check_names(&groups)?;
        let (lists, list_names) = resolve_lists(prefix_lists, &rules, &mut omissions)?;
        let mut resolver = Resolver::new(groups, of_other_vpcs, list_names, omissions);
        resolver.add_rules(rules);
        let document = Document {
            groups: has_groups.then_some(resolver.groups),
            prefix_lists: has_lists.then_some(lists),
            interfaces: None,
        };
        Ok(Imported { document, not_carried_over: resolver.omissions.into_vec() })
    }
}

/// Puts rules into their groups.
struct Resolver {
    groups: Vec<DocumentGroup>,
    /// Position of each group by everything that rules may call it.
    positions: HashMap<String, usize>,
    of_other_vpcs: HashSet<String>,
    list_names: HashMap<String, PrefixListName>,
    /// Position of each rule in its group.
    known_rules: HashMap<RuleIdentity, usize>,
    omissions: Omissions,
}

/// Group, whether it is egress, service, and peer as text.
type RuleIdentity = (usize, bool, Service, String);

impl Resolver {
    fn new(
        drafts: Vec<DraftGroup>,
        of_other_vpcs: HashSet<String>,
        list_names: HashMap<String, PrefixListName>,
        omissions: Omissions,
    ) -> Self {
        let mut positions = HashMap::new();
        let mut groups = Vec::with_capacity(drafts.len());
        for (position, draft) in drafts.into_iter().enumerate() {
            let DraftGroup { keys, id, name, description, tags, members, .. } = draft;
            positions.insert(name.to_string(), position);
            positions.extend(keys.into_iter().map(|key| (key, position)));
            let description = description.filter(|text| !text.as_str().is_empty());
            let description = description.unwrap_or_else(|| Description::from(&name));
            groups.push(DocumentGroup { id, name, description, tags, members, rules: Vec::new() });
        }
        Self { groups, positions, of_other_vpcs, list_names, known_rules: HashMap::new(), omissions }
    }

    fn add_rules(&mut self, rules: Vec<DraftRule>) {
        for rule in rules {
            let Some(&position) = self.positions.get(&rule.group) else {
                if !self.of_other_vpcs.contains(&rule.group) {
                    self.omissions.push(rule.place, Cause::RuleOfUnknownGroup { group: rule.group });
                }
                continue;
            };
            match self.peer(rule.peer) {
                Ok(peer) => self.add_rule(
                    position,
                    DocumentRule {
                        id: rule.id,
                        direction: rule.direction,
                        service: rule.service,
                        peer,
                        description: rule.description,
                        tags: rule.tags,
                    },
                ),
                Err(cause) => self.omissions.push(rule.place, cause),
            }
        }
    }

    /// Adds a rule, or what is new about a rule that is there: `describe-security-groups` has no ids and tags of rules,
    /// and the state of Terraform tells a rule in its own resource and in that of its group.
    fn add_rule(&mut self, position: usize, rule: DocumentRule) {
        let is_egress = rule.direction == Direction::Egress;
        let rules = &mut self.groups[position].rules;
        match self.known_rules.entry((position, is_egress, rule.service, peer_text(&rule.peer))) {
            Entry::Vacant(vacant) => {
                vacant.insert(rules.len());
                rules.push(rule);
            }
            Entry::Occupied(occupied) => {
                let known = &mut rules[*occupied.get()];
                known.id = known.id.or(rule.id);
                known.description = known.description.take().or(rule.description);
                if known.tags.is_empty() {
                    known.tags = rule.tags;
                }
            }
        }
    }

    fn peer(&self, peer: DraftPeer) -> Result<DocumentPeer, Cause> {
        match peer {
            DraftPeer::Cidr(prefix) => Ok(DocumentPeer::Cidr(prefix)),
            DraftPeer::Group(group) => {
                let name = self.peer_group(group)?;
                Ok(DocumentPeer::Group(GroupReference::Name(name)))
            }
            DraftPeer::PrefixList(key) => match self.list_names.get(&key) {
                Some(name) => Ok(DocumentPeer::PrefixList(PrefixListReference::Name(name.clone()))),
                None => Err(Cause::UnknownPrefixList { list: key }),
            },
        }
    }

    fn peer_group(&self, PeerGroup { key, other_account, peering }: PeerGroup) -> Result<GroupName, Cause> {
        if let Some(&position) = self.positions.get(&key) {
            return Ok(self.groups[position].name.clone());
        }
        Err(match (other_account, peering) {
            (_, Some(status)) => Cause::GroupOfPeeredVpc { group: key, status },
            (Some(account), None) => Cause::GroupOfOtherAccount { group: key, account },
            (None, None) if self.of_other_vpcs.contains(&key) => Cause::GroupOfOtherVpc { group: key },
            (None, None) => Cause::UnknownGroup { group: key },
        })
    }
}

/// The groups of the VPC, and the keys of the others.
fn groups_of_vpc(
    groups: Vec<DraftGroup>,
    vpc: Option<&str>,
) -> Result<(Vec<DraftGroup>, HashSet<String>), ImportError> {
    check_described_once(groups.iter().flat_map(|group| group.keys.iter().map(|key| (key, &group.place))))?;
    let Some(vpc) = vpc else {
        return Ok((groups, HashSet::new()));
    };
    let known: BTreeSet<String> = groups.iter().filter_map(|group| group.vpc.clone()).collect();
    if !known.contains(vpc) {
        return Err(ImportError::UnknownVpc { vpc: vpc.to_owned(), known: known.into_iter().collect() });
    }
    let (taken, others): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|group| group.vpc.as_deref() == Some(vpc));
    Ok((taken, others.into_iter().flat_map(|group| group.keys).collect()))
}

fn check_described_once<'d>(keys: impl Iterator<Item = (&'d String, &'d String)>) -> Result<(), ImportError> {
    let mut places: HashMap<&String, &String> = HashMap::new();
    for (key, place) in keys {
        if let Some(first) = places.insert(key, place) {
            return Err(ImportError::DescribedTwice {
                key: key.clone(),
                first: first.clone(),
                second: place.clone(),
            });
        }
    }
    Ok(())
}

/// Names are unique in a VPC, whatever the case; a host is one VPC.
fn check_names(groups: &[DraftGroup]) -> Result<(), ImportError> {
    let mut by_name: HashMap<String, &DraftGroup> = HashMap::new();
    for group in groups {
        let Some(first) = by_name.insert(group.name.as_str().to_ascii_lowercase(), group) else {
            continue;
        };
        let vpcs: BTreeSet<&String> =
            [first, group].into_iter().filter_map(|group| group.vpc.as_ref()).collect();
        let differ = vpcs.len() > 1;
        return Err(ImportError::SameName {
            name: group.name.clone(),
            first: first.place.clone(),
            second: group.place.clone(),
            vpcs: vpcs.into_iter().filter(|_| differ).cloned().collect(),
        });
    }
    Ok(())
}

/// The prefix lists that have entries, and what each is called here by everything that rules may call it.
fn resolve_lists(
    drafts: Vec<DraftPrefixList>,
    rules: &[DraftRule],
    omissions: &mut Omissions,
) -> Result<(Vec<DocumentPrefixList>, HashMap<String, PrefixListName>), ImportError> {
    check_described_once(drafts.iter().flat_map(|list| list.keys.iter().map(|key| (key, &list.place))))?;
    let wanted: HashSet<&String> = rules
        .iter()
        .filter_map(|rule| match &rule.peer {
            DraftPeer::PrefixList(key) => Some(key),
            DraftPeer::Cidr(_) | DraftPeer::Group(_) => None,
        })
        .collect();
    let (mut lists, mut names) = (Vec::new(), HashMap::new());
    let mut taken = HashSet::new();
    for mut draft in drafts {
        let Some(entries) = draft.entries.take() else {
            let is_wanted = draft.keys.iter().any(|key| wanted.contains(key));
            omit_list(&draft, is_wanted, omissions);
            continue;
        };
        let name = list_name(&draft, &mut taken, omissions)?;
        let list = DocumentPrefixList {
            id: draft.id,
            name: name.clone(),
            family: draft.family,
            max_entries: draft
                .max_entries
                .unwrap_or_else(|| u32::try_from(entries.len()).unwrap_or(u32::MAX).max(1)),
            tags: draft.tags,
            entries,
        };
        check_entries(&list).map_err(|source| ImportError::Invalid { place: draft.place, source })?;
        names.extend(draft.keys.into_iter().map(|key| (key, name.clone())));
        lists.push(list);
    }
    Ok((lists, names))
}

fn omit_list(draft: &DraftPrefixList, is_wanted: bool, omissions: &mut Omissions) {
    if draft.is_of_aws && !is_wanted {
        return omissions.push(&draft.place, Cause::UnusedAwsList);
    }
    let list = draft.keys.first().unwrap_or(&draft.name).clone();
    omissions.push(&draft.place, Cause::NoEntries { list });
}

/// AWS keeps names of its own and does not mind two lists of one name; sgfw does.
fn list_name(
    draft: &DraftPrefixList,
    taken: &mut HashSet<String>,
    omissions: &mut Omissions,
) -> Result<PrefixListName, ImportError> {
    let mut name = draft.name.clone();
    if draft.is_of_aws {
        name = name.trim_start_matches("com.").to_owned();
    }
    if !taken.insert(name.clone()) {
        name = format!("{name} ({})", draft.keys.first().unwrap_or(&draft.place));
        taken.insert(name.clone());
    }
    if name != draft.name {
        omissions.push(&draft.place, Cause::Renamed { name: draft.name.clone(), new_name: name.clone() });
    }
    name.parse().map_err(|source| ImportError::Invalid { place: draft.place.clone(), source })
}

fn check_entries(list: &DocumentPrefixList) -> Result<(), ModelError> {
    let name = || list.name.clone();
    if let Some(entry) = list.entries.iter().find(|entry| AddressFamily::of(&entry.prefix) != list.family) {
        return Err(ModelError::WrongFamily { list: name(), family: list.family, prefix: entry.prefix });
    }
    let mut known = HashSet::new();
    if let Some(entry) = list.entries.iter().find(|entry| !known.insert(entry.prefix)) {
        return Err(ModelError::DuplicateEntry { list: name(), prefix: entry.prefix });
    }
    if list.entries.len() > list.max_entries as usize {
        return Err(ModelError::TooManyEntries {
            list: name(),
            entries: list.entries.len(),
            max_entries: list.max_entries,
        });
    }
    Ok(())
}

fn peer_text(peer: &DocumentPeer) -> String {
    match peer {
        DocumentPeer::Cidr(prefix) => prefix.to_string(),
        DocumentPeer::Group(group) => format!("group {group}"),
        DocumentPeer::PrefixList(list) => format!("prefix list {list}"),
    }
}
