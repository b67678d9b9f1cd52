//! Frames that rules mean, frames that answer, repeat, report or cut up earlier ones, and frames of no use to anybody.

use std::net::IpAddr;

use firewall_common::abi::Direction;
use firewall_tests::packets::{
    Content, Extension, Fragment, Frame, IcmpBody, Packet, Segment, Transport, VlanTag, tcp,
};
use firewall_tests::scenario::{Arrival, Origin, Peer, Policy, Rule, Step};
use firewall_userspace::model::{IcmpSelector, Service};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::{Generator, ICMP_TYPES, ICMPV6_TYPES, PORTS, PROTOCOLS_V4, PROTOCOLS_V6, V4, V6};

impl Generator {
    pub(super) fn frame(&mut self, policy: &Policy, sent: &mut Vec<(Arrival, Packet)>) -> Step {
        if self.chance(2) {
            return self.frame_without_ip();
        }
        let (mut arrival, packet) = self.packet(policy, sent);
        arrival.origin = self.origin();
        let packet = self.decorate(packet);
        sent.push((arrival, packet.clone()));
        let mut frame = Frame::ip(self.spoil(packet));
        if self.chance(5) {
            let count = if self.chance(20) { 3 } else { self.random.random_range(1..=2) };
            frame.tags = (0..count).map(|_| self.tag()).collect();
        }
        Step::Frame { arrival, frame, expected: None }
    }

    /// Counts for what leaves alone.
    fn origin(&mut self) -> Origin {
        let (host, other) = (Origin::Host, Origin::OtherDevice);
        self.pick(&[host, host, host, host, host, host, other, other, other, Origin::SameInterface])
    }

    fn tag(&mut self) -> VlanTag {
        VlanTag { ethertype: self.pick(&[0x8100, 0x88a8, 0x9100]), vlan: self.pick(&[0, 5]) }
    }

    fn frame_without_ip(&mut self) -> Step {
        let arrival = Arrival::new(0, self.direction());
        let content = if self.chance(50) {
            Content::Arp
        } else {
            Content::Other { ethertype: self.pick(&[0x88cc, 38]) }
        };
        Step::Frame { arrival, frame: Frame { tags: Vec::new(), content }, expected: None }
    }

    /// A new packet, or one that has to do with an earlier one.
    fn packet(&mut self, policy: &Policy, sent: &[(Arrival, Packet)]) -> (Arrival, Packet) {
        let slots: Vec<u32> = policy.interfaces.keys().copied().collect();
        let slot = self.pick(&slots);
        let Some((earlier, packet)) = self.pick_recent(sent).filter(|_| self.chance(70)) else {
            let (direction, packet) = self.new_packet(policy);
            return (Arrival::new(slot, direction), packet);
        };
        let slot = if self.chance(80) { earlier.slot } else { slot };
        let (back, again) = (earlier.direction.opposite(), earlier.direction);
        match self.random.random_range(0..11) {
            // It goes through the other hook as well: forwarded, or sent back.
            10 => (Arrival::new(slot, back), packet),
            0..5 => match packet.reply() {
                Some(reply) => {
                    // At times from where the packet came: a forged half of the other end, or a router's.
                    let direction = if self.chance(85) { back } else { again };
                    (Arrival::new(slot, direction), self.vary(reply))
                }
                None => (Arrival::new(slot, again), packet),
            },
            5..7 => (Arrival::new(slot, again), self.vary(packet)),
            7 => {
                let direction = if self.chance(80) { back } else { again };
                (Arrival::new(slot, direction), self.error(&packet))
            }
            _ => (Arrival::new(slot, again), self.fragment(packet)),
        }
    }

    fn pick_recent(&mut self, sent: &[(Arrival, Packet)]) -> Option<(Arrival, Packet)> {
        sent[sent.len().saturating_sub(12)..].choose(&mut self.random).cloned()
    }

    /// Half of them are such that a rule means them.
    fn new_packet(&mut self, policy: &Policy) -> (Direction, Packet) {
        let rules: Vec<&Rule> = policy.groups.values().flat_map(|group| &group.rules).collect();
        let rule = rules.choose(&mut self.random).copied().filter(|_| self.chance(50));
        let peers = rule.map(|rule| pool_addresses(policy, &rule.peer)).unwrap_or_default();
        let is_ipv6 = self.chance(30);
        let peer = peers.choose(&mut self.random).copied().unwrap_or_else(|| self.address(is_ipv6));
        let local = self.address(peer.is_ipv6());
        let direction = rule.map_or_else(|| self.direction(), |rule| rule.direction);
        let (source, destination) = match direction {
            Direction::Ingress => (peer, local),
            Direction::Egress => (local, peer),
        };
        let transport = match rule {
            Some(rule) => self.transport_of(rule.service, peer.is_ipv6()),
            None => self.transport(peer.is_ipv6()),
        };
        let mut packet = Packet::new(source, destination, transport);
        packet.hop_limit = self.pick(&[1, 64, 255]);
        (direction, packet)
    }

    fn transport_of(&mut self, service: Service, is_ipv6: bool) -> Transport {
        let source_port = self.pick(&PORTS);
        match service {
            Service::Tcp(ports) => {
                let flags = if self.chance(80) { tcp::SYN } else { self.flags() };
                Transport::Tcp(Segment::new(source_port, ports.last(), flags))
            }
            Service::Udp(ports) => Transport::Udp { source_port, destination_port: ports.first(), data: 8 },
            Service::Icmp(selector) | Service::Icmpv6(selector) => {
                let (icmp_type, code) = match selector {
                    IcmpSelector::All => (if is_ipv6 { 128 } else { 8 }, 0),
                    IcmpSelector::Type(icmp_type) => (icmp_type, 1),
                    IcmpSelector::TypeCode(icmp_type, code) => (icmp_type, code),
                };
                Transport::Icmp { icmp_type, code, body: IcmpBody::Identifier(1) }
            }
            Service::All | Service::Protocol(_) => self.transport(is_ipv6),
        }
    }

    fn transport(&mut self, is_ipv6: bool) -> Transport {
        match self.random.random_range(0..10) {
            0..4 => {
                let flags = if self.chance(70) { tcp::SYN } else { self.flags() };
                Transport::Tcp(Segment::new(self.pick(&PORTS), self.pick(&PORTS), flags))
            }
            4..7 => Transport::Udp {
                source_port: self.pick(&PORTS),
                destination_port: self.pick(&PORTS),
                data: 8,
            },
            7..9 => {
                let icmp_type = if is_ipv6 { self.pick(&ICMPV6_TYPES) } else { self.pick(&ICMP_TYPES) };
                let body = IcmpBody::Identifier(self.random.random_range(1..3));
                Transport::Icmp { icmp_type, code: u8::from(self.chance(20)), body }
            }
            _ => {
                let protocol = if is_ipv6 { self.pick(&PROTOCOLS_V6) } else { self.pick(&PROTOCOLS_V4) };
                Transport::Other { protocol, data: 8 }
            }
        }
    }

    /// The next packet of a conversation: other TCP flags, data, numbers.
    fn vary(&mut self, mut packet: Packet) -> Packet {
        if let Transport::Tcp(segment) = &mut packet.transport
            && self.chance(50)
        {
            *segment = Segment::new(segment.source_port, segment.destination_port, self.flags());
            segment.data = if self.chance(40) { 10 } else { 0 };
            if self.chance(20) {
                segment.acknowledgement = self.pick(&[0, 1000, 1001, 7001, 66_537, u32::MAX]);
            }
            if self.chance(20) {
                let random = self.random.random_range(0..u32::MAX);
                segment.sequence = self.pick(&[1000, 7000, 7000, u32::MAX, random]);
            }
        }
        packet
    }

    fn flags(&mut self) -> u8 {
        if self.chance(5) {
            return self.random.random_range(0..64);
        }
        let (syn_ack, fin_ack) = (tcp::SYN | tcp::ACK, tcp::FIN | tcp::ACK);
        self.pick(&[
            tcp::SYN,
            syn_ack,
            tcp::ACK,
            tcp::ACK | tcp::PSH,
            tcp::ACK,
            fin_ack,
            fin_ack,
            tcp::SYN | fin_ack,
            tcp::RST,
            tcp::RST | tcp::ACK,
        ])
    }

    /// An ICMP error about a packet, right in most cases.
    fn error(&mut self, packet: &Packet) -> Packet {
        let is_ipv6 = packet.source.is_ipv6();
        let reporter = if self.chance(50) { packet.destination } else { self.address(is_ipv6) };
        let icmp_type = if is_ipv6 { self.pick(&[1, 2, 3, 4, 137]) } else { self.pick(&[3, 3, 5, 11, 12]) };
        let mut error = packet.error(reporter, icmp_type, self.random.random_range(0..5));
        if self.chance(10) {
            error.destination = self.address(is_ipv6);
        }
        if let Transport::Icmp { body: IcmpBody::Quote { bytes, .. }, .. } = &mut error.transport
            && self.chance(20)
        {
            *bytes = self.pick(&[0, 8, 20, 27, 28, 39, 40, 47]);
        }
        error
    }

    fn fragment(&mut self, mut packet: Packet) -> Packet {
        let identification = self.random.random_range(1..3);
        packet.fragment = match self.random.random_range(0..4) {
            0 => Fragment::First { identification },
            1 => Fragment::Later { identification, offset: 8 },
            _ => Fragment::Later { identification, offset: 1480 },
        };
        packet
    }

    /// IPv4 options and IPv6 extension headers.
    fn decorate(&mut self, mut packet: Packet) -> Packet {
        if packet.source.is_ipv4() && self.chance(10) {
            packet.options = self.pick(&[0, 4, 12, 40]);
        }
        if packet.source.is_ipv6() && self.chance(15) {
            packet.extensions = self.extensions();
        }
        packet
    }

    /// Headers that lie.
    fn spoil(&mut self, mut packet: Packet) -> Packet {
        if packet.source.is_ipv4() && self.chance(1) {
            packet.flaws.header_words = Some(self.random.random_range(0..5));
        }
        if self.chance(1) {
            packet.flaws.claimed_bytes = self.random.random_range(1..100);
        }
        let header = packet.transport.header_length();
        if header > 0 && self.chance(1) {
            packet.flaws.transport_bytes = Some(self.random.random_range(0..header));
        }
        packet
    }

    fn extensions(&mut self) -> Vec<Extension> {
        let all = [
            Extension::HopByHop,
            Extension::DestinationOptions,
            Extension::Routing(2),
            Extension::Routing(4),
            Extension::Authentication,
            Extension::Mobility,
            Extension::AtomicFragment,
        ];
        let count =
            if self.chance(10) { self.random.random_range(6..11) } else { self.random.random_range(1..4) };
        let mut extensions: Vec<_> = (0..count).map(|_| self.pick(&all)).collect();
        if self.chance(5) {
            extensions.push(Extension::Routing(0));
        }
        extensions
    }
}

/// The addresses of the pools that a peer contains.
fn pool_addresses(policy: &Policy, peer: &Peer) -> Vec<IpAddr> {
    let prefixes = match peer {
        Peer::Cidr(prefix) => vec![*prefix],
        Peer::Group(name) => policy.groups.get(name).map(|group| group.members.clone()).unwrap_or_default(),
        Peer::PrefixList(name) => policy.prefix_lists.get(name).cloned().unwrap_or_default(),
    };
    let pool = V4.iter().chain(&V6).map(|text| text.parse::<IpAddr>().unwrap());
    pool.filter(|address| prefixes.iter().any(|prefix| prefix.contains(address))).collect()
}
