//! ICMP errors about traffic that is admitted: path MTU discovery, unreachable ports and hosts, expired hops.
//!
//! AWS documents that such errors need a rule of their own, and its users lose path MTU discovery by it; here they
//! pass unless the interface says `rules-only`.

use super::Context;
use super::policy::{Admission, Cells, admit, peer};
use super::tables::FlowTables;
use super::tracked::find;
use crate::abi::{EXEMPT, RULE_SET, UNTRACKED, interface_flag};
use crate::flow::key_of;
use crate::packet::quote::quoted_packet;
use crate::packet::{Family, Ip, PacketBytes, Transport};
use crate::reason::Reason;

/// Decides an ICMP error. It never creates, renews or ends a flow.
#[inline(always)]
pub(super) fn decide<A: Family, P: PacketBytes + ?Sized, T: FlowTables<A>>(
    packet: &P,
    ip: &Ip<A>,
    transport: &Transport,
    tables: &T,
    context: &Context<'_>,
) -> Reason {
    let by_rules_only = context.settings.flags & interface_flag::ICMP_ERRORS_BY_RULES_ONLY != 0;
    if !by_rules_only && is_related(packet, ip, tables, context) {
        return Reason::Related;
    }
    match admit(ip, transport, tables, context) {
        Admission::Decided(reason) => reason,
        Admission::Tracked { .. } => Reason::Rule,
    }
}

/// Whether the error quotes a packet that went the other way and was admitted.
#[inline(always)]
fn is_related<A: Family, P: PacketBytes + ?Sized, T: FlowTables<A>>(
    packet: &P,
    ip: &Ip<A>,
    tables: &T,
    context: &Context<'_>,
) -> bool {
    let Some((quoted, quoted_transport)) = quoted_packet(packet, ip) else {
        return false;
    };
    let went = Context { direction: context.direction.opposite(), ..*context };
    belongs_to_flow(&quoted, &quoted_transport, tables, &went)
        || passed_without_state(&quoted, &quoted_transport, tables, &went)
}

/// Whether the quoted packet, which went in `context.direction`, can have been a packet of a live flow. Its key holds the
/// side that it went out from, so that nothing else needs to be compared.
#[inline(always)]
fn belongs_to_flow<A: Family, T: FlowTables<A>>(
    quoted: &Ip<A>,
    transport: &Transport,
    tables: &T,
    context: &Context<'_>,
) -> bool {
    let Some(key) = key_of(quoted, transport, context.direction, context.settings.zone) else {
        return false;
    };
    find(&key, tables, context).live.is_some_and(|flow| flow.state.is_some())
}

/// Whether the quoted packet passed without state: untracked, or to or from an exempt address.
#[inline(always)]
fn passed_without_state<A: Family, T: FlowTables<A>>(
    quoted: &Ip<A>,
    transport: &Transport,
    tables: &T,
    context: &Context<'_>,
) -> bool {
    let address_class = tables.address_class(context.half(), peer(quoted, context.direction));
    let cells = Cells { tables, context, address_class };
    let cell = cells.cell(context.direction, transport.service(quoted));
    let reply_cell = cells.reply_cell(transport);
    (cell | reply_cell) & EXEMPT != 0 || (cell & RULE_SET != 0 && (cell | reply_cell) & UNTRACKED != 0)
}
