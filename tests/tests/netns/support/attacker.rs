//! Whoever shares a host's link and sends what it likes, under any address.
//!
//! It is the host's neighbour (the router's namespace), so that its frames meet the hook as any frame from outside does.

use std::net::IpAddr;

use firewall_tests::lab::{Host, Lab, PacketSocket};
use firewall_tests::packets::{Frame, Packet, Segment, Transport};

use super::hardware_address;

pub(crate) struct Attacker {
    socket: PacketSocket,
    /// The host's Ethernet address.
    host: [u8; 6],
}

impl Attacker {
    #[track_caller]
    pub(crate) fn new(lab: &Lab, host: &Host) -> Self {
        // What it receives does not matter.
        let socket = PacketSocket::open(lab.router(), &format!("to-{}", host.name()), 0x88b5).unwrap();
        Self { socket, host: hardware_address(host) }
    }

    /// Sends a segment without data and with the sequence numbers of [`Segment::new`].
    #[track_caller]
    pub(crate) fn send(&self, source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8) {
        self.send_segment(source.0, destination.0, Segment::new(source.1, destination.1, flags));
    }

    #[track_caller]
    pub(crate) fn send_segment(&self, source: IpAddr, destination: IpAddr, segment: Segment) {
        self.send_packet(source, destination, Transport::Tcp(segment));
    }

    #[track_caller]
    pub(crate) fn send_packet(&self, source: IpAddr, destination: IpAddr, transport: Transport) {
        let mut frame = Frame::ip(Packet::new(source, destination, transport)).to_bytes();
        frame[..6].copy_from_slice(&self.host);
        self.socket.send(&frame).unwrap();
    }
}
