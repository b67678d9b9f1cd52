//! A TCP segment, and what kinds there are.

use firewall_common::flow_table::life::Socket;
use firewall_userspace::model::FlowTimeouts;

use crate::packets::{Segment, tcp};
use crate::scenario::Origin;

/// How far beyond a SYN the acknowledgement that answers it may lie: a window of data sent along with it (RFC 7413).
pub(super) const HANDSHAKE_WINDOW: u32 = 65_536;

/// A segment, and where it was met.
pub(super) struct Met<'s> {
    pub(super) segment: &'s Segment,
    /// On the hook that began the flow.
    pub(super) is_initiator: bool,
    pub(super) is_egress: bool,
    pub(super) origin: Origin,
    pub(super) now: u64,
    pub(super) timeouts: &'s FlowTimeouts,
    /// What the kernel says about the flow's socket.
    pub(super) sockets: Socket,
}

impl Met<'_> {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.segment.flags & flag != 0
    }

    pub(super) fn is_reset_of_the_host(&self) -> bool {
        self.has(tcp::RST) && self.is_egress && self.origin == Origin::Host
    }

    pub(super) fn acknowledges(&self, syn: u32) -> bool {
        self.segment.acknowledgement.wrapping_sub(syn.wrapping_add(1)) < HANDSHAKE_WINDOW
    }
}

/// A SYN that answers nothing.
pub(super) const fn opens(segment: &Segment) -> bool {
    segment.flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

/// Of a connection that is there, or was.
pub(super) const fn is_mid_stream(segment: &Segment) -> bool {
    segment.flags & tcp::SYN == 0
}

/// A SYN-ACK with a FIN and no RST: a whole answer in one segment (RFC 7413), which belongs to a flow or to nothing.
pub(super) const fn answers_and_ends(segment: &Segment) -> bool {
    segment.flags & (tcp::SYN | tcp::ACK | tcp::FIN | tcp::RST) == tcp::SYN | tcp::ACK | tcp::FIN
}

/// Something of each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) initiator: bool,
    pub(super) responder: bool,
}

impl Sides {
    pub(super) fn of(&mut self, is_initiator: bool) -> &mut bool {
        if is_initiator { &mut self.initiator } else { &mut self.responder }
    }

    pub(super) const fn both(self) -> bool {
        self.initiator && self.responder
    }

    pub(super) const fn any(self) -> bool {
        self.initiator || self.responder
    }
}
