//! Live flows, and which of them live by their state alone, because no rule admits their first packet any more.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use firewall_common::abi::{Be16, Direction, EXEMPT, RULE_SET, ServiceIndex};

use super::policy::policy_stored;
use super::{Leftover, OperationError};
use crate::compile::{CompiledPolicy, InterfaceLookup};
use crate::datapath::{Datapath, Flows, Over};
use crate::host;
use crate::model::{Interface, Protocol, RuleId};
use crate::store::Snapshot;

pub use crate::datapath::FlowRow;

/// The live flows.
#[derive(Debug, Default)]
pub struct LiveFlows {
    /// Those whose addresses are recorded.
    pub flows: Vec<Flow>,
    /// How many there are besides.
    pub unnamed: u64,
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

/// The live flows, judged by what a snapshot holds.
pub(super) fn live_flows(snapshot: &Snapshot<'_>, datapath: &Datapath) -> Result<LiveFlows, OperationError> {
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
    let policy = policy_stored(snapshot, datapath)?;
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

/// Flows to report if no rule admits them after the change: those a rule admits now; with `--flows`, every flow that
/// would outlive the cut.
pub(super) fn at_stake(
    snapshot: &Snapshot<'_>,
    datapath: &Datapath,
    cut_after: Option<Duration>,
) -> Result<Vec<Flow>, OperationError> {
    let mut flows = live_flows(snapshot, datapath)?.flows;
    flows.retain(|flow| match (cut_after, flow.row.cut_in_seconds) {
        (None, cut_in) => !flow.is_orphaned && cut_in != Some(0),
        (Some(_), None) => true,
        (Some(delay), Some(seconds)) => seconds > delay.as_secs(),
    });
    Ok(flows)
}

/// Those of the flows that no rule of a policy admits.
pub(super) fn without_rule(
    mut flows: Vec<Flow>,
    interfaces: &[Interface],
    policy: &CompiledPolicy,
) -> Vec<Flow> {
    let zones = Zones::new(interfaces, policy);
    flows.retain(|flow| !zones.admit(&flow.row));
    flows
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
