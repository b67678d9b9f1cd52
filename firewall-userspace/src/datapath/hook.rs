//! Which hook decides the ingress packets of a device, and why.
//!
//! Measured by `cargo xtask bench` (BENCHMARKS.md has the table): native XDP is the cheapest place to drop a packet, but on
//! veth and other devices made of software it costs bulk TCP its segmentation offload, which is most of its rate; there
//! TC is better.

use aya::programs::loaded_programs;

use super::DatapathError;
use super::attach::{EgressAttachment, IngressAttachment, LinkLayer};
use super::device::{self, Device};
use crate::model::IngressHook;

/// Why the ingress packets of an interface are decided where they are. The driver's own words are to be had only while it
/// refuses ([`NewAttachment`](super::NewAttachment)): nothing is stored about attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookReason {
    /// It was asked for.
    Asked,
    /// XDP was asked for, and native XDP was not to be had.
    GenericXdp,
    /// The device has native XDP and is no software device.
    NativeXdp,
    /// The device is made of software.
    SoftwareDevice,
    /// The device has no Ethernet header.
    NoEthernetHeader,
    /// Native XDP was not to be had.
    NoNativeXdp,
}

impl HookReason {
    /// As a sentence for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Asked => "it was asked for",
            Self::GenericXdp => {
                "xdp was asked for, and native XDP was not to be had: the driver has none, or not with these offloads, queues or MTU"
            }
            Self::NativeXdp => "native XDP is the cheapest place to drop a packet",
            Self::SoftwareDevice => {
                "the device is made of software, where native XDP would cost bulk TCP its segmentation offload"
            }
            Self::NoEthernetHeader => "the device has no Ethernet header, which XDP needs",
            Self::NoNativeXdp => {
                "native XDP was not to be had: the driver has none, or not with these offloads, queues or MTU, or another \
                 program has it"
            }
        }
    }
}

/// Why an interface that was attached with `asked` has its program on `attached`.
///
/// # Errors
///
/// [`DatapathError`] where there is no such interface.
pub fn explain(
    interface: &str,
    asked: IngressHook,
    attached: IngressAttachment,
) -> Result<HookReason, DatapathError> {
    let device = device::find(interface)?;
    Ok(match (asked, attached) {
        (IngressHook::Xdp, IngressAttachment::XdpGeneric) => HookReason::GenericXdp,
        (IngressHook::Xdp | IngressHook::Tc, _) => HookReason::Asked,
        (IngressHook::Auto, IngressAttachment::XdpNative | IngressAttachment::XdpGeneric) => {
            HookReason::NativeXdp
        }
        (IngressHook::Auto, IngressAttachment::Tcx | IngressAttachment::Clsact) => match device.layer {
            LinkLayer::None => HookReason::NoEthernetHeader,
            LinkLayer::Ethernet if device.is_virtual => HookReason::SoftwareDevice,
            LinkLayer::Ethernet => HookReason::NoNativeXdp,
        },
    })
}

/// The ingress hooks to try, in this order.
pub(super) fn ingress_choices(
    interface: &str,
    device: &Device,
    hook: IngressHook,
) -> Result<Vec<IngressAttachment>, DatapathError> {
    let tc = EgressAttachment::to_be_had(interface).into();
    match hook {
        IngressHook::Tc => Ok(vec![tc]),
        IngressHook::Auto
            if device.is_virtual || device.layer == LinkLayer::None || device.xdp_program.is_some() =>
        {
            Ok(vec![tc])
        }
        IngressHook::Auto => Ok(vec![IngressAttachment::XdpNative, tc]),
        IngressHook::Xdp if device.layer == LinkLayer::None => {
            Err(DatapathError::XdpNeedsEthernet { interface: interface.to_owned() })
        }
        IngressHook::Xdp => {
            if let Some(id) = device.xdp_program {
                return Err(foreign_xdp(interface, id));
            }
            Ok(vec![IngressAttachment::XdpNative, IngressAttachment::XdpGeneric])
        }
    }
}

fn foreign_xdp(interface: &str, id: u32) -> DatapathError {
    let program = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_default();
    DatapathError::ForeignXdp { interface: interface.to_owned(), program, id }
}
