//! Numbers for sets of rules.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::RuleId;

/// The id of each set of rules that ever matched together in a cell.
///
/// Ids are never given to another set: flows and counters keep naming the rules that admitted them, over any number of
/// generations. The store keeps the list, without the sets that nothing names any more.
#[derive(Clone, Debug, Default)]
pub struct RuleSetIds {
    ids: HashMap<Arc<[RuleId]>, u32>,
    highest: u32,
    added: Vec<(u32, Arc<[RuleId]>)>,
}

impl RuleSetIds {
    /// The id of a set, given now if it has none. The rules are in ascending order, each once.
    pub fn id_of(&mut self, rules: &[RuleId]) -> u32 {
        if let Some(id) = self.ids.get(rules) {
            return *id;
        }
        self.highest += 1;
        let rules: Arc<[RuleId]> = rules.into();
        self.added.push((self.highest, Arc::clone(&rules)));
        self.ids.insert(rules, self.highest);
        self.highest
    }

    /// The same, where ids up to this one were given, also to sets that are forgotten.
    #[must_use]
    pub fn after(self, highest: u32) -> Self {
        Self { highest: self.highest.max(highest), ..self }
    }

    /// The highest id that was ever given.
    #[must_use]
    pub const fn highest(&self) -> u32 {
        self.highest
    }

    /// Every set by its id: how many rules it has.
    pub fn sizes(&self) -> impl Iterator<Item = (u32, usize)> {
        self.ids.iter().map(|(rules, id)| (*id, rules.len()))
    }

    /// The sets that were given an id since the list was made.
    pub fn added(&self) -> impl Iterator<Item = (u32, &[RuleId])> {
        self.added.iter().map(|(id, rules)| (*id, rules.as_ref()))
    }
}

impl FromIterator<(u32, Vec<RuleId>)> for RuleSetIds {
    fn from_iter<I: IntoIterator<Item = (u32, Vec<RuleId>)>>(known: I) -> Self {
        let mut sets = Self::default();
        for (id, mut rules) in known {
            rules.sort_unstable();
            sets.highest = sets.highest.max(id);
            sets.ids.insert(rules.into(), id);
        }
        sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(number: u32) -> RuleId {
        format!("sgr-{number:017x}").parse().unwrap()
    }

    #[test]
    fn the_number_of_a_set_that_was_forgotten_is_not_given_again() {
        let known = [(3, vec![rule(1)]), (4, vec![rule(2)])];
        let mut ids = RuleSetIds::from_iter(known).after(9);
        assert_eq!((ids.id_of(&[rule(2)]), ids.id_of(&[rule(3)])), (4, 10));
        assert_eq!(ids.added().collect::<Vec<_>>(), [(10, &[rule(3)][..])]);
        assert_eq!(RuleSetIds::default().after(0).id_of(&[rule(1)]), 1);
    }
}
