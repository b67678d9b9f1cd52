//! What one policy decides for each class of peers, and which classes have the same in common.
//!
//! A hundred thousand hosts with rules of their own are as many classes and as many sets of rules, and mostly a handful of
//! rows: where the same services are decided the same, nothing tells the peers apart.

use std::collections::BTreeMap;

use firewall_common::abi::{CellKey, Direction};
use foldhash::HashMap;

use super::cell;
use super::decision::Decision;
use crate::compile::CompiledPolicy;

/// What is decided by service class, ascending. What is not there is denied.
pub(super) type Row = Vec<(u16, Decision)>;

/// The rows of one policy and direction.
#[derive(Default)]
pub(super) struct Rows {
    /// Each once.
    rows: Vec<Row>,
    /// The number of the row of each address class that has any.
    of_class: HashMap<u32, u32>,
}

impl Rows {
    /// The rows of every policy and direction, by [`Self::of`].
    pub(super) fn of_all(policy: &CompiledPolicy) -> BTreeMap<(u16, u32), Self> {
        let mut all: BTreeMap<(u16, u32), Numbered> = BTreeMap::new();
        let row_of = |key: &CellKey| (key.policy, key.direction_and_address_class);
        // Cells are in the order of their keys.
        for cells in policy.cells.chunk_by(|(one, _), (next, _)| row_of(one) == row_of(next)) {
            let (key, _) = &cells[0];
            let decisions = cells.iter().map(|(key, value)| (key.service_class, Decision::of(*value)));
            let row: Row = decisions.filter(|(_, decision)| *decision != Decision::Denied).collect();
            let numbered = all.entry(Self::of(key.policy, cell::direction(key))).or_default();
            let number = numbered.number(row);
            numbered.of_class.insert(cell::address_class(key), number);
        }
        all.into_iter().map(|(of, numbered)| (of, numbered.finish())).collect()
    }

    /// The key of a policy and direction.
    pub(super) const fn of(policy: u16, direction: Direction) -> (u16, u32) {
        (policy, direction as u32)
    }

    /// The number of the row of an address class; `None` if everything is denied to it.
    pub(super) fn number(&self, class: u32) -> Option<u32> {
        self.of_class.get(&class).copied()
    }

    /// The row of this number, an empty one for none.
    pub(super) fn row(&self, number: Option<u32>) -> &[(u16, Decision)] {
        number.map_or(&[], |number| &self.rows[number as usize])
    }
}

/// How a row decides about a service class.
pub(super) fn decision(row: &[(u16, Decision)], class: u16) -> Decision {
    let found = row.binary_search_by_key(&class, |(class, _)| *class);
    found.map_or(Decision::Denied, |place| row[place].1)
}

/// Rows that are being numbered.
#[derive(Default)]
struct Numbered {
    numbers: HashMap<Row, u32>,
    of_class: HashMap<u32, u32>,
}

impl Numbered {
    fn number(&mut self, row: Row) -> u32 {
        // There are fewer rows than cells.
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(row).or_insert(next)
    }

    fn finish(self) -> Rows {
        let mut rows: Vec<(Row, u32)> = self.numbers.into_iter().collect();
        rows.sort_unstable_by_key(|(_, number)| *number);
        Rows { rows: rows.into_iter().map(|(row, _)| row).collect(), of_class: self.of_class }
    }
}
