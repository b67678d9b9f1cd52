//! Tags of groups, rules and prefix lists.

use std::collections::BTreeMap;
use std::str::FromStr;

use rusqlite::params;

use super::{CorruptValue, Snapshot, StoreError, Transaction, parse_column};
use crate::model::{Resource, TagKey, Tags};

pub(super) const GROUP_TAGS: &str = "group_tags";
pub(super) const RULE_TAGS: &str = "rule_tags";
pub(super) const PREFIX_LIST_TAGS: &str = "prefix_list_tags";

impl Snapshot<'_> {
    /// The tags of every resource of a kind that has any.
    pub(super) fn tags<Id: FromStr<Err: Into<CorruptValue>> + Ord>(
        &self,
        table: &str,
    ) -> Result<BTreeMap<Id, Tags>, StoreError> {
        let mut all: BTreeMap<Id, Tags> = BTreeMap::new();
        let mut statement = self.sql.prepare_cached(&format!("SELECT * FROM {table}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key: TagKey = parse_column(row, "key")?;
            let corrupt =
                |error| StoreError::Corrupt { column: "key", value: key.to_string(), source: error };
            let tags = all.entry(parse_column(row, "resource")?).or_default();
            tags.set([(key.clone(), parse_column(row, "value")?)]).map_err(|error| corrupt(error.into()))?;
        }
        Ok(all)
    }
}

impl Transaction<'_> {
    /// Stores the tags of a resource that is there, in the place of those that it had.
    pub fn replace_tags(&self, resource: Resource, tags: &Tags) -> Result<(), StoreError> {
        self.store_tags(resource, tags)?;
        match resource {
            Resource::Group(id) => self.note(
                |memo| &mut memo.groups,
                |groups| {
                    let known = groups.iter_mut().filter(|group| group.id == id);
                    known.for_each(|group| group.tags.clone_from(tags));
                },
            ),
            Resource::Rule(id) => self.note(
                |memo| &mut memo.groups,
                |groups| {
                    let known =
                        groups.iter_mut().flat_map(|group| &mut group.rules).filter(|rule| rule.id == id);
                    known.for_each(|rule| rule.tags.clone_from(tags));
                },
            ),
            Resource::PrefixList(id) => self.note(
                |memo| &mut memo.prefix_lists,
                |lists| {
                    let known = lists.iter_mut().filter(|list| list.id == id);
                    known.for_each(|list| list.tags.clone_from(tags));
                },
            ),
        }
        Ok(())
    }

    pub(super) fn store_tags(&self, resource: Resource, tags: &Tags) -> Result<(), StoreError> {
        let table = match resource {
            Resource::Group(_) => GROUP_TAGS,
            Resource::Rule(_) => RULE_TAGS,
            Resource::PrefixList(_) => PREFIX_LIST_TAGS,
        };
        let resource = resource.to_string();
        self.sql.prepare_cached(&format!("DELETE FROM {table} WHERE resource = ?"))?.execute([&resource])?;
        let insert = format!("INSERT INTO {table} (resource, key, value) VALUES (?, ?, ?)");
        let mut statement = self.sql.prepare_cached(&insert)?;
        for (key, value) in tags.iter() {
            statement.execute(params![resource, key.as_str(), value.as_str()])?;
        }
        Ok(())
    }
}
