//! Array maps in memory, instead of by one system call for each element.

use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use aya::maps::{MapData, MapError};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use bytemuck::Pod;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::DatapathError;

/// Flag of `BPF_MAP_CREATE` (`linux/bpf.h`).
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// A new mappable array, of zeroes.
pub(super) fn new_array<T: Pod>(name: &'static str, elements: u32) -> Result<MapData, MapError> {
    const { assert!(size_of::<T>().is_multiple_of(8), "the kernel rounds elements up to 8 bytes") };
    // By way of aya-obj, because aya's own array type does not give its file descriptor away.
    let definition = aya_obj::Map::new_from_params(
        BPF_MAP_TYPE_ARRAY as u32,
        size_of::<u32>() as u32,
        size_of::<T>() as u32,
        elements,
        BPF_F_MMAPABLE,
    );
    MapData::create(definition, name, None)
}

/// An array map in the memory of this process.
pub(super) struct Mapped {
    memory: NonNull<AtomicU64>,
    words: usize,
    words_each: usize,
}

impl Mapped {
    pub(super) fn new(
        name: &'static str,
        data: &MapData,
        words_each: usize,
        elements: u32,
    ) -> Result<Self, DatapathError> {
        let error = DatapathError::in_map(name);
        let info = data.info().map_err(&error)?;
        let expected = words_each * size_of::<u64>() * elements as usize;
        let size = info.value_size() as usize * info.max_entries() as usize;
        // What is mapped must be there, or reading it would kill the process.
        if size != expected {
            return Err(error(MapError::InvalidValueSize { size, expected }));
        }
        let io_error = |errno: Errno| error(MapError::IoError(errno.into()));
        let length = NonZeroUsize::new(size).ok_or(io_error(Errno::EINVAL))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, data.fd().as_fd(), 0) };
        let memory = memory.map_err(io_error)?.cast();
        Ok(Self { memory, words: words_each * elements as usize, words_each })
    }

    pub(super) fn element(&self, index: u32) -> Option<usize> {
        let first = index as usize * self.words_each;
        (first < self.words).then_some(first)
    }

    pub(super) const fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, holds as many words, lives as long as `self`, and all its bytes are valid. Whoever
        // else writes it does so by whole aligned words, or by the bytes of tags, which no access here tears.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.words) }
    }
}

/// What nobody else writes at the same time, copied or compared as plain memory.
impl Mapped {
    /// Writes elements to where number `first` begins. Whoever reads them meanwhile may see any part of it; `false` if they do not
    /// fit.
    pub(super) fn write<T: Pod>(&self, first: usize, elements: &[T]) -> bool {
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        let Some(place) = self.bytes(first * size_of::<T>(), bytes.len()) else {
            return false;
        };
        // SAFETY: there are so many bytes, which are not in memory of Rust's.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
        true
    }

    /// The elements from number `first` on, of which nobody writes any now. `None` if there are not so many.
    pub(super) fn read<T: Pod>(&self, first: usize, count: usize) -> Option<&[T]> {
        const { assert!(align_of::<T>() <= 8, "elements of arrays are aligned to 8 bytes") };
        let place = self.bytes(first * size_of::<T>(), count * size_of::<T>())?;
        // SAFETY: there are so many bytes, aligned like that, which live as long as `self`, and any bytes are elements.
        Some(unsafe { std::slice::from_raw_parts(place.cast().as_ptr(), count) })
    }

    fn bytes(&self, first: usize, count: usize) -> Option<NonNull<u8>> {
        let end = first.checked_add(count)?;
        // SAFETY: it is within the mapping.
        (end <= self.words * size_of::<u64>()).then(|| unsafe { self.memory.cast::<u8>().add(first) })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is of this length, and nothing refers to it any more. Failing leaves it for the process's end.
        let _ = unsafe { munmap(self.memory.cast(), self.words * size_of::<u64>()) };
    }
}
