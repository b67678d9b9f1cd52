//! The arrays of a table, and how large they are.

use bytemuck::{Pod, Zeroable};

use crate::abi::KeyWords;

/// Slots of a bucket.
pub const SLOTS: u32 = 4;

/// Buckets in which a flow may stand: one of the near part, two of the far part, one of the outer part.
pub const CHOICES: u32 = 4;

/// A slot: all that a packet needs of an established flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Slot {
    /// 64 of the 72 bits by which the key is known.
    pub fingerprint: u64,
    /// A [`Control`](super::Control).
    pub control: u64,
}

/// The slots of a bucket: one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Line {
    /// The slots.
    pub slots: [Slot; SLOTS as usize],
}

/// What handshakes, doubts and listings ask for besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Detail {
    /// Rule set that admitted the flow.
    pub rule_set: u32,
    /// Low 32 bits of the policy generation under which it was admitted.
    pub generation: u32,
    /// A [`Beside`](super::life::Beside).
    pub beside: u64,
}

/// The details of a bucket: one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Details {
    /// By slot.
    pub details: [Detail; SLOTS as usize],
}

/// The key of a slot's flow, if its control says that it is recorded: for listings and for questions about its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Record {
    /// The key.
    pub key: KeyWords,
}

/// Of the keyed hash: drawn once per table and kept as long as it, never shown. Five words for each of two NH (two 32-bit
/// numbers a word), then three odd multipliers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Secrets(pub [u64; 13]);

/// Sizes of the three parts, as powers of two of buckets. A flow takes the near one while there is room, so that few flows
/// lie on few cache lines; the others are for many flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Geometry {
    /// Of the near part.
    pub near_bits: u32,
    /// Of the far part.
    pub far_bits: u32,
    /// Of the outer part.
    pub outer_bits: u32,
}

/// What the constants of the programs are set from: pinned with the table, and the same as long as it lives.
#[derive(Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct TableParameters {
    /// Of the hash.
    pub secrets: Secrets,
    /// The sizes.
    pub geometry: Geometry,
    /// By how many bits jiffies are shifted to be units of time ([`time_shift`]).
    pub time_shift: u32,
}

/// Bytes of a slot in all arrays.
pub const BYTES_PER_SLOT: u64 = 16 + 2 + 16 + 40;

/// The shapes of a table, as bits by which its parts are larger than its smallest, so that their sum has four steps between
/// powers of two; and how many of 1024 places may hold protected flows before an insert is refused. Measured over 1 000 seeds
/// (`firewall-common/tests/flow_table/capacity.rs`).
const SHAPES: [([u32; 3], u64); 4] = [([0, 1, 0], 742), ([1, 1, 0], 730), ([1, 1, 1], 715), ([1, 2, 0], 715)];

/// The smallest part of the largest table: two billion slots.
const LARGEST: u32 = 26;

impl Geometry {
    /// The smallest table that refuses no insert below `entries` live protected flows. At most 128 bytes for each of them,
    /// from 1 024 on.
    #[must_use]
    pub const fn for_entries(entries: u32) -> Self {
        let mut bits = 2;
        loop {
            let mut shape = 0;
            while shape < SHAPES.len() {
                let ([near, far, outer], guaranteed) = SHAPES[shape];
                let table = Self { near_bits: bits + near, far_bits: bits + far, outer_bits: bits + outer };
                if table.slots() as u64 * guaranteed >= entries as u64 * 1024 {
                    return table;
                }
                shape += 1;
            }
            if bits == LARGEST {
                return Self { near_bits: bits, far_bits: bits, outer_bits: bits };
            }
            bits += 1;
        }
    }

    /// The largest number of entries for which [`Self::for_entries`] makes no larger table.
    #[must_use]
    pub const fn guaranteed(&self) -> u32 {
        // Of the shape whose guarantee is least, unless it is one of the others.
        let mut of_1024 = SHAPES[SHAPES.len() - 1].1;
        let mut shape = 0;
        while shape < SHAPES.len() {
            let ([near, far, outer], guaranteed) = SHAPES[shape];
            if self.near_bits + outer == self.outer_bits + near
                && self.far_bits + outer == self.outer_bits + far
            {
                of_1024 = guaranteed;
            }
            shape += 1;
        }
        (self.slots() as u64 * of_1024 / 1024) as u32
    }

    /// Buckets of all parts.
    #[must_use]
    #[inline(always)]
    pub const fn buckets(&self) -> u32 {
        (1 << self.near_bits) + (1 << self.far_bits) + (1 << self.outer_bits)
    }

    /// Slots of all parts.
    #[must_use]
    #[inline(always)]
    pub const fn slots(&self) -> u32 {
        self.buckets() * SLOTS
    }
}

/// By how much jiffies are shifted to be units of time: the least by which 32 bits of them last over 15 years.
#[must_use]
pub const fn time_shift(jiffies_per_second: u32) -> u32 {
    const FIFTEEN_YEARS: u64 = 15 * 365 * 86_400 + 4 * 86_400;
    let jiffies = FIFTEEN_YEARS * jiffies_per_second as u64;
    let mut shift = 0;
    while (jiffies >> shift) >> 32 != 0 {
        shift += 1;
    }
    shift
}

const _: () = {
    assert!(size_of::<Line>() == 64 && align_of::<Line>() == 64);
    assert!(size_of::<Details>() == 64);
    assert!(size_of::<Record>() == 40);
    assert!(size_of::<Secrets>() == 104);
    assert!(size_of::<Geometry>() == 12);
    assert!(size_of::<TableParameters>() == 120);
    assert!(time_shift(100) == 4 && time_shift(250) == 5 && time_shift(300) == 6 && time_shift(1000) == 7);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_guarantees_what_it_was_made_for_and_is_made_again_for_what_it_guarantees() {
        for entries in [1, 1024, 1071, 20_000, 262_144, 1_000_000, 16_777_216] {
            let table = Geometry::for_entries(entries);
            let guaranteed = table.guaranteed();
            assert!(guaranteed >= entries);
            assert_eq!(Geometry::for_entries(guaranteed), table);
            assert_ne!(Geometry::for_entries(guaranteed + 1), table);
        }
    }
}
