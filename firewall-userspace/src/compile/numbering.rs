//! Numbers for peers, for services, and for sets of either.
//!
//! A policy may have a hundred thousand peers and a million prefixes. Sets of them are compared, hashed and kept by number:
//! equal sets are one class.

use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

/// Values, numbered from 0 on in the order in which they first came.
#[derive(Debug)]
pub(super) struct Numbering<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Copy + Eq + Hash> Numbering<T> {
    /// The number of a value, given now if it has none.
    pub(super) fn number(&mut self, value: T) -> u32 {
        *self.numbers.entry(value).or_insert_with(|| {
            self.values.push(value);
            index_of(self.values.len() - 1)
        })
    }

    /// The values by number.
    pub(super) fn values(&self) -> &[T] {
        &self.values
    }
}

impl<T> Default for Numbering<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }
}

/// Sets of numbers, each kept once. Number 0 is the empty set.
#[derive(Debug)]
pub(super) struct NumberSets {
    sets: Vec<Rc<[u32]>>,
    numbers: HashMap<Rc<[u32]>, u32>,
}

impl NumberSets {
    /// The number of a set, given now if it has none. `members` are in ascending order, each once.
    pub(super) fn number(&mut self, members: &[u32]) -> u32 {
        if let Some(number) = self.numbers.get(members) {
            return *number;
        }
        let set: Rc<[u32]> = members.into();
        let number = index_of(self.sets.len());
        self.sets.push(Rc::clone(&set));
        self.numbers.insert(set, number);
        number
    }

    /// The members of a set.
    pub(super) fn members(&self, number: u32) -> &[u32] {
        &self.sets[number as usize]
    }

    /// Every set but the empty one, with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u32])> {
        (0..).zip(self.sets.iter().map(Rc::as_ref)).skip(1)
    }
}

impl Default for NumberSets {
    fn default() -> Self {
        let mut sets = Self { sets: Vec::new(), numbers: HashMap::new() };
        sets.number(&[]);
        sets
    }
}

/// What has a number has several bytes in memory as well, so there are far fewer than 2³².
fn index_of(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
