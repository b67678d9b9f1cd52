//! The control word of a slot: whose flow it is, how it stands, when it ends.
//!
//! | bits | |
//! | --- | --- |
//! | 0–31 | end of life, in units of time since boot; what is not before it is ended |
//! | 32–39 | eight bits of the fingerprint |
//! | 40–43 | state |
//! | 44 | the flow was begun by egress |
//! | 45 | the responder has sent something |
//! | 46, 47 | the initiator, the responder has sent a FIN that none of its later data has taken back |
//! | 48 | protected: nothing evicts it |
//! | 49 | in doubt: a RST or FIN was seen that proves nothing |
//! | 50 | backed: the host had a socket for it when it was last asked, as it became protected or as a doubt began |
//! | 51, 52 | the initiator, the responder has sent a segment without RST since the doubt, or the end |
//! | 53 | the number beside is that of a SYN on the live tuple; otherwise it is that of a FIN, if any |
//! | 54 | that SYN or FIN was an egress packet |
//! | 55 | draining: the end of life is the operator's, and stands |
//! | 56 | keyed: the key is recorded |
//! | 57 | pending: a CPU is filling the slot, and nobody else writes it |
//! | 58 | used |
//! | 59 | unconfirmed: the host had not completed the handshake when the flow became protected; in doubt, and backed |
//! | 60–63 | version: counts the flows of the slot |

use crate::hint::hide;

/// What a number of the word means.
pub mod state {
    /// TCP: the initiator's SYN was seen.
    pub const SYN_SENT: u64 = 1;
    /// TCP: the responder's SYN was seen.
    pub const SYN_RECEIVED: u64 = 2;
    /// TCP: the handshake is complete, or data was seen in both directions.
    pub const ESTABLISHED: u64 = 3;
    /// TCP: one side has sent a FIN.
    pub const FIN_WAIT: u64 = 4;
    /// TCP: both sides have sent a FIN.
    pub const TIME_WAIT: u64 = 5;
    /// TCP: the host has sent a RST.
    pub const CLOSED: u64 = 6;
    /// TCP: picked up in mid-stream, not yet confirmed.
    pub const PICKED_UP: u64 = 7;
    /// UDP: no reply yet.
    pub const UDP_ONE_WAY: u64 = 8;
    /// UDP: both hooks have carried it.
    pub const UDP_REPLIED: u64 = 9;
    /// An ICMP query that was replied to.
    pub const ICMP_REPLIED: u64 = 10;
    /// UDP: both hooks have carried it and it still talked two seconds after it began.
    pub const UDP_STREAM: u64 = 11;
    /// An ICMP query.
    pub const ICMP_QUERY: u64 = 12;
    /// Any other protocol, one way.
    pub const PORTLESS: u64 = 13;
    /// Ended by the operator. The entry keeps the responder's packets from beginning the flow anew.
    pub const CUT: u64 = 14;
    /// Any other protocol, both ways.
    pub const PORTLESS_REPLIED: u64 = 15;

    /// The name shown to people and in JSON; `None` for a number that no state has.
    #[must_use]
    pub const fn name(state: u64) -> Option<&'static str> {
        Some(match state {
            SYN_SENT => "syn-sent",
            SYN_RECEIVED => "syn-received",
            ESTABLISHED => "established",
            FIN_WAIT => "fin-wait",
            TIME_WAIT => "time-wait",
            CLOSED => "closed",
            PICKED_UP => "picked-up",
            UDP_ONE_WAY => "one-way",
            UDP_REPLIED | ICMP_REPLIED => "replied",
            UDP_STREAM => "stream",
            ICMP_QUERY => "query",
            PORTLESS | PORTLESS_REPLIED => "tracked",
            CUT => "cut",
            _ => return None,
        })
    }
}

pub(super) const PRINT_SHIFT: u32 = 32;
pub(super) const STATE_SHIFT: u32 = 40;
/// End of life.
pub const END: u64 = 0xffff_ffff;
/// Eight bits of the fingerprint.
pub const PRINT: u64 = 0xff << PRINT_SHIFT;
/// The state.
pub const STATE: u64 = 0xf << STATE_SHIFT;
/// The flow was begun by egress.
pub const BEGUN_BY_EGRESS: u64 = 1 << 44;
/// The responder has sent something.
pub const REPLIED: u64 = 1 << 45;
/// The initiator has sent a FIN.
pub const FIN_BY_INITIATOR: u64 = 1 << 46;
/// The responder has sent a FIN.
pub const FIN_BY_RESPONDER: u64 = 1 << 47;
/// Nothing evicts it.
pub const PROTECTED: u64 = 1 << 48;
/// A RST or FIN was seen that proves nothing.
pub const DOUBT: u64 = 1 << 49;
/// The host had a socket for it when it was last asked, as the flow became protected or as a doubt began.
pub const BACKED: u64 = 1 << 50;
/// The initiator has sent a segment since.
pub const ALIVE_INITIATOR: u64 = 1 << 51;
/// The responder has sent a segment since.
pub const ALIVE_RESPONDER: u64 = 1 << 52;
/// A SYN is remembered beside.
pub const SYN_BESIDE: u64 = 1 << 53;
/// The SYN that is remembered beside, or the FIN, was an egress packet.
pub const BESIDE_BY_EGRESS: u64 = 1 << 54;
/// The end of life is the operator's.
pub const DRAINING: u64 = 1 << 55;
/// The key is recorded.
pub const KEYED: u64 = 1 << 56;
/// A CPU is filling the slot.
pub const PENDING: u64 = 1 << 57;
/// There is a flow.
pub const USED: u64 = 1 << 58;
/// The host had not completed the handshake when the flow became protected.
pub const UNCONFIRMED: u64 = 1 << 59;
/// One more flow of the slot.
pub const VERSION: u64 = 1 << 60;
/// All bits of the version.
pub const VERSIONS: u64 = !(VERSION - 1);
/// As long as these stay, it is the same flow.
pub const IDENTITY: u64 = PRINT | USED | PENDING | VERSIONS;
/// Both FIN marks.
pub const FINS: u64 = FIN_BY_INITIATOR | FIN_BY_RESPONDER;
/// Both marks of life.
pub const ALIVE: u64 = ALIVE_INITIATOR | ALIVE_RESPONDER;

/// A control word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Control(pub u64);

impl Control {
    /// Whether any of `bits` is set.
    #[must_use]
    #[inline(always)]
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    /// With `bits` set.
    #[must_use]
    #[inline(always)]
    pub const fn with(self, bits: u64) -> Self {
        Self(self.0 | bits)
    }

    /// With `bits` cleared.
    #[must_use]
    #[inline(always)]
    pub const fn without(self, bits: u64) -> Self {
        Self(self.0 & !bits)
    }

    /// The number of [`state`].
    #[must_use]
    #[inline(always)]
    pub const fn state(self) -> u64 {
        self.0 >> STATE_SHIFT & 0xf
    }

    /// With another state.
    #[must_use]
    #[inline(always)]
    pub const fn in_state(self, state: u64) -> Self {
        Self(self.0 & !STATE | (state & 0xf) << STATE_SHIFT)
    }

    /// End of life.
    #[must_use]
    #[inline(always)]
    pub const fn end(self) -> u32 {
        self.0 as u32
    }

    /// With another end of life.
    #[must_use]
    #[inline(always)]
    pub const fn ending(self, end: u32) -> Self {
        Self(self.0 & !END | end as u64)
    }

    /// Whether its life is over. 32 bits last longer than hosts run, so nothing wraps and what is over stays over.
    #[must_use]
    #[inline(always)]
    pub const fn is_ended(self, now: u32) -> bool {
        self.end() <= now
    }

    /// Whether the slot holds a flow that is published.
    #[must_use]
    #[inline(always)]
    pub const fn is_published(self) -> bool {
        self.0 & (USED | PENDING) == USED
    }
}

/// What an insert takes, lowest number first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(pub u32);

impl Class {
    /// Nothing, or a flow whose life is over.
    pub const EMPTY: Self = Self(0);
    /// Closed, time-wait, cut.
    pub const CLOSING: Self = Self(1);
    /// Half-open, begun by ingress; by egress one more. Pick-ups that are not confirmed too.
    pub const HALF_OPEN: Self = Self(2);
    /// One-way, begun by ingress; by egress one more.
    pub const ONE_WAY: Self = Self(4);
    /// Both ways, but no stream.
    pub const REPLIED: Self = Self(6);
    /// A UDP stream.
    pub const STREAM: Self = Self(7);
    /// Protected, but in doubt and not backed by a socket: only where the places of a key hold nothing else.
    pub const DOUBTED: Self = Self(8);
    /// Never taken.
    pub const PROTECTED: Self = Self(9);

    /// The name shown to people, in JSON and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "empty",
            1 => "closing",
            2 | 3 => "half-open",
            4 | 5 => "one-way",
            6 => "replied",
            7 => "stream",
            8 => "doubted",
            _ => "protected",
        }
    }
}

/// By state, four bits each.
const CLASSES: u64 = by_state(state::SYN_SENT, Class::HALF_OPEN)
    | by_state(state::SYN_RECEIVED, Class::HALF_OPEN)
    | by_state(state::PICKED_UP, Class::HALF_OPEN)
    | by_state(state::TIME_WAIT, Class::CLOSING)
    | by_state(state::CLOSED, Class::CLOSING)
    | by_state(state::CUT, Class::CLOSING)
    // Both only with the mark of protection, which counts first; without it, as what is not confirmed.
    | by_state(state::ESTABLISHED, Class::HALF_OPEN)
    | by_state(state::FIN_WAIT, Class::HALF_OPEN)
    | by_state(state::UDP_ONE_WAY, Class::ONE_WAY)
    | by_state(state::ICMP_QUERY, Class::ONE_WAY)
    | by_state(state::PORTLESS, Class::ONE_WAY)
    | by_state(state::UDP_REPLIED, Class::REPLIED)
    | by_state(state::ICMP_REPLIED, Class::REPLIED)
    | by_state(state::PORTLESS_REPLIED, Class::REPLIED)
    | by_state(state::UDP_STREAM, Class::STREAM);

const fn by_state(state: u64, class: Class) -> u64 {
    (class.0 as u64) << (state * 4)
}

impl Control {
    /// The class of what stands in the slot, by arithmetic alone, of which `hide` keeps the compiler from making branches.
    /// Multiplications, because the verifier walks both values of a mask that it knows to be 0 or −1.
    #[must_use]
    #[inline(always)]
    pub fn class(self, now: u32) -> Class {
        let used = hide(self.0 >> 58 & 1);
        let pending = hide(self.0 >> 57 & 1);
        let protected = hide(self.0 >> 48 & 1);
        let doubted = hide(self.0 >> 49 & !(self.0 >> 50) & 1);
        let live = hide(hide(u64::from(now)).wrapping_sub(hide(self.0 & END)) >> 63);
        let of_state = hide(CLASSES >> (self.state() * 4) & 0xf);
        // Of half-open and one-way flows, those that were begun by egress are worth one more.
        let has_sides = hide((of_state & 1 ^ 1) & (of_state >> 1 ^ of_state >> 2) & 1);
        let egress = hide(self.0 >> 44 & 1);
        let plain = of_state + has_sides * egress;
        let kept = 9 - doubted;
        let flow = plain * (protected ^ 1) + kept * protected;
        let class = flow * live * used * (pending ^ 1) + 9 * pending;
        Class(hide(class) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(bits: u64, state: u64) -> u32 {
        Control(bits | USED).in_state(state).ending(10).class(9).0
    }

    #[test]
    fn an_insert_takes_what_is_worth_least() {
        let order = [
            class(0, state::CLOSED),
            class(0, state::SYN_SENT),
            class(BEGUN_BY_EGRESS, state::SYN_RECEIVED),
            class(0, state::UDP_ONE_WAY),
            class(BEGUN_BY_EGRESS, state::ICMP_QUERY),
            class(0, state::PORTLESS_REPLIED),
            class(BEGUN_BY_EGRESS, state::UDP_STREAM),
            class(PROTECTED | DOUBT, state::ESTABLISHED),
            class(PROTECTED | DOUBT | BACKED, state::ESTABLISHED),
        ];
        assert_eq!(order, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(class(BEGUN_BY_EGRESS, state::TIME_WAIT), 1);
        assert_eq!(class(BEGUN_BY_EGRESS, state::UDP_REPLIED), 6);
        assert_eq!(Control(USED | PROTECTED).ending(9).class(9), Class::EMPTY);
        assert_eq!(Control(0).ending(10).class(9), Class::EMPTY);
        assert_eq!(Control(USED | PENDING).class(9), Class::PROTECTED);
    }
}
