//! A second, deliberately naive evaluator: what `docs/semantics.md` says, with linear scans.
//!
//! It reads the description of a frame, not its bytes, holds rules as an operator states them, and keeps flows in a
//! list with a clock that counts seconds. It shares nothing with `firewall_common`'s parser, flow code and decision
//! or with the compiler, so an error would have to be made twice to go unseen. Where AWS leaves a choice,
//! `docs/decisions.md`, "Semantics", has ours.

mod flow;
mod headers;
mod room;
mod rules;
mod segment;
mod tcp;

use std::net::IpAddr;

use anyhow::{Context, Result};
use firewall_common::abi::Direction;
use firewall_common::flow_table::life::Socket;
use firewall_common::reason::{Reason, Verdict};
use firewall_userspace::model::IcmpErrors;

use crate::packets::{Content, Fragment, Frame, IcmpBody, Packet, Transport, protocol};
use crate::scenario::{Arrival, Firewall, Interface, Origin, Policy};
use flow::{Ends, Fate, Flow};
use room::Room;
use rules::Judgement;

/// Seconds for which later fragments may follow an admitted first one.
const DATAGRAM_SECONDS: u64 = 30;

/// The evaluator with its state.
#[derive(Debug)]
pub struct Oracle {
    policy: Policy,
    /// Seconds since the beginning.
    now: u64,
    flows: Vec<Flow>,
    room: Room,
    /// What the kernel says about the socket of any flow.
    sockets: Socket,
    datagrams: Vec<Datagram>,
}

/// A fragmented datagram whose first fragment was admitted.
#[derive(Debug)]
struct Datagram {
    id: DatagramId,
    admitted_at: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct DatagramId {
    zone: u16,
    direction: Direction,
    source: IpAddr,
    destination: IpAddr,
    /// `None` in IPv6, where reassembly does not look at it (RFC 8200 §4.5).
    protocol: Option<u8>,
    identification: u16,
}

/// Where a packet is judged: everything but the packet.
#[derive(Clone, Copy)]
struct Place<'p> {
    policy: &'p Policy,
    interface: &'p Interface,
    direction: Direction,
    origin: Origin,
}

impl Place<'_> {
    /// The same interface, the other direction.
    const fn opposite(self) -> Self {
        Self { direction: self.direction.opposite(), ..self }
    }

    /// The end of a packet that rules are about.
    const fn peer(self, packet: &Packet) -> IpAddr {
        match self.direction {
            Direction::Ingress => packet.source,
            Direction::Egress => packet.destination,
        }
    }
}

impl Firewall for Oracle {
    fn publish(&mut self, policy: &Policy) -> Result<()> {
        self.policy = policy.clone();
        Ok(())
    }

    fn decide(&mut self, arrival: Arrival, frame: &Frame) -> Result<Reason> {
        let policy = self.policy.clone();
        let interface = policy.interfaces.get(&arrival.slot).context("no interface in this slot")?;
        let Arrival { direction, origin, .. } = arrival;
        Ok(self.decide_frame(Place { policy: &policy, interface, direction, origin }, frame))
    }

    fn wait(&mut self, seconds: u32) -> Result<()> {
        self.now += u64::from(seconds);
        Ok(())
    }

    fn fill(&mut self) -> Result<()> {
        self.room.fill(&mut self.flows, self.now);
        Ok(())
    }

    fn sockets(&mut self, sockets: Socket) -> Result<()> {
        self.sockets = sockets;
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        let Some(interface) = self.policy.interfaces.values().next() else {
            return Ok(());
        };
        let (timeouts, sockets, now) = (interface.options.timeouts, self.sockets, self.now);
        self.flows.retain_mut(|flow| flow.is_live(now) && flow.look(sockets, &timeouts, now));
        Ok(())
    }

    fn flows(&mut self) -> Result<usize> {
        Ok(self.flows.iter().filter(|flow| flow.is_live(self.now)).count())
    }
}

impl Default for Oracle {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            now: 0,
            flows: Vec::new(),
            room: Room::default(),
            sockets: Socket::None,
            datagrams: Vec::new(),
        }
    }
}

impl Oracle {
    fn decide_frame(&mut self, place: Place<'_>, frame: &Frame) -> Reason {
        if let Some(reason) = headers::unreadable(frame) {
            return reason;
        }
        let exemptions = place.interface.options.exemptions;
        match &frame.content {
            Content::Arp if exemptions.arp => Reason::ExemptArp,
            Content::Other { .. } if exemptions.non_ip => Reason::ExemptNonIp,
            Content::Arp | Content::Other { .. } => Reason::NotExempt,
            Content::Ip(packet) => self.decide_datagram(place, packet),
        }
    }

    /// Later fragments share the fate of the first one, which is judged like any packet (`docs/semantics.md`, §2.4).
    fn decide_datagram(&mut self, place: Place<'_>, packet: &Packet) -> Reason {
        let identification = match packet.fragment {
            Fragment::Whole => return self.decide_packet(place, packet),
            Fragment::First { identification } | Fragment::Later { identification, .. } => identification,
        };
        let id = DatagramId {
            zone: place.interface.zone,
            direction: place.direction,
            source: packet.source,
            destination: packet.destination,
            protocol: packet.source.is_ipv4().then(|| packet.protocol()),
            identification,
        };
        if let Fragment::Later { .. } = packet.fragment {
            let since = self.now.saturating_sub(DATAGRAM_SECONDS);
            if self.datagrams.iter().any(|known| known.id == id && known.admitted_at >= since) {
                return Reason::Fragment;
            }
            if rules::exempts_every_port(place, packet) {
                return Reason::ExemptAddress;
            }
            let admitted = rules::admits_every_port(place, packet);
            return if admitted { Reason::Rule } else { Reason::UnknownFragment };
        }
        let reason = self.decide_packet(place, packet);
        self.datagrams.retain(|known| known.id != id);
        if reason.verdict() == Verdict::Pass {
            self.datagrams.push(Datagram { id, admitted_at: self.now });
        }
        reason
    }

    /// Exempt, live state, then the rules (`docs/semantics.md`, §2.1).
    fn decide_packet(&mut self, place: Place<'_>, packet: &Packet) -> Reason {
        if let Some(reason) = exempt(place, packet) {
            return reason;
        }
        let asks_rules = match self.decide_by_flow(place, packet) {
            Some(Fate::GoesOn) => return Reason::Tracked,
            Some(Fate::AsksRules) => true,
            Some(Fate::Over) | None => false,
        };
        if let Transport::Tcp(segment) = &packet.transport
            && segment::answers_and_ends(segment)
        {
            return Reason::BadTransportHeader;
        }
        if self.is_related(place, packet) {
            return Reason::Related;
        }
        if rules::is_exempt_address(place, packet) {
            return Reason::ExemptAddress;
        }
        let is_late = matches!(&packet.transport, Transport::Tcp(segment) if !segment::opens(segment));
        let is_strict = place.interface.options.tcp_strict && !rules::is_management(place, packet);
        match rules::judge(place, packet) {
            Judgement::Untracked => return Reason::Untracked,
            Judgement::Denied => return self.denied(place, packet),
            Judgement::Admitted if is_strict && is_late => return Reason::NotASyn,
            Judgement::Admitted => {}
        }
        if self.is_hairpin(place, packet) {
            return Reason::Hairpin;
        }
        match self.flow_of(place, packet) {
            Some(index) if asks_rules => self.flows[index].remember(place, packet, self.now),
            _ => return self.begin(place, packet),
        }
        Reason::Rule
    }

    /// How a packet of a live flow ends, which follows it. A flow that is over is never heard of again.
    fn decide_by_flow(&mut self, place: Place<'_>, packet: &Packet) -> Option<Fate> {
        // Nobody knows whom it is from.
        if place.direction == Direction::Egress && place.origin == Origin::SameInterface {
            return None;
        }
        let index = self.flow_of(place, packet)?;
        let mut flow = self.flows[index].clone();
        let fate = if flow.is_live(self.now) {
            flow.follow(place, packet, (self.sockets, self.now))
        } else {
            Fate::Over
        };
        match fate {
            Fate::GoesOn => self.flows[index] = flow,
            Fate::AsksRules => {}
            Fate::Over => self.flows[index].end_now(),
        }
        Some(fate)
    }

    fn begin(&mut self, place: Place<'_>, packet: &Packet) -> Reason {
        let Some(flow) = Flow::begin(place, packet, self.now) else {
            return Reason::Rule;
        };
        if !self.room.lets_begin(&flow.ends, &self.flows, self.now) {
            return self.management_or(Reason::FlowTableFull, place, packet);
        }
        self.flows.retain(|known| known.ends != flow.ends);
        self.flows.push(flow);
        Reason::Rule
    }

    /// A connection from a management prefix may have begun while its flow had no place: the host goes on with it.
    fn denied(&self, place: Place<'_>, packet: &Packet) -> Reason {
        let is_mid_stream =
            matches!(&packet.transport, Transport::Tcp(segment) if segment::is_mid_stream(segment));
        if is_mid_stream && rules::is_management(place, packet) {
            return Reason::Management;
        }
        self.management_or(Reason::NoRule, place, packet)
    }

    /// Where a flow has no place, management prefixes pass without one.
    fn management_or(&self, refused: Reason, place: Place<'_>, packet: &Packet) -> Reason {
        let has_place =
            Ends::of(place, packet).is_none_or(|ends| self.room.lets_begin(&ends, &self.flows, self.now));
        if !has_place && rules::is_management(place, packet) { Reason::Management } else { refused }
    }

    fn flow_of(&self, place: Place<'_>, packet: &Packet) -> Option<usize> {
        let ends = Ends::of(place, packet)?;
        self.flows.iter().position(|flow| flow.ends == ends)
    }

    fn is_live(&self, ends: &Ends) -> bool {
        self.flows.iter().any(|flow| flow.ends == *ends && flow.is_live(self.now))
    }

    /// Whether an admitted packet, which would begin a flow, leaves by the interface that it came in by: anybody may have named
    /// whom it is from, and that one would be let in by the flow. It came in there if the kernel says so, or if the host has not
    /// made it and ingress has begun a flow with such a packet. No engine has routes by which its source is reached there.
    fn is_hairpin(&self, place: Place<'_>, packet: &Packet) -> bool {
        if place.direction == Direction::Ingress || !flow::begins_flow(place, packet) {
            return false;
        }
        match place.origin {
            Origin::Host => false,
            Origin::SameInterface => true,
            Origin::OtherDevice => Ends::of(place, packet).is_some_and(|ends| {
                let came_in = ends.mirrored();
                let begun = |flow: &Flow| flow.ends == came_in && flow.is_begun_by_ingress();
                self.flows.iter().any(|flow| begun(flow) && flow.is_live(self.now))
            }),
        }
    }

    /// Whether it is an ICMP error about a packet that went the other way as part of a flow, or untracked
    /// (`docs/semantics.md`, §2.5).
    fn is_related(&self, place: Place<'_>, packet: &Packet) -> bool {
        let Transport::Icmp { icmp_type, body: IcmpBody::Quote { packet: quoted, bytes }, .. } =
            &packet.transport
        else {
            return false;
        };
        let is_error = match packet.protocol() {
            protocol::ICMP => matches!(icmp_type, 3 | 11 | 12),
            _ => matches!(icmp_type, 1..=4),
        };
        if !is_error || place.interface.options.icmp_errors == IcmpErrors::RulesOnly {
            return false;
        }
        if quoted.source != packet.destination || !headers::identifies_its_flow(quoted, *bytes) {
            return false;
        }
        let went = place.opposite();
        if Ends::of(went, quoted).is_some_and(|ends| self.is_live(&ends)) {
            return true;
        }
        rules::is_exempt_address(went, quoted) || rules::judge(went, quoted) == Judgement::Untracked
    }
}

/// What no rule is needed for (`docs/semantics.md`, §2.3; `docs/decisions.md`, "Exemptions").
fn exempt(place: Place<'_>, packet: &Packet) -> Option<Reason> {
    let exemptions = place.interface.options.exemptions;
    let is_ipv6 = packet.source.is_ipv6();
    match &packet.transport {
        Transport::Udp { source_port, destination_port, .. } if exemptions.dhcp_client => {
            let (client, server) = if is_ipv6 { (546, 547) } else { (68, 67) };
            let expected = match place.direction {
                Direction::Egress => (client, server),
                Direction::Ingress => (server, client),
            };
            ((*source_port, *destination_port) == expected).then_some(Reason::ExemptDhcpClient)
        }
        Transport::Icmp { icmp_type: 133..=137, code: 0, .. } if is_ipv6 && exemptions.neighbor_discovery => {
            (packet.hop_limit == 255).then_some(Reason::ExemptNeighborDiscovery)
        }
        Transport::Icmp { icmp_type: 130..=132 | 143, .. } if is_ipv6 && exemptions.multicast_listener => {
            (packet.hop_limit == 1).then_some(Reason::ExemptMulticastListener)
        }
        _ => None,
    }
}
