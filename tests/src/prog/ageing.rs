//! Flows and fragments in the kernel's maps: made older, counted, filled up, forgotten.

use std::path::Path;

use anyhow::{Context, Result};
use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};
use bytemuck::{bytes_of, cast};
use firewall_common::abi::{FlowEntry, FlowKey, FragmentEntry, Ipv4, Ipv6, map};
use nix::errno::Errno;
use nix::time::{ClockId, clock_getres};

use crate::scenario::fillers;

/// `BPF_ANY` of `linux/bpf.h`: create or update.
const BPF_ANY: u64 = 0;
/// What a full hash map says.
const NO_ROOM: i32 = Errno::E2BIG as i32;
/// `BPF_EXIST` of `linux/bpf.h`: update, never create.
const BPF_EXIST: u64 = 2;

type V4Flows = HashMap<MapData, [u8; 16], [u8; size_of::<FlowEntry>()]>;
type V6Flows = HashMap<MapData, [u8; 40], [u8; size_of::<FlowEntry>()]>;
type Fragments = HashMap<MapData, [u8; 40], [u8; size_of::<FragmentEntry>()]>;

/// Every map with entries that end.
pub(super) struct StateMaps {
    v4: [V4Flows; 2],
    v6: [V6Flows; 2],
    fragments: Fragments,
}

impl StateMaps {
    pub(super) fn open(maps: &Path) -> Result<Self> {
        Ok(Self {
            v4: [open(maps, map::FLOWS_V4)?, open(maps, map::HALF_OPEN_V4)?],
            v6: [open(maps, map::FLOWS_V6)?, open(maps, map::HALF_OPEN_V6)?],
            fragments: open(maps, map::FRAGMENTS)?,
        })
    }

    /// Makes every entry so much older.
    pub(super) fn age(&mut self, jiffies: u32) -> Result<()> {
        let age_flow = |bytes: &mut [u8]| {
            let mut entry: FlowEntry = bytemuck::pod_read_unaligned(bytes);
            entry.last_seen = entry.last_seen.wrapping_sub(jiffies);
            bytes.copy_from_slice(bytes_of(&entry));
        };
        for flows in &mut self.v4 {
            rewrite(flows, age_flow)?;
        }
        for flows in &mut self.v6 {
            rewrite(flows, age_flow)?;
        }
        rewrite(&mut self.fragments, |bytes| {
            let mut entry: FragmentEntry = bytemuck::pod_read_unaligned(bytes);
            entry.first_seen = entry.first_seen.wrapping_sub(jiffies);
            bytes.copy_from_slice(bytes_of(&entry));
        })
    }

    /// Puts fillers where there is room among the assured flows.
    pub(super) fn fill(&mut self) -> Result<()> {
        insert::<Ipv4, 16>(&mut self.v4[0], fillers())?;
        insert::<Ipv6, 40>(&mut self.v6[0], fillers())
    }

    /// Puts IPv4 flows among the assured ones, as many as there is room for.
    pub(super) fn insert_v4(
        &mut self,
        flows: impl Iterator<Item = (FlowKey<Ipv4>, FlowEntry)>,
    ) -> Result<()> {
        insert(&mut self.v4[0], flows)
    }

    pub(super) fn flow_count(&self) -> Result<usize> {
        let mut count = 0;
        for flows in &self.v4 {
            count += keys(flows)?.len();
        }
        for flows in &self.v6 {
            count += keys(flows)?.len();
        }
        Ok(count)
    }

    pub(super) fn clear(&mut self) -> Result<()> {
        self.v4.iter_mut().try_for_each(clear)?;
        self.v6.iter_mut().try_for_each(clear)?;
        clear(&mut self.fragments)
    }
}

fn open<K: Pod, V: Pod>(maps: &Path, name: &str) -> Result<HashMap<MapData, K, V>> {
    let data = MapData::from_pin(maps.join(name)).with_context(|| format!("open {name}"))?;
    HashMap::try_from(Map::from_map_data(data)?)
        .with_context(|| format!("{name} is not of the expected layout"))
}

fn keys<K: Pod, V: Pod>(map: &HashMap<MapData, K, V>) -> Result<Vec<K>, MapError> {
    map.keys().collect()
}

fn clear<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>) -> Result<()> {
    for key in keys(map)? {
        map.remove(&key)?;
    }
    Ok(())
}

fn insert<A, const N: usize>(
    map: &mut HashMap<MapData, [u8; N], [u8; size_of::<FlowEntry>()]>,
    flows: impl Iterator<Item = (FlowKey<A>, FlowEntry)>,
) -> Result<()>
where
    FlowKey<A>: bytemuck::Pod,
{
    for (key, entry) in flows {
        let (key, entry): ([u8; N], [u8; size_of::<FlowEntry>()]) = (cast(key), cast(entry));
        match map.insert(key, entry, BPF_ANY) {
            Ok(()) => {}
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(NO_ROOM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn rewrite<K: Pod, const N: usize>(
    map: &mut HashMap<MapData, K, [u8; N]>,
    change: impl Fn(&mut [u8]),
) -> Result<()> {
    for key in keys(map)? {
        let mut value = map.get(&key, 0)?;
        change(&mut value);
        map.insert(key, value, BPF_EXIST)?;
    }
    Ok(())
}

/// `CONFIG_HZ` of the running kernel: the coarse monotonic clock ticks with it.
pub(super) fn jiffies_per_second() -> Result<u32> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?;
    Ok(u32::try_from(1_000_000_000 / tick.tv_nsec())?)
}
