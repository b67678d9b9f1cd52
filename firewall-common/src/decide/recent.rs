//! Packets of flows that this CPU has seen within the last second.
//!
//! Nearly all packets of a host belong to few flows that nothing happens to but more packets. Such a flow is *steady*:
//! none of its packets but a SYN, a FIN or a RST changes anything of its entry except the time, which is renewed once a
//! second. So a CPU that has just found it steady needs not look it up again.
//!
//! What ends this is the mark of the flow's slot, which the CPU has read before it looked the flow up: whoever changes
//! a steady flow draws another one afterwards, and user space does so for all slots at once when it has cut flows. A
//! packet that meets a change on another CPU passes, as it would have a moment earlier.

use super::Context;
use super::tables::FlowTables;
use crate::abi::{Address, FlowEntry, FlowKey, Seen, flow_flag, recent_slot};
use crate::flow::FlowState;
use crate::packet::{Transport, tcp_flag};

/// The place of a flow among the recent ones, and the mark of it that a packet goes by.
#[derive(Clone, Copy)]
pub(super) struct Place {
    slot: u32,
    mark: u32,
}

impl Place {
    /// To be read before the flow is looked up.
    #[inline(always)]
    pub(super) fn of<A: Address, T: FlowTables<A>>(key: &FlowKey<A>, tables: &T) -> Self {
        let slot = recent_slot(key);
        Self { slot, mark: tables.recent_mark(slot) }
    }

    /// Whether the flow was steady within the last second and is so still.
    #[inline(always)]
    pub(super) fn holds<A: Address, T: FlowTables<A>>(
        self,
        key: &FlowKey<A>,
        tables: &T,
        context: &Context<'_>,
    ) -> bool {
        let Some(seen) = tables.recent(self.slot, key) else {
            return false;
        };
        // A time ahead of the packet's, from a CPU that has met the next tick, makes a large difference.
        seen.mark == self.mark
            && context.now.wrapping_sub(seen.last_seen) < context.settings.jiffies_per_second
    }

    /// Remembers a flow that was found steady.
    #[inline(always)]
    pub(super) fn remember<A: Address, T: FlowTables<A>>(self, key: &FlowKey<A>, last_seen: u32, tables: &T) {
        tables.remember(self.slot, key, Seen { mark: self.mark, last_seen });
    }

    /// Has every CPU forget the flow.
    #[inline(always)]
    pub(super) fn forget<A: Address, T: FlowTables<A>>(self, tables: &T) {
        tables.draw_recent_mark(self.slot);
    }
}

/// Whether a packet changes nothing of a steady flow.
#[inline(always)]
pub(super) const fn leaves_steady(transport: &Transport) -> bool {
    match transport {
        Transport::Tcp(tcp) => !tcp.has(tcp_flag::SYN | tcp_flag::FIN | tcp_flag::RST),
        Transport::Udp { .. } => true,
        Transport::Icmp(_) | Transport::Portless | Transport::LaterFragment => false,
    }
}

/// Whether a flow among the assured ones is steady: see `advance` in [`crate::flow`].
#[inline(always)]
pub(super) const fn is_steady(entry: &FlowEntry) -> bool {
    const FINISHING: u8 = flow_flag::FIN_BY_INITIATOR | flow_flag::FIN_BY_RESPONDER;
    (entry.state == FlowState::Established as u8 || entry.state == FlowState::UdpStream as u8)
        && entry.flags & (flow_flag::REPLIED | FINISHING) == flow_flag::REPLIED
        && entry.cut_at == 0
}
