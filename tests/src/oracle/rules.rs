//! Which rules match a packet, and whether they admit it untracked (`docs/semantics.md`, §2.1 and §3.2).

use std::net::IpAddr;

use firewall_common::abi::Direction;
use firewall_userspace::model::{IcmpSelector, PortRange, Service};
use ipnet::IpNet;

use super::Place;
use crate::packets::{Packet, Transport, protocol};
use crate::scenario::{Peer, Rule};

/// What the rules say about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// No rule matches.
    Denied,
    /// A rule matches; replies need state.
    Admitted,
    /// A rule matches and replies pass by rules too.
    Untracked,
}

/// What a packet wants of its destination.
#[derive(Clone, Copy)]
enum Wanted {
    Tcp(u16),
    Udp(u16),
    Icmp {
        icmp_type: u8,
        code: u8,
    },
    Icmpv6 {
        icmp_type: u8,
        code: u8,
    },
    Protocol(u8),
    /// Of a later fragment nothing but the protocol is known: every port must be open.
    EveryPort {
        protocol: u8,
        is_ipv6: bool,
    },
}

/// Judges a packet that belongs to no flow.
pub(super) fn judge(place: Place<'_>, packet: &Packet) -> Judgement {
    let peer = place.peer(packet);
    let forward = wanted(packet, destination_port);
    if matching(place, forward, peer).next().is_none() {
        return Judgement::Denied;
    }
    // AWS: "responses to untracked traffic are admitted by the rules of the other direction"; that rule matches, so
    // the packet is such a response where what it answers was admitted untracked.
    let answered = wanted(packet, source_port);
    if is_untracked(place, forward, peer) || is_untracked(place.opposite(), answered, peer) {
        return Judgement::Untracked;
    }
    Judgement::Admitted
}

/// Whether it goes to an exempt server, or comes from one (`docs/semantics.md`, §2.3). What comes from one is told by
/// its source port, if the protocol has ports.
pub(super) fn is_exempt_address(place: Place<'_>, packet: &Packet) -> bool {
    let peer = place.peer(packet);
    let wanted = match place.direction {
        Direction::Egress => wanted(packet, destination_port),
        Direction::Ingress => wanted(packet, source_port),
    };
    let mut exempt = place.policy.exempt.iter();
    exempt.any(|exempt| exempt.prefix.contains(&peer) && covers_service(exempt.service, wanted))
}

/// Whether it comes from a management prefix and rules admit it, or answers such a packet.
pub(super) fn is_management(place: Place<'_>, packet: &Packet) -> bool {
    let peer = place.peer(packet);
    let (came, wanted) = match place.direction {
        Direction::Ingress => (place, wanted(packet, destination_port)),
        // Who opens a connection answers nothing.
        Direction::Egress if matches!(&packet.transport, Transport::Tcp(segment) if super::segment::opens(segment)) =>
        {
            return false;
        }
        Direction::Egress => (place.opposite(), wanted(packet, source_port)),
    };
    matches!(wanted, Wanted::Tcp(_) | Wanted::Udp(_))
        && place.policy.management.iter().any(|management| {
            management.prefix.contains(&peer) && covers_service(management.service.into(), wanted)
        })
        && matching(came, wanted, peer).next().is_some()
}

/// Whether a rule admits every port of a later fragment's protocol.
pub(super) fn admits_every_port(place: Place<'_>, packet: &Packet) -> bool {
    matching(place, every_port(packet), place.peer(packet)).next().is_some()
}

/// Whether every port of a later fragment's protocol is exempt.
pub(super) fn exempts_every_port(place: Place<'_>, packet: &Packet) -> bool {
    let peer = place.peer(packet);
    let mut exempt = place.policy.exempt.iter();
    exempt.any(|exempt| exempt.prefix.contains(&peer) && covers_service(exempt.service, every_port(packet)))
}

fn every_port(packet: &Packet) -> Wanted {
    Wanted::EveryPort { protocol: packet.protocol(), is_ipv6: packet.source.is_ipv6() }
}

fn destination_port(_source: u16, destination: u16) -> u16 {
    destination
}

fn source_port(source: u16, _destination: u16) -> u16 {
    source
}

fn wanted(packet: &Packet, port: fn(u16, u16) -> u16) -> Wanted {
    match &packet.transport {
        Transport::Tcp(segment) => Wanted::Tcp(port(segment.source_port, segment.destination_port)),
        Transport::Udp { source_port, destination_port, .. } => {
            Wanted::Udp(port(*source_port, *destination_port))
        }
        Transport::Icmp { icmp_type, code, .. } if packet.source.is_ipv6() => {
            Wanted::Icmpv6 { icmp_type: *icmp_type, code: *code }
        }
        Transport::Icmp { icmp_type, code, .. } => Wanted::Icmp { icmp_type: *icmp_type, code: *code },
        Transport::Other { protocol, .. } => Wanted::Protocol(*protocol),
    }
}

/// `docs/semantics.md`, §3.2: TCP or UDP, a matching rule with any peer, and any peer on all ports in the other
/// direction.
fn is_untracked(place: Place<'_>, wanted: Wanted, peer: IpAddr) -> bool {
    if !matches!(wanted, Wanted::Tcp(_) | Wanted::Udp(_)) {
        return false;
    }
    if place.interface.options.always_track.iter().any(|prefix| prefix.contains(&peer)) {
        return false;
    }
    let is_open = |rule: &&Rule| is_any(&rule.peer, peer);
    let forward_is_open = matching(place, wanted, peer).any(|rule| is_open(&rule));
    let reverse_is_open =
        rules(place, place.direction.opposite()).filter(is_open).any(|rule| match (rule.service, wanted) {
            (Service::All, _) => true,
            (Service::Tcp(ports), Wanted::Tcp(_)) | (Service::Udp(ports), Wanted::Udp(_)) => {
                ports == PortRange::ALL
            }
            _ => false,
        });
    forward_is_open && reverse_is_open
}

/// Literally `0.0.0.0/0` or `::/0`, whichever is of the packet's family; no list that amounts to it.
fn is_any(rule: &Peer, peer: IpAddr) -> bool {
    matches!(rule, Peer::Cidr(prefix) if prefix.prefix_len() == 0 && prefix.contains(&peer))
}

fn matching<'p>(place: Place<'p>, wanted: Wanted, peer: IpAddr) -> impl Iterator<Item = &'p Rule> {
    rules(place, place.direction)
        .filter(move |rule| covers_service(rule.service, wanted) && covers_peer(place, &rule.peer, peer))
}

/// The rules of all groups of the interface are one set.
fn rules(place: Place<'_>, direction: Direction) -> impl Iterator<Item = &Rule> {
    let groups = place.interface.groups.iter().filter_map(|name| place.policy.groups.get(name));
    groups.flat_map(|group| &group.rules).filter(move |rule| rule.direction == direction)
}

fn covers_peer(place: Place<'_>, rule: &Peer, peer: IpAddr) -> bool {
    let any_contains = |prefixes: &Vec<IpNet>| prefixes.iter().any(|prefix| prefix.contains(&peer));
    match rule {
        Peer::Cidr(prefix) => prefix.contains(&peer),
        Peer::Group(name) => place.policy.groups.get(name).is_some_and(|group| any_contains(&group.members)),
        Peer::PrefixList(name) => place.policy.prefix_lists.get(name).is_some_and(any_contains),
    }
}

fn covers_service(rule: Service, wanted: Wanted) -> bool {
    match (rule, wanted) {
        (Service::All, _) => true,
        (Service::Tcp(ports), Wanted::Tcp(port)) | (Service::Udp(ports), Wanted::Udp(port)) => {
            (ports.first()..=ports.last()).contains(&port)
        }
        (Service::Icmp(selector), Wanted::Icmp { icmp_type, code })
        | (Service::Icmpv6(selector), Wanted::Icmpv6 { icmp_type, code }) => match selector {
            IcmpSelector::All => true,
            IcmpSelector::Type(known) => known == icmp_type,
            IcmpSelector::TypeCode(known, known_code) => (known, known_code) == (icmp_type, code),
        },
        (Service::Protocol(known), Wanted::Protocol(protocol)) => known.number() == protocol,
        (_, Wanted::EveryPort { protocol, is_ipv6 }) => covers_every_port(rule, protocol, is_ipv6),
        _ => false,
    }
}

fn covers_every_port(rule: Service, protocol: u8, is_ipv6: bool) -> bool {
    match (rule, protocol) {
        (Service::All, _) => true,
        (Service::Tcp(ports), protocol::TCP) | (Service::Udp(ports), protocol::UDP) => {
            ports == PortRange::ALL
        }
        (Service::Icmp(selector), protocol::ICMP) => selector == IcmpSelector::All && !is_ipv6,
        (Service::Icmpv6(selector), protocol::ICMPV6) => selector == IcmpSelector::All && is_ipv6,
        (Service::Protocol(known), _) => known.number() == protocol,
        _ => false,
    }
}
