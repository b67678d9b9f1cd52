//! Hash maps walked many elements at a time, by bpf(2) itself: aya has none of it.
//!
//! Walking a map one element at a time takes two system calls for each; a batch takes one for thousands. Used by whoever reads
//! the flow tables of earlier versions.

use std::marker::PhantomData;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::{MapData, MapError};
use aya_obj::generated::{bpf_attr, bpf_cmd};
use bytemuck::Pod;
use nix::errno::Errno;
use nix::libc;

use super::DatapathError;

/// Elements of a batch. Buckets are never split, so it grows if a bucket has more.
const BATCH: usize = 4096;

/// A hash map of the kernel, LRU or not, with keys and values of plain data.
#[derive(Debug)]
pub(super) struct HashTable<K, V> {
    name: &'static str,
    data: MapData,
    elements: PhantomData<(K, V)>,
}

impl<K: Pod, V: Pod> HashTable<K, V> {
    /// A table over a map, which messages call `name`.
    pub(super) fn new(name: &'static str, data: MapData) -> Result<Self, DatapathError> {
        let error = DatapathError::in_map(name);
        let info = data.info().map_err(&error)?;
        // The kernel reads and writes as many bytes as the map says, so the types must be of the same sizes.
        for (size, expected) in [(info.key_size(), size_of::<K>()), (info.value_size(), size_of::<V>())] {
            if usize::try_from(size) != Ok(expected) {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                return Err(error(MapError::InvalidValueSize { size, expected }));
            }
        }
        Ok(Self { name, data, elements: PhantomData })
    }

    /// Calls `visit` with the keys and values of each batch. What is inserted or removed meanwhile may be missed or not;
    /// everything else is visited once.
    pub(super) fn each_batch(
        &self,
        mut visit: impl FnMut(&[K], &[V]) -> Result<(), DatapathError>,
    ) -> Result<(), DatapathError> {
        let (mut keys, mut values) = (vec![K::zeroed(); BATCH], vec![V::zeroed(); BATCH]);
        let mut position = None;
        loop {
            let (next, count, outcome) = self.lookup_batch(position, &mut keys, &mut values);
            match outcome {
                Ok(()) => position = Some(next),
                // The end of the table; there may be elements before it.
                Err(Errno::ENOENT) => return visit(&keys[..count], &values[..count]),
                // The next bucket does not fit: once more from the same place.
                Err(Errno::ENOSPC) => {
                    keys.resize(keys.len() * 2, K::zeroed());
                    values.resize(values.len() * 2, V::zeroed());
                    continue;
                }
                Err(errno) => return Err(self.error(errno)),
            }
            visit(&keys[..count], &values[..count])?;
        }
    }

    /// Fills the slices from `position`, or from the beginning. Returns the next position and how many were filled.
    fn lookup_batch(
        &self,
        position: Option<u32>,
        keys: &mut [K],
        values: &mut [V],
    ) -> (u32, usize, nix::Result<()>) {
        // Hash maps count their buckets in 32 bits.
        let (from, mut next) = (position.unwrap_or(0), 0_u32);
        let mut attributes = zeroed_attributes();
        // SAFETY: every field of a union of plain data may be written and read.
        let batch = unsafe { &mut attributes.batch };
        batch.in_batch = if position.is_some() { &raw const from as u64 } else { 0 };
        batch.out_batch = &raw mut next as u64;
        batch.keys = keys.as_mut_ptr() as u64;
        batch.values = values.as_mut_ptr() as u64;
        batch.count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        batch.map_fd = self.descriptor();
        // SAFETY: `keys` and `values` hold `count` elements of the map's sizes, the positions are 4 bytes as hash maps
        // want them, and all of them live until the call returns.
        let (attributes, outcome) = unsafe { bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, attributes) };
        // SAFETY: as above.
        let count = unsafe { attributes.batch.count };
        (next, usize::try_from(count).unwrap_or(usize::MAX).min(keys.len()), outcome)
    }

    fn descriptor(&self) -> u32 {
        descriptor(&self.data)
    }

    fn error(&self, errno: Errno) -> DatapathError {
        in_map(self.name, errno)
    }
}

fn descriptor(data: &MapData) -> u32 {
    data.fd().as_fd().as_raw_fd().cast_unsigned()
}

fn in_map(name: &'static str, errno: Errno) -> DatapathError {
    DatapathError::in_map(name)(MapError::IoError(errno.into()))
}

fn zeroed_attributes() -> bpf_attr {
    // SAFETY: a union of plain data, for which all-zero is valid. The kernel wants unused bytes to be 0.
    unsafe { std::mem::zeroed() }
}

/// bpf(2). Returns the attributes as the kernel left them.
///
/// # Safety
///
/// Every pointer in the attributes must point to what `command` reads or writes there.
unsafe fn bpf(command: bpf_cmd, mut attributes: bpf_attr) -> (bpf_attr, nix::Result<()>) {
    let size = size_of::<bpf_attr>();
    // SAFETY: the attributes are `size` bytes; what they point to is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as u32, &raw mut attributes, size) };
    (attributes, Errno::result(result).map(drop))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aya_obj::generated::bpf_map_type;
    use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH};

    use super::*;

    /// A table of so many elements, `None` where maps cannot be created.
    fn table(kind: bpf_map_type, capacity: u32) -> Option<HashTable<u32, u64>> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: this test needs root");
            return None;
        }
        let definition = aya_obj::Map::new_from_params(kind as u32, 4, 8, capacity, 0);
        let data = MapData::create(definition, "batch_test", None).unwrap();
        Some(HashTable::new("batch_test", data).unwrap())
    }

    /// Puts the elements into a map of the types' sizes, or a part of them where it fails.
    fn update_batch<K: Pod, V: Pod>(data: &MapData, keys: &[K], values: &[V]) -> nix::Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut attributes = zeroed_attributes();
        // SAFETY: every field of a union of plain data may be written.
        let batch = unsafe { &mut attributes.batch };
        batch.keys = keys.as_ptr() as u64;
        batch.values = values.as_ptr() as u64;
        batch.count = u32::try_from(keys.len().min(values.len())).unwrap_or(u32::MAX);
        batch.map_fd = descriptor(data);
        // SAFETY: `keys` and `values` hold `count` elements of the map's sizes, and live until the call returns.
        unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, attributes) }.1
    }

    fn contents(table: &HashTable<u32, u64>) -> BTreeMap<u32, u64> {
        let mut contents = BTreeMap::new();
        table
            .each_batch(|keys, values| {
                for (key, value) in keys.iter().zip(values) {
                    assert_eq!(contents.insert(*key, *value), None, "{key} was visited twice");
                }
                Ok(())
            })
            .unwrap();
        contents
    }

    #[test]
    fn every_element_is_visited_once_whether_there_are_none_or_many_batches() {
        for kind in [BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH] {
            let Some(table) = table(kind, 40_000) else { return };
            assert_eq!(contents(&table), BTreeMap::new());
            let expected: BTreeMap<u32, u64> = (0..10_000).map(|key| (key, u64::from(key) << 33)).collect();
            let (keys, values): (Vec<_>, Vec<_>) = expected.clone().into_iter().unzip();
            update_batch(&table.data, &keys, &values).unwrap();
            assert_eq!(contents(&table), expected);
        }
    }

    #[test]
    fn a_map_of_other_sizes_is_refused() {
        let Some(table) = table(BPF_MAP_TYPE_HASH, 1) else { return };
        assert!(HashTable::<u32, u32>::new("batch_test", table.data).is_err());
    }
}
