//! Which counter a decision moved.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use firewall_common::abi::{Direction, MAX_INTERFACES, counter_index, map};
use firewall_common::reason::Reason;

use crate::scenario::Arrival;

/// Packets and bytes.
type Count = [u64; 2];

/// The counters, and what they stood at after the last decision.
pub(super) struct Counters {
    map: PerCpuArray<MapData, Count>,
    last: BTreeMap<u32, Count>,
}

impl Counters {
    pub(super) fn open(maps: &Path) -> Result<Self> {
        let data = MapData::from_pin(maps.join(map::COUNTERS)).context("open the counters")?;
        Ok(Self { map: PerCpuArray::try_from(Map::from_map_data(data)?)?, last: BTreeMap::new() })
    }

    /// The reason under which one frame of so many bytes was counted.
    pub(super) fn moved(&mut self, arrival: Arrival, bytes: u64) -> Result<Reason> {
        let mut moved = Vec::new();
        for &reason in Reason::ALL {
            let [packets, sum] = self.difference(counter_index(arrival.slot, arrival.direction, reason))?;
            if (packets, sum) != (0, 0) {
                moved.push((reason, packets, sum));
            }
        }
        match moved.as_slice() {
            [(reason, 1, counted)] => {
                ensure!(*counted == bytes, "a frame of {bytes} bytes was counted as {counted}");
                Ok(*reason)
            }
            _ => anyhow::bail!("one frame moved these counters: {moved:?}"),
        }
    }

    /// Checks that no counter has moved unseen.
    pub(super) fn reconcile(&mut self) -> Result<()> {
        for slot in 0..MAX_INTERFACES {
            for direction in [Direction::Ingress, Direction::Egress] {
                for &reason in Reason::ALL {
                    let difference = self.difference(counter_index(slot, direction, reason))?;
                    ensure!(
                        difference == [0, 0],
                        "slot {slot} {direction:?} {reason:?} moved by {difference:?}"
                    );
                }
            }
        }
        Ok(())
    }

    /// By how much a counter, over all CPUs, has moved since it was last looked at.
    fn difference(&mut self, index: u32) -> Result<Count> {
        let per_cpu = self.map.get(&index, 0)?;
        let [packets, bytes] =
            per_cpu.iter().fold([0, 0], |sum: Count, cpu| [sum[0] + cpu[0], sum[1] + cpu[1]]);
        let last = self.last.insert(index, [packets, bytes]).unwrap_or_default();
        Ok([packets - last[0], bytes - last[1]])
    }
}
