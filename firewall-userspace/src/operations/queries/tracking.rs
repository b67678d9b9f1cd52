//! Whether flows are kept for what rules admit.

use std::collections::{BTreeMap, HashSet};

use firewall_common::abi::{RULE_SET, UNTRACKED};

use crate::model::RuleId;
use crate::operations::{Instance, OperationError};

/// Whether flows are kept for the traffic that a rule admits. Where both directions are open to any peer AWS keeps none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// For all of it.
    Tracked,
    /// For none of it.
    Untracked,
    /// Depending on protocol, port, peer or interface.
    Partly,
}

impl Tracking {
    /// The name shown to people and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tracked => "tracked",
            Self::Untracked => "untracked",
            Self::Partly => "partly",
        }
    }
}

/// Whether the traffic that each rule admits is tracked, by the policy in force. A rule of no attached interface, and one
/// whose peer has no address, admits none and is missing.
pub fn tracking(instance: &Instance) -> Result<BTreeMap<RuleId, Tracking>, OperationError> {
    let (interfaces, rule_sets) =
        instance.read(|snapshot| Ok((snapshot.interfaces()?, snapshot.rule_sets()?)))?;
    let cells = match instance.datapath(&interfaces)? {
        Some(datapath) => datapath.cells()?,
        None => Vec::new(),
    };
    // A rule for every port may stand in a million cells with the same value.
    let cells: HashSet<u32> = cells.into_iter().collect();
    let mut tracking: BTreeMap<RuleId, Tracking> = BTreeMap::new();
    for cell in cells {
        let of_cell = if cell & UNTRACKED == 0 { Tracking::Tracked } else { Tracking::Untracked };
        for rule in rule_sets.get(&(cell & RULE_SET)).into_iter().flatten() {
            let of_rule = tracking.entry(*rule).or_insert(of_cell);
            if *of_rule != of_cell {
                *of_rule = Tracking::Partly;
            }
        }
    }
    Ok(tracking)
}
