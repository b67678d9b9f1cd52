//! What a lab looks like before it is built: hosts and their addresses, as values.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hosts around one router, each on a network of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The hosts.
    pub hosts: Vec<HostPlan>,
}

/// A host and its link to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// The name that [`Lab::host`](super::Lab::host) takes.
    pub name: &'static str,
    /// Its link.
    pub link: Link,
}

/// A link between a host and the router, and with it its two networks: `10.77.N.0/24` and `fd77:0:0:N::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link(pub u8);

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Topology {
    /// One host for each name, on the links 1, 2, 3 ….
    pub fn star<const N: usize>(names: [&'static str; N]) -> Self {
        let hosts = names.into_iter().zip(1..).map(|(name, number)| HostPlan { name, link: Link(number) });
        Self { hosts: hosts.collect() }
    }
}

impl Link {
    /// The host's address: `10.77.N.10`, `fd77:0:0:N::10`.
    pub fn host(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 77, self.0, 10).into(),
            Family::V6 => Ipv6Addr::new(0xfd77, 0, 0, self.0.into(), 0, 0, 0, 0x10).into(),
        }
    }

    /// The router's address: `10.77.N.1`, `fd77:0:0:N::1`.
    pub fn router(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 77, self.0, 1).into(),
            Family::V6 => Ipv6Addr::new(0xfd77, 0, 0, self.0.into(), 0, 0, 0, 1).into(),
        }
    }
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The prefix that holds every address: `0.0.0.0/0`, `::/0`.
    pub fn anywhere(self) -> &'static str {
        match self {
            Self::V4 => "0.0.0.0/0",
            Self::V6 => "::/0",
        }
    }

    /// Length of the prefix that holds one address.
    pub fn host_prefix_length(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// Length of a link's prefix.
    pub(super) fn link_prefix_length(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}
