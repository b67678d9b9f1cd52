//! What a publisher leaves in the kernel for the next one, when no program works by the policy before any more.
//!
//! Every update of a map of maps from user space ends with `synchronize_rcu` (`maybe_wait_bpf_programs` in the kernel), so
//! writing one that no program reads waits for all programs that run. The receipt is written after that: if it is for the
//! generation word that is found, seen under the lock of the writers, somebody has finished waiting.

use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, MapData};
use bytemuck::{Pod, Zeroable};
use firewall_common::abi::{RECEIPT_WORDS, map};
use sha2::{Digest as _, Sha256};

use super::array::new_array;
use super::wire::Wire;
use super::{Datapath, DatapathError};
use crate::compile::CompiledPolicy;

/// Says what is in a table: no two contents have the same.
pub(super) type Digest = [u8; 32];

/// Where the receipt is in its map, and the map in the barrier.
const INDEX: u32 = 0;

/// Proof that no program still uses the policy before this generation, plus a digest of what this generation's half
/// contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Receipt {
    /// The generation word.
    word: u64,
    /// Zeroes where it is not known.
    addresses_v6: Digest,
}

const _: () = assert!(size_of::<Receipt>() == RECEIPT_WORDS * size_of::<u64>());

impl Receipt {
    pub(super) fn new(word: u64, addresses_v6: Option<Digest>) -> Self {
        Self { word, addresses_v6: addresses_v6.unwrap_or_default() }
    }

    /// Whether it was left for a generation word. That of a new map was left for none.
    pub(super) const fn is_for(&self, word: u64) -> bool {
        word != 0 && self.word == word
    }

    /// Whether the IPv6 table of the generation has what `digest` is of.
    pub(super) fn has_addresses_v6(&self, digest: &Digest) -> bool {
        self.addresses_v6 == *digest
    }
}

impl Datapath {
    /// Waits for all programs that run, and leaves a receipt.
    pub(super) fn leave(&self, receipt: Receipt) -> Result<(), DatapathError> {
        self.wait_for_readers()?;
        let mut receipts: Array<MapData, Wire<Receipt>> = self.map(map::RECEIPT)?;
        receipts.set(INDEX, Wire(receipt), 0).map_err(DatapathError::in_map(map::RECEIPT))
    }

    /// Waits for all programs that run.
    pub(super) fn wait_for_readers(&self) -> Result<(), DatapathError> {
        // Any map of its kind would do.
        let receipts: Array<MapData, Wire<Receipt>> = self.map(map::RECEIPT)?;
        let mut barrier: ArrayOfMaps<MapData, _> = self.map(map::BARRIER)?;
        barrier.set(INDEX, &receipts, 0).map_err(DatapathError::in_map(map::BARRIER))
    }

    /// The last receipt.
    pub(super) fn receipt(&self) -> Result<Receipt, DatapathError> {
        let receipts: Array<MapData, Wire<Receipt>> = self.map(map::RECEIPT)?;
        let Wire(receipt) = receipts.get(&INDEX, 0).map_err(DatapathError::in_map(map::RECEIPT))?;
        Ok(receipt)
    }

    /// Makes the map of receipts, and pins it.
    pub(super) fn pin_receipt(&self) -> Result<(), DatapathError> {
        let receipts = new_array::<Receipt>(map::RECEIPT, 1).map_err(DatapathError::in_map(map::RECEIPT))?;
        self.pin_map(map::RECEIPT, &receipts)
    }
}

/// What tells the IPv6 addresses of a policy from those of another one.
pub(super) fn digest_v6(policy: &CompiledPolicy) -> Digest {
    let mut hash = Sha256::new();
    for (prefix, class) in &policy.addresses_v6 {
        hash.update([prefix.prefix_len()]);
        hash.update(prefix.network().octets());
        hash.update(class.to_le_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_for_its_word_alone_and_an_empty_one_for_none() {
        let receipt = Receipt::new(7, None);
        assert!(receipt.is_for(7));
        assert!(!receipt.is_for(8));
        assert!(!receipt.is_for(7 | 1 << 63), "confirmed since");
        assert!(!Receipt::default().is_for(0), "nothing was ever published");
    }

    #[test]
    fn the_digest_tells_prefixes_lengths_and_classes_apart() {
        let digest = |addresses: &[(&str, u32)]| {
            let addresses_v6 =
                addresses.iter().map(|(prefix, class)| (prefix.parse().unwrap(), *class)).collect();
            digest_v6(&CompiledPolicy {
                interfaces: Vec::new(),
                addresses_v4: Vec::new(),
                addresses_v6,
                services: Vec::new(),
                cells: Vec::new(),
            })
        };
        let one = digest(&[("2001:db8::/32", 1)]);
        assert_eq!(one, digest(&[("2001:db8::/32", 1)]));
        for other in [&[("2001:db8::/33", 1)][..], &[("2001:db9::/32", 1)], &[("2001:db8::/32", 2)], &[]] {
            assert_ne!(one, digest(other));
        }
        assert_ne!(digest(&[]), Digest::default(), "which stands for what is not known");
    }
}
