//! What can be wrong with the machine.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use rtnetlink::packet_core::DecodeError;

/// Why the machine cannot do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The process is not root.
    #[error("this needs root")]
    NotRoot,
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
