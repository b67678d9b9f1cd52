//! Numbers for sets of rules.

use std::collections::HashMap;

use crate::model::RuleId;

/// The id of each set of rules that ever matched together in a cell.
///
/// Ids are never given to another set: flows and counters keep naming the rules that admitted them, over any number of
/// generations. The store keeps the list.
#[derive(Clone, Debug, Default)]
pub struct RuleSetIds {
    ids: HashMap<Vec<RuleId>, u32>,
    highest: u32,
    added: Vec<(u32, Vec<RuleId>)>,
}

impl RuleSetIds {
    /// The id of a set, given now if it has none. The order of `rules` and repetitions in it do not matter.
    pub fn id_of(&mut self, mut rules: Vec<RuleId>) -> u32 {
        rules.sort_unstable();
        rules.dedup();
        if let Some(id) = self.ids.get(&rules) {
            return *id;
        }
        self.highest += 1;
        self.added.push((self.highest, rules.clone()));
        self.ids.insert(rules, self.highest);
        self.highest
    }

    /// The sets that were given an id since the list was made.
    #[must_use]
    pub fn added(&self) -> &[(u32, Vec<RuleId>)] {
        &self.added
    }
}

impl FromIterator<(u32, Vec<RuleId>)> for RuleSetIds {
    fn from_iter<I: IntoIterator<Item = (u32, Vec<RuleId>)>>(known: I) -> Self {
        let mut sets = Self::default();
        for (id, mut rules) in known {
            rules.sort_unstable();
            sets.highest = sets.highest.max(id);
            sets.ids.insert(rules, id);
        }
        sets
    }
}
