//! Which counter a decision moved.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use firewall_common::abi::{Direction, counter_index, map};
use firewall_common::reason::{Decision, Reason, Verdict};

use crate::scenario::Arrival;

/// Packets and bytes.
type Count = [u64; 2];

/// The counters, and what they stood at when they were last looked at.
pub(super) struct Counters {
    map: PerCpuArray<MapData, Count>,
    last: BTreeMap<u32, Count>,
    /// Every decision, the most recent one first: most frames are counted as one before was.
    recent: Vec<Decision>,
}

impl Counters {
    pub(super) fn open(maps: &Path) -> Result<Self> {
        let data = MapData::from_pin(maps.join(map::COUNTERS)).context("open the counters")?;
        let map = PerCpuArray::try_from(Map::from_map_data(data)?)?;
        let enforced = Reason::ALL.iter().map(|reason| Decision::enforced(*reason));
        let drops = Reason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Drop);
        let recent = enforced.chain(drops.map(|reason| Decision::new(*reason, true))).collect();
        Ok(Self { map, last: BTreeMap::new(), recent })
    }

    /// The decision as which one frame of so many bytes was counted. A counter that moved besides is found when the
    /// next frame is looked for there, or by [`Counters::reconcile`].
    pub(super) fn moved(&mut self, arrival: Arrival, bytes: u64) -> Result<Decision> {
        for position in 0..self.recent.len() {
            let decision = self.recent[position];
            match self.difference(counter_index(arrival.slot, arrival.direction, decision))? {
                [0, 0] => {}
                [1, counted] if counted == bytes => {
                    self.recent[..=position].rotate_right(1);
                    return Ok(decision);
                }
                [packets, counted] => bail!(
                    "a frame of {bytes} bytes moved the counter of `{}` by {packets} packets, {counted} bytes",
                    decision.reason().name()
                ),
            }
        }
        bail!("a frame was not counted")
    }

    /// How many packets each counter of a slot and direction has moved by.
    pub(super) fn packets(&mut self, arrival: Arrival) -> Result<BTreeMap<Reason, u64>> {
        let mut packets = BTreeMap::new();
        for &reason in Reason::ALL {
            let [count, _] =
                self.difference(counter_index(arrival.slot, arrival.direction, Decision::enforced(reason)))?;
            if count > 0 {
                packets.insert(reason, count);
            }
        }
        Ok(packets)
    }

    /// Checks that no counter of these slots has moved unseen.
    pub(super) fn reconcile(&mut self, slots: impl Iterator<Item = u32>) -> Result<()> {
        for slot in slots {
            for direction in [Direction::Ingress, Direction::Egress] {
                let moved = self.packets(Arrival::new(slot, direction))?;
                ensure!(moved.is_empty(), "counters of slot {slot} {direction:?} moved unseen: {moved:?}");
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
