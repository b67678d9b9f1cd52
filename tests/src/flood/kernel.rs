//! The `bpf(2)` commands that small programs made of instructions need. aya loads programs from objects only.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use bytemuck::{Pod, Zeroable, bytes_of};
use nix::libc;

use super::program::Instruction;
use crate::lab::IngressHook;

// Of `linux/bpf.h`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
/// Of `linux/if_link.h`: in the driver, or not at all.
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
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

/// The part of `union bpf_attr` that attaches a program to a device.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct LinkCreate {
    program: i32,
    device: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    expected_revision: u64,
}

/// Loads a program for a hook.
pub(super) fn load(program: &[Instruction], hook: IngressHook) -> io::Result<OwnedFd> {
    let mut load = Load {
        program_type: match hook {
            IngressHook::Xdp => BPF_PROG_TYPE_XDP,
            IngressHook::Tc => BPF_PROG_TYPE_SCHED_CLS,
        },
        instruction_count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr().addr() as u64,
        license: c"Dual MIT/GPL".as_ptr().addr() as u64,
    };
    // SAFETY: `load` points to the program and to a constant string; the kernel copies both.
    unsafe { new_descriptor(BPF_PROG_LOAD, &mut load) }
}

/// Attaches a program to a device of the caller's namespace, until the link is closed.
pub(super) fn attach(program: &OwnedFd, hook: IngressHook, device: u32) -> io::Result<OwnedFd> {
    let (attach_type, flags) = match hook {
        IngressHook::Xdp => (BPF_XDP, XDP_FLAGS_DRV_MODE),
        IngressHook::Tc => (BPF_TCX_INGRESS, 0),
    };
    let program = program.as_raw_fd();
    let mut create = LinkCreate { program, device, attach_type, flags, ..LinkCreate::default() };
    // SAFETY: `create` has no pointers.
    unsafe { new_descriptor(BPF_LINK_CREATE, &mut create) }
}

/// Runs a program on so many live copies of a frame, and returns the time of one on average.
pub(super) fn run_live(program: &OwnedFd, frame: &[u8], copies: u32) -> io::Result<Duration> {
    let live = TestRun { flags: BPF_F_TEST_XDP_LIVE_FRAMES, batch_size: BATCH, ..TestRun::default() };
    test_run(program, frame, copies, live)
}

/// Runs a program on a frame so many times, and returns the time of one run on average.
pub(super) fn run(program: &OwnedFd, frame: &[u8], times: u32) -> io::Result<Duration> {
    test_run(program, frame, times, TestRun::default())
}

fn test_run(program: &OwnedFd, frame: &[u8], times: u32, options: TestRun) -> io::Result<Duration> {
    let mut run = TestRun {
        program: program.as_raw_fd(),
        data_size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        data_in: frame.as_ptr().addr() as u64,
        repeat: times,
        ..options
    };
    // SAFETY: `run` points to the frame alone, which the kernel reads.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut run)? };
    Ok(Duration::from_nanos(run.duration.into()))
}

/// As [`bpf`], for commands that return a new descriptor.
///
/// # Safety
///
/// As of [`bpf`].
unsafe fn new_descriptor<A: Pod>(command: libc::c_long, attributes: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller has seen to it.
    let descriptor = unsafe { bpf(command, attributes)? };
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made the descriptor; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
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
