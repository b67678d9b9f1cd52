//! Packets of no live flow: the rules decide.

use super::Context;
use super::tables::FlowTables;
use crate::abi::{
    Address, CellKey, Direction, EXEMPT, InterfaceSettings, RULE_SET, ServiceIndex, UNTRACKED, exempt_flag,
    interface_flag,
};
use crate::packet::{Ip, Transport};
use crate::reason::Reason;

/// What the rules say.
pub(super) enum Admission {
    /// All there is to say.
    Decided(Reason),
    /// The packet passes, and state is to be kept for its replies.
    Tracked {
        /// The rules that admit it.
        rule_set: u32,
    },
}

/// Whether the packet is untracked by its service, or is a reply to what is. If so, the cell lookup can be
/// skipped, because the cell says the same. It cannot be skipped where the cell might also say *exempt*.
#[inline(always)]
pub(super) fn is_untracked_for_every_peer<A: Address, T: FlowTables<A>>(
    ip: &Ip<A>,
    transport: &Transport,
    tables: &T,
    context: &Context<'_>,
) -> bool {
    let settings = context.settings;
    let is_untracked = |direction, service| {
        let class = tables.service_class(context.half(), service);
        settings.untracked.contains(direction, A::IS_IPV6, class)
    };
    settings.exempt & exempt_flag::ADDRESSES == 0
        && match transport.reverse_service() {
            Some(reverse) => {
                is_untracked(context.direction, transport.service(ip))
                    || is_untracked(context.direction.opposite(), reverse)
            }
            None => false,
        }
}

/// Asks the rules about a packet that belongs to no live flow.
#[inline(always)]
pub(super) fn admit<A: Address, T: FlowTables<A>>(
    ip: &Ip<A>,
    transport: &Transport,
    tables: &T,
    context: &Context<'_>,
) -> Admission {
    let address_class = tables.address_class(context.half(), peer(ip, context.direction));
    let cells = Cells { tables, context, address_class };
    let cell = cells.cell(context.direction, transport.service(ip));
    let is_admitted = cell & RULE_SET != 0;
    let may_be_exempt = context.settings.exempt & exempt_flag::ADDRESSES != 0;
    let may_be_reply = is_admitted && cell & UNTRACKED == 0;
    let reply_cell = if may_be_exempt || may_be_reply { cells.reply_cell(transport) } else { 0 };
    if may_be_exempt && (cell | reply_cell) & EXEMPT != 0 {
        return Admission::Decided(Reason::ExemptAddress);
    }
    if !is_admitted {
        return Admission::Decided(Reason::NoRule);
    }
    // AWS lets the replies to untracked traffic pass by the rule of their own direction, which the compiler has checked
    // to be open to any peer on every port, and keeps no state for them either.
    if (cell | reply_cell) & UNTRACKED != 0 {
        return Admission::Decided(Reason::Untracked);
    }
    if is_late_start(transport, context.settings) {
        return Admission::Decided(Reason::NotASyn);
    }
    Admission::Tracked { rule_set: cell & RULE_SET }
}

/// The end of a packet that rules are about: the source of what arrives, the destination of what leaves.
#[inline(always)]
pub(super) const fn peer<A: Address>(ip: &Ip<A>, direction: Direction) -> &A {
    match direction {
        Direction::Ingress => &ip.source,
        Direction::Egress => &ip.destination,
    }
}

/// The cells of one peer.
pub(super) struct Cells<'a, 'c, T> {
    pub(super) tables: &'a T,
    pub(super) context: &'a Context<'c>,
    pub(super) address_class: u32,
}

impl<T: super::Tables> Cells<'_, '_, T> {
    /// The cell of a service; 0 if there is none. Class 0 is what no rule names.
    #[inline(always)]
    pub(super) fn cell(&self, direction: Direction, service: ServiceIndex) -> u32 {
        if self.address_class == 0 {
            return 0;
        }
        let service_class = self.tables.service_class(self.context.half(), service);
        if service_class == 0 {
            return 0;
        }
        let key = CellKey::new(self.context.settings.policy, direction, self.address_class, service_class);
        self.tables.cell(self.context.half(), &key)
    }

    /// The cell of what the packet would be a reply to: of its source port, in the other direction. Only TCP and UDP
    /// have one.
    #[inline(always)]
    pub(super) fn reply_cell(&self, transport: &Transport) -> u32 {
        match transport.reverse_service() {
            Some(service) => self.cell(self.context.direction.opposite(), service),
            None => 0,
        }
    }
}

#[inline(always)]
const fn is_late_start(transport: &Transport, settings: &InterfaceSettings) -> bool {
    match transport {
        Transport::Tcp(tcp) => settings.flags & interface_flag::TCP_STRICT != 0 && !tcp.opens(),
        _ => false,
    }
}
