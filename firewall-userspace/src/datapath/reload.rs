//! New programs in the place of attached ones, as an upgrade of the package needs it.
//!
//! Each pinned link goes from the old program to the new one in a single step (`BPF_LINK_UPDATE`): every packet is
//! decided by one of them. Maps, and with them the policy, flows and counters, stay.

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{Program, ProgramError};

use super::attach::{Attachment, LOGGING, PLAIN, program};
use super::device;
use super::load::load;
use super::pin::Pin;
use super::{Datapath, DatapathError};

impl Datapath {
    /// Replaces the programs of an attachment, whose links are among those of `links`, by those of this build and with the
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
        links: &Self,
    ) -> Result<(), DatapathError> {
        let layer = device::find(interface)?.layer;
        let names = if log_drops { &LOGGING } else { &PLAIN };
        let ingress = names.ingress(attachment.ingress);
        let replacements = [(names.egress_tc, Pin::egress(attachment)), (ingress, Pin::ingress(attachment))];
        let mut programs = self.load_programs(attachment.slot, layer)?;
        // Both, before either is used: what the verifier refuses must change nothing.
        load(&mut programs, &[names.egress_tc, ingress])?;
        for (name, pin) in replacements {
            links.replace(&mut programs, name, &pin)?;
        }
        Ok(())
    }

    fn replace(&self, programs: &mut Ebpf, name: &'static str, pin: &Pin) -> Result<(), DatapathError> {
        let path = self.link_path(pin);
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
