//! What can be wrong with the machine.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use rtnetlink::packet_core::DecodeError;

use super::capability::{Act, Capability};

/// Why the machine cannot do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The process is not root.
    #[error("this needs root")]
    NotRoot,
    /// The process is root, and has fewer capabilities than root has elsewhere.
    #[error("{act} needs {}, which this process lacks", names(missing))]
    LacksCapability {
        /// What was refused.
        act: Act,
        /// What the process lacks of what that needs.
        missing: Vec<Capability>,
    },
    /// The kernel refuses, and lack of a capability is not why.
    #[error("the kernel forbids {act}")]
    Forbidden {
        /// What was refused.
        act: Act,
        /// What failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel preempts programs.
    #[error("programs of sgfw do not run on a kernel with PREEMPT_RT")]
    PreemptRt,
    /// There is no network namespace of that name.
    #[error("cannot open the network namespace {name} ({})", path.display())]
    NoSuchNamespace {
        /// Its name.
        name: String,
        /// Where it would be.
        path: PathBuf,
        /// Why it cannot be opened.
        source: io::Error,
    },
    /// The network namespace cannot be entered.
    #[error("cannot enter the network namespace {name}")]
    CannotEnterNamespace {
        /// Its name.
        name: String,
        /// Why.
        source: Errno,
    },
    /// The kernel does not say in which network namespace the process is.
    #[error("cannot find out the network namespace")]
    UnknownNamespace(#[source] io::Error),
    /// There is no interface of that name in this network namespace.
    #[error("there is no interface {name} in this network namespace")]
    NoSuchInterface {
        /// Its name.
        name: String,
        /// The interfaces that there are.
        existing: Vec<String>,
    },
    /// The interfaces cannot be listed.
    #[error("cannot read the interfaces of this network namespace")]
    Interfaces(#[source] Errno),
    /// The kernel does not say which connections are open.
    #[error("cannot read the kernel's socket tables")]
    Sockets(#[source] io::Error),
    /// The kernel says it in another way than expected.
    #[error("cannot understand the kernel's socket tables")]
    SocketMessage(#[source] DecodeError),
    /// The bpf filesystem cannot be mounted.
    #[error("cannot mount a bpf filesystem at {}", path.display())]
    CannotMount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn names(capabilities: &[Capability]) -> String {
    let names: Vec<_> = capabilities.iter().map(|capability| capability.name()).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
