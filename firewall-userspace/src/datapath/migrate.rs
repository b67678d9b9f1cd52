//! Taking over what a version of sgfw with another ABI has attached.
//!
//! The programs on the interfaces work by the maps of their own version until each link goes to a new program in one
//! step. Flows are copied before that, and once more after it: what began in between is in the old tables.

use std::fs;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use firewall_common::abi::{ABI_VERSION, Address, FlowEntry, FlowKey, Ipv4, Ipv6};

use super::batch::{HashTable, Inserted};
use super::flows::{V4_TABLES, V6_TABLES};
use super::{Datapath, DatapathError};

/// The versions whose flows can be read.
///
/// Version 1: as now, with zeros where an entry now has the time of its cut, which mean that there is none. Later ones: as
/// now.
const READABLE_FLOWS: [u32; 4] = [1, 2, 3, 4];

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
            match to.insert_new(key, entry)? {
                Inserted::New | Inserted::Existing => {}
                // As many fit as did before; what is in the way has begun since, and is no worse.
                Inserted::NoRoom => break,
            }
        }
        Ok(())
    })
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
