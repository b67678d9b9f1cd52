//! Room for flows (`docs/decisions.md`, "Full flow table").
//!
//! Which flow has to go for a new one is the table's business, and `firewall-common/tests/flow_table` has a list of its own to
//! hold against it. Here there are two cases alone, of which one can say what comes: no table that is not full refuses a flow,
//! and where flows of others hold every place but those of protected flows, none is left but what a flow of the same ends
//! has given back.

use super::flow::{Ends, Flow};

/// What is to be known about the room.
#[derive(Debug, Default)]
pub(super) struct Room {
    is_full: bool,
}

impl Room {
    /// Lets flows of others take every place that holds no protected flow.
    pub(super) fn fill(&mut self, flows: &mut Vec<Flow>, now: u64) {
        flows.retain(|flow| flow.is_protected(now));
        self.is_full = true;
    }

    /// Whether a flow may begin that has these ends.
    pub(super) fn lets_begin(&self, ends: &Ends, flows: &[Flow], now: u64) -> bool {
        if !self.is_full || flows.iter().any(|flow| flow.ends == *ends) {
            return true;
        }
        assert!(
            flows.iter().all(|flow| flow.is_protected(now)),
            "whether the places that have come free are among those of this flow is the table's secret"
        );
        false
    }
}
