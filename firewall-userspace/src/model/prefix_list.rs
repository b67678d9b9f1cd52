//! Prefix lists: named sets of prefixes that rules refer to. Each change of the entries makes a new version.

use std::fmt;
use std::str::FromStr;

use foldhash::HashSet;
use ipnet::IpNet;

use super::{
    AddressFamily, Description, ModelError, Peer, PrefixListId, PrefixListName, SecurityGroup, SecurityRule,
    Tags,
};

/// A prefix list in its current version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixList {
    /// Identifier.
    pub id: PrefixListId,
    /// Name, unique.
    pub name: PrefixListName,
    /// The family of every entry; AWS lists are never mixed.
    pub family: AddressFamily,
    /// How many entries it may have.
    pub max_entries: u32,
    /// Counts changes of the entries, from 1.
    pub version: u64,
    /// Tags.
    pub tags: Tags,
    /// Its entries, each prefix once.
    pub entries: Vec<PrefixListEntry>,
}

/// An entry of a prefix list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixListEntry {
    /// A canonical prefix.
    pub prefix: IpNet,
    /// Free text.
    pub description: Option<Description>,
}

impl From<IpNet> for PrefixListEntry {
    fn from(prefix: IpNet) -> Self {
        Self { prefix, description: None }
    }
}

/// What one version of a prefix list changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixListVersion {
    /// Its number.
    pub version: u64,
    /// How many entries it has.
    pub entries: u64,
    /// How many of them the version before it does not have.
    pub added: u64,
    /// How many entries of the version before it are gone.
    pub removed: u64,
}

impl PrefixList {
    /// How many versions are kept (AWS quota "Versions per customer-managed prefix list"): the oldest ones drop out.
    pub const KEPT_VERSIONS: u64 = 1000;

    /// A list in its first version.
    pub fn new(
        name: PrefixListName,
        family: AddressFamily,
        max_entries: u32,
        entries: Vec<PrefixListEntry>,
    ) -> Result<Self, ModelError> {
        if max_entries == 0 {
            return Err(ModelError::NoRoomForEntries);
        }
        let id = PrefixListId::random()?;
        let tags = Tags::default();
        let mut list = Self { id, name, family, max_entries, version: 1, tags, entries: Vec::new() };
        list.insert(entries)?;
        Ok(list)
    }

    /// Adds all the entries or none, as a new version.
    pub fn add_entries(&mut self, entries: Vec<PrefixListEntry>) -> Result<(), ModelError> {
        self.insert(entries)?;
        self.version += 1;
        Ok(())
    }

    /// Removes all the entries or none, as a new version.
    pub fn remove_entries(&mut self, prefixes: &[IpNet]) -> Result<(), ModelError> {
        let known: HashSet<&IpNet> = self.entries.iter().map(|entry| &entry.prefix).collect();
        if let Some(&prefix) = prefixes.iter().find(|prefix| !known.contains(prefix)) {
            return Err(ModelError::EntryNotFound { list: self.name.clone(), prefix });
        }
        let removed: HashSet<&IpNet> = prefixes.iter().collect();
        self.entries.retain(|entry| !removed.contains(&entry.prefix));
        self.version += 1;
        Ok(())
    }

    /// Goes back to the entries of an old version, as a new version. AWS: the list must still have room for them.
    pub fn restore(&mut self, entries: Vec<PrefixListEntry>) -> Result<(), ModelError> {
        let mut restored = Self { entries: Vec::new(), ..self.clone() };
        restored.add_entries(entries)?;
        *self = restored;
        Ok(())
    }

    /// Changes how many entries the list may have. That is no new version.
    pub fn resize(&mut self, max_entries: u32) -> Result<(), ModelError> {
        if max_entries == 0 {
            return Err(ModelError::NoRoomForEntries);
        }
        if self.entries.len() > max_entries as usize {
            let (list, entries) = (self.name.clone(), self.entries.len());
            return Err(ModelError::TooManyEntries { list, entries, max_entries });
        }
        self.max_entries = max_entries;
        Ok(())
    }

    /// Refuses a change that was made up for another version than the current one.
    pub fn check_version(&self, expected: u64) -> Result<(), ModelError> {
        if expected == self.version {
            return Ok(());
        }
        Err(ModelError::VersionMismatch { list: self.name.clone(), expected, current: self.version })
    }

    /// The rules that refer to the list, with their groups.
    pub fn referrers<'g>(
        &self,
        groups: &'g [SecurityGroup],
    ) -> impl Iterator<Item = (&'g SecurityGroup, &'g SecurityRule)> {
        let peer = Peer::PrefixList(self.id);
        let rules = groups.iter().flat_map(|group| group.rules.iter().map(move |rule| (group, rule)));
        rules.filter(move |(_, rule)| rule.peer == peer)
    }

    /// Whether the list may be deleted: AWS requires all references to be gone.
    pub fn check_deletable(&self, groups: &[SecurityGroup]) -> Result<(), ModelError> {
        let dependents: Vec<String> = self
            .referrers(groups)
            .map(|(group, rule)| format!("rule {} of group {}", rule.id, group.name))
            .collect();
        if dependents.is_empty() {
            return Ok(());
        }
        Err(ModelError::HasDependents { resource: self.id.to_string(), dependents })
    }

    fn insert(&mut self, entries: Vec<PrefixListEntry>) -> Result<(), ModelError> {
        let mut known: HashSet<IpNet> = self.entries.iter().map(|entry| entry.prefix).collect();
        known.reserve(entries.len());
        for &PrefixListEntry { prefix, .. } in &entries {
            if AddressFamily::of(&prefix) != self.family {
                return Err(ModelError::WrongFamily { list: self.name.clone(), family: self.family, prefix });
            }
            if !known.insert(prefix) {
                return Err(ModelError::DuplicateEntry { list: self.name.clone(), prefix });
            }
        }
        if known.len() > self.max_entries as usize {
            return Err(ModelError::TooManyEntries {
                list: self.name.clone(),
                entries: known.len(),
                max_entries: self.max_entries,
            });
        }
        self.entries.extend(entries);
        Ok(())
    }
}

/// How a command names a prefix list: by id or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixListReference {
    /// By identifier.
    Id(PrefixListId),
    /// By name.
    Name(PrefixListName),
}

impl PrefixListReference {
    /// The prefix list that is meant.
    pub fn find<'l>(&self, lists: &'l [PrefixList]) -> Result<&'l PrefixList, ModelError> {
        lists
            .iter()
            .find(|list| match self {
                Self::Id(id) => list.id == *id,
                Self::Name(name) => list.name == *name,
            })
            .ok_or_else(|| ModelError::PrefixListNotFound { reference: self.clone() })
    }
}

impl FromStr for PrefixListReference {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        if PrefixListId::is_meant_by(text) {
            return text.parse().map(Self::Id);
        }
        text.parse().map(Self::Name)
    }
}

impl fmt::Display for PrefixListReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(max_entries: u32, prefixes: &[&str]) -> Result<PrefixList, ModelError> {
        PrefixList::new("office".parse().unwrap(), AddressFamily::Ipv4, max_entries, entries(prefixes))
    }

    fn entries(prefixes: &[&str]) -> Vec<PrefixListEntry> {
        prefixes.iter().map(|prefix| prefix.parse::<IpNet>().unwrap().into()).collect()
    }

    #[test]
    fn each_change_of_the_entries_is_a_new_version() {
        let mut office = list(5, &["10.0.0.0/8"]).unwrap();
        assert_eq!(office.version, 1);
        office.add_entries(entries(&["192.0.2.0/24"])).unwrap();
        office.remove_entries(&["10.0.0.0/8".parse().unwrap()]).unwrap();
        assert_eq!((office.version, &office.entries), (3, &entries(&["192.0.2.0/24"])));
        office.restore(entries(&["10.0.0.0/8", "11.0.0.0/8"])).unwrap();
        assert_eq!((office.version, &office.entries), (4, &entries(&["10.0.0.0/8", "11.0.0.0/8"])));
        office.resize(2).unwrap();
        assert_eq!((office.version, office.max_entries), (4, 2));
    }

    #[test]
    fn a_refused_change_leaves_the_list_as_it_was() {
        let mut office = list(2, &["10.0.0.0/8"]).unwrap();
        let before = office.clone();
        for refused in
            [&["::/0"][..], &["10.0.0.0/8"], &["10.1.0.0/16", "10.1.0.0/16"], &["10.1.0.0/16", "10.2.0.0/16"]]
        {
            office.add_entries(entries(refused)).unwrap_err();
            assert_eq!(office, before);
        }
        office.restore(entries(&["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"])).unwrap_err();
        office.resize(0).unwrap_err();
        assert_eq!(office, before);
        assert_eq!(office.check_version(2).unwrap_err().aws_code(), Some("PrefixListVersionMismatch"));
        office.remove_entries(&["10.0.0.0/8".parse().unwrap(), "10.9.0.0/16".parse().unwrap()]).unwrap_err();
        assert_eq!(office, before);
    }

    #[test]
    fn a_list_has_room_for_at_least_one_entry() {
        assert!(list(0, &[]).is_err());
        assert!(list(1, &["10.0.0.0/8", "11.0.0.0/8"]).is_err());
        assert!(list(2, &["10.0.0.0/8", "11.0.0.0/8"]).unwrap().resize(1).is_err());
    }
}
