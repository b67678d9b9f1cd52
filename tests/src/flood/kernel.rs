//! The two `bpf(2)` commands that a flood needs. aya loads programs from objects only.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use bytemuck::{Pod, Zeroable, bytes_of};
use nix::libc;

use super::program::Instruction;

// Of `linux/bpf.h`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// Frames between two flushes of redirected ones. A veth queue has room for 256.
const BATCH: u32 = 64;

/// The part of `union bpf_attr` that loads a program.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
}

/// The part of `union bpf_attr` that runs a program.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct TestRun {
    program: i32,
    return_value: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    /// Nanoseconds of one run on average; written by the kernel.
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// Loads an XDP program.
pub(super) fn load_xdp(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut load = Load {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr().addr() as u64,
        license: c"Dual MIT/GPL".as_ptr().addr() as u64,
    };
    // SAFETY: `load` points to the program and to a constant string; the kernel copies both.
    let descriptor = unsafe { bpf(BPF_PROG_LOAD, &mut load)? };
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made the descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Runs a program on so many live copies of a frame, and returns the time of one on average.
pub(super) fn run_live(program: &OwnedFd, frame: &[u8], copies: u32) -> io::Result<Duration> {
    let mut run = TestRun {
        program: program.as_raw_fd(),
        data_size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        data_in: frame.as_ptr().addr() as u64,
        repeat: copies,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: BATCH,
        ..TestRun::default()
    };
    // SAFETY: `run` points to the frame alone, which the kernel reads.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut run)? };
    Ok(Duration::from_nanos(run.duration.into()))
}

/// # Safety
///
/// What `attributes` points to must be what `command` expects there.
unsafe fn bpf<A: Pod>(command: libc::c_long, attributes: &mut A) -> io::Result<libc::c_long> {
    let size = bytes_of(attributes).len();
    // SAFETY: the kernel reads and writes `size` bytes of `attributes`; any bits are valid in it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
