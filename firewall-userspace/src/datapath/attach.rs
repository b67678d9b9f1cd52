//! Putting programs on interfaces.
//!
//! Each interface gets its own load of the object, with its slot as a constant, sharing the pinned maps. The BPF links
//! are pinned under names that say all there is to know about them, so that no other record is needed.

use std::fs;
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{Program, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use firewall_common::flow_table::layout::TableParameters;
use nix::errno::Errno;

use super::device::{self, Device};
use super::hook::ingress_choices;
use super::links::LiveLinks;
use super::load::load;
use super::pin::Pin;
use super::{Datapath, DatapathError, OBJECT, native_xdp};
use crate::model::IngressHook;

/// Names of the programs: plain, and with a log line for each dropped packet.
pub(super) struct ProgramNames {
    pub(super) ingress_xdp: &'static str,
    pub(super) ingress_tc: &'static str,
    pub(super) egress_tc: &'static str,
}

pub(super) const PLAIN: ProgramNames =
    ProgramNames { ingress_xdp: "ingress_xdp", ingress_tc: "ingress_tc", egress_tc: "egress_tc" };
pub(super) const LOGGING: ProgramNames =
    ProgramNames { ingress_xdp: "ingress_xdp_log", ingress_tc: "ingress_tc_log", egress_tc: "egress_tc_log" };

impl ProgramNames {
    /// The program that decides ingress packets at a hook.
    pub(super) const fn ingress(&self, hook: IngressAttachment) -> &'static str {
        match hook {
            IngressAttachment::XdpNative | IngressAttachment::XdpGeneric => self.ingress_xdp,
            IngressAttachment::Tcx => self.ingress_tc,
        }
    }
}

/// Globals of the programs, constants from the load on.
mod global {
    pub(super) const SLOT: &str = "SLOT";
    pub(super) const LINK: &str = "LINK";
    pub(super) const SECRETS: &str = "SECRETS";
    pub(super) const NEAR_BITS: &str = "NEAR_BITS";
    pub(super) const FAR_BITS: &str = "FAR_BITS";
    pub(super) const OUTER_BITS: &str = "OUTER_BITS";
    pub(super) const TIME_SHIFT: &str = "TIME_SHIFT";
    pub(super) const WEAK_ORDER: &str = "WEAK_ORDER";
}

/// Whether the CPUs may reorder what the programs store and load.
const WEAK_ORDER: u32 = if cfg!(target_arch = "x86_64") { 0 } else { 1 };

/// What frames of an interface begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// An Ethernet header.
    Ethernet,
    /// The IP header (tun, WireGuard).
    None,
}

/// The hook that decides ingress packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngressAttachment {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack, for drivers without it.
    XdpGeneric,
    /// TC by a BPF link.
    Tcx,
}

/// The hook that decides egress packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressAttachment {
    /// TC by a BPF link.
    Tcx,
}

impl IngressAttachment {
    pub(super) const ALL: [Self; 3] = [Self::XdpNative, Self::XdpGeneric, Self::Tcx];

    /// The name shown to people, in JSON and in the names of pins.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tcx => "tcx",
        }
    }
}

impl EgressAttachment {
    /// The name shown to people, in JSON and in the names of pins.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
        }
    }
}

/// An interface with programs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Slot of the interface in the maps.
    pub slot: u32,
    /// Index of the interface in its network namespace.
    pub ifindex: u32,
    /// Where ingress packets are decided.
    pub ingress: IngressAttachment,
    /// Where egress packets are decided.
    pub egress: EgressAttachment,
}

/// An interface that programs were put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttachment {
    /// Where they are.
    pub attachment: Attachment,
    /// Why native XDP was refused, in the driver's words, where it was tried.
    pub native_xdp_refused: Option<String>,
}

impl Datapath {
    /// Attaches the programs to an interface of the current network namespace. The policy for `slot` must be in force
    /// already: from this moment on it decides.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the interface or the hook is not to be had; nothing is attached then.
    pub fn attach(
        &mut self,
        slot: u32,
        interface: &str,
        hook: IngressHook,
        log_drops: bool,
    ) -> Result<NewAttachment, DatapathError> {
        let device = device::find(interface)?;
        // Before anything is taken off.
        ingress_choices(interface, &device, hook)?;
        self.detach(slot)?;
        let none = LiveLinks { slot, ifindex: device.index, ingress: None, egress: None };
        self.attach_missing(&none, interface, hook, log_drops)
    }

    /// Attaches what an interface has lost of its programs; those that it has go on.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    pub fn attach_missing(
        &mut self,
        live: &LiveLinks,
        interface: &str,
        hook: IngressHook,
        log_drops: bool,
    ) -> Result<NewAttachment, DatapathError> {
        let device = device::find(interface)?;
        require_tcx(interface)?;
        self.remove_dead_pins(live)?;
        let names = if log_drops { &LOGGING } else { &PLAIN };
        let choices = match live.ingress {
            Some(_) => Vec::new(),
            None => ingress_choices(interface, &device, hook)?,
        };
        let mut programs = self.load_programs(live.slot, device.layer)?;
        let egress = live.egress.is_none().then_some(names.egress_tc);
        let ingress = choices.first().map(|choice| names.ingress(*choice));
        let needed: Vec<&'static str> = egress.into_iter().chain(ingress).collect();
        // One that is refused is refused again where it is to be attached, where there may be another choice.
        let _ = load(&mut programs, &needed);
        // Egress first: replies to what leaves meanwhile find their flow when ingress begins to be decided.
        let egress_link = match live.egress {
            Some(EgressAttachment::Tcx) => None,
            None => {
                let order = LinkOrder::last();
                Some(attach_tc(&mut programs, names.egress_tc, interface, TcAttachType::Egress, order)?)
            }
        };
        let mut native_xdp_refused = None;
        let (ingress, ingress_link) = match live.ingress {
            Some(ingress) => (ingress, None),
            None => {
                let refused = &mut native_xdp_refused;
                let (ingress, link) =
                    attach_ingress(&mut programs, names, interface, &device, &choices, refused)?;
                (ingress, Some(link))
            }
        };
        let attachment =
            Attachment { slot: live.slot, ifindex: device.index, ingress, egress: EgressAttachment::Tcx };
        self.pin(&attachment, egress_link, ingress_link)?;
        Ok(NewAttachment { attachment, native_xdp_refused })
    }

    /// Loads the programs for a slot, sharing this instance's maps, without attaching them.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the kernel refuses the object.
    pub fn load_programs(&self, slot: u32, layer: LinkLayer) -> Result<Ebpf, DatapathError> {
        let link: u32 = match layer {
            LinkLayer::Ethernet => 0,
            LinkLayer::None => 1,
        };
        let TableParameters { secrets, geometry, time_shift } = self.table_parameters()?;
        let programs = self
            .loader()
            .override_global(global::SLOT, &slot, true)
            .override_global(global::LINK, &link, true)
            .override_global(global::SECRETS, &secrets.0, true)
            .override_global(global::NEAR_BITS, &geometry.near_bits, true)
            .override_global(global::FAR_BITS, &geometry.far_bits, true)
            .override_global(global::OUTER_BITS, &geometry.outer_bits, true)
            .override_global(global::TIME_SHIFT, &time_shift, true)
            .override_global(global::WEAK_ORDER, &WEAK_ORDER, true)
            .load(OBJECT)?;
        Ok(programs)
    }

    fn pin(
        &self,
        attachment: &Attachment,
        egress: Option<FdLink>,
        ingress: Option<FdLink>,
    ) -> Result<(), DatapathError> {
        let egress_path = self.link_path(&Pin::egress(attachment));
        let ingress_path = self.link_path(&Pin::ingress(attachment));
        let has_new_egress = egress.is_some();
        let pin = |link: Option<FdLink>, path: &PathBuf| match link {
            Some(link) => {
                link.pin(path).map(drop).map_err(|source| DatapathError::Pin { path: path.clone(), source })
            }
            None => Ok(()),
        };
        pin(egress, &egress_path)?;
        pin(ingress, &ingress_path).inspect_err(|_| {
            if has_new_egress {
                let _ = fs::remove_file(&egress_path);
            }
        })
    }
}

/// Refuses where TC programs cannot be attached to `interface` by BPF links. The kernel is asked, since its version says
/// little: RHEL 9.4 has TCX in 5.14, and a kernel of any version may be built without it.
///
/// # Errors
///
/// [`DatapathError::NoTcx`] there.
pub fn require_tcx(interface: &str) -> Result<(), DatapathError> {
    match SchedClassifier::query_tcx(interface, TcAttachType::Egress) {
        Err(ProgramError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(Errno::EINVAL as i32) =>
        {
            Err(DatapathError::NoTcx { interface: interface.to_owned() })
        }
        // What else may be wrong shows when the program is attached.
        _ => Ok(()),
    }
}

/// Tries the hooks in turn; the last one's error is the one that counts. `refused` says why native XDP was not to be had.
fn attach_ingress(
    programs: &mut Ebpf,
    names: &ProgramNames,
    interface: &str,
    device: &Device,
    choices: &[IngressAttachment],
    refused: &mut Option<String>,
) -> Result<(IngressAttachment, FdLink), DatapathError> {
    let mut failure = DatapathError::NoSuchInterface { name: interface.to_owned() };
    for choice in choices {
        let name = names.ingress(*choice);
        let attached = match choice {
            IngressAttachment::XdpNative => attach_xdp(programs, name, interface, device, XdpMode::Driver),
            IngressAttachment::XdpGeneric => attach_xdp(programs, name, interface, device, XdpMode::Skb),
            IngressAttachment::Tcx => {
                attach_tc(programs, name, interface, TcAttachType::Ingress, LinkOrder::first())
            }
        };
        match attached {
            Ok(link) => return Ok((*choice, link)),
            Err(error) => {
                if *choice == IngressAttachment::XdpNative {
                    *refused = why_refused(programs, name, device, &error);
                }
                failure = error;
            }
        }
    }
    Err(failure)
}

/// In the driver's words, or the kernel's if it has none.
fn why_refused(
    programs: &mut Ebpf,
    name: &'static str,
    device: &Device,
    error: &DatapathError,
) -> Option<String> {
    let DatapathError::Program { source, .. } = error else {
        return None;
    };
    let program: &mut Xdp = program_of_type(programs, name).ok()?;
    native_xdp::refusal(device, program).or_else(|| match &**source {
        ProgramError::SyscallError(error) => Some(error.io_error.to_string()),
        _ => None,
    })
}

fn attach_xdp(
    programs: &mut Ebpf,
    name: &'static str,
    interface: &str,
    device: &Device,
    mode: XdpMode,
) -> Result<FdLink, DatapathError> {
    load(programs, &[name])?;
    let error = DatapathError::in_program(name);
    let program: &mut Xdp = program_of_type(programs, name)?;
    let id = program.attach_to_if_index(device.index, mode).map_err(&error)?;
    let link = program.take_link(id).map_err(&error)?;
    // aya falls back to an attachment by netlink, which cannot be pinned and ends with this process.
    FdLink::try_from(link).map_err(|_| DatapathError::NoLink { interface: interface.to_owned(), hook: "XDP" })
}

fn attach_tc(
    programs: &mut Ebpf,
    name: &'static str,
    interface: &str,
    attach_type: TcAttachType,
    order: LinkOrder,
) -> Result<FdLink, DatapathError> {
    load(programs, &[name])?;
    let error = DatapathError::in_program(name);
    let program: &mut SchedClassifier = program_of_type(programs, name)?;
    let options = TcAttachOptions::TcxOrder(order);
    let id = program.attach_with_options(interface, attach_type, options).map_err(&error)?;
    let link = program.take_link(id).map_err(&error)?;
    FdLink::try_from(link).map_err(|_| DatapathError::NoLink { interface: interface.to_owned(), hook: "TC" })
}

fn program_of_type<'a, P>(programs: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, DatapathError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    program(programs, name)?.try_into().map_err(DatapathError::in_program(name))
}

/// A program of the object, whatever its type.
pub(super) fn program<'a>(
    programs: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut Program, DatapathError> {
    programs.program_mut(name).ok_or(DatapathError::MissingProgram { program: name })
}
