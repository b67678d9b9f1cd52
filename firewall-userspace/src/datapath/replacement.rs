//! Other maps in the place of some of the instance's, while packets flow: a flow table of another size, or larger arenas.
//!
//! A second set of maps is pinned beside the first, of new ones and of those that stay, and the programs are loaded that work by
//! it. One exchange of the two directories makes it the instance's; then each hook gets its new program in one step. Meanwhile
//! some programs work by the old maps and some by the new ones, so nothing is published. Whoever is killed in between leaves a
//! directory beside: the next one that publishes, reloads or repairs moves the other programs first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use aya::programs::{ProgramError, ProgramInfo, loaded_programs};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::clsact::Filters;
use super::pin::Pin;
use super::programs::Wanted;
use super::{BESIDE, Datapath, DatapathError, PINNED_MAPS, device};
use crate::host::name_of;

/// A second set of maps.
#[derive(Debug)]
pub(super) struct Replacement<'a> {
    present: &'a Datapath,
    /// The new maps at first, the old ones after the exchange.
    beside: Datapath,
    hooks: Vec<Attached>,
}

/// A program on an interface, and which one is to take its place.
#[derive(Debug)]
struct Attached {
    path: PathBuf,
    pin: Pin,
    wanted: Wanted,
}

impl Datapath {
    /// Makes a second set of maps, in which `make` pins those named, and loads the programs that work by it. What a replacement
    /// before has left must be finished.
    ///
    /// # Errors
    ///
    /// What `make` says, and [`DatapathError`] where the kernel refuses a map or a program. Everything is as it was then.
    pub(super) fn replacement<T>(
        &self,
        replaced: &[&'static str],
        make: impl FnOnce(&Self) -> Result<T, DatapathError>,
    ) -> Result<(Replacement<'_>, T), DatapathError> {
        let beside = self.beside();
        let made = self.share_all_but(replaced, &beside).and_then(|()| make(&beside)).and_then(|made| {
            let hooks = self.attached_by(&self.ids_not_of(&beside)?)?;
            // Whatever the kernel may refuse, while nothing is changed.
            beside.load_for_hooks(&hooks)?;
            Ok((hooks, made))
        });
        match made {
            Ok((hooks, made)) => Ok((Replacement { present: self, beside, hooks }, made)),
            Err(error) => {
                // Nobody uses it, and what is left the next one removes.
                let _ = beside.remove_maps();
                Err(error)
            }
        }
    }

    /// Finishes a replacement that was killed: all programs work by the maps of the instance afterwards. Returns how many flows
    /// were lost, where the flow table was replaced.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the kernel refuses a program. What has moved stays; nothing may be published then.
    pub fn finish_replacement(&self) -> Result<u64, DatapathError> {
        let beside = self.beside();
        if !beside.has_directory()? {
            return Ok(0);
        }
        let hooks = self.attached_by(&beside.ids_not_of(self)?)?;
        self.move_programs(&hooks)?;
        // One that still runs may read the generation word late.
        self.wait_for_readers()?;
        let lost = if hooks.is_empty() { 0 } else { self.take_flows_of(&beside)? };
        beside.remove_maps()?;
        Ok(lost)
    }

    /// Whether programs work by maps that others have replaced.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin cannot be read.
    pub fn has_unfinished_replacement(&self) -> Result<bool, DatapathError> {
        let beside = self.beside();
        Ok(beside.has_directory()? && !self.attached_by(&beside.ids_not_of(self)?)?.is_empty())
    }

    fn beside(&self) -> Self {
        Self { root: self.root.clone(), maps: BESIDE }
    }

    fn has_directory(&self) -> Result<bool, DatapathError> {
        let directory = self.maps_directory();
        directory.try_exists().map_err(DatapathError::reading(&directory))
    }

    fn share_all_but(&self, replaced: &[&'static str], beside: &Self) -> Result<(), DatapathError> {
        beside.remove_maps()?;
        let directory = beside.maps_directory();
        fs::create_dir(&directory).map_err(DatapathError::creating(&directory))?;
        for name in PINNED_MAPS.into_iter().filter(|name| !replaced.contains(name)) {
            beside.pin_map(name, &self.map_data(name)?)?;
        }
        Ok(())
    }

    /// The ids of the maps that `other` has others in the place of. What is not pinned does not count.
    fn ids_not_of(&self, other: &Self) -> Result<BTreeSet<u32>, DatapathError> {
        let mut ids = BTreeSet::new();
        for name in PINNED_MAPS {
            if let (Some(own), Some(others)) = (self.id_of(name)?, other.id_of(name)?)
                && own != others
            {
                ids.insert(own);
            }
        }
        Ok(ids)
    }

    fn id_of(&self, name: &'static str) -> Result<Option<u32>, DatapathError> {
        if self.missing_of(&[name])?.is_some() {
            return Ok(None);
        }
        Ok(Some(self.map_info(name)?.id()))
    }

    /// The pinned programs that work by one of these maps, egress first.
    fn attached_by(&self, maps: &BTreeSet<u32>) -> Result<Vec<Attached>, DatapathError> {
        let mut loaded: BTreeMap<u32, ProgramInfo> = BTreeMap::new();
        for program in loaded_programs() {
            match program.map_err(DatapathError::in_program("attached")) {
                Ok(program) => drop(loaded.insert(program.id(), program)),
                // Which programs log could not be told.
                Err(error) if error.denied().is_some() => return Err(error),
                // Gone meanwhile.
                Err(_) => {}
            }
        }
        // Of what the kernel does not tell, the worst is taken for granted.
        let works_by = |program: Option<&ProgramInfo>| {
            let ids = program.and_then(|program| program.map_ids().ok().flatten());
            ids.is_none_or(|ids| ids.iter().any(|id| maps.contains(id)))
        };
        let mut attached = Vec::new();
        for (path, pin) in self.pins()? {
            let program = loaded.get(&super::live::program_id(&path, &pin)?);
            if works_by(program) {
                let name = program.and_then(ProgramInfo::name_as_str).unwrap_or_default();
                let lends_xdp = pin.hook.is_xdp() && lends_xdp(pin.ifindex);
                attached.push(Attached { path, pin, wanted: Wanted::like(name, &pin, lends_xdp) });
            }
        }
        attached.sort_by_key(|attached| (attached.pin.slot, attached.pin.hook.direction() as u8 == 0));
        Ok(attached)
    }

    fn load_for_hooks(&self, hooks: &[Attached]) -> Result<(), DatapathError> {
        self.see_to(&hooks.iter().map(|hook| hook.wanted).collect::<Vec<_>>())
    }

    /// Gives hooks their programs that work by the maps of this instance.
    fn move_programs(&self, hooks: &[Attached]) -> Result<(), DatapathError> {
        self.load_for_hooks(hooks)?;
        hooks.iter().try_for_each(|hook| match self.move_program(hook) {
            // Nothing decides there any more.
            Err(error) if is_gone(&error) => Ok(()),
            moved => moved,
        })
    }

    fn move_program(&self, Attached { path, pin, wanted }: &Attached) -> Result<(), DatapathError> {
        if !pin.hook.is_clsact() {
            return self.replace_link(*wanted, path, pin.hook);
        }
        // Where the interface went, its filters have gone too.
        let Some(filters) = Filters::of_index(pin.ifindex, pin.hook.direction()) else {
            return Ok(());
        };
        self.replace_filter(*wanted, &Pin { program: None, ..*pin }, &filters, self)
    }
}

impl Replacement<'_> {
    /// The set beside: the old maps, once the new ones are in their place.
    pub(super) const fn beside(&self) -> &Datapath {
        &self.beside
    }

    /// Puts the new maps in the place of the old ones, and returns when no program works by those any more.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the kernel refuses a step: what was done is taken back, or left to
    /// [`finish_replacement`](Datapath::finish_replacement) if that is refused too.
    pub(super) fn put_in_place(&self) -> Result<(), DatapathError> {
        if let Err(failure) = self.exchange() {
            let _ = self.beside.remove_maps();
            return Err(failure);
        }
        if let Err(failure) = self.present.move_programs(&self.hooks) {
            // The failure is what is told.
            let _ = self.exchange().and_then(|()| self.present.finish_replacement());
            return Err(failure);
        }
        self.present.wait_for_readers()
    }

    /// Forgets the old maps.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin cannot be removed.
    pub(super) fn forget(self) -> Result<(), DatapathError> {
        self.beside.remove_maps()
    }

    fn exchange(&self) -> Result<(), DatapathError> {
        let (present, beside) = (self.present.maps_directory(), self.beside.maps_directory());
        let exchanged = renameat2(AT_FDCWD, &present, AT_FDCWD, &beside, RenameFlags::RENAME_EXCHANGE);
        exchanged.map_err(|errno| DatapathError::io("exchange", &present)(errno.into()))
    }
}

fn lends_xdp(ifindex: u32) -> bool {
    name_of(ifindex).is_some_and(|name| device::find(&name).is_ok_and(|device| device.lends_xdp))
}

/// The link has lost its interface, or the filter was deleted.
fn is_gone(error: &DatapathError) -> bool {
    match error {
        DatapathError::FilterGone { .. } => true,
        DatapathError::Program { source, .. } => matches!(
            &**source,
            ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(Errno::ENOLINK as i32)
        ),
        _ => false,
    }
}
