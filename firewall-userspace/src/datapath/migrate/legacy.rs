//! The flows of versions 1 to 5, as they lie in their maps.
//!
//! All five have one layout. Version 1 has zeros where an entry has its cut time; zero means *no cut*.

use bytemuck::{Pod, Zeroable};
use firewall_common::abi::{Address, Be16, Direction, FlowKey, Ipv4, Ipv6, KeyWords, query_from};
use firewall_common::flow_table::control::{
    ALIVE_INITIATOR, ALIVE_RESPONDER, BEGUN_BY_EGRESS, DOUBT, FIN_BY_INITIATOR, FIN_BY_RESPONDER, PROTECTED,
    REPLIED, state,
};
use firewall_common::flow_table::life::{Beside, Lifetimes, cut_off, drain};
use firewall_common::flow_table::{Control, Fresh};

use crate::datapath::clock::Units;
use crate::model::Protocol;

/// Names of the maps, and whether nothing was evicted from them. Those come first, so that a flow on its way from one table to the
/// other is found there.
pub(super) const V4_TABLES: [(&str, bool); 2] = [("FLOWS_V4", true), ("HALF_OPEN_V4", false)];
pub(super) const V6_TABLES: [(&str, bool); 2] = [("FLOWS_V6", true), ("HALF_OPEN_V6", false)];

/// Key of a flow: the end with the lower address and port first; of ICMP queries the end that asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub(super) struct OldKey<A> {
    pub(super) first: A,
    pub(super) second: A,
    pub(super) first_port: Be16,
    pub(super) second_port: Be16,
    pub(super) protocol: u8,
    pub(super) padding: u8,
    pub(super) zone: u16,
}

// SAFETY: repr(C); 4 + 4 + 2 + 2 + 1 + 1 + 2 = 16 bytes at alignment 8, asserted below, so there is no padding, and
// each field is Pod.
unsafe impl Pod for OldKey<Ipv4> {}
// SAFETY: all-zero is valid for each field.
unsafe impl Zeroable for OldKey<Ipv4> {}
// SAFETY: repr(C); 16 + 16 + 2 + 2 + 1 + 1 + 2 = 40 bytes at alignment 8, asserted below, so there is no padding,
// and each field is Pod.
unsafe impl Pod for OldKey<Ipv6> {}
// SAFETY: all-zero is valid for each field.
unsafe impl Zeroable for OldKey<Ipv6> {}

/// Live state of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub(super) struct OldEntry {
    /// Low 32 bits of the jiffies at the last packet.
    pub(super) last_seen: u32,
    pub(super) rule_set: u32,
    pub(super) generation: u32,
    /// TCP before the handshake is complete: the acknowledgement number that proves it.
    pub(super) handshake: u32,
    pub(super) state: u8,
    pub(super) flags: u8,
    pub(super) padding: u16,
    /// Low 32 bits of the jiffies from which on the flow is cut; 0 for never.
    pub(super) cut_at: u32,
}

const _: () = {
    assert!(size_of::<OldKey<Ipv4>>() == 16 && size_of::<OldKey<Ipv6>>() == 40);
    assert!(size_of::<OldEntry>() == 24);
};

/// Bits of [`OldEntry::flags`].
pub(super) mod flag {
    /// The end that is second in the key sent the first packet.
    pub(in super::super) const INITIATOR_IS_SECOND: u8 = 1 << 0;
    pub(in super::super) const STARTED_BY_EGRESS: u8 = 1 << 1;
    pub(in super::super) const REPLIED: u8 = 1 << 2;
    pub(in super::super) const FIN_BY_INITIATOR: u8 = 1 << 3;
    pub(in super::super) const FIN_BY_RESPONDER: u8 = 1 << 4;
    pub(in super::super) const ALIVE_INITIATOR: u8 = 1 << 5;
    pub(in super::super) const ALIVE_RESPONDER: u8 = 1 << 6;
}

/// What became of an old flag.
const FLAGS: [(u8, u64); 6] = [
    (flag::STARTED_BY_EGRESS, BEGUN_BY_EGRESS),
    (flag::REPLIED, REPLIED),
    (flag::FIN_BY_INITIATOR, FIN_BY_INITIATOR),
    (flag::FIN_BY_RESPONDER, FIN_BY_RESPONDER),
    (flag::ALIVE_INITIATOR, ALIVE_INITIATOR),
    (flag::ALIVE_RESPONDER, ALIVE_RESPONDER),
];

/// A flow as it is now.
///
/// The direction in which it began tells which end of the key is the local one.
///
/// A flow that a router sent back by the interface it came in by was one; now each direction has its own. The second is not
/// made up here, since a forged packet looks the same: the next packet that leaves begins it, where egress rules admit it.
pub(super) fn by_side<A: Address>(old: &OldKey<A>, entry: &OldEntry) -> KeyWords {
    let (first, second) = ((old.first, old.first_port), (old.second, old.second_port));
    let (initiator, responder) =
        if entry.flags & flag::INITIATOR_IS_SECOND == 0 { (first, second) } else { (second, first) };
    let (local, remote, asks) = match entry.started_by() {
        Direction::Ingress => (responder, initiator, query_from::REMOTE),
        Direction::Egress => (initiator, responder, query_from::LOCAL),
    };
    // The ports of a query are the identifier and the type, which belong to neither end.
    let (local_port, remote_port, query_from) = if is_query(old) {
        (old.first_port, old.second_port, asks)
    } else {
        (local.1, remote.1, query_from::EITHER)
    };
    let (local, remote) = (local.0, remote.0);
    let (protocol, zone) = (old.protocol, old.zone);
    A::key_words(&FlowKey { local, remote, local_port, remote_port, protocol, query_from, zone })
}

fn is_query<A: Address>(key: &OldKey<A>) -> bool {
    let icmp = if A::IS_IPV6 { Protocol::Icmpv6 } else { Protocol::Icmp };
    Protocol::from_number(key.protocol) == icmp
}

/// What an old flow is turned by.
pub(super) struct Turning<'a> {
    pub(super) units: Units,
    /// The time now, in units and in jiffies of the 32-bit clock.
    pub(super) now: u32,
    pub(super) jiffies: u32,
    /// Of the zone of the flow.
    pub(super) lifetimes: &'a Lifetimes,
    /// Whether the flow was in a table that nothing was evicted from.
    pub(super) was_assured: bool,
}

impl OldEntry {
    const fn started_by(&self) -> Direction {
        if self.flags & flag::STARTED_BY_EGRESS == 0 { Direction::Ingress } else { Direction::Egress }
    }

    /// The flow with the life that it has left; `None` if it has none, or a state that no version had.
    pub(super) fn turned(&self, turning: &Turning<'_>) -> Option<Fresh> {
        let Turning { units, now, lifetimes, .. } = *turning;
        let state = self.state()?;
        let idle = units.of_jiffies(idle(self.last_seen, turning.jiffies));
        let left = lifetimes.of(state).checked_sub(idle)?;
        let flags =
            FLAGS.iter().filter(|(old, _)| self.flags & old != 0).fold(0, |flags, (_, new)| flags | new);
        let mut control = Control(flags).in_state(state).ending(now.saturating_add(left).saturating_add(1));
        if turning.was_assured && !matches!(state, state::TIME_WAIT | state::CLOSED) {
            control = control.with(PROTECTED);
        }
        if state == state::FIN_WAIT {
            // No socket was asked for, so it ends by itself unless both sides go on.
            control = control.with(DOUBT);
        }
        if self.cut_at != 0 {
            let left = self.cut_at.wrapping_sub(turning.jiffies);
            control = if left.cast_signed() <= 0 {
                cut_off(control, lifetimes, now)
            } else {
                drain(control, now.saturating_add(units.of_jiffies(left)).saturating_add(1))
            };
        }
        Some(Fresh {
            control,
            admitted_by: u64::from(self.generation) << 32 | u64::from(self.rule_set),
            beside: Beside(Beside::begun(now).0 | u64::from(self.handshake)),
        })
    }

    /// The number of the state that has taken the place of an old one.
    const fn state(&self) -> Option<u64> {
        const UDP_ASKED_AGAIN: u64 = 10;
        let has_replied = self.flags & flag::REPLIED != 0;
        Some(match self.state as u64 {
            UDP_ASKED_AGAIN => state::UDP_REPLIED,
            state::ICMP_QUERY if has_replied => state::ICMP_REPLIED,
            state::PORTLESS if has_replied => state::PORTLESS_REPLIED,
            same @ 1..=13 => same,
            _ => return None,
        })
    }
}

/// Jiffies since the last packet.
///
/// The clock and the entry are not read at the same instant, and user space's clock is a few ticks off: a packet may seem
/// to be later than now, and is then taken for one of now.
const fn idle(last_seen: u32, now: u32) -> u32 {
    /// A minute at any tick rate.
    const MAX_AHEAD: u32 = 60_000;
    if last_seen.wrapping_sub(now) < MAX_AHEAD { 0 } else { now.wrapping_sub(last_seen) }
}

#[cfg(test)]
mod tests {
    use firewall_common::abi::AnyFlowKey;
    use firewall_common::flow_table::control::DRAINING;

    use super::*;
    use crate::datapath::lifetimes::lifetimes;
    use crate::model::FlowTimeouts;

    const LOW: [u8; 4] = [192, 0, 2, 1];
    const HIGH: [u8; 4] = [192, 0, 2, 9];

    /// The lower end first.
    fn old(protocol: u8, first_port: u16, second_port: u16) -> OldKey<Ipv4> {
        let [first, second] = [LOW, HIGH].map(Ipv4::from_bytes);
        let [first_port, second_port] = [first_port, second_port].map(Be16::new);
        OldKey { first, second, first_port, second_port, protocol, padding: 0, zone: 7 }
    }

    type End = ([u8; 4], u16);

    /// Local end, remote end, who asks.
    fn sides(old: OldKey<Ipv4>, flags: u8) -> (End, End, u8) {
        let words = by_side(&old, &OldEntry { flags, ..OldEntry::default() });
        let AnyFlowKey::V4(key) = AnyFlowKey::from_words(words) else { panic!("no key of IPv4: {words:?}") };
        assert_eq!((key.zone, key.protocol), (7, old.protocol));
        let end = |address: Ipv4, port: Be16| (address.0.to_bytes(), port.get());
        (end(key.local, key.local_port), end(key.remote, key.remote_port), key.query_from)
    }

    #[test]
    fn the_initiator_and_the_direction_tell_which_end_of_an_old_key_is_local() {
        let (tcp, either) = (old(6, 22, 40_000), query_from::EITHER);
        let (low, high) = ((LOW, 22), (HIGH, 40_000));
        // By ingress from the second, by ingress from the first, and the same by egress.
        assert_eq!(sides(tcp, flag::INITIATOR_IS_SECOND), (low, high, either));
        assert_eq!(sides(tcp, 0), (high, low, either));
        assert_eq!(sides(tcp, flag::STARTED_BY_EGRESS), (low, high, either));
        let from_second = flag::STARTED_BY_EGRESS | flag::INITIATOR_IS_SECOND;
        assert_eq!(sides(tcp, from_second), (high, low, either));
    }

    #[test]
    fn an_old_query_keeps_identifier_and_type_and_learns_who_asks() {
        let ping = old(1, 77, 8);
        assert_eq!(sides(ping, 0), ((HIGH, 77), (LOW, 8), query_from::REMOTE));
        assert_eq!(sides(ping, flag::STARTED_BY_EGRESS), ((LOW, 77), (HIGH, 8), query_from::LOCAL));
    }

    const NOW: u32 = 500_000;
    const JIFFIES: u32 = 30;

    fn turned(entry: OldEntry, was_assured: bool) -> Option<Control> {
        let units = Units::at(250);
        let lifetimes = lifetimes(&FlowTimeouts::default(), units);
        let turning = Turning { units, now: NOW, jiffies: JIFFIES, lifetimes: &lifetimes, was_assured };
        entry.turned(&turning).map(|fresh| fresh.control)
    }

    fn idle_for(seconds: u32, state: u64) -> OldEntry {
        // The clock has just wrapped.
        OldEntry { last_seen: JIFFIES.wrapping_sub(seconds * 250), state: state as u8, ..OldEntry::default() }
    }

    #[test]
    fn a_flow_keeps_the_life_that_it_has_left() {
        let units = Units::at(250);
        let control = turned(idle_for(432, state::ESTABLISHED), true).unwrap();
        assert_eq!(control.end(), NOW + units.of_seconds(432_000) - units.of_seconds(432) + 1);
        assert!(control.has(PROTECTED));
        assert!(!turned(idle_for(10, state::SYN_SENT), false).unwrap().has(PROTECTED));
        assert_eq!(turned(idle_for(61, state::SYN_SENT), false), None);
        assert_eq!(turned(idle_for(0, 14), true), None);
    }

    #[test]
    fn states_that_are_two_now_go_by_the_reply() {
        let of = |state, flags| turned(OldEntry { flags, ..idle_for(1, state) }, false).unwrap().state();
        assert_eq!(of(state::ICMP_QUERY, 0), state::ICMP_QUERY);
        assert_eq!(of(state::ICMP_QUERY, flag::REPLIED), state::ICMP_REPLIED);
        assert_eq!(of(state::PORTLESS, flag::REPLIED), state::PORTLESS_REPLIED);
        assert_eq!(of(10, flag::REPLIED), state::UDP_REPLIED);
    }

    #[test]
    fn what_has_closed_is_not_protected_and_a_half_closed_flow_is_in_doubt() {
        assert!(!turned(idle_for(1, state::TIME_WAIT), true).unwrap().has(PROTECTED));
        let half = OldEntry { flags: flag::FIN_BY_RESPONDER, ..idle_for(1, state::FIN_WAIT) };
        let half = turned(half, true).unwrap();
        assert!(half.has(PROTECTED) && half.has(DOUBT) && half.has(FIN_BY_RESPONDER));
    }

    #[test]
    fn a_cut_stays_and_time_that_was_given_goes_on() {
        let cut = |cut_at| turned(OldEntry { cut_at, ..idle_for(1, state::ESTABLISHED) }, true).unwrap();
        assert_eq!(cut(0).state(), state::ESTABLISHED);
        assert_eq!(cut(u32::MAX).state(), state::CUT);
        let drained = cut(JIFFIES + 2_500);
        assert!(drained.has(DRAINING));
        assert_eq!(drained.end(), NOW + Units::at(250).of_jiffies(2_500) + 1);
    }
}
