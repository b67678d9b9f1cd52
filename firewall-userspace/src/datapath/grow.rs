//! Larger arenas, for a policy that has outgrown those that there are.
//!
//! The policy in force moves first: each arena is copied, both halves as they are, and every program goes from one to the other
//! with no verdict changed. Only then is the idle half filled. Arenas never become smaller; their memory is free when the last
//! interface is detached.

use std::iter::zip;

use aya::maps::MapError;
use bytemuck::Pod;
use firewall_common::abi::{CellLine, HALVES, IntervalNode, PrefixLine, map};
use firewall_common::decide::Half;
use nix::errno::Errno;

use super::arena::{Arena, Sizes, what};
use super::array::new_array;
use super::error::errno_of_creation;
use super::{Datapath, DatapathError};

/// Of a half: what the kernel would take for more elements than it can count.
const MOST: u32 = 1 << 30;

impl Datapath {
    /// Makes the arenas larger that have not as much room as is needed. What is in force is so afterwards, and nobody works by
    /// the idle half.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NoMemory`] where the kernel has none, and others where it refuses a program; everything is as it was then.
    pub(super) fn grow(&self, needed: Sizes) -> Result<(), DatapathError> {
        let pairs = zip(self.arena_sizes()?.by_name(), needed.by_name());
        let outgrown: Vec<_> =
            pairs.filter(|(present, needed)| needed.1 > present.1).map(|(_, needed)| needed).collect();
        if outgrown.is_empty() {
            return Ok(());
        }
        let names: Vec<&'static str> = outgrown.iter().map(|(name, _)| *name).collect();
        let (replacement, ()) = self.replacement(&names, |beside| {
            outgrown.iter().try_for_each(|(name, needed)| match *name {
                map::INTERVALS_V4 => self.make_larger::<IntervalNode>(beside, name, *needed),
                map::ADDRESSES_V6 => self.make_larger::<PrefixLine>(beside, name, *needed),
                _ => self.make_larger::<CellLine>(beside, map::CELLS, *needed),
            })
        })?;
        replacement.put_in_place()?;
        replacement.forget()
    }

    /// Pins a larger arena beside, with what this instance's has.
    fn make_larger<T: Pod>(
        &self,
        beside: &Self,
        name: &'static str,
        needed: u32,
    ) -> Result<(), DatapathError> {
        let elements_each = room_for(needed);
        let data = new_array::<T>(name, HALVES * elements_each)
            .map_err(|error| refused(name, needed, elements_each, size_of::<T>(), error))?;
        beside.pin_map(name, &data)?;
        let (from, to): (Arena<T>, Arena<T>) = (self.arena(name)?, beside.arena(name)?);
        [0, 1].map(Half::of_generation).into_iter().try_for_each(|half| {
            let elements = from.read(half, from.elements_each());
            to.write(half, elements)
        })
    }
}

/// With an eighth of headroom at the least, in four steps between powers of two.
fn room_for(needed: u32) -> u32 {
    let wanted = needed.saturating_add(needed / 8);
    let step = (wanted.checked_next_power_of_two().unwrap_or(MOST) / 8).max(1);
    wanted.checked_next_multiple_of(step).unwrap_or(MOST).min(MOST)
}

fn refused(
    name: &'static str,
    needed: u32,
    elements_each: u32,
    element_bytes: usize,
    error: MapError,
) -> DatapathError {
    if !matches!(errno_of_creation(&error), Some(Errno::ENOMEM | Errno::E2BIG | Errno::EINVAL)) {
        return DatapathError::in_map(name)(error);
    }
    let bytes = u64::from(HALVES) * u64::from(elements_each) * element_bytes as u64;
    DatapathError::NoMemory { what: what(name), needed, mebibytes: bytes.div_ceil(1 << 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_arena_has_headroom_and_wastes_little() {
        assert_eq!([65, 100, 910, 911].map(room_for), [80, 112, 1024, 1024]);
        assert_eq!([1025, 3_000_000_000].map(room_for), [1280, MOST]);
        for needed in (65..100_000_u32).step_by(7).chain([1 << 20, 1 << 22]) {
            let room = room_for(needed);
            assert!(room >= needed + needed / 8 && room <= needed * 3 / 2, "{needed}: {room}");
        }
    }
}
