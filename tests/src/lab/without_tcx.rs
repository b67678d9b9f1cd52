//! A kernel without TCX, on one that has it.
//!
//! A filter of seccomp(2) gives `BPF_PROG_QUERY` the answer that such a kernel gives, EINVAL. So nothing in `sgfw` knows of
//! it.

use std::panic::resume_unwind;
use std::{io, thread};

use aya::programs::{SchedClassifier, TcAttachType};
use nix::libc;

/// The command of bpf(2), of `linux/bpf.h`.
const BPF_PROG_QUERY: u32 = 16;

/// Offsets in `struct seccomp_data`; of an argument the lower half.
const SYSTEM_CALL: u32 = 0;
const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };

/// Runs `scenario` on a thread for which, and for all that it starts, the kernel has no TCX.
///
/// # Panics
///
/// When `scenario` does, and when the kernel has no seccomp.
pub fn without_tcx(scenario: impl FnOnce() + Send) {
    let run = || {
        hide().unwrap_or_else(|error| panic!("cannot hide TCX: {error}"));
        scenario();
    };
    let result = thread::scope(|scope| scope.spawn(run).join());
    result.unwrap_or_else(|panic| resume_unwind(panic));
}

/// Whether this thread, and what it starts, can use TCX.
pub fn has_tcx() -> bool {
    SchedClassifier::query_tcx("lo", TcAttachType::Egress).is_ok()
}

/// For the rest of the thread's life.
fn hide() -> io::Result<()> {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let give = |answer| statement(libc::BPF_RET | libc::BPF_K, answer);
    // Skips what follows, up to the last statement, if it is another one.
    let is = |value, skipped| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: skipped,
        k: value,
    };
    let mut filter = [
        load(SYSTEM_CALL),
        is(libc::SYS_bpf as u32, 3),
        load(FIRST_ARGUMENT),
        is(BPF_PROG_QUERY, 1),
        give(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        give(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which `filter` outlives.
    let outcome = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}
