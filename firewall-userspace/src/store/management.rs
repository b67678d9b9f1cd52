//! Management prefixes, and whether panic mode is on.

use rusqlite::{Row, params};

use super::{CorruptValue, Snapshot, StoreError, Transaction, parse_column};
use crate::model::{ManagementPrefix, ManagementProperties, ManagementService, Protocol, RuleId};

impl Snapshot<'_> {
    /// Every management prefix, in the order in which they were added.
    pub fn management_prefixes(&self) -> Result<Vec<ManagementPrefix>, StoreError> {
        self.known(|memo| &mut memo.management_prefixes, || self.read_management_prefixes())
    }

    fn read_management_prefixes(&self) -> Result<Vec<ManagementPrefix>, StoreError> {
        let mut statement = self.sql.prepare_cached("SELECT * FROM management_prefixes ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        let mut prefixes = Vec::new();
        while let Some(row) = rows.next()? {
            let properties = ManagementProperties {
                interface: row.get("interface")?,
                service: read_service(row)?,
                prefix: parse_column(row, "prefix")?,
            };
            prefixes.push(ManagementPrefix { rule: parse_column(row, "rule")?, properties });
        }
        Ok(prefixes)
    }

    /// Whether panic mode is on.
    pub fn is_panic(&self) -> Result<bool, StoreError> {
        let query = "SELECT EXISTS (SELECT 1 FROM modes WHERE name = 'panic' AND value)";
        let read = || Ok(self.sql.prepare_cached(query)?.query_row([], |row| row.get(0))?);
        self.known(|memo| &mut memo.is_panic, read)
    }
}

impl Transaction<'_> {
    /// Stores new management prefixes. The caller has seen that they are not there yet.
    pub fn insert_management_prefixes(&self, prefixes: &[ManagementPrefix]) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached(
            "INSERT INTO management_prefixes (rule, interface, protocol, ports, prefix) VALUES (?, ?, ?, ?, ?)",
        )?;
        for ManagementPrefix { rule, properties } in prefixes {
            statement.execute(params![
                rule.to_string(),
                properties.interface,
                properties.service.protocol().to_string(),
                properties.service.ports().to_string(),
                properties.prefix.to_string(),
            ])?;
        }
        self.note(|memo| &mut memo.management_prefixes, |known| known.extend_from_slice(prefixes));
        Ok(())
    }

    /// Deletes management prefixes.
    pub fn delete_management_prefixes(&self, rules: &[RuleId]) -> Result<(), StoreError> {
        let mut statement = self.sql.prepare_cached("DELETE FROM management_prefixes WHERE rule = ?")?;
        for rule in rules {
            statement.execute([rule.to_string()])?;
        }
        let is_kept = |known: &ManagementPrefix| !rules.contains(&known.rule);
        self.note(|memo| &mut memo.management_prefixes, |known| known.retain(is_kept));
        Ok(())
    }

    /// Turns panic mode on or off.
    pub fn set_panic(&self, is_on: bool) -> Result<(), StoreError> {
        let statement = "INSERT OR REPLACE INTO modes (name, value) VALUES ('panic', ?)";
        self.sql.prepare_cached(statement)?.execute([is_on])?;
        self.note(|memo| &mut memo.is_panic, |known| *known = is_on);
        Ok(())
    }
}

fn read_service(row: &Row<'_>) -> Result<ManagementService, StoreError> {
    let protocol: Protocol = parse_column(row, "protocol")?;
    ManagementService::new(protocol, parse_column(row, "ports")?).map_err(|error| StoreError::Corrupt {
        column: "protocol",
        value: protocol.to_string(),
        source: CorruptValue::from(error),
    })
}
