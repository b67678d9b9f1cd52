//! Attached interfaces and how traffic on them is treated.

use std::fmt;

use super::{GroupId, InterfaceId};

/// An interface that sgfw protects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Identifier.
    pub id: InterfaceId,
    /// Name in its network namespace.
    pub name: String,
    /// Index in the BPF maps.
    pub slot: u32,
    /// Zone of its flows.
    pub zone: u16,
    /// Which ingress hook the operator asked for.
    pub ingress_hook: IngressHook,
    /// Whether the data plane logs each packet that it drops.
    pub log_drops: bool,
    /// The groups that it carries; at least one.
    pub groups: Vec<GroupId>,
}

/// Where ingress packets are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngressHook {
    /// Whichever serves the interface best.
    Auto,
    /// XDP.
    Xdp,
    /// TC.
    Tc,
}

impl IngressHook {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Xdp, Self::Tc];

    /// The word for it on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        }
    }

    /// The choice that a word on the command line stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }
}

impl fmt::Display for IngressHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How traffic on an interface is treated, apart from the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceOptions {
    /// When silent flows end.
    pub timeouts: FlowTimeouts,
    /// Which ICMP errors pass.
    pub icmp_errors: IcmpErrors,
    /// Whether only a SYN starts a TCP flow. Without it a segment of an unknown flow that a rule admits starts one,
    /// so that flows outlive a restart of the host's firewall.
    pub tcp_strict: bool,
    /// What passes whatever the rules say.
    pub exemptions: Exemptions,
}

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
            udp: 30,
            udp_stream: 180,
            icmp: 30,
            other: 600,
        }
    }
}

/// Which ICMP errors pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IcmpErrors {
    /// Those about live flows, besides those that a rule admits. Path MTU discovery needs them.
    #[default]
    Related,
    /// Only those that a rule admits, as AWS documents its own behaviour.
    RulesOnly,
}

/// What passes whatever the rules say. On a LAN, unlike in a VPC, nothing works without these.
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
