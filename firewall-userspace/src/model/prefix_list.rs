//! Prefix lists: named sets of prefixes that rules refer to. Each change of the entries makes a new version.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::{
    AddressFamily, Description, ModelError, Peer, PrefixListId, PrefixListName, SecurityGroup, Tags,
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
    /// Canonical prefixes, each once.
    pub entries: Vec<IpNet>,
}

/// An entry of a prefix list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixListEntry {
    /// A canonical prefix.
    pub prefix: IpNet,
    /// Free text.
    pub description: Option<Description>,
}

impl PrefixList {
    /// A list in its first version.
    pub fn new(
        name: PrefixListName,
        family: AddressFamily,
        max_entries: u32,
        entries: Vec<IpNet>,
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
    pub fn add_entries(&mut self, entries: Vec<IpNet>) -> Result<(), ModelError> {
        self.insert(entries)?;
        self.version += 1;
        Ok(())
    }

    /// Removes all the entries or none, as a new version.
    pub fn remove_entries(&mut self, entries: &[IpNet]) -> Result<(), ModelError> {
        let known: HashSet<&IpNet> = self.entries.iter().collect();
        if let Some(&prefix) = entries.iter().find(|entry| !known.contains(entry)) {
            return Err(ModelError::EntryNotFound { list: self.name.clone(), prefix });
        }
        let removed: HashSet<&IpNet> = entries.iter().collect();
        self.entries.retain(|entry| !removed.contains(entry));
        self.version += 1;
        Ok(())
    }

    /// Whether the list may be deleted: AWS requires all references to be gone.
    pub fn check_deletable(&self, groups: &[SecurityGroup]) -> Result<(), ModelError> {
        let dependents: Vec<String> = groups
            .iter()
            .flat_map(|group| group.rules.iter().map(move |rule| (group, rule)))
            .filter(|(_, rule)| rule.peer == Peer::PrefixList(self.id))
            .map(|(group, rule)| format!("rule {} of group {}", rule.id, group.name))
            .collect();
        if dependents.is_empty() {
            return Ok(());
        }
        Err(ModelError::HasDependents { resource: self.id.to_string(), dependents })
    }

    fn insert(&mut self, entries: Vec<IpNet>) -> Result<(), ModelError> {
        let mut known: HashSet<IpNet> = self.entries.iter().copied().collect();
        for &prefix in &entries {
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
        if text.starts_with(PrefixListId::PREFIX) {
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

    fn list(max_entries: u32, entries: &[&str]) -> Result<PrefixList, ModelError> {
        let entries = entries.iter().map(|entry| entry.parse().unwrap()).collect();
        PrefixList::new("office".parse().unwrap(), AddressFamily::Ipv4, max_entries, entries)
    }

    #[test]
    fn each_change_of_the_entries_is_a_new_version() {
        let mut office = list(5, &["10.0.0.0/8"]).unwrap();
        assert_eq!(office.version, 1);
        office.add_entries(vec!["192.0.2.0/24".parse().unwrap()]).unwrap();
        office.remove_entries(&["10.0.0.0/8".parse().unwrap()]).unwrap();
        assert_eq!(office.version, 3);
        assert_eq!(office.entries, ["192.0.2.0/24".parse().unwrap()]);
    }

    #[test]
    fn a_refused_change_leaves_the_list_as_it_was() {
        let mut office = list(2, &["10.0.0.0/8"]).unwrap();
        let before = office.clone();
        for entries in
            [&["::/0"][..], &["10.0.0.0/8"], &["10.1.0.0/16", "10.1.0.0/16"], &["10.1.0.0/16", "10.2.0.0/16"]]
        {
            let entries = entries.iter().map(|entry| entry.parse().unwrap()).collect();
            office.add_entries(entries).unwrap_err();
            assert_eq!(office, before);
        }
        office.remove_entries(&["10.0.0.0/8".parse().unwrap(), "10.9.0.0/16".parse().unwrap()]).unwrap_err();
        assert_eq!(office, before);
    }

    #[test]
    fn a_list_has_room_for_at_least_one_entry() {
        assert!(list(0, &[]).is_err());
        assert!(list(1, &["10.0.0.0/8", "11.0.0.0/8"]).is_err());
    }
}
