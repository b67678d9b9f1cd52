//! ABI types as aya wants them.

use bytemuck::AnyBitPattern;

/// A type of the ABI as a key or value of an aya map.
///
/// aya has a trait of its own for plain data, which the ABI's crate cannot implement without depending on aya.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Wire<T>(pub(super) T);

// SAFETY: `repr(transparent)` over a type that bytemuck vouches for: no padding, every bit pattern valid.
unsafe impl<T: bytemuck::NoUninit + AnyBitPattern> aya::Pod for Wire<T> {}
