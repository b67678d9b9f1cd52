//! Prefix lists, their entries, and the entries of their old versions.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashSet, HashSetExt};
use ipnet::IpNet;
use rusqlite::{Row, params};

use super::tags::PREFIX_LIST_TAGS;
use super::{Snapshot, StoreError, Transaction, parse_column, parse_optional_column, runs};
use crate::model::{
    Description, PrefixList, PrefixListEntry, PrefixListId, PrefixListVersion, Resource, Tags,
};

/// The entries of the current version of a list.
const CURRENT: &str =
    "SELECT rowid, * FROM prefix_list_entries WHERE list = ? AND until IS NULL ORDER BY rowid";

/// What no version of a list has from the oldest one on that is kept.
const DROP_OLD: &str = "DELETE FROM prefix_list_entries WHERE list = ?1 AND until <= ?2";

/// Entries that belong to no version, because their version was rewritten.
const DROP_REPLACED: &str = "DELETE FROM prefix_list_entries WHERE list = ?1 AND until = ?2 AND since = ?2";

impl Snapshot<'_> {
    /// Every prefix list with the entries of its current version, by name.
    pub fn prefix_lists(&self) -> Result<Vec<PrefixList>, StoreError> {
        self.known(|memo| &mut memo.prefix_lists, || self.read_prefix_lists())
    }

    fn read_prefix_lists(&self) -> Result<Vec<PrefixList>, StoreError> {
        let mut tags: BTreeMap<PrefixListId, Tags> = self.tags(PREFIX_LIST_TAGS)?;
        let mut lists = Vec::new();
        let mut statement = self.sql.prepare_cached("SELECT * FROM prefix_lists ORDER BY name")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = parse_column(row, "id")?;
            let runs = self.current_runs(id)?;
            let mut entries = Vec::with_capacity(runs.iter().map(|run| run.prefixes.len()).sum());
            runs.into_iter().for_each(|run| entries.extend(run.entries()));
            lists.push(PrefixList {
                id,
                name: parse_column(row, "name")?,
                family: parse_column(row, "family")?,
                max_entries: row.get("max_entries")?,
                version: row.get::<_, i64>("version")?.cast_unsigned(),
                tags: tags.remove(&id).unwrap_or_default(),
                entries,
            });
        }
        Ok(lists)
    }

    fn current_runs(&self, list: PrefixListId) -> Result<Vec<Run>, StoreError> {
        let mut statement = self.sql.prepare_cached(CURRENT)?;
        let mut rows = statement.query([list.to_string()])?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next()? {
            runs.push(Run::read(row)?);
        }
        Ok(runs)
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
            "SELECT rowid, * FROM prefix_list_entries
             WHERE list = ?1 AND since <= ?2 AND (until IS NULL OR until > ?2) ORDER BY rowid",
        )?;
        let mut rows = statement.query(params![list.id.to_string(), version.cast_signed()])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.extend(Run::read(row)?.entries());
        }
        Ok(Some(entries))
    }

    /// The versions of a prefix list that are kept, the oldest first.
    pub fn prefix_list_versions(&self, list: &PrefixList) -> Result<Vec<PrefixListVersion>, StoreError> {
        let oldest = self.oldest_version(list.id)?;
        let (mut added, mut removed) = (BTreeMap::new(), BTreeMap::new());
        let mut statement =
            self.sql.prepare_cached("SELECT since, until, prefix FROM prefix_list_entries WHERE list = ?")?;
        let mut rows = statement.query([list.id.to_string()])?;
        while let Some(row) = rows.next()? {
            let count = runs::prefixes(row)?.len() as u64;
            *added.entry(row.get::<_, i64>("since")?.cast_unsigned()).or_default() += count;
            if let Some(until) = row.get::<_, Option<i64>>("until")? {
                *removed.entry(until.cast_unsigned()).or_default() += count;
            }
        }
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
        self.store_tags(Resource::PrefixList(list.id), &list.tags)?;
        self.insert_entries(list, &list.entries)?;
        self.note_lists(|lists| insert_by_name(lists, list.clone()));
        Ok(())
    }

    /// Stores the name and the size of a prefix list that is there.
    pub fn update_prefix_list(&self, list: &PrefixList) -> Result<(), StoreError> {
        self.sql.execute(
            "UPDATE prefix_lists SET name = ?2, max_entries = ?3 WHERE id = ?1",
            params![list.id.to_string(), list.name.as_str(), list.max_entries],
        )?;
        self.note_lists(|lists| {
            if let Some(place) = lists.iter().position(|known| known.id == list.id) {
                let known = lists.remove(place);
                let (name, max_entries) = (list.name.clone(), list.max_entries);
                insert_by_name(lists, PrefixList { name, max_entries, ..known });
            }
        });
        Ok(())
    }

    /// Stores the entries of a prefix list that is there, as those of the version that the list has. Versions beyond
    /// those that are kept drop out.
    pub fn replace_entries(&self, list: &PrefixList) -> Result<(), StoreError> {
        let (id, version) = (list.id.to_string(), list.version.cast_signed());
        let kept = self.close_entries(list)?;
        let new: Vec<PrefixListEntry> =
            list.entries.iter().filter(|entry| !kept.contains(&entry.prefix)).cloned().collect();
        let first_kept = (list.version + 1).saturating_sub(PrefixList::KEPT_VERSIONS);
        let oldest = first_kept.max(self.oldest_version(list.id)?).cast_signed();
        self.sql.execute(
            "UPDATE prefix_lists SET version = ?2, oldest_version = ?3 WHERE id = ?1",
            params![id, version, oldest],
        )?;
        self.sql.execute(DROP_OLD, params![id, oldest])?;
        self.sql.execute(DROP_REPLACED, params![id, version])?;
        self.insert_entries(list, &new)?;
        self.note_lists(|lists| {
            if let Some(known) = lists.iter_mut().find(|known| known.id == list.id) {
                known.version = list.version;
                known.entries.retain(|entry| kept.contains(&entry.prefix));
                known.entries.extend(new);
            }
        });
        Ok(())
    }

    /// Deletes a prefix list.
    pub fn delete_prefix_list(&self, list: PrefixListId) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM prefix_lists WHERE id = ?", [list.to_string()])?;
        self.note_lists(|lists| lists.retain(|known| known.id != list));
        Ok(())
    }

    fn note_lists(&self, change: impl FnOnce(&mut Vec<PrefixList>)) {
        self.note(|memo| &mut memo.prefix_lists, change);
    }

    /// Ends the entries that a list has no more, or with another description, and returns the prefixes of the others. A
    /// run of which some stay and some go is divided, each part at the positions that it had.
    fn close_entries(&self, list: &PrefixList) -> Result<HashSet<IpNet>, StoreError> {
        let mut kept = HashSet::new();
        let wanted: HashMap<IpNet, &Option<Description>> =
            list.entries.iter().map(|entry| (entry.prefix, &entry.description)).collect();
        let version = list.version.cast_signed();
        for run in self.current_runs(list.id)? {
            let is_kept = |prefix: &IpNet| wanted.get(prefix) == Some(&&run.description);
            kept.extend(run.prefixes.iter().copied().filter(is_kept));
            if run.prefixes.iter().all(is_kept) {
                continue;
            }
            let mut position = run.position;
            for part in runs::split(&run.prefixes, |one, next| is_kept(one) == is_kept(next)) {
                let until = part.first().is_none_or(|prefix| !is_kept(prefix)).then_some(version);
                if position == run.position {
                    let shorten = "UPDATE prefix_list_entries SET prefix = ?2, until = ?3 WHERE rowid = ?1";
                    self.sql.prepare_cached(shorten)?.execute(params![position, runs::pack(part), until])?;
                } else {
                    self.insert_run(
                        &Run { position, prefixes: part.to_vec(), ..run.clone() },
                        list.id,
                        until,
                    )?;
                }
                position += part.len() as i64;
            }
        }
        Ok(kept)
    }

    /// Stores entries that the version of the list is the first one to have.
    fn insert_entries(&self, list: &PrefixList, entries: &[PrefixListEntry]) -> Result<(), StoreError> {
        let mut position = self.next_position()?;
        for run in runs::split(entries, |one, next| one.description == next.description) {
            let prefixes: Vec<IpNet> = run.iter().map(|entry| entry.prefix).collect();
            let description = run.first().and_then(|entry| entry.description.clone());
            let since = list.version.cast_signed();
            self.insert_run(&Run { position, prefixes, description, since }, list.id, None)?;
            position += run.len() as i64;
        }
        Ok(())
    }

    /// Behind all entries of all lists.
    fn next_position(&self) -> Result<i64, StoreError> {
        let last = "SELECT rowid, prefix FROM prefix_list_entries ORDER BY rowid DESC LIMIT 1";
        let mut statement = self.sql.prepare_cached(last)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(1) };
        Ok(row.get::<_, i64>("rowid")? + runs::prefixes(row)?.len() as i64)
    }

    fn insert_run(&self, run: &Run, list: PrefixListId, until: Option<i64>) -> Result<(), StoreError> {
        let insert = "INSERT INTO prefix_list_entries (rowid, list, prefix, description, since, until)
                      VALUES (?, ?, ?, ?, ?, ?)";
        self.sql.prepare_cached(insert)?.execute(params![
            run.position,
            list.to_string(),
            runs::pack(&run.prefixes),
            run.description.as_ref().map(Description::as_str),
            run.since,
            until,
        ])?;
        Ok(())
    }
}

fn insert_by_name(lists: &mut Vec<PrefixList>, list: PrefixList) {
    let place = lists.partition_point(|known| known.name.as_str() < list.name.as_str());
    lists.insert(place, list);
}

/// A row of entries.
#[derive(Clone)]
struct Run {
    position: i64,
    prefixes: Vec<IpNet>,
    description: Option<Description>,
    since: i64,
}

impl Run {
    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            position: row.get("rowid")?,
            prefixes: runs::prefixes(row)?,
            description: parse_optional_column(row, "description")?,
            since: row.get("since")?,
        })
    }

    fn entries(self) -> impl Iterator<Item = PrefixListEntry> {
        let Self { prefixes, description, .. } = self;
        prefixes.into_iter().map(move |prefix| PrefixListEntry { prefix, description: description.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::AddressFamily;
    use crate::store::{Author, Store, WriteLock};

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

    /// Each change reads what the lists have now; it must not get slower with every version that they had.
    #[test]
    fn what_a_list_has_now_is_found_without_its_old_versions() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let snapshot = store.snapshot().unwrap();
        for statement in [CURRENT, DROP_OLD, DROP_REPLACED] {
            let mut plan = snapshot.sql.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
            let parameters = rusqlite::params_from_iter(vec![1; plan.parameter_count()]);
            let steps = plan.query_map(parameters, |row| row.get("detail")).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            assert!(matches!(&steps[..], [one] if one.contains("(list=? AND until")), "{steps:?}");
        }
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

    #[test]
    fn a_run_that_is_divided_keeps_the_order_of_its_entries_in_every_version() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let transaction = store.begin(&lock).unwrap();
        let other = PrefixList::new("other".parse().unwrap(), AddressFamily::Ipv4, 1000, vec![entry(9999)]);
        let entries: Vec<PrefixListEntry> = (0..300).map(entry).collect();
        let mut list =
            PrefixList::new("office".parse().unwrap(), AddressFamily::Ipv4, 1000, entries.clone()).unwrap();
        transaction.insert_prefix_list(&list).unwrap();
        transaction.set_generation(1, &Author::default()).unwrap();
        let gone: Vec<IpNet> = [0, 5, 6, 127, 128, 200, 299].map(|number| entry(number).prefix).to_vec();
        list.remove_entries(&gone).unwrap();
        transaction.replace_entries(&list).unwrap();
        transaction.insert_prefix_list(&other.unwrap()).unwrap();
        transaction.set_generation(2, &Author::default()).unwrap();
        let second = list.clone();
        list.add_entries(vec![entry(300), entry(5)]).unwrap();
        transaction.replace_entries(&list).unwrap();
        transaction.set_generation(3, &Author::default()).unwrap();
        let of_version = |version| transaction.prefix_list_entries(&list, version).unwrap().unwrap();
        assert_eq!(of_version(1), entries);
        assert_eq!(of_version(2), second.entries);
        assert_eq!(of_version(3), list.entries);
        let versions = transaction.prefix_list_versions(&list).unwrap();
        assert_eq!(
            versions
                .iter()
                .map(|version| (version.entries, version.added, version.removed))
                .collect::<Vec<_>>(),
            [(300, 300, 0), (293, 0, 7), (295, 2, 0)]
        );

        transaction.rewind_to(2).unwrap();
        assert_eq!(transaction.prefix_lists().unwrap()[0], second);
        transaction.rewind_to(1).unwrap();
        assert_eq!(transaction.prefix_lists().unwrap()[0].entries, entries);
    }
}
