//! The tables of a decision in memory: plain maps and vectors where the kernel has BPF maps.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use bytemuck::Zeroable as _;
use firewall_common::abi::{
    Address as _, CellKey, CellLine, FragmentEntry, FragmentKey, InterfaceSettings, Ipv4, Ipv6, KeyWords,
    ServiceIndex, cell_in, class_in_v6, exempt_flag, interface_flag, prefix_in,
};
use firewall_common::decide::{Half, SocketOf, Tables};
use firewall_common::flow_table::layout::SLOTS;
use firewall_common::flow_table::layout::time_shift;
use firewall_common::flow_table::life::Socket;
use firewall_common::flow_table::sweep::{Swept, answered, sweep};
use firewall_common::flow_table::{Geometry, Line, Memory, find, spot};
use firewall_userspace::compile::{CompiledInterface, CompiledPolicy, PrefixTable};
use firewall_userspace::datapath::{Units, lifetimes};
use firewall_userspace::model::IcmpErrors;

use super::heap::Heap;
use crate::scenario::{FLOW_ENTRIES, Origin, fill, live_flows};

/// Ticks of the simulated clock in a second: eight whole units of time, so that a second more or less decides.
const TICKS_PER_SECOND: u32 = 256;

/// Bits by which ticks are shifted to be units of time.
const TIME_SHIFT: u32 = time_shift(TICKS_PER_SECOND);

/// The clock starts a minute before its lower half wraps, as the kernel's starts five minutes before.
const FIRST_TICK: u64 = (1 << 32) - 60 * TICKS_PER_SECOND as u64;

#[derive(Clone, Debug)]
pub(super) struct MemoryTables<M> {
    now: u64,
    generation: u64,
    policy: CompiledPolicy,
    settings: BTreeMap<u32, InterfaceSettings>,
    cells: Vec<CellLine>,
    prefixes_v6: PrefixTable,
    flows: M,
    fragments: RefCell<HashMap<FragmentKey, FragmentEntry>>,
    sockets: Socket,
    /// Of the packet under decision.
    origin: Cell<Origin>,
}

impl<M: Memory> MemoryTables<M> {
    /// The same but for the flows.
    pub(super) fn over<N>(&self, flows: N) -> MemoryTables<N> {
        MemoryTables {
            now: self.now,
            generation: self.generation,
            policy: self.policy.clone(),
            settings: self.settings.clone(),
            cells: self.cells.clone(),
            prefixes_v6: self.prefixes_v6.clone(),
            flows,
            fragments: self.fragments.clone(),
            sockets: self.sockets,
            origin: self.origin.clone(),
        }
    }

    pub(super) fn publish(&mut self, policy: CompiledPolicy) {
        self.generation += 1;
        self.cells = policy.cell_lines();
        self.prefixes_v6 = policy.prefix_table_v6();
        let settings = |interface| settings(interface, self.cells.len());
        self.settings =
            policy.interfaces.iter().map(|interface| (interface.slot, settings(interface))).collect();
        self.policy = policy;
    }

    pub(super) fn wait(&mut self, seconds: u32) {
        self.now += u64::from(seconds) * u64::from(TICKS_PER_SECOND);
    }

    pub(super) fn set_sockets(&mut self, sockets: Socket) {
        self.sockets = sockets;
    }

    pub(super) fn set_origin(&self, origin: Origin) {
        self.origin.set(origin);
    }

    pub(super) fn fill(&mut self) {
        self.each_line(fill);
    }

    pub(super) fn flow_count(&self) -> usize {
        let mut count = 0;
        self.each_line(|line, now| count += live_flows(line, now));
        count
    }

    /// As `datapath::expire` does, with the timeouts of any interface: scenarios with more have the same short ones.
    pub(super) fn sweep(&mut self) {
        let Some(settings) = self.settings.values().next() else {
            return;
        };
        let (lifetimes, now) = (settings.lifetimes, self.units());
        for bucket in 0..self.flows.geometry().buckets() {
            for slot in 0..SLOTS {
                if let Swept::Asks(listed) = sweep(&self.flows, bucket, slot, &lifetimes, now) {
                    answered(&self.flows, bucket, slot, &listed, self.sockets, &lifetimes, now);
                }
            }
        }
    }

    fn each_line(&self, mut change: impl FnMut(&mut Line, u32)) {
        for bucket in 0..self.flows.geometry().buckets() {
            let Some(place) = self.flows.line(bucket) else {
                return;
            };
            let mut line = Line::zeroed();
            for (word, slot) in (0..).step_by(2).zip(&mut line.slots) {
                slot.fingerprint = self.flows.load(place, word);
                slot.control = self.flows.load(place, word + 1);
            }
            change(&mut line, self.units());
            for (word, slot) in (0..).step_by(2).zip(&line.slots) {
                self.flows.store(place, word, slot.fingerprint);
                self.flows.store(place, word + 1, slot.control);
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "as the programs do")]
    fn units(&self) -> u32 {
        (self.now >> TIME_SHIFT) as u32
    }
}

impl MemoryTables<Heap> {
    pub(super) fn forget_state(&mut self) {
        self.flows = flow_table();
        self.fragments.get_mut().clear();
        self.sockets = Socket::None;
    }
}

impl Default for MemoryTables<Heap> {
    fn default() -> Self {
        let policy = CompiledPolicy {
            interfaces: Vec::new(),
            addresses_v4: Vec::new(),
            addresses_v6: Vec::new(),
            services: Vec::new(),
            cells: Vec::new(),
        };
        Self {
            now: FIRST_TICK,
            generation: 0,
            settings: BTreeMap::new(),
            cells: policy.cell_lines(),
            prefixes_v6: policy.prefix_table_v6(),
            policy,
            flows: flow_table(),
            fragments: RefCell::default(),
            sockets: Socket::None,
            origin: Cell::new(Origin::Host),
        }
    }
}

fn flow_table() -> Heap {
    Heap::new(Geometry::for_entries(FLOW_ENTRIES), 7)
}

/// What `datapath` writes into the settings map, from the model once more.
fn settings(interface: &CompiledInterface, cell_lines: usize) -> InterfaceSettings {
    let options = &interface.options;
    let flag = |on: bool, flag: u16| if on { flag } else { 0 };
    let exemptions = options.exemptions;
    InterfaceSettings {
        policy: interface.policy,
        zone: interface.zone,
        flags: flag(options.icmp_errors == IcmpErrors::RulesOnly, interface_flag::ICMP_ERRORS_BY_RULES_ONLY)
            | flag(options.tcp_strict, interface_flag::TCP_STRICT),
        exempt: flag(exemptions.arp, exempt_flag::ARP)
            | flag(exemptions.neighbor_discovery, exempt_flag::NEIGHBOR_DISCOVERY)
            | flag(exemptions.multicast_listener, exempt_flag::MULTICAST_LISTENER)
            | flag(exemptions.dhcp_client, exempt_flag::DHCP_CLIENT)
            | flag(exemptions.non_ip, exempt_flag::NON_IP)
            | flag(interface.has_exempt_addresses, exempt_flag::ADDRESSES),
        jiffies_per_second: TICKS_PER_SECOND,
        lifetimes: lifetimes(&options.timeouts, Units::at(TICKS_PER_SECOND)),
        untracked: interface.untracked,
        cell_lines: u32::try_from(cell_lines).unwrap(),
    }
}

impl<M: Memory> Tables for MemoryTables<M> {
    type Flows = M;

    fn clock(&self) -> u64 {
        self.now
    }

    fn time_shift(&self) -> u32 {
        TIME_SHIFT
    }

    fn generation_word(&self) -> u64 {
        self.generation
    }

    fn confirmation_deadline(&self) -> u64 {
        0
    }

    fn settings(&self, _half: Half, slot: u32) -> Option<&InterfaceSettings> {
        self.settings.get(&slot)
    }

    fn service_class(&self, _half: Half, service: ServiceIndex) -> u16 {
        self.policy.services[service.get() as usize]
    }

    fn address_class_v4(&self, _half: Half, address: &Ipv4) -> u32 {
        let address = Ipv4Addr::from(address.0.to_bytes());
        let containing = self.policy.addresses_v4.iter().filter(|(prefix, _)| prefix.contains(&address));
        containing.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(0, |(_, class)| *class)
    }

    fn address_class_v6(&self, _half: Half, address: &Ipv6) -> u32 {
        let PrefixTable { lengths, lines } = &self.prefixes_v6;
        let node = |index| lengths.get(index as usize);
        let find =
            |count, prefix, length| prefix_in(|index| lines.get(index as usize), count, prefix, length);
        class_in_v6(node, find, address.words())
    }

    fn cell(&self, _half: Half, lines: u32, key: &CellKey) -> u32 {
        cell_in(|index| self.cells.get(index as usize), lines, key.word())
    }

    fn fragment(&self, key: &FragmentKey) -> Option<FragmentEntry> {
        self.fragments.borrow().get(key).copied()
    }

    fn insert_fragment(&self, key: &FragmentKey, entry: &FragmentEntry) {
        self.fragments.borrow_mut().insert(*key, *entry);
    }

    fn remove_fragment(&self, key: &FragmentKey) {
        self.fragments.borrow_mut().remove(key);
    }

    fn flows(&self) -> &M {
        &self.flows
    }

    /// Only of a flow that is there: nobody asks for any other.
    fn socket(&self, key: SocketOf<'_, M>) -> Socket {
        let key = match key {
            SocketOf::Packet(key) => *key,
            SocketOf::Record(record) => [0, 1, 2, 3, 4].map(|word| self.flows.load(record, word)),
        };
        assert!(find(&self.flows, &spot(&self.flows, &key), self.units()).is_some(), "asked for no flow");
        self.sockets
    }

    fn count_flow_event(&self, _event: u32) {}

    fn note_refusal(&self) {}

    fn is_forwarded(&self) -> bool {
        self.origin.get() != Origin::Host
    }

    fn was_received_here(&self) -> bool {
        self.origin.get() == Origin::SameInterface
    }

    fn leads_back_here(&self, _key: &KeyWords) -> bool {
        // There are no routes, as in a test run of the programs.
        false
    }
}
