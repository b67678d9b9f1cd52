//! Moving a flow on.

use super::{ATTEMPTS, one_more};
use super::control::{Control, END, IDENTITY, KEYED, PROTECTED, VERSIONS};
use super::find::Hit;
use super::hash::Spot;
use super::layout::KEY_WORDS;
use super::marks::{Mark, mark};
use super::memory::Memory;

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The flow stands as it does now; [`Hit::control`] says how.
    Done,
    /// The slot holds another flow, or none.
    Gone,
    /// Other CPUs were faster each time; see [`ATTEMPTS`].
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

/// Changes the control of a flow to what `next` makes of it. Where another CPU was faster, `next` is asked again, with
/// what stands there now, as long as it is the same flow: no transition overwrites another that it has not seen.
///
/// An end of life that moves by less than `renewal` is not written, so that an established flow costs no dirty line per
/// packet.
#[inline(always)]
pub fn change<M: Memory>(
    memory: &M,
    spot: &Spot,
    hit: &mut Hit<M::Place>,
    time: Time,
    mut next: impl FnMut(Control) -> Control,
) -> Change {
    let mut result = Change::Contended;
    let mut announced = Announced { until: 0, counted: false };
    let mut old = hit.control;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let new = next(old);
        if (old.0 ^ new.0) & !END == 0 && new.end().wrapping_sub(old.end()) < time.renewal {
            result = Change::Done;
            break;
        }
        if hit.choice != 0 {
            // Before the flow lives longer, the filters before it say so. Once: a flow that another CPU has made such meanwhile
            // that they would have to say more is left as it is.
            if attempt == 0 && !announce(memory, spot, hit.choice, (old, new), time.now, &mut announced) {
                break;
            }
            if !announced.covers(old, new) {
                break;
            }
        }
        let was = Control(memory.compare_exchange(hit.line, hit.control_word(), old.0, new.0));
        if was == old {
            if hit.choice != 0 {
                withdraw(memory, spot, hit.choice, (old, new), time.now, announced);
            }
            hit.control = new;
            return Change::Done;
        }
        if (was.0 ^ old.0) & IDENTITY != 0 {
            result = Change::Gone;
            break;
        }
        old = was;
        attempt = one_more::<M>(attempt);
    }
    if announced.counted {
        // For nothing: another CPU has protected the flow, or it is gone.
        mark(memory, spot, hit.choice, Mark::Released, time.now);
    }
    hit.control = old;
    result
}

/// What the filters before a flow have been told of it.
#[derive(Clone, Copy)]
struct Announced {
    /// It may live until then, unprotected.
    until: u32,
    /// It may become protected.
    counted: bool,
}

impl Announced {
    #[inline(always)]
    const fn covers(self, old: Control, new: Control) -> bool {
        if new.has(PROTECTED) {
            return old.has(PROTECTED) || self.counted;
        }
        // What ceases to be protected is marked afterwards: its count stands until then.
        old.has(PROTECTED) || new.end() <= old.end() || new.end() <= self.until
    }
}

#[inline(always)]
fn announce<M: Memory>(
    memory: &M,
    spot: &Spot,
    choice: u32,
    (old, new): (Control, Control),
    now: u32,
    announced: &mut Announced,
) -> bool {
    if old.has(PROTECTED) {
        return true;
    }
    announced.counted = new.has(PROTECTED);
    announced.until = new.end();
    let what = if new.has(PROTECTED) { Mark::Protected } else { Mark::Until(new.end()) };
    mark(memory, spot, choice, what, now)
}

/// After a change: takes back what does not hold any more.
#[inline(always)]
fn withdraw<M: Memory>(
    memory: &M,
    spot: &Spot,
    choice: u32,
    (old, new): (Control, Control),
    now: u32,
    announced: Announced,
) {
    let ceases = old.has(PROTECTED) && !new.has(PROTECTED);
    let for_nothing = announced.counted && (old.has(PROTECTED) || !new.has(PROTECTED));
    // If both, one count too many stays, which claims too much.
    if ceases || for_nothing {
        mark(memory, spot, choice, Mark::Unprotected(new.end()), now);
    }
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
        attempt = one_more::<M>(attempt);
    }
    Change::Contended
}

/// Records the key of a flow that has none yet: of a protected one, whose slot nobody takes meanwhile.
#[inline(always)]
pub(super) fn record_key<M: Memory>(
    memory: &M,
    hit: &mut Hit<M::Place>,
    key: &[u64; KEY_WORDS],
    is_ipv6: bool,
) {
    if write_key(memory, hit.index(), key, is_ipv6) {
        flag(memory, hit, |control| control.with(KEYED));
    }
}

#[inline(always)]
pub(super) fn write_key<M: Memory>(
    memory: &M,
    index: u32,
    key: &[u64; KEY_WORDS],
    is_ipv6: bool,
) -> bool {
    let Some(record) = memory.record(index) else {
        return false;
    };
    if is_ipv6 {
        memory.store(record, 0, key[0]);
        memory.store(record, 1, key[1]);
        memory.store(record, 2, key[2]);
        memory.store(record, 4, key[4] | super::layout::KEY_IS_IPV6);
    } else {
        memory.store(record, 4, key[4]);
    }
    memory.store(record, 3, key[3]);
    true
}
