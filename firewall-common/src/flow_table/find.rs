//! Looking a flow up.

use super::control::{Control, IDENTITY, PENDING, PRINT, USED};
use super::hash::Spot;
use super::layout::SLOTS;
use super::marks::{is_spilled, may_hold};
use super::memory::Memory;

/// A flow that was found.
#[derive(Clone, Copy, Debug)]
pub struct Hit<P> {
    /// The line that it stands in.
    pub line: P,
    /// Its bucket.
    pub bucket: u32,
    /// Its slot in the bucket.
    pub slot: u32,
    /// Which of its buckets that is.
    pub choice: u32,
    /// Its control when it was found.
    pub control: Control,
}

impl<P: Copy> Hit<P> {
    /// The slot's number in the whole table.
    #[inline(always)]
    pub const fn index(&self) -> u32 {
        self.bucket * SLOTS + (self.slot & 3)
    }

    /// The word of the line that is its control.
    #[inline(always)]
    pub const fn control_word(&self) -> u32 {
        (self.slot & 3) * 2 + 1
    }
}

/// Finds the flow of a key, ended or not; its control says which.
///
/// No flow is missed: its tag stands in the filter before it is published, the marks of the buckets before say so before
/// that, and tags are overwritten only by the next owner of the slot. None is mistaken for another: control, fingerprint and
/// control again are read in this order, and the version in control changes with each flow of the slot.
#[inline(always)]
pub fn find<M: Memory>(memory: &M, spot: &Spot, now: u32) -> Option<Hit<M::Place>> {
    macro_rules! choice {
        ($choice:literal, $filter:expr) => {
            let filter = $filter;
            if may_hold(filter, spot.tag) {
                let bucket = spot.bucket($choice);
                let line = memory.line(bucket)?;
                if let Some((slot, control)) = in_line(memory, line, spot) {
                    return Some(Hit { line, bucket, slot, choice: $choice, control });
                }
            }
            if !is_spilled(filter, now) {
                return None;
            }
        };
    }
    let filter = |choice| Some(memory.load(memory.filter(spot.bucket(choice))?, 0));
    choice!(0, filter(0)?);
    // At once, so that their cache misses do not come one after the other.
    let (far, farther, outer) = (filter(1)?, filter(2)?, filter(3)?);
    choice!(1, far);
    choice!(2, farther);
    if !may_hold(outer, spot.tag) {
        return None;
    }
    let bucket = spot.bucket(3);
    let line = memory.line(bucket)?;
    let (slot, control) = in_line(memory, line, spot)?;
    Some(Hit { line, bucket, slot, choice: 3, control })
}

#[inline(always)]
fn in_line<M: Memory>(memory: &M, line: M::Place, spot: &Spot) -> Option<(u32, Control)> {
    macro_rules! slot {
        ($slot:literal) => {
            let control = memory.load(line, $slot * 2 + 1);
            let fingerprint = memory.load_after(line, $slot * 2, control);
            let other = (fingerprint ^ spot.fingerprint) | differs(control, spot);
            if other == 0 && (memory.load_after(line, $slot * 2 + 1, fingerprint) ^ control) & IDENTITY == 0 {
                return Some(($slot, Control(control)));
            }
        };
    }
    slot!(0);
    slot!(1);
    slot!(2);
    slot!(3);
    None
}

/// Zero where a control is that of a published flow with the print of `spot`.
#[inline(always)]
pub(super) const fn differs(control: u64, spot: &Spot) -> u64 {
    (control ^ (spot.print | USED)) & (PRINT | USED | PENDING)
}
