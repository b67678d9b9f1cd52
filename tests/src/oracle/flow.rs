//! Flows: what tells them apart (`docs/semantics.md`, §3.1) and how they end (`docs/semantics.md`, §3.5).

use std::net::IpAddr;

use firewall_common::abi::Direction;
use firewall_userspace::model::FlowTimeouts;

use super::Place;
use crate::packets::{Packet, Segment, Transport, tcp};

/// How far beyond the responder's SYN the acknowledgement that completes a handshake may lie: a window of data sent
/// along with it (RFC 7413).
const HANDSHAKE_WINDOW: u32 = 65_536;

/// A SYN-ACK with a FIN and no RST: a whole answer in one segment (RFC 7413), which belongs to a flow or to nothing.
pub(super) const fn answers_and_ends(segment: &Segment) -> bool {
    segment.flags & (tcp::SYN | tcp::ACK | tcp::FIN | tcp::RST) == tcp::SYN | tcp::ACK | tcp::FIN
}

/// What tells flows apart, seen from the host. A packet that arrives is addressed to the local end, one that leaves is from
/// it, whatever its addresses: whose they are nobody can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    zone: u16,
    protocol: u8,
    local: IpAddr,
    remote: IpAddr,
    exchange: Exchange,
}

/// What goes between the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    /// TCP and UDP: the local and the remote port. Other protocols: 0 and 0.
    Ports(u16, u16),
    /// An ICMP query and its replies: the query's direction, identifier and type.
    Query { direction: Direction, identifier: u16, icmp_type: u16 },
}

/// A flow.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) ends: Ends,
    /// Direction of the first packet; those of the other direction are the responder's.
    started_by: Direction,
    life: Life,
    last_packet: u64,
}

/// What becomes of a flow by a packet.
pub(super) enum Fate {
    /// It goes on.
    GoesOn,
    /// It is over; the packet asks for a new one, and ends nothing unless the rules admit it.
    Restarts,
}

#[derive(Clone, Debug)]
enum Life {
    Tcp(Tcp),
    Exchange(Kind, Turns),
}

/// What has no connections, but messages that are answered or not.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Udp,
    Query,
    Portless,
}

/// How many messages that alternate with the other side's were seen: request, reply, request, reply. Counted up to 4.
type Turns = u8;

#[derive(Clone, Debug)]
struct Tcp {
    stage: Stage,
    finished: PerSide<bool>,
    /// Since the RST, in stage [`Stage::Reset`].
    spoke_since_reset: PerSide<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    SynSent,
    /// With the acknowledgement number that completes the handshake.
    SynReceived(u32),
    /// Picked up in mid-stream, and whether the responder has spoken.
    PickedUp {
        answered: bool,
    },
    Established,
    Reset,
}

#[derive(Clone, Debug, Default)]
struct PerSide<T> {
    initiator: T,
    responder: T,
}

impl<T> PerSide<T> {
    fn side(&mut self, is_initiator: bool) -> &mut T {
        if is_initiator { &mut self.initiator } else { &mut self.responder }
    }
}

/// A SYN that answers nothing.
pub(super) const fn opens(segment: &Segment) -> bool {
    segment.flags & (tcp::SYN | tcp::ACK) == tcp::SYN
}

impl Ends {
    /// The ends of a packet; `None` where it can belong to no flow.
    pub(super) fn of(place: Place<'_>, packet: &Packet) -> Option<Self> {
        let (local, remote) = by_side(place.direction, packet.source, packet.destination);
        let ports = |source, destination| {
            let (local, remote) = by_side(place.direction, source, destination);
            Exchange::Ports(local, remote)
        };
        let exchange = match &packet.transport {
            Transport::Tcp(segment) => ports(segment.source_port, segment.destination_port),
            Transport::Udp { source_port, destination_port, .. } => ports(*source_port, *destination_port),
            Transport::Other { .. } => Exchange::Ports(0, 0),
            Transport::Icmp { icmp_type, body, .. } => {
                let crate::packets::IcmpBody::Identifier(identifier) = body else {
                    return None;
                };
                let (icmp_type, asks) = query(*icmp_type, packet.source.is_ipv6())?;
                let direction = if asks { place.direction } else { place.direction.opposite() };
                Exchange::Query { direction, identifier: *identifier, icmp_type }
            }
        };
        Some(Self { zone: place.interface.zone, protocol: packet.protocol(), local, remote, exchange })
    }
}

/// Local and remote, of a packet's source and destination.
fn by_side<T>(direction: Direction, source: T, destination: T) -> (T, T) {
    match direction {
        Direction::Ingress => (destination, source),
        Direction::Egress => (source, destination),
    }
}

/// The query type of an ICMP query or its reply, and whether it is the query.
fn query(icmp_type: u8, is_ipv6: bool) -> Option<(u16, bool)> {
    match (icmp_type, is_ipv6) {
        (8 | 13 | 15 | 17, false) | (128, true) => Some((icmp_type.into(), true)),
        (0, false) => Some((8, false)),
        (14 | 16 | 18, false) | (129, true) => Some((u16::from(icmp_type) - 1, false)),
        _ => None,
    }
}

impl Flow {
    /// The flow that begins with an admitted packet; `None` where its protocol, or the packet, begins none.
    pub(super) fn begin(place: Place<'_>, packet: &Packet, now: u64) -> Option<Self> {
        let ends = Ends::of(place, packet)?;
        if matches!(ends.exchange, Exchange::Query { direction, .. } if direction != place.direction) {
            return None;
        }
        let life = match &packet.transport {
            Transport::Tcp(segment) if segment.flags & tcp::RST != 0 => return None,
            Transport::Tcp(segment) => {
                let stage = if opens(segment) { Stage::SynSent } else { Stage::PickedUp { answered: false } };
                Life::Tcp(Tcp { stage, finished: PerSide::default(), spoke_since_reset: PerSide::default() })
            }
            Transport::Udp { .. } => Life::Exchange(Kind::Udp, 1),
            Transport::Icmp { .. } => Life::Exchange(Kind::Query, 1),
            Transport::Other { .. } => Life::Exchange(Kind::Portless, 1),
        };
        Some(Self { ends, started_by: place.direction, life, last_packet: now })
    }

    /// Whether it is of the IPv6 family.
    pub(super) const fn is_ipv6(&self) -> bool {
        self.ends.local.is_ipv6()
    }

    /// The zone that it belongs to.
    pub(super) const fn zone(&self) -> u16 {
        self.ends.zone
    }

    /// Whether it has not been silent for too long.
    pub(super) fn is_live(&self, timeouts: &FlowTimeouts, now: u64) -> bool {
        let timeout = match &self.life {
            Life::Tcp(tcp) => tcp.timeout(timeouts),
            Life::Exchange(Kind::Udp, 4..) => timeouts.udp_stream,
            Life::Exchange(Kind::Udp, _) => timeouts.udp,
            Life::Exchange(Kind::Query, _) => timeouts.icmp,
            Life::Exchange(Kind::Portless, _) => timeouts.other,
        };
        now - self.last_packet <= u64::from(timeout)
    }

    /// Whether its initiator has answered a reply, which shows that it is where it says it is (`docs/decisions.md`,
    /// "Promotion on the initiator's answer").
    pub(super) const fn is_assured(&self) -> bool {
        match &self.life {
            Life::Tcp(tcp) => matches!(tcp.stage, Stage::Established | Stage::Reset),
            Life::Exchange(_, turns) => *turns >= 3,
        }
    }

    /// Follows a packet that has the flow's ends.
    pub(super) fn follow(&mut self, place: Place<'_>, packet: &Packet, now: u64) -> Fate {
        let is_initiator = place.direction == self.started_by;
        match (&mut self.life, &packet.transport) {
            (Life::Tcp(tcp), Transport::Tcp(segment)) => {
                if opens(segment) && tcp.is_over() {
                    return Fate::Restarts;
                }
                if !tcp.follow(segment, is_initiator) {
                    return Fate::GoesOn;
                }
            }
            // Odd turns are the initiator's.
            (Life::Exchange(_, turns), _) if (*turns % 2 == 0) == is_initiator && *turns < 4 => *turns += 1,
            _ => {}
        }
        self.last_packet = now;
        Fate::GoesOn
    }
}

impl Tcp {
    const fn timeout(&self, timeouts: &FlowTimeouts) -> u32 {
        match self.stage {
            Stage::SynSent | Stage::SynReceived(_) | Stage::PickedUp { .. } => timeouts.tcp_syn,
            Stage::Established if self.finished.initiator || self.finished.responder => timeouts.tcp_fin,
            Stage::Established => timeouts.tcp_established,
            Stage::Reset => timeouts.tcp_closed,
        }
    }

    /// Whether a SYN may start a new connection on the same ports: time-wait, or reset.
    fn is_over(&self) -> bool {
        let time_wait = self.finished.initiator && self.finished.responder;
        self.stage == Stage::Reset || (self.stage == Stage::Established && time_wait)
    }

    /// Follows a segment, and says whether it keeps the flow alive.
    fn follow(&mut self, segment: &Segment, is_initiator: bool) -> bool {
        let has = |flag| segment.flags & flag != 0;
        if has(tcp::RST) {
            // `docs/decisions.md`, "RST and FIN": a RST shortens the timeout, from the first one on; it deletes
            // nothing. A connection that is not established yet has a short one already.
            let was_established = self.stage == Stage::Established;
            if was_established {
                self.stage = Stage::Reset;
                self.spoke_since_reset = PerSide::default();
            }
            return was_established;
        }
        match self.stage {
            Stage::SynSent | Stage::SynReceived(_) if !is_initiator && has(tcp::SYN) => {
                self.stage = Stage::SynReceived(segment.sequence.wrapping_add(1));
                self.follow_fin(segment, is_initiator);
            }
            Stage::SynReceived(expected) if is_initiator && has(tcp::ACK) => {
                if segment.acknowledgement.wrapping_sub(expected) < HANDSHAKE_WINDOW {
                    self.stage = Stage::Established;
                    self.follow_fin(segment, is_initiator);
                }
            }
            Stage::SynSent | Stage::SynReceived(_) => {}
            Stage::PickedUp { .. } if !is_initiator => self.stage = Stage::PickedUp { answered: true },
            Stage::PickedUp { answered } => {
                if answered {
                    self.stage = Stage::Established;
                    self.follow_fin(segment, is_initiator);
                }
            }
            Stage::Established => self.follow_fin(segment, is_initiator),
            Stage::Reset => {
                *self.spoke_since_reset.side(is_initiator) = true;
                let both_spoke = self.spoke_since_reset.initiator && self.spoke_since_reset.responder;
                if both_spoke {
                    self.stage = Stage::Established;
                    self.finished = PerSide::default();
                }
                return both_spoke;
            }
        }
        true
    }

    /// A FIN ends a side; data of that side afterwards shows that it did not.
    fn follow_fin(&mut self, segment: &Segment, is_initiator: bool) {
        let finished = self.finished.side(is_initiator);
        *finished = segment.flags & tcp::FIN != 0 || (*finished && segment.data == 0);
    }
}
