//! Flows: what tells them apart (`docs/semantics.md`, §3.1), and how they live and end (`docs/semantics.md`, §3.8; TCP is in
//! [`super::tcp`]).

use std::net::IpAddr;

use firewall_common::abi::Direction;
use firewall_common::flow_table::life::Socket;
use firewall_userspace::model::FlowTimeouts;

use super::Place;
use super::segment::Met;
use super::tcp::Tcp;
use crate::packets::{Packet, Segment, Transport, tcp};

/// A UDP flow that both have spoken in is a stream if somebody speaks as long after its beginning.
const STREAM_AFTER: u64 = 2;

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
    /// The hook that began it, of which each packet is the initiator's.
    begun_by_egress: bool,
    life: Life,
    /// The last second of its life, which only its packets move: other timeouts count from the next one.
    end: u64,
    is_over: bool,
}

/// What becomes of a packet of a live flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It passes.
    GoesOn,
    /// It is for the rules, and the flow stays as it is.
    AsksRules,
    /// The flow is over.
    Over,
}

#[derive(Clone, Debug)]
enum Life {
    Tcp(Tcp),
    Udp { begun: u64, replied: bool, is_stream: bool },
    Query,
    Portless,
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

impl Ends {
    /// The ends that a packet has on one hook and had on the other, if it goes through both.
    pub(super) fn mirrored(&self) -> Self {
        let exchange = match self.exchange {
            Exchange::Ports(local, remote) => Exchange::Ports(remote, local),
            Exchange::Query { direction, identifier, icmp_type } => {
                Exchange::Query { direction: direction.opposite(), identifier, icmp_type }
            }
        };
        Self { local: self.remote, remote: self.local, exchange, ..*self }
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
        if !begins_flow(place, packet) {
            return None;
        }
        let life = match &packet.transport {
            Transport::Tcp(segment) => Life::Tcp(Tcp::begin(segment)),
            Transport::Udp { .. } => Life::Udp { begun: now, replied: false, is_stream: false },
            Transport::Icmp { .. } => Life::Query,
            Transport::Other { .. } => Life::Portless,
        };
        let timeouts = &place.interface.options.timeouts;
        let seconds = match life {
            Life::Tcp(_) => timeouts.tcp_syn,
            Life::Udp { .. } => timeouts.udp,
            Life::Query => timeouts.icmp,
            Life::Portless => timeouts.other,
        };
        let begun_by_egress = place.direction == Direction::Egress;
        Some(Self {
            ends: Ends::of(place, packet)?,
            begun_by_egress,
            life,
            end: now + u64::from(seconds),
            is_over: false,
        })
    }

    /// Whether its life is not over.
    pub(super) const fn is_live(&self, now: u64) -> bool {
        !self.is_over && now <= self.end
    }

    /// Ends it, for good.
    pub(super) const fn end_now(&mut self) {
        self.is_over = true;
    }

    /// Whether nothing takes its place while it lives.
    pub(super) const fn is_protected(&self, now: u64) -> bool {
        self.is_live(now) && matches!(&self.life, Life::Tcp(tcp) if tcp.is_protected())
    }

    /// Whether ingress has begun it.
    pub(super) const fn is_begun_by_ingress(&self) -> bool {
        !self.begun_by_egress
    }

    /// As whoever looks at all flows does: asks for the socket of every connection that had one. `false` where the flow is over by
    /// it.
    pub(super) fn look(&mut self, sockets: Socket, timeouts: &FlowTimeouts, now: u64) -> bool {
        match &mut self.life {
            Life::Tcp(tcp) => tcp.look(sockets, timeouts, now, &mut self.end),
            _ => true,
        }
    }

    /// Asks for the socket of a flow in doubt, if it is time to. `false` where the flow is over by it.
    pub(super) fn settle(&mut self, sockets: Socket, timeouts: &FlowTimeouts, now: u64) -> bool {
        match &mut self.life {
            Life::Tcp(tcp) => tcp.settle(sockets, timeouts, now, &mut self.end),
            _ => true,
        }
    }

    /// Follows a packet that has the flow's ends, while it lives.
    pub(super) fn follow(
        &mut self,
        place: Place<'_>,
        packet: &Packet,
        (sockets, now): (Socket, u64),
    ) -> Fate {
        let timeouts = &place.interface.options.timeouts;
        if !self.settle(sockets, timeouts, now) {
            return Fate::Over;
        }
        let is_initiator = self.is_initiator(place);
        let seconds = match (&mut self.life, &packet.transport) {
            (Life::Tcp(tcp), Transport::Tcp(segment)) => {
                let met = met(place, segment, is_initiator, (sockets, now));
                return tcp.follow(&met, &mut self.begun_by_egress, &mut self.end);
            }
            (Life::Udp { begun, replied, is_stream }, _) => {
                *replied |= !is_initiator;
                *is_stream |= *replied && now - *begun >= STREAM_AFTER;
                if *is_stream { timeouts.udp_stream } else { timeouts.udp }
            }
            (Life::Query, _) => timeouts.icmp,
            _ => timeouts.other,
        };
        self.end = now + u64::from(seconds);
        Fate::GoesOn
    }

    /// Remembers a SYN that a rule has admitted in the place of this flow, which is closed or in doubt.
    pub(super) fn remember(&mut self, place: Place<'_>, packet: &Packet, now: u64) {
        let is_initiator = self.is_initiator(place);
        if let (Life::Tcp(tcp), Transport::Tcp(segment)) = (&mut self.life, &packet.transport) {
            tcp.remember(&met(place, segment, is_initiator, (Socket::None, now)));
        }
    }

    fn is_initiator(&self, place: Place<'_>) -> bool {
        (place.direction == Direction::Egress) == self.begun_by_egress
    }
}

fn met<'s>(
    place: Place<'s>,
    segment: &'s Segment,
    is_initiator: bool,
    (sockets, now): (Socket, u64),
) -> Met<'s> {
    Met {
        segment,
        is_initiator,
        is_egress: place.direction == Direction::Egress,
        origin: place.origin,
        now,
        timeouts: &place.interface.options.timeouts,
        sockets,
    }
}

/// Whether an admitted packet begins a flow: a reply without its query and a RST begin none.
pub(super) fn begins_flow(place: Place<'_>, packet: &Packet) -> bool {
    match (Ends::of(place, packet), &packet.transport) {
        (None, _) => false,
        (Some(_), Transport::Tcp(segment)) => segment.flags & tcp::RST == 0,
        (Some(Ends { exchange: Exchange::Query { direction, .. }, .. }), _) => direction == place.direction,
        _ => true,
    }
}
