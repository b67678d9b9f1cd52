//! What is stored beside what the kernel has.

use std::collections::BTreeMap;

use firewall_common::abi::UNKNOWN_INTERFACE;
use ipnet::IpNet;

use crate::datapath::{Datapath, hook};
use crate::host;
use crate::model::{ExemptAddress, IngressHook, Interface, SecurityGroup};
use crate::operations::confirm::{self, Pending};
use crate::operations::policy::KnownAddresses;
use crate::operations::{Instance, OperationError};
use crate::store::UnconfirmedGeneration;

pub use crate::datapath::{
    Attachment, CounterRow, EgressAttachment, FilterBefore, IngressAttachment, LivePrograms, Occupancy,
};

/// An interface and its programs.
#[derive(Clone, Debug)]
pub struct InterfaceStatus {
    /// As it is stored.
    pub interface: Interface,
    /// What is on it.
    pub programs: Programs,
}

/// The programs of an interface.
#[derive(Clone, Debug)]
pub enum Programs {
    /// They decide its packets.
    Attached(Attachment),
    /// One is gone, because somebody removed or detached it. The traffic of its direction is open.
    Incomplete(LivePrograms),
    /// They are gone, from an interface that exists: after a reboot, with a device that was made anew, or because somebody
    /// removed them. Its traffic is open.
    NotAttached,
    /// There is no such interface now. Groups keep the addresses that it had.
    NoInterface(Vec<IpNet>),
    /// They are pinned, and the interface is in another network namespace, if that still exists.
    InOtherNamespace,
}

/// Everything that `sgfw status` shows.
#[derive(Debug)]
pub struct Status {
    /// The interfaces, by name.
    pub interfaces: Vec<InterfaceStatus>,
    /// The filters of others that packets meet before ours, with the name of the interface.
    pub filters_before: Vec<(String, FilterBefore)>,
    /// Every group, to name those of the interfaces.
    pub groups: Vec<SecurityGroup>,
    /// Servers that every interface may talk to whatever its rules say.
    pub exempt_addresses: Vec<ExemptAddress>,
    /// Whether panic mode is on.
    pub is_panic: bool,
    /// Generation of the store.
    pub stored_generation: u64,
    /// The change that waits to be confirmed.
    pub pending: Option<Pending>,
    /// What the kernel says, if anything is attached.
    pub kernel: Option<KernelStatus>,
}

impl Status {
    /// Whether something is not as it is stored, and `sgfw repair` mends it.
    #[must_use]
    pub fn needs_repair(&self) -> bool {
        let is_lost = |status: &InterfaceStatus| {
            matches!(status.programs, Programs::NotAttached | Programs::Incomplete(_))
        };
        let is_in_force =
            self.kernel.as_ref().is_none_or(|kernel| kernel.generation == self.stored_generation);
        let is_moving = self.kernel.as_ref().is_some_and(|kernel| kernel.is_moving);
        !is_in_force || is_moving || self.interfaces.iter().any(is_lost)
    }
}

/// In the place of a name: no interface has a slash in its own.
pub const UNKNOWN: &str = "n/a";

/// The kernel's part of a [`Status`].
#[derive(Debug)]
pub struct KernelStatus {
    /// Generation of the policy in force.
    pub generation: u64,
    /// Whether some programs work by tables that larger ones are to replace, which was interrupted. Both hold what is in force.
    pub is_moving: bool,
    /// Counters by interface name; [`UNKNOWN`] for what was dropped of interfaces that the programs do not know.
    pub counters: BTreeMap<String, Vec<CounterRow>>,
    /// How full the flow table is.
    pub flow_table: Occupancy,
}

/// The interfaces with their programs, and all groups.
pub fn interfaces(instance: &Instance) -> Result<(Vec<InterfaceStatus>, Vec<SecurityGroup>), OperationError> {
    let stored = Stored::read(instance)?;
    let datapath = instance.datapath(&stored.interfaces)?;
    Ok((stored.with_programs(datapath.as_ref())?, stored.groups))
}

/// The state of everything.
pub fn status(instance: &Instance) -> Result<Status, OperationError> {
    let stored = Stored::read(instance)?;
    let datapath = instance.datapath(&stored.interfaces)?;
    let interfaces = stored.with_programs(datapath.as_ref())?;
    let filters_before = datapath.as_ref().map(|datapath| filters_before(datapath, &interfaces));
    let filters_before = filters_before.transpose()?.unwrap_or_default();
    let pending = confirm::pending(datapath.as_ref(), stored.unconfirmed)?;
    let kernel = datapath.map(|datapath| kernel_status(&datapath, &interfaces)).transpose()?;
    let Stored { groups, exempt_addresses, is_panic, generation, .. } = stored;
    Ok(Status {
        interfaces,
        filters_before,
        groups,
        exempt_addresses,
        is_panic,
        stored_generation: generation,
        pending,
        kernel,
    })
}

/// Where the ingress packets of an interface are decided, and why there.
#[derive(Clone, Debug)]
pub struct HookRow {
    /// Name of the interface.
    pub interface: String,
    /// What was asked for.
    pub asked: IngressHook,
    /// What it has.
    pub attached: IngressAttachment,
    /// Why.
    pub because: &'static str,
}

/// Why the ingress packets of each attached interface are decided where they are.
///
/// # Errors
///
/// [`OperationError::Datapath`] where an interface has vanished.
pub fn hooks(interfaces: &[InterfaceStatus]) -> Result<Vec<HookRow>, OperationError> {
    let mut rows = Vec::new();
    for InterfaceStatus { interface, programs } in interfaces {
        let Programs::Attached(attachment) = programs else {
            continue;
        };
        let (asked, attached) = (interface.ingress_hook, attachment.ingress);
        let because = hook::explain(&interface.name, asked, attached)?.text();
        rows.push(HookRow { interface: interface.name.clone(), asked, attached, because });
    }
    Ok(rows)
}

/// Whether an interface was attached and is not detached, whatever became of its programs.
///
/// # Errors
///
/// [`OperationError::Store`] where the store cannot be read.
pub fn is_stored(instance: &Instance, name: &str) -> Result<bool, OperationError> {
    let interfaces = instance.read(|snapshot| Ok(snapshot.interfaces()?))?;
    Ok(interfaces.iter().any(|interface| interface.name == name))
}

/// What the store has to say. It is read at once, so that no writer waits for the kernel's answers.
struct Stored {
    interfaces: Vec<Interface>,
    addresses: KnownAddresses,
    groups: Vec<SecurityGroup>,
    exempt_addresses: Vec<ExemptAddress>,
    is_panic: bool,
    namespace: u64,
    generation: u64,
    unconfirmed: Option<UnconfirmedGeneration>,
}

impl Stored {
    fn read(instance: &Instance) -> Result<Self, OperationError> {
        instance.read(|snapshot| {
            Ok(Self {
                interfaces: snapshot.interfaces()?,
                addresses: snapshot.interface_addresses()?,
                groups: snapshot.groups()?,
                exempt_addresses: snapshot.exempt_addresses()?,
                is_panic: snapshot.is_panic()?,
                namespace: snapshot.namespace()?,
                generation: snapshot.generation()?,
                unconfirmed: snapshot.unconfirmed()?,
            })
        })
    }

    fn with_programs(&self, datapath: Option<&Datapath>) -> Result<Vec<InterfaceStatus>, OperationError> {
        let live = datapath.map(Datapath::live_programs).transpose()?.unwrap_or_default();
        let pinned = datapath.map(Datapath::pinned_slots).transpose()?.unwrap_or_default();
        let is_here = host::current_namespace()? == self.namespace;
        let live_of = |slot| live.iter().find(|links| links.slot == slot);
        let programs_of = |interface: &Interface| match live_of(interface.slot) {
            Some(links) => {
                links.attachment().map_or_else(|| Programs::Incomplete(links.clone()), Programs::Attached)
            }
            None if !is_here && pinned.contains(&interface.slot) => Programs::InOtherNamespace,
            None if host::index_of(&interface.name).is_ok() => Programs::NotAttached,
            None => Programs::NoInterface(self.addresses.get(&interface.id).cloned().unwrap_or_default()),
        };
        let status_of = |interface: &Interface| InterfaceStatus {
            programs: programs_of(interface),
            interface: interface.clone(),
        };
        Ok(self.interfaces.iter().map(status_of).collect())
    }
}

fn filters_before(
    datapath: &Datapath,
    interfaces: &[InterfaceStatus],
) -> Result<Vec<(String, FilterBefore)>, OperationError> {
    let mut all = Vec::new();
    for InterfaceStatus { interface, programs } in interfaces {
        if let Programs::Attached(attachment) = programs {
            let before = datapath.filters_before(attachment)?.into_iter();
            all.extend(before.map(|filter| (interface.name.clone(), filter)));
        }
    }
    Ok(all)
}

fn kernel_status(
    datapath: &Datapath,
    interfaces: &[InterfaceStatus],
) -> Result<KernelStatus, OperationError> {
    let mut counters = BTreeMap::new();
    for InterfaceStatus { interface, .. } in interfaces {
        counters.insert(interface.name.clone(), datapath.counters(interface.slot)?);
    }
    counters.insert(UNKNOWN.to_owned(), datapath.counters(UNKNOWN_INTERFACE)?);
    let (generation, flow_table) = (datapath.generation()?, datapath.occupancy()?);
    let is_moving = datapath.has_unfinished_replacement()?;
    Ok(KernelStatus { generation, is_moving, counters, flow_table })
}
