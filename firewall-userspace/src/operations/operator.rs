//! Who acts. A face says it: nothing below reads the environment of the process.

use std::net::SocketAddr;

pub use crate::store::Author;

/// Who acts, and how they are connected.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    /// User and command, for the history.
    pub author: Author,
    /// The SSH connection through which they work, which no change may close behind them.
    pub session: Option<SshSession>,
}

/// Both ends of an SSH connection to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SshSession {
    /// Where the operator is.
    pub client: SocketAddr,
    /// The address and port of this host.
    pub server: SocketAddr,
}
