//! Putting a policy into force.
//!
//! A policy is a set of fresh maps, filled before any program can see them, that are put into the idle half of the
//! outer maps. One write of the generation word then changes the half for both hooks of all interfaces at once.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::maps::of_maps::ArrayOfMaps;
use aya::maps::{Array, InnerMap, MapData};
use bytemuck::Pod;
use firewall_common::abi::{
    InterfaceSettings, MAX_INTERFACES, SERVICE_CHUNK, exempt_flag, interface_flag, map,
};
use firewall_common::decide::Half;

use super::array::{BPF_F_MMAPABLE, filled_array};
use super::clock::{Units, jiffies_per_second};
use super::lifetimes::lifetimes;
use super::receipt::{Digest, Receipt, digest_v6};
use super::wire::Wire;
use super::{Datapath, DatapathError};
use crate::compile::{CompiledInterface, CompiledPolicy};
use crate::model::{IcmpErrors, InterfaceOptions};

/// Flag of `BPF_MAP_CREATE` (`linux/bpf.h`): may stand in an outer map beside arrays of other sizes.
const BPF_F_INNER_MAP: u32 = 1 << 12;

pub(super) type Settings = Array<MapData, Wire<InterfaceSettings>>;

/// A policy on its way into the idle half of the maps.
#[must_use = "a prepared policy is not in force until it is activated"]
#[derive(Debug)]
pub struct Prepared<'a> {
    datapath: &'a Datapath,
    generation: u64,
    addresses_v6: Digest,
    puts: Puts,
}

/// Maps that are being put into outer ones. The kernel waits for all running programs in each update of an outer map; at
/// the same time they wait once, and the publisher commits meanwhile.
#[derive(Debug, Default)]
struct Puts(Vec<JoinHandle<Result<(), DatapathError>>>);

impl Puts {
    fn start<M: InnerMap + Send + 'static>(
        &mut self,
        datapath: &Datapath,
        name: &'static str,
        slot: u32,
        inner: M,
    ) -> Result<(), DatapathError> {
        let mut outer: ArrayOfMaps<MapData, M> = datapath.map(name)?;
        let put = move || outer.set(slot, &inner, 0).map_err(DatapathError::in_map(name));
        self.0.push(thread::spawn(put));
        Ok(())
    }

    fn finish(mut self) -> Result<(), DatapathError> {
        let outcomes: Vec<_> = self.0.drain(..).map(JoinHandle::join).collect();
        outcomes.into_iter().try_for_each(returned)
    }
}

/// Whoever gives up must not go on writing when the next publisher has its turn.
impl Drop for Puts {
    fn drop(&mut self) {
        for put in self.0.drain(..) {
            drop(put.join());
        }
    }
}

impl Datapath {
    /// Fills the idle half of the maps with `policy`. Its generation will be above `newer_than` and above the one in
    /// force.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the kernel refuses a map or an element, and where a generation waits to be confirmed; the
    /// policy in force is untouched. Whether the maps could be put into their half is seen when it is activated.
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
        // programs to end and has left a receipt, unless it was killed before. Nobody sees the new maps yet, so they are
        // filled meanwhile.
        let receipt = self.receipt_in_force()?;
        let cell_lines = policy.cell_lines();
        let count = cell_lines.len();
        let ((v4, intervals_v4), (v6, addresses_v6), services, cells, settings) = thread::scope(|scope| {
            let waiting = receipt.is_none().then(|| scope.spawn(|| self.wait_for_readers()));
            let v6 = scope.spawn(|| self.addresses_v6(policy, receipt.as_ref()));
            let (v4, services) = (addresses_v4(policy)?, services(policy)?);
            let (cells, settings) = (of_any_size(map::CELLS, &cell_lines)?, settings(policy, count)?);
            waiting.map_or(Ok(()), |waiting| returned(waiting.join()))?;
            Ok::<_, DatapathError>((v4, returned(v6.join())?, services, cells, settings))
        })?;
        let mut puts = Puts::default();
        puts.start(self, map::ADDRESSES_V4, slot, v4)?;
        puts.start(self, map::INTERVALS_V4, slot, intervals_v4)?;
        let (lengths_v6, v6) = v6;
        puts.start(self, map::LENGTHS_V6, slot, lengths_v6)?;
        puts.start(self, map::ADDRESSES_V6, slot, v6)?;
        puts.start(self, map::SERVICES, slot, services)?;
        puts.start(self, map::CELLS, slot, cells)?;
        puts.start(self, map::SETTINGS, slot, settings)?;
        Ok(Prepared { datapath: self, generation, addresses_v6, puts })
    }

    /// The IPv6 addresses, and what tells them from others. Sorting them takes longer than everything else, so those of the
    /// half in force serve both halves if they are the same: they will not be written any more.
    fn addresses_v6(
        &self,
        policy: &CompiledPolicy,
        receipt: Option<&Receipt>,
    ) -> Result<((MapData, MapData), Digest), DatapathError> {
        let digest = digest_v6(policy);
        if receipt.is_some_and(|receipt| receipt.has_addresses_v6(&digest))
            && let (Ok(lengths), Ok(lines)) = (self.inner(map::LENGTHS_V6), self.inner(map::ADDRESSES_V6))
        {
            return Ok(((lengths, lines), digest));
        }
        Ok((addresses_v6(policy)?, digest))
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

    /// What it will be in force in, with the policy in force until then.
    #[must_use]
    pub const fn datapath(&self) -> &Datapath {
        self.datapath
    }

    /// Puts the policy into force, and returns when no program works by the previous one any more. With `confirm_within`
    /// the previous one is in force again after that time, unless this one is confirmed.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the kernel refuses to put a map into its half, or the generation word cannot be written:
    /// the previous policy stays in force then. Where the receipt cannot be left, the new one is in force already.
    pub fn activate(self, confirm_within: Option<Duration>) -> Result<(), DatapathError> {
        self.puts.finish()?;
        match confirm_within {
            Some(within) => self.datapath.set_unconfirmed(self.generation, within, Some(self.addresses_v6)),
            None => self.datapath.set_generation(self.generation, Some(self.addresses_v6)),
        }
    }
}

/// What a thread has returned; its panic is this thread's.
fn returned<T>(outcome: thread::Result<Result<T, DatapathError>>) -> Result<T, DatapathError> {
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Above both, and in the half that is idle now.
const fn next_generation(in_force: u64, newer_than: u64) -> u64 {
    let candidate = if in_force > newer_than { in_force + 1 } else { newer_than + 1 };
    if candidate & 1 == in_force & 1 { candidate + 1 } else { candidate }
}

/// The two arrays of the index.
fn addresses_v4(policy: &CompiledPolicy) -> Result<(MapData, MapData), DatapathError> {
    let index = policy.address_index_v4();
    Ok((
        filled_array(map::ADDRESSES_V4, &index.upper_halves, BPF_F_MMAPABLE)?,
        of_any_size(map::INTERVALS_V4, &index.nodes)?,
    ))
}

/// The two arrays of the table.
fn addresses_v6(policy: &CompiledPolicy) -> Result<(MapData, MapData), DatapathError> {
    let table = policy.prefix_table_v6();
    Ok((
        filled_array(map::LENGTHS_V6, &table.lengths, BPF_F_MMAPABLE)?,
        of_any_size(map::ADDRESSES_V6, &table.lines)?,
    ))
}

fn of_any_size<T: Pod>(name: &'static str, elements: &[T]) -> Result<MapData, DatapathError> {
    filled_array(name, elements, BPF_F_MMAPABLE | BPF_F_INNER_MAP)
}

fn services(policy: &CompiledPolicy) -> Result<MapData, DatapathError> {
    let (chunks, _) = policy.services.as_chunks::<SERVICE_CHUNK>();
    filled_array(map::SERVICES, chunks, BPF_F_MMAPABLE)
}

fn settings(policy: &CompiledPolicy, cell_lines: usize) -> Result<Settings, DatapathError> {
    let error = DatapathError::in_map(map::SETTINGS);
    let mut settings = Settings::create(MAX_INTERFACES, 0).map_err(&error)?;
    let jiffies_per_second = jiffies_per_second()?;
    for interface in &policy.interfaces {
        let value = interface_settings(interface, jiffies_per_second, cell_lines);
        settings.set(interface.slot, Wire(value), 0).map_err(&error)?;
    }
    Ok(settings)
}

pub(super) fn interface_settings(
    interface: &CompiledInterface,
    jiffies_per_second: u32,
    cell_lines: usize,
) -> InterfaceSettings {
    InterfaceSettings {
        policy: interface.policy,
        zone: interface.zone,
        flags: flags(&interface.options),
        exempt: exempt(interface),
        jiffies_per_second,
        lifetimes: lifetimes(&interface.options.timeouts, Units::at(jiffies_per_second)),
        untracked: interface.untracked,
        // An array of more the kernel would have refused.
        cell_lines: u32::try_from(cell_lines).unwrap_or(u32::MAX),
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
