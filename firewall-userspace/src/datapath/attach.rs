//! Putting programs on interfaces.
//!
//! The BPF links are pinned, and the programs of filters, under names that say all there is to know about them, so that no
//! other record is needed.

use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, XdpMode};
use nix::errno::Errno;

use super::clsact::{FilterBefore, Filters};
use super::device::{self, Device};
use super::hook::ingress_choices;
use super::live::LivePrograms;
use super::pin::{Hook, Pin};
use super::programs::Wanted;
use super::{Datapath, DatapathError, native_xdp};
use crate::model::IngressHook;

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
            if live.ingress.is_none() && live.egress.is_none() {
                let _ = self.make_unknown(live.slot);
            }
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
        let choices = match live.ingress {
            Some(_) => Vec::new(),
            None => ingress_choices(interface, &device, hook)?,
        };
        // Before the first program asks.
        self.make_known(live.slot, interface, &device)?;
        let attaching = Attaching { datapath: self, slot: live.slot, interface, device, log_drops };
        let egress = live.egress.is_none().then(|| Wanted::egress(log_drops));
        let ingress = choices.first().map(|choice| attaching.ingress_program(*choice));
        let needed: Vec<Wanted> = egress.into_iter().chain(ingress).collect();
        // One that is refused is refused again where it is to be attached, where there may be another choice.
        let _ = self.see_to(&needed);
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
}

/// Programs on their way to an interface.
struct Attaching<'a> {
    datapath: &'a Datapath,
    slot: u32,
    interface: &'a str,
    device: Device,
    log_drops: bool,
}

impl Attaching<'_> {
    const fn ingress_program(&self, hook: IngressAttachment) -> Wanted {
        Wanted::ingress(hook, self.log_drops, self.slot, self.device.lends_xdp)
    }

    fn egress(&self) -> Result<EgressAttachment, DatapathError> {
        let egress = EgressAttachment::to_be_had(self.interface);
        self.attach(Wanted::egress(self.log_drops), Hook::Egress(egress))?;
        Ok(egress)
    }

    /// Tries the hooks in turn; the last one's error is the one that counts. Says why native XDP was not to be had.
    fn ingress(
        &self,
        choices: &[IngressAttachment],
    ) -> Result<(IngressAttachment, Option<String>), DatapathError> {
        let mut refused = None;
        let mut failure = DatapathError::NoSuchInterface { name: self.interface.to_owned() };
        for choice in choices.iter().copied() {
            let program = self.ingress_program(choice);
            match self.attach(program, Hook::Ingress(choice)) {
                Ok(()) => return Ok((choice, refused)),
                Err(error) => {
                    if choice == IngressAttachment::XdpNative {
                        refused = self.why_refused(program, &error);
                    }
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    fn attach(&self, program: Wanted, hook: Hook) -> Result<(), DatapathError> {
        let pin = Pin { slot: self.slot, ifindex: self.device.index, hook, program: None };
        let link = match hook {
            Hook::Ingress(IngressAttachment::XdpNative) => self.xdp(program, XdpMode::Driver)?,
            Hook::Ingress(IngressAttachment::XdpGeneric) => self.xdp(program, XdpMode::Skb)?,
            Hook::Ingress(IngressAttachment::Tcx) => {
                self.tcx(program, TcAttachType::Ingress, LinkOrder::first())?
            }
            Hook::Egress(EgressAttachment::Tcx) => {
                self.tcx(program, TcAttachType::Egress, LinkOrder::last())?
            }
            Hook::Ingress(IngressAttachment::Clsact) | Hook::Egress(EgressAttachment::Clsact) => {
                let filters = Filters::of(self.interface, self.device.index, hook.direction());
                return self.datapath.add_filter(program, &pin, &filters);
            }
        };
        let path = self.datapath.pin_path(&pin);
        link.pin(&path).map(drop).map_err(|source| DatapathError::Pin { path, source })
    }

    fn xdp(&self, program: Wanted, mode: XdpMode) -> Result<FdLink, DatapathError> {
        let mut xdp = self.datapath.xdp_program(program)?;
        let id = xdp.attach_to_if_index(self.device.index, mode).map_err(program.error())?;
        let link = xdp.take_link(id).map_err(program.error())?;
        // aya falls back to an attachment by netlink, which cannot be pinned and ends with this process.
        FdLink::try_from(link).map_err(|_| self.no_link("XDP"))
    }

    fn tcx(
        &self,
        program: Wanted,
        attach_type: TcAttachType,
        order: LinkOrder,
    ) -> Result<FdLink, DatapathError> {
        let mut classifier = self.datapath.tc_program(program)?;
        let options = TcAttachOptions::TcxOrder(order);
        let id =
            classifier.attach_with_options(self.interface, attach_type, options).map_err(program.error())?;
        let link = classifier.take_link(id).map_err(program.error())?;
        FdLink::try_from(link).map_err(|_| self.no_link("TC"))
    }

    fn no_link(&self, hook: &'static str) -> DatapathError {
        DatapathError::NoLink { interface: self.interface.to_owned(), hook }
    }

    /// In the driver's words, or the kernel's if it has none.
    fn why_refused(&self, program: Wanted, error: &DatapathError) -> Option<String> {
        let DatapathError::Program { source, .. } = error else {
            return None;
        };
        let xdp = self.datapath.xdp_program(program).ok()?;
        native_xdp::refusal(&self.device, &xdp).or_else(|| match &**source {
            ProgramError::SyscallError(error) => Some(error.io_error.to_string()),
            _ => None,
        })
    }
}
