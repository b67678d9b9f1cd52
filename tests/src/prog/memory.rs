//! What the policy in force takes of the kernel's memory.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Map, MapData};
use firewall_common::decide::Half;

/// Bytes of the inner map of a generation, as the kernel accounts for them.
pub(super) fn of_inner_map(maps: &Path, outer: &str, generation: u64) -> Result<u64> {
    let data = MapData::from_pin(maps.join(outer)).with_context(|| format!("open {outer}"))?;
    let halves: ArrayOfMaps<MapData, MapData> = Map::from_map_data(data)?.try_into()?;
    let inner = halves.get(&Half::of_generation(generation).slot(), 0)?;
    let descriptor = inner.fd().as_fd().as_raw_fd();
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
    let memlock = facts.lines().find_map(|line| line.strip_prefix("memlock:")).context("no memlock")?;
    Ok(memlock.trim().parse()?)
}
