//! What the operator has asked for, on disk: groups, rules, prefix lists, tags, members, interfaces, quotas, and the
//! generation.
//!
//! One SQLite file in the state directory. Readers see a consistent [`Snapshot`] and need no lock; a writer holds the
//! [`WriteLock`] of the directory from reading what it changes until the change is in force, which is longer than a
//! database transaction: that is why the lock is a file of its own. `operations` is the only caller. The store
//! knows model types and SQL; it must not know about the data plane.

mod columns;
mod error;
mod exempt;
mod groups;
mod history;
mod interfaces;
mod lock;
mod management;
mod memo;
mod prefix_lists;
mod quotas;
#[cfg(test)]
pub(crate) mod reads;
mod rule_sets;
mod runs;
mod settings;
mod tags;
mod undo;

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::model::SecurityGroup;

pub use columns::CorruptValue;
pub use error::StoreError;
pub use history::{Author, Generation, UnconfirmedGeneration};
pub use lock::WriteLock;

use columns::{parse_column, parse_optional_column, parse_text};
use memo::Memo;

const DATABASE: &str = "sgfw.db";
/// A database that is being made. It gets its name when it is whole, so that one of that name was never empty.
const NEW_DATABASE: &str = "sgfw.db.new";
const NEW_JOURNAL: &str = "sgfw.db.new-journal";
/// Kept in SQLite's `user_version`.
const SCHEMA_VERSION: u32 = 9;
/// The steps from each version of the schema to the next, from an empty database on. A step that was ever released is
/// never changed; a change of the schema is a step more. New stores take them all, so that they are the same as old ones.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
];
/// How long a reader waits for a writer that is committing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The store of one instance.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    memo: RefCell<Memo>,
}

impl Store {
    /// Opens the store in `directory`. Where there is none it is created with the group `default`; one that an older
    /// sgfw wrote is brought up to date. `lock_timeout` bounds the wait for another process that does either.
    pub fn open(directory: &Path, lock_timeout: Duration) -> Result<Self, StoreError> {
        let path = directory.join(DATABASE);
        if !exists(&path)? {
            Self::create(directory, lock_timeout)?;
        }
        let mut store = Self::of(connect(&path, OpenFlags::empty())?);
        let found = store.schema_version()?;
        match found.cmp(&SCHEMA_VERSION) {
            Ordering::Equal => {}
            Ordering::Less => {
                let _lock = WriteLock::acquire(directory, lock_timeout)?;
                store.bring_up_to_date()?;
            }
            Ordering::Greater => {
                return Err(StoreError::UnknownSchema { path, found, supported: SCHEMA_VERSION });
            }
        }
        Ok(store)
    }

    fn of(connection: Connection) -> Self {
        Self { connection, memo: RefCell::default() }
    }

    /// What is stored now. It stays the same while the snapshot lives.
    pub fn snapshot(&mut self) -> Result<Snapshot<'_>, StoreError> {
        let sql = self.connection.transaction()?;
        self.memo.get_mut().refresh(&sql)?;
        Ok(Snapshot { sql, memo: &self.memo })
    }

    /// Begins a change. Nothing is stored unless it is committed.
    pub fn begin(&mut self, _lock: &WriteLock) -> Result<Transaction<'_>, StoreError> {
        undo::record_changes(&self.connection)?;
        self.begin_unrecorded()
    }

    fn begin_unrecorded(&mut self) -> Result<Transaction<'_>, StoreError> {
        let sql = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let memo = self.memo.get_mut();
        memo.refresh(&sql)?;
        let data_version = memo.doubt();
        Ok(Transaction { snapshot: Snapshot { sql, memo: &self.memo }, data_version })
    }

    /// Creates the directory and the database, unless another process does it meanwhile.
    fn create(directory: &Path, lock_timeout: Duration) -> Result<(), StoreError> {
        let cannot_create = |source| StoreError::CannotCreate { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(cannot_create)?;
        let _lock = WriteLock::acquire(directory, lock_timeout)?;
        let (path, new) = (directory.join(DATABASE), directory.join(NEW_DATABASE));
        if exists(&path)? {
            return Ok(());
        }
        // What a process left that was killed while it was here.
        for left in [new.clone(), directory.join(NEW_JOURNAL)] {
            match fs::remove_file(&left) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot_create(error)),
                _ => {}
            }
        }
        Self::of(connect(&new, OpenFlags::SQLITE_OPEN_CREATE)?).bring_up_to_date()?;
        fs::rename(&new, &path).map_err(cannot_create)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(cannot_create)
    }

    /// Takes the steps of the schema that are missing; an empty database gets the group `default` too.
    fn bring_up_to_date(&mut self) -> Result<(), StoreError> {
        // Read under the lock: another process may have done it meanwhile.
        let found = self.schema_version()?;
        // Not by `begin`: what makes a store is nothing to go back from.
        let transaction = self.begin_unrecorded()?;
        for (version, migration) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
            transaction.sql.execute_batch(migration)?;
            transaction.sql.pragma_update(None, "user_version", version)?;
        }
        if found == 0 {
            let default_group = SecurityGroup::default_group().map_err(StoreError::DefaultGroup)?;
            transaction.insert_group(&default_group)?;
        }
        transaction.commit()
    }

    fn schema_version(&mut self) -> Result<u32, StoreError> {
        Ok(self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
    }
}

/// A consistent view of the store. The questions it answers are in the modules named after what they ask about.
#[derive(Debug)]
pub struct Snapshot<'s> {
    sql: rusqlite::Transaction<'s>,
    memo: &'s RefCell<Memo>,
}

impl Snapshot<'_> {
    /// Counts changes; the policy in force carries the generation that it was made of.
    pub fn generation(&self) -> Result<u64, StoreError> {
        self.meta("generation").map(i64::cast_unsigned)
    }

    fn meta(&self, name: &str) -> Result<i64, StoreError> {
        let meta = self.known(
            |memo| &mut memo.meta,
            || {
                let mut statement = self.sql.prepare_cached("SELECT name, value FROM meta")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<BTreeMap<String, i64>, _>>()?)
            },
        )?;
        Ok(meta.get(name).copied().unwrap_or(0))
    }
}

/// A change that is not stored yet. It reads like a [`Snapshot`] that has the change in it.
#[derive(Debug)]
pub struct Transaction<'s> {
    snapshot: Snapshot<'s>,
    /// That of what is known, once this is committed.
    data_version: Option<i64>,
}

impl Transaction<'_> {
    /// Stores the change.
    pub fn commit(self) -> Result<(), StoreError> {
        let Snapshot { sql, memo } = self.snapshot;
        sql.commit()?;
        memo.borrow_mut().keep(self.data_version);
        Ok(())
    }

    fn set_meta(&self, name: &str, value: i64) -> Result<(), StoreError> {
        let upsert =
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
        self.sql.prepare_cached(upsert)?.execute((name, value))?;
        self.note(
            |memo| &mut memo.meta,
            |meta| {
                meta.insert(name.to_owned(), value);
            },
        );
        Ok(())
    }
}

impl<'s> Deref for Transaction<'s> {
    type Target = Snapshot<'s>;

    fn deref(&self) -> &Self::Target {
        &self.snapshot
    }
}

/// Whether there is a database. One that is empty was truncated: taken for a new one, all that was stored would be gone.
fn exists(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == 0 => Err(StoreError::Empty { path: path.to_owned() }),
        Ok(_) => Ok(true),
        // Whoever may not look may not create one either, and is told so there.
        Err(_) => Ok(false),
    }
}

fn connect(path: &Path, extra: OpenFlags) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | extra;
    let cannot_open = |source| StoreError::CannotOpen { path: PathBuf::from(path), source };
    let connection = Connection::open_with_flags(path, flags).map_err(cannot_open)?;
    #[cfg(test)]
    let connection = reads::counted(connection);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // A change that was reported as done must still be there after a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn copy_all(from: &Connection, to: &mut Connection) -> Result<(), StoreError> {
    const PAGES_PER_STEP: i32 = 1024;
    Backup::new(from, to)?.run_to_completion(PAGES_PER_STEP, Duration::from_millis(1), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InterfaceOptions;

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn a_new_store_has_the_default_group_and_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let groups = store.snapshot().unwrap().groups().unwrap();
        assert_eq!(groups.len(), 1);
        assert!(groups[0].name.is_default());
        drop(store);
        let mut again = Store::open(directory.path(), TIMEOUT).unwrap();
        assert_eq!(again.snapshot().unwrap().groups().unwrap(), groups);
    }

    #[test]
    fn a_store_whose_making_was_interrupted_is_made_anew_and_an_empty_one_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NEW_DATABASE), "half of it").unwrap();
        fs::write(directory.path().join(NEW_JOURNAL), "of that half").unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        assert_eq!(store.snapshot().unwrap().groups().unwrap().len(), 1);
        assert!(!directory.path().join(NEW_DATABASE).exists());
        drop(store);
        File::create(directory.path().join(DATABASE)).unwrap();
        let error = Store::open(directory.path(), TIMEOUT).unwrap_err();
        assert!(error.is_damage(), "{error}");
    }

    #[test]
    fn a_change_that_is_not_committed_is_not_stored() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let transaction = store.begin(&lock).unwrap();
        transaction.set_generation(7, &Author::default()).unwrap();
        assert_eq!(transaction.generation().unwrap(), 7);
        drop(transaction);
        assert_eq!(store.snapshot().unwrap().generation().unwrap(), 0);
    }

    #[test]
    fn a_store_of_another_version_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), TIMEOUT).unwrap();
        store.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        let error = Store::open(directory.path(), TIMEOUT).unwrap_err();
        assert!(matches!(error, StoreError::UnknownSchema { found: 99, .. }), "{error}");
    }

    #[test]
    fn a_store_of_the_first_version_is_brought_up_to_date_and_keeps_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(DATABASE);
        let old = connect(&path, OpenFlags::SQLITE_OPEN_CREATE).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(
            "INSERT INTO groups VALUES ('sg-0123456789abcdef0', 'web', 'web tier');
             INSERT INTO interfaces VALUES ('eni-0123456789abcdef0', 'eth7', 3, 9, 'tc', 1);
             INSERT INTO interface_groups VALUES ('eni-0123456789abcdef0', 'sg-0123456789abcdef0');
             PRAGMA user_version = 1;",
        )
        .unwrap();
        drop(old);
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let interfaces = store.snapshot().unwrap().interfaces().unwrap();
        assert_eq!((interfaces[0].name.as_str(), interfaces[0].slot, interfaces[0].zone), ("eth7", 3, 9));
        assert_eq!(interfaces[0].options, InterfaceOptions::default());
        assert_eq!(store.snapshot().unwrap().groups().unwrap().len(), 1, "no second group `default`");
        assert_eq!(store.schema_version().unwrap(), SCHEMA_VERSION);
    }

    #[test]
    fn entries_of_the_second_version_are_those_of_the_current_version_of_their_list() {
        let directory = tempfile::tempdir().unwrap();
        let old = connect(&directory.path().join(DATABASE), OpenFlags::SQLITE_OPEN_CREATE).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.execute_batch(MIGRATIONS[1]).unwrap();
        old.execute_batch(
            "INSERT INTO groups VALUES ('sg-0123456789abcdef0', 'web', 'web tier');
             INSERT INTO prefix_lists VALUES ('pl-0123456789abcdef0', 'office', 'IPv4', 5, 7);
             INSERT INTO prefix_list_entries VALUES ('pl-0123456789abcdef0', '10.2.0.0/16');
             INSERT INTO prefix_list_entries VALUES ('pl-0123456789abcdef0', '10.1.0.0/16');
             INSERT INTO rules (id, group_id, direction, protocol, peer_prefix_list, description) VALUES
                ('sgr-0123456789abcdef0', 'sg-0123456789abcdef0', 'ingress', 'all', 'pl-0123456789abcdef0', 'x');
             PRAGMA user_version = 2;",
        )
        .unwrap();
        drop(old);
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let snapshot = store.snapshot().unwrap();
        let lists = snapshot.prefix_lists().unwrap();
        let prefixes: Vec<String> = lists[0].entries.iter().map(|entry| entry.prefix.to_string()).collect();
        assert_eq!(
            (lists[0].version, prefixes),
            (7, vec!["10.2.0.0/16".to_owned(), "10.1.0.0/16".to_owned()])
        );
        assert_eq!(snapshot.prefix_list_entries(&lists[0], 6).unwrap(), None, "what it was nobody knows");
        assert_eq!(snapshot.prefix_list_versions(&lists[0]).unwrap().len(), 1);
        let rules = &snapshot.groups().unwrap()[0].rules;
        assert_eq!((rules.len(), rules[0].tags.is_empty()), (1, true));
        assert!(snapshot.quotas().unwrap().is_empty());
    }

    #[test]
    fn a_change_of_the_sixth_version_can_be_gone_back_from() {
        let directory = tempfile::tempdir().unwrap();
        let old = connect(&directory.path().join(DATABASE), OpenFlags::SQLITE_OPEN_CREATE).unwrap();
        MIGRATIONS[..6].iter().for_each(|step| old.execute_batch(step).unwrap());
        old.execute_batch("PRAGMA user_version = 6").unwrap();
        undo::record_changes(&old).unwrap();
        // As that version did it: an entry is added, and in the next generation another one takes its place.
        old.execute_batch(
            "INSERT INTO groups VALUES ('sg-0123456789abcdef0', 'web', 'web tier');
             INSERT INTO prefix_lists VALUES ('pl-0123456789abcdef0', 'office', 'IPv4', 5, 1, 1);
             INSERT INTO prefix_list_entries VALUES ('pl-0123456789abcdef0', '10.1.0.0/16', 'x', 1, NULL);
             INSERT INTO prefix_list_entries VALUES ('pl-0123456789abcdef0', '10.2.0.0/16', NULL, 1, NULL);
             UPDATE undo SET generation = 1;
             UPDATE prefix_list_entries SET until = 2 WHERE prefix = '10.1.0.0/16';
             UPDATE prefix_lists SET version = 2;
             INSERT INTO prefix_list_entries VALUES ('pl-0123456789abcdef0', '10.3.0.0/16', NULL, 2, NULL);
             UPDATE undo SET generation = 2 WHERE generation IS NULL;",
        )
        .unwrap();
        drop(old);
        let mut store = Store::open(directory.path(), TIMEOUT).unwrap();
        let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
        let transaction = store.begin(&lock).unwrap();
        let prefixes = || -> Vec<String> {
            let lists = transaction.prefix_lists().unwrap();
            lists[0].entries.iter().map(|entry| entry.prefix.to_string()).collect()
        };
        assert_eq!(prefixes(), ["10.2.0.0/16", "10.3.0.0/16"]);
        let mut list = transaction.prefix_lists().unwrap().remove(0);
        list.remove_entries(&["10.2.0.0/16".parse().unwrap()]).unwrap();
        list.add_entries(vec![
            "10.4.0.0/16".parse::<ipnet::IpNet>().unwrap().into(),
            "10.5.0.0/16".parse::<ipnet::IpNet>().unwrap().into(),
        ])
        .unwrap();
        transaction.replace_entries(&list).unwrap();
        transaction.stamp(3).unwrap();
        assert_eq!(prefixes(), ["10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"]);
        transaction.rewind_to(2).unwrap();
        assert_eq!(prefixes(), ["10.2.0.0/16", "10.3.0.0/16"]);
        // Both are in the log now, and taken back again before the first change is.
        transaction.stamp(4).unwrap();
        transaction.rewind_to(1).unwrap();
        assert_eq!(prefixes(), ["10.1.0.0/16", "10.2.0.0/16"]);
    }
}
