//! Management prefixes: from where the operator must always be able to open a new connection.

use std::fmt;

use ipnet::IpNet;

use super::{ModelError, PortRange, Protocol, RuleId, Service};

/// Addresses from which connections to the host must always be admitted, whatever is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagementPrefix {
    /// Identifier of the rule that admits it in panic mode.
    pub rule: RuleId,
    /// What is declared.
    pub properties: ManagementProperties,
}

/// The identity of a management prefix: two of them with the same properties are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagementProperties {
    /// Name of the interface by which the connections arrive. It need not be attached.
    pub interface: String,
    /// What the operator connects to.
    pub service: ManagementService,
    /// Where the operator is, in canonical form.
    pub prefix: IpNet,
}

/// What an operator connects to: other protocols than TCP and UDP have no ports, and no connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagementService {
    /// TCP, as SSH uses it.
    Tcp(PortRange),
    /// UDP, as WireGuard and Mosh use it.
    Udp(PortRange),
}

impl ManagementPrefix {
    /// With a new id.
    pub fn new(properties: ManagementProperties) -> Result<Self, ModelError> {
        Ok(Self { rule: RuleId::random()?, properties })
    }
}

impl ManagementService {
    /// Puts protocol and ports together.
    pub const fn new(protocol: Protocol, ports: PortRange) -> Result<Self, ModelError> {
        match protocol {
            Protocol::Tcp => Ok(Self::Tcp(ports)),
            Protocol::Udp => Ok(Self::Udp(ports)),
            protocol => Err(ModelError::NotForManagement { protocol }),
        }
    }

    /// Its protocol.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Tcp(_) => Protocol::Tcp,
            Self::Udp(_) => Protocol::Udp,
        }
    }

    /// Its ports.
    #[must_use]
    pub const fn ports(self) -> PortRange {
        match self {
            Self::Tcp(ports) | Self::Udp(ports) => ports,
        }
    }
}

impl From<ManagementService> for Service {
    fn from(service: ManagementService) -> Self {
        match service {
            ManagementService::Tcp(ports) => Self::Tcp(ports),
            ManagementService::Udp(ports) => Self::Udp(ports),
        }
    }
}

/// As messages name it: `tcp 22`.
impl fmt::Display for ManagementService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol(), self.ports())
    }
}

/// As messages name it: `tcp 22 from 203.0.113.0/24 on eth1`.
impl fmt::Display for ManagementProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {} on {}", self.service, self.prefix, self.interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_protocols_with_connections_to_ports_are_for_management() {
        let service = |protocol: &str| ManagementService::new(protocol.parse().unwrap(), PortRange::ALL);
        assert_eq!(service("6").unwrap(), ManagementService::Tcp(PortRange::ALL));
        assert_eq!(service("udp").unwrap().to_string(), "udp 0-65535");
        for protocol in ["all", "icmp", "icmpv6", "47"] {
            assert!(matches!(service(protocol), Err(ModelError::NotForManagement { .. })), "{protocol}");
        }
    }
}
