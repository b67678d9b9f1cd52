//! Access to the arrays of a table, wherever they live.

use super::layout::Geometry;

/// Where an element of one of the arrays begins: a pointer in programs and user space, an index in a model.
pub trait Place: Copy {}
impl<T: Copy> Place for T {}

/// The arrays, the constants of a table, and chance.
///
/// All accesses are to aligned words of 64 bits, and none tears. Only three of them order anything:
/// [`Self::compare_exchange`] is a full barrier if it succeeds and orders nothing if it fails, [`Self::publish`] comes after
/// all stores before it, [`Self::load_after`] comes after the load that it names. On x86-64 the last two are plain; on arm64
/// a program publishes by an exchange and orders loads by a dependency of the address, user space by release and acquire.
pub trait Memory {
    /// See [`Place`].
    type Place: Place;

    /// The filter of a bucket: one word.
    fn filter(&self, bucket: u32) -> Option<Self::Place>;

    /// The line of a bucket: (fingerprint, control) of four slots.
    fn line(&self, bucket: u32) -> Option<Self::Place>;

    /// The details of a bucket: two words for each of four slots.
    fn details(&self, bucket: u32) -> Option<Self::Place>;

    /// The record of a slot: the five words of its key.
    fn record(&self, slot: u32) -> Option<Self::Place>;

    /// Word `word` of an element; callers keep it below eight by a mask that the verifier sees.
    fn load(&self, place: Self::Place, word: u32) -> u64;

    /// The same, after the load that gave `earlier`.
    fn load_after(&self, place: Self::Place, word: u32, earlier: u64) -> u64;

    /// Stores a word that only its owner writes.
    fn store(&self, place: Self::Place, word: u32, value: u64);

    /// Stores one of the four tags of a filter, whose other bytes others may write meanwhile.
    fn store_tag(&self, filter: Self::Place, slot: u32, tag: u8);

    /// Stores a word after everything that was stored before.
    fn publish(&self, place: Self::Place, word: u32, value: u64);

    /// Stores `new` if the word is `old`, and returns what it was.
    fn compare_exchange(&self, place: Self::Place, word: u32, old: u64, new: u64) -> u64;

    /// A word of [`Secrets`](super::Secrets).
    fn secret(&self, word: usize) -> u64;

    /// The sizes of the parts.
    fn geometry(&self) -> Geometry;

    /// A number that nobody outside can foretell.
    fn random(&self) -> u32;
}
