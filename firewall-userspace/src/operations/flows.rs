//! Live flows, and which of them live by their state alone, because no rule admits their first packet any more.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use firewall_common::abi::{Be16, Direction, EXEMPT, RULE_SET, ServiceIndex};

use super::{Leftover, OperationError};
use crate::compile::{CompiledPolicy, InterfaceLookup};
use crate::datapath::{Datapath, DatapathError, Over};
use crate::host;
use crate::model::{Interface, Protocol, RuleId};

pub use crate::datapath::FlowRow;

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

/// The policies by which flows of each zone may begin: those of its interfaces.
pub(super) struct Zones<'p>(BTreeMap<u16, Vec<InterfaceLookup<'p>>>);

impl<'p> Zones<'p> {
    pub(super) fn new(interfaces: &[Interface], policy: &'p CompiledPolicy) -> Self {
        let mut zones: BTreeMap<u16, Vec<InterfaceLookup<'_>>> = BTreeMap::new();
        for interface in interfaces {
            zones.entry(interface.zone).or_default().extend(policy.lookup(interface.slot));
        }
        Self(zones)
    }

    /// Whether the packet that the flow began with could begin it now.
    pub(super) fn admit(&self, flow: &FlowRow) -> bool {
        let (peer, _) = match flow.started_by {
            Direction::Ingress => flow.initiator,
            Direction::Egress => flow.responder,
        };
        let service = service(flow, peer);
        let cell = |policy: &InterfaceLookup<'_>| policy.cell(flow.started_by, peer, service);
        let mut policies = self.0.get(&flow.zone).into_iter().flatten();
        policies.any(|policy| cell(policy) & (RULE_SET | EXEMPT) != 0)
    }
}

/// Turns rows of the kernel into flows.
pub(super) struct Names<'s> {
    pub(super) interfaces: &'s [Interface],
    pub(super) rule_sets: &'s BTreeMap<u32, Vec<RuleId>>,
}

impl Names<'_> {
    fn flow(&self, row: FlowRow, is_orphaned: bool) -> Flow {
        let in_zone = self.interfaces.iter().filter(|interface| interface.zone == row.zone);
        Flow {
            interfaces: in_zone.map(|interface| interface.name.clone()).collect(),
            rules: self.rule_sets.get(&row.rule_set).cloned().unwrap_or_default(),
            is_orphaned,
            row,
        }
    }
}

/// Calls `visit` with each live flow, judged by a policy, until it fails. Returns how many there are besides whose addresses are
/// not recorded.
///
/// What has a socket here is asked for it where `is_here` says that sockets can be: it is over without one.
pub(super) fn each_flow<E: From<OperationError>>(
    datapath: &Datapath,
    is_here: bool,
    names: &Names<'_>,
    zones: &Zones<'_>,
    mut visit: impl FnMut(Flow) -> Result<(), E>,
) -> Result<u64, E> {
    each_live_row(datapath, is_here, |row| {
        let is_orphaned = !zones.admit(&row);
        visit(names.flow(row, is_orphaned))
    })
}

/// As [`each_flow`], of rows as the kernel has them.
fn each_live_row<E: From<OperationError>>(
    datapath: &Datapath,
    is_here: bool,
    mut visit: impl FnMut(FlowRow) -> Result<(), E>,
) -> Result<u64, E> {
    let mut doubtful = Doubtful::default();
    let unnamed = datapath.each_flow(|row| {
        if is_here && row.needs_socket {
            doubtful.rows.push(row);
            return if doubtful.rows.len() < ASKED_AT_ONCE { Ok(()) } else { doubtful.ask(&mut visit) };
        }
        visit(row).map_err(Stop::Visit)
    });
    let unnamed = unnamed.and_then(|unnamed| doubtful.ask(&mut visit).map(|()| unnamed));
    unnamed.map_err(|stop| match stop {
        Stop::Datapath(error) => OperationError::from(error).into(),
        Stop::Visit(error) => error,
    })
}

/// Flows whose sockets are asked for in one go: these alone are kept while the table is read.
const ASKED_AT_ONCE: usize = 65_536;

/// Flows that are over if the host has no socket for them.
#[derive(Default)]
struct Doubtful {
    rows: Vec<FlowRow>,
}

impl Doubtful {
    /// Hands on those that have one. It is looked for after the flows were read, so that none that has come since is missed.
    fn ask<E: From<OperationError>>(
        &mut self,
        visit: &mut impl FnMut(FlowRow) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let connections =
            host::tcp_connections().map_err(|error| Stop::Visit(OperationError::from(error).into()))?;
        let live = self.rows.drain(..).filter(|row| connections.contains_key(&ends(row)));
        live.into_iter().try_for_each(visit).map_err(Stop::Visit)
    }
}

/// Why a walk has ended.
enum Stop<E> {
    Datapath(DatapathError),
    Visit(E),
}

impl<E> From<DatapathError> for Stop<E> {
    fn from(error: DatapathError) -> Self {
        Self::Datapath(error)
    }
}

/// Whether the sockets of this process's network namespace are those of the interfaces.
pub(super) fn is_here(namespace: u64) -> Result<bool, OperationError> {
    Ok(host::current_namespace()? == namespace)
}

/// The end on this host, and the other one.
fn ends(row: &FlowRow) -> (SocketAddr, SocketAddr) {
    let (initiator, responder) = (row.initiator.into(), row.responder.into());
    match row.started_by {
        Direction::Egress => (initiator, responder),
        Direction::Ingress => (responder, initiator),
    }
}

/// Flows that no rule admits after a change.
#[derive(Debug, Default)]
pub struct OrphanedFlows {
    /// The first of them: there may be millions.
    pub flows: Vec<Flow>,
    /// How many there are besides.
    pub more: u64,
}

impl OrphanedFlows {
    /// How many are kept.
    pub const KEPT: usize = 10_000;

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.flows.len() as u64 + self.more
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    fn add(&mut self, flow: impl FnOnce() -> Flow) {
        if self.flows.len() < Self::KEPT {
            self.flows.push(flow());
        } else {
            self.more += 1;
        }
    }
}

/// The flows to report because no rule admits them `after` a change: those that one admits `before`; where flows are cut, every
/// one that would outlive the cut.
pub(super) fn orphaned_by_change(
    datapath: &Datapath,
    is_here: bool,
    names: &Names<'_>,
    (before, after): (&Zones<'_>, &Zones<'_>),
    cut_after: Option<Duration>,
) -> Result<OrphanedFlows, OperationError> {
    let mut orphaned = OrphanedFlows::default();
    each_live_row(datapath, is_here, |row| {
        if after.admit(&row) {
            return Ok::<_, OperationError>(());
        }
        let is_orphaned = !before.admit(&row);
        let is_at_stake = match (cut_after, row.cut_in_seconds) {
            (None, cut_in) => !is_orphaned && cut_in != Some(0),
            (Some(_), None) => true,
            (Some(delay), Some(seconds)) => seconds > delay.as_secs(),
        };
        if is_at_stake {
            orphaned.add(|| names.flow(row, is_orphaned));
        }
        Ok(())
    })?;
    Ok(orphaned)
}

/// Cuts, after `delay`, the flows that are orphaned under the policy in force. Returns how many there are.
pub(super) fn cut(
    datapath: &mut Datapath,
    policy: &CompiledPolicy,
    interfaces: &[Interface],
    delay: Duration,
) -> Result<u64, OperationError> {
    let zones = Zones::new(interfaces, policy);
    let rule_sets: HashSet<u32> = policy.cells.iter().map(|(_, cell)| cell & RULE_SET).collect();
    let over = Over {
        rows: |flow: &FlowRow| !zones.admit(flow),
        // It may still be admitted where the rules for its traffic have only become others. Then its initiator begins it anew.
        rule_sets: |rule_set: u32| !rule_sets.contains(&rule_set),
    };
    Ok(datapath.cut_flows(delay, &over)?)
}

/// As [`cut`], where a failure is what is left to do.
pub(super) fn cut_or_leave(
    datapath: &mut Datapath,
    policy: &CompiledPolicy,
    interfaces: &[Interface],
    delay: Duration,
) -> (u64, Option<Leftover>) {
    match cut(datapath, policy, interfaces, delay) {
        Ok(flows) => (flows, None),
        Err(error) => (0, Some(Leftover::Flows(error))),
    }
}

/// What the first packet of a flow wanted. Queries have code 0 (RFC 792, RFC 4443).
fn service(flow: &FlowRow, peer: IpAddr) -> ServiceIndex {
    let (_, port) = flow.responder;
    let [_, icmp_type] = port.to_be_bytes();
    match (Protocol::from_number(flow.protocol), peer) {
        (Protocol::Tcp, _) => ServiceIndex::tcp(Be16::new(port)),
        (Protocol::Udp, _) => ServiceIndex::udp(Be16::new(port)),
        (Protocol::Icmp, IpAddr::V4(_)) => ServiceIndex::icmp(icmp_type, 0),
        (Protocol::Icmpv6, IpAddr::V6(_)) => ServiceIndex::icmpv6(icmp_type, 0),
        _ => ServiceIndex::other(flow.protocol),
    }
}
