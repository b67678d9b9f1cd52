//! Putting a policy into force.
//!
//! A policy is a set of fresh maps, filled before any program can see them, that are put into the idle half of the
//! outer maps. One write of the generation word then changes the half for both hooks of all interfaces at once.

use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, InnerMap, MapData};
use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE};
use bytemuck::{Pod, Zeroable};
use firewall_common::abi::{
    InterfaceSettings, MAX_INTERFACES, SERVICE_CHUNK, Timeouts, exempt_flag, interface_flag, map,
};
use firewall_common::decide::Half;

use super::array::filled_array;
use super::batch::filled_map;
use super::clock::{jiffies_per_second, to_jiffies};
use super::wire::Wire;
use super::{Datapath, DatapathError};
use crate::compile::{CompiledInterface, CompiledPolicy};
use crate::model::{FlowTimeouts, IcmpErrors, InterfaceOptions};

/// Flag of `BPF_MAP_CREATE` (`linux/bpf.h`).
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// May stand in an outer map beside arrays of other sizes.
const BPF_F_INNER_MAP: u32 = 1 << 12;

pub(super) type Settings = Array<MapData, Wire<InterfaceSettings>>;

/// Key of an IPv6 trie.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PrefixV6 {
    length: u32,
    address: [u8; 16],
}

/// A policy that stands in the idle half of the maps.
#[must_use = "a prepared policy is not in force until it is activated"]
#[derive(Debug)]
pub struct Prepared<'a> {
    datapath: &'a Datapath,
    generation: u64,
}

impl Datapath {
    /// Fills the idle half of the maps with `policy`. Its generation will be above `newer_than` and above the one in
    /// force.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the kernel refuses a map or an element, and where a generation waits to be confirmed; the
    /// policy in force is untouched.
    pub fn prepare(
        &mut self,
        policy: &CompiledPolicy,
        newer_than: u64,
    ) -> Result<Prepared<'_>, DatapathError> {
        if self.unconfirmed()?.is_some() {
            // The half that would be filled is the one to go back to.
            return Err(DatapathError::AwaitingConfirmation);
        }
        let generation = next_generation(self.generation()?, newer_than);
        let slot = Half::of_generation(generation).slot();
        // The half that is filled is the one that was in force before the last change. Whoever made that waited for its
        // programs to end, unless it was killed after its flip and before the wait. Nobody sees the new maps yet, so they
        // are filled meanwhile.
        let (v4, v6, services, cells, settings) = thread::scope(|scope| {
            let waiting = scope.spawn(|| self.wait_for_readers());
            let v6 = scope.spawn(|| addresses_v6(policy));
            let cells = scope.spawn(|| cells(policy));
            let (v4, services, settings) = (addresses_v4(policy)?, services(policy)?, settings(policy)?);
            joined(waiting)?;
            Ok::<_, DatapathError>((v4, joined(v6)?, services, joined(cells)?, settings))
        })?;
        // The kernel waits for all running programs in each update of an outer map; at the same time they wait once.
        thread::scope(|scope| {
            let puts = [
                scope.spawn(|| self.put(map::ADDRESSES_V4, slot, &v4)),
                scope.spawn(|| self.put(map::ADDRESSES_V6, slot, &v6)),
                scope.spawn(|| self.put(map::SERVICES, slot, &services)),
                scope.spawn(|| self.put(map::CELLS, slot, &cells)),
                scope.spawn(|| self.put(map::SETTINGS, slot, &settings)),
            ];
            puts.into_iter().try_for_each(joined)
        })?;
        Ok(Prepared { datapath: self, generation })
    }

    pub(super) fn put<M: InnerMap>(
        &self,
        name: &'static str,
        slot: u32,
        inner: &M,
    ) -> Result<(), DatapathError> {
        let mut outer: ArrayOfMaps<MapData, M> = self.map(name)?;
        outer.set(slot, inner, 0).map_err(DatapathError::in_map(name))
    }
}

impl Prepared<'_> {
    /// The generation that the policy will have.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Puts the policy into force, and returns when no program works by the previous one any more. With `confirm_within`
    /// the previous one is in force again after that time, unless this one is confirmed.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the generation word cannot be written; the previous policy stays in force then.
    pub fn activate(self, confirm_within: Option<Duration>) -> Result<(), DatapathError> {
        match confirm_within {
            Some(within) => self.datapath.set_unconfirmed(self.generation, within),
            None => self.datapath.set_generation(self.generation),
        }
    }
}

/// What a thread has returned; its panic is this thread's.
fn joined<T>(thread: ScopedJoinHandle<'_, Result<T, DatapathError>>) -> Result<T, DatapathError> {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Above both, and in the half that is idle now.
const fn next_generation(in_force: u64, newer_than: u64) -> u64 {
    let candidate = if in_force > newer_than { in_force + 1 } else { newer_than + 1 };
    if candidate & 1 == in_force & 1 { candidate + 1 } else { candidate }
}

fn addresses_v4(policy: &CompiledPolicy) -> Result<MapData, DatapathError> {
    filled_array(map::ADDRESSES_V4, &policy.interval_tree_v4(), BPF_F_MMAPABLE | BPF_F_INNER_MAP)
}

fn addresses_v6(policy: &CompiledPolicy) -> Result<MapData, DatapathError> {
    let size = max_entries("IPv6 prefixes", policy.addresses_v6.len())?;
    let elements = policy.addresses_v6.iter().map(|(prefix, class)| {
        (PrefixV6 { length: prefix.prefix_len().into(), address: prefix.network().octets() }, *class)
    });
    filled_map(map::ADDRESSES_V6, BPF_MAP_TYPE_LPM_TRIE, size, elements)
}

fn cells(policy: &CompiledPolicy) -> Result<MapData, DatapathError> {
    let size = max_entries("cells", policy.cells.len())?;
    filled_map(map::CELLS, BPF_MAP_TYPE_HASH, size, policy.cells.iter().copied())
}

/// The kernel has no map of 0 entries.
fn max_entries(what: &'static str, needed: usize) -> Result<u32, DatapathError> {
    let limit = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    u32::try_from(needed.max(1)).map_err(|_| DatapathError::TooLarge { what, needed, limit })
}

fn services(policy: &CompiledPolicy) -> Result<MapData, DatapathError> {
    let (chunks, _) = policy.services.as_chunks::<SERVICE_CHUNK>();
    filled_array(map::SERVICES, chunks, BPF_F_MMAPABLE)
}

fn settings(policy: &CompiledPolicy) -> Result<Settings, DatapathError> {
    let error = DatapathError::in_map(map::SETTINGS);
    let mut settings = Settings::create(MAX_INTERFACES, 0).map_err(&error)?;
    let jiffies_per_second = jiffies_per_second()?;
    for interface in &policy.interfaces {
        let value = interface_settings(interface, jiffies_per_second);
        settings.set(interface.slot, Wire(value), 0).map_err(&error)?;
    }
    Ok(settings)
}

pub(super) fn interface_settings(
    interface: &CompiledInterface,
    jiffies_per_second: u32,
) -> InterfaceSettings {
    InterfaceSettings {
        policy: interface.policy,
        zone: interface.zone,
        flags: flags(&interface.options),
        exempt: exempt(interface),
        jiffies_per_second,
        timeouts: timeouts(&interface.options.timeouts, jiffies_per_second),
    }
}

fn flags(options: &InterfaceOptions) -> u16 {
    let mut flags = 0;
    if options.icmp_errors == IcmpErrors::RulesOnly {
        flags |= interface_flag::ICMP_ERRORS_BY_RULES_ONLY;
    }
    if options.tcp_strict {
        flags |= interface_flag::TCP_STRICT;
    }
    if options.audit {
        flags |= interface_flag::AUDIT;
    }
    flags
}

fn exempt(interface: &CompiledInterface) -> u16 {
    let exemptions = interface.options.exemptions;
    [
        (exemptions.arp, exempt_flag::ARP),
        (exemptions.neighbor_discovery, exempt_flag::NEIGHBOR_DISCOVERY),
        (exemptions.multicast_listener, exempt_flag::MULTICAST_LISTENER),
        (exemptions.dhcp_client, exempt_flag::DHCP_CLIENT),
        (exemptions.non_ip, exempt_flag::NON_IP),
        (interface.has_exempt_addresses, exempt_flag::ADDRESSES),
    ]
    .into_iter()
    .filter(|(on, _)| *on)
    .fold(0, |flags, (_, flag)| flags | flag)
}

fn timeouts(timeouts: &FlowTimeouts, jiffies_per_second: u32) -> Timeouts {
    let jiffies = |seconds| to_jiffies(seconds, jiffies_per_second);
    Timeouts {
        tcp_syn: jiffies(timeouts.tcp_syn),
        tcp_established: jiffies(timeouts.tcp_established),
        tcp_fin: jiffies(timeouts.tcp_fin),
        tcp_closed: jiffies(timeouts.tcp_closed),
        udp: jiffies(timeouts.udp),
        udp_stream: jiffies(timeouts.udp_stream),
        icmp: jiffies(timeouts.icmp),
        other: jiffies(timeouts.other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_generation_is_newer_than_both_and_in_the_idle_half() {
        assert_eq!(next_generation(0, 0), 1);
        assert_eq!(next_generation(7, 7), 8);
        assert_eq!(next_generation(7, 3), 8);
        // A stored generation that never came into force: 9 would overwrite the half that is in force.
        assert_eq!(next_generation(7, 8), 10);
        assert_eq!(next_generation(7, 9), 10);
    }
}
