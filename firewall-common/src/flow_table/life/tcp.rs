//! The states of a TCP flow.
//!
//! No sequence numbers are followed beyond the handshake: the hosts do that, and two hooks on two CPUs could not without a
//! lock.

use super::super::control::{
    ALIVE, ALIVE_INITIATOR, ALIVE_RESPONDER, BACKED, BEGUN_BY_EGRESS, BESIDE_BY_EGRESS, Control, DOUBT,
    DRAINING, FIN_BY_INITIATOR, FIN_BY_RESPONDER, FINS, PROTECTED, REPLIED, SYN_BESIDE, UNCONFIRMED, state,
};
use super::{Beside, DOUBTED, Facts, Lifetimes, Socket, Step, renewed};
use crate::hint::{blur, hide};
use crate::packet::tcp_flag;

/// How far an acknowledgement that a handshake expects may lie beyond the SYN: TCP Fast Open lets both sides send data
/// with it or right behind it (RFC 7413). As far beyond what it acknowledges lies the one that proves a pick-up.
pub(super) const HANDSHAKE_WINDOW: u32 = 65_536;

/// Whether a segment would put a flow in doubt that is not: a RST or a FIN, or data after FINs of both sides.
#[inline(always)]
pub(super) const fn begins_doubt(control: Control, facts: &Facts) -> bool {
    match control.state() {
        state::ESTABLISHED | state::FIN_WAIT => {
            facts.has(tcp_flag::FIN) || (facts.has(tcp_flag::RST) && !facts.is_made_here())
        }
        state::TIME_WAIT => facts.data_length != 0,
        _ => false,
    }
}

#[inline(always)]
const fn alive(is_from_initiator: bool) -> u64 {
    if is_from_initiator { ALIVE_INITIATOR } else { ALIVE_RESPONDER }
}

/// Whether both sides have sent something since the host's RST: see [`Segment::closed`].
#[inline(always)]
pub(super) const fn revives(control: Control, facts: &Facts) -> bool {
    control.state() == state::CLOSED
        && !facts.has(tcp_flag::RST | tcp_flag::SYN)
        && control.with(alive(facts.is_from_initiator(control))).0 & ALIVE == ALIVE
}

/// Whether a segment protects a flow that was not: see [`Segment::handshake`] and [`Segment::picked_up`].
#[inline(always)]
pub(super) const fn protects(control: Control, beside: Beside, facts: &Facts) -> bool {
    if !facts.is_from_initiator(control) || facts.has(tcp_flag::RST) {
        return false;
    }
    match control.state() {
        state::SYN_RECEIVED => facts.has(tcp_flag::ACK) && beside.is_expected(facts),
        state::PICKED_UP => {
            control.0 & (REPLIED | SYN_BESIDE) == REPLIED
                && !facts.has(tcp_flag::SYN)
                && facts.has(tcp_flag::ACK)
                && beside.is_expected(facts)
        }
        _ => false,
    }
}

#[inline(always)]
pub(super) fn follow(
    control: Control,
    beside: Beside,
    facts: &Facts,
    lifetimes: &Lifetimes,
    socket: Option<Socket>,
) -> Step {
    let from_initiator = facts.is_from_initiator(control);
    let segment = Segment { from_initiator, facts, lifetimes, socket };
    match control.state() {
        state::SYN_SENT | state::SYN_RECEIVED => segment.handshake(control, beside),
        _ if facts.has(tcp_flag::SYN) => segment.syn(control, beside),
        state::PICKED_UP => segment.picked_up(control, beside),
        state::CLOSED => segment.closed(control, beside),
        _ if facts.has(tcp_flag::RST) => segment.reset(control, beside),
        _ => segment.established(control, beside),
    }
}

/// A flow that the hosts have closed. Both have sent a FIN, or need send none.
#[inline(always)]
pub(super) const fn time_wait(control: Control, lifetimes: &Lifetimes, now: u32) -> Control {
    over(control, state::TIME_WAIT, lifetimes, now).with(FINS)
}

#[inline(always)]
const fn over(control: Control, state: u64, lifetimes: &Lifetimes, now: u32) -> Control {
    let next = control.without(PROTECTED | DOUBT | BACKED | ALIVE | UNCONFIRMED).in_state(state);
    // The operator's end of life stays: what looks closed may go on.
    if next.has(DRAINING) { next } else { next.ending(lifetimes.end(state, now)) }
}

/// Of several SYNs the last one counts. It changes nothing until the other side acknowledges it.
#[inline(always)]
pub(super) const fn remember_syn(control: Control, beside: Beside, facts: &Facts) -> (Control, Beside) {
    let side = if facts.is_egress != 0 { BESIDE_BY_EGRESS } else { 0 };
    let remembered = control.without(BESIDE_BY_EGRESS).with(SYN_BESIDE | side);
    (remembered, beside.expecting(facts.sequence.wrapping_add(1)).syn_at(facts.now))
}

/// A segment of a flow.
struct Segment<'a> {
    from_initiator: bool,
    facts: &'a Facts,
    lifetimes: &'a Lifetimes,
    socket: Option<Socket>,
}

impl Segment<'_> {
    /// Until the handshake is complete. The initiator proves that it is where it says it is by acknowledging the responder's
    /// SYN; that is what protects a flow, so forged SYNs, and blind ACKs after them, never do. A RST changes nothing: the
    /// flow is short-lived anyway, and a forged SYN, RST and ACK must not add up to a protected one.
    #[inline(always)]
    fn handshake(&self, control: Control, beside: Beside) -> Step {
        if self.facts.has(tcp_flag::RST) {
            return Step::Continue(control, beside);
        }
        if self.from_initiator && self.facts.has(tcp_flag::SYN) {
            // The last one counts, and nobody answers to the one before any more.
            return Step::Continue(self.renewed(control), beside.opened(self.facts.sequence.wrapping_add(1)));
        }
        if self.facts.has(tcp_flag::SYN) {
            // A SYN-ACK, or the SYN of a simultaneous open (RFC 9293 §3.5). With a FIN if all data came at once. One that answers
            // the initiator's SYN counts, for no stranger knows its number; any other only as long as there is none.
            if control.state() == state::SYN_RECEIVED && !beside.is_answer(self.facts) {
                return Step::Continue(control, beside);
            }
            let fin = if self.facts.has(tcp_flag::FIN) { FIN_BY_RESPONDER } else { 0 };
            let next = control.without(FIN_BY_RESPONDER).with(REPLIED | fin).in_state(state::SYN_RECEIVED);
            return Step::Continue(self.renewed(next), beside.expecting(self.facts.sequence.wrapping_add(1)));
        }
        if !protects(control, beside, self.facts) {
            return Step::Continue(self.renewed(control), beside);
        }
        self.becomes_established(control, beside)
    }

    /// The segment that establishes a flow renews it, though it may have a FIN.
    #[inline(always)]
    fn becomes_established(&self, control: Control, beside: Beside) -> Step {
        // What was remembered of the connection before, on the same addresses and ports, is over.
        let fresh = control.without(DOUBT | BACKED | ALIVE | UNCONFIRMED | SYN_BESIDE | BESIDE_BY_EGRESS);
        // The responder's FIN, if its SYN-ACK had one: this acknowledges it.
        let side = if self.facts.is_egress != 0 { 0 } else { BESIDE_BY_EGRESS };
        let beside = beside.expecting(self.facts.acknowledgement).doubted_at(self.facts.now);
        self.established(self.renewed(self.protected(fresh.with(side))), beside)
    }

    /// A SYN on a live tuple changes nothing of it, for it may be forged. It is remembered beside, and takes over when the
    /// other side acknowledges it. If the flow is closed or in doubt, a rule must admit it first.
    #[inline(always)]
    fn syn(&self, control: Control, beside: Beside) -> Step {
        if self.facts.opens() {
            if control.has(DOUBT) || matches!(control.state(), state::CLOSED | state::TIME_WAIT) {
                return Step::Rules;
            }
            let (next, beside) = remember_syn(control, beside, self.facts);
            return Step::Continue(next, beside);
        }
        let takes_over = control.has(SYN_BESIDE)
            && (self.facts.is_egress != 0) != control.has(BESIDE_BY_EGRESS)
            && beside.syn_is_young(self.lifetimes, self.facts.now)
            && beside.is_expected(self.facts);
        if !takes_over {
            return Step::Continue(control, beside);
        }
        let side = if control.has(BESIDE_BY_EGRESS) { BEGUN_BY_EGRESS } else { 0 };
        let fin = if self.facts.has(tcp_flag::FIN) { FIN_BY_RESPONDER } else { 0 };
        let marks = PROTECTED | DOUBT | BACKED | ALIVE | UNCONFIRMED | FINS;
        let marks = marks | SYN_BESIDE | BESIDE_BY_EGRESS | BEGUN_BY_EGRESS;
        let next = control.without(marks).with(side | fin | REPLIED).in_state(state::SYN_RECEIVED);
        let beside = beside.opened(beside.expected());
        Step::Continue(self.renewed(next), beside.expecting(self.facts.sequence.wrapping_add(1)))
    }

    /// After a pick-up in mid-stream the flow is established once the other side has sent something and this one has
    /// acknowledged it. That this one sends again is not enough: a host that is answering a SYN, of a stranger too, sends
    /// segments without RST to whatever arrives. A SYN that came meanwhile takes the place of the number.
    #[inline(always)]
    fn picked_up(&self, control: Control, beside: Beside) -> Step {
        if self.facts.has(tcp_flag::RST) {
            return Step::Continue(control, beside);
        }
        if protects(control, beside, self.facts) {
            return self.becomes_established(control, beside);
        }
        let waits = control.0 & (REPLIED | SYN_BESIDE) == REPLIED;
        if !self.from_initiator && !waits {
            let next = control.without(SYN_BESIDE | BESIDE_BY_EGRESS).with(REPLIED);
            let end = self.facts.sequence.wrapping_add(self.facts.data_length);
            return Step::Continue(self.renewed(next), beside.expecting(end));
        }
        let is_missed = self.from_initiator && waits && beside.is_overtaken(self.facts);
        let next = if is_missed { control.without(REPLIED) } else { control };
        Step::Continue(self.renewed(next), beside)
    }

    /// Of a flow that is protected from now on it is remembered whether the host is one of its ends. If the host has not
    /// completed the handshake, it may be about to throw the acknowledgement away, for its checksum or its numbers: that is in
    /// doubt until its socket is asked for, which an insert does where there is nothing else.
    #[inline(always)]
    const fn protected(&self, control: Control) -> Control {
        let marks = match self.socket {
            Some(Socket::Connected) => BACKED,
            Some(Socket::Opening) => BACKED | DOUBT | UNCONFIRMED,
            // One of every address answers for any, also for a connection of another host.
            Some(Socket::Listening) => DOUBT,
            _ => 0,
        };
        control.without(BACKED).in_state(state::ESTABLISHED).with(PROTECTED | marks)
    }

    /// After a RST of the host. A host that has really reset sends nothing but RSTs; segments of both sides, and its socket,
    /// show that the connection goes on. One side alone does not renew the timeout.
    #[inline(always)]
    fn closed(&self, control: Control, beside: Beside) -> Step {
        if self.facts.has(tcp_flag::RST) {
            return Step::Continue(control, beside);
        }
        let next = control.with(self.alive());
        if next.0 & ALIVE != ALIVE || !matches!(self.socket, Some(Socket::Connected)) {
            return Step::Continue(next, beside);
        }
        let next = next.without(ALIVE | FINS).with(PROTECTED | BACKED).in_state(state::ESTABLISHED);
        Step::Continue(self.renewed(next), beside)
    }

    /// A RST that the host has made closes a flow that it is an end of, if its socket is gone: it goes before the RST leaves.
    /// Any other is a doubt. RFC 5961 lets hosts ignore what arrives; and a host resets what strangers send it under the
    /// addresses of a flow if it translates them, if its own filter rejects it, or if it came in where the socket is not bound.
    #[inline(always)]
    fn reset(&self, control: Control, beside: Beside) -> Step {
        let has_socket = matches!(self.socket, Some(Socket::Connected | Socket::Opening));
        if self.facts.is_made_here() && control.has(BACKED) && !has_socket {
            return Step::Continue(over(control, state::CLOSED, self.lifetimes, self.facts.now), beside);
        }
        if control.state() == state::TIME_WAIT {
            return Step::Continue(control, beside);
        }
        self.doubted(control, beside)
    }

    /// Puts a flow in doubt, unless it is: then neither the time nor what was seen since counts anew.
    #[inline(always)]
    fn doubted(&self, control: Control, beside: Beside) -> Step {
        if control.has(DOUBT) {
            return Step::Continue(control, beside);
        }
        let now = self.facts.now;
        let next = control.without(ALIVE | BACKED).with(DOUBT);
        let next = match self.socket {
            Some(Socket::Connected) => next.with(BACKED),
            Some(Socket::TimeWait) => time_wait(control, self.lifetimes, now),
            // No later than before, for the packet may be forged, and no longer than a flow in doubt may be idle.
            _ if next.has(DRAINING) => next,
            _ => next.ending(next.end().min(self.lifetimes.end(DOUBTED, now))),
        };
        Step::Continue(next, beside.doubted_at(now))
    }

    /// A segment without SYN and RST. A FIN marks its side as done; data from that side afterwards shows that the FIN was
    /// forged, or was overtaken, and takes the mark away. One mark is a doubt. Both close the flow once the other side has
    /// acknowledged what may be forged: the last FIN that the host has not made.
    #[inline(always)]
    fn established(&self, control: Control, beside: Beside) -> Step {
        let mine = if self.from_initiator { FIN_BY_INITIATOR } else { FIN_BY_RESPONDER };
        let mut next = if self.from_initiator { control } else { control.with(REPLIED) };
        let mut is_proven = self.acknowledges_fin(control, beside);
        let mut beside = beside;
        if self.facts.has(tcp_flag::FIN) {
            next = next.with(mine);
            if self.facts.is_made_here() {
                next = Self::certain_by_egress(next);
            } else {
                next = self.without_unproven(next, FINS ^ mine, is_proven);
                (next, beside) = self.remember_fin(next, beside);
                is_proven = 0;
            }
        } else if self.facts.data_length != 0 {
            next = next.without(mine);
        }
        next = Control(blur(next.0, control.0));
        beside = Beside(blur(beside.0, control.0));
        let fins = next.0 & FINS;
        if control.state() == state::TIME_WAIT {
            if fins == FINS {
                return Step::Continue(self.renewed(next), beside);
            }
            if !self.goes_on(control) {
                return Step::Continue(control.with(self.alive()), beside);
            }
        }
        if fins == FINS && is_proven != 0 {
            return Step::Continue(over(next, state::TIME_WAIT, self.lifetimes, self.facts.now), beside);
        }
        let state = if fins == 0 { state::ESTABLISHED } else { state::FIN_WAIT };
        next = next.in_state(state).with(PROTECTED);
        if fins != 0 && (fins != control.0 & FINS || control.state() != state::FIN_WAIT) {
            return self.half_closed(control, next, beside);
        }
        if next.has(DOUBT) && !self.facts.has(tcp_flag::FIN) {
            next = self.less_doubtful(next);
        }
        Step::Continue(self.renewed(next), beside)
    }

    /// Whether data on a flow that both sides have closed is more than what anybody can send: the host has a socket, or both
    /// sides have sent some.
    #[inline(always)]
    const fn goes_on(&self, control: Control) -> bool {
        matches!(self.socket, Some(Socket::Connected)) || control.with(self.alive()).0 & ALIVE == ALIVE
    }

    /// 1 if a segment acknowledges the FIN that is remembered: its number must be met exactly, for nothing comes after a FIN,
    /// and by the other side. Without branches, for every segment is asked.
    #[inline(always)]
    fn acknowledges_fin(&self, control: Control, beside: Beside) -> u64 {
        let difference = u64::from(self.facts.acknowledgement ^ beside.expected());
        let is_met = hide(difference.wrapping_sub(1)) >> 63;
        let is_of_other_side =
            u64::from(self.facts.is_egress) ^ control.0 >> BESIDE_BY_EGRESS.trailing_zeros();
        let is_fin = !(control.0 >> SYN_BESIDE.trailing_zeros());
        hide(is_met & is_of_other_side & is_fin & 1)
    }

    /// Takes back the FIN of the other side, `other`, when a second one comes that may be forged as well: there is room to remember
    /// one number, so the first must have been acknowledged by now. It is by the second, if both are real, unless they have
    /// crossed. What the host has made itself is certain, as it is if it is not what is remembered; a SYN that is remembered may
    /// have taken its place.
    #[inline(always)]
    const fn without_unproven(&self, control: Control, other: u64, is_proven: u64) -> Control {
        let is_remembered = (self.facts.is_egress != 0) != control.has(BESIDE_BY_EGRESS);
        let is_certain = if control.has(SYN_BESIDE) { control.has(BACKED) } else { !is_remembered };
        let is_over = control.state() == state::TIME_WAIT;
        if is_proven != 0 || is_certain || is_over { control } else { control.without(other) }
    }

    /// The host has made a FIN: what is remembered is none of that side, which anybody might have made.
    #[inline(always)]
    const fn certain_by_egress(control: Control) -> Control {
        if control.has(SYN_BESIDE) { control } else { control.without(BESIDE_BY_EGRESS) }
    }

    /// A FIN that the host has not made counts when it is acknowledged. Of several the last one counts. What was remembered of
    /// a SYN is forgotten: it comes again if it is in earnest.
    #[inline(always)]
    const fn remember_fin(&self, control: Control, beside: Beside) -> (Control, Beside) {
        let side = if self.facts.is_egress != 0 { BESIDE_BY_EGRESS } else { 0 };
        let after = self.facts.sequence.wrapping_add(self.facts.data_length).wrapping_add(1);
        (control.without(SYN_BESIDE | BESIDE_BY_EGRESS).with(side), beside.expecting(after))
    }

    /// One side has sent a FIN. The end of life stays as it is, except for a flow that was closed.
    #[inline(always)]
    fn half_closed(&self, before: Control, next: Control, beside: Beside) -> Step {
        let was_live = matches!(before.state(), state::ESTABLISHED | state::FIN_WAIT);
        let next = if was_live { next } else { self.renewed(next) };
        self.doubted(next, beside)
    }

    /// The doubt of a flow that no socket backs goes when both hooks have carried a segment since. Of any other its socket is
    /// asked for.
    #[inline(always)]
    fn less_doubtful(&self, control: Control) -> Control {
        if control.has(BACKED) {
            return control;
        }
        let next = control.with(self.alive());
        if next.0 & ALIVE != ALIVE { next } else { next.without(DOUBT | ALIVE) }
    }

    #[inline(always)]
    const fn alive(&self) -> u64 {
        alive(self.from_initiator)
    }

    #[inline(always)]
    fn renewed(&self, control: Control) -> Control {
        let in_doubt = control.has(DOUBT) && !control.has(BACKED);
        let lifetime = if in_doubt { DOUBTED } else { control.state() };
        renewed(control, lifetime, self.lifetimes, self.facts.now)
    }
}
