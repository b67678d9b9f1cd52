//! One network namespace: how it is made, entered and deleted. Hosts and the router are namespaces.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::Signal;

/// Where `ip netns` keeps namespaces.
pub(super) const DIRECTORY: &str = "/run/netns";

/// A named network namespace, deleted on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes the namespace. Addresses in it are usable at once: nothing waits for duplicate address detection.
    pub(super) fn create(name: String) -> Result<Self> {
        super::run(Command::new("ip").args(["netns", "add", &name]), "")?;
        let path = Path::new(DIRECTORY).join(&name);
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let namespace = Self { name, file };
        namespace.configure("net/ipv6/conf/default/accept_dad", "0")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` and `sgfw --netns` take it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` in the namespace, on a thread of its own: a namespace belongs to a thread, and threads that
    /// `work` starts inherit it.
    ///
    /// # Panics
    ///
    /// When `work` does, and when the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .unwrap_or_else(|error| panic!("cannot enter the namespace {}: {error}", self.name));
                work()
            });
            thread.join()
        });
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// A command that will run in the namespace, and die with the thread that starts it.
    ///
    /// It enters with `setns` where `ip netns exec` would also mount a new `/sys`, which hides bpffs.
    ///
    /// # Panics
    ///
    /// When no more files can be opened.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let namespace =
            self.file.try_clone().unwrap_or_else(|error| panic!("cannot open {}: {error}", self.name));
        let mut command = Command::new(program);
        let enter = move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: `enter` makes two system calls. It neither allocates nor takes a lock, so it may run between fork
        // and exec.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs several `ip` commands in the namespace, one a line.
    ///
    /// # Errors
    ///
    /// When one of them fails.
    pub fn ip_batch(&self, commands: &str) -> Result<()> {
        super::run(Command::new("ip").args(["-netns", &self.name, "-batch", "-"]), commands).map(drop)
    }

    /// Sets a sysctl of the namespace, named by its path under `/proc/sys`.
    ///
    /// # Errors
    ///
    /// When the kernel does not know it, or refuses the value.
    pub fn configure(&self, sysctl: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(sysctl);
        let written: io::Result<()> = self.run(|| fs::write(&path, value));
        written.with_context(|| format!("cannot write {value} to {} in {}", path.display(), self.name))
    }

    /// Makes it a router.
    ///
    /// # Errors
    ///
    /// As [`Self::configure`].
    pub fn forward(&self) -> Result<()> {
        self.configure("net/ipv4/ip_forward", "1")?;
        self.configure("net/ipv6/conf/all/forwarding", "1")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Takes away the name of a namespace. The namespace ends with its last process and socket.
pub(super) fn delete(name: &str) {
    if let Err(error) = super::run(Command::new("ip").args(["netns", "delete", name]), "") {
        eprintln!("cannot clean up: {error:#}");
    }
}
