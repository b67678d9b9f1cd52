//! New programs in the place of attached ones, as an upgrade of the package needs it.
//!
//! Each pinned link goes from the old program to the new one in a single step (`BPF_LINK_UPDATE`), and so does each filter
//! (`RTM_NEWTFILTER` for one that is there): every packet is decided by one of them. Maps, and with them the policy, flows and counters, stay.

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{Program, ProgramError};

use super::attach::{Attachment, LOGGING, PLAIN, program};
use super::clsact::Filters;
use super::device;
use super::load::load;
use super::pin::{Hook, Pin};
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
        let layer = device::find(interface)?.layer;
        let names = if log_drops { &LOGGING } else { &PLAIN };
        let ingress = names.ingress(attachment.ingress);
        let hooks = [Hook::Egress(attachment.egress), Hook::Ingress(attachment.ingress)];
        let replacements = [names.egress_tc, ingress].into_iter().zip(hooks);
        let mut programs = self.load_programs(attachment.slot, layer)?;
        // Both, before either is used: what the verifier refuses must change nothing.
        load(&mut programs, &[names.egress_tc, ingress])?;
        for (name, hook) in replacements {
            let pin = Pin { slot: attachment.slot, ifindex: attachment.ifindex, hook, program: None };
            if hook.is_clsact() {
                let filters = Filters::of(interface, attachment.ifindex, hook.direction());
                attached.replace_filter(&mut programs, name, &pin, &filters)?;
            } else {
                attached.replace_link(&mut programs, name, &pin)?;
            }
        }
        Ok(())
    }

    fn replace_link(&self, programs: &mut Ebpf, name: &'static str, pin: &Pin) -> Result<(), DatapathError> {
        let path = self.pin_path(pin);
        let link_error = |source| DatapathError::Link { path: path.clone(), source };
        let link = FdLink::from(PinnedLink::from_pin(&path).map_err(link_error)?);
        let replaced = match program(programs, name)? {
            Program::Xdp(xdp) => xdp.attach_to_link(XdpLink::try_from(link).map_err(link_error)?).map(drop),
            Program::SchedClassifier(classifier) => {
                classifier.attach_to_link(SchedClassifierLink::try_from(link).map_err(link_error)?).map(drop)
            }
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        replaced.map_err(DatapathError::in_program(name))
    }
}
