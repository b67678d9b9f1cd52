//! What a thread reads of the store: for tests that count it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

thread_local! {
    /// How often each table was read from one end to the other.
    static READS: RefCell<BTreeMap<String, u32>> = const { RefCell::new(BTreeMap::new()) };
}

/// Counts what is read by a connection.
pub(super) fn counted(mut connection: Connection) -> Connection {
    let note = |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(statement, _) = event {
            for table in tables_of(&statement.expanded_sql().unwrap_or_default()) {
                READS.with_borrow_mut(|reads| *reads.entry(table).or_default() += 1);
            }
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note)).unwrap();
    connection
}

/// What was read since it was asked last.
pub(crate) fn take() -> BTreeMap<String, u32> {
    READS.take()
}

/// The tables that a query reads. One that asks for what belongs to one object (`WHERE list = '…'`) reads that part of its table,
/// which is named with it. SQLite's own tables are none of the store's.
fn tables_of(statement: &str) -> Vec<String> {
    let words: Vec<&str> = statement.split_whitespace().collect();
    let is_query = words.first().is_some_and(|word| word.eq_ignore_ascii_case("SELECT"));
    if !is_query {
        return Vec::new();
    }
    let after_from = words.windows(2).filter(|pair| matches!(pair[0], "FROM" | "JOIN")).map(|pair| pair[1]);
    let part =
        statement.split(" WHERE list = ").nth(1).map(|rest| rest.split_whitespace().next().unwrap_or(""));
    let tables = after_from.map(|table| table.trim_end_matches(|end: char| !end.is_alphanumeric()));
    let own = tables.filter(|table| !table.contains("sqlite_") && !table.contains("pragma_"));
    own.map(|table| part.map_or_else(|| table.to_owned(), |part| format!("{table} of {part}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_found_in_queries_alone() {
        assert_eq!(tables_of("SELECT * FROM groups ORDER BY name"), ["groups"]);
        assert_eq!(
            tables_of("SELECT EXISTS (SELECT 1 FROM modes WHERE name = 'panic' AND value)"),
            ["modes"]
        );
        assert_eq!(
            tables_of("SELECT x FROM entries WHERE list = 'pl-1' ORDER BY rowid"),
            ["entries of 'pl-1'"]
        );
        assert_eq!(tables_of("SELECT name FROM main.sqlite_schema"), [""; 0]);
        assert_eq!(tables_of("DELETE FROM groups"), [""; 0]);
    }
}
