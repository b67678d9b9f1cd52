//! What a packet does with the table.

use super::change::{Change, Time, change_once, clear, flag, record_key};
use super::control::{Class, Control, DOUBT, KEYED, PROTECTED, state};
use super::find::{Hit, find};
use super::hash::Spot;
use super::insert::{Fresh, Inserted, insert_once};
use super::life::{
    Beside, Facts, Lifetimes, Socket, Step, asks_for_socket, begin, follow, is_undisturbed_by, remember_syn,
    undisturbed_state,
};
use super::memory::Memory;
use crate::abi::KeyWords;
use crate::hint::blur;
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

/// What a look at a packet's flow says, before anything else is known.
pub enum Glance<P> {
    /// There is none.
    NoFlow,
    /// The packet passes, and leaves it as it is.
    Undisturbed,
    /// [`track`] says.
    Flow(Hit<P>),
}

/// Looks a packet's flow up.
#[inline(always)]
pub fn glance<M: Memory>(memory: &M, spot: &Spot, facts: &Facts) -> Glance<M::Place> {
    match find(memory, spot, facts.now) {
        None => Glance::NoFlow,
        Some(hit) if is_undisturbed_by(hit.control, facts) => Glance::Undisturbed,
        Some(hit) => Glance::Flow(hit),
    }
}

/// Follows a packet of a flow. `socket` is asked for that flow, at most once.
#[inline(always)]
pub fn track<M: Memory>(
    memory: &M,
    tracked: Tracked<'_>,
    mut hit: Hit<M::Place>,
    facts: &Facts,
    lifetimes: &Lifetimes,
    socket: impl FnOnce() -> Socket,
) -> Tracking<M::Place> {
    let (bucket, word) = (hit.bucket, hit.control_word());
    let beside = beside(memory, bucket, word, hit.control, facts);
    let asks = !hit.control.is_ended(facts.now) && asks_for_socket(hit.control, beside, facts, lifetimes);
    let answer = if asks { Some(socket()) } else { None };
    let unknown = tracked.spot.fingerprint;
    let (control, beside) = (Control(blur(hit.control.0, unknown)), Beside(blur(beside.0, unknown)));
    let met = met(follow(control, beside, facts, lifetimes, answer), control, beside, tracked.spot);
    // Before the control word which says that it counts. By an exchange: two FINs that cross on two CPUs are both remembered.
    if met.beside != beside && !exchange_beside(memory, bucket, word, (beside, met.beside)) {
        return Tracking::Again;
    }
    match change_once(
        memory,
        tracked.spot,
        &mut hit,
        Time { now: facts.now, renewal: facts.second },
        met.control,
    ) {
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
fn met(step: Step, control: Control, beside: Beside, spot: &Spot) -> Met {
    let (outcome, next, beside) = match step {
        Step::Continue(next, beside) => (Outcome::CONTINUE, next, beside),
        Step::Over => (Outcome::OVER, control, beside),
        Step::Rules => (Outcome::RULES, control, beside),
        Step::Cut(next) => (Outcome::CUT, next, beside),
    };
    Met {
        outcome: Outcome(blur(outcome.0, spot.fingerprint)),
        control: Control(blur(next.0, spot.fingerprint)),
        beside: Beside(blur(beside.0, spot.fingerprint)),
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
    let control = Control(blur(control.0, tracked.spot.fingerprint));
    let fresh = Fresh { control, admitted_by, beside: Beside::begun_by(facts) };
    match insert_once(memory, tracked.spot, tracked.key, &fresh, lifetimes, facts.now, ask) {
        Inserted::InPlaceOf(class) => Admitted::Begun(class),
        Inserted::Same => Admitted::Tracked,
        Inserted::Refused => Admitted::Full,
        Inserted::Contended | Inserted::AskedInVain => Admitted::Again,
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
        let (next, remembered) = remember_syn(control, beside, facts);
        // Where another CPU remembers something at the same time, this SYN is as good as lost: it comes again.
        if memory.compare_exchange(details, word, beside.0, remembered.0) != beside.0 {
            return control;
        }
        memory.store(details, word - 1, admitted_by);
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
    plain && !control.has(DOUBT) && control.state() == undisturbed_state(facts.kind)
}

#[inline(always)]
fn exchange_beside<M: Memory>(memory: &M, bucket: u32, word: u32, (old, new): (Beside, Beside)) -> bool {
    let Some(details) = memory.details(bucket) else {
        return false;
    };
    memory.compare_exchange(details, word, old.0, new.0) == old.0
}
