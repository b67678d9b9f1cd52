//! The filter of a bucket: one word that says which flows may stand in it, and whether others stand further on.
//!
//! | bits | |
//! | --- | --- |
//! | 0–31 | a tag for each slot |
//! | 32–55 | until when flows that are not protected may stand in a later bucket of theirs, in eight units of time |
//! | 56–63 | how many protected flows stand in a later one; 255 for that many or more, and stays |
//!
//! So a mark lapses by itself, with the flows that it was made for, and nobody has to sweep after a flood. It never claims
//! too little: it is made before the flow can be found, extended before the flow is, and taken away after the flow has
//! ceased to be protected. What claims too much (an ended flow whose place another key has taken, a full count) costs a miss one
//! more filter, until user space has counted again.

use super::hash::Spot;
use super::memory::Memory;
use super::{ATTEMPTS, one_more};

const UNTIL_SHIFT: u32 = 32;
const UNTIL: u64 = 0xff_ffff;
const COUNT_SHIFT: u32 = 56;
const COUNT_FULL: u64 = 0xff;
/// Units of time in one of a mark.
const TIME_SHIFT: u32 = 3;

/// Whether a filter may hold a tag. Exact, for all four bytes at once.
#[inline(always)]
pub(super) const fn may_hold(filter: u64, tag: u8) -> bool {
    let x = filter as u32 ^ (tag as u32).wrapping_mul(0x0101_0101);
    !(((x & 0x7f7f_7f7f) + 0x7f7f_7f7f) | x) & 0x8080_8080 != 0
}

/// Whether flows of this bucket may stand in a later one of theirs.
#[inline(always)]
pub(super) const fn is_spilled(filter: u64, now: u32) -> bool {
    filter >> COUNT_SHIFT != 0 || left(filter, now) != 0
}

/// How much longer the mark of a filter holds. A mark that is older than half the range, 97 days, looks young again: that
/// costs one more filter. None is younger, because [`until`] sets none further ahead.
#[inline(always)]
const fn left(filter: u64, now: u32) -> u64 {
    let left = (filter >> UNTIL_SHIFT).wrapping_sub((now >> TIME_SHIFT) as u64) & UNTIL;
    if left > UNTIL / 2 { 0 } else { left }
}

/// What a flow asks of the filters before its own.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    /// It may live until then.
    Until(u32),
    /// It becomes protected.
    Protected,
    /// It is protected no more, and may live until then.
    Unprotected(u32),
    /// It was protected and is no more.
    Released,
}

/// Marks the buckets before `choice`. `false` if one could not be marked: what asked for it must not happen.
#[inline(always)]
pub(super) fn mark<M: Memory>(memory: &M, spot: &Spot, choice: u32, mark: Mark, now: u32) -> bool {
    (choice < 1 || mark_one(memory, spot.bucket(0), mark, now))
        && (choice < 2 || mark_one(memory, spot.bucket(1), mark, now))
        && (choice < 3 || mark_one(memory, spot.bucket(2), mark, now))
}

#[inline(always)]
fn mark_one<M: Memory>(memory: &M, bucket: u32, mark: Mark, now: u32) -> bool {
    let Some(filter) = memory.filter(bucket) else {
        return false;
    };
    let mut old = memory.load(filter, 0);
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        let new = marked(old, mark, now);
        if new == old {
            return true;
        }
        // The tags of the word are stored one by one by the owners of their slots; the exchange fails where one was.
        let was = memory.compare_exchange(filter, 0, old, new);
        if was == old {
            return true;
        }
        old = was;
        attempt = one_more(attempt);
    }
    false
}

#[inline(always)]
const fn marked(filter: u64, mark: Mark, now: u32) -> u64 {
    match mark {
        Mark::Until(end) => until(filter, end, now),
        Mark::Protected if filter >> COUNT_SHIFT == COUNT_FULL => filter,
        Mark::Protected => filter + (1 << COUNT_SHIFT),
        Mark::Unprotected(end) => until(released(filter), end, now),
        Mark::Released => released(filter),
    }
}

#[inline(always)]
const fn released(filter: u64) -> u64 {
    let count = filter >> COUNT_SHIFT;
    if count == 0 || count == COUNT_FULL { filter } else { filter - (1 << COUNT_SHIFT) }
}

/// Has the mark hold until `end`, if it does not yet.
#[inline(always)]
const fn until(filter: u64, end: u32, now: u32) -> u64 {
    let longest = UNTIL / 2;
    let asked = ((end >> TIME_SHIFT) as u64 + 1).wrapping_sub((now >> TIME_SHIFT) as u64);
    // 0 where that is negative, without a branch.
    let asked = asked & (asked >> 63).wrapping_sub(1);
    let wanted = if asked > longest { longest } else { asked };
    if wanted <= left(filter, now) {
        return filter;
    }
    let until = ((now >> TIME_SHIFT) as u64 + wanted) & UNTIL;
    filter & !(UNTIL << UNTIL_SHIFT) | until << UNTIL_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_each_byte_and_no_other() {
        for slot in 0..4 {
            assert!(may_hold(0x80 << (8 * slot), 0x80));
            assert!(!may_hold(0x81 << (8 * slot), 0x80));
        }
    }

    #[test]
    fn a_mark_lapses_with_the_flow_whatever_stood_there_before() {
        for before in [0, 1, 0x7f_ffff, 0x80_0000, 0xff_ffff] {
            for (now, end) in [(0, 8), (900, 1000), (0x07ff_0000, 0x07ff_fff0), (0xefff_0000, 0xf000_0000)] {
                let filter = marked(before << UNTIL_SHIFT, Mark::Until(end), now);
                assert!(is_spilled(filter, now) && is_spilled(filter, end - 1));
                assert_eq!(marked(filter, Mark::Until(end - 8), now), filter);
                if before == 0 {
                    assert!(!is_spilled(filter, end + 16));
                }
            }
        }
        assert!(!is_spilled(0, 0) && !is_spilled(0, 1000));
    }

    #[test]
    fn protected_flows_are_counted_and_a_full_count_stays() {
        let repeated = |filter, mark, times| (0..times).fold(filter, |filter, _| marked(filter, mark, 0));
        let filter = repeated(repeated(0, Mark::Protected, 3), Mark::Released, 2);
        assert!(is_spilled(filter, 1 << 20));
        assert!(!is_spilled(marked(filter, Mark::Unprotected(8), 0), 1 << 20));
        let filter = repeated(repeated(0, Mark::Protected, 300), Mark::Released, 300);
        assert!(is_spilled(filter, 1 << 20));
    }
}
