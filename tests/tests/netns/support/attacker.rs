//! Whoever shares a host's link and sends what it likes, under any address.
//!
//! It is the host's neighbour (the router's namespace), so that its frames meet the hook as any frame from outside does.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use firewall_tests::lab::{Host, Lab, PacketSocket};
use firewall_tests::packets::{Frame, Packet, Segment, Transport, tcp};

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

    /// As [`Self::new`], and receives the host's IPv4 packets.
    #[track_caller]
    pub(crate) fn that_receives(lab: &Lab, host: &Host) -> Self {
        let socket = PacketSocket::open(lab.router(), &format!("to-{}", host.name()), 0x0800).unwrap();
        Self { socket, host: hardware_address(host) }
    }

    /// The sequence number of a SYN-ACK of the host to this port, if one comes.
    pub(crate) fn syn_ack(&self, port: u16) -> Option<u32> {
        const TCP: usize = 14 + 20;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            let Some(frame) = self.socket.receive() else {
                thread::yield_now();
                continue;
            };
            let Some(header) = frame.get(TCP..TCP + 20) else { continue };
            let is_syn_ack = header[13] & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK;
            if is_syn_ack && header[2..4] == port.to_be_bytes() {
                return Some(u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
            }
        }
        None
    }

    /// Sends an IPv4 segment whose checksum is wrong: the host throws it away.
    #[track_caller]
    pub(crate) fn send_broken(&self, source: IpAddr, destination: IpAddr, segment: Segment) {
        const CHECKSUM: usize = 14 + 20 + 16;
        let mut frame = Frame::ip(Packet::new(source, destination, Transport::Tcp(segment))).to_bytes();
        frame[..6].copy_from_slice(&self.host);
        frame[CHECKSUM] ^= 0xff;
        self.socket.send(&frame).unwrap();
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
