//! Tables for `decide` that hold whatever the fuzzer likes.
//!
//! Unlike the simulator's they need not come from a policy: any address and service may have any class, any cell any
//! bits, a slot of the flow table any words, and there is as little room as the fuzzer wants. What they hold can be compared
//! before and after a decision, and they remember what it was told.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use arbitrary::Arbitrary;
use firewall_common::abi::{
    Address, CellKey, Direction, FragmentEntry, FragmentKey, InterfaceSettings, Ipv4, Ipv6, KeyWords,
    ServiceIndex, UntrackedServices, exempt_flag,
};
use firewall_common::decide::{Half, SocketOf, Tables};
use firewall_common::flow_table::control::{Control, PENDING, VERSION, VERSIONS, state};
use firewall_common::flow_table::layout::SLOTS;
use firewall_common::flow_table::life::{DOUBTED, Lifetimes, Socket};
use firewall_common::flow_table::{Geometry, Memory as _, find, spot};

use firewall_tests::simulator::heap::Heap;

/// The slot that has settings.
pub const SLOT: u32 = 0;

const TICKS_PER_SECOND: u32 = 100;

/// Bits by which ticks are shifted to be units of time.
const TIME_SHIFT: u32 = 4;

/// A small table, so that its places are fought for.
const GEOMETRY: Geometry = Geometry { near_bits: 1, far_bits: 1, outer_bits: 1 };

/// What is in the tables at first.
#[derive(Arbitrary, Clone, Debug)]
pub struct Contents {
    /// Clock, in units of time.
    pub now: u32,
    /// Generation word; 0: nothing was ever published.
    pub generation: u8,
    /// Policy of the interface; 0: none.
    pub policy: u8,
    /// Bits of `interface_flag`.
    pub flags: u8,
    /// Bits of `exempt_flag`.
    pub exempt: u8,
    /// How many slots of the flow table hold flows of others that never end.
    pub taken: u8,
    /// What the kernel says about sockets, by turns, four bits each.
    pub sockets: u16,
    /// Whether egress packets were forwarded (the lowest bit) and came in by the same interface (the next one), and, by the
    /// last byte of the source, whether the way back leads there.
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
    flows: Heap,
    fragments: RefCell<HashMap<FragmentKey, FragmentEntry>>,
    answers: RefCell<Answers>,
}

/// What a decision was told.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Cells, with their direction.
    pub cells: Vec<(Direction, u32)>,
    /// Service classes.
    pub service_classes: Vec<u16>,
    /// Answers about sockets.
    pub sockets: Vec<Socket>,
    /// How many of them are about other flows, which an insert asks for.
    pub others: usize,
    /// How often a packet was said to have found no place.
    pub refusals: usize,
    /// How often a flow was said to have begun.
    pub begun: usize,
}

/// The slots of the flow table at one time: fingerprint and control, rule set and what stands beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(pub Vec<[u64; 4]>);

impl State {
    /// The slots that differ, with what stood there before and stands there after.
    #[must_use]
    pub fn changes(&self, after: &Self) -> Vec<([u64; 4], [u64; 4])> {
        let pairs = self.0.iter().zip(&after.0);
        pairs.filter(|(before, after)| before != after).map(|(before, after)| (*before, *after)).collect()
    }
}

impl FuzzTables {
    /// Tables without flows but those of others.
    #[must_use]
    pub fn new(contents: Contents) -> Self {
        let settings = InterfaceSettings {
            policy: contents.policy.into(),
            zone: 1,
            flags: contents.flags.into(),
            exempt: contents.exempt.into(),
            jiffies_per_second: TICKS_PER_SECOND,
            lifetimes: lifetimes(),
            untracked: bytemuck::cast(contents.untracked),
            cell_lines: 1,
        };
        let tables = Self {
            // Flows live for a while after the last moment too.
            now: Cell::new(contents.now >> 1),
            flows: Heap::new(GEOMETRY, u64::from(contents.now)),
            contents,
            settings,
            fragments: RefCell::default(),
            answers: RefCell::default(),
        };
        let other = Control(firewall_common::flow_table::control::USED)
            .with(firewall_common::flow_table::control::PROTECTED)
            .in_state(state::ESTABLISHED)
            .ending(u32::MAX);
        for slot in 0..GEOMETRY.slots().min(tables.contents.taken.into()) {
            tables.write(slot, [1, other.0]);
        }
        tables
    }

    /// Lets time pass.
    pub fn wait(&self, units: u32) {
        self.now.set(self.now.get().saturating_add(units));
    }

    /// Overwrites the control of every slot, as memory that went bad would, but for the mark that another CPU is at work there,
    /// which no packet waits for.
    pub fn overwrite_flows(&self, control: u64) {
        for slot in 0..GEOMETRY.slots() {
            let [fingerprint, _] = self.read(slot);
            self.write(slot, [fingerprint, control & !PENDING]);
        }
    }

    fn read(&self, slot: u32) -> [u64; 2] {
        let line = self.flows.line(slot / SLOTS).expect("a slot");
        [0, 1].map(|word| self.flows.load(line, slot % SLOTS * 2 + word))
    }

    fn write(&self, slot: u32, words: [u64; 2]) {
        let line = self.flows.line(slot / SLOTS).expect("a slot");
        for (word, value) in (0..).zip(words) {
            self.flows.store(line, slot % SLOTS * 2 + word, value);
        }
    }

    /// What stands in the flow table now.
    #[must_use]
    pub fn state(&self) -> State {
        let slots = 0..GEOMETRY.slots();
        let all = slots.map(|slot| {
            let [fingerprint, control] = self.read(slot);
            let details = self.flows.details(slot / SLOTS).expect("a slot");
            let [admitted, beside] = [0, 1].map(|word| self.flows.load(details, slot % SLOTS * 2 + word));
            [fingerprint, control, admitted, beside]
        });
        State(all.collect())
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> u32 {
        self.now.get()
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

    fn address_class(&self, address: &impl Address) -> u32 {
        let [.., last] = address.widen().to_bytes();
        self.contents.address_classes[usize::from(last) % 4].into()
    }
}

/// Close together, so that pauses of up to 65 535 units outlast each and none.
fn lifetimes() -> Lifetimes {
    let mut lifetimes = Lifetimes([400; 16]);
    for (state, units) in [
        (DOUBTED, 20_000),
        (state::ESTABLISHED, 50_000),
        (state::FIN_WAIT, 50_000),
        (state::TIME_WAIT, 700),
        (state::CLOSED, 60),
        (state::UDP_STREAM, 1_100),
        (state::PORTLESS, 4_000),
        (state::CUT, 2_000),
    ] {
        lifetimes.0[usize::try_from(state).expect("a state")] = units;
    }
    lifetimes
}

/// Whether two controls are of one flow.
#[must_use]
pub const fn is_same_flow(before: u64, after: u64) -> bool {
    (before ^ after) & (VERSIONS | firewall_common::flow_table::control::USED) == 0
}

const _: () = assert!(VERSION == VERSIONS & VERSIONS.wrapping_neg());

impl Tables for FuzzTables {
    type Flows = Heap;

    fn clock(&self) -> u64 {
        u64::from(self.now.get()) << TIME_SHIFT
    }

    fn time_shift(&self) -> u32 {
        TIME_SHIFT
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

    fn address_class_v4(&self, _half: Half, address: &Ipv4) -> u32 {
        self.address_class(address)
    }

    fn address_class_v6(&self, _half: Half, address: &Ipv6) -> u32 {
        self.address_class(address)
    }

    fn cell(&self, _half: Half, _lines: u32, key: &CellKey) -> u32 {
        assert_eq!(key.policy, self.settings.policy, "asked for the cell of another policy");
        let is_egress = key.direction_and_address_class >> 31;
        let parities = (key.direction_and_address_class & 1) << 1 | u32::from(key.service_class & 1);
        let cell = self.contents.cells[(is_egress << 2 | parities) as usize];
        let direction = if is_egress == 0 { Direction::Ingress } else { Direction::Egress };
        self.answers.borrow_mut().cells.push((direction, cell));
        cell
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

    fn flows(&self) -> &Heap {
        &self.flows
    }

    fn socket(&self, key: SocketOf<'_, Heap>) -> Socket {
        if let SocketOf::Packet(key) = key {
            let hit = find(&self.flows, &spot(&self.flows, key), self.now.get());
            assert!(hit.is_some(), "asked for the socket of no flow");
        }
        let mut answers = self.answers.borrow_mut();
        answers.others += usize::from(matches!(key, SocketOf::Record(_)));
        let socket = match self.contents.sockets >> (answers.sockets.len() % 4 * 4) & 7 {
            0 => Socket::None,
            1 => Socket::TimeWait,
            2 => Socket::Opening,
            3 => Socket::Listening,
            _ => Socket::Connected,
        };
        answers.sockets.push(socket);
        socket
    }

    fn count_flow_event(&self, _event: u32) {
        self.answers.borrow_mut().begun += 1;
    }

    fn note_refusal(&self) {
        self.answers.borrow_mut().refusals += 1;
    }

    fn is_forwarded(&self) -> bool {
        self.contents.hairpins & 1 != 0
    }

    fn was_received_here(&self) -> bool {
        self.contents.hairpins & 3 == 3
    }

    fn leads_back_here(&self, key: &KeyWords) -> bool {
        self.contents.hairpins >> (key[3] % 8) & 1 != 0
    }
}
