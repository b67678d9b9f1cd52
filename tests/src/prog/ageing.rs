//! Flows and fragments in the kernel's maps: made older, counted, filled up, forgotten.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use bytemuck::{Zeroable as _, bytes_of};
use firewall_common::abi::{FragmentEntry, KeyWords, map};
use firewall_common::flow_table::control::{Control, PROTECTED, USED, state};
use firewall_common::flow_table::layout::{Slot, time_shift};
use firewall_common::flow_table::life::{Beside, Lifetimes, Socket};
use firewall_common::flow_table::{Fresh, Inserted, Line, Memory as _, insert, spot};
use firewall_userspace::datapath::FlowTable;
use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::scenario::{fill, live_flows};

/// `BPF_EXIST` of `linux/bpf.h`: update, never create.
const BPF_EXIST: u64 = 2;

/// Seconds after boot at which the lower half of the kernel's clock is 0 (`INITIAL_JIFFIES` in `linux/jiffies.h`).
const SECONDS_BEFORE_WRAP: u64 = 300;

type Fragments = HashMap<MapData, [u8; 40], [u8; size_of::<FragmentEntry>()]>;

/// Every map with entries that end. Nothing here is safe against programs that run at the same time.
pub(super) struct StateMaps {
    fragments: Fragments,
    clock: Clock,
    /// By how many seconds entries were made older, so that many times add up to whole units.
    aged: u32,
    /// The time at which the scenario stands, however long it takes to run.
    now: u32,
}

impl StateMaps {
    pub(super) fn open(maps: &Path) -> Result<Self> {
        let fragments = MapData::from_pin(maps.join(map::FRAGMENTS)).context("open the fragments")?;
        let clock = Clock::of_kernel()?;
        let now = clock.now()?;
        Ok(Self { fragments: HashMap::try_from(Map::from_map_data(fragments)?)?, clock, aged: 0, now })
    }

    /// Makes every entry younger by the time that has passed by itself: on a busy machine that is seconds, and a scenario
    /// would end flows of which it says that they live.
    pub(super) fn stop_the_clock(&mut self, table: impl FnOnce() -> Result<FlowTable>) -> Result<()> {
        let passed = self.clock.now()?.wrapping_sub(self.now);
        if passed == 0 {
            return Ok(());
        }
        self.now = self.now.wrapping_add(passed);
        self.shift(&table()?, -i64::from(passed))
    }

    /// Makes every entry so much older.
    pub(super) fn age(&mut self, table: &FlowTable, seconds: u32) -> Result<()> {
        let before = self.clock.units(self.aged);
        self.aged = self.aged.wrapping_add(seconds);
        let units = self.clock.units(self.aged).wrapping_sub(before);
        self.shift(table, units.into())
    }

    /// Makes every entry older by so many units of the table's time, or younger.
    fn shift(&mut self, table: &FlowTable, units: i64) -> Result<()> {
        for bucket in 0..table.geometry().buckets() {
            let mut line = line(table, bucket);
            for (word, slot) in (0..).step_by(2).zip(&mut line.slots) {
                if Control(slot.control).has(USED) {
                    *slot = aged(*slot, units);
                    age_details(table, bucket, word, Control(slot.control), units)?;
                }
            }
            set_line(table, bucket, &line);
        }
        self.age_fragments(units)
    }

    fn age_fragments(&mut self, units: i64) -> Result<()> {
        let keys: Vec<[u8; 40]> = self.fragments.keys().collect::<Result<_, _>>()?;
        for key in keys {
            let mut value = self.fragments.get(&key, 0)?;
            let mut entry: FragmentEntry = bytemuck::pod_read_unaligned(&value);
            entry.end = earlier(entry.end, units);
            value.copy_from_slice(bytes_of(&entry));
            self.fragments.insert(key, value, BPF_EXIST)?;
        }
        Ok(())
    }

    /// See [`fill`].
    pub(super) fn fill(&self, table: &FlowTable) -> Result<()> {
        let now = self.clock.now()?;
        for bucket in 0..table.geometry().buckets() {
            let mut line = line(table, bucket);
            fill(&mut line, now);
            set_line(table, bucket, &line);
        }
        Ok(())
    }

    /// Adds established flows that never end, all of which must find a place.
    pub(super) fn insert(&self, table: &FlowTable, keys: impl Iterator<Item = KeyWords>) -> Result<()> {
        let now = self.clock.now()?;
        let control = Control(PROTECTED).in_state(state::ESTABLISHED).ending(u32::MAX);
        let fresh = Fresh { control, admitted_by: 1, beside: Beside::begun(now) };
        for key in keys {
            let spot = spot(table, &key);
            let lifetimes = Lifetimes::default();
            let inserted = insert(table, &spot, &key, &fresh, &lifetimes, now, |_| Socket::Connected);
            ensure!(matches!(inserted, Inserted::InPlaceOf(_)), "{inserted:?}");
        }
        Ok(())
    }

    pub(super) fn flow_count(&self, table: &FlowTable) -> Result<usize> {
        let now = self.clock.now()?;
        Ok((0..table.geometry().buckets()).map(|bucket| live_flows(&line(table, bucket), now)).sum())
    }

    pub(super) fn clear(&mut self, table: &FlowTable) -> Result<()> {
        for bucket in 0..table.geometry().buckets() {
            set_line(table, bucket, &Line::zeroed());
            let filter = table.filter(bucket).context("a filter")?;
            table.store(filter, 0, 0);
        }
        let keys: Vec<[u8; 40]> = self.fragments.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| self.fragments.remove(key))?;
        Ok(())
    }
}

/// What stands beside a flow are times too.
fn age_details(table: &FlowTable, bucket: u32, word: u32, control: Control, units: i64) -> Result<()> {
    let details = table.details(bucket).context("details")?;
    let beside = table.load(details, word + 1);
    table.store(details, word + 1, aged_beside(beside, control, units));
    Ok(())
}

fn line(table: &FlowTable, bucket: u32) -> Line {
    let mut line = Line::zeroed();
    if let Some(place) = table.line(bucket) {
        for (word, slot) in (0..).step_by(2).zip(&mut line.slots) {
            slot.fingerprint = table.load(place, word);
            slot.control = table.load(place, word + 1);
        }
    }
    line
}

fn set_line(table: &FlowTable, bucket: u32, line: &Line) {
    if let Some(place) = table.line(bucket) {
        for (word, slot) in (0..).step_by(2).zip(&line.slots) {
            table.store(place, word, slot.fingerprint);
            table.store(place, word + 1, slot.control);
        }
    }
}

/// What never ends stays so.
fn aged(slot: Slot, units: i64) -> Slot {
    let control = Control(slot.control);
    if control.end() == u32::MAX {
        return slot;
    }
    Slot { control: control.ending(earlier(control.end(), units)).0, ..slot }
}

/// An end of life so many units earlier, but never before the clock began, nor the last one, which stands for none.
fn earlier(end: u32, units: i64) -> u32 {
    let earlier = (i64::from(end) - units).clamp(0, i64::from(u32::MAX - 1));
    u32::try_from(earlier).unwrap_or_default()
}

/// Of TCP two times of 16 bits, but for a number during a handshake; of UDP one of 32. Of others nobody asks.
fn aged_beside(beside: u64, control: Control, units: i64) -> u64 {
    let [low, high] = [beside & 0xffff_ffff, beside >> 32];
    let high = match control.state() {
        state::UDP_ONE_WAY | state::UDP_REPLIED | state::UDP_STREAM => {
            high.wrapping_sub_signed(units) & 0xffff_ffff
        }
        state::SYN_SENT | state::SYN_RECEIVED => high,
        _ => {
            let [doubt, syn] = [high, high >> 16].map(|time: u64| time.wrapping_sub_signed(units) & 0xffff);
            syn << 16 | doubt
        }
    };
    high << 32 | low
}

/// The kernel's clock, in the units of the flow table.
struct Clock {
    jiffies_per_second: u64,
    shift: u32,
}

impl Clock {
    fn of_kernel() -> Result<Self> {
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?;
        let jiffies_per_second = u32::try_from((1_000_000_000 + tick.tv_nsec() / 2) / tick.tv_nsec())?;
        Ok(Self { jiffies_per_second: jiffies_per_second.into(), shift: time_shift(jiffies_per_second) })
    }

    fn now(&self) -> Result<u32> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?;
        let nanoseconds = u64::try_from(now.tv_sec())? * 1_000_000_000 + u64::try_from(now.tv_nsec())?;
        let ticks = nanoseconds / (1_000_000_000 / self.jiffies_per_second);
        let jiffies = (1 << 32) - SECONDS_BEFORE_WRAP * self.jiffies_per_second + ticks;
        Ok(u32::try_from(jiffies >> self.shift)?)
    }

    #[expect(clippy::cast_possible_truncation, reason = "scenarios last for days")]
    const fn units(&self, seconds: u32) -> u32 {
        ((seconds as u64 * self.jiffies_per_second) >> self.shift) as u32
    }
}
