//! Attached interfaces and how traffic on them is treated.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Exemptions, FlowTimeouts, GroupId, InterfaceId};

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
    /// How its traffic is treated apart from the rules.
    pub options: InterfaceOptions,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceOptions {
    /// When silent flows end.
    pub timeouts: FlowTimeouts,
    /// Which ICMP errors pass.
    pub icmp_errors: IcmpErrors,
    /// Whether only a SYN starts a TCP flow. Without it a segment of an unknown flow that a rule admits starts one,
    /// so that flows outlive a restart of the host's firewall.
    pub tcp_strict: bool,
    /// Audit mode: what the rules do not admit passes, and is counted as if it had been dropped.
    pub audit: bool,
    /// Peers, as canonical prefixes, whose traffic is tracked even where the rules would leave it untracked: those
    /// behind NAT or load balancers, where AWS tracks too.
    pub always_track: BTreeSet<IpNet>,
    /// What passes whatever the rules say.
    pub exemptions: Exemptions,
}

impl InterfaceOptions {
    /// [`always_track`](Self::always_track) for every peer there is.
    #[must_use]
    pub fn track_every_peer() -> BTreeSet<IpNet> {
        BTreeSet::from([IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())])
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

impl IcmpErrors {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Related, Self::RulesOnly];

    /// The word for it on the command line and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Related => "related",
            Self::RulesOnly => "rules-only",
        }
    }

    /// The choice that a word stands for.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.name() == name)
    }
}
