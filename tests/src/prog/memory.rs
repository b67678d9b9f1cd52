//! What maps take of the kernel's memory.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::MapData;

/// The id of a pinned map.
pub(super) fn id_of(maps: &Path, name: &str) -> Result<u32> {
    Ok(MapData::from_pin(maps.join(name)).with_context(|| format!("open {name}"))?.info()?.id())
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
