//! Which rules a rule set id of the data plane stands for.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Snapshot, StoreError, Transaction, parse_column};
use crate::model::RuleId;

impl Snapshot<'_> {
    /// The rules of every set that was ever published.
    pub fn rule_sets(&self) -> Result<BTreeMap<u32, Vec<RuleId>>, StoreError> {
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
        Ok(())
    }
}
