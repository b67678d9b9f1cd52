//! Moving a flow on.

use super::control::{Control, END, IDENTITY, KEYED, PROTECTED, VERSIONS};
use super::find::Hit;
use super::hash::Spot;
use super::marks::{Mark, mark};
use super::memory::Memory;
use super::{ATTEMPTS, one_more};
use crate::abi::{KEY_IS_IPV6, KeyWords};

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The flow stands as it does now; [`Hit::control`] says how.
    Done,
    /// The slot holds another flow, or none.
    Gone,
    /// Another CPU was faster, and [`Hit::control`] is what it has made of the flow: worth another try, [`ATTEMPTS`] in all.
    Contended,
}

/// The time of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// In units of time.
    pub now: u32,
    /// By how much an end of life must move to be written, at least 1.
    pub renewal: u32,
}

/// Changes the control of a flow from what was seen to `new`, in one exchange: no transition overwrites another that it has
/// not seen. One try; programs look the flow up anew for the next, in a function that the verifier looks at once.
///
/// An end of life that moves by less than the renewal is not written, so that an established flow costs no dirty line per
/// packet.
#[inline(always)]
pub fn change_once<M: Memory>(
    memory: &M,
    spot: &Spot,
    hit: &mut Hit<M::Place>,
    time: Time,
    new: Control,
) -> Change {
    let old = hit.control;
    if (old.0 ^ new.0) & !END == 0 && new.end().wrapping_sub(old.end()) < time.renewal {
        return Change::Done;
    }
    let (was_protected, is_protected) = (old.has(PROTECTED), new.has(PROTECTED));
    if hit.choice != 0 && !was_protected {
        // Before the flow lives longer, the filters before it say so. What is protected has said so already, and says until
        // afterwards that it is.
        let what = if is_protected { Mark::Protected } else { Mark::Until(new.end()) };
        if !mark(memory, spot, hit.choice, what, time.now) {
            return Change::Contended;
        }
    }
    let was = Control(memory.compare_exchange(hit.line, hit.control_word(), old.0, new.0));
    let is_done = was == old;
    if hit.choice != 0
        && if is_done { was_protected && !is_protected } else { is_protected && !was_protected }
    {
        // It is protected no more; or was not made so here, and has been counted for nothing.
        let until = if is_done { new.end() } else { time.now };
        mark(memory, spot, hit.choice, Mark::Unprotected(until), time.now);
    }
    hit.control = if is_done { new } else { was };
    if is_done {
        Change::Done
    } else if (was.0 ^ old.0) & IDENTITY != 0 {
        Change::Gone
    } else {
        Change::Contended
    }
}

/// The same to what `next` makes of what stands there, worked out again as often as another CPU was faster.
#[inline(always)]
pub fn change<M: Memory>(
    memory: &M,
    spot: &Spot,
    hit: &mut Hit<M::Place>,
    time: Time,
    mut next: impl FnMut(Control) -> Control,
) -> Change {
    for _ in 1..ATTEMPTS {
        let new = next(hit.control);
        match change_once(memory, spot, hit, time, new) {
            Change::Contended => {}
            ended => return ended,
        }
    }
    let new = next(hit.control);
    change_once(memory, spot, hit, time, new)
}

/// Gives the slot of a flow back, if it still is as it was seen. The tag stays, until the next flow's takes its place; it
/// does no harm.
#[inline(always)]
pub fn clear<M: Memory>(memory: &M, spot: &Spot, hit: &Hit<M::Place>) -> bool {
    let seen = hit.control;
    if memory.compare_exchange(hit.line, hit.control_word(), seen.0, seen.0 & VERSIONS) != seen.0 {
        return false;
    }
    if hit.choice != 0 && seen.has(PROTECTED) {
        mark(memory, spot, hit.choice, Mark::Released, 0);
    }
    true
}

/// Changes flags that say nothing about the flow's life or worth, so that no filter need know; otherwise as [`change`].
#[inline(always)]
pub(super) fn flag<M: Memory>(
    memory: &M,
    hit: &mut Hit<M::Place>,
    mut next: impl FnMut(Control) -> Control,
) -> Change {
    let mut old = hit.control;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let new = next(old);
        let was = Control(memory.compare_exchange(hit.line, hit.control_word(), old.0, new.0));
        if was == old {
            hit.control = new;
            return Change::Done;
        }
        if (was.0 ^ old.0) & IDENTITY != 0 {
            return Change::Gone;
        }
        old = was;
        attempt = one_more(attempt);
    }
    Change::Contended
}

/// Records the key of a flow that has none yet: of a protected one, whose slot nobody takes meanwhile.
#[inline(always)]
pub(super) fn record_key<M: Memory>(memory: &M, hit: &mut Hit<M::Place>, key: &KeyWords) {
    if write_key(memory, hit.index(), key) {
        flag(memory, hit, |control| control.with(KEYED));
    }
}

#[inline(always)]
pub(super) fn write_key<M: Memory>(memory: &M, index: u32, key: &KeyWords) -> bool {
    let Some(record) = memory.record(index) else {
        return false;
    };
    // An IPv4 flow leaves the first three as they are; nobody reads them.
    if key[4] & KEY_IS_IPV6 != 0 {
        memory.store(record, 0, key[0]);
        memory.store(record, 1, key[1]);
        memory.store(record, 2, key[2]);
    }
    memory.store(record, 3, key[3]);
    memory.store(record, 4, key[4]);
    true
}
