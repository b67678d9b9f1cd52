//! Why a change or a question failed.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::SshSession;
use crate::host;
use crate::model::{GroupName, ManagementProperties, ModelError};
use crate::plan::PlanErrors;

pub use crate::compile::CompileError;
pub use crate::datapath::DatapathError;
pub use crate::host::{Act, Capability, HostError};
pub use crate::store::StoreError;

/// Whatever can stop a command.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// What was asked for is not valid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine does not have what is needed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The tables cannot hold the policy.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The kernel refused.
    #[error(transparent)]
    Datapath(DatapathError),
    /// The interface is attached already.
    #[error("interface {interface} is already attached")]
    AlreadyAttached {
        /// Its name.
        interface: String,
    },
    /// The operator's own SSH connection.
    #[error(
        "afterwards no rule would admit a new SSH connection from {} to port {} on {interface}, which is how you are \
         connected",
        session.client.ip(),
        session.server.port()
    )]
    WouldLockOut {
        /// Name of the interface.
        interface: String,
        /// The connection.
        session: SshSession,
    },
    /// The operator's own SSH connection, in panic mode.
    #[error(
        "in panic mode nothing would admit a new SSH connection from {} to port {} on {interface}, which is how you are \
         connected",
        session.client.ip(),
        session.server.port()
    )]
    PanicWouldLockOut {
        /// Name of the interface.
        interface: String,
        /// The connection.
        session: SshSession,
    },
    /// A management prefix that is not admitted, or not whole.
    #[error(
        "afterwards no rule would admit new connections to {} from {} on {}, which the management prefix {} must always be \
         able to open",
        properties.service,
        some_of(denied),
        properties.interface,
        properties.prefix
    )]
    WouldCloseManagement {
        /// What is declared.
        properties: ManagementProperties,
        /// The parts of the prefix that are not admitted.
        denied: Vec<IpNet>,
        /// One of the groups that the interface carries, to which a rule could be added.
        group: Option<GroupName>,
    },
    /// Attaching changes no table that exists.
    #[error("the flow table exists already")]
    FlowTablesExist,
    /// The interface was never attached.
    #[error("interface {interface} is not attached")]
    NotAttached {
        /// Its name.
        interface: String,
    },
    /// What is left of the programs of an interface would go on by the flow table as it was.
    #[error("interface {interface} has lost one of its programs, and the flow table cannot get another size")]
    IncompleteAttachment {
        /// Its name.
        interface: String,
    },
    /// The maps have no slot left.
    #[error("all {slots} slots for interfaces are in use")]
    NoFreeSlot {
        /// How many there are.
        slots: u32,
    },
    /// The pins belong to another state directory.
    #[error(
        "the pins in {} protect interfaces that the state directory {} does not know",
        bpffs.display(),
        state_dir.display()
    )]
    ForeignPins {
        /// The directory of pins.
        bpffs: PathBuf,
        /// The state directory.
        state_dir: PathBuf,
    },
    /// The interfaces are in another network namespace than this process.
    #[error("the interfaces of this instance are in another network namespace")]
    OtherNamespace,
    /// An interface has filters, which only a process in its network namespace can remove.
    #[error(
        "the filters of interface {interface} are in another network namespace, from which alone they can be removed"
    )]
    FiltersInOtherNamespace {
        /// Its name.
        interface: String,
        /// The pins of their programs.
        pins: Vec<PathBuf>,
    },
    /// A change waits to be confirmed, and nothing else may happen meanwhile.
    #[error("generation {generation} waits to be confirmed, for {} s more", left.as_secs())]
    AwaitingConfirmation {
        /// Which.
        generation: u64,
        /// How long it stays in force.
        left: Duration,
    },
    /// No change waits to be confirmed.
    #[error("no change waits to be confirmed")]
    NothingToConfirm,
    /// The confirmation came too late.
    #[error("generation {generation} was not confirmed in time; what was in force before is in force again")]
    NotConfirmedInTime {
        /// Which.
        generation: u64,
    },
    /// No such generation is remembered.
    #[error("{}", match generation {
        Some(generation) => format!("generation {generation} is not in the history"),
        None => "there is no earlier generation in the history".to_owned(),
    })]
    UnknownGeneration {
        /// Which; none for the last but one.
        generation: Option<u64>,
    },
    /// Going back would leave programs on an interface without a policy, or the other way round.
    #[error("an interface was attached or detached after generation {generation}")]
    AttachedSince {
        /// Which.
        generation: u64,
    },
    /// A document cannot be what the store is to hold.
    #[error(transparent)]
    Plan(#[from] PlanErrors),
    /// A plan was made of what is not stored any more.
    #[error(
        "the plan was made on generation {made_on}; something was changed since, and now it is {generation}"
    )]
    PlanOutdated {
        /// The generation that it was made on.
        made_on: u64,
        /// The generation of the store.
        generation: u64,
    },
    /// A plan of another store.
    #[error("the plan was made of another state directory than {}", state_dir.display())]
    PlanOfOtherInstance {
        /// The state directory that it was to be applied to.
        state_dir: PathBuf,
    },
    /// The store lacks the group that every store has.
    #[error("the store is damaged: the group \"default\" is missing")]
    NoDefaultGroup,
    /// The kernel refused while a policy was put into force, and does not say which one is.
    #[error(
        "{}; and it cannot be seen whether the change is in force: {}",
        with_sources(failure),
        with_sources(looking)
    )]
    Unseen {
        /// What failed at first.
        failure: Box<Self>,
        /// What failed when it was looked for.
        looking: Box<Self>,
    },
    /// A change failed, and so did taking it back.
    #[error("{}; and it could not be taken back: {}", with_sources(failure), with_sources(undoing))]
    NotUndone {
        /// What failed at first.
        failure: Box<Self>,
        /// What failed then.
        undoing: Box<Self>,
    },
}

impl From<DatapathError> for OperationError {
    /// What is forbidden to this process is a matter of the process: it is told what it lacks.
    fn from(error: DatapathError) -> Self {
        if let Some(act) = error.denied() {
            return Self::Host(host::denied(act, error));
        }
        // The verifier refuses more of those that have no CAP_PERFMON, and does not say that this is why.
        let lacking = match error {
            DatapathError::Verifier { .. } => host::lacking(Act::Bpf),
            _ => None,
        };
        lacking.map_or_else(|| Self::Datapath(error), Self::Host)
    }
}

/// There may be thousands.
fn some_of(prefixes: &[IpNet]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = prefixes.iter().take(SHOWN).map(ToString::to_string).collect();
    match prefixes.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more prefixes", shown.join(", ")),
    }
}

/// An error's message, with those of its sources.
#[must_use]
pub fn with_sources(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        message.push_str(": ");
        message.push_str(&error.to_string());
        source = error.source();
    }
    message
}
