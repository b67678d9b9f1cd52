//! The flows that a CPU has seen last: what it remembers of them spares their next packets the flow table.

use bytemuck::{Pod, Zeroable};

use super::address::{Address, Ipv4, Ipv6};
use super::flow::FlowKey;

/// Slots of each CPU; a flow has one of them, by its key. They fit into a CPU's second-level cache beside everything else:
/// with more, flows at random find a slot that no cache has, which costs as much as it spares.
pub const RECENT_SLOTS: u32 = 1024;

/// What a CPU remembers of the flow that it has seen last in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct RecentFlow<A> {
    /// Its key. Of protocol 0, which no flow of TCP or UDP has, where the slot was never used.
    pub key: FlowKey<A>,
    /// The rest.
    pub seen: Seen,
}

/// What holds for the next packets of a recent flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Seen {
    /// The mark of the slot before the flow was looked up. It counts for nothing once another one is drawn.
    pub mark: u32,
    /// [`FlowEntry::last_seen`](super::FlowEntry::last_seen): a second later it has to be renewed.
    pub last_seen: u32,
}

// SAFETY: repr(C); 16 + 8 bytes at alignment 8, asserted below, so there is no padding, and each field is Pod.
unsafe impl Pod for RecentFlow<Ipv4> {}
// SAFETY: all-zero is valid for each field.
unsafe impl Zeroable for RecentFlow<Ipv4> {}
// SAFETY: repr(C); 40 + 8 bytes at alignment 8, asserted below, so there is no padding, and each field is Pod.
unsafe impl Pod for RecentFlow<Ipv6> {}
// SAFETY: all-zero is valid for each field.
unsafe impl Zeroable for RecentFlow<Ipv6> {}

macro_rules! seen_of {
    ($family:ty, $words:literal) => {
        impl RecentFlow<$family> {
            /// What is remembered of the flow `key`, if it is this one.
            #[must_use]
            #[inline(always)]
            pub fn seen_of(&self, key: &FlowKey<$family>) -> Option<Seen> {
                // As words, and without a branch for each: comparing fields costs the programs a branch per field, and
                // comparing bytes a load per byte.
                let [remembered, wanted]: [&[u64; $words]; 2] =
                    [bytemuck::cast_ref(&self.key), bytemuck::cast_ref(key)];
                let difference = remembered.iter().zip(wanted).fold(0, |all, (a, b)| all | (a ^ b));
                (difference == 0).then_some(self.seen)
            }
        }
    };
}

seen_of!(Ipv4, 2);
seen_of!(Ipv6, 5);

/// The slot of a flow, below [`RECENT_SLOTS`]. Whoever makes flows collide in it gains nothing but their time.
#[must_use]
#[inline(always)]
pub fn recent_slot<A: Address>(key: &FlowKey<A>) -> u32 {
    /// 2⁶⁴ divided by the golden ratio (Knuth, The Art of Computer Programming 3, §6.4).
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let ports = u64::from(key.local_port.get()) << 48 | u64::from(key.remote_port.get()) << 32;
    let folded = ports ^ key.local.fold() ^ key.remote.fold().rotate_left(16);
    (folded.wrapping_mul(GOLDEN) >> (u64::BITS - RECENT_SLOTS.ilog2())) as u32
}

const _: () = {
    assert!(RECENT_SLOTS.is_power_of_two());
    assert!(size_of::<RecentFlow<Ipv4>>() == 24);
    assert!(size_of::<RecentFlow<Ipv6>>() == 48);
};
