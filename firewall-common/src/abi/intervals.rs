//! The index of IPv4 addresses: IPv4 address → address class.
//!
//! Prefixes with classes cut the addresses into *intervals* of one class each. The upper half of an address is looked up
//! directly: there is an entry for each /16, which is its class if it has only one, or the number of a *node* otherwise. A
//! node has the sorted first addresses of up to 256 intervals, those of many /16s where each has few. Only a /16 of more
//! has a node of nodes. The compiler builds the index (`firewall-userspace/src/compile/intervals.rs`), and the programs
//! search it by [`class_in`].

use bytemuck::{Pod, Zeroable};

use super::Ipv4;
use crate::hint::hide;

/// Entries of a node.
pub const INTERVAL_NODE_ENTRIES: usize = ROW * ROW;

/// Bit of an entry's value: the rest is the index of a node, not an address class.
pub const CHILD_NODE: u32 = 1 << 31;

/// 16 numbers are one cache line.
const ROW: usize = 16;

/// The entries of 16 /16s, one after the other, by the upper 12 bits of an address.
pub type UpperHalves = [u32; ROW];

/// Lines of [`UpperHalves`].
pub const UPPER_HALF_LINES: u32 = 1 << 12;

/// Nodes from an entry to a class: as many as the intervals of all addresses of a /16 would take.
const MAX_DEPTH: usize = 2;

/// A node: sorted entries of a first address, in host order, and the value from there to the next entry.
///
/// A search reads three cache lines of it: of `row_starts`, of one row of `starts` and of the same row of `values`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct IntervalNode {
    row_starts: [u32; ROW],
    starts: [[u32; ROW]; ROW],
    values: [[u32; ROW]; ROW],
}

impl IntervalNode {
    /// A node of these entries, sorted by address; of up to [`INTERVAL_NODE_ENTRIES`].
    ///
    /// The rest is filled with 255.255.255.255 and the value of the last entry, so that this address finds it too.
    #[must_use]
    pub fn new(entries: &[(u32, u32)]) -> Self {
        let last = entries.last().map_or(0, |(_, value)| *value);
        let mut node =
            Self { row_starts: [u32::MAX; ROW], starts: [[u32::MAX; ROW]; ROW], values: [[last; ROW]; ROW] };
        for (row, entries) in entries.chunks(ROW).take(ROW).enumerate() {
            for (column, (start, value)) in entries.iter().enumerate() {
                node.starts[row][column] = *start;
                node.values[row][column] = *value;
            }
            node.row_starts[row] = node.starts[row][0];
        }
        node
    }

    /// The value at an address, which is not below the first entry's.
    #[inline(always)]
    fn value(&self, address: u64) -> u32 {
        let row = last_not_above(&self.row_starts, address);
        let column = last_not_above(&self.starts[row], address);
        self.values[row][column]
    }
}

/// Looks the class of an address up. Where a line or a node is missing the class is 0, which no rule names.
#[must_use]
#[inline(always)]
pub fn class_in<'a>(
    line: impl Fn(u32) -> Option<&'a UpperHalves>,
    node: impl Fn(u32) -> Option<&'a IntervalNode>,
    address: Ipv4,
) -> u32 {
    let address = address.0.get();
    let Some(line) = line(address >> 20) else {
        return 0;
    };
    let mut value = line[(address >> 16) as usize % ROW];
    // If the compiler knew that this is 32 bits it would make comparisons, and branches, of the subtractions below.
    let address = hide(address.into());
    for _ in 0..MAX_DEPTH {
        if value & CHILD_NODE == 0 {
            return value;
        }
        let Some(node) = node(value & !CHILD_NODE) else {
            return 0;
        };
        value = node.value(address);
    }
    if value & CHILD_NODE == 0 { value } else { 0 }
}

/// Where the last number stands that is not above `address`. The first one never counts as above.
///
/// Without branches, of which half would be mispredicted: a number is above where the difference borrows. The numbers
/// above are counted and subtracted by an exclusive or, because the compiler would multiply every summand of a plain
/// sum by the size of what is indexed.
#[inline(always)]
const fn last_not_above(numbers: &[u32; ROW], address: u64) -> usize {
    let mut above = 0;
    let mut index = 1;
    while index < ROW {
        above += address.wrapping_sub(numbers[index] as u64) >> 63;
        index += 1;
    }
    ((ROW as u64 - 1) ^ above) as usize
}

const _: () = {
    // A whole number of cache lines, and of the 8 bytes that elements of arrays are rounded to.
    assert!(size_of::<IntervalNode>() == 33 * 64);
    assert!(INTERVAL_NODE_ENTRIES.pow(MAX_DEPTH as u32) == 1 << 16);
    assert!(UPPER_HALF_LINES as usize * ROW == 1 << 16);
};
