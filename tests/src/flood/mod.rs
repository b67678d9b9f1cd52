//! Floods: millions of frames from forged sources, made in the kernel.
//!
//! A [`Flood`] is one frame and an XDP program (`program.rs`) that forges the source of every copy and redirects it into
//! the link of a host, run by `BPF_PROG_TEST_RUN` on live frames (`kernel.rs`). The host receives them as if a machine
//! on its link had sent them, at rates that no socket reaches. What becomes of them is the business of the callers.

mod kernel;
mod program;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

use crate::lab::{Family, Host, INTERFACE, IngressHook, Lab, Namespace, once_free};
use crate::packets::{Frame, Packet, Segment, Transport, tcp};

/// The prefix of all forged sources.
#[must_use]
pub fn forged_sources(family: Family) -> &'static str {
    match family {
        Family::V4 => "64.0.0.0/3",
        Family::V6 => "fd66::/32",
    }
}

/// The lowest port that is forged, and flooded where the port is not given.
pub const LOWEST_FORGED_PORT: u16 = 0x8000;

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodKind {
    /// TCP SYNs at one port.
    Syn {
        /// The port.
        port: u16,
    },
    /// TCP segments that acknowledge what nobody has sent, at one port.
    Acks {
        /// The port.
        port: u16,
    },
    /// UDP datagrams at random ports, from [`LOWEST_FORGED_PORT`] up.
    Udp,
    /// UDP datagrams at one port.
    Datagrams {
        /// The port.
        port: u16,
        /// Who sends them.
        senders: Senders,
    },
}

/// Who sends the datagrams of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    /// A random source for each datagram, of those whose forged 32 bits have the `value` where `mask` has ones.
    Anybody {
        /// Which bits are given.
        mask: u32,
        /// What they are.
        value: u32,
    },
    /// So many flows, a power of two and at most [`MAX_FLOWS`], one of them at random for each datagram.
    Flows {
        /// How many.
        count: u32,
    },
}

/// The most flows that one flood is made of.
pub const MAX_FLOWS: u32 = 1 << 18;

/// A flood of one host of a lab.
#[derive(Debug)]
pub struct Flood<'lab> {
    router: &'lab Namespace,
    program: OwnedFd,
    frame: Vec<u8>,
    target: IpAddr,
}

impl<'lab> Flood<'lab> {
    /// Prepares a flood, and makes the lab ready for it: the host's interface takes redirected frames whether or not an
    /// XDP program is attached, and the router swallows the answers.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn prepare(lab: &'lab Lab, target: &Host, family: Family, kind: FloodKind) -> Result<Self> {
        let router = lab.router();
        // A veth device takes redirected frames only if its peer polls (NAPI), which it does for XDP or for GRO.
        target.run(&format!("ethtool -K {INTERFACE} gro on")).success()?;
        router.ip_batch(&format!("route replace blackhole {}", forged_sources(family)))?;

        let link = format!("to-{}", target.name());
        let device = router.run(|| if_nametoindex(link.as_str())).with_context(|| format!("find {link}"))?;
        let mut frame = template(target.address(family), kind);
        frame[..6].copy_from_slice(&hardware_address(target.namespace(), INTERFACE)?);
        frame[6..12].copy_from_slice(&hardware_address(router, &link)?);
        let program =
            kernel::load(&program::forge_and_redirect(&frame, family, kind, device), IngressHook::Xdp)
                .context("load the program of the flood")?;
        Ok(Self { router, program, frame, target: target.address(family) })
    }

    /// The frame that one of [`Senders::Flows`] sends to `port`.
    #[must_use]
    pub fn frame_of_flow(&self, flow: u32, port: u16) -> Vec<u8> {
        let transport = Transport::Udp {
            source_port: program::port_of_flow(flow),
            destination_port: port,
            data: DATAGRAM_LENGTH,
        };
        let forged = program::source_of_flow(flow);
        let source = match self.target {
            IpAddr::V4(_) => IpAddr::from(forged),
            IpAddr::V6(_) => {
                let mut octets = IPV6_SOURCE.octets();
                octets[4..8].copy_from_slice(&forged);
                octets.into()
            }
        };
        let mut frame = Frame::ip(Packet::new(source, self.target, transport)).to_bytes();
        frame[..12].copy_from_slice(&self.frame[..12]);
        frame
    }

    /// Sends so many frames, and says how long the kernel took over it, with everything that the host did with them
    /// on the same CPU.
    ///
    /// Frames are lost where the host does not keep up and the queue of the link, 256 frames, is full: look at the host's
    /// counters for what has arrived.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn send(&self, frames: u32) -> Result<Duration> {
        // The redirection looks the device up in the namespace of the caller.
        let per_frame = self.router.run(|| kernel::run_live(&self.program, &self.frame, frames));
        Ok(per_frame.context("run the program of the flood")? * frames)
    }
}

/// Bytes of data in a datagram; a frame over IPv4 is as short as Ethernet allows.
const DATAGRAM_LENGTH: u16 = 18;

/// The source over IPv6, but for the 32 bits after the first 32, which are forged.
const IPV6_SOURCE: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 1);

/// What an empty program does with every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyVerdict {
    /// Passes it.
    Pass,
    /// Drops it.
    Drop,
}

/// An empty program, to measure what its hook costs.
#[derive(Debug)]
pub struct EmptyProgram {
    hook: IngressHook,
    program: OwnedFd,
}

impl EmptyProgram {
    /// Loads the program.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn load(hook: IngressHook, verdict: EmptyVerdict) -> Result<Self> {
        // XDP_DROP and XDP_PASS of `linux/bpf.h`; TC_ACT_SHOT and TC_ACT_UNSPEC of `linux/pkt_cls.h`.
        let result = match (hook, verdict) {
            (IngressHook::Xdp, EmptyVerdict::Drop) => 1,
            (IngressHook::Xdp, EmptyVerdict::Pass) => 2,
            (IngressHook::Tc, EmptyVerdict::Drop) => 2,
            (IngressHook::Tc, EmptyVerdict::Pass) => -1,
        };
        let program = kernel::load(&program::constant(result), hook).context("load an empty program")?;
        Ok(Self { hook, program })
    }

    /// Attaches it to a device of the caller's namespace, until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn attach(&self, device: u32) -> Result<OwnedFd> {
        once_free(|| kernel::attach(&self.program, self.hook, device)).context("attach an empty program")
    }

    /// Runs it on a frame so many times, and returns the time of one run on average.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn run_repeatedly(&self, frame: &[u8], times: u32) -> Result<Duration> {
        kernel::run(&self.program, frame, times).context("run an empty program")
    }
}

/// The frame that every copy starts from: what is forged, and the checksums over it, are zero.
fn template(destination: IpAddr, kind: FloodKind) -> Vec<u8> {
    let transport = match kind {
        FloodKind::Syn { port } => Transport::Tcp(Segment::new(0, port, tcp::SYN)),
        FloodKind::Acks { port } => Transport::Tcp(Segment::new(0, port, tcp::ACK)),
        FloodKind::Udp => datagram_to(0),
        FloodKind::Datagrams { port, .. } => datagram_to(port),
    };
    let source = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => IPV6_SOURCE.into(),
    };
    let mut frame = Frame::ip(Packet::new(source, destination, transport)).to_bytes();
    for checksum in program::checksums(Family::of(destination), kind) {
        frame[checksum..][..2].fill(0);
    }
    frame
}

fn datagram_to(port: u16) -> Transport {
    Transport::Udp { source_port: 0, destination_port: port, data: DATAGRAM_LENGTH }
}

fn hardware_address(namespace: &Namespace, interface: &str) -> Result<[u8; 6]> {
    let find = || -> nix::Result<_> {
        let mut addresses = getifaddrs()?.filter(|entry| entry.interface_name == interface);
        Ok(addresses.find_map(|entry| entry.address?.as_link_addr()?.addr()))
    };
    namespace.run(find)?.with_context(|| format!("{interface} has no hardware address"))
}
