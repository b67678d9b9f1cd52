//! Putting programs on interfaces.
//!
//! Each interface gets its own load of the object, with its slot as a constant, sharing the pinned maps. The BPF links
//! are pinned, and the programs of filters, under names that say all there is to know about them, so that no other record
//! is needed.

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{Program, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use firewall_common::flow_table::layout::TableParameters;
use nix::errno::Errno;

use super::clsact::{FilterBefore, Filters};
use super::device::{self, Device};
use super::hook::ingress_choices;
use super::live::LivePrograms;
use super::load::load;
use super::pin::{Hook, Pin};
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
            IngressAttachment::Tcx | IngressAttachment::Clsact => self.ingress_tc,
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
    /// TC by a filter in the qdisc clsact, where the kernel has no TCX.
    Clsact,
}

/// The hook that decides egress packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressAttachment {
    /// TC by a BPF link.
    Tcx,
    /// TC by a filter in the qdisc clsact, where the kernel has no TCX.
    Clsact,
}

impl IngressAttachment {
    pub(super) const ALL: [Self; 4] = [Self::XdpNative, Self::XdpGeneric, Self::Tcx, Self::Clsact];

    /// The name shown to people, in JSON and in the names of pins.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl EgressAttachment {
    pub(super) const ALL: [Self; 2] = [Self::Tcx, Self::Clsact];

    /// How the kernel can attach TC programs to an interface. It is asked, since its version says little: RHEL 9.4 has TCX
    /// in 5.14, and a kernel of any version may be built without it (`CONFIG_NET_XGRESS`).
    pub(super) fn to_be_had(interface: &str) -> Self {
        match SchedClassifier::query_tcx(interface, TcAttachType::Egress) {
            Err(ProgramError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(Errno::EINVAL as i32) =>
            {
                Self::Clsact
            }
            // What else may be wrong shows when the program is attached.
            _ => Self::Tcx,
        }
    }

    /// The name shown to people, in JSON and in the names of pins.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// TC attaches both directions in the same way.
impl From<EgressAttachment> for IngressAttachment {
    fn from(tc: EgressAttachment) -> Self {
        match tc {
            EgressAttachment::Tcx => Self::Tcx,
            EgressAttachment::Clsact => Self::Clsact,
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
    /// The filters of others that decide before ours.
    pub filters_before: Vec<FilterBefore>,
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
        let none = LivePrograms { slot, ifindex: device.index, ingress: None, egress: None };
        self.attach_missing(&none, interface, hook, log_drops)
    }

    /// Attaches what an interface has lost of its programs; those that it has go on.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    pub fn attach_missing(
        &mut self,
        live: &LivePrograms,
        interface: &str,
        hook: IngressHook,
        log_drops: bool,
    ) -> Result<NewAttachment, DatapathError> {
        self.remove_all_but(live)?;
        // A filter stays unless it is removed, and so does a link that is pinned.
        self.attach_new(live, interface, hook, log_drops).inspect_err(|_| {
            let _ = self.remove_all_but(live);
        })
    }

    fn attach_new(
        &self,
        live: &LivePrograms,
        interface: &str,
        hook: IngressHook,
        log_drops: bool,
    ) -> Result<NewAttachment, DatapathError> {
        let device = device::find(interface)?;
        let names = if log_drops { &LOGGING } else { &PLAIN };
        let choices = match live.ingress {
            Some(_) => Vec::new(),
            None => ingress_choices(interface, &device, hook)?,
        };
        let programs = self.load_programs(live.slot, device.layer)?;
        let mut attaching = Attaching { datapath: self, slot: live.slot, interface, device, names, programs };
        let egress = live.egress.is_none().then_some(names.egress_tc);
        let ingress = choices.first().map(|choice| names.ingress(*choice));
        let needed: Vec<&'static str> = egress.into_iter().chain(ingress).collect();
        // One that is refused is refused again where it is to be attached, where there may be another choice.
        let _ = load(&mut attaching.programs, &needed);
        // Egress first: replies to what leaves meanwhile find their flow when ingress begins to be decided.
        let egress = match live.egress {
            Some(egress) => egress,
            None => attaching.egress()?,
        };
        let (ingress, native_xdp_refused) = match live.ingress {
            Some(ingress) => (ingress, None),
            None => attaching.ingress(&choices)?,
        };
        let attachment = Attachment { slot: live.slot, ifindex: attaching.device.index, ingress, egress };
        let filters_before = self.filters_before(&attachment)?;
        Ok(NewAttachment { attachment, native_xdp_refused, filters_before })
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
}

/// Programs on their way to an interface.
struct Attaching<'a> {
    datapath: &'a Datapath,
    slot: u32,
    interface: &'a str,
    device: Device,
    names: &'static ProgramNames,
    programs: Ebpf,
}

impl Attaching<'_> {
    fn egress(&mut self) -> Result<EgressAttachment, DatapathError> {
        let egress = EgressAttachment::to_be_had(self.interface);
        self.attach(self.names.egress_tc, Hook::Egress(egress))?;
        Ok(egress)
    }

    /// Tries the hooks in turn; the last one's error is the one that counts. Says why native XDP was not to be had.
    fn ingress(
        &mut self,
        choices: &[IngressAttachment],
    ) -> Result<(IngressAttachment, Option<String>), DatapathError> {
        let mut refused = None;
        let mut failure = DatapathError::NoSuchInterface { name: self.interface.to_owned() };
        for choice in choices.iter().copied() {
            let name = self.names.ingress(choice);
            match self.attach(name, Hook::Ingress(choice)) {
                Ok(()) => return Ok((choice, refused)),
                Err(error) => {
                    if choice == IngressAttachment::XdpNative {
                        refused = why_refused(&mut self.programs, name, &self.device, &error);
                    }
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    fn attach(&mut self, name: &'static str, hook: Hook) -> Result<(), DatapathError> {
        load(&mut self.programs, &[name])?;
        let pin = Pin { slot: self.slot, ifindex: self.device.index, hook, program: None };
        let link = match hook {
            Hook::Ingress(IngressAttachment::XdpNative) => self.xdp(name, XdpMode::Driver)?,
            Hook::Ingress(IngressAttachment::XdpGeneric) => self.xdp(name, XdpMode::Skb)?,
            Hook::Ingress(IngressAttachment::Tcx) => {
                self.tcx(name, TcAttachType::Ingress, LinkOrder::first())?
            }
            Hook::Egress(EgressAttachment::Tcx) => self.tcx(name, TcAttachType::Egress, LinkOrder::last())?,
            Hook::Ingress(IngressAttachment::Clsact) | Hook::Egress(EgressAttachment::Clsact) => {
                let filters = Filters::of(self.interface, self.device.index, hook.direction());
                return self.datapath.add_filter(&mut self.programs, name, &pin, &filters);
            }
        };
        let path = self.datapath.pin_path(&pin);
        link.pin(&path).map(drop).map_err(|source| DatapathError::Pin { path, source })
    }

    fn xdp(&mut self, name: &'static str, mode: XdpMode) -> Result<FdLink, DatapathError> {
        let error = DatapathError::in_program(name);
        let program: &mut Xdp = program_of_type(&mut self.programs, name)?;
        let id = program.attach_to_if_index(self.device.index, mode).map_err(&error)?;
        let link = program.take_link(id).map_err(&error)?;
        // aya falls back to an attachment by netlink, which cannot be pinned and ends with this process.
        FdLink::try_from(link).map_err(|_| self.no_link("XDP"))
    }

    fn tcx(
        &mut self,
        name: &'static str,
        attach_type: TcAttachType,
        order: LinkOrder,
    ) -> Result<FdLink, DatapathError> {
        let error = DatapathError::in_program(name);
        let program: &mut SchedClassifier = program_of_type(&mut self.programs, name)?;
        let options = TcAttachOptions::TcxOrder(order);
        let id = program.attach_with_options(self.interface, attach_type, options).map_err(&error)?;
        let link = program.take_link(id).map_err(&error)?;
        FdLink::try_from(link).map_err(|_| self.no_link("TC"))
    }

    fn no_link(&self, hook: &'static str) -> DatapathError {
        DatapathError::NoLink { interface: self.interface.to_owned(), hook }
    }
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

pub(super) fn program_of_type<'a, P>(
    programs: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut P, DatapathError>
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
