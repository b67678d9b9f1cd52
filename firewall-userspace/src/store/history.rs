//! Generations: who made them, when and by what; and the one that waits to be confirmed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Snapshot, Store, StoreError, Transaction, WriteLock, copy_all};

/// How many generations can be gone back to.
const KEPT: u32 = 1000;

/// Who changes an instance, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// Name of the user.
    pub user: String,
    /// The command as it was typed.
    pub command: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number. Numbers grow, but not by one.
    pub number: u64,
    /// When it was made.
    pub at: SystemTime,
    /// By whom.
    pub author: Author,
}

/// A generation that is undone unless it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnconfirmedGeneration {
    /// Its number.
    pub generation: u64,
    /// The one to go back to.
    pub previous: u64,
    /// When its time is over, by the wall clock. While programs are attached, their own clock counts.
    pub until: SystemTime,
    /// How long after the confirmation flows without a rule are cut; `None` to keep them.
    pub cut_after: Option<Duration>,
}

impl Store {
    /// What was stored when a generation was made, in memory, as a store that nothing can be written to.
    pub fn at(&self, generation: u64) -> Result<Self, StoreError> {
        let mut past = Self::of(Connection::open_in_memory()?);
        copy_all(&self.connection, &mut past.connection)?;
        let transaction = past.begin_unrecorded()?;
        transaction.rewind_to(generation)?;
        transaction.commit()?;
        Ok(past)
    }

    /// Makes it as if nothing had been stored after a generation.
    pub fn undo_after(&mut self, generation: u64, lock: &WriteLock) -> Result<(), StoreError> {
        if self.snapshot()?.generation()? == generation {
            return Ok(());
        }
        let transaction = self.begin(lock)?;
        transaction.rewind_to(generation)?;
        transaction.forget_undo_after(generation)?;
        transaction
            .sql
            .execute("DELETE FROM generations WHERE generation > ?", [generation.cast_signed()])?;
        transaction.delete_unconfirmed()?;
        transaction.set_meta("generation", generation.cast_signed())?;
        transaction.commit()
    }
}

impl Snapshot<'_> {
    /// The generations that are remembered, the newest first.
    pub fn history(&self) -> Result<Vec<Generation>, StoreError> {
        let mut statement = self.sql.prepare_cached("SELECT * FROM generations ORDER BY generation DESC")?;
        let rows = statement.query_map([], |row| {
            Ok(Generation {
                number: row.get::<_, i64>("generation")?.cast_unsigned(),
                at: time(row.get("at")?),
                author: Author { user: row.get("user")?, command: row.get("command")? },
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The generation that waits to be confirmed.
    pub fn unconfirmed(&self) -> Result<Option<UnconfirmedGeneration>, StoreError> {
        self.known(|memo| &mut memo.unconfirmed, || self.read_unconfirmed())
    }

    fn read_unconfirmed(&self) -> Result<Option<UnconfirmedGeneration>, StoreError> {
        let mut statement = self.sql.prepare_cached("SELECT * FROM unconfirmed")?;
        let row = statement.query_row([], |row| {
            Ok(UnconfirmedGeneration {
                generation: row.get::<_, i64>("generation")?.cast_unsigned(),
                previous: row.get::<_, i64>("previous")?.cast_unsigned(),
                until: time(row.get("until")?),
                cut_after: row
                    .get::<_, Option<u32>>("cut_after")?
                    .map(|seconds| Duration::from_secs(seconds.into())),
            })
        });
        Ok(row.optional()?)
    }
}

impl Transaction<'_> {
    /// Gives the change its generation.
    pub fn set_generation(&self, generation: u64, author: &Author) -> Result<(), StoreError> {
        self.set_meta("generation", generation.cast_signed())?;
        self.stamp(generation)?;
        self.sql.execute(
            "INSERT INTO generations (generation, at, user, command) VALUES (?, ?, ?, ?)",
            params![generation.cast_signed(), seconds(SystemTime::now()), author.user, author.command],
        )?;
        self.forget_oldest()
    }

    /// Remembers that a generation waits to be confirmed.
    pub fn set_unconfirmed(&self, unconfirmed: &UnconfirmedGeneration) -> Result<(), StoreError> {
        let UnconfirmedGeneration { generation, previous, until, cut_after } = unconfirmed;
        let cut_after = cut_after.map(|delay| i64::try_from(delay.as_secs()).unwrap_or(i64::MAX));
        self.sql.execute(
            "INSERT INTO unconfirmed (generation, previous, until, cut_after) VALUES (?, ?, ?, ?)",
            params![generation.cast_signed(), previous.cast_signed(), seconds(*until), cut_after],
        )?;
        let stored = UnconfirmedGeneration { until: time(seconds(*until)), ..*unconfirmed };
        self.note(|memo| &mut memo.unconfirmed, |known| *known = Some(stored));
        Ok(())
    }

    /// Forgets that a generation waits to be confirmed.
    pub fn delete_unconfirmed(&self) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM unconfirmed", [])?;
        self.note(|memo| &mut memo.unconfirmed, |known| *known = None);
        Ok(())
    }

    fn forget_oldest(&self) -> Result<(), StoreError> {
        let oldest = "SELECT generation FROM generations ORDER BY generation DESC LIMIT 1 OFFSET ?";
        let oldest: Option<i64> = self.sql.query_row(oldest, [KEPT], |row| row.get(0)).optional()?;
        let Some(oldest) = oldest else {
            return Ok(());
        };
        // The one after this is gone back to by what undoes those after it.
        self.sql.execute("DELETE FROM generations WHERE generation <= ?", [oldest])?;
        self.sql.execute("DELETE FROM undo WHERE generation <= ?", [oldest])?;
        Ok(())
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupName, SecurityGroup};

    const TIMEOUT: Duration = Duration::from_secs(5);

    struct Fixture {
        store: Store,
        lock: WriteLock,
        _directory: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path(), TIMEOUT).unwrap();
            let lock = WriteLock::acquire(directory.path(), TIMEOUT).unwrap();
            Self { store, lock, _directory: directory }
        }

        fn change(&mut self, generation: u64, change: impl FnOnce(&Transaction<'_>)) {
            let transaction = self.store.begin(&self.lock).unwrap();
            change(&transaction);
            let author = Author { user: "root".to_owned(), command: format!("change {generation}") };
            transaction.set_generation(generation, &author).unwrap();
            transaction.commit().unwrap();
        }

        fn create(&mut self, generation: u64, name: &str) {
            let name: GroupName = name.parse().unwrap();
            self.change(generation, |transaction| {
                let mut group = SecurityGroup::new(name, "a tier".parse().unwrap()).unwrap();
                group.rules.reverse();
                transaction.insert_group(&group).unwrap();
                transaction.insert_members(group.id, &["10.0.0.1/32".parse().unwrap()]).unwrap();
            });
        }

        fn delete(&mut self, generation: u64, name: &str) {
            let groups = self.groups();
            let group = groups.iter().find(|group| group.name.as_str() == name).unwrap().id;
            self.change(generation, |transaction| transaction.delete_group(group).unwrap());
        }

        fn groups(&mut self) -> Vec<SecurityGroup> {
            self.store.snapshot().unwrap().groups().unwrap()
        }

        fn history(&mut self) -> Vec<u64> {
            let history = self.store.snapshot().unwrap().history().unwrap();
            history.iter().map(|generation| generation.number).collect()
        }
    }

    #[test]
    fn any_generation_can_be_looked_at_and_gone_back_to_and_forth() {
        let mut fixture = Fixture::new();
        let stock = fixture.groups();
        fixture.create(1, "web");
        let web = fixture.groups();
        fixture.create(3, "app");
        fixture.delete(4, "web");
        let app = fixture.groups();
        assert_eq!((web.len(), app.len()), (2, 2));

        let mut past = fixture.store.at(1).unwrap();
        assert_eq!(past.snapshot().unwrap().groups().unwrap(), web);
        assert_eq!(fixture.store.at(0).unwrap().snapshot().unwrap().groups().unwrap(), stock);
        assert_eq!(fixture.groups(), app);

        fixture.change(6, |transaction| transaction.rewind_to(1).unwrap());
        assert_eq!(fixture.groups(), web);
        let members = fixture.store.snapshot().unwrap().members().unwrap();
        assert_eq!(members.len(), 1, "what went with the group came back with it");
        fixture.change(7, |transaction| transaction.rewind_to(4).unwrap());
        assert_eq!(fixture.groups(), app);
        assert_eq!(fixture.history(), [7, 6, 4, 3, 1]);
    }

    #[test]
    fn what_is_undone_leaves_no_trace() {
        let mut fixture = Fixture::new();
        fixture.create(1, "web");
        let before = fixture.groups();
        fixture.delete(2, "web");
        fixture.store.undo_after(1, &fixture.lock).unwrap();
        assert_eq!((fixture.groups(), fixture.history()), (before.clone(), vec![1]));
        assert_eq!(fixture.store.snapshot().unwrap().generation().unwrap(), 1);
        // Nothing happened, so nothing is undone.
        fixture.store.undo_after(1, &fixture.lock).unwrap();
        assert_eq!(fixture.groups(), before);
    }

    #[test]
    fn the_oldest_generations_are_forgotten_and_the_rest_can_be_gone_back_to() {
        let mut fixture = Fixture::new();
        fixture.create(1, "web");
        let web = fixture.groups();
        for generation in 2..=u64::from(KEPT) + 1 {
            fixture.change(generation, |_| ());
        }
        assert_eq!(fixture.history().len(), KEPT as usize);
        assert_eq!(fixture.history().last(), Some(&2));
        assert_eq!(fixture.store.at(2).unwrap().snapshot().unwrap().groups().unwrap(), web);
    }

    #[test]
    fn a_generation_waits_to_be_confirmed_until_it_is() {
        let mut fixture = Fixture::new();
        let waiting = UnconfirmedGeneration {
            generation: 1,
            previous: 0,
            until: time(1_800_000_000),
            cut_after: Some(Duration::from_secs(300)),
        };
        fixture.change(1, |transaction| transaction.set_unconfirmed(&waiting).unwrap());
        assert_eq!(fixture.store.snapshot().unwrap().unconfirmed().unwrap(), Some(waiting));
        fixture.store.undo_after(0, &fixture.lock).unwrap();
        assert_eq!(fixture.store.snapshot().unwrap().unconfirmed().unwrap(), None);
    }
}
