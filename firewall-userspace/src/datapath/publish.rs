//! Putting a policy into force.
//!
//! Its tables are copied into the idle half of the arenas, where no program looks. One write of the generation word then
//! changes the half for both hooks of all interfaces at once.

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use firewall_common::abi::{
    CellLine, InterfaceSettings, LENGTH_NODES, LengthNode, MAX_INTERFACES, PrefixLine, SERVICE_CHUNK,
    exempt_flag, interface_flag, map,
};
use firewall_common::decide::Half;

use super::arena::Sizes;
use super::clock::{Units, jiffies_per_second};
use super::lifetimes::lifetimes;
use super::receipt::{Digest, Receipt, digest_v6};
use super::{Datapath, DatapathError};
use crate::compile::{AddressIndex, CompiledInterface, CompiledPolicy, PrefixTable};
use crate::model::{IcmpErrors, InterfaceOptions};

/// A policy in the idle half of the arenas.
#[must_use = "a prepared policy is not in force until it is activated"]
#[derive(Debug)]
pub struct Prepared<'a> {
    datapath: &'a Datapath,
    generation: u64,
    addresses_v6: Digest,
}

/// What is to be written.
struct Tables {
    addresses_v4: AddressIndex,
    addresses_v6: PrefixTable,
    digest_v6: Digest,
    cells: Vec<CellLine>,
}

impl Datapath {
    /// Fills the idle half of the arenas with `policy`, after it has made them larger if need be. Its generation will be above
    /// `newer_than` and above the one in force.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read, where the kernel has no memory for larger ones, and where a generation waits
    /// to be confirmed; the policy in force is untouched.
    pub fn prepare(
        &mut self,
        policy: &CompiledPolicy,
        newer_than: u64,
    ) -> Result<Prepared<'_>, DatapathError> {
        if self.unconfirmed()?.is_some() {
            // The half that would be filled is the one to go back to.
            return Err(DatapathError::AwaitingConfirmation);
        }
        // A program that works by other arenas would find its half as it was long ago.
        self.finish_replacement()?;
        let generation = next_generation(self.generation()?, newer_than);
        let half = Half::of_generation(generation);
        // The half that is filled is the one that was in force before the last change. Whoever made that waited for its
        // programs to end and has left a receipt, unless it was killed before.
        let receipt = self.receipt_in_force()?;
        let tables = thread::scope(|scope| {
            let waiting = receipt.is_none().then(|| scope.spawn(|| self.wait_for_readers()));
            let v6 = scope.spawn(|| self.addresses_v6(policy, receipt.as_ref()));
            let (addresses_v4, cells) = (policy.address_index_v4(), policy.cell_lines());
            waiting.map_or(Ok(()), |waiting| returned(waiting.join()))?;
            let (addresses_v6, digest_v6) = returned(v6.join())?;
            Ok::<_, DatapathError>(Tables { addresses_v4, addresses_v6, digest_v6, cells })
        })?;
        self.grow(tables.needed())?;
        self.fill(half, policy, &tables)?;
        Ok(Prepared { datapath: self, generation, addresses_v6: tables.digest_v6 })
    }

    /// The IPv6 addresses, and what tells them from others. Sorting them takes longer than everything else, so those in force
    /// are copied if they are the same.
    fn addresses_v6(
        &self,
        policy: &CompiledPolicy,
        receipt: Option<&Receipt>,
    ) -> Result<(PrefixTable, Digest), DatapathError> {
        let digest = digest_v6(policy);
        let in_force = self.half_in_force()?;
        if let Some(half) =
            in_force.filter(|_| receipt.is_some_and(|receipt| receipt.has_addresses_v6(&digest)))
        {
            let lengths = self.arena::<LengthNode>(map::LENGTHS_V6)?.read(half, LENGTH_NODES as u32).to_vec();
            let count = lengths.first().map_or(0, LengthNode::lines);
            let lines = self.arena::<PrefixLine>(map::ADDRESSES_V6)?.read(half, count).to_vec();
            return Ok((PrefixTable { lengths, lines }, digest));
        }
        Ok((policy.prefix_table_v6(), digest))
    }

    fn fill(&self, half: Half, policy: &CompiledPolicy, tables: &Tables) -> Result<(), DatapathError> {
        let (services, _) = policy.services.as_chunks::<SERVICE_CHUNK>();
        let settings = settings(policy, tables.cells.len())?;
        self.arena(map::ADDRESSES_V4)?.write(half, &tables.addresses_v4.upper_halves)?;
        self.arena(map::INTERVALS_V4)?.write(half, &tables.addresses_v4.nodes)?;
        self.arena(map::LENGTHS_V6)?.write(half, &tables.addresses_v6.lengths)?;
        self.arena(map::ADDRESSES_V6)?.write(half, &tables.addresses_v6.lines)?;
        self.arena(map::SERVICES)?.write(half, services)?;
        self.arena(map::CELLS)?.write(half, &tables.cells)?;
        self.arena(map::SETTINGS)?.write(half, &settings)
    }
}

impl Tables {
    /// More than can be counted is more than the kernel has memory for.
    fn needed(&self) -> Sizes {
        let [interval_nodes, prefix_lines, cell_lines] =
            [self.addresses_v4.nodes.len(), self.addresses_v6.lines.len(), self.cells.len()]
                .map(|elements| u32::try_from(elements).unwrap_or(u32::MAX));
        Sizes { interval_nodes, prefix_lines, cell_lines }
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
    /// [`DatapathError`] where the generation word cannot be written: the previous policy stays in force then. Where the receipt
    /// cannot be left, the new one is in force already.
    pub fn activate(self, confirm_within: Option<Duration>) -> Result<(), DatapathError> {
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

/// Of every slot.
fn settings(policy: &CompiledPolicy, cell_lines: usize) -> Result<Vec<InterfaceSettings>, DatapathError> {
    let mut settings = vec![InterfaceSettings::default(); MAX_INTERFACES as usize];
    let jiffies_per_second = jiffies_per_second()?;
    for interface in &policy.interfaces {
        let slot = settings.get_mut(interface.slot as usize).ok_or(DatapathError::TooLarge {
            what: "slots of interfaces",
            needed: interface.slot as usize + 1,
            limit: MAX_INTERFACES as usize,
        })?;
        *slot = interface_settings(interface, jiffies_per_second, cell_lines);
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
