//! A table on the heap, for one thread. `firewall-common/tests/flow_table` and the fuzz targets stand on this file too.

use std::cell::{Cell, RefCell};

use firewall_common::abi::KEY_WORDS;
use firewall_common::flow_table::layout::SLOTS;
use firewall_common::flow_table::{Geometry, Memory};

/// An element: which array, and its first word there.
pub type At = (usize, usize);

const FILTERS: usize = 0;
const LINES: usize = 1;
const DETAILS: usize = 2;
const RECORDS: usize = 3;

/// The arrays of a table, in vectors.
#[derive(Debug)]
pub struct Heap {
    arrays: [RefCell<Vec<u64>>; 4],
    secrets: [u64; 13],
    geometry: Geometry,
    chance: Cell<u64>,
}

impl Heap {
    /// An empty table. Secrets and chance come from the seed.
    #[must_use]
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        let chance = Cell::new(seed);
        let mut secrets = [0; 13];
        secrets.fill_with(|| draw(&chance));
        secrets[10..].iter_mut().for_each(|multiplier| *multiplier |= 1);
        let buckets = geometry.buckets() as usize;
        let array = |words: usize| RefCell::new(vec![0; words]);
        let slots = buckets * SLOTS as usize;
        let arrays = [array(buckets), array(buckets * 8), array(buckets * 8), array(slots * KEY_WORDS)];
        Self { arrays, secrets, geometry, chance }
    }

    fn at(&self, array: usize, index: u32, words: usize) -> Option<At> {
        let first = index as usize * words;
        (first < self.arrays[array].borrow().len()).then_some((array, first))
    }
}

/// SplitMix64.
pub fn draw(state: &Cell<u64>) -> u64 {
    state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
    let mut z = state.get();
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

impl Memory for Heap {
    type Place = At;

    fn filter(&self, bucket: u32) -> Option<At> {
        self.at(FILTERS, bucket, 1)
    }

    fn line(&self, bucket: u32) -> Option<At> {
        self.at(LINES, bucket, 8)
    }

    fn details(&self, bucket: u32) -> Option<At> {
        self.at(DETAILS, bucket, 8)
    }

    fn record(&self, slot: u32) -> Option<At> {
        self.at(RECORDS, slot, KEY_WORDS)
    }

    fn load(&self, (array, first): At, word: u32) -> u64 {
        self.arrays[array].borrow()[first + word as usize]
    }

    fn load_after(&self, place: At, word: u32, _: u64) -> u64 {
        self.load(place, word)
    }

    fn store(&self, (array, first): At, word: u32, value: u64) {
        self.arrays[array].borrow_mut()[first + word as usize] = value;
    }

    fn store_tag(&self, filter: At, slot: u32, tag: u8) {
        let shift = 8 * slot;
        let word = self.load(filter, 0) & !(0xff << shift) | u64::from(tag) << shift;
        self.store(filter, 0, word);
    }

    fn publish(&self, place: At, word: u32, value: u64) {
        self.store(place, word, value);
    }

    fn compare_exchange(&self, place: At, word: u32, old: u64, new: u64) -> u64 {
        let was = self.load(place, word);
        if was == old {
            self.store(place, word, new);
        }
        was
    }

    fn secret(&self, word: usize) -> u64 {
        self.secrets[word]
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn random(&self) -> u32 {
        draw(&self.chance) as u32
    }
}
