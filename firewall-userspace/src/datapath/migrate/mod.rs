//! Taking over what a version of sgfw with another ABI has attached.
//!
//! The programs on the interfaces work by the maps of their own version until each link goes to a new program in one
//! step. Flows are copied before that, and once more after it: what began in between is in the old tables.

mod legacy;

use std::fs;
use std::path::{Path, PathBuf};

use aya::maps::MapData;
use bytemuck::Pod;
use firewall_common::abi::{ABI_VERSION, Address, Ipv4, Ipv6};
use firewall_common::flow_table::control::PROTECTED;
use firewall_common::flow_table::{Class, Control};

use self::legacy::{OldEntry, OldKey, Turning, V4_TABLES, V6_TABLES, by_side};
use super::batch::HashTable;
use super::clock::jiffies;
use super::flow_table::{Added, FlowTable};
use super::flows::Reader;
use super::{Datapath, DatapathError};

/// The versions whose flows can be read.
const READABLE_FLOWS: [u32; 5] = [1, 2, 3, 4, 5];

/// The pins of another version of the ABI.
#[derive(Debug)]
pub struct OtherVersion {
    /// Which.
    pub version: u32,
    /// As if it were of this version: links are the same in all.
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
            let datapath = Self::of_version(bpffs, version);
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
    pub fn has_pins(&self) -> Result<bool, DatapathError> {
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

    /// For how many assured flows of each family that version has room.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where a map cannot be read.
    pub fn flow_entries(&self) -> Result<u32, DatapathError> {
        let [(name, _), _] = V4_TABLES;
        let data = MapData::from_pin(self.datapath.map_path(name));
        let info = data.and_then(|data| data.info());
        Ok(info.map_err(DatapathError::in_map(name))?.max_entries())
    }

    /// Copies the live flows that `to`, whose policy is in force, does not have. Returns for how many there was no room.
    ///
    /// # Errors
    ///
    /// As [`check_readable`](Self::check_readable), and others where a map cannot be read or written.
    pub fn copy_flows(&self, to: &Datapath) -> Result<u64, DatapathError> {
        self.check_readable()?;
        let copying = Copying { table: to.flow_table()?, reader: to.reader()?, jiffies: low_jiffies()? };
        let mut without_room = 0;
        for (name, was_assured) in V4_TABLES {
            without_room += copying.copy::<Ipv4>(&self.table(name)?, was_assured)?;
        }
        for (name, was_assured) in V6_TABLES {
            without_room += copying.copy::<Ipv6>(&self.table(name)?, was_assured)?;
        }
        Ok(without_room)
    }

    fn table<A>(&self, name: &'static str) -> Result<HashTable<OldKey<A>, OldEntry>, DatapathError>
    where
        OldKey<A>: Pod,
    {
        let data = MapData::from_pin(self.datapath.map_path(name)).map_err(DatapathError::in_map(name))?;
        HashTable::new(name, data)
    }

    /// Moves the pins of a slot's links to `to`, whose programs they have by now, and removes the old directory with the
    /// last one.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin cannot be moved.
    pub fn hand_over_pins(self, to: &Datapath) -> Result<(), DatapathError> {
        for (path, pin) in self.datapath.pins()? {
            let moved = to.pin_path(&pin);
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

/// What old flows are copied to, and by.
struct Copying {
    table: FlowTable,
    reader: Reader,
    /// The time, as old entries have it.
    jiffies: u32,
}

impl Copying {
    fn copy<A: Address>(
        &self,
        from: &HashTable<OldKey<A>, OldEntry>,
        was_assured: bool,
    ) -> Result<u64, DatapathError>
    where
        OldKey<A>: Pod,
    {
        let Reader { zones, units, now } = &self.reader;
        let mut without_room = 0;
        from.each_batch(|keys, entries| {
            for (key, entry) in keys.iter().zip(entries) {
                let Some(settings) = zones.get(&key.zone) else { continue };
                let turning = Turning {
                    units: *units,
                    now: *now,
                    jiffies: self.jiffies,
                    lifetimes: &settings.lifetimes,
                    was_assured,
                };
                let Some(fresh) = entry.turned(&turning) else { continue };
                // What is there has begun, or was copied, since; it may have become worth more in the old tables meanwhile.
                let is_protected = fresh.control.has(PROTECTED);
                let may_stay = |there: Control| {
                    !is_protected || there.has(PROTECTED) || there.class(*now) <= Class::CLOSING
                };
                let added = self.table.add(&by_side(key, entry), &fresh, *now, may_stay);
                without_room += u64::from(added == Added::NoRoom);
            }
            Ok(())
        })?;
        Ok(without_room)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "old entries have the low 32 bits")]
fn low_jiffies() -> Result<u32, DatapathError> {
    Ok(jiffies()? as u32)
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
