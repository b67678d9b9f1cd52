//! The figures of one flood, as a line of a table.

use std::fmt;
use std::time::Duration;

use firewall_tests::flood::FloodKind;

use super::firewall::{Firewall, TRACKED_PORT, Table};

/// The head of the table.
pub(crate) const HEADER: &str = "\
     firewall   flood            arrived     lost   ns/frame   new clients   exchanges     entries
---- ---------- ------------- ---------- -------- ---------- ------------- ----------- -----------";

/// What happened during one flood.
pub(crate) struct Figures {
    pub(crate) firewall: Firewall,
    pub(crate) kind: FloodKind,
    /// Frames sent.
    pub(crate) sent: u64,
    /// Frames that the firewall decided.
    pub(crate) arrived: u64,
    /// What the kernel took to send them, and the host to receive them.
    pub(crate) time: Duration,
    /// Round trips on the established connections.
    pub(crate) exchanges: u64,
    /// New clients that tried.
    pub(crate) attempts: u64,
    /// New clients that got an answer.
    pub(crate) successes: u64,
    /// Flows in the firewall's tables at the end.
    pub(crate) entries: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let firewall = match self.firewall {
            Firewall::Sgfw(hook, Table::Default) => format!("sgfw {hook}"),
            Firewall::Sgfw(hook, Table::Small) => format!("small {hook}"),
            Firewall::Nftables => "nftables".to_owned(),
            Firewall::None => "none".to_owned(),
        };
        let flood = match self.kind {
            FloodKind::Syn { port: TRACKED_PORT } => "SYN tracked",
            FloodKind::Syn { .. } => "SYN untracked",
            FloodKind::Acks { .. } => "ACK tracked",
            FloodKind::Datagrams { .. } => "UDP tracked",
            FloodKind::Udp => "UDP closed",
        };
        // Frames that were lost on the way to the firewall cost next to nothing.
        let nanoseconds = self.time.as_nanos() / u128::from(self.arrived.max(1));
        let lost = 100.0 * self.sent.saturating_sub(self.arrived) as f64 / self.sent as f64;
        let clients = format!("{}/{}", self.successes, self.attempts);
        write!(
            formatter,
            "{firewall:<10} {flood:<13} {:>10} {lost:>7.2}% {nanoseconds:>10} {clients:>13} {:>11} {:>11}",
            self.arrived, self.exchanges, self.entries
        )
    }
}
