//! A table that several threads work on, with a switch of threads at each access. `tests/tests/schedules.rs` stands on this
//! file too.

use std::sync::Arc;

use shuttle::sync::atomic::{AtomicU64, Ordering};

use firewall_common::abi::KEY_WORDS;
use firewall_common::flow_table::{Geometry, Memory};

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// An exchange is a load and a store.
    TornExchange,
}

/// The arrays of one table. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    words: Arc<[AtomicU64]>,
    geometry: Geometry,
    fault: Fault,
}

impl Shared {
    pub(crate) fn new(geometry: Geometry, fault: Fault) -> Self {
        let buckets = geometry.buckets() as usize;
        let words = (0..buckets * (1 + 8 + 8 + 4 * KEY_WORDS)).map(|_| AtomicU64::new(0)).collect();
        Self { words, geometry, fault }
    }
}

impl Memory for Shared {
    type Place = usize;

    fn filter(&self, bucket: u32) -> Option<usize> {
        Some(bucket as usize)
    }

    fn line(&self, bucket: u32) -> Option<usize> {
        Some(self.geometry.buckets() as usize + bucket as usize * 8)
    }

    fn details(&self, bucket: u32) -> Option<usize> {
        Some((self.geometry.buckets() * 9 + bucket * 8) as usize)
    }

    fn record(&self, slot: u32) -> Option<usize> {
        Some((self.geometry.buckets() * 17) as usize + slot as usize * KEY_WORDS)
    }

    fn load(&self, place: usize, word: u32) -> u64 {
        self.words[place + word as usize].load(Ordering::SeqCst)
    }

    fn load_after(&self, place: usize, word: u32, _: u64) -> u64 {
        self.load(place, word)
    }

    fn store(&self, place: usize, word: u32, value: u64) {
        self.words[place + word as usize].store(value, Ordering::SeqCst);
    }

    fn store_tag(&self, filter: usize, slot: u32, tag: u8) {
        let shift = 8 * slot;
        let with = |word: u64| Some(word & !(0xff << shift) | u64::from(tag) << shift);
        self.words[filter].fetch_update(Ordering::SeqCst, Ordering::SeqCst, with).unwrap();
    }

    fn publish(&self, place: usize, word: u32, value: u64) {
        self.store(place, word, value);
    }

    fn compare_exchange(&self, place: usize, word: u32, old: u64, new: u64) -> u64 {
        if self.fault == Fault::TornExchange {
            let was = self.load(place, word);
            if was == old {
                self.store(place, word, new);
            }
            return was;
        }
        let atomic = &self.words[place + word as usize];
        atomic.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).unwrap_or_else(|was| was)
    }

    fn secret(&self, word: usize) -> u64 {
        0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(word as u64 * 2 + 1) | 1
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn random(&self) -> u32 {
        0
    }
}
