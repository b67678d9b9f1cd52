//! The kernel side seen from user space: which maps and programs are there, what they hold, and how it is changed.
//!
//! Everything lives in one directory of a bpffs, pinned, so that enforcement needs no process:
//!
//! ```text
//! <bpffs>/v<ABI>/maps/GENERATION …                             one pin per map of the ABI
//! <bpffs>/v<ABI>/maps/programs/<build>/ingress_xdp …           one pin per program, for all interfaces
//! <bpffs>/v<ABI>/links/<slot>-<ifindex>-<direction>-<hook>     one pin per attached program
//! ```
//!
//! Called by `apply` and by the commands that show state. This is the only module that imports aya; it knows nothing of
//! groups and rules, only of a [`CompiledPolicy`](crate::compile::CompiledPolicy).

mod arena;
mod array;
mod attach;
mod batch;
mod clock;
mod clsact;
mod counters;
mod cut;
mod denied;
mod device;
mod error;
mod expire;
mod flow_table;
mod flows;
mod generation;
mod grow;
pub mod hook;
mod interfaces;
mod lifetimes;
mod live;
pub mod log;
mod migrate;
mod native_xdp;
mod netlink;
mod occupancy;
mod pin;
mod programs;
mod publish;
mod read_back;
mod receipt;
mod reload;
mod replacement;
mod resize;
mod seed;
mod wire;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aya::EbpfLoader;
use aya::maps::{Map, MapData, MapError, MapInfo};
use firewall_common::abi::{ABI_VERSION, map};
use firewall_common::flow_table::{Geometry, Secrets};
use flow_table::{TABLE_MAPS, random_secrets};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

pub use attach::{Attachment, EgressAttachment, IngressAttachment, LinkLayer, NewAttachment};
pub use clock::Units;
pub use clsact::{Filter, FilterBefore};
pub use counters::CounterRow;
pub use cut::Over;
pub use error::DatapathError;
pub use expire::{Ask, ExpiredFlows};
pub use flow_table::{FlowTable, Part};
pub use flows::FlowRow;
pub use generation::Unconfirmed;
pub use lifetimes::lifetimes;
pub use live::LivePrograms;
pub use migrate::OtherVersion;
pub use occupancy::{ClassRow, Occupancy};
pub use publish::Prepared;
pub use seed::Seed;

/// The programs and maps, built from `firewall-ebpf` by `cargo xtask build-ebpf`.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/firewall.bpfel.o"));

/// Directories of maps: those of the instance, and those beside while some of them are replaced.
const MAPS: &str = "maps";
const BESIDE: &str = "maps-beside";

/// Every map that is pinned, that is, shared by the programs of all interfaces.
const PINNED_MAPS: [&str; 20] = [
    map::GENERATION,
    map::INTERFACES,
    map::ADDRESSES_V4,
    map::INTERVALS_V4,
    map::LENGTHS_V6,
    map::ADDRESSES_V6,
    map::SERVICES,
    map::CELLS,
    map::SETTINGS,
    map::BARRIER,
    map::RECEIPT,
    map::FLOW_TABLE,
    map::FLOW_FILTERS,
    map::FLOW_LINES,
    map::FLOW_DETAILS,
    map::FLOW_RECORDS,
    map::FLOW_EVENTS,
    map::FRAGMENTS,
    map::COUNTERS,
    log::RING,
];

/// One instance of sgfw in the kernel.
#[derive(Debug)]
pub struct Datapath {
    root: PathBuf,
    /// Name of the directory of its maps.
    maps: &'static str,
}

impl Datapath {
    /// The instance pinned under `bpffs`, if there is one.
    ///
    /// # Errors
    ///
    /// [`DatapathError::OtherVersion`] where another version of sgfw has attached the interfaces,
    /// [`DatapathError::MapsGone`] where programs have lost pins of their maps, and others where the pins cannot be read.
    pub fn open(bpffs: &Path) -> Result<Option<Self>, DatapathError> {
        if let Some(other) = Self::other_version(bpffs)? {
            return Err(DatapathError::OtherVersion { version: other.version });
        }
        let datapath = Self::at(bpffs);
        match datapath.missing_map()? {
            None => Ok(Some(datapath)),
            Some(map) if !datapath.pins()?.is_empty() => Err(DatapathError::MapsGone { map }),
            // Nothing is pinned, or what was left by a process that was killed while it made or removed the maps.
            Some(_) => Ok(None),
        }
    }

    /// The instance pinned under `bpffs` if programs of it have lost pins of their maps: they go on by what nobody can
    /// reach any more. [`create`](Self::create) makes the maps anew, for programs that are attached after that.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the pins cannot be read.
    pub fn damaged(bpffs: &Path) -> Result<Option<Self>, DatapathError> {
        let datapath = Self::at(bpffs);
        let is_damaged = datapath.missing_map()?.is_some() && !datapath.pins()?.is_empty();
        Ok(is_damaged.then_some(datapath))
    }

    /// Removes maps of which no program is pinned: what a process left that was killed while it made or removed them.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin cannot be read or removed.
    pub fn remove_unused(bpffs: &Path) -> Result<(), DatapathError> {
        let datapath = Self::at(bpffs);
        if datapath.root.exists() && datapath.pins()?.is_empty() {
            datapath.remove()?;
        }
        Ok(())
    }

    /// The instance pinned under `bpffs`, made if there is none. Nothing is attached and nothing published yet. A new one
    /// has places for `flow_entries` live flows, and secrets of its own.
    ///
    /// # Errors
    ///
    /// [`DatapathError::BpffsNotMounted`] where `bpffs` is not in a bpf filesystem, and others where the kernel
    /// refuses the maps.
    pub fn create(bpffs: &Path, flow_entries: u32) -> Result<Self, DatapathError> {
        Self::create_with_secrets(bpffs, flow_entries, random_secrets()?)
    }

    /// As [`create`](Self::create), with secrets of the flow table that tests know.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn create_with_secrets(
        bpffs: &Path,
        flow_entries: u32,
        secrets: Secrets,
    ) -> Result<Self, DatapathError> {
        let datapath = Self::at(bpffs);
        check_bpffs(bpffs)?;
        for directory in [datapath.maps_directory(), datapath.links_directory()] {
            fs::create_dir_all(&directory).map_err(DatapathError::creating(&directory))?;
        }
        if let Err(error) = datapath.create_maps(Geometry::for_entries(flow_entries), secrets) {
            // Without its links an interface would be open.
            if datapath.pins()?.is_empty() {
                datapath.remove()?;
            }
            return Err(error);
        }
        Ok(datapath)
    }

    /// Makes the maps that are missing. Of the maps of the flow table all are made anew if one is missing.
    fn create_maps(&self, geometry: Geometry, secrets: Secrets) -> Result<(), DatapathError> {
        if self.missing_map()?.is_some() {
            // They work by the maps that are gone.
            self.forget_programs()?;
        }
        let geometry = if self.missing_of(&TABLE_MAPS)?.is_some() {
            self.unpin(&TABLE_MAPS)?;
            self.pin_table_parameters(geometry, secrets)?.geometry
        } else {
            self.table_parameters()?.geometry
        };
        if self.missing_of(&[map::RECEIPT])?.is_some() {
            self.pin_receipt()?;
        }
        let (buckets, slots) = (geometry.buckets(), geometry.slots());
        let mut loader = self.loader();
        loader
            .map_max_entries(map::FLOW_FILTERS, buckets)
            .map_max_entries(map::FLOW_LINES, buckets)
            .map_max_entries(map::FLOW_DETAILS, buckets)
            .map_max_entries(map::FLOW_RECORDS, slots)
            .load(OBJECT)?;
        Ok(())
    }

    fn unpin(&self, names: &[&str]) -> Result<(), DatapathError> {
        for path in names.iter().map(|name| self.map_path(name)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(DatapathError::removing(&path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Unpins everything and removes the directory: programs are detached, flows are forgotten.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin cannot be removed.
    pub fn remove(mut self) -> Result<(), DatapathError> {
        for slot in self.pinned_slots()? {
            self.detach(slot)?;
        }
        for directory in [self.links_directory(), self.root.join(BESIDE), self.maps_directory()] {
            remove_directory(&directory)?;
        }
        // Only if nothing else is there: the operator may have named a directory that others use too.
        let parent = self.root.parent().map(Path::to_path_buf);
        for directory in [Some(self.root), parent].into_iter().flatten() {
            let _ = fs::remove_dir(directory);
        }
        Ok(())
    }

    fn remove_maps(&self) -> Result<(), DatapathError> {
        remove_directory(&self.maps_directory())
    }

    fn at(bpffs: &Path) -> Self {
        Self::of_version(bpffs, ABI_VERSION)
    }

    fn of_version(bpffs: &Path, version: u32) -> Self {
        Self { root: bpffs.join(format!("v{version}")), maps: MAPS }
    }

    fn maps_directory(&self) -> PathBuf {
        self.root.join(self.maps)
    }

    fn links_directory(&self) -> PathBuf {
        self.root.join("links")
    }

    /// The first map that is not pinned.
    fn missing_map(&self) -> Result<Option<&'static str>, DatapathError> {
        self.missing_of(&PINNED_MAPS)
    }

    fn missing_of(&self, names: &[&'static str]) -> Result<Option<&'static str>, DatapathError> {
        for name in names.iter().copied() {
            let path = self.map_path(name);
            if !path.try_exists().map_err(DatapathError::reading(&path))? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn map_path(&self, name: &str) -> PathBuf {
        self.maps_directory().join(name)
    }

    /// A loader whose maps are those of this instance: pinned ones are used, missing ones are created and pinned.
    fn loader(&self) -> EbpfLoader<'static> {
        let mut loader = EbpfLoader::new();
        for name in PINNED_MAPS {
            loader.map_pin_path(name, self.map_path(name));
        }
        loader
    }

    /// Opens a pinned map.
    fn map<M>(&self, name: &'static str) -> Result<M, DatapathError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        typed(name, self.map_data(name)?)
    }

    /// A pinned map, whatever its elements are.
    fn map_data(&self, name: &'static str) -> Result<MapData, DatapathError> {
        MapData::from_pin(self.map_path(name)).map_err(DatapathError::in_map(name))
    }

    fn map_info(&self, name: &'static str) -> Result<MapInfo, DatapathError> {
        self.map_data(name)?.info().map_err(DatapathError::in_map(name))
    }

    /// Pins a map of this instance.
    fn pin_map(&self, name: &'static str, map: &MapData) -> Result<(), DatapathError> {
        let path = self.map_path(name);
        map.pin(&path).map_err(|source| DatapathError::Pin { path, source })
    }
}

fn remove_directory(directory: &Path) -> Result<(), DatapathError> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(DatapathError::removing(directory))?;
    }
    Ok(())
}

fn typed<M>(name: &'static str, data: MapData) -> Result<M, DatapathError>
where
    M: TryFrom<Map, Error = MapError>,
{
    Map::from_map_data(data).and_then(M::try_from).map_err(DatapathError::in_map(name))
}

/// bpffs may be mounted anywhere; what counts is that the directory, or the first parent that exists, is in one.
fn check_bpffs(bpffs: &Path) -> Result<(), DatapathError> {
    let existing = bpffs.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let filesystem = statfs(existing).map_err(|errno| DatapathError::Io {
        action: "examine the filesystem of",
        path: existing.to_path_buf(),
        source: errno.into(),
    })?;
    if filesystem.filesystem_type() != BPF_FS_MAGIC {
        return Err(DatapathError::BpffsNotMounted { path: bpffs.to_path_buf() });
    }
    Ok(())
}
