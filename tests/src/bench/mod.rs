//! The benchmark: `sgfw` beside no firewall, an empty program, and nftables with conntrack, in one run.
//!
//! A [`Contender`] is one of those that are measured; a scenario is a kind of traffic or of change, and becomes a
//! [`Row`]. Contenders take turns, so that what disturbs the machine disturbs all. A row is void if not every frame was
//! decided as it should be: the time of frames that were lost, or decided for another reason, means nothing. The
//! [`Report`] says how the medians stand to the targets (`docs/decisions.md`, "Targets").
//!
//! Everything happens between namespaces of its own ([`crate::lab`]); nothing but this should run meanwhile.

mod attachments;
mod contender;
mod extent;
mod frames;
mod machine;
mod memory;
mod nft_counter;
mod paths;
mod plans;
mod policy;
mod publication;
pub mod report;
mod rig;
mod samples;
mod targets;
mod traffic;
mod updates;

use std::str::FromStr;

use anyhow::{Context, Result, ensure};

pub use contender::Contender;
pub use extent::Extent;
pub use machine::Machine;
pub use report::Report;
pub use samples::{Row, Samples, Unit};
pub use targets::{Limit, Outcome};

use crate::lab;
use machine::Steal;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Single runs of the programs.
    Paths,
    /// Frames, by the size of the policy.
    Policies,
    /// Frames of established flows.
    Flows,
    /// Bulk data.
    Bulk,
    /// Requests and connections.
    Web,
    /// Publication of policies.
    Publication,
    /// Frames while the policy is changed.
    Updates,
    /// Attaching interfaces, and repairing them.
    Attachments,
    /// Plans of many rules.
    Plans,
    /// Memory, and the sweep.
    Memory,
}

impl Part {
    /// All, in the order in which they run.
    pub const ALL: [Self; 10] = [
        Self::Paths,
        Self::Policies,
        Self::Flows,
        Self::Bulk,
        Self::Web,
        Self::Publication,
        Self::Updates,
        Self::Attachments,
        Self::Plans,
        Self::Memory,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paths => "paths",
            Self::Policies => "policies",
            Self::Flows => "flows",
            Self::Bulk => "bulk",
            Self::Web => "web",
            Self::Publication => "publication",
            Self::Updates => "updates",
            Self::Attachments => "attachments",
            Self::Plans => "plans",
            Self::Memory => "memory",
        }
    }

    fn measure(self, extent: Extent) -> Result<Vec<Row>> {
        match self {
            Self::Paths => Ok([paths::times(extent)?, paths::verified_instructions()?].concat()),
            Self::Policies => frames::by_policy_size(extent),
            Self::Flows => frames::by_flows(extent),
            Self::Bulk => traffic::bulk(extent),
            Self::Web => traffic::web(extent),
            Self::Publication => publication::times(extent),
            Self::Updates => updates::times(extent),
            Self::Attachments => attachments::times(extent),
            Self::Plans => plans::times(extent),
            Self::Memory => Ok([memory::bytes()?, vec![memory::sweep(extent)?]].concat()),
        }
    }
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|part| part.name() == name);
        found.with_context(|| format!("there is no part `{name}`; there are {names}"))
    }
}

/// Measures the parts. `command` is what the reader is to type for the same.
///
/// # Errors
///
/// When something cannot be set up, or a program under load fails.
pub fn run(parts: &[Part], extent: Extent, command: &str) -> Result<Report> {
    let missing = lab::missing_privilege();
    ensure!(missing.is_none(), "the benchmark needs {}", missing.unwrap_or_default());
    let machine = Machine::examine()?;
    let before = Steal::read()?;
    let mut rows = Vec::new();
    for part in parts {
        rows.extend(part.measure(extent).with_context(|| format!("measure `{}`", part.name()))?);
    }
    let stolen = Steal::read()?.since(before);
    Ok(Report::new(machine, command.to_owned(), stolen, rows))
}

/// Says on standard error what is measured now: a full run takes a while.
fn progress(what: &str) {
    eprintln!("measuring: {what}");
}
