//! Taking over what a version of sgfw with another ABI has attached.
//!
//! The programs on the interfaces work by the maps of their own version until each link goes to a new program in one
//! step. Flows are copied before that, and once more after it: what began in between is in the old tables.

use std::fs;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use firewall_common::abi::{ABI_VERSION, Address, Direction, FlowEntry, FlowKey, Ipv4, Ipv6, query_from};

use super::batch::{HashTable, Inserted};
use super::flows::{V4_TABLES, V6_TABLES};
use super::{Datapath, DatapathError};
use crate::model::Protocol;

/// The versions whose flows can be read.
///
/// All have today's layout. Version 1 has zeros where an entry now stores its cut time; zero means *no cut*. In all of them
/// the ends of a key stand in another order: see [`by_side`].
const READABLE_FLOWS: [u32; 5] = [1, 2, 3, 4, 5];

/// Bit of [`FlowEntry::flags`] up to version 5: the end that was second in the key sent the first packet.
const INITIATOR_IS_SECOND: u8 = 1 << 0;

/// The pins of another version of the ABI.
#[derive(Debug)]
pub struct OtherVersion {
    /// Which.
    pub version: u32,
    /// As if it were of this version: links and the names of the maps of flows are the same in all.
    datapath: Datapath,
}

impl Datapath {
    /// What another version has pinned under `bpffs`, if it has.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the directory cannot be read.
    pub fn other_version(bpffs: &Path) -> Result<Option<OtherVersion>, DatapathError> {
        for version in versions(bpffs)? {
            let datapath = Self { root: bpffs.join(format!("v{version}")) };
            if version != ABI_VERSION {
                return Ok(Some(OtherVersion { version, datapath }));
            }
        }
        Ok(None)
    }
}

impl OtherVersion {
    /// The attachments and pins of that version, which must not be published to.
    #[must_use]
    pub const fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// Whether any interface may have programs of that version.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the pins cannot be read.
    pub fn has_links(&self) -> Result<bool, DatapathError> {
        Ok(self.datapath.links_directory().exists() && !self.datapath.pins()?.is_empty())
    }

    /// Refuses what [`copy_flows`](Self::copy_flows) could not copy.
    ///
    /// # Errors
    ///
    /// [`DatapathError::UnreadableFlows`] where the layout of the flows is not known.
    pub fn check_readable(&self) -> Result<(), DatapathError> {
        if READABLE_FLOWS.contains(&self.version) {
            return Ok(());
        }
        Err(DatapathError::UnreadableFlows { version: self.version })
    }

    /// Copies the flows that `to` does not have.
    ///
    /// # Errors
    ///
    /// As [`check_readable`](Self::check_readable), and others where a map cannot be read or written.
    pub fn copy_flows(&self, to: &Datapath) -> Result<(), DatapathError> {
        self.check_readable()?;
        for (table, _) in V4_TABLES {
            copy(&self.datapath.flow_table::<Ipv4>(table)?, &to.flow_table::<Ipv4>(table)?)?;
        }
        for (table, _) in V6_TABLES {
            copy(&self.datapath.flow_table::<Ipv6>(table)?, &to.flow_table::<Ipv6>(table)?)?;
        }
        Ok(())
    }

    /// Moves the pins of a slot's links to `to`, whose programs they have by now, and removes the old directory with the
    /// last one.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin cannot be moved.
    pub fn hand_over_links(self, to: &Datapath) -> Result<(), DatapathError> {
        for (path, pin) in self.datapath.pins()? {
            let moved = to.link_path(&pin);
            fs::rename(&path, &moved).map_err(DatapathError::io("move", &path))?;
        }
        self.remove()
    }

    /// Removes the pins of that version.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin cannot be removed.
    pub fn remove(self) -> Result<(), DatapathError> {
        self.datapath.remove()
    }
}

fn copy<A: Address>(
    from: &HashTable<FlowKey<A>, FlowEntry>,
    to: &HashTable<FlowKey<A>, FlowEntry>,
) -> Result<(), DatapathError>
where
    FlowKey<A>: Pod,
{
    from.each_batch(|keys, entries| {
        for (key, entry) in keys.iter().zip(entries) {
            let (key, entry) = by_side(key, entry);
            match to.insert_new(&key, &entry)? {
                Inserted::New | Inserted::Existing => {}
                // As many fit as did before; what is in the way has begun since, and is no worse.
                Inserted::NoRoom => break,
            }
        }
        Ok(())
    })
}

/// A flow of versions 1 to 5 as it is now.
///
/// Their keys had today's layout, but put the end with the lower address and port first, and the end that asks for ICMP
/// queries. The direction in which a flow began tells which of its ends is the local one.
///
/// A flow that a router sent back by the interface it came in by was one; now each direction has its own. The second is not
/// made up here, since a forged packet looks the same: the next packet that leaves begins it, where egress rules admit it.
fn by_side<A: Address>(old: &FlowKey<A>, entry: &FlowEntry) -> (FlowKey<A>, FlowEntry) {
    let (first, second) = ((old.local, old.local_port), (old.remote, old.remote_port));
    let (initiator, responder) =
        if entry.flags & INITIATOR_IS_SECOND == 0 { (first, second) } else { (second, first) };
    let ((local, local_port), (remote, remote_port), query_from) = match entry.started_by() {
        Direction::Ingress => (responder, initiator, query_from::REMOTE),
        Direction::Egress => (initiator, responder, query_from::LOCAL),
    };
    let key = if is_query(old) {
        // The ports are the identifier and the type, which belong to neither end.
        FlowKey { local, remote, query_from, ..*old }
    } else {
        FlowKey { local, remote, local_port, remote_port, ..*old }
    };
    (key, FlowEntry { flags: entry.flags & !INITIATOR_IS_SECOND, ..*entry })
}

fn is_query<A: Address>(key: &FlowKey<A>) -> bool {
    let icmp = if A::IS_IPV6 { Protocol::Icmpv6 } else { Protocol::Icmp };
    Protocol::from_number(key.protocol) == icmp
}

/// The versions that have a directory under `bpffs`.
fn versions(bpffs: &Path) -> Result<Vec<u32>, DatapathError> {
    if !bpffs.exists() {
        return Ok(Vec::new());
    }
    let mut versions = Vec::new();
    for entry in fs::read_dir(bpffs).map_err(DatapathError::reading(bpffs))? {
        let name = PathBuf::from(entry.map_err(DatapathError::reading(bpffs))?.file_name());
        let number: Option<u32> =
            name.to_str().and_then(|name| name.strip_prefix('v')).and_then(|number| number.parse().ok());
        versions.extend(number);
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use firewall_common::abi::{Be16, flow_flag};

    use super::*;

    const LOW: Ipv4 = Ipv4::from_bytes([192, 0, 2, 1]);
    const HIGH: Ipv4 = Ipv4::from_bytes([192, 0, 2, 9]);

    /// As versions 1 to 5 have it: the lower end first.
    fn old(protocol: u8, first_port: u16, second_port: u16) -> FlowKey<Ipv4> {
        let (local_port, remote_port) = (Be16::new(first_port), Be16::new(second_port));
        FlowKey { local: LOW, remote: HIGH, local_port, remote_port, protocol, query_from: 0, zone: 7 }
    }

    fn entry(flags: u8) -> FlowEntry {
        FlowEntry { flags: flags | flow_flag::REPLIED, rule_set: 5, ..FlowEntry::default() }
    }

    fn turned(old: FlowKey<Ipv4>, flags: u8) -> (Ipv4, u16, Ipv4, u16, u8) {
        let (key, new) = by_side(&old, &entry(flags));
        assert_eq!((key.zone, key.protocol), (7, old.protocol));
        assert_eq!(new.flags, (flags & !INITIATOR_IS_SECOND) | flow_flag::REPLIED);
        (key.local, key.local_port.get(), key.remote, key.remote_port.get(), key.query_from)
    }

    #[test]
    fn the_initiator_and_the_direction_tell_which_end_of_an_old_key_is_local() {
        let tcp = old(6, 22, 40000);
        // By ingress from the second, by ingress from the first, and the same by egress.
        assert_eq!(turned(tcp, INITIATOR_IS_SECOND), (LOW, 22, HIGH, 40000, query_from::EITHER));
        assert_eq!(turned(tcp, 0), (HIGH, 40000, LOW, 22, query_from::EITHER));
        let egress = flow_flag::STARTED_BY_EGRESS;
        assert_eq!(turned(tcp, egress), (LOW, 22, HIGH, 40000, query_from::EITHER));
        let from_second = egress | INITIATOR_IS_SECOND;
        assert_eq!(turned(tcp, from_second), (HIGH, 40000, LOW, 22, query_from::EITHER));
    }

    #[test]
    fn an_old_query_keeps_identifier_and_type_and_learns_who_asks() {
        let ping = old(1, 77, 8);
        assert_eq!(turned(ping, 0), (HIGH, 77, LOW, 8, query_from::REMOTE));
        assert_eq!(turned(ping, flow_flag::STARTED_BY_EGRESS), (LOW, 77, HIGH, 8, query_from::LOCAL));
    }
}
