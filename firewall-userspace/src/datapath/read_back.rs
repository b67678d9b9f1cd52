//! The policy in force, read back from the kernel.
//!
//! Called where a policy came into force without being published, after a return to the one before, and by whoever asks
//! which cells there are.

use aya::maps::{Map, MapData, MapError};
use bytemuck::Pod;
use firewall_common::abi::{CellLine, SERVICE_CHUNK, map};
use firewall_common::decide::Half;

use super::array::{array_elements, array_holds};
use super::clock::jiffies_per_second;
use super::publish::{Settings, interface_settings};
use super::{Datapath, DatapathError, typed};
use crate::compile::CompiledPolicy;

impl Datapath {
    /// The values of all cells in force: rule set ids with their bits.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where a map cannot be read.
    pub fn cells(&self) -> Result<Vec<u32>, DatapathError> {
        if self.generation()? == 0 {
            return Ok(Vec::new());
        }
        let lines: Vec<CellLine> = array_elements(map::CELLS, &self.inner(map::CELLS)?)?;
        Ok(lines.iter().flat_map(CellLine::values).collect())
    }

    /// Whether the policy in force is `policy`, element by element; of the settings, those of its own slots alone.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where a map cannot be read.
    pub fn holds(&self, policy: &CompiledPolicy) -> Result<bool, DatapathError> {
        let (chunks, _) = policy.services.as_chunks::<SERVICE_CHUNK>();
        let (index, cells) = (policy.address_index_v4(), policy.cell_lines());
        Ok(self.holds_array(map::ADDRESSES_V4, &index.upper_halves)?
            && self.holds_array(map::INTERVALS_V4, &index.nodes)?
            && self.holds_array(map::SERVICES, chunks)?
            && self.holds_addresses_v6(policy)?
            && self.holds_array(map::CELLS, &cells)?
            && self.holds_settings(policy, cells.len())?)
    }

    fn holds_array<T: Pod>(&self, name: &'static str, elements: &[T]) -> Result<bool, DatapathError> {
        array_holds(name, &self.inner(name)?, elements)
    }

    fn holds_addresses_v6(&self, policy: &CompiledPolicy) -> Result<bool, DatapathError> {
        let table = policy.prefix_table_v6();
        Ok(self.holds_array(map::LENGTHS_V6, &table.lengths)?
            && self.holds_array(map::ADDRESSES_V6, &table.lines)?)
    }

    fn holds_settings(&self, policy: &CompiledPolicy, cell_lines: usize) -> Result<bool, DatapathError> {
        let settings: Settings = self.typed_inner(map::SETTINGS)?;
        let jiffies_per_second = jiffies_per_second()?;
        for interface in &policy.interfaces {
            let found = settings.get(&interface.slot, 0).map_err(DatapathError::in_map(map::SETTINGS))?;
            if found.0 != interface_settings(interface, jiffies_per_second, cell_lines) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The inner map of the half in force.
    pub(super) fn inner(&self, name: &'static str) -> Result<MapData, DatapathError> {
        let slot = Half::of_generation(self.generation()?).slot();
        self.inner_map(name, slot)?.ok_or_else(|| DatapathError::in_map(name)(MapError::KeyNotFound))
    }

    /// As [`inner`](Self::inner), of a type.
    fn typed_inner<M>(&self, name: &'static str) -> Result<M, DatapathError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        typed(name, self.inner(name)?)
    }
}
