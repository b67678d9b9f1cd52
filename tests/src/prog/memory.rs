//! What maps take of the kernel's memory.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Map, MapData};
use firewall_common::decide::Half;

/// Bytes of the inner map of a generation, as the kernel accounts for them.
pub(super) fn of_inner_map(maps: &Path, outer: &str, generation: u64) -> Result<u64> {
    accounted(&inner_map(maps, outer, generation)?)
}

/// Whether a generation and the next one have the same inner map.
pub(super) fn is_shared(maps: &Path, outer: &str, generation: u64) -> Result<bool> {
    let id = |generation| Ok::<_, anyhow::Error>(inner_map(maps, outer, generation)?.info()?.id());
    Ok(id(generation)? == id(generation + 1)?)
}

fn inner_map(maps: &Path, outer: &str, generation: u64) -> Result<MapData> {
    let data = MapData::from_pin(maps.join(outer)).with_context(|| format!("open {outer}"))?;
    let halves: ArrayOfMaps<MapData, MapData> = Map::from_map_data(data)?.try_into()?;
    Ok(halves.get(&Half::of_generation(generation).slot(), 0)?)
}

/// Bytes of a pinned map, as the kernel accounts for them.
pub(super) fn of_map(maps: &Path, name: &str) -> Result<u64> {
    accounted(&MapData::from_pin(maps.join(name)).with_context(|| format!("open {name}"))?)
}

fn accounted(map: &MapData) -> Result<u64> {
    let descriptor = map.fd().as_fd().as_raw_fd();
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
    let memlock = facts.lines().find_map(|line| line.strip_prefix("memlock:")).context("no memlock")?;
    Ok(memlock.trim().parse()?)
}
