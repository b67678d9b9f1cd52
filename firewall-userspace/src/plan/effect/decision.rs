//! How cells decide, and what may differ between two of them.

use firewall_common::abi::{EXEMPT, RULE_SET, UNTRACKED};

/// How a packet that begins a flow is decided.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Decision {
    Denied,
    Tracked,
    /// Untracked, or exempt by its address.
    Stateless,
}

impl Decision {
    pub(super) const fn of(cell: u32) -> Self {
        match cell {
            cell if cell & EXEMPT != 0 => Self::Stateless,
            cell if cell & RULE_SET == 0 => Self::Denied,
            cell if cell & UNTRACKED != 0 => Self::Stateless,
            _ => Self::Tracked,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    NewlyReachable,
    NoLongerReachable,
    NewlyTracked,
    NoLongerTracked,
}

impl Difference {
    pub(super) const fn between(before: Decision, after: Decision) -> Option<Self> {
        match (before, after) {
            (Decision::Denied, Decision::Tracked | Decision::Stateless) => Some(Self::NewlyReachable),
            (Decision::Tracked | Decision::Stateless, Decision::Denied) => Some(Self::NoLongerReachable),
            (Decision::Stateless, Decision::Tracked) => Some(Self::NewlyTracked),
            (Decision::Tracked, Decision::Stateless) => Some(Self::NoLongerTracked),
            (Decision::Denied, Decision::Denied)
            | (Decision::Tracked, Decision::Tracked)
            | (Decision::Stateless, Decision::Stateless) => None,
        }
    }
}
