//! Hash tables in arrays, which are filled once and then only read: the cells, and the prefixes of IPv6.
//!
//! A table is an array of *lines*, one cache line each, with room for a few entries. An entry stands in the line that its
//! hash names, or in one of the next ones if that is full; a line that is not full ends the search. Nothing is ever taken
//! out. The compiler builds the tables (`firewall-userspace/src/compile/hashed.rs`), and the programs search them by
//! [`cell_in`] and [`class_in_v6`]. No call of the kernel is needed, and the publisher copies memory.
//!
//! Hashes are not keyed: what stands in a table is the operator's policy, and a packet can do no more than ask.

use bytemuck::{Pod, Zeroable};

use super::{Address as _, CellKey, Ipv6};
use crate::hint::forget;

/// How many lines are searched at most: the compiler makes a table larger until this is enough.
pub const LINES_SEARCHED: u32 = 8;

/// Cells of a line.
pub const CELLS_OF_LINE: usize = 5;

/// Some of the cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct CellLine {
    /// [`CellKey`]s as words; 0 for none. No policy has that number.
    keys: [u64; CELLS_OF_LINE],
    values: [u32; CELLS_OF_LINE],
    padding: u32,
}

/// Prefixes of a line.
pub const PREFIXES_OF_LINE: usize = 3;

/// Some of the prefixes of IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct PrefixLine {
    /// The first address of each, as the words of an [`Ipv6`].
    addresses: [[u64; 2]; PREFIXES_OF_LINE],
    /// The class of addresses of which no longer prefix is known.
    classes: [u32; PREFIXES_OF_LINE],
    /// 0 for none.
    lengths: [u8; PREFIXES_OF_LINE],
    padding: u8,
}

/// Elements of the tree of lengths.
pub const LENGTH_NODES: usize = 1 << LENGTH_TREE_DEPTH;

/// There are 128 lengths but 0: one step for the shortest one, and 7 of a binary search among the others.
const LENGTH_TREE_DEPTH: u32 = 8;

/// A prefix length of IPv6 in the tree of those that occur. Where a prefix of this length is found, longer ones are looked
/// for next, in element `2 n + 1`; where none is, shorter ones, in element `2 n`. The search begins with element 1.
///
/// Element 0 is not of the tree: there are the class of addresses without a prefix, and the number of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct LengthNode {
    /// Of an address as the words of an [`Ipv6`].
    mask: [u64; 2],
    /// 0 for none.
    length: u32,
    /// Of element 0.
    lines: u32,
}

impl CellLine {
    /// Puts a cell in; `false` if the line is full.
    pub fn insert(&mut self, key: &CellKey, value: u32) -> bool {
        let Some(free) = self.keys.iter().position(|key| *key == 0) else {
            return false;
        };
        self.keys[free] = key.word();
        self.values[free] = value;
        true
    }

    /// The cells, for whoever reads a policy back.
    pub fn values(&self) -> impl Iterator<Item = u32> {
        self.keys.iter().zip(self.values).filter(|(key, _)| **key != 0).map(|(_, value)| value)
    }
}

impl PrefixLine {
    /// Puts a prefix in, whose length is from 1 to 128; `false` if the line is full.
    pub fn insert(&mut self, address: &Ipv6, length: u8, class: u32) -> bool {
        let Some(free) = self.lengths.iter().position(|length| *length == 0) else {
            return false;
        };
        self.addresses[free] = address.words();
        self.classes[free] = class;
        self.lengths[free] = length;
        true
    }
}

impl LengthNode {
    /// Of a length from 1 to 128.
    #[must_use]
    pub const fn new(length: u8) -> Self {
        let mask = u128::MAX << (128 - length as u32);
        let [high, low] = [(mask >> 64) as u64, mask as u64];
        Self { mask: [high.to_be(), low.to_be()], length: length as u32, lines: 0 }
    }

    /// Of element 0, how many lines there are.
    #[must_use]
    pub const fn lines(&self) -> u32 {
        self.lines
    }

    /// Element 0.
    #[must_use]
    pub const fn root(class: u32, lines: u32) -> Self {
        Self { mask: [0; 2], length: class, lines }
    }
}

/// Looks the value of a cell up, in a table of so many lines; 0 if there is none.
#[must_use]
#[inline(always)]
pub fn cell_in<'a>(line: impl Fn(u32) -> Option<&'a CellLine>, lines: u32, key: u64) -> u32 {
    let mut index = first_line(cell_hash(key), lines);
    for _ in 0..LINES_SEARCHED {
        let Some(line) = line(index) else {
            return 0;
        };
        for (cell, known) in line.keys.iter().enumerate() {
            if *known == key {
                return line.values[cell];
            }
        }
        if line.keys[CELLS_OF_LINE - 1] == 0 {
            return 0;
        }
        index = line_behind(index, lines);
    }
    0
}

/// Looks the class of an IPv6 address up; 0 if no rule names it. `find` is [`prefix_in`] the table: of so many lines, a prefix
/// of that length.
///
/// A search over the lengths that occur (Waldvogel and others, 1997; the shortest one first): each prefix has left a mark at the shorter
/// lengths by which the search comes to it, with the class that addresses there have if nothing longer is found.
#[must_use]
#[inline(always)]
pub fn class_in_v6<'a>(
    node: impl Fn(u32) -> Option<&'a LengthNode>,
    find: impl Fn(u32, [u64; 2], u32) -> u32,
    address: [u64; 2],
) -> u32 {
    let Some(&LengthNode { length: mut class, lines, .. }) = node(0) else {
        return 0;
    };
    let mut index = 1;
    for _ in 0..LENGTH_TREE_DEPTH {
        let Some(node) = node(index) else {
            break;
        };
        if node.length == 0 {
            break;
        }
        let prefix = [address[0] & node.mask[0], address[1] & node.mask[1]];
        let found = find(lines, prefix, node.length);
        // The verifier would follow each way through the tree.
        index = forget(2 * index + (found != NO_PREFIX) as u32);
        if found != NO_PREFIX {
            class = found;
        }
    }
    class
}

/// No class has this number.
const NO_PREFIX: u32 = u32::MAX;

/// Looks a prefix up, in a table of so many lines. Its class, or [`u32::MAX`] if it is not there.
#[must_use]
#[inline(always)]
pub fn prefix_in<'a>(
    line: impl Fn(u32) -> Option<&'a PrefixLine>,
    lines: u32,
    prefix: [u64; 2],
    length: u32,
) -> u32 {
    let mut index = first_line(prefix_hash(prefix, length), lines);
    for _ in 0..LINES_SEARCHED {
        let Some(line) = line(index) else {
            break;
        };
        for (known, address) in line.addresses.iter().enumerate() {
            if *address == prefix && line.lengths[known] as u32 == length {
                return line.classes[known];
            }
        }
        if line.lengths[PREFIXES_OF_LINE - 1] == 0 {
            break;
        }
        index = line_behind(index, lines);
    }
    NO_PREFIX
}

/// Where the search for a cell begins, and where a compiler puts it if there is room.
#[must_use]
#[inline(always)]
pub const fn cell_hash(key: u64) -> u64 {
    mixed(key)
}

/// Where the search for a prefix begins.
#[must_use]
#[inline(always)]
pub const fn prefix_hash(address: [u64; 2], length: u32) -> u64 {
    mixed(address[0] ^ mixed(address[1].wrapping_add(length as u64)))
}

/// The line that a hash names.
#[must_use]
#[inline(always)]
pub const fn first_line(hash: u64, lines: u32) -> u32 {
    (((hash >> 32) * lines as u64) >> 32) as u32
}

/// The next line; behind the last one is the first.
#[must_use]
#[inline(always)]
pub const fn line_behind(line: u32, lines: u32) -> u32 {
    if line + 1 < lines { line + 1 } else { 0 }
}

/// Every bit changes the upper half. (The finalizer of `MurmurHash3`, without its last shift.)
#[inline(always)]
const fn mixed(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word.wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

const _: () = {
    assert!(size_of::<CellLine>() == 64);
    assert!(size_of::<PrefixLine>() == 64);
    assert!(size_of::<LengthNode>() == 24);
    assert!(LENGTH_NODES == 256);
};
