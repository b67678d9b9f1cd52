//! Numbers for sets of rules.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::RuleId;

/// The id of each set of rules that ever matched together in a cell.
///
/// Ids are never given to another set: flows and counters keep naming the rules that admitted them, over any number of
/// generations. The store keeps the list.
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
