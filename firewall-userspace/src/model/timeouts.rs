//! Idle timeouts: when a silent flow ends.

use std::ops::RangeInclusive;

use super::ModelError;

/// Idle timeouts in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTimeouts {
    /// TCP until the handshake is complete.
    pub tcp_syn: u32,
    /// TCP established.
    pub tcp_established: u32,
    /// TCP after a FIN.
    pub tcp_fin: u32,
    /// TCP after a RST.
    pub tcp_closed: u32,
    /// TCP after a RST or a FIN that nothing proves, and that no socket of the host speaks against.
    pub tcp_doubt: u32,
    /// UDP in one direction only, or a single request and response.
    pub udp: u32,
    /// UDP after more than one request and response.
    pub udp_stream: u32,
    /// ICMP queries.
    pub icmp: u32,
    /// Every other protocol.
    pub other: u32,
}

impl Default for FlowTimeouts {
    /// AWS "Idle connection tracking timeout" where AWS documents one; the others are ours, near Linux's.
    fn default() -> Self {
        Self {
            tcp_syn: 60,
            tcp_established: 432_000,
            tcp_fin: 120,
            tcp_closed: 10,
            tcp_doubt: 3_600,
            udp: 30,
            udp_stream: 180,
            icmp: 30,
            other: 600,
        }
    }
}

impl FlowTimeouts {
    /// One of them.
    #[must_use]
    pub fn get(mut self, timeout: Timeout) -> u32 {
        *self.field(timeout)
    }

    /// Changes one of them, within its range.
    pub fn set(&mut self, timeout: Timeout, seconds: u32) -> Result<(), ModelError> {
        if !timeout.range().contains(&seconds) {
            return Err(ModelError::TimeoutOutOfRange { timeout, seconds });
        }
        *self.field(timeout) = seconds;
        Ok(())
    }

    const fn field(&mut self, timeout: Timeout) -> &mut u32 {
        match timeout {
            Timeout::TcpSyn => &mut self.tcp_syn,
            Timeout::TcpEstablished => &mut self.tcp_established,
            Timeout::TcpFin => &mut self.tcp_fin,
            Timeout::TcpClosed => &mut self.tcp_closed,
            Timeout::TcpDoubt => &mut self.tcp_doubt,
            Timeout::Udp => &mut self.udp,
            Timeout::UdpStream => &mut self.udp_stream,
            Timeout::Icmp => &mut self.icmp,
            Timeout::Other => &mut self.other,
        }
    }
}

/// Names one field of [`FlowTimeouts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// [`FlowTimeouts::tcp_syn`].
    TcpSyn,
    /// [`FlowTimeouts::tcp_established`].
    TcpEstablished,
    /// [`FlowTimeouts::tcp_fin`].
    TcpFin,
    /// [`FlowTimeouts::tcp_closed`].
    TcpClosed,
    /// [`FlowTimeouts::tcp_doubt`].
    TcpDoubt,
    /// [`FlowTimeouts::udp`].
    Udp,
    /// [`FlowTimeouts::udp_stream`].
    UdpStream,
    /// [`FlowTimeouts::icmp`].
    Icmp,
    /// [`FlowTimeouts::other`].
    Other,
}

impl Timeout {
    /// Every timeout, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::TcpSyn,
        Self::TcpEstablished,
        Self::TcpFin,
        Self::TcpClosed,
        Self::TcpDoubt,
        Self::Udp,
        Self::UdpStream,
        Self::Icmp,
        Self::Other,
    ];

    /// The word for it on the command line and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpSyn => "tcp-syn",
            Self::TcpEstablished => "tcp-established",
            Self::TcpFin => "tcp-fin",
            Self::TcpClosed => "tcp-closed",
            Self::TcpDoubt => "tcp-doubt",
            Self::Udp => "udp",
            Self::UdpStream => "udp-stream",
            Self::Icmp => "icmp",
            Self::Other => "other",
        }
    }

    /// The timeout that a word stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|timeout| timeout.name() == name)
    }

    /// The seconds that it may have: those of AWS's `ConnectionTrackingSpecification` for the three that AWS lets one
    /// set, a second to a day for ours. Two hours for the short ones of TCP, whose beginnings stand in 16 bits beside a flow.
    #[must_use]
    pub const fn range(self) -> RangeInclusive<u32> {
        match self {
            Self::TcpEstablished => 60..=432_000,
            Self::Udp => 30..=60,
            Self::UdpStream => 60..=180,
            Self::TcpSyn | Self::TcpFin | Self::TcpClosed => 1..=7_200,
            Self::TcpDoubt | Self::Icmp | Self::Other => 1..=86_400,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_aws_are_enforced_at_both_ends() {
        let ends = [
            (Timeout::TcpEstablished, 60, 432_000),
            (Timeout::Udp, 30, 60),
            (Timeout::UdpStream, 60, 180),
            (Timeout::Icmp, 1, 86_400),
        ];
        for (timeout, first, last) in ends {
            let mut timeouts = FlowTimeouts::default();
            for seconds in [first, last] {
                timeouts.set(timeout, seconds).unwrap();
                assert_eq!(timeouts.get(timeout), seconds);
            }
            for seconds in [first - 1, last + 1] {
                let error = timeouts.set(timeout, seconds).unwrap_err();
                assert_eq!(error.aws_code(), Some("InvalidParameterValue"));
                assert_eq!(timeouts.get(timeout), last, "{} is as it was", timeout.name());
            }
        }
    }

    #[test]
    fn every_timeout_has_a_field_of_its_own_and_a_default_within_its_range() {
        let mut timeouts = FlowTimeouts::default();
        for timeout in Timeout::ALL {
            assert!(timeout.range().contains(&timeouts.get(timeout)), "{}", timeout.name());
            assert_eq!(Timeout::from_name(timeout.name()), Some(timeout));
            timeouts.set(timeout, *timeout.range().start()).unwrap();
        }
        for timeout in Timeout::ALL {
            assert_eq!(timeouts.get(timeout), *timeout.range().start(), "{}", timeout.name());
        }
    }
}
