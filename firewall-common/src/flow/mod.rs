//! The life of a flow.
//!
//! [`key_of`] finds a flow's entry, [`start`] makes one for the packet that a rule admitted, and
//! [`advance`] follows every later packet. All of it is pure: the caller does the table work, and knows the time.
//!
//! A flow is *half-open* until its initiator has sent something after a reply; then it is *assured*. The two kinds
//! live in different tables, so that a flood from forged sources, which never see the replies, can only push other
//! half-open flows out. ARCHITECTURE.md shows the states in one diagram.

mod key;
mod tcp;

pub use key::key_of;

use crate::abi::{Direction, FlowEntry, Timeouts, flow_flag};
use crate::packet::Transport;
use crate::packet::icmp::Role;

/// State of a flow; the number is [`FlowEntry::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowState {
    /// TCP: the initiator's SYN was seen.
    SynSent = 1,
    /// TCP: the responder's SYN was seen.
    SynReceived = 2,
    /// TCP: the handshake is complete, or data was seen in both directions.
    Established = 3,
    /// TCP: one side has sent a FIN.
    FinWait = 4,
    /// TCP: both sides have sent a FIN.
    TimeWait = 5,
    /// TCP: a RST was seen.
    Closed = 6,
    /// TCP: picked up in mid-stream, one side seen so far.
    PickedUp = 7,
    /// UDP: no reply yet.
    UdpOneWay = 8,
    /// UDP: one request and its replies.
    UdpReplied = 9,
    /// UDP: a second request after a reply.
    UdpAskedAgain = 10,
    /// UDP: more than one request and reply.
    UdpStream = 11,
    /// An ICMP query and its replies.
    IcmpQuery = 12,
    /// Any other protocol.
    Portless = 13,
}

impl FlowState {
    /// Every state, in the order of its numbers.
    pub const ALL: &'static [Self] = &[
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::TimeWait,
        Self::Closed,
        Self::PickedUp,
        Self::UdpOneWay,
        Self::UdpReplied,
        Self::UdpAskedAgain,
        Self::UdpStream,
        Self::IcmpQuery,
        Self::Portless,
    ];

    /// The state of a number, if there is one.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::FinWait,
            5 => Self::TimeWait,
            6 => Self::Closed,
            7 => Self::PickedUp,
            8 => Self::UdpOneWay,
            9 => Self::UdpReplied,
            10 => Self::UdpAskedAgain,
            11 => Self::UdpStream,
            12 => Self::IcmpQuery,
            13 => Self::Portless,
            _ => return None,
        })
    }

    /// The name shown to people and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::FinWait => "fin-wait",
            Self::TimeWait => "time-wait",
            Self::Closed => "closed",
            Self::PickedUp => "picked-up",
            Self::UdpOneWay => "one-way",
            Self::UdpReplied | Self::UdpAskedAgain => "replied",
            Self::UdpStream => "stream",
            Self::IcmpQuery => "query",
            Self::Portless => "tracked",
        }
    }

    /// How long a flow in this state may be idle, in jiffies.
    #[must_use]
    #[inline(always)]
    pub const fn timeout(self, timeouts: &Timeouts) -> u32 {
        match self {
            Self::SynSent | Self::SynReceived | Self::PickedUp => timeouts.tcp_syn,
            Self::Established => timeouts.tcp_established,
            Self::FinWait | Self::TimeWait => timeouts.tcp_fin,
            Self::Closed => timeouts.tcp_closed,
            Self::UdpOneWay | Self::UdpReplied | Self::UdpAskedAgain => timeouts.udp,
            Self::UdpStream => timeouts.udp_stream,
            Self::IcmpQuery => timeouts.icmp,
            Self::Portless => timeouts.other,
        }
    }
}

/// How many jiffies the time in an entry may be ahead of a packet's: at least a second at any tick rate.
///
/// A packet reads the clock once, at its beginning. Until it looks at its flow, another CPU may have met the next tick
/// and written it there.
const CLOCK_SLACK: u32 = 1024;

/// What a packet does to the flow it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The flow goes on as `entry`.
    Continue {
        /// The entry after the packet, `last_seen` included.
        entry: FlowEntry,
        /// Whether the packet is the initiator's answer to a reply, which only a real peer can give: a half-open
        /// flow becomes assured.
        assures: bool,
    },
    /// The flow is over and the packet asks for a new one on the same addresses and ports; the rules must admit it.
    Restart,
}

/// The entry of a flow that begins with this packet; `None` where the packet begins none: a reply, an ICMP error, a
/// RST, a later fragment.
#[must_use]
#[inline(always)]
pub fn start(
    transport: &Transport,
    direction: Direction,
    rule_set: u32,
    generation: u32,
    now: u32,
) -> Option<FlowEntry> {
    let state = match transport {
        Transport::Tcp(tcp) => tcp::start(tcp)?,
        Transport::Udp { .. } => FlowState::UdpOneWay,
        Transport::Icmp(icmp) => match icmp.role {
            Role::Query { .. } => FlowState::IcmpQuery,
            Role::Reply { .. } | Role::Error | Role::Other => return None,
        },
        Transport::Portless => FlowState::Portless,
        Transport::LaterFragment => return None,
    };
    let flags = match direction {
        Direction::Ingress => 0,
        Direction::Egress => flow_flag::STARTED_BY_EGRESS,
    };
    Some(FlowEntry {
        last_seen: now,
        rule_set,
        generation,
        handshake: 0,
        state: state as u8,
        flags,
        padding: 0,
        cut_at: 0,
    })
}

/// Follows one packet of a live flow.
#[inline(always)]
pub fn advance(
    entry: FlowEntry,
    state: FlowState,
    transport: &Transport,
    from_initiator: bool,
    now: u32,
) -> Step {
    if let Transport::Tcp(tcp) = transport {
        return tcp::advance(entry, state, tcp, from_initiator, now);
    }
    let answers_reply = from_initiator && entry.flags & flow_flag::REPLIED != 0;
    let mut next = FlowEntry { last_seen: now, ..entry };
    if !from_initiator {
        next.flags |= flow_flag::REPLIED;
    }
    next.state = udp_state(state, from_initiator) as u8;
    Step::Continue { entry: next, assures: answers_reply }
}

/// AWS: 30 s for "a single request/response", 180 s for "streams", which are "more than one request/response". Every
/// other protocol keeps its state.
#[inline(always)]
const fn udp_state(state: FlowState, from_initiator: bool) -> FlowState {
    match (state, from_initiator) {
        (FlowState::UdpOneWay, false) => FlowState::UdpReplied,
        (FlowState::UdpReplied, true) => FlowState::UdpAskedAgain,
        (FlowState::UdpAskedAgain, false) => FlowState::UdpStream,
        _ => state,
    }
}

impl FlowEntry {
    /// Direction of the flow's first packet.
    #[must_use]
    #[inline(always)]
    pub const fn started_by(&self) -> Direction {
        if self.flags & flow_flag::STARTED_BY_EGRESS == 0 { Direction::Ingress } else { Direction::Egress }
    }

    /// Whether the operator has ended the flow.
    ///
    /// The clock is 32 bits of jiffies and a difference of up to 24 days at 1000 Hz counts; a cut flow is not renewed, so it
    /// expires long before.
    #[must_use]
    #[inline(always)]
    pub const fn is_cut(&self, now: u32) -> bool {
        self.cut_at != 0 && now.wrapping_sub(self.cut_at).cast_signed() >= 0
    }

    /// Whether the flow has been idle for longer than its state allows.
    ///
    /// The clock is 32 bits of jiffies. An entry that nobody sweeps may look live again after 49 days at 1000 Hz; the
    /// longest timeout is 5 days, so that takes a sweep that has not run for six weeks.
    #[must_use]
    #[inline(always)]
    pub const fn is_expired(&self, state: FlowState, timeouts: &Timeouts, now: u32) -> bool {
        let idle = now.wrapping_add(CLOCK_SLACK).wrapping_sub(self.last_seen);
        idle > state.timeout(timeouts).saturating_add(CLOCK_SLACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_that_another_cpu_has_seen_a_tick_later_is_live() {
        let timeouts = Timeouts { udp: 3000, ..Timeouts::default() };
        let is_expired = |last_seen: u32, now: u32| {
            FlowEntry { last_seen, ..FlowEntry::default() }.is_expired(FlowState::UdpOneWay, &timeouts, now)
        };
        // The clock wraps in between too.
        for last_seen in [0, 5, u32::MAX] {
            assert!(!is_expired(last_seen, last_seen.wrapping_sub(1)));
            assert!(!is_expired(last_seen, last_seen.wrapping_add(3000)));
            assert!(is_expired(last_seen, last_seen.wrapping_add(3001)));
        }
    }
}
