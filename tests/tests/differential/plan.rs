//! What a plan says about traffic, against the oracle: on random pairs of policies, a packet is admitted by the second and
//! not by the first if and only if it is in a region that the plan calls newly reachable; and the other way round.
//!
//! Packets are taken where an error would show: at the ends of every range that a rule, a member or a region has, and one
//! beyond. Of every region one packet inside is taken too, and some pairs are made such that each kind of region comes up:
//! what a run must have met, it meets by every seed. `SGFW_SEED` repeats a run.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::abi::Direction;
use firewall_common::reason::{Reason, Verdict};
use firewall_tests::oracle::Oracle;
use firewall_tests::packets::{Frame, IcmpBody, Packet, Segment, Transport, tcp};
use firewall_tests::scenario::input::policy_input;
use firewall_tests::scenario::{Arrival, Firewall as _, Peer, Policy, Rule};
use firewall_tests::seed::seed;
use firewall_userspace::compile::PolicyInput;
use firewall_userspace::model::{IcmpSelector, PortRange, RuleId, Service};
use firewall_userspace::plan::{AddressRange, CompiledState, Effect, IcmpRange, Region, ServiceRange};
use ipnet::IpNet;

use super::generator::{FIRST_GROUP, Generator};

const PAIRS: usize = 100;
const PACKETS: usize = 400;
/// One pair in so many is made for each kind of difference: 0 gains, 1 loses, 2 is tracked from now on, 3 no longer.
const KINDS: usize = 8;
const WORLD: [&str; 2] = ["0.0.0.0/0", "::/0"];

#[test]
fn a_plan_says_exactly_what_the_oracle_decides_differently() {
    let seed = seed();
    let mut generator = Generator::new(seed);
    let mut tally = Tally::default();
    for pair in 0..PAIRS {
        let (before, after) = match pair % KINDS {
            kind @ 0..4 => made_to_differ(kind, &mut generator),
            _ => policies(&mut generator),
        };
        let effect = effect(&before, &after);
        let points = Points::of(&[&before, &after], &effect);
        let mut packets: Vec<_> = all_regions(&effect).filter_map(inside).collect();
        for _ in 0..PACKETS {
            let arrival = Arrival::new(generator.pick(&points.slots), generator.direction());
            packets.extend(points.packet(arrival.direction, &mut generator).map(|packet| (arrival, packet)));
        }
        for (arrival, packet) in packets {
            let context =
                format!("SGFW_SEED={seed}, pair {pair}, {arrival:?}: {packet:?}\n{before:?}\n{after:?}");
            check(&before, &after, &effect, arrival, &packet, &mut tally, &context);
        }
    }
    println!("plan: {tally:?}");
    let Tally { gained, lost, untracked, tracked, .. } = tally;
    let least = PAIRS / KINDS;
    assert!(
        [gained, lost, untracked, tracked].iter().all(|count| *count >= least),
        "too little differs: {tally:?}"
    );
}

#[test]
fn without_a_redundant_rule_the_same_is_reachable() {
    let seed = seed();
    let mut generator = Generator::new(seed);
    let mut found = 0;
    for pair in 0..PAIRS {
        let mut policy = generator.policy();
        if pair % 2 == 0 {
            // A rule, and another one that admits more.
            let groups = &mut policy.interfaces.get_mut(&0).unwrap().groups;
            groups.retain(|group| group != FIRST_GROUP);
            groups.push(FIRST_GROUP.to_owned());
            open(&mut policy, Direction::Ingress, Service::All, &["10.0.1.0/24", "10.0.1.10/32"]);
        }
        let input = policy_input(&policy).unwrap();
        let all = CompiledState::new(&input).unwrap();
        for row in Effect::between(&all, &all).redundant_rules {
            let effect = Effect::between(&all, &CompiledState::new(&without(&input, row.rule)).unwrap());
            let differs = |region: &Region| region.slots.iter().any(|slot| row.slots.contains(slot));
            let regions = effect.newly_reachable.iter().chain(&effect.no_longer_reachable);
            let differing: Vec<_> = regions.filter(|region| differs(region)).collect();
            assert!(
                differing.is_empty(),
                "SGFW_SEED={seed}, pair {pair}: {row:?}: {differing:?}\n{policy:?}"
            );
            found += 1;
        }
    }
    assert!(found >= PAIRS / 2, "only {found} redundant rules");
}

/// Half of the pairs have much in common, as policies and their successors do.
fn policies(generator: &mut Generator) -> (Policy, Policy) {
    let before = generator.policy();
    let mut after = before.clone();
    if generator.chance(50) {
        (0..3).for_each(|_| generator.change(&mut after));
    } else {
        after = generator.policy();
        after.exempt.clone_from(&before.exempt);
    }
    (before, after)
}

/// A pair of which the first interface gains, loses, or changes in what is tracked of it: see [`KINDS`].
fn made_to_differ(kind: usize, generator: &mut Generator) -> (Policy, Policy) {
    let mut fewer = generator.policy_without_rules();
    let mut more = fewer.clone();
    if kind < 2 {
        let peer = generator.pick(&["203.0.113.0/24", "10.0.1.10/32", "2001:db8:1::/48"]);
        open(&mut more, generator.direction(), Service::All, &[peer]);
    } else {
        // What is open to the world is untracked where everything is open the other way.
        let ports = Service::Tcp(PortRange::new(80, 80).unwrap());
        for policy in [&mut fewer, &mut more] {
            open(policy, Direction::Ingress, ports, &WORLD);
        }
        open(&mut more, Direction::Egress, Service::All, &WORLD);
    }
    // To be open both ways is more, and to be tracked is the lack of it.
    if matches!(kind, 0 | 3) { (fewer, more) } else { (more, fewer) }
}

/// Gives the group of the first interface rules.
fn open(policy: &mut Policy, direction: Direction, service: Service, peers: &[&str]) {
    let group = policy.groups.get_mut(FIRST_GROUP).unwrap();
    let rule = |peer: &&str| Rule { direction, service, peer: Peer::Cidr(peer.parse().unwrap()) };
    group.rules.extend(peers.iter().map(rule));
}

/// Every region of an effect.
fn all_regions(effect: &Effect) -> impl Iterator<Item = &Region> {
    let regions = [
        &effect.newly_reachable,
        &effect.no_longer_reachable,
        &effect.newly_tracked,
        &effect.no_longer_tracked,
    ];
    regions.into_iter().flatten()
}

/// A packet in the region, unless no packet can be there.
fn inside(region: &Region) -> Option<(Arrival, Packet)> {
    let (slot, direction) = (*region.slots.first()?, region.direction);
    let peer = region.peers.first()?.first();
    let arrival = Arrival::new(slot, direction);
    let transports = region.services.iter().flat_map(|range| transports_in(*range));
    let packets = transports.filter_map(|transport| packet(direction, peer, transport));
    packets.map(|packet| (arrival, packet)).find(|(arrival, packet)| contains(region, *arrival, packet))
}

fn effect(before: &Policy, after: &Policy) -> Effect {
    let compiled = |policy| CompiledState::new(&policy_input(policy).unwrap()).unwrap();
    Effect::between(&compiled(before), &compiled(after))
}

fn without(input: &PolicyInput<'static>, rule: RuleId) -> PolicyInput<'static> {
    let mut input = input.clone();
    input.groups.to_mut().iter_mut().for_each(|group| group.rules.retain(|other| other.id != rule));
    input
}

fn check(
    before: &Policy,
    after: &Policy,
    effect: &Effect,
    arrival: Arrival,
    packet: &Packet,
    tally: &mut Tally,
    context: &str,
) {
    let (was, will_be) = (decide(before, arrival, packet), decide(after, arrival, packet));
    let is_reply_of_exempt_server = was == Reason::ExemptAddress && arrival.direction == Direction::Ingress;
    if is_reply_of_exempt_server {
        // It passes by its source port, and regions speak of destinations.
        return;
    }
    let passes = |reason: Reason| reason.verdict() == Verdict::Pass;
    let is_in = |regions: &[Region]| regions.iter().any(|region| contains(region, arrival, packet));
    let (gained, lost) = (is_in(&effect.newly_reachable), is_in(&effect.no_longer_reachable));
    assert_eq!(gained, !passes(was) && passes(will_be), "newly reachable, {was:?} -> {will_be:?}, {context}");
    assert_eq!(
        lost,
        passes(was) && !passes(will_be),
        "no longer reachable, {was:?} -> {will_be:?}, {context}"
    );
    let (tracked, untracked) = (is_in(&effect.newly_tracked), is_in(&effect.no_longer_tracked));
    // What keeps no state may also do so as the reply to something else, so that the converse does not hold.
    assert!(!tracked || was == Reason::Untracked, "newly tracked, {was:?} -> {will_be:?}, {context}");
    assert!(!untracked || will_be == Reason::Untracked, "untracked, {was:?} -> {will_be:?}, {context}");
    tally.packets += 1;
    tally.gained += usize::from(gained);
    tally.lost += usize::from(lost);
    tally.tracked += usize::from(tracked);
    tally.untracked += usize::from(untracked);
}

/// How a first packet is decided.
fn decide(policy: &Policy, arrival: Arrival, packet: &Packet) -> Reason {
    let mut oracle = Oracle::default();
    oracle.publish(policy).unwrap();
    oracle.decide(arrival, &Frame::ip(packet.clone())).unwrap()
}

fn contains(region: &Region, arrival: Arrival, packet: &Packet) -> bool {
    let peer = match arrival.direction {
        Direction::Ingress => packet.source,
        Direction::Egress => packet.destination,
    };
    region.slots.contains(&arrival.slot)
        && region.direction == arrival.direction
        && region.peers.iter().any(|range| range.contains(peer))
        && region.services.iter().any(|range| covers(*range, packet))
}

fn covers(range: ServiceRange, packet: &Packet) -> bool {
    let is_ipv6 = packet.source.is_ipv6();
    let icmp_covers = |range: IcmpRange, icmp_type, code| {
        (range.first_type..=range.last_type).contains(&icmp_type)
            && (range.first_code..=range.last_code).contains(&code)
    };
    match (range, &packet.transport) {
        (ServiceRange::All, _) | (ServiceRange::EveryOther, Transport::Other { .. }) => true,
        (ServiceRange::Tcp { first, last }, Transport::Tcp(segment)) => {
            (first..=last).contains(&segment.destination_port)
        }
        (ServiceRange::Udp { first, last }, Transport::Udp { destination_port, .. }) => {
            (first..=last).contains(destination_port)
        }
        (ServiceRange::Icmp(range), Transport::Icmp { icmp_type, code, .. }) => {
            !is_ipv6 && icmp_covers(range, *icmp_type, *code)
        }
        (ServiceRange::Icmpv6(range), Transport::Icmp { icmp_type, code, .. }) => {
            is_ipv6 && icmp_covers(range, *icmp_type, *code)
        }
        (ServiceRange::Protocols { first, last }, Transport::Other { protocol, .. }) => {
            (first..=last).contains(protocol)
        }
        _ => false,
    }
}

#[derive(Debug, Default)]
struct Tally {
    packets: usize,
    gained: usize,
    lost: usize,
    tracked: usize,
    untracked: usize,
}

/// Where something may change: addresses and destinations.
struct Points {
    slots: Vec<u32>,
    peers: Vec<IpAddr>,
    transports: Vec<Transport>,
}

impl Points {
    fn of(policies: &[&Policy], effect: &Effect) -> Self {
        let in_all = |slot: &u32| policies.iter().all(|policy| policy.interfaces.contains_key(slot));
        let slots = policies[0].interfaces.keys().copied().filter(in_all).collect();
        let (mut peers, mut transports) = (BTreeSet::new(), Vec::new());
        for policy in policies {
            let members = policy.groups.values().flat_map(|group| &group.members);
            let exempt = policy.exempt.iter().map(|exempt| &exempt.prefix);
            members
                .chain(policy.prefix_lists.values().flatten())
                .chain(exempt)
                .for_each(|prefix| around(*prefix, &mut peers));
            for rule in policy.groups.values().flat_map(|group| &group.rules) {
                if let Peer::Cidr(prefix) = rule.peer {
                    around(prefix, &mut peers);
                }
                transports.extend(transports_of(rule.service));
            }
        }
        for region in all_regions(effect) {
            let ends = |range: &AddressRange| [range.first(), range.last()];
            peers.extend(region.peers.iter().flat_map(ends).flat_map(neighbours));
            transports.extend(region.services.iter().flat_map(|range| transports_in(*range)));
        }
        // What no rule names.
        transports.extend(transports_of(Service::All));
        Self { slots, peers: peers.into_iter().collect(), transports }
    }

    fn packet(&self, direction: Direction, generator: &mut Generator) -> Option<Packet> {
        packet(direction, generator.pick(&self.peers), generator.pick(&self.transports))
    }
}

/// `None` for what packets of the family cannot be.
fn packet(direction: Direction, peer: IpAddr, transport: Transport) -> Option<Packet> {
    if let Transport::Other { protocol, .. } = transport {
        // Extension headers of IPv6 and protocols that have a transport header here.
        let taken: &[u8] = if peer.is_ipv6() { &[0, 6, 17, 43, 44, 51, 58, 60, 135] } else { &[1, 6, 17] };
        if taken.contains(&protocol) {
            return None;
        }
    }
    let local: IpAddr = if peer.is_ipv6() {
        Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(192, 0, 2, 99).into()
    };
    Some(match direction {
        Direction::Ingress => Packet::new(peer, local, transport),
        Direction::Egress => Packet::new(local, peer, transport),
    })
}

/// The ends of a prefix and what is next to them.
fn around(prefix: IpNet, peers: &mut BTreeSet<IpAddr>) {
    peers.extend([prefix.network(), prefix.broadcast()].into_iter().flat_map(neighbours));
}

fn neighbours(address: IpAddr) -> [IpAddr; 3] {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            [bits.wrapping_sub(1), bits, bits.wrapping_add(1)].map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [bits.wrapping_sub(1), bits, bits.wrapping_add(1)].map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

fn transports_of(service: Service) -> Vec<Transport> {
    match service {
        Service::All => vec![tcp_to(9), udp_to(9), icmp(42, 7), other(200)],
        Service::Tcp(ports) => near(ports.first(), ports.last()).map(tcp_to).into(),
        Service::Udp(ports) => near(ports.first(), ports.last()).map(udp_to).into(),
        Service::Icmp(selector) | Service::Icmpv6(selector) => match selector {
            IcmpSelector::All => vec![icmp(0, 0), icmp(255, 255)],
            IcmpSelector::Type(icmp_type) => vec![icmp(icmp_type, 0), icmp(icmp_type, 255)],
            IcmpSelector::TypeCode(icmp_type, code) => {
                vec![icmp(icmp_type, code), icmp(icmp_type, code.wrapping_add(1))]
            }
        },
        Service::Protocol(protocol) => {
            let number = protocol.number();
            [number.wrapping_sub(1), number, number.wrapping_add(1)].map(other).into()
        }
    }
}

fn transports_in(range: ServiceRange) -> Vec<Transport> {
    match range {
        ServiceRange::All | ServiceRange::EveryOther => transports_of(Service::All),
        ServiceRange::Tcp { first, last } => near(first, last).map(tcp_to).into(),
        ServiceRange::Udp { first, last } => near(first, last).map(udp_to).into(),
        ServiceRange::Icmp(range) | ServiceRange::Icmpv6(range) => vec![
            icmp(range.first_type, range.first_code),
            icmp(range.last_type, range.last_code),
            icmp(range.first_type, range.first_code.wrapping_sub(1)),
            icmp(range.last_type, range.last_code.wrapping_add(1)),
            icmp(range.first_type.wrapping_sub(1), range.last_code),
            icmp(range.last_type.wrapping_add(1), range.first_code),
        ],
        ServiceRange::Protocols { first, last } => {
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(other).into()
        }
    }
}

fn near(first: u16, last: u16) -> [u16; 4] {
    [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
}

/// A source port that no server of DHCP has.
fn tcp_to(port: u16) -> Transport {
    Transport::Tcp(Segment::new(40_000, port, tcp::SYN))
}

fn udp_to(port: u16) -> Transport {
    Transport::Udp { source_port: 40_000, destination_port: port, data: 8 }
}

fn icmp(icmp_type: u8, code: u8) -> Transport {
    Transport::Icmp { icmp_type, code, body: IcmpBody::Identifier(1) }
}

fn other(protocol: u8) -> Transport {
    Transport::Other { protocol, data: 8 }
}
