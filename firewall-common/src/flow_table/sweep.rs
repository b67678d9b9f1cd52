//! What user space does with a table, beside running programs: lists flows, gives ended ones back, asks for sockets.
//!
//! Nothing depends on it: programs clear what they find ended, and inserts take it. It is for numbers, and for what only a walk
//! over all slots can do. Whoever is killed in between leaves nothing, for each step is one exchange.

use super::change::clear;
use super::control::{BACKED, Control, DOUBT, DRAINING, KEYED, PROTECTED, USED, VERSIONS, state};
use super::find::{Hit, find};
use super::hash::{Spot, spot};
use super::layout::{Detail, SLOTS};
use super::life::{Beside, Lifetimes, Socket, cut_off, settle};
use super::memory::Memory;
use crate::abi::KeyWords;

/// A flow as it stands in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its control.
    pub control: Control,
    /// Its details.
    pub detail: Detail,
    /// Its key, if that is recorded.
    pub key: Option<KeyWords>,
}

/// Reads the flow of a slot: control, key and details, control. `None` for none, or if it was taken over meanwhile.
#[must_use]
pub fn read<M: Memory>(memory: &M, bucket: u32, slot: u32) -> Option<Listed> {
    let (line, details) = (memory.line(bucket)?, memory.details(bucket)?);
    let word = (slot & 3) * 2 + 1;
    let control = memory.load(line, word);
    if !Control(control).is_published() {
        return None;
    }
    let admitted_by = memory.load_after(details, word - 1, control);
    let beside = memory.load_after(details, word, control);
    let mut key = None;
    if Control(control).has(KEYED) {
        let record = memory.record(bucket * SLOTS + (slot & 3))?;
        key = Some([0, 1, 2, 3, 4].map(|part| memory.load_after(record, part, control)));
    }
    let again = memory.load_after(line, word, beside ^ key.map_or(0, |key| key[4]));
    // Another flow of the slot has another version; what moved on is the same flow.
    if (again ^ control) & (VERSIONS | USED) != 0 {
        return None;
    }
    let detail = Detail { rule_set: admitted_by as u32, generation: (admitted_by >> 32) as u32, beside };
    Some(Listed { control: Control(again), detail, key })
}

/// What a sweep has met in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// Nothing, or a flow that goes on.
    Kept,
    /// A flow that had ended, and is cleared.
    Cleared,
    /// A flow that the operator has drained, and is cut now.
    Cut,
    /// A flow whose socket is to be asked for: [`answered`] takes the answer.
    Asks(Listed),
}

/// Looks at one slot.
pub fn sweep<M: Memory>(memory: &M, bucket: u32, slot: u32, lifetimes: &Lifetimes, now: u32) -> Swept {
    let Some(listed) = read(memory, bucket, slot) else {
        return Swept::Kept;
    };
    let control = listed.control;
    if control.is_ended(now) {
        if control.has(DRAINING) && control.state() != state::CUT {
            return turn(memory, bucket, slot, &listed, cut_off(control, lifetimes, now), (Swept::Cut, now));
        }
        return turn(memory, bucket, slot, &listed, Control(control.0 & VERSIONS), (Swept::Cleared, now));
    }
    match listed.key {
        Some(_) if asks_for_socket(&listed, lifetimes, now) => Swept::Asks(listed),
        _ => Swept::Kept,
    }
}

/// Whether a live flow is over if the host has no socket for it: one that was backed by a socket. Of one in doubt that is for
/// the first packet after its short time to ask, or for whoever looks then.
#[must_use]
pub fn asks_for_socket(listed: &Listed, lifetimes: &Lifetimes, now: u32) -> bool {
    let control = listed.control;
    control.0 & (PROTECTED | BACKED | KEYED) == PROTECTED | BACKED | KEYED
        && (!control.has(DOUBT) || Beside(listed.detail.beside).doubt_is_due(control, lifetimes, now))
}

/// Takes the answer for the socket of a flow, unless it has moved on since: a new connection has the same key.
pub fn answered<M: Memory>(
    memory: &M,
    bucket: u32,
    slot: u32,
    asked: &Listed,
    socket: Socket,
    lifetimes: &Lifetimes,
    now: u32,
) {
    if read(memory, bucket, slot).as_ref() == Some(asked) {
        let settled = settle(asked.control, socket, lifetimes, now);
        turn(memory, bucket, slot, asked, settled, (Swept::Kept, now));
    }
}

/// Moves the flow of a slot on, to what `next` says of it as it is read, or gives its place back where that is no flow. `false`
/// if `next` says nothing, or other CPUs were faster each time.
pub fn alter<M: Memory>(
    memory: &M,
    bucket: u32,
    slot: u32,
    now: u32,
    next: impl Fn(&Listed) -> Option<Control>,
) -> bool {
    // Far more than a program tries: nobody waits for user space, and what the operator asks for is to happen.
    for _ in 0..100 {
        let Some((listed, next)) =
            read(memory, bucket, slot).and_then(|listed| next(&listed).map(|next| (listed, next)))
        else {
            return false;
        };
        if turn(memory, bucket, slot, &listed, next, (Swept::Cleared, now)) == Swept::Cleared {
            return true;
        }
    }
    false
}

/// Records the key of a protected flow that took the place of another in a flood, and so has none.
pub fn record_key<M: Memory>(memory: &M, spot: &Spot, key: &KeyWords, now: u32) {
    if let Some(mut hit) = find(memory, spot, now)
        && hit.control.0 & (PROTECTED | KEYED) == PROTECTED
    {
        super::change::record_key(memory, &mut hit, key);
    }
}

/// One exchange, and the marks that go with it. Without a key nobody knows whose they are: they stay, and
/// claim too much.
fn turn<M: Memory>(
    memory: &M,
    bucket: u32,
    slot: u32,
    listed: &Listed,
    next: Control,
    (swept, now): (Swept, u32),
) -> Swept {
    let Some(line) = memory.line(bucket) else {
        return Swept::Kept;
    };
    let (spot, choice) = whose(memory, bucket, listed);
    let mut hit = Hit { line, bucket, slot, choice, control: listed.control };
    let done = if next.has(USED) {
        let time = super::Time { now, renewal: 1 };
        super::change_once(memory, &spot, &mut hit, time, next) == super::Change::Done
    } else {
        clear(memory, &spot, &hit)
    };
    if done { swept } else { Swept::Kept }
}

fn whose<M: Memory>(memory: &M, bucket: u32, listed: &Listed) -> (Spot, u32) {
    let key = listed.key.unwrap_or_default();
    let spot = spot(memory, &key);
    let choice = if listed.key.is_some() {
        (0..4).find(|&choice| spot.bucket(choice) == bucket).unwrap_or(0)
    } else {
        0
    };
    (spot, choice)
}
