//! Killing a command between two of its steps, each of which is a system call by which it changes something, or having the
//! kernel refuse one of them.
//!
//! A tracer (ptrace(2)) counts the steps over all threads of the command, in the order in which they happen, and kills it
//! as it is about to take the one that was asked for. So nothing is left to chance: walking through the steps, a test sees
//! every state that a command can leave behind.

use std::io;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A kind of system call by which a command changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An element of a BPF map.
    MapUpdate,
    /// A pin or a link of BPF.
    Attachment,
    /// Any other call of bpf(2): what is made, opened or read.
    OtherBpf,
    /// A qdisc or a filter of TC.
    Filter,
    /// Bytes of a file.
    FileWrite,
    /// A file that is made durable.
    FileSync,
    /// A name of a file that goes or changes.
    FileName,
    /// The end of the process.
    Exit,
}

/// How a command ended that was to be killed before one of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// It was.
    KilledBefore(Step),
    /// By itself, with this code, after this step was refused.
    Refused(Step, i32),
    /// By itself, with this code: it has fewer steps.
    Ended(i32),
}

/// What becomes of a command at a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Interruption {
    /// It is killed before it.
    Kill,
    /// The kernel refuses it.
    Refuse(Errno),
}

/// Commands of bpf(2), of `linux/bpf.h`.
const MAP_UPDATES: [u64; 4] = [2, 3, 26, 27];
const ATTACHMENTS: [u64; 3] = [6, 28, 29];

/// Requests by netlink, of `linux/rtnetlink.h`: a qdisc or a filter that comes, goes or changes.
const FILTER_REQUESTS: [u16; 4] = [36, 37, 44, 45];

impl Step {
    /// What a system call with this first argument is.
    fn of(system_call: libc::c_long, argument: u64) -> Option<Self> {
        match system_call {
            libc::SYS_bpf if MAP_UPDATES.contains(&argument) => Some(Self::MapUpdate),
            libc::SYS_bpf if ATTACHMENTS.contains(&argument) => Some(Self::Attachment),
            libc::SYS_bpf => Some(Self::OtherBpf),
            libc::SYS_pwrite64 | libc::SYS_ftruncate => Some(Self::FileWrite),
            libc::SYS_fsync | libc::SYS_fdatasync => Some(Self::FileSync),
            libc::SYS_unlinkat | libc::SYS_renameat | libc::SYS_renameat2 => Some(Self::FileName),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_unlink | libc::SYS_rename => Some(Self::FileName),
            libc::SYS_exit_group => Some(Self::Exit),
            _ => None,
        }
    }
}

/// Runs a command and interrupts it at the step number `last`, counted from 0, of those of some kinds.
///
/// # Errors
///
/// When it cannot be started or traced.
pub(super) fn run(
    command: Command,
    kinds: &[Step],
    last: usize,
    interruption: Interruption,
) -> io::Result<Stepped> {
    // Tracees belong to a thread. On one that has no other children, whatever it waits for is of this command.
    let stepped = thread::scope(|scope| scope.spawn(|| trace(command, kinds, last, interruption)).join());
    stepped.unwrap_or_else(|panic| resume_unwind(panic))
}

fn trace(
    mut command: Command,
    kinds: &[Step],
    last: usize,
    interruption: Interruption,
) -> io::Result<Stepped> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: one system call, which neither allocates nor takes a lock, so that it may run between fork and exec.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let process = Pid::from_raw(command.spawn()?.id().cast_signed());
    // It stops when its program is there.
    waitpid(process, Some(WaitPidFlag::__WALL))?;
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(process, options)?;
    ptrace::syscall(process, None)?;
    let mut taken = 0;
    let mut killed_before = None;
    let mut refused = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD))? {
            WaitStatus::Exited(of, code) if of == process => {
                return Ok(refused.map_or(Stepped::Ended(code), |step| Stepped::Refused(step, code)));
            }
            WaitStatus::Signaled(of, signal, _) if of == process => {
                return killed_before
                    .map(Stepped::KilledBefore)
                    .ok_or_else(|| io::Error::other(format!("{signal} has ended it")));
            }
            // Of another thread, which the last one outlives.
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {}
            WaitStatus::PtraceSyscall(stopped) => {
                if let Some(step) = step(stopped)?.filter(|step| kinds.contains(step)) {
                    if taken == last {
                        match interruption {
                            Interruption::Kill => {
                                killed_before = killed_before.or(Some(step));
                                kill(process, Signal::SIGKILL)?;
                                continue;
                            }
                            Interruption::Refuse(errno) => {
                                refused = Some(step);
                                refuse(stopped, errno)?;
                            }
                        }
                    }
                    taken += 1;
                }
                go_on(stopped, None)?;
            }
            // How a new thread begins.
            WaitStatus::Stopped(stopped, Signal::SIGSTOP) => go_on(stopped, None)?,
            WaitStatus::Stopped(stopped, signal) => go_on(stopped, Some(signal))?,
            WaitStatus::PtraceEvent(stopped, ..) => go_on(stopped, None)?,
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    }
}

/// What a thread is about to do. `None` also at the end of a system call, and for a thread that was killed meanwhile.
fn step(thread: Pid) -> io::Result<Option<Step>> {
    let info = match ptrace::syscall_info(thread) {
        Err(Errno::ESRCH) => return Ok(None),
        info => info?,
    };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: `op` says that it is the entry of a system call.
    let entry = unsafe { info.u.entry };
    let system_call = libc::c_long::try_from(entry.nr).map_err(io::Error::other)?;
    if system_call == libc::SYS_sendto && is_about_filters(thread, entry.args[1])? {
        return Ok(Some(Step::Filter));
    }
    Ok(Step::of(system_call, entry.args[0]))
}

/// Has the kernel return an error in the place of the system call that a thread is about to make.
#[cfg(target_arch = "x86_64")]
fn refuse(thread: Pid, errno: Errno) -> io::Result<()> {
    /// Number of no system call: the kernel then returns what stands in the register.
    const NONE: u64 = u64::MAX;
    let mut registers = ptrace::getregs(thread)?;
    registers.orig_rax = NONE;
    registers.rax = (-i64::from(errno as i32)).cast_unsigned();
    Ok(ptrace::setregs(thread, registers)?)
}

#[cfg(not(target_arch = "x86_64"))]
fn refuse(_thread: Pid, _errno: Errno) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether what is sent is a request by netlink about filters: its type stands behind its length. Nothing else that `sgfw`
/// sends looks like one.
fn is_about_filters(thread: Pid, message: u64) -> io::Result<bool> {
    let word = match ptrace::read(thread, message as ptrace::AddressType) {
        Err(Errno::ESRCH) => return Ok(false),
        word => word?,
    };
    let bytes = word.to_ne_bytes();
    Ok(FILTER_REQUESTS.contains(&u16::from_ne_bytes([bytes[4], bytes[5]])))
}

fn go_on(thread: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::syscall(thread, signal) {
        // Killed meanwhile.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
