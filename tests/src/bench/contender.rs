//! Who is measured: no firewall, an empty program, `sgfw`, and nftables.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::lab::{HostPlan, IngressHook, Link, Topology};

/// One of those that are measured in turn. Each has a host of its own in the lab, so that all stand ready at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "&'static str")]
pub enum Contender {
    /// No firewall.
    None,
    /// An empty XDP program: what the hook itself costs.
    EmptyXdp,
    /// An empty TC program.
    EmptyTc,
    /// `sgfw` with ingress on native XDP.
    SgfwXdp,
    /// `sgfw` with ingress on TC, which is what `--ingress-hook auto` takes on veth.
    SgfwTc,
    /// nftables with conntrack.
    Nftables,
}

impl Contender {
    /// All, in the order of the columns.
    pub const ALL: [Self; 6] =
        [Self::None, Self::EmptyXdp, Self::EmptyTc, Self::SgfwXdp, Self::SgfwTc, Self::Nftables];

    /// Those that hold a policy and flows.
    pub const FIREWALLS: [Self; 3] = [Self::SgfwXdp, Self::SgfwTc, Self::Nftables];

    /// The heading of its column, the name of its host, and its key in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::EmptyXdp => "empty-xdp",
            Self::EmptyTc => "empty-tc",
            Self::SgfwXdp => "sgfw-xdp",
            Self::SgfwTc => "sgfw-tc",
            Self::Nftables => "nftables",
        }
    }

    /// Where its own program sits, if it has one.
    pub(super) const fn hook(self) -> Option<IngressHook> {
        match self {
            Self::EmptyXdp | Self::SgfwXdp => Some(IngressHook::Xdp),
            Self::EmptyTc | Self::SgfwTc => Some(IngressHook::Tc),
            Self::None | Self::Nftables => None,
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl From<Contender> for &'static str {
    fn from(contender: Contender) -> Self {
        contender.name()
    }
}

impl FromStr for Contender {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|contender| contender.name() == name);
        found.ok_or_else(|| anyhow::anyhow!("there is no contender `{name}`"))
    }
}

/// A host for each contender.
pub(super) fn topology() -> Topology {
    let hosts = Contender::ALL.into_iter().zip(1..);
    let plan = |(contender, number): (Contender, u8)| HostPlan { name: contender.name(), link: Link(number) };
    Topology { hosts: hosts.map(plan).collect() }
}
