//! What is stored beside what the kernel has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use firewall_common::abi::{Direction, RULE_SET, UNKNOWN_INTERFACE, UNTRACKED};
use firewall_common::flow_table::life::Socket;
use ipnet::IpNet;

use super::confirm::{self, Pending};
use super::orphans::Zones;
use super::publish::{KnownAddresses, policy_in_force};
use super::{ApplyError, Instance};
use crate::datapath::{
    Ask, Attachment, CounterRow, Datapath, ExpiredFlows, FilterBefore, FlowRow, Flows, LivePrograms,
    Occupancy,
};
use crate::host::{self, TcpStage};
use crate::model::{ExemptAddress, Interface, RuleId, SecurityGroup};
use crate::store::{Snapshot, UnconfirmedGeneration};

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
        !is_in_force || self.interfaces.iter().any(is_lost)
    }
}

/// In the place of a name: no interface has a slash in its own.
pub const UNKNOWN: &str = "n/a";

/// The kernel's part of a [`Status`].
#[derive(Debug)]
pub struct KernelStatus {
    /// Generation of the policy in force.
    pub generation: u64,
    /// Counters by interface name; [`UNKNOWN`] for what was dropped of interfaces that the programs do not know.
    pub counters: BTreeMap<String, Vec<CounterRow>>,
    /// How full the flow table is.
    pub flow_table: Occupancy,
}

/// The live flows.
#[derive(Debug, Default)]
pub struct LiveFlows {
    /// Those whose addresses are recorded.
    pub flows: Vec<Flow>,
    /// How many there are besides.
    pub unnamed: u64,
}

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that had ended, and whose places are free now.
    pub removed: u64,
    /// Flows that the operator has given time, which is over.
    pub cut: u64,
    /// Flows whose sockets were asked for.
    pub asked: u64,
}

/// A live flow.
#[derive(Debug)]
pub struct Flow {
    /// As the kernel has it.
    pub row: FlowRow,
    /// The interfaces of its zone.
    pub interfaces: Vec<String>,
    /// The rules that admitted it. They may be gone by now.
    pub rules: Vec<RuleId>,
    /// Whether it lives only by state: no rule admits its first packet any more.
    pub is_orphaned: bool,
}

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

/// The interfaces with their programs, and all groups.
pub fn interfaces(instance: &Instance) -> Result<(Vec<InterfaceStatus>, Vec<SecurityGroup>), ApplyError> {
    let stored = Stored::read(instance)?;
    let datapath = instance.datapath(&stored.interfaces)?;
    Ok((stored.with_programs(datapath.as_ref())?, stored.groups))
}

/// The state of everything.
pub fn status(instance: &Instance) -> Result<Status, ApplyError> {
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

/// The live flows.
pub fn flows(instance: &Instance) -> Result<LiveFlows, ApplyError> {
    instance.read(|snapshot| match instance.datapath(&snapshot.interfaces()?)? {
        Some(datapath) => live_flows(snapshot, &datapath),
        None => Ok(LiveFlows::default()),
    })
}

/// The live flows, judged by what a snapshot holds.
pub(super) fn live_flows(snapshot: &Snapshot<'_>, datapath: &Datapath) -> Result<LiveFlows, ApplyError> {
    let Flows { mut rows, unnamed } = datapath.flows()?;
    if rows.iter().any(|row| row.needs_socket) && host::current_namespace()? == snapshot.namespace()? {
        let connections = host::tcp_connections()?;
        rows.retain(|row| !row.needs_socket || connections.contains_key(&ends(row)));
    }
    if rows.is_empty() {
        // Compiling for nothing is what takes the time.
        return Ok(LiveFlows { flows: Vec::new(), unnamed });
    }
    let interfaces = snapshot.interfaces()?;
    let rule_sets = snapshot.rule_sets()?;
    let policy = policy_in_force(snapshot, datapath)?;
    let zones = Zones::new(&interfaces, &policy);
    let with_names = |row: FlowRow| {
        let in_zone = interfaces.iter().filter(|interface| interface.zone == row.zone);
        Flow {
            interfaces: in_zone.map(|interface| interface.name.clone()).collect(),
            rules: rule_sets.get(&row.rule_set).cloned().unwrap_or_default(),
            is_orphaned: !zones.admit(&row),
            row,
        }
    };
    Ok(LiveFlows { flows: rows.into_iter().map(with_names).collect(), unnamed })
}

/// The end on this host, and the other one.
fn ends(row: &FlowRow) -> (SocketAddr, SocketAddr) {
    let (initiator, responder) = (row.initiator.into(), row.responder.into());
    match row.started_by {
        Direction::Egress => (initiator, responder),
        Direction::Ingress => (responder, initiator),
    }
}

/// Sweeps ended flows out of the flow table, and settles doubts about those of sockets. Nothing is stored, so no lock is taken.
pub fn expire_flows(instance: &Instance) -> Result<Swept, ApplyError> {
    let (interfaces, namespace) =
        instance.read(|snapshot| Ok((snapshot.interfaces()?, snapshot.namespace()?)))?;
    let Some(datapath) = instance.datapath(&interfaces)? else {
        return Ok(Swept::default());
    };
    // In another network namespace their sockets would all be missing.
    let is_here = host::current_namespace()? == namespace;
    let sockets = if is_here { host::tcp_connections()? } else { HashMap::new() };
    let has_socket = |local, remote| sockets.contains_key(&(local, remote));
    let ExpiredFlows { removed, cut, asks } = datapath.expire_flows(has_socket)?;
    let asked = if is_here { settle(&datapath, &asks)? } else { 0 };
    Ok(Swept { removed, cut, asked })
}

/// Asks for the sockets of flows, and returns for how many. Now, since what was not there before may have come.
fn settle(datapath: &Datapath, asks: &[Ask]) -> Result<u64, ApplyError> {
    if asks.is_empty() {
        return Ok(0);
    }
    let connections = host::tcp_connections()?;
    datapath.settle_flows(asks, |ask| match connections.get(&(ask.local, ask.remote)) {
        Some(TcpStage::Connected) => Socket::Connected,
        Some(TcpStage::Opening) => Socket::Opening,
        Some(TcpStage::TimeWait) => Socket::TimeWait,
        None => Socket::None,
    })?;
    Ok(asks.len() as u64)
}

/// Whether the traffic that each rule admits is tracked, by the policy in force. A rule of no attached interface, and one
/// whose peer has no address, admits none and is missing.
pub fn tracking(instance: &Instance) -> Result<BTreeMap<RuleId, Tracking>, ApplyError> {
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
    fn read(instance: &Instance) -> Result<Self, ApplyError> {
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

    fn with_programs(&self, datapath: Option<&Datapath>) -> Result<Vec<InterfaceStatus>, ApplyError> {
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
) -> Result<Vec<(String, FilterBefore)>, ApplyError> {
    let mut all = Vec::new();
    for InterfaceStatus { interface, programs } in interfaces {
        if let Programs::Attached(attachment) = programs {
            let before = datapath.filters_before(attachment)?.into_iter();
            all.extend(before.map(|filter| (interface.name.clone(), filter)));
        }
    }
    Ok(all)
}

fn kernel_status(datapath: &Datapath, interfaces: &[InterfaceStatus]) -> Result<KernelStatus, ApplyError> {
    let mut counters = BTreeMap::new();
    for InterfaceStatus { interface, .. } in interfaces {
        counters.insert(interface.name.clone(), datapath.counters(interface.slot)?);
    }
    counters.insert(UNKNOWN.to_owned(), datapath.counters(UNKNOWN_INTERFACE)?);
    let (generation, flow_table) = (datapath.generation()?, datapath.occupancy()?);
    Ok(KernelStatus { generation, counters, flow_table })
}
