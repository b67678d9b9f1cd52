//! Arenas: the arrays that hold both halves of a policy, in memory.

use std::marker::PhantomData;

use aya::maps::MapError;
use bytemuck::Pod;
use firewall_common::abi::{HALVES, map};
use firewall_common::decide::Half;

use super::array::Mapped;
use super::{Datapath, DatapathError};

/// An arena, mapped into this process.
pub(super) struct Arena<T> {
    name: &'static str,
    elements: Mapped,
    elements_each: u32,
    of: PhantomData<T>,
}

impl<T: Pod> Arena<T> {
    /// How many elements a half has room for.
    pub(super) const fn elements_each(&self) -> u32 {
        self.elements_each
    }

    /// Writes a half, from its beginning. Nobody may read it meanwhile.
    pub(super) fn write(&self, half: Half, elements: &[T]) -> Result<(), DatapathError> {
        let fits = elements.len() <= self.elements_each as usize;
        if fits && self.elements.write(self.first(half), elements) {
            return Ok(());
        }
        let (needed, limit) = (elements.len(), self.elements_each as usize);
        Err(DatapathError::TooLarge { what: what(self.name), needed, limit })
    }

    /// So many elements of a half, which nobody may write meanwhile; all that there are, if these are fewer.
    pub(super) fn read(&self, half: Half, count: u32) -> &[T] {
        let count = count.min(self.elements_each) as usize;
        self.elements.read(self.first(half), count).unwrap_or_default()
    }

    /// Whether a half begins with these elements.
    pub(super) fn holds(&self, half: Half, elements: &[T]) -> bool {
        let count = u32::try_from(elements.len()).unwrap_or(u32::MAX);
        bytemuck::cast_slice::<T, u8>(self.read(half, count)) == bytemuck::cast_slice::<T, u8>(elements)
    }

    const fn first(&self, half: Half) -> usize {
        half.element(self.elements_each, 0) as usize
    }
}

impl Datapath {
    /// An arena, whatever its size.
    pub(super) fn arena<T: Pod>(&self, name: &'static str) -> Result<Arena<T>, DatapathError> {
        let error = DatapathError::in_map(name);
        let data = self.map_data(name)?;
        let size = data.info().map_err(&error)?.max_entries();
        if !size.is_multiple_of(HALVES) {
            return Err(error(MapError::InvalidValueSize {
                size: size as usize,
                expected: size as usize + 1,
            }));
        }
        let elements = Mapped::new(name, &data, size_of::<T>() / size_of::<u64>(), size)?;
        Ok(Arena { name, elements, elements_each: size / HALVES, of: PhantomData })
    }

    /// The half in force, unless nothing was ever published.
    pub(super) fn half_in_force(&self) -> Result<Option<Half>, DatapathError> {
        let generation = self.generation()?;
        Ok((generation != 0).then(|| Half::of_generation(generation)))
    }

    /// The sizes of the arenas that grow: elements of a half.
    pub(super) fn arena_sizes(&self) -> Result<Sizes, DatapathError> {
        let elements_each = |name| Ok::<_, DatapathError>(self.map_info(name)?.max_entries() / HALVES);
        Ok(Sizes {
            interval_nodes: elements_each(map::INTERVALS_V4)?,
            prefix_lines: elements_each(map::ADDRESSES_V6)?,
            cell_lines: elements_each(map::CELLS)?,
        })
    }
}

/// Elements of a half of each arena that grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) interval_nodes: u32,
    pub(super) prefix_lines: u32,
    pub(super) cell_lines: u32,
}

impl Sizes {
    /// By name of the arena.
    pub(super) const fn by_name(self) -> [(&'static str, u32); 3] {
        [
            (map::INTERVALS_V4, self.interval_nodes),
            (map::ADDRESSES_V6, self.prefix_lines),
            (map::CELLS, self.cell_lines),
        ]
    }
}

/// What the elements of an arena are, for messages.
pub(super) fn what(name: &str) -> &'static str {
    match name {
        map::INTERVALS_V4 => "nodes of IPv4 addresses",
        map::ADDRESSES_V6 => "lines of IPv6 prefixes",
        map::CELLS => "lines of cells (combinations of peers and services)",
        _ => "elements of a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::array::new_array;

    type Element = [u64; 3];

    /// `None` where maps cannot be created.
    fn arena(elements_each: u32) -> Option<Arena<Element>> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: this test needs root");
            return None;
        }
        let size = HALVES * elements_each;
        let data = new_array::<Element>(map::CELLS, size).unwrap();
        let elements = Mapped::new(map::CELLS, &data, 3, size).unwrap();
        Some(Arena { name: map::CELLS, elements, elements_each, of: PhantomData })
    }

    #[test]
    fn each_half_has_what_was_written_to_it() {
        let Some(arena) = arena(5) else { return };
        let halves = [0, 1].map(Half::of_generation);
        let elements = |first: u64| (first..first + 5).map(|number| [number; 3]).collect::<Vec<_>>();
        for (half, first) in halves.into_iter().zip([10, 20]) {
            arena.write(half, &elements(first)).unwrap();
        }
        assert_eq!(halves.map(|half| arena.read(half, 5).to_vec()), [elements(10), elements(20)]);
        arena.write(halves[1], &[[7; 3]]).unwrap();
        assert_eq!(arena.read(halves[0], 9), elements(10), "as many as there are");
        assert!(arena.holds(halves[1], &[[7; 3], [21; 3]]), "the rest is as it was");
        assert!(!arena.holds(halves[1], &elements(20)));
    }

    #[test]
    fn more_than_a_half_has_room_for_is_refused_and_changes_nothing() {
        let Some(arena) = arena(2) else { return };
        let halves = [0, 1].map(Half::of_generation);
        for half in halves {
            let error = arena.write(half, &[[1; 3]; 3]).unwrap_err();
            assert!(matches!(error, DatapathError::TooLarge { needed: 3, limit: 2, .. }), "{error}");
            assert!(!arena.holds(half, &[[1; 3]; 3]));
        }
        assert_eq!(halves.map(|half| arena.read(half, 2).to_vec()), [vec![[0; 3]; 2], vec![[0; 3]; 2]]);
    }
}
