//! The life of a TCP connection (`docs/semantics.md`, §3.8, and ARCHITECTURE, "The life of a flow").
//!
//! Nobody but the two hosts ends one. What arrived may be forged, and what is forwarded may have been: a RST of either kind, and
//! one FIN alone, only put the flow in doubt.

use firewall_common::flow_table::life::Socket;
use firewall_userspace::model::FlowTimeouts;

use super::flow::Fate;
use super::segment::{HANDSHAKE_WINDOW, Met, Sides, opens};
use crate::packets::{Segment, tcp};
use crate::scenario::Origin;

/// After so many seconds the times of doubts and of remembered SYNs begin again, with the clock of the simulator; a flow that
/// hears nothing for as long waits for its question until the short time has passed once more.
const TIMES_BEGIN_AGAIN: u64 = 8192;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    SynSent,
    /// With the number of the responder's SYN.
    SynReceived(u32),
    /// In mid-stream, and the end of what the responder has sent since.
    PickedUp(Option<u32>),
    Open,
    TimeWait,
    Closed,
}

/// A RST or a FIN was seen that proves nothing.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: u64,
    is_backed: bool,
    /// Whether it began with a handshake that the host had not completed.
    is_unconfirmed: bool,
    /// Who has sent a segment since.
    spoke: Sides,
}

/// A SYN on the addresses and ports of a flow that is there.
#[derive(Clone, Copy, Debug)]
struct Beside {
    number: u32,
    by_egress: bool,
    at: u64,
}

/// A connection.
#[derive(Clone, Debug)]
pub(super) struct Tcp {
    stage: Stage,
    /// The number of the initiator's SYN, during a handshake.
    opened_with: u32,
    finished: Sides,
    doubt: Option<Doubt>,
    /// The host had a socket when it was last asked: the host is an end of the connection, and its RST ends it.
    has_socket: bool,
    spoke_since_close: Sides,
    syn: Option<Beside>,
    fin: Option<Fin>,
}

/// The last FIN that the host has not made itself, so that anybody may have: it counts when the other side acknowledges it.
#[derive(Clone, Copy, Debug)]
struct Fin {
    acknowledged_by: u32,
    by_egress: bool,
}

/// What a segment does to the end of a flow's life.
enum Renewal {
    Stays,
    /// So many seconds from now.
    In(u32),
    /// No later than so many seconds from now.
    AtLatestIn(u32),
}

impl Tcp {
    /// Begun by an admitted segment without RST.
    pub(super) fn begin(segment: &Segment) -> Self {
        let stage = if opens(segment) { Stage::SynSent } else { Stage::PickedUp(None) };
        Self {
            stage,
            opened_with: segment.sequence,
            finished: Sides::default(),
            doubt: None,
            has_socket: false,
            spoke_since_close: Sides::default(),
            syn: None,
            fin: None,
        }
    }

    pub(super) const fn is_protected(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Remembers a SYN that a rule has admitted.
    pub(super) fn remember(&mut self, met: &Met<'_>) {
        self.syn = Some(Beside { number: met.segment.sequence, by_egress: met.is_egress, at: met.now });
        // There is room for one number.
        self.fin = None;
    }

    /// Asks for the socket of a flow in doubt that had one, if the short time has passed. `false` where there is none any more:
    /// the flow is over. The flow may be in time-wait then, which ends at `end`.
    pub(super) fn settle(
        &mut self,
        sockets: Socket,
        timeouts: &FlowTimeouts,
        now: u64,
        end: &mut u64,
    ) -> bool {
        let Some(doubt) = self.doubt.filter(|doubt| doubt.is_backed) else {
            return true;
        };
        let short = if self.finished.any() { timeouts.tcp_fin } else { timeouts.tcp_closed };
        if (now - doubt.since) % TIMES_BEGIN_AGAIN <= short.into() {
            return true;
        }
        match sockets {
            // Of a connection that was there before, it is another one's.
            Socket::Opening if doubt.is_unconfirmed => self.doubt = Some(Doubt { since: now, ..doubt }),
            Socket::Opening | Socket::Listening | Socket::None => return false,
            Socket::TimeWait => {
                self.wait();
                *end = now + u64::from(timeouts.tcp_fin);
            }
            // An orphan may go without a packet.
            Socket::Connected if self.finished.any() => {
                self.doubt = Some(Doubt { since: now, is_unconfirmed: false, ..doubt });
            }
            Socket::Connected => self.doubt = None,
        }
        true
    }

    /// The same of a flow that is in no doubt too: its socket may have died without a segment.
    pub(super) fn look(&mut self, sockets: Socket, timeouts: &FlowTimeouts, now: u64, end: &mut u64) -> bool {
        let is_certain = self.doubt.is_none() && self.has_socket && self.is_protected();
        if !is_certain {
            return self.settle(sockets, timeouts, now, end);
        }
        if sockets == Socket::TimeWait {
            self.wait();
            *end = now + u64::from(timeouts.tcp_fin);
        }
        matches!(sockets, Socket::Connected | Socket::TimeWait)
    }

    /// Follows a segment.
    pub(super) fn follow(&mut self, met: &Met<'_>, begun_by_egress: &mut bool, end: &mut u64) -> Fate {
        if let Stage::SynSent | Stage::SynReceived(_) = self.stage {
            let renewal = self.shake_hands(met);
            renew(end, renewal, met.now);
            return Fate::GoesOn;
        }
        if met.has(tcp::SYN) {
            return self.syn(met, begun_by_egress, end);
        }
        let renewal = match self.stage {
            Stage::PickedUp(sent) => self.picked_up(met, sent),
            Stage::Closed => self.closed(met),
            // Its socket goes before the RST leaves; one that is there has not sent it.
            _ if met.is_reset_of_the_host()
                && self.has_socket
                && !matches!(met.sockets, Socket::Connected | Socket::Opening) =>
            {
                self.close(met)
            }
            _ if met.is_reset_of_the_host() && self.has_socket => self.doubt(met, met.sockets),
            Stage::TimeWait if met.has(tcp::RST) => Renewal::Stays,
            // Of a host that translates addresses, perhaps, and answers what it does not know.
            _ if met.is_reset_of_the_host() => self.doubt(met, Socket::None),
            _ if met.has(tcp::RST) => self.doubt(met, met.sockets),
            _ => self.talk(met),
        };
        renew(end, renewal, met.now);
        Fate::GoesOn
    }

    fn shake_hands(&mut self, met: &Met<'_>) -> Renewal {
        if met.has(tcp::RST) {
            return Renewal::Stays;
        }
        if met.is_initiator && met.has(tcp::SYN) {
            self.opened_with = met.segment.sequence;
        } else if met.has(tcp::SYN) {
            let is_answer = met.has(tcp::ACK) && met.acknowledges(self.opened_with);
            if matches!(self.stage, Stage::SynReceived(_)) && !is_answer {
                return Renewal::Stays;
            }
            self.stage = Stage::SynReceived(met.segment.sequence);
            self.finished.responder = met.has(tcp::FIN);
        } else if let Stage::SynReceived(syn) = self.stage
            && met.is_initiator
            && met.has(tcp::ACK)
            && met.acknowledges(syn)
        {
            self.syn = None;
            self.heard(met);
            return self.open(met);
        }
        Renewal::In(met.timeouts.tcp_syn)
    }

    /// The segment that completes the handshake, or shows that a connection in mid-stream is one. It may have a FIN.
    fn open(&mut self, met: &Met<'_>) -> Renewal {
        self.stage = Stage::Open;
        self.has_socket = matches!(met.sockets, Socket::Connected | Socket::Opening);
        // The host has not completed the handshake, and may throw the segment away. A listener may be of another connection.
        if matches!(met.sockets, Socket::Opening | Socket::Listening) {
            let is_backed = self.has_socket;
            let doubt =
                Doubt { since: met.now, is_backed, is_unconfirmed: is_backed, spoke: Sides::default() };
            self.doubt = Some(doubt);
        }
        if self.finish(met) {
            self.wait();
            return Renewal::In(met.timeouts.tcp_fin);
        }
        if self.finished.any() {
            return self.half_close(met);
        }
        if !met.has(tcp::FIN) {
            self.trust(met);
        }
        self.renewal(met)
    }

    fn renewal(&self, met: &Met<'_>) -> Renewal {
        match self.doubt {
            Some(Doubt { is_backed: false, .. }) => Renewal::In(met.timeouts.tcp_doubt),
            _ => Renewal::In(met.timeouts.tcp_established),
        }
    }

    /// A SYN changes nothing until the other side acknowledges it.
    fn syn(&mut self, met: &Met<'_>, begun_by_egress: &mut bool, end: &mut u64) -> Fate {
        if opens(met.segment) {
            if self.doubt.is_some() || matches!(self.stage, Stage::Closed | Stage::TimeWait) {
                return Fate::AsksRules;
            }
            self.remember(met);
            return Fate::GoesOn;
        }
        let Some(syn) = self.syn else {
            return Fate::GoesOn;
        };
        let age = (met.now - syn.at) % TIMES_BEGIN_AGAIN;
        if syn.by_egress != met.is_egress
            && age <= met.timeouts.tcp_syn.into()
            && met.acknowledges(syn.number)
        {
            let finished = Sides { responder: met.has(tcp::FIN), initiator: false };
            *self = Self {
                stage: Stage::SynReceived(met.segment.sequence),
                opened_with: syn.number,
                finished,
                ..Self::begin(met.segment)
            };
            *begun_by_egress = syn.by_egress;
            *end = met.now + u64::from(met.timeouts.tcp_syn);
        }
        Fate::GoesOn
    }

    /// The initiator has to acknowledge what the responder has sent. There is room for one number: a SYN's, or this.
    fn picked_up(&mut self, met: &Met<'_>, sent: Option<u32>) -> Renewal {
        if met.has(tcp::RST) {
            return Renewal::Stays;
        }
        let sent = sent.filter(|_| self.syn.is_none());
        match sent {
            Some(end) if met.is_initiator => {
                let beyond = met.segment.acknowledgement.wrapping_sub(end);
                if met.has(tcp::ACK) && beyond < HANDSHAKE_WINDOW {
                    self.heard(met);
                    return self.open(met);
                }
                if (HANDSHAKE_WINDOW..1 << 31).contains(&beyond) {
                    self.stage = Stage::PickedUp(None);
                }
            }
            None if !met.is_initiator => {
                let end = met.segment.sequence.wrapping_add(met.segment.data.into());
                self.stage = Stage::PickedUp(Some(end));
                self.syn = None;
            }
            _ => {}
        }
        Renewal::In(met.timeouts.tcp_syn)
    }

    /// What the initiator acknowledges, so that it counts for a FIN of the responder too.
    fn heard(&mut self, met: &Met<'_>) {
        self.fin = Some(Fin { acknowledged_by: met.segment.acknowledgement, by_egress: !met.is_egress });
    }

    /// A host that has reset a connection sends nothing but RSTs: segments of both sides, and a socket, show that it goes on.
    fn closed(&mut self, met: &Met<'_>) -> Renewal {
        if met.has(tcp::RST) {
            return Renewal::Stays;
        }
        *self.spoke_since_close.of(met.is_initiator) = true;
        if !self.spoke_since_close.both() || met.sockets != Socket::Connected {
            return Renewal::Stays;
        }
        self.stage = Stage::Open;
        self.has_socket = true;
        self.finished = Sides::default();
        Renewal::In(met.timeouts.tcp_established)
    }

    fn close(&mut self, met: &Met<'_>) -> Renewal {
        self.stage = Stage::Closed;
        (self.doubt, self.has_socket) = (None, false);
        self.spoke_since_close = Sides::default();
        Renewal::In(met.timeouts.tcp_closed)
    }

    fn wait(&mut self) {
        self.stage = Stage::TimeWait;
        self.spoke_since_close = Sides::default();
        (self.doubt, self.has_socket) = (None, false);
        self.finished = Sides { initiator: true, responder: true };
    }

    /// Only the first RST or FIN counts.
    fn doubt(&mut self, met: &Met<'_>, sockets: Socket) -> Renewal {
        if self.doubt.is_some() {
            return Renewal::Stays;
        }
        if sockets == Socket::TimeWait {
            self.wait();
            return Renewal::In(met.timeouts.tcp_fin);
        }
        let is_backed = sockets == Socket::Connected;
        self.has_socket = is_backed;
        self.doubt =
            Some(Doubt { since: met.now, is_backed, is_unconfirmed: false, spoke: Sides::default() });
        if is_backed { Renewal::Stays } else { Renewal::AtLatestIn(met.timeouts.tcp_doubt) }
    }

    /// A FIN ends a side; data of that side afterwards shows that it did not. Whether the connection is over: both sides have
    /// ended, and the last FIN that may be forged is acknowledged.
    fn finish(&mut self, met: &Met<'_>) -> bool {
        let mut is_proven = self.fin.is_some_and(|fin| {
            fin.by_egress != met.is_egress && fin.acknowledged_by == met.segment.acknowledgement
        });
        let finished = self.finished.of(met.is_initiator);
        *finished = met.has(tcp::FIN) || (*finished && met.segment.data == 0);
        let is_of_the_host = met.is_egress && met.origin == Origin::Host;
        if met.has(tcp::FIN) && is_of_the_host {
            // A number of that side is of no FIN that anybody might have made.
            self.fin = self.fin.map(|fin| Fin { by_egress: false, ..fin });
        }
        if met.has(tcp::FIN) && !is_of_the_host {
            // There is room for one number: that of the other side's FIN must have been acknowledged, if it may be forged.
            let is_certain = match self.fin {
                Some(fin) => is_proven || fin.by_egress == met.is_egress,
                None => self.has_socket,
            };
            if !is_certain && self.stage != Stage::TimeWait {
                *self.finished.of(!met.is_initiator) = false;
            }
            let after = met.segment.sequence.wrapping_add(met.segment.data.into()).wrapping_add(1);
            self.fin = Some(Fin { acknowledged_by: after, by_egress: met.is_egress });
            self.syn = None;
            is_proven = false;
        }
        self.finished.both() && (is_proven || self.stage == Stage::TimeWait)
    }

    /// A segment without SYN and RST of an open connection, or of one in time-wait.
    fn talk(&mut self, met: &Met<'_>) -> Renewal {
        let (before, was_open) = (self.finished, self.stage == Stage::Open);
        if self.finish(met) {
            if was_open {
                self.wait();
            }
            return Renewal::In(met.timeouts.tcp_fin);
        }
        if !was_open {
            // Data after both FINs, which anybody may send: until both have sent some, it is the host's socket that says.
            *self.spoke_since_close.of(met.is_initiator) = true;
            if met.sockets != Socket::Connected && !self.spoke_since_close.both() {
                self.finished = before;
                return Renewal::Stays;
            }
        }
        self.stage = Stage::Open;
        if !was_open {
            // It was in time-wait, and is half-closed.
            return self.half_close(met);
        }
        if self.finished.any() && self.finished != before {
            return self.doubt(met, met.sockets);
        }
        if !met.has(tcp::FIN) {
            self.trust(met);
        }
        self.renewal(met)
    }

    /// A FIN of one side, of a flow that was not open before.
    fn half_close(&mut self, met: &Met<'_>) -> Renewal {
        match self.doubt(met, met.sockets) {
            Renewal::Stays => self.renewal(met),
            Renewal::AtLatestIn(seconds) => Renewal::In(met.timeouts.tcp_established.min(seconds)),
            renewal @ Renewal::In(_) => renewal,
        }
    }

    /// The doubt goes when both have spoken since, unless a socket backs the connection: that is asked for.
    fn trust(&mut self, met: &Met<'_>) {
        let Some(doubt) = &mut self.doubt else {
            return;
        };
        if doubt.is_backed {
            return;
        }
        *doubt.spoke.of(met.is_initiator) = true;
        if doubt.spoke.both() {
            self.doubt = None;
        }
    }
}

fn renew(end: &mut u64, renewal: Renewal, now: u64) {
    match renewal {
        Renewal::Stays => {}
        Renewal::In(seconds) => *end = now + u64::from(seconds),
        Renewal::AtLatestIn(seconds) => *end = (*end).min(now + u64::from(seconds)),
    }
}
