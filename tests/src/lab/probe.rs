//! Single questions to the network: does a connection, a datagram, an echo request from here arrive there?

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Header, Icmpv6Slice, Icmpv6Type,
    Ipv4HeaderSlice,
};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::{Family, Host};

/// How long an answer may take. Between namespaces it takes microseconds, so that silence means a drop.
const TIMEOUT: Duration = Duration::from_millis(400);

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// An answer.
    Open,
    /// The host's own word that nobody listens there.
    Refused,
    /// Silence, which is what a firewall that drops looks like.
    Filtered,
    /// The probe did not even leave, or the router said no: the lab is broken.
    Broken(ErrorKind),
}

impl fmt::Display for Reachability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => formatter.write_str("open"),
            Self::Refused => formatter.write_str("refused"),
            Self::Filtered => formatter.write_str("filtered"),
            Self::Broken(kind) => write!(formatter, "broken ({kind})"),
        }
    }
}

impl From<io::Result<()>> for Reachability {
    fn from(result: io::Result<()>) -> Self {
        match result.map_err(|error| error.kind()) {
            Ok(()) => Self::Open,
            Err(ErrorKind::ConnectionRefused) => Self::Refused,
            // A read that times out says `WouldBlock`, a connection attempt says `TimedOut`.
            Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => Self::Filtered,
            Err(kind) => Self::Broken(kind),
        }
    }
}

/// Opens a TCP connection and closes it again.
pub fn tcp_connect(from: &Host, to: IpAddr, port: u16) -> Reachability {
    let address = SocketAddr::new(to, port);
    from.namespace().run(|| TcpStream::connect_timeout(&address, TIMEOUT)).map(drop).into()
}

/// Sends a datagram and waits for one to come back.
pub fn udp_exchange(from: &Host, to: IpAddr, port: u16) -> Reachability {
    let exchange = || {
        let socket = UdpSocket::bind((from.address(Family::of(to)), 0))?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.connect((to, port))?;
        socket.send(b"ping")?;
        receive(&socket, &mut [0; 16]).map(drop)
    };
    from.namespace().run(exchange).into()
}

/// Receives a datagram. A wait with a limit also ends where the process is stopped and continued, with no handler for
/// a signal (signal(7)), and is begun again.
///
/// # Errors
///
/// What the kernel says.
pub fn receive(socket: &UdpSocket, datagram: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(datagram) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// Sends one echo request and waits for its reply, on a raw socket: no `ping` has to be installed.
pub fn ping(from: &Host, to: IpAddr) -> Reachability {
    /// The kernel hands every raw socket of the namespace every reply; this tells them apart.
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let echo = IcmpEchoHeader { id: NEXT.fetch_add(1, Ordering::Relaxed), seq: 1 };
    from.namespace().run(|| exchange_echo(to, echo)).into()
}

fn exchange_echo(to: IpAddr, echo: IcmpEchoHeader) -> io::Result<()> {
    let (family, protocol, request) = match to {
        IpAddr::V4(_) => {
            let request = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &[]).to_bytes();
            (AddressFamily::Inet, SockProtocol::Icmp, request.to_vec())
        }
        // The kernel writes the checksum, and knows the source that it covers.
        IpAddr::V6(_) => {
            let request = Icmpv6Header::new(Icmpv6Type::EchoRequest(echo)).to_bytes();
            (AddressFamily::Inet6, SockProtocol::IcmpV6, request.to_vec())
        }
    };
    // Connected, it receives from that address alone, and the calls are those of any datagram.
    let socket = UdpSocket::from(socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?);
    socket.connect((to, 0))?;
    let start = Instant::now();
    socket.send(&request).map_err(|error| match error.raw_os_error() {
        // What a raw IPv6 socket says of a packet that the egress hook has dropped; others say nothing.
        Some(errno) if errno == Errno::ENOBUFS as i32 => ErrorKind::TimedOut.into(),
        _ => error,
    })?;
    let mut packet = [0; 256];
    loop {
        let left = TIMEOUT.checked_sub(start.elapsed()).filter(|left| !left.is_zero());
        socket.set_read_timeout(Some(left.ok_or(ErrorKind::TimedOut)?))?;
        let (length, _) = receive(&socket, &mut packet)?;
        if is_reply(&packet[..length], to.is_ipv6(), echo) {
            return Ok(());
        }
    }
}

/// Whether it answers the request. An IPv4 packet comes with its header, an IPv6 one without.
fn is_reply(packet: &[u8], is_ipv6: bool, echo: IcmpEchoHeader) -> bool {
    if is_ipv6 {
        return Icmpv6Slice::from_slice(packet)
            .is_ok_and(|message| message.icmp_type() == Icmpv6Type::EchoReply(echo));
    }
    let message =
        Ipv4HeaderSlice::from_slice(packet).ok().and_then(|header| packet.get(header.slice().len()..));
    message
        .and_then(|message| Icmpv4Slice::from_slice(message).ok())
        .is_some_and(|message| message.icmp_type() == Icmpv4Type::EchoReply(echo))
}
