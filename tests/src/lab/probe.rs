//! Single questions to the network: does a connection, a datagram, an echo request from here arrive there?

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

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

/// Sends one echo request with the real `ping`.
///
/// # Panics
///
/// When there is no `ping`.
pub fn ping(from: &Host, to: IpAddr) -> Reachability {
    let mut command = from.namespace().command("ping");
    let seconds = TIMEOUT.as_secs_f32().to_string();
    command.args(["-n", "-q", "-c", "1", "-W", &seconds]).arg(to.to_string());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    match status.unwrap_or_else(|error| panic!("cannot start ping: {error}")).code() {
        Some(0) => Reachability::Open,
        // No answer. An unreachable network ends with 2.
        Some(1) => Reachability::Filtered,
        _ => Reachability::Broken(ErrorKind::NetworkUnreachable),
    }
}
