//! The peer of a rule: the other end of the traffic.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::{GroupId, ModelError, PrefixListId};

/// Exactly one kind of peer per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// A prefix in canonical form: no host bits.
    Cidr(IpNet),
    /// The member addresses of a group.
    Group(GroupId),
    /// The entries of a prefix list.
    PrefixList(PrefixListId),
}

impl Peer {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> PeerKind {
        match self {
            Self::Cidr(IpNet::V4(_)) => PeerKind::Ipv4Cidr,
            Self::Cidr(IpNet::V6(_)) => PeerKind::Ipv6Cidr,
            Self::Group(_) => PeerKind::Group,
            Self::PrefixList(_) => PeerKind::PrefixList,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr(prefix) => prefix.fmt(f),
            Self::Group(group) => group.fmt(f),
            Self::PrefixList(list) => list.fmt(f),
        }
    }
}

/// The kinds of peers as AWS tells them apart: that of a rule cannot change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// An IPv4 prefix.
    Ipv4Cidr,
    /// An IPv6 prefix.
    Ipv6Cidr,
    /// A group.
    Group,
    /// A prefix list.
    PrefixList,
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Cidr => "IPv4 CIDR block",
            Self::Ipv6Cidr => "IPv6 CIDR block",
            Self::Group => "security group",
            Self::PrefixList => "prefix list",
        })
    }
}

/// A prefix as an operator wrote it.
///
/// AWS stores `100.68.0.18/18` as `100.68.0.0/18`; the operator may have meant one host, so who reads one should say
/// so where [`has_host_bits`](Self::has_host_bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    written: IpNet,
}

impl Cidr {
    /// Without host bits, as it is stored.
    #[must_use]
    pub fn canonical(self) -> IpNet {
        self.written.trunc()
    }

    /// As it was written.
    #[must_use]
    pub const fn written(self) -> IpNet {
        self.written
    }

    /// Whether the canonical form differs from what was written.
    #[must_use]
    pub fn has_host_bits(self) -> bool {
        self.written != self.canonical()
    }
}

impl FromStr for Cidr {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        // AWS: a single host must be written /32 or /128.
        text.parse()
            .map(|written| Self { written })
            .map_err(|_| ModelError::MalformedCidr { text: text.to_owned() })
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl AddressFamily {
    /// The family of a prefix.
    #[must_use]
    pub const fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4,
            IpNet::V6(_) => Self::Ipv6,
        }
    }
}

impl FromStr for AddressFamily {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        match text.to_ascii_lowercase().as_str() {
            "ipv4" => Ok(Self::Ipv4),
            "ipv6" => Ok(Self::Ipv6),
            _ => Err(ModelError::UnknownAddressFamily { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for AddressFamily {
    /// As the AWS API spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_and_reported() {
        let cidr: Cidr = "100.68.0.18/18".parse().unwrap();
        assert_eq!(cidr.canonical().to_string(), "100.68.0.0/18");
        assert!(cidr.has_host_bits());
        assert!(!"100.68.0.0/18".parse::<Cidr>().unwrap().has_host_bits());
        assert_eq!("2001:DB8:0::1/32".parse::<Cidr>().unwrap().canonical().to_string(), "2001:db8::/32");
    }

    #[test]
    fn a_bare_address_or_a_bad_length_is_malformed() {
        for text in ["10.0.0.1", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "0.0.0.0/", "web", ""] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert_eq!(error.aws_code(), Some("InvalidParameterValue"), "{text}");
        }
    }
}
