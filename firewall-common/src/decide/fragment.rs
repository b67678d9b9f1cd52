//! Fragments: the first one carries the ports and is judged like any packet, the others follow it.

use super::Context;
use super::policy::{Cells, peer};
use super::tables::{FlowTables, Tables};
use crate::abi::{Address, Be32, EXEMPT, FragmentEntry, FragmentKey, RULE_SET, ServiceIndex, exempt_flag};
use crate::packet::{Fragment, Ip};
use crate::reason::{Reason, Verdict};

/// How long later fragments may follow an admitted first one: the kernel's reassembly gives up after as long.
const LIFETIME_SECONDS: u32 = 30;

/// Protocol in the keys of IPv6: its reassembly does not look at the protocol (RFC 8200 §4.5), and the header that a
/// later fragment names need not be the transport header.
const IPV6_FRAGMENT: u8 = 44;

/// Remembers, or forgets, a first fragment. One that is dropped takes an earlier one of the same key with it, so
/// that nothing completes a datagram whose first fragment was replaced.
#[inline(always)]
pub(super) fn remember<A: Address, T: Tables>(
    ip: &Ip<A>,
    verdict: Verdict,
    tables: &T,
    context: &Context<'_>,
) {
    let key = key(ip, context);
    match verdict {
        Verdict::Pass => tables.insert_fragment(&key, &FragmentEntry { first_seen: context.now, padding: 0 }),
        Verdict::Drop => tables.remove_fragment(&key),
    }
}

/// Decides a later fragment. Without its first one it passes only where rules, or an exemption, admit every port of its
/// protocol.
#[inline(always)]
pub(super) fn later<A: Address, T: FlowTables<A>>(ip: &Ip<A>, tables: &T, context: &Context<'_>) -> Reason {
    let key = key(ip, context);
    let lifetime = LIFETIME_SECONDS * context.settings.jiffies_per_second;
    if let Some(entry) = tables.fragment(&key)
        && is_younger(&entry, lifetime, context.now)
    {
        return Reason::Fragment;
    }
    let address_class = tables.address_class(context.half(), peer(ip, context.direction));
    let cells = Cells { tables, context, address_class };
    let every_port = ServiceIndex::every_port(ip.protocol);
    let cell = cells.cell(context.direction, every_port);
    if context.settings.exempt & exempt_flag::ADDRESSES != 0
        && (cell | cells.cell(context.direction.opposite(), every_port)) & EXEMPT != 0
    {
        return Reason::ExemptAddress;
    }
    if cell & RULE_SET != 0 {
        return Reason::Rule;
    }
    Reason::UnknownFragment
}

/// Another CPU may have met the next tick before it wrote the entry, so an age may be negative.
#[inline(always)]
const fn is_younger(entry: &FragmentEntry, lifetime: u32, now: u32) -> bool {
    now.wrapping_sub(entry.first_seen).cast_signed() <= lifetime.cast_signed()
}

#[inline(always)]
fn key<A: Address>(ip: &Ip<A>, context: &Context<'_>) -> FragmentKey {
    let identification = match ip.fragment {
        Fragment::None => Be32::new(0),
        Fragment::First { identification } | Fragment::Later { identification, .. } => identification,
    };
    FragmentKey {
        source: ip.source.widen(),
        destination: ip.destination.widen(),
        identification,
        zone: context.settings.zone,
        protocol: if A::IS_IPV6 { IPV6_FRAGMENT } else { ip.protocol },
        direction_and_family: context.direction as u8 | if A::IS_IPV6 { 2 } else { 0 },
    }
}
