//! The states of a TCP flow, from the flags of both sides.
//!
//! No sequence numbers are followed beyond the handshake: the hosts do that, and two hooks on two CPUs could not
//! without a lock. Instead nothing that a blind sender can forge ends a flow: RST and FIN shorten its timeout, and
//! what the hosts go on sending undoes them.

use super::{FlowState, Step};
use crate::abi::{FlowEntry, flow_flag};
use crate::packet::{Tcp, tcp_flag};

/// How far the acknowledgement that completes a handshake may lie beyond the responder's SYN: TCP Fast Open lets the
/// responder send its first window of data right behind it (RFC 7413).
const HANDSHAKE_WINDOW: u32 = 65_536;

/// State of a flow that begins with this segment. A segment in mid-stream picks the flow up loosely, as conntrack
/// does, so that a reload or an asymmetric start cuts nothing that the rules allow. A RST begins nothing.
#[inline(always)]
pub(super) const fn start(tcp: &Tcp) -> Option<FlowState> {
    if tcp.has(tcp_flag::RST) {
        return None;
    }
    if tcp.opens() { Some(FlowState::SynSent) } else { Some(FlowState::PickedUp) }
}

#[inline(always)]
pub(super) fn advance(entry: FlowEntry, state: FlowState, tcp: &Tcp, from_initiator: bool, now: u32) -> Step {
    if tcp.opens() && matches!(state, FlowState::TimeWait | FlowState::Closed) {
        return Step::Restart;
    }
    let mut next = FlowEntry { last_seen: now, ..entry };
    if !from_initiator {
        next.flags |= flow_flag::REPLIED;
    }
    if tcp.has(tcp_flag::RST) {
        return reset(entry, next, state);
    }
    match state {
        FlowState::SynSent | FlowState::SynReceived => handshake(next, tcp, from_initiator),
        FlowState::PickedUp => picked_up(next, tcp, from_initiator),
        FlowState::Closed => closed(entry, next, from_initiator),
        _ => {
            follow_fin(&mut next, tcp, from_initiator);
            Step::Continue { entry: next, assures: from_initiator && next.flags & flow_flag::REPLIED != 0 }
        }
    }
}

/// RFC 5961 lets hosts ignore a forged RST, so an assured flow only gets a short timeout; see [`closed`]. A half-open
/// one stays as it is: it is short-lived anyway, and a forged SYN, RST and ACK must not add up to an assured flow.
/// Further RSTs do not renew the timeout either.
#[inline(always)]
fn reset(entry: FlowEntry, mut next: FlowEntry, state: FlowState) -> Step {
    if matches!(state, FlowState::Closed | FlowState::SynSent | FlowState::SynReceived | FlowState::PickedUp)
    {
        return Step::Continue { entry, assures: false };
    }
    next.state = FlowState::Closed as u8;
    next.flags &= !(flow_flag::ALIVE_INITIATOR | flow_flag::ALIVE_RESPONDER);
    Step::Continue { entry: next, assures: false }
}

/// Until the handshake is complete. The initiator proves that it is where it says it is by acknowledging the
/// responder's SYN; that is what makes the flow assured, so forged SYNs, and blind ACKs after them, never do.
#[inline(always)]
fn handshake(mut next: FlowEntry, tcp: &Tcp, from_initiator: bool) -> Step {
    let mut assures = false;
    if !from_initiator && tcp.has(tcp_flag::SYN) {
        // A SYN-ACK, or the SYN of a simultaneous open (RFC 9293 §3.5).
        next.handshake = tcp.sequence.wrapping_add(1);
        follow_fin(&mut next, tcp, from_initiator);
        next.state = FlowState::SynReceived as u8;
    } else if from_initiator && next.state == FlowState::SynReceived as u8 && tcp.has(tcp_flag::ACK) {
        assures = tcp.acknowledgement.wrapping_sub(next.handshake) < HANDSHAKE_WINDOW;
        if assures {
            next.state = FlowState::Established as u8;
            follow_fin(&mut next, tcp, from_initiator);
        }
    }
    Step::Continue { entry: next, assures }
}

/// After a pick-up in mid-stream the flow is established once the other side, and then this one again, has sent.
#[inline(always)]
fn picked_up(mut next: FlowEntry, tcp: &Tcp, from_initiator: bool) -> Step {
    let assures = from_initiator && next.flags & flow_flag::REPLIED != 0;
    if assures {
        next.state = FlowState::Established as u8;
        follow_fin(&mut next, tcp, from_initiator);
    }
    Step::Continue { entry: next, assures }
}

/// After a RST. A host that has really reset or been reset sends nothing but RSTs; segments of both sides show that
/// the RST was forged or stale.
#[inline(always)]
fn closed(entry: FlowEntry, mut next: FlowEntry, from_initiator: bool) -> Step {
    next.flags |= if from_initiator { flow_flag::ALIVE_INITIATOR } else { flow_flag::ALIVE_RESPONDER };
    let both = flow_flag::ALIVE_INITIATOR | flow_flag::ALIVE_RESPONDER;
    if next.flags & both == both {
        next.flags &= !(both | flow_flag::FIN_BY_INITIATOR | flow_flag::FIN_BY_RESPONDER);
        next.state = FlowState::Established as u8;
        return Step::Continue { entry: next, assures: false };
    }
    // One side alone does not renew the timeout.
    next.last_seen = entry.last_seen;
    Step::Continue { entry: next, assures: false }
}

/// A FIN marks its side as done; data from that side afterwards shows that the FIN was forged, or was overtaken, and
/// takes the mark away.
#[inline(always)]
fn follow_fin(next: &mut FlowEntry, tcp: &Tcp, from_initiator: bool) {
    let mark = if from_initiator { flow_flag::FIN_BY_INITIATOR } else { flow_flag::FIN_BY_RESPONDER };
    if tcp.has(tcp_flag::FIN) {
        next.flags |= mark;
    } else if tcp.has_data {
        next.flags &= !mark;
    }
    let both = flow_flag::FIN_BY_INITIATOR | flow_flag::FIN_BY_RESPONDER;
    let state = match next.flags & both {
        0 => FlowState::Established,
        marks if marks == both => FlowState::TimeWait,
        _ => FlowState::FinWait,
    };
    next.state = state as u8;
}
