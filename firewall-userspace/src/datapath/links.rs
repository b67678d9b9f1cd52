//! The pinned links: which of them still have their programs on an interface.
//!
//! The kernel lets go of a link when its interface goes, and an administrator may detach one (`bpftool link detach`); the
//! pin stays in both cases. So what counts is not the pin but whether the interface has the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{SchedClassifier, TcAttachType};
use firewall_common::abi::Direction;
use nix::net::if_::if_indextoname;

use super::attach::{Attachment, EgressAttachment, IngressAttachment};
use super::pin::{Pin, PinDirection};
use super::{Datapath, DatapathError, device};

/// What an interface has of its programs: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLinks {
    /// Slot of the interface in the maps.
    pub slot: u32,
    /// Index of the interface in its network namespace.
    pub ifindex: u32,
    /// Where ingress packets are decided, if they are.
    pub ingress: Option<IngressAttachment>,
    /// Where egress packets are decided, if they are.
    pub egress: Option<EgressAttachment>,
}

impl LiveLinks {
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
    /// count, even if another interface has got its name or index since, and neither does one whose link was detached.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the pins cannot be read.
    pub fn live_links(&self) -> Result<Vec<LiveLinks>, DatapathError> {
        let mut live: BTreeMap<u32, LiveLinks> = BTreeMap::new();
        for (path, pin) in self.pins()? {
            if !is_in_force(&path, &pin)? {
                continue;
            }
            let Pin { slot, ifindex, direction } = pin;
            let none = LiveLinks { slot, ifindex, ingress: None, egress: None };
            let links = live.entry(slot).or_insert(none);
            match direction {
                PinDirection::Ingress(ingress) => links.ingress = Some(ingress),
                PinDirection::Egress => links.egress = Some(EgressAttachment::Tcx),
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
        Ok(self.live_links()?.iter().filter_map(LiveLinks::attachment).collect())
    }

    /// Every slot with pinned links, in whatever network namespace its interface is, or was.
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
    /// [`DatapathError`] where a pin cannot be read or removed.
    pub fn detach(&mut self, slot: u32) -> Result<(), DatapathError> {
        for (path, pin) in self.pins()? {
            if pin.slot == slot {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the pins of a slot that are not among the live links.
    pub(super) fn remove_dead_pins(&self, live: &LiveLinks) -> Result<(), DatapathError> {
        for (path, pin) in self.pins()? {
            let is_live = match pin.direction {
                PinDirection::Ingress(ingress) => live.ingress == Some(ingress),
                PinDirection::Egress => live.egress.is_some(),
            };
            if pin.slot == live.slot && !(is_live && pin.ifindex == live.ifindex) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Ids of one program of each load: the programs of a load share the ring buffer of their log.
    pub(super) fn logging_programs(&self) -> Result<Vec<u32>, DatapathError> {
        let pins = self.pins()?;
        pins.iter()
            .filter(|(_, pin)| pin.direction != PinDirection::Egress)
            .map(|(path, _)| program_id(path))
            .collect()
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

    pub(super) fn link_path(&self, pin: &Pin) -> PathBuf {
        self.links_directory().join(pin.to_string())
    }
}

/// Held while its pin goes: the kernel lets go of a link at once when a process closes it, but some time later when a pin
/// was the last to hold it, and until then XDP would be taken.
fn remove(pin: &Path) -> Result<(), DatapathError> {
    let link = PinnedLink::from_pin(pin);
    fs::remove_file(pin).map_err(DatapathError::removing(pin))?;
    drop(link);
    Ok(())
}

/// Whether the interface of a pinned link has its program.
fn is_in_force(path: &Path, pin: &Pin) -> Result<bool, DatapathError> {
    let Ok(name) = if_indextoname(pin.ifindex) else {
        return Ok(false);
    };
    let Some(interface) = name.to_str().ok().filter(|name| !name.is_empty()) else {
        return Ok(false);
    };
    let program = program_id(path)?;
    // An error here means that the interface went meanwhile.
    let has_tcx = |hook| {
        let attached = SchedClassifier::query_tcx(interface, hook);
        attached.is_ok_and(|(_, programs)| programs.iter().any(|attached| attached.id() == program))
    };
    Ok(match pin.direction {
        PinDirection::Egress => has_tcx(TcAttachType::Egress),
        PinDirection::Ingress(IngressAttachment::Tcx) => has_tcx(TcAttachType::Ingress),
        PinDirection::Ingress(IngressAttachment::XdpNative | IngressAttachment::XdpGeneric) => {
            device::find(interface).is_ok_and(|device| device.xdp_program == Some(program))
        }
    })
}

pub(super) fn program_id(pin: &Path) -> Result<u32, DatapathError> {
    let error = |source| DatapathError::Link { path: pin.to_path_buf(), source };
    let link = PinnedLink::from_pin(pin).map_err(error)?;
    let info = FdLink::from(link).info().map_err(error)?;
    Ok(info.program_id())
}
