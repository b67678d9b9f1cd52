//! Prefix lists, their entries, and the entries of their old versions.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use rusqlite::{Row, params};

use super::tags::PREFIX_LIST_TAGS;
use super::{Snapshot, StoreError, Transaction, parse_column, parse_optional_column, text_column};
use crate::model::{
    Description, PrefixList, PrefixListEntry, PrefixListId, PrefixListVersion, Resource, Tags,
};

impl Snapshot<'_> {
    /// Every prefix list with the entries of its current version, by name.
    pub fn prefix_lists(&self) -> Result<Vec<PrefixList>, StoreError> {
        let mut entries = self.entries_by_list()?;
        let mut tags: BTreeMap<PrefixListId, Tags> = self.tags(PREFIX_LIST_TAGS)?;
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
                tags: tags.remove(&id).unwrap_or_default(),
                entries: entries.remove(text_column(row, "id")?).unwrap_or_default(),
            });
        }
        Ok(lists)
    }

    /// The entries of the current version of each prefix list that has any, by its id. There may be a million, so the id is
    /// not read anew with each.
    fn entries_by_list(&self) -> Result<HashMap<String, Vec<PrefixListEntry>>, StoreError> {
        let current =
            "SELECT prefix, description, list FROM prefix_list_entries WHERE until IS NULL ORDER BY rowid";
        let mut statement = self.sql.prepare_cached(current)?;
        let mut rows = statement.query([])?;
        let mut entries: HashMap<String, Vec<PrefixListEntry>> = HashMap::new();
        while let Some(row) = rows.next()? {
            let list = text_column(row, "list")?;
            match entries.get_mut(list) {
                Some(of_list) => of_list.push(read_entry(row)?),
                None => {
                    entries.insert(list.to_owned(), vec![read_entry(row)?]);
                }
            }
        }
        Ok(entries)
    }

    /// The entries of a version of a prefix list, or `None` if the version is not kept or never was.
    pub fn prefix_list_entries(
        &self,
        list: &PrefixList,
        version: u64,
    ) -> Result<Option<Vec<PrefixListEntry>>, StoreError> {
        if !(self.oldest_version(list.id)?..=list.version).contains(&version) {
            return Ok(None);
        }
        let mut statement = self.sql.prepare_cached(
            "SELECT * FROM prefix_list_entries
             WHERE list = ?1 AND since <= ?2 AND (until IS NULL OR until > ?2) ORDER BY rowid",
        )?;
        let mut rows = statement.query(params![list.id.to_string(), version.cast_signed()])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(read_entry(row)?);
        }
        Ok(Some(entries))
    }

    /// The versions of a prefix list that are kept, the oldest first.
    pub fn prefix_list_versions(&self, list: &PrefixList) -> Result<Vec<PrefixListVersion>, StoreError> {
        let oldest = self.oldest_version(list.id)?;
        let count = |column: &str| -> Result<BTreeMap<u64, u64>, StoreError> {
            let sql = format!(
                "SELECT {column}, count(*) FROM prefix_list_entries WHERE list = ? GROUP BY {column}"
            );
            let mut statement = self.sql.prepare_cached(&sql)?;
            let mut counts = BTreeMap::new();
            let mut rows = statement.query([list.id.to_string()])?;
            while let Some(row) = rows.next()? {
                if let Some(version) = row.get::<_, Option<i64>>(0)? {
                    counts.insert(version.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned());
                }
            }
            Ok(counts)
        };
        let (added, removed) = (count("since")?, count("until")?);
        // What an older version added and no kept one has removed was there when the oldest one began.
        let mut entries: u64 = added.range(..oldest).map(|(_, count)| count).sum();
        let mut versions = Vec::new();
        for version in oldest..=list.version {
            let of_version = |counts: &BTreeMap<u64, u64>| counts.get(&version).copied().unwrap_or(0);
            let (added, removed) = (of_version(&added), of_version(&removed));
            entries = (entries + added).saturating_sub(removed);
            versions.push(PrefixListVersion { version, entries, added, removed });
        }
        Ok(versions)
    }

    fn oldest_version(&self, list: PrefixListId) -> Result<u64, StoreError> {
        let mut statement =
            self.sql.prepare_cached("SELECT oldest_version FROM prefix_lists WHERE id = ?")?;
        let oldest: i64 = statement.query_row([list.to_string()], |row| row.get(0))?;
        Ok(oldest.cast_unsigned())
    }
}

impl Transaction<'_> {
    /// Stores a new prefix list with its entries.
    pub fn insert_prefix_list(&self, list: &PrefixList) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO prefix_lists (id, name, family, max_entries, version, oldest_version)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
            params![
                list.id.to_string(),
                list.name.as_str(),
                list.family.to_string(),
                list.max_entries,
                list.version.cast_signed(),
            ],
        )?;
        self.replace_tags(Resource::PrefixList(list.id), &list.tags)?;
        self.insert_entries(list, &list.entries)
    }

    /// Stores the name and the size of a prefix list that is there.
    pub fn update_prefix_list(&self, list: &PrefixList) -> Result<(), StoreError> {
        self.sql.execute(
            "UPDATE prefix_lists SET name = ?2, max_entries = ?3 WHERE id = ?1",
            params![list.id.to_string(), list.name.as_str(), list.max_entries],
        )?;
        Ok(())
    }

    /// Stores the entries of a prefix list that is there, as those of the version that the list has. Versions beyond
    /// those that are kept drop out.
    pub fn replace_entries(&self, list: &PrefixList) -> Result<(), StoreError> {
        let (id, version) = (list.id.to_string(), list.version.cast_signed());
        let mut gone = self.current_entries(list.id)?;
        let mut new = Vec::new();
        for entry in &list.entries {
            match gone.get(&entry.prefix) {
                Some(description) if *description == entry.description => {
                    gone.remove(&entry.prefix);
                }
                _ => new.push(entry.clone()),
            }
        }
        let close =
            "UPDATE prefix_list_entries SET until = ?3 WHERE list = ?1 AND prefix = ?2 AND until IS NULL";
        let mut statement = self.sql.prepare_cached(close)?;
        for prefix in gone.keys() {
            statement.execute(params![id, prefix.to_string(), version])?;
        }
        let first_kept = (list.version + 1).saturating_sub(PrefixList::KEPT_VERSIONS);
        let oldest = first_kept.max(self.oldest_version(list.id)?).cast_signed();
        self.sql.execute(
            "UPDATE prefix_lists SET version = ?2, oldest_version = ?3 WHERE id = ?1",
            params![id, version, oldest],
        )?;
        // What is in no version that is kept, or in none at all, because a version was stored anew.
        self.sql.execute(
            "DELETE FROM prefix_list_entries WHERE list = ?1 AND (until <= ?2 OR until <= since)",
            params![id, oldest],
        )?;
        self.insert_entries(list, &new)
    }

    /// Deletes a prefix list.
    pub fn delete_prefix_list(&self, list: PrefixListId) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM prefix_lists WHERE id = ?", [list.to_string()])?;
        Ok(())
    }

    fn current_entries(&self, list: PrefixListId) -> Result<HashMap<IpNet, Option<Description>>, StoreError> {
        let current = "SELECT * FROM prefix_list_entries WHERE list = ? AND until IS NULL";
        let mut statement = self.sql.prepare_cached(current)?;
        let mut rows = statement.query([list.to_string()])?;
        let mut entries = HashMap::new();
        while let Some(row) = rows.next()? {
            let entry = read_entry(row)?;
            entries.insert(entry.prefix, entry.description);
        }
        Ok(entries)
    }

    /// Stores entries that the version of the list is the first one to have.
    fn insert_entries(&self, list: &PrefixList, entries: &[PrefixListEntry]) -> Result<(), StoreError> {
        let insert = "INSERT INTO prefix_list_entries (list, prefix, description, since) VALUES (?, ?, ?, ?)";
        let mut statement = self.sql.prepare_cached(insert)?;
        let id = list.id.to_string();
        for entry in entries {
            statement.execute(params![
                id,
                entry.prefix.to_string(),
                entry.description.as_ref().map(Description::as_str),
                list.version.cast_signed(),
            ])?;
        }
        Ok(())
    }
}

fn read_entry(row: &Row<'_>) -> Result<PrefixListEntry, StoreError> {
    Ok(PrefixListEntry {
        prefix: parse_column(row, "prefix")?,
        description: parse_optional_column(row, "description")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::AddressFamily;
    use crate::store::{Store, WriteLock};

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn entry(number: u64) -> PrefixListEntry {
        PrefixListEntry::from(format!("10.{}.{}.0/24", number / 250, number % 250).parse::<IpNet>().unwrap())
    }

    #[test]
    fn every_version_keeps_its_entries_until_it_is_older_than_the_last_thousand() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let transaction = store.begin(&lock).unwrap();
        let mut list =
            PrefixList::new("office".parse().unwrap(), AddressFamily::Ipv4, 10, vec![entry(1), entry(2)])
                .unwrap();
        transaction.insert_prefix_list(&list).unwrap();
        // Version n has the entries n and n + 1.
        for version in 2..=1005 {
            list.restore(vec![entry(version), entry(version + 1)]).unwrap();
            transaction.replace_entries(&list).unwrap();
        }
        transaction.commit().unwrap();

        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.prefix_lists().unwrap(), [list.clone()]);
        for version in [0, 1, 5, 1006] {
            assert_eq!(snapshot.prefix_list_entries(&list, version).unwrap(), None, "{version}");
        }
        for version in [6, 700, 1005] {
            let expected = vec![entry(version), entry(version + 1)];
            assert_eq!(snapshot.prefix_list_entries(&list, version).unwrap(), Some(expected), "{version}");
        }
        let versions = snapshot.prefix_list_versions(&list).unwrap();
        assert_eq!(versions.len(), 1000);
        assert!(versions.iter().all(|version| version.entries == 2), "{versions:?}");
        assert_eq!(versions[999], PrefixListVersion { version: 1005, entries: 2, added: 1, removed: 1 });
    }

    #[test]
    fn a_new_description_is_a_new_version_of_the_entry() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let transaction = store.begin(&lock).unwrap();
        let mut list =
            PrefixList::new("office".parse().unwrap(), AddressFamily::Ipv4, 10, vec![entry(1)]).unwrap();
        transaction.insert_prefix_list(&list).unwrap();
        list.entries[0].description = Some("headquarters".parse().unwrap());
        list.version = 2;
        transaction.replace_entries(&list).unwrap();
        assert_eq!(transaction.prefix_lists().unwrap(), [list.clone()]);
        assert_eq!(transaction.prefix_list_entries(&list, 1).unwrap(), Some(vec![entry(1)]));

        // The same version once more, with other entries.
        list.entries = vec![entry(1), entry(2)];
        transaction.replace_entries(&list).unwrap();
        assert_eq!(transaction.prefix_lists().unwrap(), [list.clone()]);
        assert_eq!(transaction.prefix_list_entries(&list, 1).unwrap(), Some(vec![entry(1)]));
        assert_eq!(transaction.prefix_list_versions(&list).unwrap().len(), 2);
    }
}
