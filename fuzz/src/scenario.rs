//! Scenarios out of the fuzzer's bytes, for the differential target.
//!
//! The differential test (ring d) draws from small pools by chance; here every byte is a choice that the fuzzer can
//! learn from, and any number may be any value. Only what a description and its bytes cannot both mean is left out: a
//! protocol that is an extension header, an ICMP query that carries a quote.

use std::collections::BTreeMap;
use std::net::IpAddr;

use arbitrary::{Result, Unstructured};
use firewall_common::abi::Direction;
use firewall_common::flow_table::life::Socket;
use firewall_tests::packets::{
    Content, Extension, Fragment, Frame, IcmpBody, Packet, Segment, Transport, VlanTag, protocol,
};
use firewall_tests::scenario::{
    Arrival, Group, Interface, Management, Origin, Peer, Policy, Rule, Scenario, Step,
};
use firewall_userspace::model::{
    ExemptProperties, FlowTimeouts, IcmpErrors, IcmpSelector, InterfaceOptions, ManagementService, PortRange,
    Protocol, Service,
};
use ipnet::IpNet;

const MAX_STEPS: usize = 48;
const GROUPS: [&str; 3] = ["main", "app", "db"];
const LIST: &str = "pl-1";
/// Addresses that meet, next to each other and far apart.
const V4: [[u8; 4]; 4] = [[10, 0, 1, 10], [10, 0, 1, 11], [203, 0, 113, 5], [0, 0, 0, 0]];
const V6: [&str; 4] = ["2001:db8:1::10", "2001:db8:1::11", "fe80::1", "::ffff:203.0.113.5"];
/// Ports that mean something, and two of no meaning.
const PORTS: [u16; 8] = [22, 67, 68, 443, 546, 547, 40_000, 65_535];
/// Next header numbers that are extension headers in IPv6, where no packet carries them as its protocol.
const EXTENSION_HEADERS: [u8; 6] = [0, 43, 44, 51, 60, 135];
/// Longer than any flow lives.
const MAX_WAIT: u32 = 500_000;
/// What passes in one step is a multiple of it. A second or two would leave open what the end of a flow is renewed by, and
/// whether UDP has talked for two seconds.
const LEAST_WAIT: u32 = 3;

/// Reads a scenario until the bytes are used up.
///
/// # Errors
///
/// Too few bytes.
pub fn scenario(bytes: &[u8]) -> Result<Scenario> {
    let mut reader = Reader { bytes: Unstructured::new(bytes), sent: Vec::new() };
    let mut policy = reader.policy()?;
    let mut steps = vec![Step::Publish(policy.clone())];
    // Later on it would be chance which flow has to go for another one.
    if reader.bytes.ratio(1u8, 16u8)? {
        steps.push(Step::Fill);
    }
    while !reader.bytes.is_empty() && steps.len() < MAX_STEPS {
        steps.push(reader.step(&mut policy)?);
    }
    Ok(Scenario { title: "fuzzed".to_owned(), unplayable: None, steps })
}

struct Reader<'b> {
    bytes: Unstructured<'b>,
    /// What later packets may have to do with.
    sent: Vec<(Arrival, Packet)>,
}

/// The policy.
impl Reader<'_> {
    fn policy(&mut self) -> Result<Policy> {
        let mut policy = Policy::default();
        for name in GROUPS {
            let group = Group { members: self.prefixes(2)?, rules: self.list(4, Self::rule)? };
            policy.groups.insert(name.to_owned(), group);
        }
        let is_ipv6 = self.chance()?;
        let entries = self.list(2, |reader| reader.prefix(is_ipv6))?;
        policy.prefix_lists.insert(LIST.to_owned(), entries);
        policy.exempt = self.list(2, Self::exempt)?;
        policy.management = self.list(2, Self::management)?;
        policy.interfaces = BTreeMap::from([(0, self.interface(1)?)]);
        if self.chance()? {
            let zone = self.bytes.int_in_range(1..=2)?;
            policy.interfaces.insert(1, self.interface(zone)?);
        }
        Ok(policy)
    }

    fn interface(&mut self, zone: u16) -> Result<Interface> {
        let carried: u8 = self.bytes.arbitrary()?;
        let names = GROUPS.iter().enumerate().filter(|(index, _)| carried >> index & 1 != 0);
        let groups = names.map(|(_, name)| (*name).to_owned()).collect();
        let switches: u8 = self.bytes.arbitrary()?;
        let is_on = |bit: u8| switches >> bit & 1 != 0;
        let mut options = InterfaceOptions { tcp_strict: is_on(0), ..InterfaceOptions::default() };
        if is_on(1) {
            options.icmp_errors = IcmpErrors::RulesOnly;
        }
        if is_on(2) {
            options.timeouts = self.timeouts()?;
        }
        options.always_track = self.prefixes(2)?.into_iter().collect();
        options.exemptions.arp = !is_on(3);
        options.exemptions.neighbor_discovery = !is_on(4);
        options.exemptions.multicast_listener = !is_on(5);
        options.exemptions.dhcp_client = !is_on(6);
        options.exemptions.non_ip = !is_on(7);
        Ok(Interface { zone, groups, options })
    }

    fn timeouts(&mut self) -> Result<FlowTimeouts> {
        let defaults = FlowTimeouts::default();
        Ok(FlowTimeouts {
            tcp_established: self.bytes.int_in_range(60..=defaults.tcp_established)?,
            udp: self.bytes.int_in_range(30..=60)?,
            udp_stream: self.bytes.int_in_range(60..=180)?,
            tcp_doubt: self.bytes.int_in_range(10..=defaults.tcp_doubt)?,
            ..defaults
        })
    }

    fn exempt(&mut self) -> Result<ExemptProperties> {
        let is_ipv6 = self.chance()?;
        Ok(ExemptProperties { service: self.service()?, prefix: self.prefix(is_ipv6)? })
    }

    fn management(&mut self) -> Result<Management> {
        let (is_tcp, is_ipv6, ports) = (self.chance()?, self.chance()?, self.port_range()?);
        let service = if is_tcp { ManagementService::Tcp(ports) } else { ManagementService::Udp(ports) };
        Ok(Management { service, prefix: self.prefix(is_ipv6)? })
    }

    fn rule(&mut self) -> Result<Rule> {
        Ok(Rule { direction: self.direction()?, service: self.service()?, peer: self.peer()? })
    }

    fn service(&mut self) -> Result<Service> {
        Ok(match self.bytes.int_in_range(0..=5u8)? {
            0 => Service::All,
            1 => Service::Tcp(self.port_range()?),
            2 => Service::Udp(self.port_range()?),
            3 => Service::Icmp(self.selector()?),
            4 => Service::Icmpv6(self.selector()?),
            _ => {
                let number = self.bytes.arbitrary()?;
                Service::new(Protocol::from_number(number), None, None).unwrap_or(Service::All)
            }
        })
    }

    fn port_range(&mut self) -> Result<PortRange> {
        if self.chance()? {
            return Ok(PortRange::ALL);
        }
        let (a, b) = (self.port()?, self.port()?);
        Ok(PortRange::new(a.min(b), a.max(b)).unwrap_or(PortRange::ALL))
    }

    fn selector(&mut self) -> Result<IcmpSelector> {
        Ok(match self.bytes.int_in_range(0..=2u8)? {
            0 => IcmpSelector::All,
            1 => IcmpSelector::Type(self.bytes.arbitrary()?),
            _ => IcmpSelector::TypeCode(self.bytes.arbitrary()?, self.bytes.arbitrary()?),
        })
    }

    fn peer(&mut self) -> Result<Peer> {
        Ok(match self.bytes.int_in_range(0..=3u8)? {
            0 => Peer::Group((*self.bytes.choose(&GROUPS)?).to_owned()),
            1 => Peer::PrefixList(LIST.to_owned()),
            _ => {
                let is_ipv6 = self.chance()?;
                Peer::Cidr(self.prefix(is_ipv6)?)
            }
        })
    }

    fn prefixes(&mut self, most: usize) -> Result<Vec<IpNet>> {
        self.list(most, |reader| {
            let is_ipv6 = reader.chance()?;
            reader.prefix(is_ipv6)
        })
    }

    fn prefix(&mut self, is_ipv6: bool) -> Result<IpNet> {
        let longest = if is_ipv6 { 128 } else { 32 };
        let length = self.bytes.int_in_range(0..=longest)?;
        let prefix = IpNet::new(self.address(is_ipv6)?, length);
        Ok(prefix.map_err(|_| arbitrary::Error::IncorrectFormat)?.trunc())
    }
}

/// What happens.
impl Reader<'_> {
    fn step(&mut self, policy: &mut Policy) -> Result<Step> {
        Ok(match self.bytes.int_in_range(0..=15u8)? {
            0 => Step::Wait(self.bytes.int_in_range(0..=MAX_WAIT / LEAST_WAIT)? * LEAST_WAIT),
            1 => Step::Wait(self.bytes.int_in_range(0..=600 / LEAST_WAIT)? * LEAST_WAIT),
            2 => {
                let name = *self.bytes.choose(&GROUPS)?;
                let group = Group { members: self.prefixes(2)?, rules: self.list(4, Self::rule)? };
                policy.groups.insert(name.to_owned(), group);
                Step::Publish(policy.clone())
            }
            3 => self.frame_without_ip()?,
            4 => {
                let sockets =
                    [Socket::Connected, Socket::TimeWait, Socket::Opening, Socket::Listening, Socket::None];
                Step::Sockets(*self.bytes.choose(&sockets)?)
            }
            5 => Step::Sweep,
            _ => self.frame(policy)?,
        })
    }

    fn frame_without_ip(&mut self) -> Result<Step> {
        let ethertype = self.bytes.arbitrary()?;
        let content = match ethertype {
            // These would have to carry what they say.
            0x0800 | 0x86dd | 0x0806 | 0x8100 | 0x88a8 | 0x9100 | 0x9200 => Content::Arp,
            ethertype => Content::Other { ethertype },
        };
        let arrival = Arrival::new(0, self.direction()?);
        Ok(Step::Frame { arrival, frame: Frame { tags: self.tags()?, content }, expected: None })
    }

    fn frame(&mut self, policy: &Policy) -> Result<Step> {
        let (mut arrival, mut packet) = self.packet()?;
        if self.chance()? && policy.interfaces.contains_key(&1) {
            arrival.slot = 1;
        }
        let decorations: u8 = self.bytes.arbitrary()?;
        arrival.origin = match decorations >> 6 {
            0 | 1 => Origin::Host,
            2 => Origin::OtherDevice,
            _ => Origin::SameInterface,
        };
        if decorations & 1 != 0 {
            packet.hop_limit = self.bytes.arbitrary()?;
        }
        if decorations & 2 != 0 {
            packet.fragment = self.fragment()?;
        }
        if decorations & 4 != 0 && packet.source.is_ipv6() {
            packet.extensions = self.list(9, Self::extension)?;
        }
        if decorations & 8 != 0 && packet.source.is_ipv4() {
            packet.options = self.bytes.int_in_range(0..=10)? * 4;
        }
        self.sent.push((arrival, packet.clone()));
        if decorations & 16 != 0 {
            self.spoil(&mut packet)?;
        }
        let tags = if decorations & 32 != 0 { self.tags()? } else { Vec::new() };
        Ok(Step::Frame { arrival, frame: Frame { tags, content: Content::Ip(packet) }, expected: None })
    }

    /// A packet by itself, or one that repeats, answers or reports an earlier one.
    fn packet(&mut self) -> Result<(Arrival, Packet)> {
        let kind = self.bytes.int_in_range(0..=3u8)?;
        if kind == 0 || self.sent.is_empty() {
            return self.new_packet();
        }
        let back = usize::from(self.bytes.int_in_range(0..=3u8)?).min(self.sent.len() - 1);
        let (arrival, packet) = self.sent[self.sent.len() - 1 - back].clone();
        let returning = Arrival::new(arrival.slot, arrival.direction.opposite());
        match kind {
            1 => Ok((arrival, self.vary(packet)?)),
            2 => match packet.reply() {
                Some(reply) => Ok((returning, self.vary(reply)?)),
                None => Ok((arrival, packet)),
            },
            _ => Ok((returning, self.error(&packet)?)),
        }
    }

    fn new_packet(&mut self) -> Result<(Arrival, Packet)> {
        let arrival = Arrival::new(0, self.direction()?);
        let is_ipv6 = self.chance()?;
        let (source, destination) = (self.address(is_ipv6)?, self.address(is_ipv6)?);
        Ok((arrival, Packet::new(source, destination, self.transport(is_ipv6)?)))
    }

    fn transport(&mut self, is_ipv6: bool) -> Result<Transport> {
        Ok(match self.bytes.int_in_range(0..=3u8)? {
            0 => {
                let (source_port, destination_port) = (self.port()?, self.port()?);
                Transport::Tcp(self.segment(source_port, destination_port)?)
            }
            1 => Transport::Udp {
                source_port: self.port()?,
                destination_port: self.port()?,
                data: self.bytes.int_in_range(0..=16)?,
            },
            2 => Transport::Icmp {
                icmp_type: self.bytes.arbitrary()?,
                code: self.bytes.arbitrary()?,
                body: IcmpBody::Identifier(self.bytes.int_in_range(0..=3)?),
            },
            _ => {
                let number = self.bytes.arbitrary()?;
                let is_read = match number {
                    protocol::TCP | protocol::UDP => true,
                    protocol::ICMP => !is_ipv6,
                    number => is_ipv6 && (number == protocol::ICMPV6 || EXTENSION_HEADERS.contains(&number)),
                };
                let protocol = if is_read { 47 } else { number };
                Transport::Other { protocol, data: self.bytes.int_in_range(0..=16)? }
            }
        })
    }

    fn segment(&mut self, source_port: u16, destination_port: u16) -> Result<Segment> {
        let mut segment = Segment::new(source_port, destination_port, self.bytes.int_in_range(0..=63)?);
        segment.data = self.bytes.int_in_range(0..=2)?;
        if self.chance()? {
            segment.sequence = self.bytes.arbitrary()?;
        }
        if self.chance()? {
            segment.acknowledgement = self.bytes.arbitrary()?;
        }
        Ok(segment)
    }

    /// The next packet of a conversation.
    fn vary(&mut self, mut packet: Packet) -> Result<Packet> {
        if let Transport::Tcp(segment) = &packet.transport
            && self.chance()?
        {
            let (source_port, destination_port) = (segment.source_port, segment.destination_port);
            packet.transport = Transport::Tcp(self.segment(source_port, destination_port)?);
        }
        Ok(packet)
    }

    fn error(&mut self, packet: &Packet) -> Result<Packet> {
        let is_ipv6 = packet.source.is_ipv6();
        let reporter = if self.chance()? { packet.destination } else { self.address(is_ipv6)? };
        let types: &[u8] = if is_ipv6 { &[1, 2, 3, 4, 137] } else { &[3, 4, 5, 11, 12] };
        let icmp_type = *self.bytes.choose(types)?;
        let mut error = packet.error(reporter, icmp_type, self.bytes.arbitrary()?);
        if self.chance()? {
            error.destination = self.address(is_ipv6)?;
        }
        if let Transport::Icmp { body: IcmpBody::Quote { bytes, .. }, .. } = &mut error.transport
            && self.chance()?
        {
            *bytes = self.bytes.int_in_range(0..=80)?;
        }
        Ok(error)
    }

    fn fragment(&mut self) -> Result<Fragment> {
        let identification = self.bytes.int_in_range(0..=1)?;
        let offset = self.bytes.int_in_range(0..=0x1fff)? * 8;
        Ok(match offset {
            0 => Fragment::First { identification },
            offset => Fragment::Later { identification, offset },
        })
    }

    fn extension(&mut self) -> Result<Extension> {
        Ok(match self.bytes.int_in_range(0..=5u8)? {
            0 => Extension::HopByHop,
            1 => Extension::DestinationOptions,
            2 => Extension::Routing(self.bytes.int_in_range(0..=4)?),
            3 => Extension::Authentication,
            4 => Extension::Mobility,
            _ => Extension::AtomicFragment,
        })
    }

    /// Headers that lie, in one way.
    fn spoil(&mut self, packet: &mut Packet) -> Result<()> {
        let header = packet.transport.header_length();
        match self.bytes.int_in_range(0..=2u8)? {
            0 if packet.source.is_ipv4() => {
                packet.flaws.header_words = Some(self.bytes.int_in_range(0..=4)?);
            }
            1 if header > 0 => packet.flaws.transport_bytes = Some(self.bytes.int_in_range(0..=header - 1)?),
            _ => packet.flaws.claimed_bytes = self.bytes.int_in_range(1..=100)?,
        }
        Ok(())
    }

    fn tags(&mut self) -> Result<Vec<VlanTag>> {
        self.list(3, |reader| {
            let ethertype = *reader.bytes.choose(&[0x8100, 0x88a8, 0x9100, 0x9200])?;
            Ok(VlanTag { ethertype, vlan: reader.bytes.int_in_range(0..=4095)? })
        })
    }
}

/// Small choices.
impl Reader<'_> {
    fn address(&mut self, is_ipv6: bool) -> Result<IpAddr> {
        let choice = usize::from(self.bytes.int_in_range(0..=7u8)?);
        Ok(match (is_ipv6, choice) {
            (false, 0..4) => V4[choice].into(),
            (false, _) => self.bytes.arbitrary::<[u8; 4]>()?.into(),
            (true, 0..4) => V6[choice].parse().map_err(|_| arbitrary::Error::IncorrectFormat)?,
            (true, _) => self.bytes.arbitrary::<[u8; 16]>()?.into(),
        })
    }

    fn port(&mut self) -> Result<u16> {
        let choice = usize::from(self.bytes.int_in_range(0..=8u8)?);
        PORTS.get(choice).map_or_else(|| self.bytes.arbitrary(), |port| Ok(*port))
    }

    fn direction(&mut self) -> Result<Direction> {
        Ok(if self.chance()? { Direction::Ingress } else { Direction::Egress })
    }

    fn chance(&mut self) -> Result<bool> {
        self.bytes.arbitrary()
    }

    fn list<T>(&mut self, most: usize, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.bytes.int_in_range(0..=most)?;
        (0..count).map(|_| item(self)).collect()
    }
}
