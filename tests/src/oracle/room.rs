//! Room for flows (`docs/decisions.md`, "Full flow table"): a full table drops what needs a new entry, and keeps what
//! it has.

use super::flow::Flow;
use crate::scenario::FLOW_ENTRIES;

/// What is to be known about the room of one address family.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Entries that flows of others take.
    fillers: usize,
    /// Second at which a flow last found no room.
    refused_at: Option<u64>,
}

impl Room {
    /// Lets flows of others take what the assured among `flows` leave.
    pub(super) fn fill(&mut self, flows: &[Flow], is_ipv6: bool) {
        self.fillers = usize::from(FLOW_ENTRIES) - assured(flows, is_ipv6);
    }

    pub(super) const fn fillers(&self) -> usize {
        self.fillers
    }

    /// Whether one flow more can become assured. If not, that is remembered.
    pub(super) fn admits_one_more(&mut self, flows: &[Flow], is_ipv6: bool, now: u64) -> bool {
        let has_room = self.fillers + assured(flows, is_ipv6) < usize::from(FLOW_ENTRIES);
        if !has_room {
            self.refused_at = Some(now);
        }
        has_room
    }

    /// Whether a flow may begin: for a second after one has found no room, none may, because it would find none either.
    pub(super) fn lets_begin(&self, now: u64) -> bool {
        self.refused_at != Some(now)
    }
}

/// Expired ones count: they take their entries until they are swept.
fn assured(flows: &[Flow], is_ipv6: bool) -> usize {
    flows.iter().filter(|flow| flow.is_ipv6() == is_ipv6 && flow.is_assured()).count()
}
