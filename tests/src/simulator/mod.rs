//! The decision core over tables in memory.
//!
//! It plays scenarios with the lines that run in the kernel ([`firewall_common::decide`]) and the tables that the
//! compiler makes, but without a kernel: what differs between it and the oracle is wrong in the core or the compiler,
//! and what differs between it and the kernel is wrong in the programs or in how tables are published.

pub mod heap;
mod tables;

use anyhow::Result;
use firewall_common::decide::{Hook, InMemory, decide};
use firewall_common::flow_table::Memory;
use firewall_common::flow_table::life::Socket;
use firewall_common::packet::Link;
use firewall_common::reason::Reason;
use firewall_userspace::compile::{RuleSetIds, compile};

use crate::packets::Frame;
use crate::scenario::input::policy_input;
use crate::scenario::{Arrival, Firewall, Policy};
use heap::Heap;
use tables::MemoryTables;

/// The core with its tables. Its flows are where `M` has them.
#[derive(Clone, Debug)]
pub struct Simulator<M = Heap> {
    tables: MemoryTables<M>,
    rule_sets: RuleSetIds,
}

impl Default for Simulator {
    fn default() -> Self {
        Self { tables: MemoryTables::default(), rule_sets: RuleSetIds::default() }
    }
}

impl Simulator {
    /// Forgets every flow and fragment, and that there are sockets.
    pub fn forget_state(&mut self) {
        self.tables.forget_state();
    }
}

impl<M: Memory> Simulator<M> {
    /// The same policy, clock and sockets, with other flows.
    #[must_use]
    pub fn over<N>(&self, flows: N) -> Simulator<N> {
        Simulator { tables: self.tables.over(flows), rule_sets: self.rule_sets.clone() }
    }

    /// Decides a frame by its bytes, whatever they are.
    #[must_use]
    pub fn decide_bytes(&self, arrival: Arrival, frame: &[u8]) -> Reason {
        let link = Link::Ethernet { stripped_tags: 0 };
        let hook = Hook { slot: arrival.slot, direction: arrival.direction, link };
        self.tables.set_origin(arrival.origin);
        decide(&mut InMemory::new(frame, &self.tables, hook)).reason()
    }
}

impl<M: Memory> Firewall for Simulator<M> {
    fn publish(&mut self, policy: &Policy) -> Result<()> {
        let compiled = compile(&policy_input(policy)?, &mut self.rule_sets)?;
        self.tables.publish(compiled);
        Ok(())
    }

    fn decide(&mut self, arrival: Arrival, frame: &Frame) -> Result<Reason> {
        Ok(self.decide_bytes(arrival, &frame.to_bytes()))
    }

    fn wait(&mut self, seconds: u32) -> Result<()> {
        self.tables.wait(seconds);
        Ok(())
    }

    fn fill(&mut self) -> Result<()> {
        self.tables.fill();
        Ok(())
    }

    fn sockets(&mut self, sockets: Socket) -> Result<()> {
        self.tables.set_sockets(sockets);
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        self.tables.sweep();
        Ok(())
    }

    fn flows(&mut self) -> Result<usize> {
        Ok(self.tables.flow_count())
    }
}
