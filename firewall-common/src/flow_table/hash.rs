//! Where a flow may stand, and what it is known by.
//!
//! Two NH (RFC 4418) of secrets of their own make 128 bits, in which two keys, whoever chose them, agree with a chance of
//! 2^-64. The first one, mixed, chooses buckets and tag; both together make the fingerprint.

use super::control::PRINT_SHIFT;
use super::layout::Geometry;
use super::memory::Memory;
use crate::abi::{KEY_IS_IPV6, KeyWords};
use bytemuck::{Pod, Zeroable};

/// A key, hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Spot {
    near: u32,
    far: u32,
    farther: u32,
    outer: u32,
    /// In the slot.
    pub fingerprint: u64,
    /// Eight more bits, where they stand in the control word.
    pub print: u64,
    /// What the filter knows the flow by, 1 to 255.
    pub tag: u8,
    /// Always 0.
    pub padding: [u8; 7],
}

impl Spot {
    /// The bucket of a choice. By branches: the verifier then knows each for an index below the size of the arrays.
    #[inline(always)]
    #[must_use]
    pub const fn bucket(&self, choice: u32) -> u32 {
        match choice {
            0 => self.near,
            1 => self.far,
            2 => self.farther,
            _ => self.outer,
        }
    }
}

/// Hashes a key.
#[inline(always)]
pub fn spot<M: Memory>(memory: &M, key: &KeyWords) -> Spot {
    let sum = |first: usize| {
        let mut sum = nh(key[3], memory.secret(first + 3)).wrapping_add(nh(key[4], memory.secret(first + 4)));
        if key[4] & KEY_IS_IPV6 != 0 {
            sum = sum
                .wrapping_add(nh(key[0], memory.secret(first)))
                .wrapping_add(nh(key[1], memory.secret(first + 1)))
                .wrapping_add(nh(key[2], memory.secret(first + 2)));
        }
        sum
    };
    let (a, b) = (sum(0), sum(5));
    let mixed = mix(memory, a);
    // A second word, for the large parts need more bits than one has left.
    let more = mix(memory, b);
    place(memory.geometry(), mixed, more, b ^ a.wrapping_mul(memory.secret(12)))
}

/// Has each bit of the sum depend on all above it too; NH alone leaves keys that are close to each other close.
#[inline(always)]
fn mix<M: Memory>(memory: &M, sum: u64) -> u64 {
    let mut mixed = sum ^ sum >> 32;
    mixed = mixed.wrapping_mul(memory.secret(10));
    mixed ^= mixed >> 29;
    mixed = mixed.wrapping_mul(memory.secret(11));
    mixed ^ mixed >> 32
}

#[inline(always)]
const fn place(geometry: Geometry, mixed: u64, more: u64, fingerprint: u64) -> Spot {
    let (near_size, far_size) = (1 << geometry.near_bits, 1 << geometry.far_bits);
    let outer_size = 1u32 << geometry.outer_bits;
    let far = (mixed >> 24) as u32 & (far_size - 1);
    // Odd, so that the other one is another one.
    let step = (more >> 32) as u32 & (far_size - 1) | 1;
    let tag = (mixed >> 56) as u8;
    Spot {
        near: mixed as u32 & (near_size - 1),
        far: near_size + far,
        farther: near_size + (far ^ step),
        outer: near_size + far_size + ((more >> 20) as u32 & (outer_size - 1)),
        tag: if tag == 0 { 1 } else { tag },
        fingerprint,
        print: (more >> 12 & 0xff) << PRINT_SHIFT,
        padding: [0; 7],
    }
}

/// One step of NH: 32 by 32 bits.
#[inline(always)]
const fn nh(word: u64, secret: u64) -> u64 {
    let low = (word as u32).wrapping_add(secret as u32);
    let high = ((word >> 32) as u32).wrapping_add((secret >> 32) as u32);
    (low as u64).wrapping_mul(high as u64)
}
