//! A program that runs beside the test: a server, a client under load, `sgfw log`.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long a program gets to end by itself once it was asked to.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait for something that a program does.
const DEADLINE: Duration = Duration::from_secs(10);

/// A running program and its process group, ended on drop.
#[derive(Debug)]
pub struct Process {
    command: String,
    child: Child,
    log: File,
}

impl Process {
    /// Starts `command`. What it writes is kept for [`Self::log`].
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let line = format!("{command:?}");
        let fail = |error: std::io::Error| -> ! { panic!("cannot start {line}: {error}") };
        let log = tempfile::tempfile().unwrap_or_else(|error| fail(error));
        let [stdout, stderr] = [(); 2].map(|()| log.try_clone().unwrap_or_else(|error| fail(error)));
        let child = command.process_group(0).stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        let child = child.unwrap_or_else(|error| fail(error));
        Self { command: line, child, log }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the program has written so far, to either stream.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        // The descriptor shares its position with the program's, so that it must be read through another one.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.log));
        let read = File::open(path).and_then(|mut file| {
            file.rewind()?;
            file.read_to_end(&mut text)
        });
        match read {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("(unreadable: {error})"),
        }
    }

    /// Waits until `ready` answers true.
    ///
    /// # Panics
    ///
    /// With what the program wrote, when it ends before that or takes longer than ten seconds.
    #[track_caller]
    pub fn wait_until(&mut self, mut ready: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !ready(self) {
            let ended = self.child.try_wait().ok().flatten();
            let failed = ended.is_some() || start.elapsed() > DEADLINE;
            assert!(!failed, "{} is not ready ({ended:?})\n{}", self.command, self.log());
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the program to end by itself, and returns how it did and what it wrote.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn wait(mut self) -> (ExitStatus, String) {
        match self.child.wait() {
            Ok(status) => (status, self.log()),
            Err(error) => panic!("cannot wait for {}: {error}", self.command),
        }
    }

    /// Sends `signal` to the program and its children.
    pub fn signal(&self, signal: Signal) {
        // It fails when everything in the group has ended, which is as good.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Kills the program with a signal that it cannot handle, and sees it dead.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
