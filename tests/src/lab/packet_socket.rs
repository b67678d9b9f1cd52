//! Frames of any shape, sent and received without the network stack of the sender: tags, forged addresses, floods.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv, send,
    socket,
};

use super::Namespace;

/// How long a sender waits for a queue that stays full.
const FULL_QUEUE: Duration = Duration::from_secs(10);

/// A packet socket (`AF_PACKET`) on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

impl PacketSocket {
    /// Opens the socket on `interface`. It receives frames of `ethertype`, as that is once the kernel has taken out the
    /// outer VLAN tag: a handler of one protocol stands behind XDP and TC, so that it sees what the firewall passes. A
    /// handler of all protocols would stand before TC.
    ///
    /// # Errors
    ///
    /// When there is no such interface.
    pub fn open(namespace: &Namespace, interface: &str, ethertype: u16) -> Result<Self> {
        let open = || -> nix::Result<OwnedFd> {
            let socket =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None::<SockProtocol>)?;
            bind(socket.as_raw_fd(), &link_address(if_nametoindex(interface)?, ethertype)?)?;
            Ok(socket)
        };
        let socket = namespace.run(open);
        Ok(Self { socket: socket.with_context(|| format!("cannot open a packet socket on {interface}"))? })
    }

    /// Sends a frame, with its Ethernet header. While the queue of the interface is full, it waits: the peer of a veth
    /// pair empties its queue when it gets a CPU.
    ///
    /// # Errors
    ///
    /// When the interface does not take it: it is too long, or the queue has been full for ten seconds.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let start = Instant::now();
        loop {
            match self.send_once(frame) {
                Err(error) if is_full_queue(&error) && start.elapsed() < FULL_QUEUE => thread::yield_now(),
                result => return result,
            }
        }
    }

    /// Sends a frame that may be lost: in a flood, or where TC on this interface may drop it.
    ///
    /// # Errors
    ///
    /// When the interface does not take it, and when TC drops it: the kernel calls this a full queue too.
    pub fn send_once(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// The next one of the frames that have arrived. Does not wait.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; usize::from(u16::MAX)];
        let length = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT).ok()?;
        frame.truncate(length);
        Some(frame)
    }
}

fn is_full_queue(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

fn link_address(index: u32, ethertype: u16) -> nix::Result<LinkAddr> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::sa_family_t,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointer is to a whole `sockaddr_ll`, which says itself that it is one.
    unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) }.ok_or(nix::errno::Errno::EINVAL)
}
