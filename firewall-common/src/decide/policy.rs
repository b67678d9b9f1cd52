//! Packets of no live flow: the rules decide.

use super::case::{Case, Question};
use super::tables::{Half, Tables};
use crate::abi::{
    CellKey, Direction, EXEMPT, InterfaceSettings, MANAGEMENT, RULE_SET, ServiceIndex, UNTRACKED,
    exempt_flag, interface_flag,
};
use crate::reason::Reason;

/// Asks the rules about a packet that belongs to no live flow. `None` if they admit it and state is to be kept for its
/// replies, or if it may pass without: [`begin`](super::begin()) decides.
#[inline(always)]
pub fn judge<T: Tables>(tables: &T, case: &mut Case) -> Option<Reason> {
    let (half, direction) = (case.half(), case.direction());
    let Some(settings) = tables.settings(half, case.slot) else {
        return Some(Reason::Internal);
    };
    let question = &case.question;
    let may_be_exempt = settings.exempt & exempt_flag::ADDRESSES != 0;
    if !may_be_exempt && is_untracked_for_every_peer(tables, half, direction, settings, case) {
        return Some(Reason::Untracked);
    }
    let cells = Cells::of_peer(tables, half, settings, question, case.is_ipv6 != 0);
    let cell = cells.cell(direction, question.service());
    let is_admitted = cell & RULE_SET != 0;
    let is_egress = matches!(direction, Direction::Egress);
    let may_be_reply = is_egress || (is_admitted && cell & UNTRACKED == 0);
    let reply_cell = if may_be_exempt || may_be_reply { cells.reply_cell(direction, question) } else { 0 };
    if may_be_exempt && (cell | reply_cell) & EXEMPT != 0 {
        return Some(Reason::ExemptAddress);
    }
    let of_management = if is_egress { reply_cell } else { cell };
    // A connection that the host opens is no reply.
    let of_management = if is_egress && case.facts.opens() { 0 } else { of_management };
    case.is_management = (of_management & MANAGEMENT != 0 && of_management & RULE_SET != 0).into();
    if !is_admitted {
        return refuse(case, Reason::NoRule);
    }
    // AWS lets the replies to untracked traffic pass by the rule of their own direction, which the compiler has checked
    // to be open to any peer on every port, and keeps no state for them either.
    if (cell | reply_cell) & UNTRACKED != 0 {
        return Some(Reason::Untracked);
    }
    // A connection of a management prefix may have begun while its flow had no place.
    let is_strict = settings.flags & interface_flag::TCP_STRICT != 0 && case.is_management == 0;
    if is_strict && case.facts.is_late_start() {
        return Some(Reason::NotASyn);
    }
    case.rule_set = cell & RULE_SET;
    None
}

/// What is of a management prefix is refused only if its flow has a place; a connection may have begun before it had one, so
/// that what the host sends in mid-stream passes all the same.
#[inline(always)]
const fn refuse(case: &mut Case, reason: Reason) -> Option<Reason> {
    if case.is_management == 0 {
        return Some(reason);
    }
    if case.facts.is_mid_stream() {
        return Some(Reason::Management);
    }
    case.rule_set = 0;
    case.refused = reason as u32;
    None
}

/// Whether a packet is untracked by its service, or is a reply to what is. If so, the cell lookup can be skipped, because
/// the cell says the same. It cannot be skipped where the cell might also say *exempt*.
#[inline(always)]
fn is_untracked_for_every_peer<T: Tables>(
    tables: &T,
    half: Half,
    direction: Direction,
    settings: &InterfaceSettings,
    case: &Case,
) -> bool {
    let is_untracked = |direction, service| {
        let class = tables.service_class(half, service);
        settings.untracked.contains(direction, case.is_ipv6 != 0, class)
    };
    match case.question.reverse() {
        Some(reverse) => {
            is_untracked(direction, case.question.service()) || is_untracked(direction.opposite(), reverse)
        }
        None => false,
    }
}

/// Whether the packet that an ICMP error quotes passed without state: untracked, or to or from an exempt address.
#[inline(always)]
pub fn quoted_passed_without_state<T: Tables>(tables: &T, case: &Case) -> bool {
    let (half, went) = (case.half(), case.direction().opposite());
    let Some(settings) = tables.settings(half, case.slot) else {
        return false;
    };
    let cells = Cells::of_peer(tables, half, settings, &case.quoted, case.is_ipv6 != 0);
    let cell = cells.cell(went, case.quoted.service());
    let reply_cell = cells.reply_cell(went, &case.quoted);
    (cell | reply_cell) & EXEMPT != 0 || (cell & RULE_SET != 0 && (cell | reply_cell) & UNTRACKED != 0)
}

/// The cells of one peer.
pub(super) struct Cells<'a, T> {
    tables: &'a T,
    half: Half,
    settings: &'a InterfaceSettings,
    address_class: u32,
}

impl<'a, T: Tables> Cells<'a, T> {
    #[inline(always)]
    pub(super) fn of_peer(
        tables: &'a T,
        half: Half,
        settings: &'a InterfaceSettings,
        question: &Question,
        is_ipv6: bool,
    ) -> Self {
        let address_class = if is_ipv6 {
            tables.address_class_v6(half, &question.peer_v6())
        } else {
            tables.address_class_v4(half, &question.peer_v4())
        };
        Self { tables, half, settings, address_class }
    }

    /// The cell of a service; 0 if there is none. Class 0 is what no rule names.
    #[inline(always)]
    pub(super) fn cell(&self, direction: Direction, service: ServiceIndex) -> u32 {
        if self.address_class == 0 {
            return 0;
        }
        let service_class = self.tables.service_class(self.half, service);
        if service_class == 0 {
            return 0;
        }
        let key = CellKey::new(self.settings.policy, direction, self.address_class, service_class);
        self.tables.cell(self.half, self.settings.cell_lines, &key)
    }

    /// The cell of what the packet would be a reply to: of its source port, in the other direction. Only TCP and UDP
    /// have one.
    #[inline(always)]
    fn reply_cell(&self, direction: Direction, question: &Question) -> u32 {
        match question.reverse() {
            Some(service) => self.cell(direction.opposite(), service),
            None => 0,
        }
    }
}
