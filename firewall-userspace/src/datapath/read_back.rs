//! The policy in force, read back from the kernel.
//!
//! Called where a policy came into force without being published, after a return to the one before, and by whoever asks
//! which cells or settings there are.

use firewall_common::abi::{CellLine, InterfaceSettings, MAX_INTERFACES, SERVICE_CHUNK, map};
use firewall_common::decide::Half;

use super::clock::jiffies_per_second;
use super::publish::interface_settings;
use super::{Datapath, DatapathError};
use crate::compile::CompiledPolicy;

impl Datapath {
    /// The values of all cells in force: rule set ids with their bits.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where a map cannot be read.
    pub fn cells(&self) -> Result<Vec<u32>, DatapathError> {
        let Some(half) = self.half_in_force()? else {
            return Ok(Vec::new());
        };
        let lines = self.settings_in_force()?.iter().map(|settings| settings.cell_lines).max().unwrap_or(0);
        let cells = self.arena::<CellLine>(map::CELLS)?;
        Ok(cells.read(half, lines).iter().flat_map(CellLine::values).collect())
    }

    /// The settings in force, by slot; none if nothing was ever published.
    pub(super) fn settings_in_force(&self) -> Result<Vec<InterfaceSettings>, DatapathError> {
        let settings = self.arena(map::SETTINGS)?;
        loop {
            let generation = self.generation()?;
            if generation == 0 {
                return Ok(Vec::new());
            }
            let found = settings.read(Half::of_generation(generation), MAX_INTERFACES).to_vec();
            // Whoever does not hold the lock of the writers may have read while the half was filled anew.
            if self.generation()? == generation {
                return Ok(found);
            }
        }
    }

    /// Whether the policy in force is `policy`, element by element; of the settings, those of its own slots alone.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where a map cannot be read.
    pub fn holds(&self, policy: &CompiledPolicy) -> Result<bool, DatapathError> {
        let Some(half) = self.half_in_force()? else {
            return Ok(false);
        };
        let (chunks, _) = policy.services.as_chunks::<SERVICE_CHUNK>();
        let (index, cells) = (policy.address_index_v4(), policy.cell_lines());
        Ok(self.arena(map::ADDRESSES_V4)?.holds(half, &index.upper_halves)
            && self.arena(map::INTERVALS_V4)?.holds(half, &index.nodes)
            && self.arena(map::SERVICES)?.holds(half, chunks)
            && self.holds_addresses_v6(half, policy)?
            && self.arena(map::CELLS)?.holds(half, &cells)
            && self.holds_settings(policy, cells.len())?)
    }

    fn holds_addresses_v6(&self, half: Half, policy: &CompiledPolicy) -> Result<bool, DatapathError> {
        let table = policy.prefix_table_v6();
        Ok(self.arena(map::LENGTHS_V6)?.holds(half, &table.lengths)
            && self.arena(map::ADDRESSES_V6)?.holds(half, &table.lines))
    }

    fn holds_settings(&self, policy: &CompiledPolicy, cell_lines: usize) -> Result<bool, DatapathError> {
        let found = self.settings_in_force()?;
        let jiffies_per_second = jiffies_per_second()?;
        Ok(policy.interfaces.iter().all(|interface| {
            let expected = interface_settings(interface, jiffies_per_second, cell_lines);
            found.get(interface.slot as usize) == Some(&expected)
        }))
    }
}
