//! Array maps filled and read through memory, instead of by one system call for each element.
//!
//! Used for what is published in large arrays.

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
pub(super) const BPF_F_MMAPABLE: u32 = 1 << 10;

/// A new array with these elements, of which there is at least one. The flags must make it mappable.
pub(super) fn filled_array<T: Pod>(
    name: &'static str,
    elements: &[T],
    flags: u32,
) -> Result<MapData, DatapathError> {
    const { assert!(size_of::<T>().is_multiple_of(8), "the kernel rounds elements up to 8 bytes") };
    // More than can be counted the kernel refuses as too large.
    let size = u32::try_from(elements.len()).unwrap_or(u32::MAX);
    // By way of aya-obj, because aya's own array type does not give its file descriptor away.
    let definition = aya_obj::Map::new_from_params(
        BPF_MAP_TYPE_ARRAY as u32,
        size_of::<u32>() as u32,
        size_of::<T>() as u32,
        size,
        flags,
    );
    let array = MapData::create(definition, name, None).map_err(DatapathError::in_map(name))?;
    fill(&array, elements).map_err(|errno| DatapathError::in_map(name)(MapError::IoError(errno.into())))?;
    Ok(array)
}

/// Whether a mappable array has these elements and no others.
pub(super) fn array_holds<T: Pod>(
    name: &'static str,
    array: &MapData,
    elements: &[T],
) -> Result<bool, DatapathError> {
    let info = array.info().map_err(DatapathError::in_map(name))?;
    // What is mapped must be there, or reading it would kill the process.
    if info.max_entries() as usize != elements.len() || info.value_size() as usize != size_of::<T>() {
        return Ok(false);
    }
    is_equal(array, elements).map_err(|errno| DatapathError::in_map(name)(MapError::IoError(errno.into())))
}

/// The elements of a mappable array.
pub(super) fn array_elements<T: Pod>(name: &'static str, array: &MapData) -> Result<Vec<T>, DatapathError> {
    let error = DatapathError::in_map(name);
    let info = array.info().map_err(&error)?;
    let size = info.value_size() as usize;
    if size != size_of::<T>() {
        return Err(error(MapError::InvalidValueSize { size, expected: size_of::<T>() }));
    }
    let mut elements = vec![T::zeroed(); info.max_entries() as usize];
    let copied = with_bytes(array, size_of_val(elements.as_slice()), |bytes| {
        bytemuck::cast_slice_mut::<T, u8>(&mut elements).copy_from_slice(bytes);
    });
    copied.map_err(|errno| error(MapError::IoError(errno.into())))?;
    Ok(elements)
}

fn is_equal<T: Pod>(array: &MapData, elements: &[T]) -> Result<bool, Errno> {
    with_bytes(array, size_of_val(elements), |bytes| bytes == bytemuck::cast_slice::<T, u8>(elements))
}

/// Maps an array that has so many bytes, and lets them be read.
fn with_bytes<R>(array: &MapData, length: usize, read: impl FnOnce(&[u8]) -> R) -> Result<R, Errno> {
    let length = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let memory =
        unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, array.fd().as_fd(), 0)? };
    // SAFETY: the mapping is `length` bytes and page-aligned. Published maps are not written any more, and any bytes are
    // valid bytes.
    let outcome = read(unsafe { std::slice::from_raw_parts(memory.cast::<u8>().as_ptr(), length.get()) });
    // SAFETY: nothing refers to the mapping any more.
    unsafe { munmap(memory, length.get())? };
    Ok(outcome)
}

fn fill<T: Pod>(array: &MapData, elements: &[T]) -> Result<(), Errno> {
    let length = NonZeroUsize::new(size_of_val(elements)).ok_or(Errno::EINVAL)?;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let memory =
        unsafe { mmap(None, length, ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, array.fd().as_fd(), 0)? };
    // SAFETY: the mapping is `length` bytes, as many as the elements are, page-aligned, and nothing else refers to it.
    unsafe {
        std::ptr::copy_nonoverlapping(elements.as_ptr(), memory.cast::<T>().as_ptr(), elements.len());
        munmap(memory, length.get())
    }
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

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is of this length, and nothing refers to it any more. Failing leaves it for the process's end.
        let _ = unsafe { munmap(self.memory.cast(), self.words * size_of::<u64>()) };
    }
}
