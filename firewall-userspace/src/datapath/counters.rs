//! Packets and bytes by interface, direction and reason.

use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use firewall_common::abi::{Counter, Direction, counter_index, map};
use firewall_common::reason::{Decision, Reason, Verdict};

use super::wire::Wire;
use super::{Datapath, DatapathError};

/// What was counted for one direction and reason, over all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterRow {
    /// Direction, seen from the host.
    pub direction: Direction,
    /// What was decided, and why.
    pub decision: Decision,
    /// How many, and their bytes.
    pub counter: Counter,
}

impl Datapath {
    /// The counters of a slot that are not 0, ingress first, by the numbers of the reasons.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where the map cannot be read.
    pub fn counters(&self, slot: u32) -> Result<Vec<CounterRow>, DatapathError> {
        let counters: PerCpuArray<MapData, Wire<Counter>> = self.map(map::COUNTERS)?;
        let mut rows = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            for decision in decisions() {
                let index = counter_index(slot, direction, decision);
                let per_cpu = counters.get(&index, 0).map_err(DatapathError::in_map(map::COUNTERS))?;
                let counter = per_cpu.iter().fold(Counter::default(), |sum, Wire(cpu)| Counter {
                    packets: sum.packets + cpu.packets,
                    bytes: sum.bytes + cpu.bytes,
                });
                if counter.packets != 0 {
                    rows.push(CounterRow { direction, decision, counter });
                }
            }
        }
        Ok(rows)
    }

    /// Sets the counters of a slot to 0, for the next interface that gets it.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where the map cannot be written.
    pub fn reset_counters(&mut self, slot: u32) -> Result<(), DatapathError> {
        let error = DatapathError::in_map(map::COUNTERS);
        let mut counters: PerCpuArray<MapData, Wire<Counter>> = self.map(map::COUNTERS)?;
        for direction in [Direction::Ingress, Direction::Egress] {
            for decision in decisions() {
                let index = counter_index(slot, direction, decision);
                let zeros = counters
                    .get(&index, 0)
                    .map_err(&error)?
                    .iter()
                    .map(|_| Wire(Counter::default()))
                    .collect::<Vec<_>>();
                let zeros = PerCpuValues::try_from(zeros).map_err(|source| error(source.into()))?;
                counters.set(index, zeros, 0).map_err(&error)?;
            }
        }
        Ok(())
    }
}

/// Everything that is counted: each reason, and each one to drop once more for audit mode.
fn decisions() -> impl Iterator<Item = Decision> {
    let enforced = Reason::ALL.iter().map(|reason| Decision::enforced(*reason));
    let drops = Reason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Drop);
    enforced.chain(drops.map(|reason| Decision::new(*reason, true)))
}
