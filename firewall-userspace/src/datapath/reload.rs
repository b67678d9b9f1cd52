//! New programs in the place of attached ones, as an upgrade of the package needs it.
//!
//! Each pinned link goes from the old program to the new one in a single step (`BPF_LINK_UPDATE`), and so does each filter
//! (`RTM_NEWTFILTER` for one that is there): every packet is decided by one of them. Maps, and with them the policy, flows and counters, stay.

use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::XdpLink;

use super::attach::{Attachment, IngressAttachment};
use super::clsact::Filters;
use super::device;
use super::pin::{Hook, Pin};
use super::programs::Wanted;
use super::{Datapath, DatapathError};

impl Datapath {
    /// Replaces the programs of an attachment, whose pins are among those of `attached`, by those of this build and with the
    /// maps of this instance. `interface` is the name that it has now.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the interface is gone or the kernel refuses the programs; the old ones stay then.
    pub fn reload(
        &self,
        attachment: &Attachment,
        interface: &str,
        log_drops: bool,
        attached: &Self,
    ) -> Result<(), DatapathError> {
        let device = device::find(interface)?;
        let egress = Wanted::egress(log_drops);
        let ingress = Wanted::ingress(attachment.ingress, log_drops, attachment.slot, device.lends_xdp);
        // Both, before either is used: what the verifier refuses must change nothing.
        self.see_to(&[egress, ingress])?;
        self.make_known(attachment.slot, interface, &device)?;
        let hooks = [Hook::Egress(attachment.egress), Hook::Ingress(attachment.ingress)];
        for (program, hook) in [egress, ingress].into_iter().zip(hooks) {
            let pin = Pin { slot: attachment.slot, ifindex: attachment.ifindex, hook, program: None };
            if hook.is_clsact() {
                let filters = Filters::of(interface, attachment.ifindex, hook.direction());
                self.replace_filter(program, &pin, &filters, attached)?;
            } else {
                self.replace_link(program, &attached.pin_path(&pin), hook)?;
            }
        }
        Ok(())
    }

    pub(super) fn replace_link(&self, program: Wanted, path: &Path, hook: Hook) -> Result<(), DatapathError> {
        let link_error = |source| DatapathError::Link { path: path.to_path_buf(), source };
        let link = FdLink::from(PinnedLink::from_pin(path).map_err(link_error)?);
        let replaced = match hook {
            Hook::Ingress(IngressAttachment::XdpNative | IngressAttachment::XdpGeneric) => {
                let link = XdpLink::try_from(link).map_err(link_error)?;
                self.xdp_program(program)?.attach_to_link(link).map(drop)
            }
            Hook::Ingress(_) | Hook::Egress(_) => {
                let link = SchedClassifierLink::try_from(link).map_err(link_error)?;
                self.tc_program(program)?.attach_to_link(link).map(drop)
            }
        };
        replaced.map_err(program.error())
    }
}
