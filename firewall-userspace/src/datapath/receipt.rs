//! What a publisher leaves in the kernel for the next one, when no program works by the policy before any more.
//!
//! Every update of an outer map from user space ends with `synchronize_rcu` (`maybe_wait_bpf_programs` in the kernel),
//! so writing a slot that no program reads waits for all programs that run. The map that is written there is the
//! receipt: if it is present, seen under the lock of the writers, its writer has finished waiting. The system call does
//! not return before the grace period ends, not even when the process is killed.

use bytemuck::{Pod, Zeroable};
use firewall_common::abi::{BARRIER_SLOT, InterfaceSettings, MAX_INTERFACES, map};
use sha2::{Digest as _, Sha256};

use super::publish::Settings;
use super::wire::Wire;
use super::{Datapath, DatapathError, typed};
use crate::compile::CompiledPolicy;

/// Says what is in a table: no two contents have the same.
pub(super) type Digest = [u8; 32];

/// Where the receipt is in its map.
const INDEX: u32 = 0;

/// Proof that no program still uses the policy before this generation, plus a digest of what this generation's half
/// contains. Same size as [`InterfaceSettings`], because it is stored in a map of those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Receipt {
    /// The generation word.
    word: [u32; 2],
    /// Zeroes where it is not known.
    addresses_v6: Digest,
    unused: [u32; 14],
}

const _: () = assert!(size_of::<Receipt>() == size_of::<InterfaceSettings>());

impl Receipt {
    pub(super) fn new(word: u64, addresses_v6: Option<Digest>) -> Self {
        Self { word: bytemuck::cast(word), addresses_v6: addresses_v6.unwrap_or_default(), unused: [0; 14] }
    }

    /// Whether it was left for a generation word. That of a new map was left for none.
    pub(super) fn is_for(&self, word: u64) -> bool {
        word != 0 && self.word == bytemuck::cast::<u64, [u32; 2]>(word)
    }

    /// Whether the IPv6 table of the generation has what `digest` is of.
    pub(super) fn has_addresses_v6(&self, digest: &Digest) -> bool {
        self.addresses_v6 == *digest
    }
}

impl Datapath {
    /// Waits for all programs that run, and leaves a receipt.
    pub(super) fn leave(&self, receipt: Receipt) -> Result<(), DatapathError> {
        let error = DatapathError::in_map(map::SETTINGS);
        let mut settings = Settings::create(MAX_INTERFACES, 0).map_err(&error)?;
        settings.set(INDEX, Wire(bytemuck::cast(receipt)), 0).map_err(&error)?;
        self.put(map::SETTINGS, BARRIER_SLOT, &settings)
    }

    /// Waits for all programs that run, and leaves the receipt that there is.
    pub(super) fn wait_for_readers(&self) -> Result<(), DatapathError> {
        self.leave(self.receipt()?.unwrap_or_default())
    }

    /// The last receipt.
    pub(super) fn receipt(&self) -> Result<Option<Receipt>, DatapathError> {
        let Some(data) = self.inner_map(map::SETTINGS, BARRIER_SLOT)? else {
            return Ok(None);
        };
        let settings: Settings = typed(map::SETTINGS, data)?;
        let receipt = settings.get(&INDEX, 0).map_err(DatapathError::in_map(map::SETTINGS))?;
        Ok(Some(bytemuck::cast(receipt.0)))
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
