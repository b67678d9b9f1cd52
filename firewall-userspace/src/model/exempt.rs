//! Exempt traffic: what passes whatever the rules say.

use std::fmt;

use ipnet::IpNet;

use super::{AddressFamily, Cidr, Description, ExemptAddressId, ModelError, Service};

/// Kinds of traffic that pass on an interface whatever the rules say. On a LAN, unlike in a VPC, nothing works without
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemptions {
    /// ARP.
    pub arp: bool,
    /// IPv6 neighbour discovery.
    pub neighbor_discovery: bool,
    /// IPv6 multicast listener discovery.
    pub multicast_listener: bool,
    /// DHCP client traffic.
    pub dhcp_client: bool,
    /// Frames that carry neither IP nor ARP.
    pub non_ip: bool,
}

impl Default for Exemptions {
    fn default() -> Self {
        Self {
            arp: true,
            neighbor_discovery: true,
            multicast_listener: true,
            dhcp_client: true,
            non_ip: true,
        }
    }
}

impl Exemptions {
    /// Whether one kind is exempt.
    #[must_use]
    pub fn has(mut self, kind: Exemption) -> bool {
        *self.field(kind)
    }

    /// Exempts one kind, or leaves it to the rules.
    pub const fn set(&mut self, kind: Exemption, is_exempt: bool) {
        *self.field(kind) = is_exempt;
    }

    const fn field(&mut self, kind: Exemption) -> &mut bool {
        match kind {
            Exemption::Arp => &mut self.arp,
            Exemption::NeighborDiscovery => &mut self.neighbor_discovery,
            Exemption::MulticastListener => &mut self.multicast_listener,
            Exemption::DhcpClient => &mut self.dhcp_client,
            Exemption::NonIp => &mut self.non_ip,
        }
    }
}

/// Names one field of [`Exemptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// [`Exemptions::arp`].
    Arp,
    /// [`Exemptions::neighbor_discovery`].
    NeighborDiscovery,
    /// [`Exemptions::multicast_listener`].
    MulticastListener,
    /// [`Exemptions::dhcp_client`].
    DhcpClient,
    /// [`Exemptions::non_ip`].
    NonIp,
}

impl Exemption {
    /// Every kind, in the order in which they are shown.
    pub const ALL: [Self; 5] =
        [Self::Arp, Self::NeighborDiscovery, Self::MulticastListener, Self::DhcpClient, Self::NonIp];

    /// The word for it on the command line and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::NeighborDiscovery => "neighbor-discovery",
            Self::MulticastListener => "multicast-listener",
            Self::DhcpClient => "dhcp-client",
            Self::NonIp => "non-ip",
        }
    }

    /// The kind that a word stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Servers that every protected interface may talk to whatever its rules say: AWS never filters its resolver, its
/// metadata service and its clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptAddress {
    /// Identifier.
    pub id: ExemptAddressId,
    /// What is exempt.
    pub properties: ExemptProperties,
    /// Free text.
    pub description: Option<Description>,
}

/// The identity of an exemption: two of them with the same properties are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExemptProperties {
    /// Protocol and ports of the servers.
    pub service: Service,
    /// Their addresses, in canonical form.
    pub prefix: IpNet,
}

impl ExemptProperties {
    /// Whether any packet can have both the service and the address: ICMP is of IPv4 alone, ICMPv6 of IPv6.
    #[must_use]
    pub const fn can_match(&self) -> bool {
        self.service.is_of(AddressFamily::of(&self.prefix))
    }
}

/// As messages name it.
impl fmt::Display for ExemptProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.service.protocol())?;
        if let Some(ports) = self.service.ports() {
            write!(f, " {ports}")?;
        }
        if let Some(icmp) = self.service.icmp() {
            write!(f, " {icmp}")?;
        }
        write!(f, " {}", self.prefix)
    }
}

/// An exemption that is to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewExemptAddress {
    /// What is to be exempt.
    pub properties: ExemptProperties,
    /// Free text.
    pub description: Option<Description>,
}

/// The services that AWS offers on link-local addresses and never filters (VPC user guide, "Security groups"). The
/// resolver at the second address of a VPC is not among them: its address depends on the VPC.
pub fn aws_link_local() -> Result<Vec<NewExemptAddress>, ModelError> {
    const SERVICES: [(&str, &[&str], &[&str], &str); 4] = [
        ("53", &["udp", "tcp"], &["169.254.169.253/32", "fd00:ec2::253/128"], "Amazon DNS"),
        ("80", &["tcp"], &["169.254.169.254/32", "fd00:ec2::254/128"], "instance metadata"),
        ("80", &["tcp"], &["169.254.170.2/32"], "ECS task metadata"),
        ("123", &["udp"], &["169.254.169.123/32", "fd00:ec2::123/128"], "Amazon Time Sync"),
    ];
    let mut addresses = Vec::new();
    for (port, protocols, prefixes, description) in SERVICES {
        for protocol in protocols {
            let service = Service::new(protocol.parse()?, Some(port.parse()?), None)?;
            for prefix in prefixes {
                let prefix = prefix.parse::<Cidr>()?.canonical();
                let properties = ExemptProperties { service, prefix };
                addresses.push(NewExemptAddress { properties, description: Some(description.parse()?) });
            }
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_exempt_by_default_and_can_be_turned_off_by_itself() {
        for kind in Exemption::ALL {
            assert_eq!(Exemption::from_name(kind.name()), Some(kind));
            let mut exemptions = Exemptions::default();
            exemptions.set(kind, false);
            for other in Exemption::ALL {
                assert_eq!(exemptions.has(other), other != kind, "{}", other.name());
            }
        }
    }

    #[test]
    fn the_preset_has_the_link_local_services_of_aws_in_both_families() {
        let texts: Vec<String> =
            aws_link_local().unwrap().iter().map(|address| address.properties.to_string()).collect();
        let expected = [
            "udp 53 169.254.169.253/32",
            "udp 53 fd00:ec2::253/128",
            "tcp 53 169.254.169.253/32",
            "tcp 53 fd00:ec2::253/128",
            "tcp 80 169.254.169.254/32",
            "tcp 80 fd00:ec2::254/128",
            "tcp 80 169.254.170.2/32",
            "udp 123 169.254.169.123/32",
            "udp 123 fd00:ec2::123/128",
        ];
        assert_eq!(texts, expected);
    }
}
