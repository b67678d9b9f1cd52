//! The flow tables: shown to people, and cleared of the flows of an interface that is detached.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, MapData};
use bytemuck::Pod;
use firewall_common::abi::{
    Address, Direction, FlowEntry, FlowKey, InterfaceSettings, Ipv4, Ipv6, map, query_from,
};
use firewall_common::decide::Half;
use firewall_common::flow::FlowState;

use super::batch::HashTable;
use super::clock::{idle, jiffies_now};
use super::wire::Wire;
use super::{Datapath, DatapathError};

/// One live flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRow {
    /// Zone, which tells the interface.
    pub zone: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Address and port of the end that sent the first packet. For ICMP the port is the identifier, for protocols
    /// without ports it is 0.
    pub initiator: (IpAddr, u16),
    /// Address and port of the other end. For ICMP the port is the type of the query.
    pub responder: (IpAddr, u16),
    /// Direction of the first packet.
    pub started_by: Direction,
    /// State.
    pub state: FlowState,
    /// Whether the flow is in the table that nothing evicts.
    pub assured: bool,
    /// Seconds since the last packet, to within one.
    pub idle_seconds: u64,
    /// Seconds until the flow ends if it stays idle.
    pub expires_in_seconds: u64,
    /// Seconds until the operator's cut ends it; 0 if it has. `None` if nobody has cut it.
    pub cut_in_seconds: Option<u64>,
    /// The rules that admitted its first packet.
    pub rule_set: u32,
    /// Low 32 bits of the policy generation at that time.
    pub generation: u32,
}

/// How full a flow table is. Expired entries that nothing has overwritten yet count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTableFill {
    /// Name of the table.
    pub name: &'static str,
    /// Whether nothing is evicted from it, so that it can be full.
    pub is_assured: bool,
    /// Entries in it.
    pub entries: u64,
    /// Entries that it can hold.
    pub capacity: u64,
}

/// Assured first, so that a flow on its way from one table to the other is found there.
pub(super) const V4_TABLES: [(&str, bool); 2] = [(map::FLOWS_V4, true), (map::HALF_OPEN_V4, false)];
pub(super) const V6_TABLES: [(&str, bool); 2] = [(map::FLOWS_V6, true), (map::HALF_OPEN_V6, false)];

impl FlowTableFill {
    /// How much of the capacity is in use.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.entries * 100 / self.capacity.max(1)
    }
}

impl Datapath {
    /// The live flows.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read.
    pub fn flows(&self) -> Result<Vec<FlowRow>, DatapathError> {
        let reader = self.reader()?;
        let mut rows = Vec::new();
        for (name, assured) in V4_TABLES {
            self.each_flow::<Ipv4>(name, |key, entry| rows.extend(reader.row(key, entry, assured, v4)))?;
        }
        for (name, assured) in V6_TABLES {
            self.each_flow::<Ipv6>(name, |key, entry| rows.extend(reader.row(key, entry, assured, v6)))?;
        }
        Ok(rows)
    }

    pub(super) fn reader(&self) -> Result<Reader, DatapathError> {
        Ok(Reader { zones: self.zones()?, now: jiffies_now()? })
    }

    /// How full the flow tables are.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read.
    pub fn flow_tables(&self) -> Result<Vec<FlowTableFill>, DatapathError> {
        let mut fills = Vec::new();
        for (name, is_assured) in V4_TABLES {
            fills.push(self.fill::<Ipv4>(name, is_assured)?);
        }
        for (name, is_assured) in V6_TABLES {
            fills.push(self.fill::<Ipv6>(name, is_assured)?);
        }
        Ok(fills)
    }

    /// How many assured flows of each family the tables can hold.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where the map cannot be read.
    pub fn flow_entries(&self) -> Result<u32, DatapathError> {
        let data = MapData::from_pin(self.map_path(map::FLOWS_V4));
        let info = data.and_then(|data| data.info());
        Ok(info.map_err(DatapathError::in_map(map::FLOWS_V4))?.max_entries())
    }

    /// Removes the flows of a zone: the next interface that gets the zone must not inherit them.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub fn forget_flows(&mut self, zone: u16) -> Result<(), DatapathError> {
        for (name, _) in V4_TABLES {
            self.forget_in::<Ipv4>(name, zone)?;
        }
        for (name, _) in V6_TABLES {
            self.forget_in::<Ipv6>(name, zone)?;
        }
        Ok(())
    }

    fn forget_in<A: Address>(&self, name: &'static str, zone: u16) -> Result<(), DatapathError>
    where
        FlowKey<A>: Pod,
    {
        let flows = self.flow_table::<A>(name)?;
        flows.each_batch(|keys, _| {
            // One that is gone meanwhile was evicted, or promoted to the other table, which is cleared too.
            keys.iter().filter(|key| key.zone == zone).try_for_each(|key| flows.take(key).map(drop))
        })
    }

    fn each_flow<A: Address>(
        &self,
        name: &'static str,
        mut each: impl FnMut(&FlowKey<A>, &FlowEntry),
    ) -> Result<(), DatapathError>
    where
        FlowKey<A>: Pod,
    {
        self.flow_table::<A>(name)?.each_batch(|keys, entries| {
            keys.iter().zip(entries).for_each(|(key, entry)| each(key, entry));
            Ok(())
        })
    }

    fn fill<A: Address>(&self, name: &'static str, is_assured: bool) -> Result<FlowTableFill, DatapathError>
    where
        FlowKey<A>: Pod,
    {
        let (flows, mut entries) = (self.flow_table::<A>(name)?, 0);
        flows.each_batch(|keys, _| {
            entries += keys.len() as u64;
            Ok(())
        })?;
        Ok(FlowTableFill { name, is_assured, entries, capacity: flows.capacity()? })
    }

    /// Opens a flow table.
    pub(super) fn flow_table<A: Address>(
        &self,
        name: &'static str,
    ) -> Result<HashTable<FlowKey<A>, FlowEntry>, DatapathError>
    where
        FlowKey<A>: Pod,
    {
        let data = MapData::from_pin(self.map_path(name)).map_err(DatapathError::in_map(name))?;
        HashTable::new(name, data)
    }

    /// The settings in force, by zone.
    pub(super) fn zones(&self) -> Result<BTreeMap<u16, InterfaceSettings>, DatapathError> {
        let error = DatapathError::in_map(map::SETTINGS);
        let generation = self.generation()?;
        if generation == 0 {
            return Ok(BTreeMap::new());
        }
        let halves: ArrayOfMaps<MapData, Array<MapData, Wire<InterfaceSettings>>> =
            self.map(map::SETTINGS)?;
        let settings = halves.get(&Half::of_generation(generation).slot(), 0).map_err(&error)?;
        let mut zones = BTreeMap::new();
        for slot in 0..settings.len() {
            let Wire(settings) = settings.get(&slot, 0).map_err(&error)?;
            if settings.policy != 0 {
                zones.insert(settings.zone, settings);
            }
        }
        Ok(zones)
    }
}

/// Turns entries into rows.
pub(super) struct Reader {
    zones: BTreeMap<u16, InterfaceSettings>,
    pub(super) now: u32,
}

impl Reader {
    /// `None` for what is no live flow: expired, of no attached interface, or of an unknown state.
    pub(super) fn row<A: Copy>(
        &self,
        key: &FlowKey<A>,
        entry: &FlowEntry,
        assured: bool,
        address: fn(A) -> IpAddr,
    ) -> Option<FlowRow> {
        let settings = self.zones.get(&key.zone)?;
        let state = FlowState::from_number(entry.state)?;
        let per_second = settings.jiffies_per_second.max(1);
        let idle = idle(entry.last_seen, self.now, per_second);
        let left = state.timeout(&settings.timeouts).checked_sub(idle)?;
        let (initiator, responder) = ends(key, entry.started_by(), address);
        Some(FlowRow {
            zone: key.zone,
            protocol: key.protocol,
            initiator,
            responder,
            started_by: entry.started_by(),
            state,
            assured,
            idle_seconds: u64::from(idle / per_second),
            expires_in_seconds: u64::from(left / per_second),
            cut_in_seconds: (entry.cut_at != 0).then(|| {
                let left = if entry.is_cut(self.now) { 0 } else { entry.cut_at.wrapping_sub(self.now) };
                u64::from(left / per_second)
            }),
            rule_set: entry.rule_set,
            generation: entry.generation,
        })
    }
}

/// Initiator and responder, as [`FlowRow`] shows them.
fn ends<A: Copy>(
    key: &FlowKey<A>,
    started_by: Direction,
    address: fn(A) -> IpAddr,
) -> ((IpAddr, u16), (IpAddr, u16)) {
    let (local, remote) = (address(key.local), address(key.remote));
    let (local_port, remote_port) = (key.local_port.get(), key.remote_port.get());
    match (key.query_from, started_by) {
        // The identifier and the type of the query, whichever end asks.
        (query_from::REMOTE, _) => ((remote, local_port), (local, remote_port)),
        (query_from::LOCAL, _) | (_, Direction::Egress) => ((local, local_port), (remote, remote_port)),
        (_, Direction::Ingress) => ((remote, remote_port), (local, local_port)),
    }
}

pub(super) fn v4(address: Ipv4) -> IpAddr {
    Ipv4Addr::from(address.0.to_bytes()).into()
}

pub(super) fn v6(address: Ipv6) -> IpAddr {
    Ipv6Addr::from(address.to_bytes()).into()
}
