//! The undo log: for each change of a row, the statement that takes it back.
//!
//! Triggers of SQLite write it, made anew for each connection from the schema, so that no table can be forgotten (the
//! technique of <https://sqlite.org/undoredo.html>). Going back costs as much as the changes did, whatever the size of
//! the store.

use rusqlite::Connection;

use super::{Snapshot, StoreError, Transaction};

/// Tables that are no part of what an operator has asked for. `meta` has counters that only ever grow, and `rule_sets`
/// names rules of flows that live on; addresses of interfaces are what the host has.
const NOT_UNDONE: &str = "'meta', 'rule_sets', 'generations', 'undo', 'unconfirmed', 'interface_addresses'";

/// The table whose rows stand for programs on interfaces, which no statement can bring back.
const ATTACHED: &str = "interfaces";

/// Makes every change of this connection write how it is undone.
pub(super) fn record_changes(connection: &Connection) -> Result<(), StoreError> {
    // Rows that make room in an INSERT OR REPLACE are deleted too.
    connection.pragma_update(None, "recursive_triggers", true)?;
    let tables = format!(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
         AND name NOT IN ({NOT_UNDONE})"
    );
    let mut tables = connection.prepare(&tables)?;
    let tables = tables.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    for table in tables {
        connection.execute_batch(&triggers(&table, &columns(connection, &table)?))?;
    }
    Ok(())
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<String>, StoreError> {
    let mut columns = connection.prepare("SELECT name FROM pragma_table_info(?)")?;
    let columns = columns.query_map([table], |row| row.get(0))?;
    Ok(columns.collect::<Result<_, _>>()?)
}

/// Every undoable table has a rowid. Putting a row back under its own keeps the order in which rows are read.
fn triggers(table: &str, columns: &[String]) -> String {
    let names = columns.join(", ");
    let values = columns.iter().map(|column| format!("quote(OLD.{column})"));
    let values = values.collect::<Vec<_>>().join(" || ', ' || ");
    let assignments = columns.iter().map(|column| format!("'{column} = ' || quote(OLD.{column})"));
    let assignments = assignments.collect::<Vec<_>>().join(" || ', ' || ");
    format!(
        "CREATE TEMP TRIGGER IF NOT EXISTS undo_insert_{table} AFTER INSERT ON main.{table} BEGIN
             INSERT INTO undo (statement) VALUES ('DELETE FROM {table} WHERE rowid = ' || NEW.rowid);
         END;
         CREATE TEMP TRIGGER IF NOT EXISTS undo_update_{table} AFTER UPDATE ON main.{table} BEGIN
             INSERT INTO undo (statement)
             VALUES ('UPDATE {table} SET ' || {assignments} || ' WHERE rowid = ' || OLD.rowid);
         END;
         CREATE TEMP TRIGGER IF NOT EXISTS undo_delete_{table} AFTER DELETE ON main.{table} BEGIN
             INSERT INTO undo (statement)
             VALUES ('INSERT INTO {table} (rowid, {names}) VALUES (' || OLD.rowid || ', ' || {values} || ')');
         END;"
    )
}

impl Snapshot<'_> {
    /// Whether an interface was attached or detached after a generation.
    pub fn has_attached_since(&self, generation: u64) -> Result<bool, StoreError> {
        let statement = format!(
            "SELECT EXISTS (SELECT 1 FROM undo WHERE generation > ?
             AND (statement LIKE 'DELETE FROM {ATTACHED} %' OR statement LIKE 'INSERT INTO {ATTACHED} %'))"
        );
        Ok(self.sql.query_row(&statement, [generation.cast_signed()], |row| row.get(0))?)
    }
}

impl Transaction<'_> {
    /// Takes back what came after a generation. This is a change like any other, and can be taken back in turn.
    pub fn rewind_to(&self, generation: u64) -> Result<(), StoreError> {
        // On the way back a row may stand before what it refers to.
        self.sql.pragma_update(None, "defer_foreign_keys", true)?;
        let mut statements =
            self.sql.prepare("SELECT statement FROM undo WHERE generation > ? ORDER BY step DESC")?;
        let statements = statements.query_map([generation.cast_signed()], |row| row.get(0))?;
        for statement in statements.collect::<Result<Vec<String>, _>>()? {
            self.sql.execute(&statement, [])?;
        }
        self.forget_known();
        Ok(())
    }

    /// Notes the generation of the change that is being made.
    pub(super) fn stamp(&self, generation: u64) -> Result<(), StoreError> {
        self.sql
            .execute("UPDATE undo SET generation = ? WHERE generation IS NULL", [generation.cast_signed()])?;
        Ok(())
    }

    /// Forgets how to take back what came after a generation, and what has none.
    pub(super) fn forget_undo_after(&self, generation: u64) -> Result<(), StoreError> {
        let statement = "DELETE FROM undo WHERE generation > ? OR generation IS NULL";
        self.sql.execute(statement, [generation.cast_signed()])?;
        Ok(())
    }
}
