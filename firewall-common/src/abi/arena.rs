//! Arenas: arrays that hold both halves of a policy, one behind the other.
//!
//! The programs read one half while a publisher writes the other. Of some arenas a half has always the same size. The size of
//! the others is a constant of the programs; a policy that outgrows them gets larger ones, and programs that know their size. What a half does not need of its room is left as it was.

/// Halves of an arena.
pub const HALVES: u32 = 2;

/// Nodes of IPv4 intervals that a half of a new instance has room for: those of 8 000 prefixes that lie close together.
pub const LEAST_INTERVAL_NODES: u32 = 1 << 6;

/// Lines of IPv6 prefixes that a half of a new instance has room for: those of 1 000 to 2 000 prefixes.
pub const LEAST_PREFIX_LINES: u32 = 1 << 10;

/// Lines of cells that a half of a new instance has room for: those of 3 400 cells.
pub const LEAST_CELL_LINES: u32 = 1 << 10;

/// Words of a receipt.
pub const RECEIPT_WORDS: usize = 5;
