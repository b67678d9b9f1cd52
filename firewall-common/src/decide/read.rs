//! The first stage: what the packet says about itself, and what can be said about it without flows and rules.

use super::case::{Case, Question, Reading};
use super::tables::{Half, Tables};
use super::{Hook, exempt, fragment, generation_in_force};
use crate::abi::{
    Address, Direction, InterfaceSettings, Ipv4, Ipv6, UNKNOWN_INTERFACE, exempt_flag, interface_flag,
};
use crate::flow_table::key_of;
use crate::flow_table::life::{Facts, undisturbed_state};
use crate::packet::icmp::Role;
use crate::packet::quote::quoted_packet;
use crate::packet::{
    Extent, Family, Fragment, Ip, Network, PacketBytes, Transport, network, parse_transport,
};
use crate::reason::Reason;

/// What holds for one packet from beginning to end: it sees one generation of the policy and one time.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) direction: Direction,
    pub(super) half: Half,
    pub(super) settings: &'a InterfaceSettings,
    /// In units of time.
    pub(super) now: u32,
    /// Units of time in a second, rounded up.
    pub(super) second: u32,
}

/// Reads a frame: link header, network header, transport header, exempt traffic, later fragments. What flows and rules need
/// is left in `case`.
#[inline(always)]
pub fn read<P, T>(packet: &P, tables: &T, hook: Hook, case: &mut Case) -> Reading
where
    P: PacketBytes + ?Sized,
    T: Tables,
{
    let reading = read_frame(packet, tables, hook, case);
    // Any other packet has said where it ends.
    if reading.has(Reading::IS_DECIDED) {
        case.length = packet.length();
    }
    reading
}

#[inline(always)]
fn read_frame<P, T>(packet: &P, tables: &T, hook: Hook, case: &mut Case) -> Reading
where
    P: PacketBytes + ?Sized,
    T: Tables,
{
    case.slot = hook.slot;
    if hook.slot == UNKNOWN_INTERFACE {
        return Reason::UnknownInterface.into();
    }
    let clock = tables.clock();
    // Read once: everything of this packet comes from the half of this generation.
    let generation = generation_in_force(tables.generation_word(), clock, || tables.confirmation_deadline());
    let half = Half::of_generation(generation);
    if generation == 0 {
        return Reason::NoPolicy.into();
    }
    let Some(settings) = tables.settings(half, hook.slot).filter(|settings| settings.policy != 0) else {
        return Reason::NoPolicy.into();
    };
    case.generation = generation as u32;
    case.direction = hook.direction as u32;
    let shift = tables.time_shift();
    let context = Context {
        direction: hook.direction,
        half,
        settings,
        now: (clock >> shift) as u32,
        second: (settings.jiffies_per_second >> shift) + 1,
    };
    let read = match network(packet, hook.link) {
        Ok(Network::Ipv4 { offset }) => read_ip::<Ipv4, P, T>(packet, offset, tables, &context, case),
        Ok(Network::Ipv6 { offset }) => read_ip::<Ipv6, P, T>(packet, offset, tables, &context, case),
        Ok(Network::Arp) => Ok(exempt::frame(settings, exempt_flag::ARP, Reason::ExemptArp).into()),
        Ok(Network::Other) => Ok(exempt::frame(settings, exempt_flag::NON_IP, Reason::ExemptNonIp).into()),
        Err(reason) => Err(reason.into()),
    };
    let (Ok(reading) | Err(reading)) = read;
    reading.with(Reading::AUDIT, settings.flags & interface_flag::AUDIT != 0)
}

/// Reads one IP packet. A parse error comes back as `Err`, of the same type: where the halves of a result differ, the compiler
/// moves about registers that it has never set, which the verifier refuses.
#[inline(always)]
fn read_ip<A, P, T>(
    packet: &P,
    offset: u32,
    tables: &T,
    context: &Context<'_>,
    case: &mut Case,
) -> Result<Reading, Reading>
where
    A: Family,
    P: PacketBytes + ?Sized,
    T: Tables,
{
    let ip = A::parse(packet, offset, Extent::Whole)?;
    let transport = parse_transport(packet, &ip, Extent::Whole)?;
    case.length = packet.known_length().max(ip.end);
    case.is_ipv6 = A::IS_IPV6 as u32;
    case.question = question(&ip, &transport, context.direction);
    case.facts = facts(&transport, tables, context);
    if let Transport::LaterFragment = transport {
        return Ok(fragment::later(&ip, tables, context, case).into());
    }
    let mut reading = Reading(0);
    if let Fragment::First { .. } = ip.fragment {
        case.fragment = fragment::key(&ip, context);
        reading = reading.with(Reading::IS_FIRST_FRAGMENT, true);
    }
    if let Some(reason) = exempt::ip(&ip, &transport, context) {
        return Ok(Reading(reading.0 | Reading::from(reason).0));
    }
    if let Transport::Icmp(icmp) = &transport
        && icmp.role == Role::Error
    {
        return Ok(read_error(packet, &ip, context, case, reading));
    }
    let ends = matches!(&transport, Transport::Tcp(tcp) if tcp.answers_and_ends());
    let has_flow = match key_of(&ip, &transport, context.direction, context.settings.zone) {
        Some(key) => {
            case.key = A::key_words(&key);
            true
        }
        None => false,
    };
    Ok(reading.with(Reading::HAS_FLOW, has_flow).with(Reading::ANSWERS_AND_ENDS, ends))
}

/// Reads the packet that an ICMP error quotes, which went the other way.
#[inline(always)]
fn read_error<A: Family, P: PacketBytes + ?Sized>(
    packet: &P,
    error: &Ip<A>,
    context: &Context<'_>,
    case: &mut Case,
    reading: Reading,
) -> Reading {
    let reading = reading.with(Reading::IS_ERROR, true);
    if context.settings.flags & interface_flag::ICMP_ERRORS_BY_RULES_ONLY != 0 {
        return reading;
    }
    let Some((quoted, transport)) = quoted_packet(packet, error) else {
        return reading;
    };
    let went = context.direction.opposite();
    case.quoted = question(&quoted, &transport, went);
    let reading = reading.with(Reading::QUOTES, true);
    match key_of(&quoted, &transport, went, context.settings.zone) {
        Some(key) => {
            case.key = A::key_words(&key);
            reading.with(Reading::HAS_FLOW, true)
        }
        None => reading,
    }
}

#[inline(always)]
fn facts<T: Tables>(transport: &Transport, tables: &T, context: &Context<'_>) -> Facts {
    let is_egress = context.direction == Direction::Egress;
    let of_packet = Facts::of(transport);
    Facts {
        now: context.now,
        second: context.second,
        undisturbed_end: context.settings.lifetimes.end(undisturbed_state(of_packet.kind), context.now),
        is_egress: u8::from(is_egress),
        is_forwarded: u8::from(is_egress && tables.is_forwarded()),
        ..of_packet
    }
}

#[inline(always)]
fn question<A: Address>(ip: &Ip<A>, transport: &Transport, direction: Direction) -> Question {
    let peer = match direction {
        Direction::Ingress => &ip.source,
        Direction::Egress => &ip.destination,
    };
    Question::new(peer, transport.service(ip), transport.reverse_service())
}
