//! The decision on one packet.
//!
//! [`decide`] is the whole way of a packet, top to bottom: link header, network header, transport header, exempt
//! traffic, live flow, related error, rules. The eBPF programs call it with the kernel's tables and user space with
//! tables in memory. Every way out is a [`Reason`]; nothing passes because something went wrong.

mod exempt;
mod fragment;
mod policy;
mod related;
mod tables;
mod tracked;

pub use tables::{FlowHandle, FlowTables, Half, Table, TableFull, Tables};

use crate::abi::{Direction, InterfaceSettings, Ipv4, Ipv6, exempt_flag};
use crate::flow::identify;
use crate::packet::{
    Extent, Family, Fragment, Ip, Link, Network, PacketBytes, Transport, network, parse_transport,
};
use crate::reason::Reason;
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
#[must_use]
#[inline(always)]
pub fn decide<P, T>(packet: &P, tables: &T, hook: Hook) -> Reason
where
    P: PacketBytes + ?Sized,
    T: FlowTables<Ipv4> + FlowTables<Ipv6>,
{
    // Read once: everything of this packet comes from the half that this word names.
    let generation = tables.generation();
    let half = Half::of_generation(generation);
    if generation == 0 {
        return Reason::NoPolicy;
    }
    let Some(settings) = tables.settings(half, hook.slot).filter(|settings| settings.policy != 0) else {
        return Reason::NoPolicy;
    };
    let generation = generation as u32;
    let context = Context { direction: hook.direction, generation, settings, now: tables.now() };
    let decided = match network(packet, hook.link) {
        Ok(Network::Ipv4 { offset }) => decide_ip::<Ipv4, P, T>(packet, offset, tables, &context),
        Ok(Network::Ipv6 { offset }) => decide_ip::<Ipv6, P, T>(packet, offset, tables, &context),
        Ok(Network::Arp) => Ok(exempt::frame(settings, exempt_flag::ARP, Reason::ExemptArp)),
        Ok(Network::Other) => Ok(exempt::frame(settings, exempt_flag::NON_IP, Reason::ExemptNonIp)),
        Err(reason) => Err(reason),
    };
    match decided {
        Ok(reason) | Err(reason) => reason,
    }
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
    let identity = identify(ip, transport, context.settings.zone);
    let replaces_assured = match tracked::follow(identity.as_ref(), transport, tables, context) {
        Tracking::Decided(reason) => return reason,
        Tracking::NoFlow { replaces_assured } => replaces_assured,
    };
    if related::is_related(packet, ip, transport, tables, context) {
        return Reason::Related;
    }
    let rule_set = match policy::admit(ip, transport, tables, context) {
        Admission::Decided(reason) => return reason,
        Admission::Tracked { rule_set } => rule_set,
    };
    match identity {
        Some(identity) => tracked::begin(&identity, transport, rule_set, replaces_assured, tables, context),
        None => Reason::Rule,
    }
}
