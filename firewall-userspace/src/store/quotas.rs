//! Quotas that the operator has set.

use rusqlite::params;

use super::{Snapshot, StoreError, Transaction, parse_column};
use crate::model::Quotas;

impl Snapshot<'_> {
    /// The quotas that are set.
    pub fn quotas(&self) -> Result<Quotas, StoreError> {
        self.known(|memo| &mut memo.quotas, || self.read_quotas())
    }

    fn read_quotas(&self) -> Result<Quotas, StoreError> {
        let mut quotas = Quotas::default();
        let mut statement = self.sql.prepare_cached("SELECT * FROM quotas")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            quotas.set(parse_column(row, "name")?, row.get::<_, i64>("value")?.cast_unsigned());
        }
        Ok(quotas)
    }
}

impl Transaction<'_> {
    /// Stores the quotas in the place of those that were set.
    pub fn replace_quotas(&self, quotas: &Quotas) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM quotas", [])?;
        let mut statement = self.sql.prepare_cached("INSERT INTO quotas (name, value) VALUES (?, ?)")?;
        for (quota, value) in quotas.iter() {
            statement.execute(params![quota.name(), value.cast_signed()])?;
        }
        self.note(|memo| &mut memo.quotas, |known| known.clone_from(quotas));
        Ok(())
    }
}
