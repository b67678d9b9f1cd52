//! The decision on one packet.
//!
//! [`decide`] is the whole way of a packet, top to bottom: link header, network header, transport header, exempt
//! traffic, related error, live flow, services untracked for every peer, rules. The eBPF programs call it with the
//! kernel's tables and user space with tables in memory. Every way out is a [`Reason`]; nothing passes because
//! something went wrong.

mod exempt;
mod fragment;
mod policy;
mod recent;
mod related;
mod tables;
mod tracked;

pub use tables::{FlowHandle, FlowTables, Half, Table, TableFull, Tables};

use crate::abi::{Direction, InterfaceSettings, Ipv4, Ipv6, UNCONFIRMED, exempt_flag, interface_flag};
use crate::flow::key_of;
use crate::packet::icmp::Role;
use crate::packet::{
    Extent, Family, Fragment, Ip, Link, Network, PacketBytes, Transport, network, parse_transport,
};
use crate::reason::{Decision, Reason};
use policy::Admission;
use tracked::Tracking;

/// Where a packet was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Slot of the interface.
    pub slot: u32,
    /// Direction, seen from the host.
    pub direction: Direction,
    /// What frames of the interface begin with.
    pub link: Link,
}

/// What holds for one packet from beginning to end: it sees one generation of the policy and one time.
#[derive(Clone, Copy)]
struct Context<'a> {
    direction: Direction,
    /// Low 32 bits of the generation, which is enough to tell apart those that live flows can have come from.
    generation: u32,
    settings: &'a InterfaceSettings,
    now: u32,
}

impl Context<'_> {
    #[inline(always)]
    const fn half(&self) -> Half {
        Half::of_generation(self.generation as u64)
    }
}

/// Decides one frame.
#[inline(always)]
pub fn decide<P, T>(packet: &P, tables: &T, hook: Hook) -> Decision
where
    P: PacketBytes + ?Sized,
    T: FlowTables<Ipv4> + FlowTables<Ipv6>,
{
    let clock = tables.clock();
    // Read once: everything of this packet comes from the half of this generation.
    let generation = generation_in_force(tables.generation_word(), clock, || tables.confirmation_deadline());
    let half = Half::of_generation(generation);
    if generation == 0 {
        return Decision::enforced(Reason::NoPolicy);
    }
    let Some(settings) = tables.settings(half, hook.slot).filter(|settings| settings.policy != 0) else {
        return Decision::enforced(Reason::NoPolicy);
    };
    let generation = generation as u32;
    let context = Context { direction: hook.direction, generation, settings, now: clock as u32 };
    let decided = match network(packet, hook.link) {
        Ok(Network::Ipv4 { offset }) => decide_ip::<Ipv4, P, T>(packet, offset, tables, &context),
        Ok(Network::Ipv6 { offset }) => decide_ip::<Ipv6, P, T>(packet, offset, tables, &context),
        Ok(Network::Arp) => Ok(exempt::frame(settings, exempt_flag::ARP, Reason::ExemptArp)),
        Ok(Network::Other) => Ok(exempt::frame(settings, exempt_flag::NON_IP, Reason::ExemptNonIp)),
        Err(reason) => Err(reason),
    };
    match decided {
        Ok(reason) | Err(reason) => Decision::new(reason, settings.flags & interface_flag::AUDIT != 0),
    }
}

/// The generation that counts now: an unconfirmed one only until its deadline. Then the one before it is in force again,
/// whoever is or is not running in user space.
#[must_use]
#[inline(always)]
pub fn generation_in_force(word: u64, clock: u64, deadline: impl FnOnce() -> u64) -> u64 {
    if word & UNCONFIRMED == 0 {
        return word;
    }
    let unconfirmed = word & !UNCONFIRMED;
    if clock < deadline() { unconfirmed } else { unconfirmed - 1 }
}

/// Decides one IP packet. Parse errors come back as `Err`; both arms carry the reason.
#[inline(always)]
fn decide_ip<A, P, T>(packet: &P, offset: u32, tables: &T, context: &Context<'_>) -> Result<Reason, Reason>
where
    A: Family,
    P: PacketBytes + ?Sized,
    T: FlowTables<A>,
{
    let ip = A::parse(packet, offset, Extent::Whole)?;
    let transport = parse_transport(packet, &ip, Extent::Whole)?;
    if let Transport::LaterFragment = transport {
        return Ok(fragment::later(&ip, tables, context));
    }
    let reason = decide_with_transport(packet, &ip, &transport, tables, context);
    if let Fragment::First { .. } = ip.fragment {
        fragment::remember(&ip, reason.verdict(), tables, context);
    }
    Ok(reason)
}

#[inline(always)]
fn decide_with_transport<A, P, T>(
    packet: &P,
    ip: &Ip<A>,
    transport: &Transport,
    tables: &T,
    context: &Context<'_>,
) -> Reason
where
    A: Family,
    P: PacketBytes + ?Sized,
    T: FlowTables<A>,
{
    if let Some(reason) = exempt::ip(ip, transport, context) {
        return reason;
    }
    if let Transport::Icmp(icmp) = transport
        && icmp.role == Role::Error
    {
        return related::decide(packet, ip, transport, tables, context);
    }
    let key = key_of(ip, transport, context.direction, context.settings.zone);
    let replaces_assured = match tracked::follow(key.as_ref(), transport, tables, context) {
        Tracking::Decided(reason) => return reason,
        Tracking::NoFlow { replaces_assured } => replaces_assured,
    };
    if let Transport::Tcp(tcp) = transport
        && tcp.answers_and_ends()
    {
        return Reason::BadTransportHeader;
    }
    if policy::is_untracked_for_every_peer(ip, transport, tables, context) {
        return Reason::Untracked;
    }
    let rule_set = match policy::admit(ip, transport, tables, context) {
        Admission::Decided(reason) => return reason,
        Admission::Tracked { rule_set } => rule_set,
    };
    match key {
        Some(key) => tracked::begin(&key, transport, rule_set, replaces_assured, tables, context),
        None => Reason::Rule,
    }
}
