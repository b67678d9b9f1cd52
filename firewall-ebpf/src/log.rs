//! Log lines about dropped packets for `sgfw log`, through aya-log's ring buffer.
//!
//! Only the programs whose names end in `_log` contain it, and they are loaded only for interfaces that are attached with
//! logging. The lines are `name=value` pairs, which `datapath::log` in user space turns into text.

use aya_log_ebpf::info;
use core::net::{Ipv4Addr, Ipv6Addr};
use firewall_common::abi::{Be32, Direction};
use firewall_common::packet::{Network, PacketBytes, network};
use firewall_common::reason::Reason;

use crate::packet::HookPacket;
use crate::stages::hook;

/// Logs a dropped packet as far as it can be read without following it: extension headers are not skipped, and nothing
/// is checked, for the packet may have been dropped because of what it is. The first four bytes behind the IP header
/// are ports, or the type and code of ICMP; user space knows by the protocol.
#[inline(never)]
pub fn dropped<P: HookPacket>(packet: P, direction: Direction, reason: Reason) {
    let hook = hook(packet, direction);
    let (slot, direction, reason) = (hook.slot, hook.direction as u8, reason as u8);
    match network(&packet, hook.link) {
        Ok(Network::Ipv4 { offset }) => {
            let Some(header) = packet.load::<20>(offset) else {
                return;
            };
            let [version, .., s0, s1, s2, s3, d0, d1, d2, d3] = header;
            info!(
                &(),
                "slot={} direction={} reason={} protocol={} source={:i} destination={:i} head={}",
                slot,
                direction,
                reason,
                header[9],
                Ipv4Addr::new(s0, s1, s2, s3),
                Ipv4Addr::new(d0, d1, d2, d3),
                head(&packet, offset + u32::from(version & 0x0f) * 4)
            );
        }
        Ok(Network::Ipv6 { offset }) => {
            let (Some(fixed), Some(source), Some(destination)) =
                (packet.load::<8>(offset), packet.load::<16>(offset + 8), packet.load::<16>(offset + 24))
            else {
                return;
            };
            info!(
                &(),
                "slot={} direction={} reason={} protocol={} source={:i} destination={:i} head={}",
                slot,
                direction,
                reason,
                fixed[6],
                Ipv6Addr::from(source),
                Ipv6Addr::from(destination),
                head(&packet, offset + 40)
            );
        }
        _ => info!(&(), "slot={} direction={} reason={}", slot, direction, reason),
    }
}

#[inline(always)]
fn head<P: PacketBytes>(packet: &P, offset: u32) -> u32 {
    packet.load(offset).map_or(0, |bytes| Be32::from_bytes(bytes).get())
}
