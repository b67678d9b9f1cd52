//! What a packet does with the table.

use super::change::{Change, Time, change_once, clear, flag, record_key};
use super::control::{Class, Control, DOUBT, KEYED, PROTECTED, state};
use super::find::{Hit, find};
use super::hash::Spot;
use super::insert::{Fresh, Inserted, insert_once};
use super::life::{Beside, Facts, Lifetimes, Socket, Step, asks_for_socket, begin, follow, remember_syn};
use super::memory::Memory;
use crate::abi::KeyWords;
use crate::packet::tcp_flag;

/// A packet's key and where its flow may stand.
#[derive(Clone, Copy)]
pub struct Tracked<'a> {
    /// The key.
    pub key: &'a KeyWords,
    /// Hashed.
    pub spot: &'a Spot,
}

/// What the table says about a packet.
pub enum Tracking<P> {
    /// It belongs to a live flow, and passes.
    Passes,
    /// The operator has cut its flow: it is dropped.
    Cut,
    /// The rules decide; what they admit is begun by [`admitted`], with what was found.
    Rules(Option<Hit<P>>),
    /// Another CPU was faster: worth another try, [`ATTEMPTS`](super::ATTEMPTS) in all, then as [`Self::Passes`], as if the
    /// packet had been lost before it came here.
    Again,
}

/// Looks a packet's flow up and follows it. `socket` is asked for the packet's own flow, at most once.
#[inline(always)]
pub fn track<M: Memory>(
    memory: &M,
    tracked: Tracked<'_>,
    facts: &Facts,
    lifetimes: &Lifetimes,
    renewal: u32,
    socket: impl FnOnce() -> Socket,
) -> Tracking<M::Place> {
    let Some(mut hit) = find(memory, tracked.spot, facts.now) else {
        return Tracking::Rules(None);
    };
    let (bucket, word) = (hit.bucket, hit.control_word());
    let beside = beside(memory, bucket, word, hit.control, facts);
    let asks = !hit.control.is_ended(facts.now) && asks_for_socket(hit.control, beside, facts, lifetimes);
    let answer = if asks { Some(socket()) } else { None };
    let met = met(memory, follow(hit.control, beside, facts, lifetimes, answer), hit.control, beside);
    // Before the control word which says that it counts. If the flow is evicted in this moment, the next owner of the slot may
    // find it: its handshake then waits for one more answer of the responder.
    if met.beside != beside {
        write_beside(memory, bucket, word, met.beside);
    }
    match change_once(memory, tracked.spot, &mut hit, Time { now: facts.now, renewal }, met.control) {
        Change::Done => {}
        Change::Gone | Change::Contended => return Tracking::Again,
    }
    match met.outcome {
        Outcome::OVER => {
            // What was found ended never lives again.
            clear(memory, tracked.spot, &hit);
            Tracking::Rules(None)
        }
        Outcome::RULES => Tracking::Rules(Some(hit)),
        Outcome::CUT => Tracking::Cut,
        _ => {
            if hit.control.0 & (PROTECTED | KEYED) == PROTECTED {
                record_key(memory, &mut hit, tracked.key);
            }
            Tracking::Passes
        }
    }
}

/// A [`Step`] as a number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Outcome(u64);

impl Outcome {
    const CONTINUE: Self = Self(0);
    const OVER: Self = Self(1);
    const RULES: Self = Self(2);
    const CUT: Self = Self(3);
}

/// A [`Step`] where all ways to it have met.
struct Met {
    outcome: Outcome,
    control: Control,
    beside: Beside,
}

#[inline(always)]
fn met<M: Memory>(memory: &M, step: Step, control: Control, beside: Beside) -> Met {
    let (outcome, next, beside) = match step {
        Step::Continue(next, beside) => (Outcome::CONTINUE, next, beside),
        Step::Over => (Outcome::OVER, control, beside),
        Step::Rules => (Outcome::RULES, control, beside),
        Step::Cut(next) => (Outcome::CUT, next, beside),
    };
    Met {
        outcome: Outcome(memory.forget(outcome.0)),
        control: Control(memory.forget(next.0)),
        beside: Beside(memory.forget(beside.0)),
    }
}

/// What became of a packet that rules admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It begins no flow: nothing may answer it.
    NoFlow,
    /// Its flow is begun, in the place of a flow of this class: counted for `status`.
    Begun(Class),
    /// Another CPU has begun its flow, or its SYN is remembered beside the flow that was there.
    Tracked,
    /// There is no place for its flow: it is dropped.
    Full,
    /// Another CPU was faster: worth another try, [`ATTEMPTS`](super::ATTEMPTS) in all, then as [`Self::Full`].
    Again,
    /// The same, without asking for a socket again.
    AgainWithoutAsking,
}

/// Begins the flow of a packet that rules admit; `found` is what [`track`] has found. `ask` is asked for the socket of one
/// other flow at most, by its record, and only where the places of the key hold none but protected flows.
#[inline(always)]
pub fn admitted<M: Memory>(
    memory: &M,
    tracked: Tracked<'_>,
    found: Option<Hit<M::Place>>,
    admitted_by: u64,
    facts: &Facts,
    lifetimes: &Lifetimes,
    ask: Option<impl FnOnce(M::Place) -> Socket>,
) -> Admitted {
    if let Some(mut hit) = found {
        // One that the operator has given time, which is over, is cut too.
        let is_cut = hit.control.state() == state::CUT || hit.control.is_ended(facts.now);
        if !is_cut {
            remember(memory, &mut hit, admitted_by, facts);
            return Admitted::Tracked;
        }
        // In a second try it is gone, and this does nothing.
        clear(memory, tracked.spot, &hit);
    }
    let Some(control) = begin(facts, lifetimes) else {
        return Admitted::NoFlow;
    };
    let control = Control(memory.forget(control.0));
    let fresh = Fresh { control, admitted_by, beside: Beside::begun(facts.now) };
    match insert_once(memory, tracked.spot, tracked.key, &fresh, lifetimes, facts.now, ask) {
        Inserted::InPlaceOf(class) => Admitted::Begun(class),
        Inserted::Same => Admitted::Tracked,
        Inserted::Refused => Admitted::Full,
        Inserted::Contended => Admitted::Again,
        Inserted::Asked => Admitted::AgainWithoutAsking,
    }
}

#[inline(always)]
fn remember<M: Memory>(memory: &M, hit: &mut Hit<M::Place>, admitted_by: u64, facts: &Facts) {
    let (bucket, word) = (hit.bucket, hit.control_word());
    let Some(details) = memory.details(bucket) else {
        return;
    };
    flag(memory, hit, |control| {
        let beside = Beside(memory.load(details, word));
        let (next, beside) = remember_syn(control, beside, facts);
        memory.store(details, word - 1, admitted_by);
        memory.store(details, word, beside.0);
        next
    });
}

/// What stands beside a flow, where the packet may ask for it: its line is cold, and most packets need not load it.
#[inline(always)]
fn beside<M: Memory>(memory: &M, bucket: u32, word: u32, control: Control, facts: &Facts) -> Beside {
    if is_plain(control, facts) {
        return Beside::default();
    }
    memory
        .details(bucket)
        .map_or(Beside::default(), |details| Beside(memory.load_after(details, word, control.0)))
}

/// Whether a packet does nothing to its flow but to renew it.
#[inline(always)]
fn is_plain(control: Control, facts: &Facts) -> bool {
    let plain = !facts.has(tcp_flag::SYN | tcp_flag::FIN | tcp_flag::RST);
    let states = 1 << state::ESTABLISHED
        | 1 << state::UDP_STREAM
        | 1 << state::ICMP_REPLIED
        | 1 << state::PORTLESS_REPLIED;
    plain && !control.has(DOUBT) && states >> control.state() & 1 != 0
}

#[inline(always)]
fn write_beside<M: Memory>(memory: &M, bucket: u32, word: u32, beside: Beside) {
    if let Some(details) = memory.details(bucket) {
        memory.store(details, word, beside.0);
    }
}
