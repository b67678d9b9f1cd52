//! Fragments: the first one carries the ports and is judged like any packet, the others follow it.

use super::case::Case;
use super::policy::Cells;
use super::read::Context;
use super::tables::Tables;
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
pub fn remember<T: Tables>(tables: &T, case: &Case, verdict: Verdict) {
    let jiffies_per_second = match tables.settings(case.half(), case.slot) {
        Some(settings) if matches!(verdict, Verdict::Pass) => settings.jiffies_per_second,
        _ => return tables.remove_fragment(&case.fragment),
    };
    let lifetime = (LIFETIME_SECONDS * jiffies_per_second) >> tables.time_shift();
    let now = (tables.clock() >> tables.time_shift()) as u32;
    // One unit more, for `now` is rounded down.
    let end = now.saturating_add(lifetime).saturating_add(1);
    tables.insert_fragment(&case.fragment, &FragmentEntry { end, padding: 0 });
}

/// Decides a later fragment. Without its first one it passes only where rules, or an exemption, admit every port of its
/// protocol.
#[inline(always)]
pub(super) fn later<A: Address, T: Tables>(
    ip: &Ip<A>,
    tables: &T,
    context: &Context<'_>,
    case: &Case,
) -> Reason {
    if let Some(entry) = tables.fragment(&key(ip, context))
        && context.now < entry.end
    {
        return Reason::Fragment;
    }
    let cells = Cells::of_peer(tables, context.half, context.settings, &case.question, A::IS_IPV6);
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

#[inline(always)]
pub(super) fn key<A: Address>(ip: &Ip<A>, context: &Context<'_>) -> FragmentKey {
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
