//! A host of a lab: a namespace with one interface, and an `sgfw` of its own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::errno::Errno;

use super::stepper::{self, Interruption, Step, Stepped};
use super::{Family, Finished, HostPlan, Instance, Link, Namespace, Process, leftovers, sgfw};

/// The interface of every host. No machine calls its own interface like this, so that a mistake that leaves the
/// namespace cannot hit one.
pub const INTERFACE: &str = "labnet0";

/// The index of that interface in a new lab.
pub const INTERFACE_INDEX: u32 = 2;

/// A host.
#[derive(Debug)]
pub struct Host {
    plan: HostPlan,
    namespace: Namespace,
    sgfw: Instance,
}

impl Host {
    pub(super) fn new(plan: &HostPlan, namespace: Namespace, state: PathBuf, bpffs: PathBuf) -> Self {
        let sgfw = Instance {
            program: sgfw::binary(),
            namespace: Some(namespace.name().to_owned()),
            state_directory: state,
            bpffs_directory: bpffs,
        };
        Self { plan: *plan, namespace, sgfw }
    }

    /// Its name in the topology.
    pub fn name(&self) -> &'static str {
        self.plan.name
    }

    /// Its link to the router.
    pub fn link(&self) -> Link {
        self.plan.link
    }

    /// Its address.
    pub fn address(&self, family: Family) -> IpAddr {
        self.plan.link.host(family)
    }

    /// Its address as a prefix: what a rule or a member names to mean this host alone.
    pub fn prefix(&self, family: Family) -> String {
        format!("{}/{}", self.address(family), family.host_prefix_length())
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its `sgfw`.
    pub fn instance(&self) -> &Instance {
        &self.sgfw
    }

    /// Runs a command on this host to its end. `line` is split into words as a shell does it; nothing is expanded.
    ///
    /// # Panics
    ///
    /// When there is no such program.
    #[track_caller]
    pub fn run(&self, line: &str) -> Finished {
        let output = self.command(line).stdin(Stdio::null()).output();
        Finished::new(self.name(), line, output)
    }

    /// Starts a command on this host and lets it run.
    #[track_caller]
    pub fn start(&self, line: &str) -> Process {
        Process::start(&mut self.command(line))
    }

    /// Runs `sgfw` on this host. `arguments` are what an operator would type after `sgfw`.
    ///
    /// # Panics
    ///
    /// When there is no `sgfw` to run.
    #[track_caller]
    pub fn sgfw(&self, arguments: &str) -> Finished {
        let output = self.command(&self.sgfw.line(arguments)).stdin(Stdio::null()).output();
        Finished::new(self.name(), &format!("sgfw {arguments}"), output)
    }

    /// Starts `sgfw` on this host and lets it run.
    #[track_caller]
    pub fn start_sgfw(&self, arguments: &str) -> Process {
        self.start(&self.sgfw.line(arguments))
    }

    /// Runs `sgfw` on this host and kills it before the step number `last`, counted from 0, of those of some kinds.
    ///
    /// # Panics
    ///
    /// When it cannot be run or traced.
    #[track_caller]
    pub fn sgfw_killed(&self, arguments: &str, kinds: &[Step], last: usize) -> Stepped {
        let stepped = stepper::run(self.command(&self.sgfw.line(arguments)), kinds, last, Interruption::Kill);
        stepped.unwrap_or_else(|error| panic!("cannot trace `sgfw {arguments}`: {error}"))
    }

    /// Runs `sgfw` on this host, and has the kernel refuse the step number `refused`, counted from 0, of those of some kinds.
    ///
    /// # Panics
    ///
    /// When it cannot be run or traced.
    #[track_caller]
    pub fn sgfw_refused(&self, arguments: &str, kinds: &[Step], refused: usize, errno: Errno) -> Stepped {
        let command = self.command(&self.sgfw.line(arguments));
        let stepped = stepper::run(command, kinds, refused, Interruption::Refuse(errno));
        stepped.unwrap_or_else(|error| panic!("cannot trace `sgfw {arguments}`: {error}"))
    }

    #[track_caller]
    fn command(&self, line: &str) -> Command {
        let mut words = split(line).into_iter();
        let program = words.next().unwrap_or_else(|| panic!("no command for {}", self.name()));
        let mut command = self.namespace.command(program);
        command.args(words);
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        leftovers::remove_pins(&self.sgfw.bpffs_directory);
    }
}

#[track_caller]
fn split(line: &str) -> Vec<String> {
    shell_words::split(line).unwrap_or_else(|error| panic!("`{line}`: {error}"))
}
