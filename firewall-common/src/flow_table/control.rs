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

/// What a flow is worth to an insert and to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(pub u32);

impl Class {
    /// Nothing, or a flow whose life is over.
    pub const EMPTY: Self = Self(0);
    /// Closed, time-wait, cut.
    pub const CLOSING: Self = Self(1);
    /// Half-open, begun by ingress; by egress one more, here and below. Pick-ups that are not confirmed too.
    pub const HALF_OPEN: Self = Self(2);
    /// One-way.
    pub const ONE_WAY: Self = Self(4);
    /// Both ways, but no stream.
    pub const REPLIED: Self = Self(6);
    /// A UDP stream.
    pub const STREAM: Self = Self(8);
    /// Protected, but in doubt and not backed by a socket.
    pub const DOUBTED: Self = Self(10);
    /// Protected.
    pub const PROTECTED: Self = Self(11);

    /// The name shown to people, in JSON and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "empty",
            1 => "closing",
            2 | 3 => "half-open",
            4 | 5 => "one-way",
            6 | 7 => "replied",
            8 | 9 => "stream",
            10 => "doubted",
            _ => "protected",
        }
    }

    /// In which order an insert takes them.
    #[must_use]
    #[inline(always)]
    pub const fn level(self) -> Level {
        Level((LEVELS >> (self.0 * 4)) as u32 & 0xf)
    }
}

/// What an insert takes, lowest number first.
///
/// What strangers can begin lies below what the host has begun, so that no flood takes the places of the host's own
/// handshakes; and it lies together, to be taken by time alone: were any of it worth more, a flood of that would leave the rest
/// no place to wait for an answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub u32);

impl Level {
    /// Free.
    pub const EMPTY: Self = Self(0);
    /// Closed, time-wait, cut.
    pub const CLOSING: Self = Self(1);
    /// Begun by ingress: half-open, one-way, or answered but no stream.
    pub const OF_STRANGERS: Self = Self(2);
    /// A UDP stream that ingress has begun.
    pub const STREAM_OF_STRANGERS: Self = Self(3);
    /// Begun by egress: half-open, one-way, or answered but no stream.
    pub const OF_THE_HOST: Self = Self(4);
    /// A UDP stream that egress has begun.
    pub const STREAM_OF_THE_HOST: Self = Self(5);
    /// Protected, but in doubt and not backed by a socket: only where the places of a key hold nothing else.
    pub const DOUBTED: Self = Self(6);
    /// Never taken.
    pub const PROTECTED: Self = Self(7);
}

/// By class, four bits each.
const LEVELS: u64 = at_level(Class::CLOSING, Level::CLOSING)
    | by_side(Class::HALF_OPEN, Level::OF_STRANGERS, Level::OF_THE_HOST)
    | by_side(Class::ONE_WAY, Level::OF_STRANGERS, Level::OF_THE_HOST)
    | by_side(Class::REPLIED, Level::OF_STRANGERS, Level::OF_THE_HOST)
    | by_side(Class::STREAM, Level::STREAM_OF_STRANGERS, Level::STREAM_OF_THE_HOST)
    | at_level(Class::DOUBTED, Level::DOUBTED)
    | at_level(Class::PROTECTED, Level::PROTECTED);

const fn by_side(class: Class, by_ingress: Level, by_egress: Level) -> u64 {
    at_level(class, by_ingress) | at_level(Class(class.0 + 1), by_egress)
}

const fn at_level(class: Class, level: Level) -> u64 {
    (level.0 as u64) << (class.0 * 4)
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
        // All but what is closing are of a side: those that were begun by egress are one more.
        let has_sides = hide((of_state >> 1 | of_state >> 2 | of_state >> 3) & 1);
        let egress = hide(self.0 >> 44 & 1);
        let plain = of_state + has_sides * egress;
        let kept = 11 - doubted;
        let flow = plain * (protected ^ 1) + kept * protected;
        let class = flow * live * used * (pending ^ 1) + 11 * pending;
        Class(hide(class) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(bits: u64, state: u64) -> u32 {
        Control(bits | USED).in_state(state).ending(10).class(9).level().0
    }

    #[test]
    fn an_insert_takes_what_is_worth_least() {
        let order = [
            level(0, state::CLOSED),
            level(0, state::SYN_SENT),
            level(0, state::UDP_STREAM),
            level(BEGUN_BY_EGRESS, state::SYN_RECEIVED),
            level(BEGUN_BY_EGRESS, state::UDP_STREAM),
            level(PROTECTED | DOUBT, state::ESTABLISHED),
            level(PROTECTED | DOUBT | BACKED, state::ESTABLISHED),
        ];
        assert_eq!(order, [1, 2, 3, 4, 5, 6, 7]);
        let together =
            [state::SYN_RECEIVED, state::UDP_ONE_WAY, state::ICMP_REPLIED, state::PORTLESS_REPLIED];
        for side in [0, BEGUN_BY_EGRESS] {
            assert_eq!(together.map(|state| level(side, state)), [if side == 0 { 2 } else { 4 }; 4]);
        }
        assert_eq!(level(BEGUN_BY_EGRESS, state::TIME_WAIT), 1);
        assert_eq!(Control(USED | PROTECTED).ending(9).class(9), Class::EMPTY);
        assert_eq!(Control(0).ending(10).class(9), Class::EMPTY);
        assert_eq!(Control(USED | PENDING).class(9), Class::PROTECTED);
    }

    #[test]
    fn classes_tell_sides_and_have_names() {
        let named = |bits: u64, state: u64| {
            let class = Control(bits | USED).in_state(state).ending(10).class(9);
            (class.0, class.name())
        };
        assert_eq!(named(BEGUN_BY_EGRESS, state::PICKED_UP), (3, "half-open"));
        assert_eq!(named(0, state::PORTLESS), (4, "one-way"));
        assert_eq!(named(BEGUN_BY_EGRESS, state::UDP_REPLIED), (7, "replied"));
        assert_eq!(named(BEGUN_BY_EGRESS, state::UDP_STREAM), (9, "stream"));
        assert_eq!(named(BEGUN_BY_EGRESS, state::CUT), (1, "closing"));
        assert_eq!(named(PROTECTED | DOUBT, state::ESTABLISHED), (10, "doubted"));
    }
}
