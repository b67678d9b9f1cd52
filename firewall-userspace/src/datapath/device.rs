//! What the kernel says about a network device.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp};

use super::attach::LinkLayer;
use super::{DatapathError, netlink};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) index: u32,
    pub(super) layer: LinkLayer,
    /// Made of software: veth, bridge, tun, …
    pub(super) is_virtual: bool,
    /// It gives its XDP program to devices below it, which run it under their own index: a bond, and the network interface of
    /// Hyper-V.
    pub(super) lends_xdp: bool,
    /// Id of the XDP program that is attached.
    pub(super) xdp_program: Option<u32>,
}

/// Looks a device of the current network namespace up.
pub(super) fn find(name: &str) -> Result<Device, DatapathError> {
    // Over netlink and not from /sys: that shows the namespace in which it was mounted, not the one we are in.
    netlink::run(async |handle| {
        let found = handle.link().get().match_name(name.to_owned()).execute().try_next().await;
        match found {
            Ok(Some(message)) => Ok(device(&message)),
            Ok(None) => Err(DatapathError::NoSuchInterface { name: name.to_owned() }),
            Err(rtnetlink::Error::NetlinkError(error)) if is_no_such_device(&error) => {
                Err(DatapathError::NoSuchInterface { name: name.to_owned() })
            }
            Err(source) => Err(DatapathError::netlink(name)(source)),
        }
    })
}

/// The XDP programs of the devices of the current network namespace, by the index of the device.
pub(super) fn xdp_programs() -> Result<BTreeMap<u32, u32>, DatapathError> {
    netlink::run(async |handle| {
        let links = handle.link().get().execute().try_collect().await;
        let links: Vec<LinkMessage> = links.map_err(|source| DatapathError::Interfaces(Box::new(source)))?;
        let programs = links.iter().map(device);
        Ok(programs.filter_map(|device| Some((device.index, device.xdp_program?))).collect())
    })
}

fn is_no_such_device(error: &rtnetlink::packet_core::ErrorMessage) -> bool {
    error.raw_code().abs() == nix::errno::Errno::ENODEV as i32
}

fn device(message: &LinkMessage) -> Device {
    let layer = match message.header.link_layer_type {
        LinkLayerType::Ether | LinkLayerType::Loopback => LinkLayer::Ethernet,
        _ => LinkLayer::None,
    };
    Device {
        index: message.header.index,
        layer,
        is_virtual: message.attributes.iter().any(is_software_kind),
        lends_xdp: message.attributes.iter().any(lends_xdp),
        xdp_program: message.attributes.iter().find_map(xdp_program),
    }
}

/// Drivers of hardware register no kind.
fn is_software_kind(attribute: &LinkAttribute) -> bool {
    let LinkAttribute::LinkInfo(infos) = attribute else {
        return false;
    };
    infos.iter().any(|info| matches!(info, LinkInfo::Kind(kind) if *kind != InfoKind::Other(String::new())))
}

/// `bond_xdp_set` and `netvsc_vf_setxdp` in the kernel.
fn lends_xdp(attribute: &LinkAttribute) -> bool {
    match attribute {
        LinkAttribute::LinkInfo(infos) => {
            infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bond)))
        }
        LinkAttribute::ParentDevBusName(bus) => bus == "vmbus",
        _ => false,
    }
}

fn xdp_program(attribute: &LinkAttribute) -> Option<u32> {
    let LinkAttribute::Xdp(properties) = attribute else {
        return None;
    };
    properties.iter().find_map(|property| match property {
        LinkXdp::ProgId(id) if *id != 0 => Some(*id),
        _ => None,
    })
}
