//! The markers that a program leaves when a flow finds no room.
//!
//! They hold for a second, and the kernel's clock goes on while a scenario's stands still. So they are moved along with
//! it: a scenario's second is over when it says so.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use firewall_common::abi::map;

/// IPv4, IPv6.
const FAMILIES: [u32; 2] = [0, 1];

pub(super) struct Pressure {
    map: Array<MapData, u32>,
    /// The markers as this left them; 0 is none.
    known: [u32; 2],
    jiffies_per_second: u32,
    moved_at: Instant,
}

impl Pressure {
    pub(super) fn open(maps: &Path, jiffies_per_second: u32) -> Result<Self> {
        let data = MapData::from_pin(maps.join(map::PRESSURE)).context("open the markers of pressure")?;
        let map = Array::try_from(Map::from_map_data(data)?)?;
        Ok(Self { map, known: [0, 0], jiffies_per_second, moved_at: Instant::now() })
    }

    /// Moves the markers to where the kernel's clock is now.
    pub(super) fn follow_clock(&mut self) -> Result<()> {
        let milliseconds = u32::try_from(self.moved_at.elapsed().as_millis())?;
        let ticks = milliseconds * self.jiffies_per_second / 1000;
        if self.known == [0, 0] || ticks == 0 {
            return Ok(());
        }
        self.moved_at = Instant::now();
        self.change(|marker| marker.wrapping_add(ticks))
    }

    /// Makes the markers so much older.
    pub(super) fn age(&mut self, jiffies: u32) -> Result<()> {
        self.change(|marker| marker.wrapping_sub(jiffies))
    }

    pub(super) fn clear(&mut self) -> Result<()> {
        self.change(|_| 0)
    }

    /// To be called when a frame found no room.
    pub(super) fn notice(&mut self) -> Result<()> {
        for (family, known) in FAMILIES.into_iter().zip(&mut self.known) {
            let marker = self.map.get(&family, 0)?;
            if marker != *known {
                *known = marker;
                self.moved_at = Instant::now();
            }
        }
        Ok(())
    }

    fn change(&mut self, change: impl Fn(u32) -> u32) -> Result<()> {
        for (family, known) in FAMILIES.into_iter().zip(&mut self.known).filter(|(_, known)| **known != 0) {
            *known = change(*known);
            self.map.set(family, *known, 0)?;
        }
        Ok(())
    }
}
