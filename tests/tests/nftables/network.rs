//! Where nftables decides: in a router between an inside, where the protected host would be, and an outside.
//!
//! Packets of any addresses are put on the link of one side by packet socket, and looked for on the other side. Nobody
//! has the addresses, so nobody answers.

use std::fs;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use firewall_common::abi::Direction;
use firewall_common::reason::Verdict;
use firewall_tests::lab::{Family, INTERFACE, Lab, Namespace, PacketSocket, Topology};
use firewall_tests::packets::{Frame, Packet, Transport};

use super::conversations::local_address;
use super::fragments::{Frames, part};

/// The hosts on both sides; the router's ends of their links are called `to-…`.
pub(crate) const OUTSIDE: &str = "outside";
pub(crate) const INSIDE: &str = "inside";

/// Between these ports everything passes: a marker behind each packet shows that the packet is not still on its way.
pub(crate) const MARKER_PORT: u16 = 9;

/// How long a marker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const ETHERTYPES: [u16; 2] = [0x0800, 0x86dd];

/// The router and both sides.
pub(crate) struct Network {
    lab: Lab,
    outside: [PacketSocket; 2],
    inside: [PacketSocket; 2],
}

impl Network {
    /// Builds it, without a ruleset.
    pub(crate) fn build() -> Result<Self> {
        let lab = Lab::build(&Topology::star([OUTSIDE, INSIDE]))?;
        // Frames of the packet builders are for this hardware address.
        for link in [OUTSIDE, INSIDE] {
            lab.router().ip_batch(&format!("link set to-{link} address 02:00:00:00:00:02"))?;
        }
        for family in Family::ALL {
            let [outside, inside] = [OUTSIDE, INSIDE].map(|side| lab.host(side).address(family));
            let host = local_address(family == Family::V6);
            lab.router()
                .ip_batch(&format!("route add default via {outside}\nroute add {host} via {inside}"))?;
        }
        // Segments out of the window are not of the connection, or a blind RST would end it.
        lab.router().configure("net/netfilter/nf_conntrack_tcp_be_liberal", "0")?;
        let [outside, inside] = [OUTSIDE, INSIDE].map(|side| sockets(lab.host(side).namespace()));
        Ok(Self { outside: outside?, inside: inside?, lab })
    }

    /// Puts a ruleset into force.
    pub(crate) fn load(&self, ruleset: &str) -> Result<()> {
        let file = self.lab.directory().join("ruleset.nft");
        fs::write(&file, ruleset)?;
        let mut nft = self.lab.router().command("nft");
        let output = nft.arg("--file").arg(&file).output()?;
        ensure!(output.status.success(), "{}\n{ruleset}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// What becomes of a packet: it passes when each of its frames does.
    pub(crate) fn decide(&self, direction: Direction, packet: &Packet, frames: &Frames) -> Verdict {
        let family = usize::from(packet.source.is_ipv6());
        let (from, to) = match direction {
            Direction::Ingress => (&self.outside[family], &self.inside[family]),
            Direction::Egress => (&self.inside[family], &self.outside[family]),
        };
        frames.iter().for_each(|frame| from.send(frame).unwrap());
        // Not under the host's own address, which the router lets nobody outside have.
        let is_forged = direction == Direction::Ingress && packet.source == local_address(family != 0);
        let (source, destination) =
            if is_forged { (packet.destination, packet.source) } else { (packet.source, packet.destination) };
        let marker = Frame::ip(marker(source, destination)).to_bytes();
        from.send(&marker).unwrap();
        let mut missing: Vec<_> = frames.iter().map(part).collect();
        let start = Instant::now();
        loop {
            match to.receive() {
                Some(frame) if part(&frame) == part(&marker) => break,
                Some(frame) => missing.retain(|sent| *sent != part(&frame)),
                None => thread::yield_now(),
            }
            assert!(start.elapsed() < PATIENCE, "a marker was lost");
        }
        if missing.is_empty() { Verdict::Pass } else { Verdict::Drop }
    }
}

fn sockets(namespace: &Namespace) -> Result<[PacketSocket; 2]> {
    let [v4, v6] = ETHERTYPES.map(|ethertype| PacketSocket::open(namespace, INTERFACE, ethertype));
    Ok([v4?, v6?])
}

fn marker(source: IpAddr, destination: IpAddr) -> Packet {
    let transport = Transport::Udp { source_port: MARKER_PORT, destination_port: MARKER_PORT, data: 8 };
    Packet::new(source, destination, transport)
}
