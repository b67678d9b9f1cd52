//! The tables of a decision in memory: plain maps where the kernel has BPF maps.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use firewall_common::abi::{
    CellKey, FlowEntry, FlowKey, FragmentEntry, FragmentKey, InterfaceSettings, Ipv4, Ipv6, RecentFlow, Seen,
    ServiceIndex, Timeouts, exempt_flag, interface_flag,
};
use firewall_common::decide::{FlowHandle, FlowTables, Half, Table, TableFull, Tables};
use firewall_common::flow::FlowState;
use firewall_userspace::compile::{CompiledInterface, CompiledPolicy};
use firewall_userspace::model::IcmpErrors;

use crate::scenario::{FLOW_ENTRIES, fillers};

/// Ticks of the simulated clock in a second.
pub(super) const TICKS_PER_SECOND: u32 = 100;

/// The clock starts a minute before it wraps, as the kernel's starts five minutes before.
const FIRST_TICK: u32 = u32::MAX - 60 * TICKS_PER_SECOND;

#[derive(Debug)]
pub(super) struct MemoryTables {
    now: u32,
    generation: u64,
    policy: CompiledPolicy,
    settings: BTreeMap<u32, InterfaceSettings>,
    cells: HashMap<CellKey, u32>,
    v4: Flows<Ipv4>,
    v6: Flows<Ipv6>,
    fragments: RefCell<HashMap<FragmentKey, FragmentEntry>>,
    /// Whether another CPU is about to promote the flow that is looked for among the half-open ones next.
    promotes_next: Cell<bool>,
    promotion: Cell<u32>,
    /// Each slot's mark of recent flows.
    recent_marks: RefCell<HashMap<u32, u32>>,
}

/// The flow tables of one family.
#[derive(Debug)]
struct Flows<A> {
    assured: FlowMap<A>,
    half_open: FlowMap<A>,
    /// See [`FlowTables::pressure`].
    pressure: Cell<u32>,
    /// By slot: one CPU's.
    recent: RefCell<HashMap<u32, RecentFlow<A>>>,
}

type FlowMap<A> = RefCell<HashMap<FlowKey<A>, Entry>>;

/// An entry that the map and the code that works on it share.
#[derive(Clone, Debug)]
pub(super) struct Entry(Rc<Cell<FlowEntry>>);

impl MemoryTables {
    pub(super) fn publish(&mut self, policy: CompiledPolicy) {
        self.generation += 1;
        self.settings =
            policy.interfaces.iter().map(|interface| (interface.slot, settings(interface))).collect();
        self.cells = policy.cells.iter().copied().collect();
        self.policy = policy;
    }

    pub(super) fn advance_clock(&mut self, ticks: u32) {
        self.now = self.now.wrapping_add(ticks);
    }

    pub(super) fn forget_state(&mut self) {
        self.v4 = Flows::default();
        self.v6 = Flows::default();
        self.fragments.get_mut().clear();
    }

    pub(super) fn fill(&mut self) {
        self.v4.fill();
        self.v6.fill();
    }

    pub(super) fn sweep(&mut self) {
        let zones = self.settings.values().map(|settings| (settings.zone, settings)).collect();
        self.v4.sweep(&zones, self.now);
        self.v6.sweep(&zones, self.now);
    }

    pub(super) fn promote_next(&self) {
        self.promotes_next.set(true);
    }

    pub(super) fn flow_count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

impl Default for MemoryTables {
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
            policy,
            settings: BTreeMap::new(),
            cells: HashMap::new(),
            v4: Flows::default(),
            v6: Flows::default(),
            fragments: RefCell::default(),
            promotes_next: Cell::default(),
            promotion: Cell::default(),
            recent_marks: RefCell::default(),
        }
    }
}

/// What `datapath` writes into the settings map, from the model once more.
fn settings(interface: &CompiledInterface) -> InterfaceSettings {
    let options = &interface.options;
    let ticks = |seconds: u32| seconds * TICKS_PER_SECOND;
    let flag = |on: bool, flag: u16| if on { flag } else { 0 };
    let (timeouts, exemptions) = (options.timeouts, options.exemptions);
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
        timeouts: Timeouts {
            tcp_syn: ticks(timeouts.tcp_syn),
            tcp_established: ticks(timeouts.tcp_established),
            tcp_fin: ticks(timeouts.tcp_fin),
            tcp_closed: ticks(timeouts.tcp_closed),
            udp: ticks(timeouts.udp),
            udp_stream: ticks(timeouts.udp_stream),
            icmp: ticks(timeouts.icmp),
            other: ticks(timeouts.other),
        },
        untracked: interface.untracked,
    }
}

impl Tables for MemoryTables {
    fn clock(&self) -> u64 {
        self.now.into()
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

    fn cell(&self, _half: Half, key: &CellKey) -> u32 {
        self.cells.get(key).copied().unwrap_or(0)
    }

    fn recent_mark(&self, slot: u32) -> u32 {
        self.recent_marks.borrow().get(&slot).copied().unwrap_or(0)
    }

    fn draw_recent_mark(&self, slot: u32) {
        *self.recent_marks.borrow_mut().entry(slot).or_default() += 1;
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
}

macro_rules! flow_tables {
    ($family:ty, $flows:ident, $addresses:ident, $address:expr) => {
        impl FlowTables<$family> for MemoryTables {
            type Handle = Entry;

            fn address_class(&self, _half: Half, address: &$family) -> u32 {
                let address = $address(address);
                let containing =
                    self.policy.$addresses.iter().filter(|(prefix, _)| prefix.contains(&address));
                containing.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(0, |(_, class)| *class)
            }

            fn was_received_here(&self) -> bool {
                false
            }

            fn leads_back_here(&self, _source: &$family, _destination: &$family) -> bool {
                // There are no routes, as in a test run of the programs.
                false
            }

            fn flow(&self, table: Table, key: &FlowKey<$family>) -> Option<Entry> {
                if table == Table::HalfOpen && self.promotes_next.take() {
                    self.$flows.promote(key);
                    FlowTables::<$family>::mark_promotion(self);
                }
                self.$flows.table(table).borrow().get(key).cloned()
            }

            fn insert_flow(
                &self,
                table: Table,
                key: &FlowKey<$family>,
                entry: &FlowEntry,
            ) -> Result<(), TableFull> {
                self.$flows.insert(table, key, entry)
            }

            fn remove_flow(&self, table: Table, key: &FlowKey<$family>) {
                self.$flows.table(table).borrow_mut().remove(key);
            }

            fn pressure(&self) -> u32 {
                self.$flows.pressure.get()
            }

            fn set_pressure(&self, now: u32) {
                self.$flows.pressure.set(now);
            }

            fn recent(&self, slot: u32, key: &FlowKey<$family>) -> Option<Seen> {
                self.$flows.recent.borrow().get(&slot)?.seen_of(key)
            }

            fn remember(&self, slot: u32, key: &FlowKey<$family>, seen: Seen) {
                self.$flows.recent.borrow_mut().insert(slot, RecentFlow { key: *key, seen });
            }

            fn promotion(&self) -> u32 {
                self.promotion.get()
            }

            fn mark_promotion(&self) {
                self.promotion.set(self.promotion.get().wrapping_add(1));
            }
        }
    };
}

flow_tables!(Ipv4, v4, addresses_v4, |address: &Ipv4| Ipv4Addr::from(address.0.to_bytes()));
flow_tables!(Ipv6, v6, addresses_v6, |address: &Ipv6| Ipv6Addr::from(address.to_bytes()));

impl<A: Copy + Default + Eq + Hash> Flows<A> {
    fn insert(&self, table: Table, key: &FlowKey<A>, entry: &FlowEntry) -> Result<(), TableFull> {
        let mut flows = self.table(table).borrow_mut();
        let is_full = table == Table::Assured && flows.len() >= usize::from(FLOW_ENTRIES);
        if is_full && !flows.contains_key(key) {
            return Err(TableFull);
        }
        flows.insert(*key, Entry(Rc::new(Cell::new(*entry))));
        Ok(())
    }

    fn promote(&self, key: &FlowKey<A>) {
        if let Some(entry) = self.half_open.borrow_mut().remove(key) {
            self.assured.borrow_mut().insert(*key, entry);
        }
    }

    fn fill(&self) {
        for (key, entry) in fillers() {
            if self.insert(Table::Assured, &key, &entry).is_err() {
                return;
            }
        }
    }

    fn sweep(&self, zones: &BTreeMap<u16, &InterfaceSettings>, now: u32) {
        let is_over = |key: &FlowKey<A>, entry: &Entry| {
            let (Some(settings), entry) = (zones.get(&key.zone), entry.read()) else {
                return false;
            };
            let state = FlowState::from_number(entry.state);
            state.is_some_and(|state| entry.is_expired(state, &settings.timeouts, now))
        };
        for table in [Table::Assured, Table::HalfOpen] {
            self.table(table).borrow_mut().retain(|key, entry| !is_over(key, entry));
        }
    }

    fn table(&self, table: Table) -> &FlowMap<A> {
        match table {
            Table::Assured => &self.assured,
            Table::HalfOpen => &self.half_open,
        }
    }

    fn len(&self) -> usize {
        self.assured.borrow().len() + self.half_open.borrow().len()
    }
}

impl<A> Default for Flows<A> {
    fn default() -> Self {
        Self {
            assured: RefCell::default(),
            half_open: RefCell::default(),
            pressure: Cell::default(),
            recent: RefCell::default(),
        }
    }
}

impl FlowHandle for Entry {
    fn read(&self) -> FlowEntry {
        self.0.get()
    }

    fn write(&self, entry: &FlowEntry) {
        self.0.set(*entry);
    }

    fn touch(&self, now: u32) {
        self.0.set(FlowEntry { last_seen: now, ..self.0.get() });
    }
}
