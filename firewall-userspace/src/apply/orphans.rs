//! Orphaned flows: they live only by state, because no rule admits their first packet any more.

use std::time::Duration;

use firewall_common::abi::{Be16, Direction, RULE_SET, ServiceIndex};
use firewall_common::flow::FlowState;

use super::publish::policy_in_force;
use super::{ApplyError, Instance};
use crate::compile::{CompiledPolicy, InterfaceLookup};
use crate::datapath::{Datapath, FlowRow};
use crate::model::Interface;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Tells whether flows are orphaned under a policy.
pub(super) struct Orphans<'p> {
    /// By zone: every interface of the zone may have admitted a flow.
    policies: Vec<(u16, InterfaceLookup<'p>)>,
}

impl<'p> Orphans<'p> {
    pub(super) fn under(policy: &'p CompiledPolicy, interfaces: &[Interface]) -> Self {
        let policies = interfaces
            .iter()
            .filter_map(|interface| Some((interface.zone, policy.lookup(interface.slot)?)))
            .collect();
        Self { policies }
    }

    /// Whether no rule of an interface of the flow's zone admits the packet that the flow began with. Flows of no
    /// interface are not for a policy to judge.
    pub(super) fn contain(&self, flow: &FlowRow) -> bool {
        let mut policies = self.policies.iter().filter(|(zone, _)| *zone == flow.zone).peekable();
        policies.peek().is_some() && !policies.any(|(_, policy)| admits(policy, flow))
    }
}

/// Cuts, after `delay`, every flow that is orphaned now.
pub fn cut_all(instance: &Instance, delay: Duration) -> Result<u64, ApplyError> {
    // Locked, so that the policy by which the flows are judged is and stays the one in force.
    let (mut store, _lock) = instance.lock()?;
    let snapshot = store.snapshot()?;
    let interfaces = snapshot.interfaces()?;
    match instance.datapath(&interfaces)? {
        Some(mut datapath) => {
            let policy = policy_in_force(&snapshot, &datapath)?;
            cut(&mut datapath, &policy, &interfaces, delay)
        }
        None => Ok(0),
    }
}

/// Cuts, after `delay`, the flows that are orphaned under the policy in force. Returns how many there are.
pub(super) fn cut(
    datapath: &mut Datapath,
    policy: &CompiledPolicy,
    interfaces: &[Interface],
    delay: Duration,
) -> Result<u64, ApplyError> {
    let orphans = Orphans::under(policy, interfaces);
    Ok(datapath.cut_flows(delay, |flow| orphans.contain(flow))?)
}

fn admits(policy: &InterfaceLookup<'_>, flow: &FlowRow) -> bool {
    let peer = match flow.started_by {
        Direction::Ingress => flow.initiator.0,
        Direction::Egress => flow.responder.0,
    };
    policy.cell(flow.started_by, peer, service(flow)) & RULE_SET != 0
}

/// What the flow's first packet asked for.
fn service(flow: &FlowRow) -> ServiceIndex {
    let is_ipv6 = flow.responder.0.is_ipv6();
    let port = flow.responder.1;
    match (flow.protocol, flow.state) {
        (TCP, _) => ServiceIndex::tcp(Be16::new(port)),
        (UDP, _) => ServiceIndex::udp(Be16::new(port)),
        // Of a query the flow knows the type, in the place of a port. Its code is 0 (RFC 792, RFC 4443).
        (ICMP, FlowState::IcmpQuery) if !is_ipv6 => ServiceIndex::icmp(query_type(port), 0),
        (ICMPV6, FlowState::IcmpQuery) if is_ipv6 => ServiceIndex::icmpv6(query_type(port), 0),
        (protocol, _) => ServiceIndex::other(protocol),
    }
}

/// Types have 8 bits.
fn query_type(port: u16) -> u8 {
    u8::try_from(port).unwrap_or(u8::MAX)
}
