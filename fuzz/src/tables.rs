//! Tables for `decide` that hold whatever the fuzzer likes.
//!
//! Unlike the simulator's they need not come from a policy: any address and service may have any class, any cell any
//! bits, a flow entry any bytes, and there is as little room as the fuzzer wants. What they hold can be compared before
//! and after a decision, and they remember what it was told.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use arbitrary::Arbitrary;
use bytemuck::Pod;
use firewall_common::abi::{
    Address, CellKey, Direction, FlowEntry, FlowKey, FragmentEntry, FragmentKey, InterfaceSettings, Seen,
    ServiceIndex, Timeouts, UntrackedServices, exempt_flag,
};
use firewall_common::decide::{FlowHandle, FlowTables, Half, Table, TableFull, Tables};
use firewall_common::flow::FlowState;

/// The slot that has settings.
pub const SLOT: u32 = 0;

const TICKS_PER_SECOND: u32 = 100;

/// Close together, so that pauses of up to 65 535 ticks outlast each and none.
const TIMEOUTS: Timeouts = Timeouts {
    tcp_syn: 6_000,
    tcp_established: 50_000,
    tcp_fin: 12_000,
    tcp_closed: 1_000,
    udp: 3_000,
    udp_stream: 18_000,
    icmp: 3_100,
    other: 40_000,
};

/// What is in the tables at first.
#[derive(Arbitrary, Clone, Debug)]
pub struct Contents {
    /// Clock.
    pub now: u32,
    /// Generation word; 0: nothing was ever published.
    pub generation: u8,
    /// Policy of the interface; 0: none.
    pub policy: u8,
    /// Bits of `interface_flag`.
    pub flags: u8,
    /// Bits of `exempt_flag`.
    pub exempt: u8,
    /// How many assured flows there is room for.
    pub assured_room: u8,
    /// How many half-open flows there is room for.
    pub half_open_room: u8,
    /// Whether egress packets came in by the same interface (the lowest bit), and, by the last byte of the source, whether the
    /// way back leads there.
    pub hairpins: u8,
    /// Address class by the last byte of the address.
    pub address_classes: [u8; 4],
    /// Service class by service.
    pub service_classes: [u8; 4],
    /// Cells, by direction and by the parity of both classes.
    pub cells: [u32; 8],
    /// `UntrackedServices`, by direction and family.
    pub untracked: [u32; 4],
}

impl Contents {
    /// Whether a service class may be untracked for every peer.
    #[must_use]
    pub fn leaves_untracked(&self, class: u16) -> bool {
        let untracked: UntrackedServices = bytemuck::cast(self.untracked);
        let named = |direction, is_ipv6| untracked.contains(direction, is_ipv6, class);
        u16::from(self.exempt) & exempt_flag::ADDRESSES == 0
            && [Direction::Ingress, Direction::Egress]
                .iter()
                .any(|direction| named(*direction, false) || named(*direction, true))
    }
}

/// The tables.
#[derive(Debug)]
pub struct FuzzTables {
    contents: Contents,
    settings: InterfaceSettings,
    now: Cell<u32>,
    assured: FlowMap,
    half_open: FlowMap,
    fragments: RefCell<HashMap<FragmentKey, FragmentEntry>>,
    pressure: [Cell<u32>; 2],
    answers: RefCell<Answers>,
}

/// Flows of both families by the bytes of their keys, whose lengths differ.
type FlowMap = RefCell<HashMap<Vec<u8>, Entry>>;

/// An entry that the map and the code that works on it share.
#[derive(Clone, Debug)]
pub struct Entry(Rc<Cell<FlowEntry>>);

/// What a decision was told.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Cells, with their direction.
    pub cells: Vec<(Direction, u32)>,
    /// Service classes.
    pub service_classes: Vec<u16>,
    /// Whether one of the flows was live.
    pub live_flow: bool,
}

/// The flow state at one time.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    /// Assured flows by key.
    pub assured: HashMap<Vec<u8>, FlowEntry>,
    /// Half-open flows by key.
    pub half_open: HashMap<Vec<u8>, FlowEntry>,
    /// When an assured flow last found no room, per family.
    pub pressure: [u32; 2],
}

impl FuzzTables {
    /// Tables without flows.
    #[must_use]
    pub fn new(contents: Contents) -> Self {
        let settings = InterfaceSettings {
            policy: contents.policy.into(),
            zone: 1,
            flags: contents.flags.into(),
            exempt: contents.exempt.into(),
            jiffies_per_second: TICKS_PER_SECOND,
            timeouts: TIMEOUTS,
            untracked: bytemuck::cast(contents.untracked),
        };
        Self {
            now: Cell::new(contents.now),
            contents,
            settings,
            assured: FlowMap::default(),
            half_open: FlowMap::default(),
            fragments: RefCell::default(),
            pressure: [Cell::new(0), Cell::new(0)],
            answers: RefCell::default(),
        }
    }

    /// Lets time pass.
    pub fn wait(&self, ticks: u32) {
        self.now.set(self.now.get().wrapping_add(ticks));
    }

    /// Overwrites all flow entries, as memory that went bad would.
    pub fn overwrite_flows(&self, entry: FlowEntry) {
        for map in [&self.assured, &self.half_open] {
            map.borrow().values().for_each(|known| known.write(&entry));
        }
    }

    /// What stands in the flow tables now.
    #[must_use]
    pub fn state(&self) -> State {
        let copy =
            |map: &FlowMap| map.borrow().iter().map(|(key, entry)| (key.clone(), entry.read())).collect();
        State {
            assured: copy(&self.assured),
            half_open: copy(&self.half_open),
            pressure: [self.pressure[0].get(), self.pressure[1].get()],
        }
    }

    /// What was asked since this was last called.
    #[must_use]
    pub fn take_answers(&self) -> Answers {
        self.answers.take()
    }

    /// How many fragmented packets are remembered.
    #[must_use]
    pub fn fragments(&self) -> usize {
        self.fragments.borrow().len()
    }

    /// What the tables held at first.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    fn flows(&self, table: Table) -> (&FlowMap, u8) {
        match table {
            Table::Assured => (&self.assured, self.contents.assured_room),
            Table::HalfOpen => (&self.half_open, self.contents.half_open_room),
        }
    }
}

impl Tables for FuzzTables {
    fn clock(&self) -> u64 {
        self.now.get().into()
    }

    fn generation_word(&self) -> u64 {
        self.contents.generation.into()
    }

    fn confirmation_deadline(&self) -> u64 {
        0
    }

    fn settings(&self, _half: Half, slot: u32) -> Option<&InterfaceSettings> {
        (slot == SLOT).then_some(&self.settings)
    }

    fn service_class(&self, _half: Half, service: ServiceIndex) -> u16 {
        let class = self.contents.service_classes[service.get() as usize % 4].into();
        self.answers.borrow_mut().service_classes.push(class);
        class
    }

    fn cell(&self, _half: Half, key: &CellKey) -> u32 {
        assert_eq!(key.policy, self.settings.policy, "asked for the cell of another policy");
        let is_egress = key.direction_and_address_class >> 31;
        let parities = (key.direction_and_address_class & 1) << 1 | u32::from(key.service_class & 1);
        let cell = self.contents.cells[(is_egress << 2 | parities) as usize];
        let direction = if is_egress == 0 { Direction::Ingress } else { Direction::Egress };
        self.answers.borrow_mut().cells.push((direction, cell));
        cell
    }

    fn recent_mark(&self, _slot: u32) -> u32 {
        0
    }

    fn draw_recent_mark(&self, _slot: u32) {}

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

impl<A: Address> FlowTables<A> for FuzzTables
where
    FlowKey<A>: Pod,
{
    type Handle = Entry;

    fn address_class(&self, _half: Half, address: &A) -> u32 {
        let [.., last] = address.widen().to_bytes();
        self.contents.address_classes[usize::from(last) % 4].into()
    }

    fn was_received_here(&self) -> bool {
        self.contents.hairpins & 1 != 0
    }

    fn leads_back_here(&self, source: &A, _destination: &A) -> bool {
        let [.., last] = source.widen().to_bytes();
        self.contents.hairpins >> (last % 8) & 1 != 0
    }

    fn flow(&self, table: Table, key: &FlowKey<A>) -> Option<Entry> {
        let entry = self.flows(table).0.borrow().get(bytemuck::bytes_of(key)).cloned()?;
        let flow = entry.read();
        let is_live = |state| !flow.is_expired(state, &TIMEOUTS, self.now.get());
        self.answers.borrow_mut().live_flow |= FlowState::from_number(flow.state).is_some_and(is_live);
        Some(entry)
    }

    fn insert_flow(&self, table: Table, key: &FlowKey<A>, entry: &FlowEntry) -> Result<(), TableFull> {
        let (map, room) = self.flows(table);
        let mut map = map.borrow_mut();
        let key = bytemuck::bytes_of(key);
        if !map.contains_key(key) && map.len() >= usize::from(room) {
            return Err(TableFull);
        }
        map.insert(key.to_vec(), Entry(Rc::new(Cell::new(*entry))));
        Ok(())
    }

    fn remove_flow(&self, table: Table, key: &FlowKey<A>) {
        self.flows(table).0.borrow_mut().remove(bytemuck::bytes_of(key));
    }

    fn pressure(&self) -> u32 {
        self.pressure[usize::from(A::IS_IPV6)].get()
    }

    fn set_pressure(&self, now: u32) {
        self.pressure[usize::from(A::IS_IPV6)].set(now);
    }

    fn recent(&self, _slot: u32, _key: &FlowKey<A>) -> Option<Seen> {
        // So that every packet goes the whole way, over entries that went bad too.
        None
    }

    fn remember(&self, _slot: u32, _key: &FlowKey<A>, _seen: Seen) {}

    fn promotion(&self) -> u32 {
        // One packet at a time: nothing happens between two lookups.
        0
    }

    fn mark_promotion(&self) {}
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
