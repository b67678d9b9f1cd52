//! Random conversations between a host and its peers, interleaved: what real hosts send, and what they hear back as
//! long as it passes.
//!
//! Each conversation has a port or an identifier of its own, so that none is mistaken for another that conntrack still
//! remembers.

use std::collections::VecDeque;
use std::net::IpAddr;

use firewall_common::abi::Direction;
use firewall_common::reason::Verdict;
use firewall_tests::packets::{DEFAULT_SEQUENCE, Fragment, IcmpBody, Packet, Segment, Transport, tcp};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::Difference;
use super::fragments::{self, Frames, LARGE};

/// Ports of servers.
pub(crate) const SERVER_PORTS: [u16; 5] = [22, 53, 80, 443, 8080];

/// The first port of clients.
const CLIENT_PORTS: u16 = 10_000;

const PEERS: [&str; 9] = [
    "203.0.113.5",
    "203.0.113.6",
    "198.51.100.7",
    "198.51.100.200",
    "10.0.1.10",
    "2001:db8:1::10",
    "2001:db8:1::20",
    "2001:db8:ffff::5",
    "2001:db8:eeee::7",
];

/// An error about a fragment quotes the beginning of it (RFC 1812 §4.3.2.3, RFC 4443 §2.4).
const BYTES_QUOTED: u16 = 500;

/// Conversations that go on at a time.
const SIMULTANEOUS: usize = 8;

/// The host's address.
pub(crate) fn local_address(is_ipv6: bool) -> IpAddr {
    let address = if is_ipv6 { "fd88::10" } else { "10.88.0.10" };
    address.parse().unwrap()
}

type Sent = (Direction, Packet);

/// What comes next.
pub(crate) struct Turn {
    pub(crate) direction: Direction,
    pub(crate) packet: Packet,
    pub(crate) frames: Frames,
    /// Earlier packets of the conversation that passed.
    pub(crate) so_far: Vec<Sent>,
    rest: VecDeque<Sent>,
    tolerated: Option<Difference>,
    /// Sent by a stranger in the name of an end: whatever becomes of it, the conversation goes on.
    is_blind: bool,
}

impl Turn {
    /// Why nftables may decide this packet in another way than the programs, which decide each frame.
    pub(crate) fn difference(&self, ours: &[Verdict], theirs: Verdict) -> Option<Difference> {
        if self.is_blind {
            return Some(Difference::Blind);
        }
        let (before, since) = ours.split_at(self.frames.first);
        if since.contains(&Verdict::Drop) {
            return None;
        }
        match theirs {
            Verdict::Pass if before.contains(&Verdict::Drop) => Some(Difference::FragmentsBeforeTheFirst),
            Verdict::Drop if !self.so_far.is_empty() => self.tolerated,
            _ => None,
        }
    }
}

/// All conversations.
#[derive(Default)]
pub(crate) struct Conversations {
    going_on: Vec<Conversation>,
    begun: u16,
    /// Of the last datagram in fragments.
    identification: u16,
}

struct Conversation {
    so_far: Vec<Sent>,
    rest: VecDeque<Sent>,
    tolerated: Option<Difference>,
}

impl Conversations {
    /// Forgets the conversations that go on.
    pub(crate) fn end_all(&mut self) {
        self.going_on.clear();
    }

    /// The next packet of one of them.
    pub(crate) fn next(&mut self, random: &mut StdRng) -> Turn {
        while self.going_on.len() < SIMULTANEOUS {
            self.begun = self.begun.wrapping_add(1);
            self.going_on.push(Conversation::begin(random, self.begun));
        }
        let index = random.random_range(0..self.going_on.len());
        let Conversation { so_far, mut rest, tolerated } = self.going_on.swap_remove(index);
        let mut is_blind = false;
        if random.random_bool(0.15)
            && tolerated.is_none()
            && let Some(sent) = so_far.last()
        {
            // About one packet in seven is repeated, or something on its way reports it as undeliverable.
            rest.push_front(if random.random_bool(0.5) { sent.clone() } else { error(random, sent) });
        } else if random.random_bool(0.15)
            && is_established(&so_far)
            && let Some(blind) = so_far.last().and_then(|sent| blind(random, sent))
        {
            rest.push_front(blind);
            is_blind = true;
        }
        let (direction, packet) = rest.pop_front().expect("a conversation that goes on has a next packet");
        self.identification = self.identification.wrapping_add(1);
        let frames = Frames::of(&packet, self.identification, random);
        Turn { direction, packet, frames, so_far, rest, tolerated, is_blind }
    }

    /// Goes on with the conversation if the packet has passed: otherwise nobody answers it.
    pub(crate) fn decided(&mut self, turn: Turn, verdict: Verdict) {
        let Turn { direction, packet, mut so_far, rest, tolerated, is_blind, .. } = turn;
        let is_error = matches!(packet.transport, Transport::Icmp { body: IcmpBody::Quote { .. }, .. });
        if verdict == Verdict::Drop && !is_error && !is_blind {
            return;
        }
        if !is_error && !is_blind {
            so_far.push((direction, packet));
        }
        if !rest.is_empty() {
            self.going_on.push(Conversation { so_far, rest, tolerated });
        }
    }
}

impl Conversation {
    fn begin(random: &mut StdRng, number: u16) -> Self {
        let peer: IpAddr = PEERS.choose(random).expect("there are peers").parse().unwrap();
        let local = local_address(peer.is_ipv6());
        let by = if random.random_bool(0.5) { Direction::Ingress } else { Direction::Egress };
        let (client, server) = match by {
            Direction::Ingress => (peer, local),
            Direction::Egress => (local, peer),
        };
        let server_port = *SERVER_PORTS.choose(random).expect("there are ports");
        let client_port = CLIENT_PORTS + number % 50_000;
        let ends = Ends { is_ipv6: peer.is_ipv6(), client_port, server_port };
        let mut tolerated = None;
        let transports = match random.random_range(0..10) {
            0..4 => ends.tcp(random),
            4 => {
                tolerated = Some(Difference::PickedUpByAnySegment);
                let first = if random.random_bool(0.5) { tcp::SYN | tcp::ACK } else { tcp::FIN | tcp::ACK };
                let flags = [(true, first), (false, tcp::ACK), (true, tcp::ACK)];
                flags.map(|(is_client, flags)| ends.segment(is_client, flags)).into()
            }
            5..8 => [true, false, true, false].map(|is_client| ends.datagram(is_client, random)).into(),
            _ => [true, false, true, false].map(|is_client| ends.echo(is_client)).into(),
        };
        let rest = transports.into_iter().map(|(is_client, transport)| {
            let (direction, source, destination) =
                if is_client { (by, client, server) } else { (by.opposite(), server, client) };
            (direction, Packet::new(source, destination, transport))
        });
        Self { so_far: Vec::new(), rest: rest.collect(), tolerated }
    }
}

/// What tells the packets of a conversation from those of others.
struct Ends {
    is_ipv6: bool,
    client_port: u16,
    server_port: u16,
}

impl Ends {
    /// A connection: by the handshake or picked up in mid-stream; closed, reset or left open.
    fn tcp(&self, random: &mut StdRng) -> Vec<(bool, Transport)> {
        let (syn_ack, fin_ack) = (tcp::SYN | tcp::ACK, tcp::FIN | tcp::ACK);
        let mut segments = Vec::new();
        if random.random_bool(0.7) {
            segments.extend([(true, tcp::SYN), (false, syn_ack), (true, tcp::ACK)]);
        }
        segments.extend([(true, tcp::ACK | tcp::PSH), (false, tcp::ACK | tcp::PSH), (true, tcp::ACK)]);
        match random.random_range(0..3) {
            0 => segments.extend([(true, fin_ack), (false, fin_ack), (true, tcp::ACK)]),
            1 => segments.push((random.random_bool(0.5), tcp::RST | tcp::ACK)),
            _ => {}
        }
        segments.into_iter().map(|(is_client, flags)| self.segment(is_client, flags)).collect()
    }

    fn segment(&self, is_client: bool, flags: u8) -> (bool, Transport) {
        let (source, destination) = self.ports(is_client);
        let mut segment = Segment::new(source, destination, flags);
        if flags & tcp::SYN == 0 {
            segment.sequence = DEFAULT_SEQUENCE + 1;
        }
        (is_client, Transport::Tcp(segment))
    }

    fn datagram(&self, is_client: bool, random: &mut StdRng) -> (bool, Transport) {
        let (source_port, destination_port) = self.ports(is_client);
        let data = if random.random_bool(0.5) { LARGE } else { 16 };
        (is_client, Transport::Udp { source_port, destination_port, data })
    }

    /// A ping: the client's port serves as the identifier.
    fn echo(&self, is_client: bool) -> (bool, Transport) {
        let icmp_type = match (self.is_ipv6, is_client) {
            (false, true) => 8,
            (false, false) => 0,
            (true, true) => 128,
            (true, false) => 129,
        };
        let body = IcmpBody::Identifier(self.client_port);
        (is_client, Transport::Icmp { icmp_type, code: 0, body })
    }

    fn ports(&self, is_client: bool) -> (u16, u16) {
        if is_client { (self.client_port, self.server_port) } else { (self.server_port, self.client_port) }
    }
}

/// Whether both ends have sent more than a SYN: before that a RST ends a connection for conntrack, whatever its number.
fn is_established(so_far: &[Sent]) -> bool {
    [Direction::Ingress, Direction::Egress].iter().all(|direction| {
        so_far.iter().any(|(sent, packet)| {
            let is_more =
                matches!(&packet.transport, Transport::Tcp(segment) if segment.flags & tcp::SYN == 0);
            sent == direction && is_more
        })
    })
}

/// What a stranger may send who knows addresses and ports: a RST or a FIN with a number that is in nobody's window, or the host's
/// own half of the conversation, which arrives from outside.
fn blind(random: &mut StdRng, (_, packet): &Sent) -> Option<Sent> {
    let Transport::Tcp(segment) = &packet.transport else {
        return None;
    };
    let is_of_host = packet.source == local_address(packet.source.is_ipv6());
    let (source, destination) = match (random.random_range(0..3), is_of_host) {
        // Its own half; otherwise that of the peer.
        (0, true) | (1.., false) => (packet.source, packet.destination),
        _ => (packet.destination, packet.source),
    };
    let (source_port, destination_port) = if source == packet.source {
        (segment.source_port, segment.destination_port)
    } else {
        (segment.destination_port, segment.source_port)
    };
    let flags = *[tcp::RST, tcp::RST | tcp::ACK, tcp::FIN | tcp::ACK].choose(random)?;
    let mut forged = Segment::new(source_port, destination_port, flags);
    // Half of all numbers are outside of any window by far.
    forged.sequence = DEFAULT_SEQUENCE.wrapping_add(random.random_range(1 << 30..3 << 30));
    Some((Direction::Ingress, Packet::new(source, destination, Transport::Tcp(forged))))
}

/// That an earlier packet could not be delivered, says its destination or somebody on the way.
fn error(random: &mut StdRng, (direction, packet): &Sent) -> Sent {
    let is_ipv6 = packet.source.is_ipv6();
    let on_the_way: IpAddr = if is_ipv6 { "2001:db8:2::1" } else { "192.0.2.1" }.parse().unwrap();
    let reporter = if random.random_bool(0.5) { packet.destination } else { on_the_way };
    let (icmp_type, code) = if is_ipv6 { (1, 4) } else { (3, 3) };
    let mut error = packet.error(reporter, icmp_type, code);
    if fragments::is_large(packet)
        && let Transport::Icmp { body: IcmpBody::Quote { packet, bytes }, .. } = &mut error.transport
    {
        packet.fragment = Fragment::First { identification: 0 };
        *bytes = BYTES_QUOTED;
    }
    (direction.opposite(), error)
}
