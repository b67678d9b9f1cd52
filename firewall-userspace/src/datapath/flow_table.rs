//! The flow table, mapped into this process: user space works on it by the same lines as the programs.
//!
//! Called by whatever lists, cuts, sweeps or copies flows. Its arrays are four pinned maps, and their sizes and the secrets
//! of the hash stand in a fifth, which no program reads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, MapData};
use firewall_common::abi::{KEY_WORDS, KeyWords, map};
#[cfg(test)]
use firewall_common::flow_table::control;
use firewall_common::flow_table::layout::{SLOTS, TableParameters};
use firewall_common::flow_table::life::{Lifetimes, Socket};
use firewall_common::flow_table::sweep::{self, Listed};
use firewall_common::flow_table::{
    ATTEMPTS, Control, Fresh, Geometry, Inserted, Memory, Secrets, clear, find, insert_once, spot,
};

use super::array::{Mapped, new_array};
use super::clock::Units;
use super::wire::Wire;
use super::{Datapath, DatapathError};

/// The arrays, and the words of an element of each.
const FILTERS: (&str, usize) = (map::FLOW_FILTERS, 1);
const LINES: (&str, usize) = (map::FLOW_LINES, 2 * SLOTS as usize);
const DETAILS: (&str, usize) = (map::FLOW_DETAILS, 2 * SLOTS as usize);
const RECORDS: (&str, usize) = (map::FLOW_RECORDS, KEY_WORDS);

/// The maps of a table. They belong together: without one of them the others are of no use.
pub(super) const TABLE_MAPS: [&str; 5] =
    [map::FLOW_TABLE, map::FLOW_FILTERS, map::FLOW_LINES, map::FLOW_DETAILS, map::FLOW_RECORDS];

/// New secrets, from the kernel.
pub(super) fn random_secrets() -> Result<Secrets, DatapathError> {
    let mut secrets = Secrets::default();
    getrandom::fill(bytemuck::bytes_of_mut(&mut secrets)).map_err(DatapathError::NoRandomness)?;
    // Even multipliers would lose bits.
    let [.., first, second, third] = &mut secrets.0;
    [first, second, third].into_iter().for_each(|multiplier| *multiplier |= 1);
    Ok(secrets)
}

impl Datapath {
    /// The flow table of this instance.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or mapped.
    pub fn flow_table(&self) -> Result<FlowTable, DatapathError> {
        let parameters = self.table_parameters()?;
        let (buckets, slots) = (parameters.geometry.buckets(), parameters.geometry.slots());
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(DatapathError::NoRandomness)?;
        Ok(FlowTable {
            filters: self.mapped(FILTERS, buckets)?,
            lines: self.mapped(LINES, buckets)?,
            details: self.mapped(DETAILS, buckets)?,
            records: self.mapped(RECORDS, slots)?,
            parameters,
            chance: Cell::new(u64::from_ne_bytes(seed)),
        })
    }

    /// How many live flows the table has places for, whatever they are.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where the map cannot be read.
    pub fn flow_entries(&self) -> Result<u32, DatapathError> {
        Ok(self.table_parameters()?.geometry.guaranteed())
    }

    /// What the constants of the programs are set from.
    pub(super) fn table_parameters(&self) -> Result<TableParameters, DatapathError> {
        let table: Array<MapData, Wire<TableParameters>> = self.map(map::FLOW_TABLE)?;
        let Wire(parameters) = table.get(&0, 0).map_err(DatapathError::in_map(map::FLOW_TABLE))?;
        Ok(parameters)
    }

    /// Pins what a new table is made by.
    pub(super) fn pin_table_parameters(
        &self,
        geometry: Geometry,
        secrets: Secrets,
    ) -> Result<TableParameters, DatapathError> {
        let parameters = TableParameters { secrets, geometry, time_shift: Units::of_kernel()?.shift() };
        let error = DatapathError::in_map(map::FLOW_TABLE);
        let table = new_array::<TableParameters>(map::FLOW_TABLE, 1).map_err(&error)?;
        let words = size_of::<TableParameters>() / size_of::<u64>();
        Mapped::new(map::FLOW_TABLE, &table, words, 1)?.write(0, &[parameters]);
        self.pin_map(map::FLOW_TABLE, &table)?;
        Ok(parameters)
    }

    pub(super) fn mapped(
        &self,
        (name, words): (&'static str, usize),
        elements: u32,
    ) -> Result<Mapped, DatapathError> {
        let data = MapData::from_pin(self.map_path(name)).map_err(DatapathError::in_map(name))?;
        Mapped::new(name, &data, words, elements)
    }
}

/// A flow table. Other processes and the programs work on it at the same time.
pub struct FlowTable {
    filters: Mapped,
    lines: Mapped,
    details: Mapped,
    records: Mapped,
    parameters: TableParameters,
    chance: Cell<u64>,
}

/// How adding a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is in the table.
    New,
    /// It was there.
    Existing,
    /// All its places hold flows that nothing evicts.
    NoRoom,
}

impl FlowTable {
    /// Calls `visit` with the flow of each slot, ended or not, and where it is. What moves meanwhile may be missed or not.
    pub(super) fn each(&self, mut visit: impl FnMut(u32, u32, Listed)) {
        for bucket in 0..self.parameters.geometry.buckets() {
            for slot in 0..SLOTS {
                if let Some(listed) = sweep::read(self, bucket, slot) {
                    visit(bucket, slot, listed);
                }
            }
        }
    }

    /// The control word of a slot.
    pub(super) fn control(&self, bucket: u32, slot: u32) -> Control {
        Control(self.line(bucket).map_or(0, |line| self.load(line, (slot & 3) * 2 + 1)))
    }

    /// Every slot: bucket, and which of it.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        (0..self.parameters.geometry.buckets()).flat_map(|bucket| (0..SLOTS).map(move |slot| (bucket, slot)))
    }

    /// Adds a flow, unless a live one of its key is there that `may_stay`. What is protected has its key recorded in any case.
    pub(super) fn add(
        &self,
        key: &KeyWords,
        fresh: &Fresh,
        now: u32,
        may_stay: impl Fn(Control) -> bool,
    ) -> Added {
        let spot = spot(self, key);
        for _ in 0..ATTEMPTS {
            if let Some(hit) = find(self, &spot, now) {
                if !hit.control.is_ended(now) && may_stay(hit.control) {
                    return Added::Existing;
                }
                clear(self, &spot, &hit);
            }
            // Nobody is asked for sockets: an answer that is not known must end no flow.
            let ask: Option<fn((Part, usize)) -> Socket> = None;
            match insert_once(self, &spot, key, fresh, &Lifetimes::default(), now, ask) {
                Inserted::InPlaceOf(_) => {
                    sweep::record_key(self, &spot, key, now);
                    return Added::New;
                }
                Inserted::Same => return Added::Existing,
                Inserted::Refused => return Added::NoRoom,
                Inserted::Contended | Inserted::Asked | Inserted::AskedInVain => {}
            }
        }
        Added::NoRoom
    }

    /// The sizes and the secrets.
    #[must_use]
    pub const fn parameters(&self) -> &TableParameters {
        &self.parameters
    }

    fn word(&self, (part, first): (Part, usize), word: u32) -> Option<&AtomicU64> {
        let mapped = match part {
            Part::Filters => &self.filters,
            Part::Lines => &self.lines,
            Part::Details => &self.details,
            Part::Records => &self.records,
        };
        mapped.words().get(first + word as usize)
    }
}

/// One of the arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// By bucket.
    Filters,
    /// By bucket.
    Lines,
    /// By bucket.
    Details,
    /// By slot.
    Records,
}

impl Memory for FlowTable {
    /// Where an element begins: the array, and the number of its first word.
    type Place = (Part, usize);

    fn filter(&self, bucket: u32) -> Option<Self::Place> {
        self.filters.element(bucket).map(|first| (Part::Filters, first))
    }

    fn line(&self, bucket: u32) -> Option<Self::Place> {
        self.lines.element(bucket).map(|first| (Part::Lines, first))
    }

    fn details(&self, bucket: u32) -> Option<Self::Place> {
        self.details.element(bucket).map(|first| (Part::Details, first))
    }

    fn record(&self, slot: u32) -> Option<Self::Place> {
        self.records.element(slot).map(|first| (Part::Records, first))
    }

    // Words that are not there never come up, for places are those of elements; reading 0 there spares a panic.

    fn load(&self, place: Self::Place, word: u32) -> u64 {
        self.word(place, word).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Each load is one that later loads come after.
    fn load_after(&self, place: Self::Place, word: u32, _: u64) -> u64 {
        self.load(place, word)
    }

    fn store(&self, place: Self::Place, word: u32, value: u64) {
        if let Some(word) = self.word(place, word) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Exchanges the word, since Rust has no accesses of two sizes to one place.
    fn store_tag(&self, filter: Self::Place, slot: u32, tag: u8) {
        let shift = 8 * (slot & 3);
        let tagged = |word: u64| word & !(0xff << shift) | u64::from(tag) << shift;
        if let Some(word) = self.word(filter, 0) {
            word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |word| Some(tagged(word))).ok();
        }
    }

    fn publish(&self, place: Self::Place, word: u32, value: u64) {
        if let Some(word) = self.word(place, word) {
            word.store(value, Ordering::Release);
        }
    }

    fn compare_exchange(&self, place: Self::Place, word: u32, old: u64, new: u64) -> u64 {
        let Some(word) = self.word(place, word) else {
            return !old;
        };
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).unwrap_or_else(|was| was)
    }

    fn secret(&self, word: usize) -> u64 {
        self.parameters.secrets.0.get(word).copied().unwrap_or(0)
    }

    fn geometry(&self) -> Geometry {
        self.parameters.geometry
    }

    /// SplitMix64, from a seed of the kernel's.
    fn random(&self) -> u32 {
        let state = self.chance.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.chance.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }
}

#[cfg(test)]
impl Datapath {
    /// Begins so many flows of a zone, for tests of what reads them.
    pub(crate) fn begin_flows(&self, zone: u16, flows: u32) {
        let (table, now) = (self.flow_table().unwrap(), Units::of_kernel().unwrap().now().unwrap());
        let flow = tests::flow(control::PROTECTED, control::state::ESTABLISHED);
        let fresh = Fresh { control: flow.control.ending(now + 1_000_000), ..flow };
        for number in 0..flows {
            table.add(&tests::key_in(zone, number), &fresh, now, |_| true);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use firewall_common::abi::{Be16, FlowKey, Ipv4, query_from};
    use firewall_common::flow_table::control::{DOUBT, KEYED, PROTECTED, state};
    use firewall_common::flow_table::life::{Beside, cut_off};
    use firewall_common::flow_table::sweep::{Swept, alter, sweep};

    use super::*;

    pub(in crate::datapath) const NOW: u32 = 100_000;

    /// A table in maps of the kernel, which no program knows; `None` where they cannot be created.
    pub(in crate::datapath) fn table(entries: u32) -> Option<FlowTable> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: this test needs root");
            return None;
        }
        let geometry = Geometry::for_entries(entries);
        fn array<const WORDS: usize>((name, _): (&'static str, usize), elements: u32) -> Mapped {
            let data = new_array::<[u64; WORDS]>(name, elements).unwrap();
            Mapped::new(name, &data, WORDS, elements).unwrap()
        }
        Some(FlowTable {
            filters: array::<{ FILTERS.1 }>(FILTERS, geometry.buckets()),
            lines: array::<{ LINES.1 }>(LINES, geometry.buckets()),
            details: array::<{ DETAILS.1 }>(DETAILS, geometry.buckets()),
            records: array::<{ RECORDS.1 }>(RECORDS, geometry.slots()),
            parameters: TableParameters { secrets: random_secrets().unwrap(), geometry, time_shift: 5 },
            chance: Cell::new(1),
        })
    }

    pub(in crate::datapath) fn key(number: u32) -> KeyWords {
        key_in(7, number)
    }

    pub(super) fn key_in(zone: u16, number: u32) -> KeyWords {
        let local = Ipv4::from_bytes([192, 0, 2, 1]);
        let remote = Ipv4::from_bytes(number.to_be_bytes());
        let (local_port, remote_port) = (Be16::new(22), Be16::new(40_000));
        let query_from = query_from::EITHER;
        FlowKey { local, remote, local_port, remote_port, protocol: 6, query_from, zone }.words()
    }

    pub(in crate::datapath) fn flow(flags: u64, state: u64) -> Fresh {
        let control = Control(flags).in_state(state).ending(NOW + 100);
        Fresh { control, admitted_by: 3 << 32 | 5, beside: Beside::begun(NOW) }
    }

    fn listed(table: &FlowTable) -> Vec<Listed> {
        let mut flows = Vec::new();
        table.each(|_, _, listed| flows.push(listed));
        flows
    }

    #[test]
    fn every_protected_flow_of_the_guaranteed_number_finds_a_place_and_is_listed() {
        let Some(table) = table(1024) else { return };
        let room = table.geometry().guaranteed();
        for number in 0..room {
            let added = table.add(&key(number), &flow(PROTECTED, state::ESTABLISHED), NOW, |_| true);
            assert_eq!(added, Added::New);
        }
        let flows = listed(&table);
        assert_eq!(flows.len(), room as usize);
        assert!(flows.iter().all(|flow| flow.control.has(KEYED) && flow.detail.rule_set == 5));
        let keys: std::collections::BTreeSet<_> = flows.iter().filter_map(|flow| flow.key).collect();
        assert_eq!(keys, (0..room).map(key).collect());
        let refused = (room..3 * room).any(|number| {
            table.add(&key(number), &flow(PROTECTED, state::ESTABLISHED), NOW, |_| true) == Added::NoRoom
        });
        assert!(refused, "there are more than all slots");
    }

    #[test]
    fn a_flow_that_is_there_stays_unless_it_may_not_or_has_ended() {
        let Some(table) = table(1024) else { return };
        let add = |now, may_stay| table.add(&key(1), &flow(PROTECTED, state::ESTABLISHED), now, |_| may_stay);
        assert_eq!(add(NOW, true), Added::New);
        assert_eq!(add(NOW, true), Added::Existing);
        assert_eq!(add(NOW, false), Added::New);
        assert_eq!(add(NOW + 100, true), Added::New);
        assert_eq!(listed(&table).len(), 1);
    }

    #[test]
    fn a_protected_flow_is_named_also_where_it_takes_the_place_of_one_in_a_flood() {
        let Some(table) = table(1024) else { return };
        for number in 0..4 * table.geometry().slots() {
            table.add(&key(number), &flow(0, state::SYN_SENT), NOW, |_| true);
        }
        let protected = key(u32::MAX);
        table.add(&protected, &flow(PROTECTED | DOUBT, state::ESTABLISHED), NOW, |_| true);
        let flows = listed(&table);
        assert!(flows.iter().any(|flow| flow.key == Some(protected)));
        assert!(flows.iter().any(|flow| flow.key.is_none()));
    }

    #[test]
    fn what_is_cut_is_swept_at_its_end() {
        let Some(table) = table(1024) else { return };
        table.add(&key(1), &flow(PROTECTED, state::ESTABLISHED), NOW, |_| true);
        let lifetimes = Lifetimes([10; 16]);
        let each = |now| {
            table.slots().map(move |(bucket, slot)| (bucket, slot, now)).map(|(bucket, slot, now)| {
                (sweep(&table, bucket, slot, &lifetimes, now) == Swept::Cleared) as u32
            })
        };
        let cut = table.slots().filter(|(bucket, slot)| {
            alter(&table, *bucket, *slot, NOW, |listed| Some(cut_off(listed.control, &lifetimes, NOW)))
        });
        assert_eq!(cut.count(), 1);
        assert_eq!(each(NOW + 10).sum::<u32>(), 0);
        assert_eq!(each(NOW + 11).sum::<u32>(), 1);
        assert!(listed(&table).is_empty());
    }
}
