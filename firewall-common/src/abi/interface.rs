//! Which interface a packet is on.

use super::MAX_INTERFACES;

/// Value of the programs' `SLOT` for those that decide for any interface: they find its slot by its index.
pub const ANY_SLOT: u32 = u32::MAX;

/// Slot under which is counted what is dropped of interfaces without an entry.
pub const UNKNOWN_INTERFACE: u32 = MAX_INTERFACES;

/// Lines of the table of interfaces.
pub const INTERFACE_LINES: u32 = 256;

/// Entries of a line, which is a line of the CPU's cache.
pub const INTERFACE_LINE_ENTRIES: usize = 8;

/// An interface that programs decide for. One word, so that nobody sees half of it; 0 is none, for no interface has index 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct InterfaceEntry(pub u64);

impl InterfaceEntry {
    /// No interface.
    pub const NONE: Self = Self(0);

    const HAS_NO_HEADER: u64 = 1 << 48;

    /// `index` is that of the interface in its network namespace; `slot` is below [`MAX_INTERFACES`]; `has_ethernet` says whether
    /// its frames begin with an Ethernet header.
    #[must_use]
    pub const fn new(index: u32, slot: u32, has_ethernet: bool) -> Self {
        let header = if has_ethernet { 0 } else { Self::HAS_NO_HEADER };
        Self(index as u64 | (slot as u64 & 0xffff) << 32 | header)
    }

    /// The line that the entry of an interface stands in, wherever there is room.
    #[must_use]
    #[inline(always)]
    pub const fn line(index: u32) -> u32 {
        index % INTERFACE_LINES
    }

    /// The interface's entry, if it is among those of its line.
    #[must_use]
    #[inline(always)]
    pub fn find(line: &[u64; INTERFACE_LINE_ENTRIES], index: u32) -> Option<Self> {
        macro_rules! try_each {
            ($($at:literal)*) => {
                $(if line[$at] as u32 == index {
                    return Some(Self(line[$at]));
                })*
            };
        }
        try_each!(0 1 2 3 4 5 6 7);
        None
    }

    /// Index of the interface.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// Its slot in the maps.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }

    /// Whether its frames begin with an Ethernet header.
    #[must_use]
    #[inline(always)]
    pub const fn has_ethernet(self) -> bool {
        self.0 & Self::HAS_NO_HEADER == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_what_it_was_made_from() {
        for index in [1, 2, u32::MAX >> 1] {
            for (slot, has_ethernet) in [(0, true), (MAX_INTERFACES - 1, false)] {
                let entry = InterfaceEntry::new(index, slot, has_ethernet);
                assert_eq!((entry.index(), entry.slot(), entry.has_ethernet()), (index, slot, has_ethernet));
            }
        }
    }

    #[test]
    fn it_is_found_wherever_it_stands_in_its_line() {
        let entry = InterfaceEntry::new(7, 3, true);
        for at in 0..INTERFACE_LINE_ENTRIES {
            let mut line = [InterfaceEntry::new(7 + INTERFACE_LINES, 4, true).0; INTERFACE_LINE_ENTRIES];
            line[at] = entry.0;
            assert_eq!(InterfaceEntry::find(&line, 7), Some(entry));
            assert_eq!(InterfaceEntry::find(&line, 7 + 2 * INTERFACE_LINES), None);
        }
    }
}
