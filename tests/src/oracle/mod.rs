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

use std::net::IpAddr;

use anyhow::{Context, Result};
use firewall_common::abi::Direction;
use firewall_common::reason::{Reason, Verdict};
use firewall_userspace::model::IcmpErrors;

use crate::packets::{Content, Fragment, Frame, IcmpBody, Packet, Transport, protocol};
use crate::scenario::{Arrival, Firewall, Interface, Policy};
use flow::{Ends, Fate, Flow};
use room::Room;
use rules::Judgement;

/// Seconds for which later fragments may follow an admitted first one.
const DATAGRAM_SECONDS: u64 = 30;

/// The evaluator with its state.
#[derive(Debug, Default)]
pub struct Oracle {
    policy: Policy,
    /// Seconds since the beginning.
    now: u64,
    flows: Vec<Flow>,
    /// IPv4, IPv6.
    rooms: [Room; 2],
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
        Ok(self.decide_frame(Place { policy: &policy, interface, direction: arrival.direction }, frame))
    }

    fn wait(&mut self, seconds: u32) -> Result<()> {
        self.now += u64::from(seconds);
        Ok(())
    }

    fn fill(&mut self) -> Result<()> {
        for (room, is_ipv6) in self.rooms.iter_mut().zip([false, true]) {
            room.fill(&self.flows, is_ipv6);
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        self.flows.retain(|flow| {
            let interface = self.policy.interfaces.values().find(|interface| interface.zone == flow.zone());
            interface.is_none_or(|interface| flow.is_live(&interface.options.timeouts, self.now))
        });
        Ok(())
    }

    fn flows(&mut self) -> Result<usize> {
        let fillers: usize = self.rooms.iter().map(Room::fillers).sum();
        Ok(self.flows.len() + fillers)
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
        if let Some(reason) = self.decide_by_flow(place, packet) {
            return reason;
        }
        if let Transport::Tcp(segment) = &packet.transport
            && flow::answers_and_ends(segment)
        {
            return Reason::BadTransportHeader;
        }
        if self.is_related(place, packet) {
            return Reason::Related;
        }
        if rules::is_exempt_address(place, packet) {
            return Reason::ExemptAddress;
        }
        match rules::judge(place, packet) {
            Judgement::Denied => return Reason::NoRule,
            Judgement::Untracked => return Reason::Untracked,
            Judgement::Admitted => {}
        }
        if let Transport::Tcp(segment) = &packet.transport
            && place.interface.options.tcp_strict
            && !flow::opens(segment)
        {
            return Reason::NotASyn;
        }
        if let Some(flow) = Flow::begin(place, packet, self.now) {
            if !self.rooms[usize::from(flow.is_ipv6())].lets_begin(self.now) {
                return Reason::FlowTableFull;
            }
            self.flows.retain(|known| known.ends != flow.ends);
            self.flows.push(flow);
        }
        Reason::Rule
    }

    /// How a packet of a live flow ends; the flow follows it.
    fn decide_by_flow(&mut self, place: Place<'_>, packet: &Packet) -> Option<Reason> {
        let index = self.live_flow(place, packet)?;
        let mut flow = self.flows[index].clone();
        match flow.follow(place, packet, self.now) {
            Fate::GoesOn => {}
            Fate::Restarts => return None,
        }
        if flow.is_assured() && !self.flows[index].is_assured() {
            let is_ipv6 = flow.is_ipv6();
            if !self.rooms[usize::from(is_ipv6)].admits_one_more(&self.flows, is_ipv6, self.now) {
                return Some(Reason::FlowTableFull);
            }
        }
        self.flows[index] = flow;
        Some(Reason::Tracked)
    }

    fn live_flow(&self, place: Place<'_>, packet: &Packet) -> Option<usize> {
        let ends = Ends::of(place, packet)?;
        let timeouts = &place.interface.options.timeouts;
        self.flows.iter().position(|flow| flow.ends == ends && flow.is_live(timeouts, self.now))
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
        if self.live_flow(went, quoted).is_some() {
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
