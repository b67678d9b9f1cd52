//! The flows that fill a table.

use firewall_common::abi::{Be16, FlowEntry, FlowKey};
use firewall_common::flow::FlowState;

use super::FLOW_ENTRIES;

/// A zone that no interface is in, so that no packet belongs to a filler and no sweep judges it.
const ZONE: u16 = u16::MAX;

/// As many established flows as a table can hold. They are no interface's, and never end.
pub fn fillers<A: Default>() -> impl Iterator<Item = (FlowKey<A>, FlowEntry)> {
    let entry = FlowEntry { state: FlowState::Established as u8, ..FlowEntry::default() };
    (0..FLOW_ENTRIES)
        .map(move |port| (FlowKey { local_port: Be16::new(port), zone: ZONE, ..FlowKey::default() }, entry))
}
