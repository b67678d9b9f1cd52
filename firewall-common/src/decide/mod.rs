//! The decision on one packet.
//!
//! [`decide`] is the whole way of a packet, stage by stage: [`read()`] (link, network and transport header, exempt traffic,
//! later fragments), then for an ICMP error what it quotes, for any other packet its flow, the rules, and the flow that it
//! begins. The stages hand on what they know in a [`Case`]. The eBPF programs run each as a function of its own and user
//! space one after the other. Every way out is a [`Reason`]; nothing passes because something went wrong.

mod case;
mod exempt;
mod fragment;
mod policy;
mod read;
mod tables;
mod tracked;

pub use case::{Case, Reading};
pub use fragment::remember as remember_fragment;
pub use policy::{judge, quoted_passed_without_state};
pub use read::read;
pub use tables::{Half, SocketOf, Tables};
pub use tracked::{Beginning, Followed, Following, begin, follow, is_hairpin, is_live, track};

use crate::abi::{Direction, UNCONFIRMED};
use crate::flow_table::ATTEMPTS;
use crate::packet::{Link, PacketBytes};
use crate::reason::{Decision, Reason, Verdict};

/// Where a packet was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Slot of the interface, or [`UNKNOWN_INTERFACE`](crate::abi::UNKNOWN_INTERFACE).
    pub slot: u32,
    /// Direction, seen from the host.
    pub direction: Direction,
    /// What frames of the interface begin with.
    pub link: Link,
}

/// The stages of a decision: the functions of this module of the same names, with a case that they share.
pub trait Stages {
    /// See [`read()`].
    fn read(&mut self) -> Reading;

    /// See [`follow()`].
    fn follow(&mut self) -> Following;

    /// See [`track()`].
    fn track(&mut self) -> Followed;

    /// See [`judge()`].
    fn judge(&mut self) -> Option<Reason>;

    /// See [`is_hairpin()`].
    fn is_hairpin(&mut self) -> bool;

    /// See [`begin()`].
    fn begin(&mut self, may_ask: bool) -> Beginning;

    /// See [`is_live()`].
    fn is_live(&mut self) -> bool;

    /// See [`quoted_passed_without_state()`].
    fn quoted_passed_without_state(&mut self) -> bool;

    /// See [`remember_fragment()`].
    fn remember_fragment(&mut self, verdict: Verdict);
}

/// Decides one packet.
#[inline(always)]
pub fn decide<S: Stages>(stages: &mut S) -> Decision {
    let reading = stages.read();
    let reason = match reading.reason() {
        Some(reason) => reason,
        None if reading.has(Reading::IS_ERROR) => error(stages, reading),
        None => packet(stages, reading),
    };
    if reading.has(Reading::IS_FIRST_FRAGMENT) {
        stages.remember_fragment(reason.verdict());
    }
    Decision::new(reason, reading.has(Reading::AUDIT))
}

/// Any packet but an ICMP error.
#[inline(always)]
fn packet<S: Stages>(stages: &mut S, reading: Reading) -> Reason {
    let has_flow = reading.has(Reading::HAS_FLOW);
    if has_flow && let Some(reason) = followed(stages) {
        return reason;
    }
    if reading.has(Reading::ANSWERS_AND_ENDS) {
        return Reason::BadTransportHeader;
    }
    if let Some(reason) = stages.judge() {
        return reason;
    }
    if !has_flow {
        return Reason::Rule;
    }
    if stages.is_hairpin() {
        return Reason::Hairpin;
    }
    begun(stages)
}

/// Where all tries fail the packet passes, as if it had been lost before the hook: its flow is there, and stays as it was.
#[inline(always)]
fn followed<S: Stages>(stages: &mut S) -> Option<Reason> {
    let mut tries = 0;
    while tries < ATTEMPTS {
        match stages.follow() {
            Following::Decided(reason) => return Some(reason),
            Following::Rules => return None,
            Following::Flow => {}
        }
        match stages.track() {
            Followed::Decided(reason) => return Some(reason),
            Followed::Rules => return None,
            Followed::Again => tries += 1,
        }
    }
    Some(Reason::Tracked)
}

#[inline(always)]
fn begun<S: Stages>(stages: &mut S) -> Reason {
    let mut tries = 0;
    let mut may_ask = true;
    while tries < ATTEMPTS {
        // The last one asks nothing, so that it says whether there is a place.
        match stages.begin(may_ask && tries + 1 < ATTEMPTS) {
            Beginning::Decided(reason) => return reason,
            Beginning::Again => {}
            Beginning::AgainWithoutAsking => may_ask = false,
        }
        tries += 1;
    }
    Reason::FlowTableFull
}

/// ICMP errors about traffic that is admitted: path MTU discovery, unreachable ports and hosts, expired hops. An error never
/// creates, renews or ends a flow.
///
/// AWS documents that such errors need a rule of their own, and its users lose path MTU discovery by it; here they pass
/// unless the interface says `rules-only`.
#[inline(always)]
fn error<S: Stages>(stages: &mut S, reading: Reading) -> Reason {
    if reading.has(Reading::HAS_FLOW) && stages.is_live() {
        return Reason::Related;
    }
    if reading.has(Reading::QUOTES) && stages.quoted_passed_without_state() {
        return Reason::Related;
    }
    // An error that no rule admits is of no service that a management prefix names.
    stages.judge().unwrap_or(Reason::Rule)
}

/// The stages in order, for tables and packets in memory.
pub struct InMemory<'a, P: ?Sized, T> {
    /// The frame.
    pub packet: &'a P,
    /// The tables.
    pub tables: &'a T,
    /// Where the packet was met.
    pub hook: Hook,
    /// What the stages know.
    pub case: Case,
}

impl<'a, P: PacketBytes + ?Sized, T: Tables> InMemory<'a, P, T> {
    /// A packet that nothing is known of yet.
    pub fn new(packet: &'a P, tables: &'a T, hook: Hook) -> Self {
        Self { packet, tables, hook, case: Case::default() }
    }
}

impl<P: PacketBytes + ?Sized, T: Tables> Stages for InMemory<'_, P, T> {
    fn read(&mut self) -> Reading {
        read(self.packet, self.tables, self.hook, &mut self.case)
    }

    fn follow(&mut self) -> Following {
        follow(self.tables, &mut self.case)
    }

    fn track(&mut self) -> Followed {
        track(self.tables, &mut self.case)
    }

    fn judge(&mut self) -> Option<Reason> {
        judge(self.tables, &mut self.case)
    }

    fn is_hairpin(&mut self) -> bool {
        is_hairpin(self.tables, &self.case)
    }

    fn begin(&mut self, may_ask: bool) -> Beginning {
        begin(self.tables, &self.case, may_ask)
    }

    fn is_live(&mut self) -> bool {
        is_live(self.tables, &self.case)
    }

    fn quoted_passed_without_state(&mut self) -> bool {
        quoted_passed_without_state(self.tables, &self.case)
    }

    fn remember_fragment(&mut self, verdict: Verdict) {
        remember_fragment(self.tables, &self.case, verdict);
    }
}

/// The generation that counts now: an unconfirmed one only until its deadline. Then the one before it is in force again,
/// whoever is or is not running in user space.
#[must_use]
#[inline(always)]
pub fn generation_in_force(word: u64, clock: u64, deadline: impl FnOnce() -> u64) -> u64 {
    if word & UNCONFIRMED == 0 {
        return word;
    }
    let unconfirmed = word & !UNCONFIRMED;
    if clock < deadline() { unconfirmed } else { unconfirmed - 1 }
}
