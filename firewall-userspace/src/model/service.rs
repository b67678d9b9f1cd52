//! The service part of a rule: protocol, and ports or ICMP type and code.

use std::fmt;
use std::str::FromStr;

use super::{AddressFamily, IcmpSelector, ModelError};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// What a rule admits, apart from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Every protocol (AWS `-1`).
    All,
    /// TCP by destination port.
    Tcp(PortRange),
    /// UDP by destination port.
    Udp(PortRange),
    /// ICMP, in IPv4 alone.
    Icmp(IcmpSelector),
    /// ICMPv6, in IPv6 alone.
    Icmpv6(IcmpSelector),
    /// Any other protocol, whole.
    Protocol(OtherProtocol),
}

impl Service {
    /// Puts a protocol and its selectors together. AWS requires ports for TCP and UDP and has none for other
    /// protocols; ICMP without a type means every type.
    pub fn new(
        protocol: Protocol,
        ports: Option<PortRange>,
        icmp: Option<IcmpSelector>,
    ) -> Result<Self, ModelError> {
        let takes_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
        let takes_type = matches!(protocol, Protocol::Icmp | Protocol::Icmpv6);
        if ports.is_some() && !takes_ports {
            return Err(ModelError::PortsNotApplicable { protocol });
        }
        if icmp.is_some() && !takes_type {
            return Err(ModelError::IcmpTypeNotApplicable { protocol });
        }
        let icmp = icmp.unwrap_or(IcmpSelector::All);
        match (protocol, ports) {
            (Protocol::Tcp | Protocol::Udp, None) => Err(ModelError::PortsRequired { protocol }),
            (Protocol::Tcp, Some(ports)) => Ok(Self::Tcp(ports)),
            (Protocol::Udp, Some(ports)) => Ok(Self::Udp(ports)),
            (Protocol::All, _) => Ok(Self::All),
            (Protocol::Icmp, _) => Ok(Self::Icmp(icmp)),
            (Protocol::Icmpv6, _) => Ok(Self::Icmpv6(icmp)),
            (Protocol::Other(other), _) => Ok(Self::Protocol(other)),
        }
    }

    /// Its protocol.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::All => Protocol::All,
            Self::Tcp(_) => Protocol::Tcp,
            Self::Udp(_) => Protocol::Udp,
            Self::Icmp(_) => Protocol::Icmp,
            Self::Icmpv6(_) => Protocol::Icmpv6,
            Self::Protocol(other) => Protocol::Other(other),
        }
    }

    /// The ports of TCP or UDP.
    #[must_use]
    pub const fn ports(self) -> Option<PortRange> {
        match self {
            Self::Tcp(ports) | Self::Udp(ports) => Some(ports),
            _ => None,
        }
    }

    /// The types and codes of ICMP or ICMPv6.
    #[must_use]
    pub const fn icmp(self) -> Option<IcmpSelector> {
        match self {
            Self::Icmp(icmp) | Self::Icmpv6(icmp) => Some(icmp),
            _ => None,
        }
    }

    /// Whether packets of an address family can have it: ICMP is a protocol of IPv4 alone, ICMPv6 of IPv6.
    #[must_use]
    pub const fn is_of(self, family: AddressFamily) -> bool {
        match self {
            Self::Icmp(_) => matches!(family, AddressFamily::Ipv4),
            Self::Icmpv6(_) => matches!(family, AddressFamily::Ipv6),
            Self::All | Self::Tcp(_) | Self::Udp(_) | Self::Protocol(_) => true,
        }
    }

    /// Whether it names an ICMP code that messages of its type never have.
    #[must_use]
    pub const fn has_code_that_never_occurs(self) -> bool {
        match self {
            Self::Icmp(icmp) => icmp.never_occurs_in_icmp(),
            Self::Icmpv6(icmp) => icmp.never_occurs_in_icmpv6(),
            Self::All | Self::Tcp(_) | Self::Udp(_) | Self::Protocol(_) => false,
        }
    }

    /// The protocol as the AWS API writes it.
    #[must_use]
    pub fn aws_protocol(self) -> String {
        match self.protocol() {
            Protocol::All => "-1".to_owned(),
            protocol => protocol.to_string(),
        }
    }

    /// `FromPort` and `ToPort` of the AWS API, which puts ICMP type and code there, with -1 for every one. Other protocols
    /// have none.
    #[must_use]
    pub fn aws_ports(self) -> Option<(i32, i32)> {
        if let Some(ports) = self.ports() {
            return Some((ports.first().into(), ports.last().into()));
        }
        self.icmp().map(|icmp| match icmp {
            IcmpSelector::All => (-1, -1),
            IcmpSelector::Type(icmp_type) => (icmp_type.into(), -1),
            IcmpSelector::TypeCode(icmp_type, code) => (icmp_type.into(), code.into()),
        })
    }
}

/// The protocol field of a rule. The numbers of the four named protocols are read as the names, as AWS returns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Every protocol.
    All,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// ICMPv6.
    Icmpv6,
    /// Any other protocol.
    Other(OtherProtocol),
}

impl Protocol {
    /// From an IANA protocol number.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            ICMP => Self::Icmp,
            TCP => Self::Tcp,
            UDP => Self::Udp,
            ICMPV6 => Self::Icmpv6,
            other => Self::Other(OtherProtocol(other)),
        }
    }

    /// Whether AWS ignores ports that are given with it: those of every protocol, and of one that has no name in rules.
    #[must_use]
    pub const fn ignores_ports(self) -> bool {
        matches!(self, Self::All | Self::Other(_))
    }
}

impl FromStr for Protocol {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        match text.to_ascii_lowercase().as_str() {
            "all" | "-1" => Ok(Self::All),
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "icmp" => Ok(Self::Icmp),
            "icmpv6" => Ok(Self::Icmpv6),
            number => parse_number(number)
                .map(Self::from_number)
                .ok_or_else(|| ModelError::UnknownProtocol { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Icmpv6 => f.write_str("icmpv6"),
            Self::Other(other) => write!(f, "{}", other.number()),
        }
    }
}

/// A protocol that has no name in rules: any number but those of TCP, UDP, ICMP and ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OtherProtocol(u8);

impl OtherProtocol {
    /// The IANA protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Destination ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// From `first` to `last`, both included.
    pub fn new(first: u16, last: u16) -> Result<Self, ModelError> {
        if first > last {
            return Err(ModelError::ReversedPorts { first, last });
        }
        Ok(Self { first, last })
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }
}

impl FromStr for PortRange {
    type Err = ModelError;

    /// Reads `P` or `P-Q`.
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let port = |part: &str| {
            parse_number(part)
                .ok_or_else(|| ModelError::InvalidPort { text: text.to_owned(), part: part.to_owned() })
        };
        match text.split_once('-') {
            Some((first, last)) => Self::new(port(first)?, port(last)?),
            None => port(text).and_then(|only| Self::new(only, only)),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Decimal digits alone: `FromStr` of the integers would take a sign.
pub(super) fn parse_number<N: FromStr>(text: &str) -> Option<N> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(protocol: &str, ports: Option<&str>, icmp: Option<&str>) -> Result<Service, ModelError> {
        let ports = ports.map(str::parse).transpose()?;
        let icmp = icmp.map(str::parse).transpose()?;
        Service::new(protocol.parse()?, ports, icmp)
    }

    #[test]
    fn numbers_of_named_protocols_become_the_names() {
        assert_eq!("6".parse::<Protocol>().unwrap(), Protocol::Tcp);
        assert_eq!("17".parse::<Protocol>().unwrap(), Protocol::Udp);
        assert_eq!("1".parse::<Protocol>().unwrap(), Protocol::Icmp);
        assert_eq!("58".parse::<Protocol>().unwrap(), Protocol::Icmpv6);
        assert_eq!("TCP".parse::<Protocol>().unwrap(), Protocol::Tcp);
        assert_eq!("47".parse::<Protocol>().unwrap().to_string(), "47");
    }

    #[test]
    fn unknown_protocols_are_refused() {
        for text in ["gre", "256", "-2", "", "+6", "0x6"] {
            let error = text.parse::<Protocol>().unwrap_err();
            assert_eq!(error.aws_code(), Some("InvalidParameterValue"), "{text}");
        }
    }

    #[test]
    fn tcp_and_udp_need_ports_and_nothing_else_takes_them() {
        assert_eq!(service("icmp", None, None).unwrap(), Service::Icmp(IcmpSelector::All));
        assert!(matches!(service("tcp", None, None), Err(ModelError::PortsRequired { .. })));
        assert!(matches!(service("udp", None, None), Err(ModelError::PortsRequired { .. })));
        for protocol in ["all", "icmp", "icmpv6", "50"] {
            let error = service(protocol, Some("22"), None);
            assert!(matches!(error, Err(ModelError::PortsNotApplicable { .. })), "{protocol}");
        }
        assert!(matches!(
            service("tcp", Some("22"), Some("8")),
            Err(ModelError::IcmpTypeNotApplicable { .. })
        ));
    }

    #[test]
    fn port_ranges() {
        assert_eq!("22".parse::<PortRange>().unwrap(), PortRange::new(22, 22).unwrap());
        assert_eq!("0-65535".parse::<PortRange>().unwrap(), PortRange::ALL);
        for text in ["65536", "-1", "all", "8000-7000", "1-", "-", "", "22 ", "1-2-3"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
