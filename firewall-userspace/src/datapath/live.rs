//! The pins: which of them still have their programs on an interface.
//!
//! The kernel lets go of a link when its interface goes, and an administrator may detach one (`bpftool link detach`) or delete
//! a filter or its qdisc; the pin stays in all cases. So what counts is not the pin but whether the interface has the
//! program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{SchedClassifier, TcAttachType};
use firewall_common::abi::Direction;

use super::attach::{Attachment, EgressAttachment, IngressAttachment};
use super::clsact::{Filter, FilterBefore, Filters};
use super::pin::{Hook, Pin};
use super::programs::Wanted;
use super::{Datapath, DatapathError, device};
use crate::host::name_of;

/// What an interface has of its programs: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivePrograms {
    /// Slot of the interface in the maps.
    pub slot: u32,
    /// Index of the interface in its network namespace.
    pub ifindex: u32,
    /// Where ingress packets are decided, if they are.
    pub ingress: Option<IngressAttachment>,
    /// Where egress packets are decided, if they are.
    pub egress: Option<EgressAttachment>,
}

impl LivePrograms {
    /// Both programs.
    #[must_use]
    pub fn attachment(&self) -> Option<Attachment> {
        let Self { slot, ifindex, ingress, egress } = *self;
        Some(Attachment { slot, ifindex, ingress: ingress?, egress: egress? })
    }

    /// The direction whose traffic is open.
    #[must_use]
    pub const fn missing(&self) -> Option<Direction> {
        match self {
            Self { ingress: None, .. } => Some(Direction::Ingress),
            Self { egress: None, .. } => Some(Direction::Egress),
            Self { ingress: Some(_), egress: Some(_), .. } => None,
        }
    }
}

impl Datapath {
    /// What interfaces of the current network namespace have of their programs. A pin whose interface is gone does not
    /// count, even if another interface has got its name or index since, and neither does one whose link was detached or
    /// whose filter was deleted.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the pins cannot be read.
    pub fn live_programs(&self) -> Result<Vec<LivePrograms>, DatapathError> {
        let mut live: BTreeMap<u32, LivePrograms> = BTreeMap::new();
        let pins = self.pins()?;
        let xdp = if pins.iter().any(|(_, pin)| pin.hook.is_xdp()) {
            device::xdp_programs()?
        } else {
            BTreeMap::new()
        };
        for (path, pin) in pins {
            if !is_in_force(&path, &pin, &xdp)? {
                continue;
            }
            let Pin { slot, ifindex, hook, .. } = pin;
            let none = LivePrograms { slot, ifindex, ingress: None, egress: None };
            let programs = live.entry(slot).or_insert(none);
            match hook {
                Hook::Ingress(ingress) => programs.ingress = Some(ingress),
                Hook::Egress(egress) => programs.egress = Some(egress),
            }
        }
        Ok(live.into_values().collect())
    }

    /// The interfaces of the current network namespace that have both programs.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the pins cannot be read.
    pub fn attachments(&self) -> Result<Vec<Attachment>, DatapathError> {
        Ok(self.live_programs()?.iter().filter_map(LivePrograms::attachment).collect())
    }

    /// The filters of others that packets of an interface meet before ours.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where pins or filters cannot be read.
    pub fn filters_before(&self, attachment: &Attachment) -> Result<Vec<FilterBefore>, DatapathError> {
        let &Attachment { slot, ifindex, ingress, egress } = attachment;
        let mut before = Vec::new();
        for hook in [Hook::Ingress(ingress), Hook::Egress(egress)] {
            if !hook.is_clsact() {
                continue;
            }
            let pins = self.pins_of(&Pin { slot, ifindex, hook, program: None })?;
            let ours: Vec<u32> = pins.iter().filter_map(|(_, pin)| pin.program).collect();
            if let Some(filters) = Filters::of_index(ifindex, hook.direction()) {
                before.extend(filters.before(&ours)?);
            }
        }
        Ok(before)
    }

    /// Every slot with pins, in whatever network namespace its interface is, or was.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the pins cannot be read.
    pub fn pinned_slots(&self) -> Result<BTreeSet<u32>, DatapathError> {
        Ok(self.pins()?.into_iter().map(|(_, pin)| pin.slot).collect())
    }

    /// Takes the programs of a slot off their interface. A slot without programs is no error.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin or a filter cannot be read or removed.
    pub fn detach(&mut self, slot: u32) -> Result<(), DatapathError> {
        for (path, pin) in self.pins()? {
            if pin.slot == slot {
                remove(&path, &pin)?;
            }
        }
        self.make_unknown(slot)
    }

    /// The pins of a slot's filters, which can be removed from within their network namespace alone.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the pins cannot be read.
    pub fn filter_pins(&self, slot: u32) -> Result<Vec<PathBuf>, DatapathError> {
        let pins = self.pins()?.into_iter();
        let of_filters = pins.filter(|(_, pin)| pin.slot == slot && pin.hook.is_clsact());
        Ok(of_filters.map(|(path, _)| path).collect())
    }

    /// Removes what is pinned of a slot and not among the live programs.
    pub(super) fn remove_all_but(&self, live: &LivePrograms) -> Result<(), DatapathError> {
        for (path, pin) in self.pins()? {
            let is_live = match pin.hook {
                Hook::Ingress(ingress) => live.ingress == Some(ingress),
                Hook::Egress(egress) => live.egress == Some(egress),
            };
            if pin.slot == live.slot && !(is_live && pin.ifindex == live.ifindex) {
                remove(&path, &pin)?;
            }
        }
        Ok(())
    }

    /// Pins a program and makes it a filter. In this order, lest there be a filter of ours that nobody knows.
    pub(super) fn add_filter(
        &self,
        program: Wanted,
        pin: &Pin,
        filters: &Filters,
    ) -> Result<(), DatapathError> {
        let mut classifier = self.tc_program(program)?;
        self.pin_program(&mut classifier, program, pin)?;
        filters.add(&mut classifier)
    }

    /// Puts a program in the place of the one that decides at the hook of `pin`, which is among those of `attached`. Both are
    /// pinned meanwhile.
    pub(super) fn replace_filter(
        &self,
        program: Wanted,
        pin: &Pin,
        filters: &Filters,
        attached: &Self,
    ) -> Result<(), DatapathError> {
        let filter = attached.live_filter(pin, filters)?.ok_or_else(|| filters.gone())?;
        let mut classifier = self.tc_program(program)?;
        let new = attached.pin_program(&mut classifier, program, pin)?;
        if filter.program == new.program {
            return Ok(());
        }
        let replaced = filters.replace(&filter, &mut classifier);
        // Those before, and of runs that were killed; or the new one.
        for (path, other) in attached.pins_of(pin)? {
            if (other == new) == replaced.is_err() {
                remove_pin(&path)?;
            }
        }
        replaced
    }

    fn pin_program(
        &self,
        classifier: &mut SchedClassifier,
        program: Wanted,
        pin: &Pin,
    ) -> Result<Pin, DatapathError> {
        let id = classifier.info().map_err(program.error())?.id();
        let pin = Pin { program: Some(id), ..*pin };
        let path = self.pin_path(&pin);
        // It may be pinned for a filter that is to be replaced by the same.
        if !path.try_exists().map_err(DatapathError::reading(&path))? {
            classifier.pin(&path).map_err(|source| DatapathError::Pin { path, source })?;
        }
        Ok(pin)
    }

    fn live_filter(&self, pin: &Pin, filters: &Filters) -> Result<Option<Filter>, DatapathError> {
        for (_, pin) in self.pins_of(pin)? {
            if let Some(filter) = pin.program.map(|program| filters.find(program)).transpose()?.flatten() {
                return Ok(Some(filter));
            }
        }
        Ok(None)
    }

    /// The pins for one hook of an interface.
    fn pins_of(&self, of: &Pin) -> Result<Vec<(PathBuf, Pin)>, DatapathError> {
        let mut pins = self.pins()?;
        pins.retain(|(_, pin)| (pin.slot, pin.ifindex, pin.hook) == (of.slot, of.ifindex, of.hook));
        Ok(pins)
    }

    /// The programs that are pinned, each once.
    pub(super) fn program_ids(&self) -> Result<BTreeSet<u32>, DatapathError> {
        self.pins()?.iter().map(|(path, pin)| program_id(path, pin)).collect()
    }

    pub(super) fn pins(&self) -> Result<Vec<(PathBuf, Pin)>, DatapathError> {
        let directory = self.links_directory();
        let mut pins = Vec::new();
        if !directory.try_exists().map_err(DatapathError::reading(&directory))? {
            return Ok(pins);
        }
        for entry in fs::read_dir(&directory).map_err(DatapathError::reading(&directory))? {
            let entry = entry.map_err(DatapathError::reading(&directory))?;
            let path = entry.path();
            let pin = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let pin = pin.ok_or_else(|| DatapathError::ForeignPin { path: path.clone() })?;
            pins.push((path, pin));
        }
        Ok(pins)
    }

    pub(super) fn pin_path(&self, pin: &Pin) -> PathBuf {
        self.links_directory().join(pin.to_string())
    }
}

/// Takes a program off its interface. Its filter goes before its pin, lest there be one of ours that nobody knows.
fn remove(path: &Path, pin: &Pin) -> Result<(), DatapathError> {
    let Some(program) = pin.program else {
        // Held while its pin goes: the kernel lets go of a link at once when a process closes it, but some time later when a
        // pin was the last to hold it, and until then XDP would be taken.
        let link = PinnedLink::from_pin(path);
        remove_pin(path)?;
        drop(link);
        return Ok(());
    };
    if let Some(filters) = Filters::of_index(pin.ifindex, pin.hook.direction()) {
        filters.remove(program)?;
    }
    remove_pin(path)
}

fn remove_pin(path: &Path) -> Result<(), DatapathError> {
    fs::remove_file(path).map_err(DatapathError::removing(path))
}

/// Whether the interface of a pin has its program, where these are those of XDP.
fn is_in_force(path: &Path, pin: &Pin, xdp: &BTreeMap<u32, u32>) -> Result<bool, DatapathError> {
    let Some(interface) = name_of(pin.ifindex) else {
        return Ok(false);
    };
    let interface = interface.as_str();
    let program = program_id(path, pin)?;
    let has_tcx = |attach_type| match SchedClassifier::query_tcx(interface, attach_type) {
        Ok((_, programs)) => Ok(programs.iter().any(|attached| attached.id() == program)),
        Err(source) => match Wanted::like("", pin, false).error()(source) {
            error if error.denied().is_some() => Err(error),
            // The interface went meanwhile.
            _ => Ok(false),
        },
    };
    Ok(match pin.hook {
        Hook::Egress(EgressAttachment::Tcx) => has_tcx(TcAttachType::Egress)?,
        Hook::Ingress(IngressAttachment::Tcx) => has_tcx(TcAttachType::Ingress)?,
        Hook::Ingress(IngressAttachment::Clsact) | Hook::Egress(EgressAttachment::Clsact) => {
            Filters::of(interface, pin.ifindex, pin.hook.direction()).find(program)?.is_some()
        }
        Hook::Ingress(IngressAttachment::XdpNative | IngressAttachment::XdpGeneric) => {
            xdp.get(&pin.ifindex) == Some(&program)
        }
    })
}

/// The program that is pinned, or that the pinned link has.
pub(super) fn program_id(path: &Path, pin: &Pin) -> Result<u32, DatapathError> {
    if let Some(program) = pin.program {
        return Ok(program);
    }
    let error = |source| DatapathError::Link { path: path.to_path_buf(), source };
    let link = PinnedLink::from_pin(path).map_err(error)?;
    let info = FdLink::from(link).info().map_err(error)?;
    Ok(info.program_id())
}
