//! Prefix lists and their entries.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rusqlite::params;

use super::{Snapshot, StoreError, Transaction, parse_column};
use crate::model::{PrefixList, PrefixListId, Tags};

impl Snapshot<'_> {
    /// Every prefix list with its entries, by name.
    pub fn prefix_lists(&self) -> Result<Vec<PrefixList>, StoreError> {
        let mut entries: BTreeMap<PrefixListId, Vec<IpNet>> = BTreeMap::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM prefix_list_entries ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            entries.entry(parse_column(row, "list")?).or_default().push(parse_column(row, "prefix")?);
        }
        let mut lists = Vec::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM prefix_lists ORDER BY name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = parse_column(row, "id")?;
            lists.push(PrefixList {
                id,
                name: parse_column(row, "name")?,
                family: parse_column(row, "family")?,
                max_entries: row.get("max_entries")?,
                version: row.get::<_, i64>("version")?.cast_unsigned(),
                tags: Tags::default(),
                entries: entries.remove(&id).unwrap_or_default(),
            });
        }
        Ok(lists)
    }
}

impl Transaction<'_> {
    /// Stores a new prefix list with its entries.
    pub fn insert_prefix_list(&self, list: &PrefixList) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO prefix_lists (id, name, family, max_entries, version) VALUES (?, ?, ?, ?, ?)",
            params![
                list.id.to_string(),
                list.name.as_str(),
                list.family.to_string(),
                list.max_entries,
                list.version.cast_signed(),
            ],
        )?;
        self.insert_entries(list.id, &list.entries)
    }

    /// Stores the name and the size of a prefix list that is there.
    pub fn update_prefix_list(&self, list: &PrefixList) -> Result<(), StoreError> {
        self.sql.execute(
            "UPDATE prefix_lists SET name = ?2, max_entries = ?3 WHERE id = ?1",
            params![list.id.to_string(), list.name.as_str(), list.max_entries],
        )?;
        Ok(())
    }

    /// Stores the entries and the version of a prefix list that is there.
    pub fn replace_entries(&self, list: &PrefixList) -> Result<(), StoreError> {
        let id = list.id.to_string();
        self.sql.execute(
            "UPDATE prefix_lists SET version = ? WHERE id = ?",
            params![list.version.cast_signed(), id],
        )?;
        self.sql.execute("DELETE FROM prefix_list_entries WHERE list = ?", [id])?;
        self.insert_entries(list.id, &list.entries)
    }

    /// Deletes a prefix list.
    pub fn delete_prefix_list(&self, list: PrefixListId) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM prefix_lists WHERE id = ?", [list.to_string()])?;
        Ok(())
    }

    fn insert_entries(&self, list: PrefixListId, entries: &[IpNet]) -> Result<(), StoreError> {
        let insert = "INSERT INTO prefix_list_entries (list, prefix) VALUES (?, ?)";
        let mut statement = self.sql.prepare_cached(insert)?;
        let list = list.to_string();
        for prefix in entries {
            statement.execute(params![list, prefix.to_string()])?;
        }
        Ok(())
    }
}
