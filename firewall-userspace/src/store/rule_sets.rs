//! Which rules a rule set id of the data plane stands for.

use std::collections::{BTreeMap, HashSet};

use rusqlite::params;

use super::{Snapshot, StoreError, Transaction, parse_column};
use crate::model::RuleId;

/// In `meta`, which going back to an earlier generation leaves as it is.
const HIGHEST_DELETED: &str = "highest_deleted_rule_set";

impl Snapshot<'_> {
    /// The highest id of a set that was deleted. Ids above it were only ever given to the sets that are here.
    pub fn highest_deleted_rule_set(&self) -> Result<u32, StoreError> {
        Ok(u32::try_from(self.meta(HIGHEST_DELETED)?).unwrap_or(u32::MAX))
    }

    /// The rules of every set that was published and that something may still name.
    pub fn rule_sets(&self) -> Result<BTreeMap<u32, Vec<RuleId>>, StoreError> {
        self.known(|memo| &mut memo.rule_sets, || self.read_rule_sets())
    }

    fn read_rule_sets(&self) -> Result<BTreeMap<u32, Vec<RuleId>>, StoreError> {
        let mut sets: BTreeMap<u32, Vec<RuleId>> = BTreeMap::new();
        let mut statement = self.sql.prepare_cached("SELECT id, rule FROM rule_sets ORDER BY id, rule")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sets.entry(row.get("id")?).or_default().push(parse_column(row, "rule")?);
        }
        Ok(sets)
    }
}

impl Transaction<'_> {
    /// Stores a new set.
    pub fn insert_rule_set(&self, id: u32, rules: &[RuleId]) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached("INSERT INTO rule_sets (id, rule) VALUES (?, ?)")?;
        for rule in rules {
            statement.execute(params![id, rule.to_string()])?;
        }
        self.note(
            |memo| &mut memo.rule_sets,
            |sets| {
                let of_set = sets.entry(id).or_default();
                of_set.extend_from_slice(rules);
                // As the text of their ids is sorted, which is as long for all.
                of_set.sort_unstable();
            },
        );
        Ok(())
    }

    /// Deletes every set but these. `highest` is the highest id that was ever given: none up to it is given again.
    pub fn retain_rule_sets(&self, kept: &HashSet<u32>, highest: u32) -> Result<(), StoreError> {
        let ids: Vec<u32> = self.rule_sets()?.into_keys().collect();
        let mut delete = self.sql.prepare_cached("DELETE FROM rule_sets WHERE id = ?")?;
        for id in ids.iter().filter(|id| !kept.contains(id)) {
            delete.execute([id])?;
        }
        self.note(|memo| &mut memo.rule_sets, |sets| sets.retain(|id, _| kept.contains(id)));
        self.set_meta(HIGHEST_DELETED, highest.into())
    }
}
