//! The connections that are open on this host, as the kernel's socket tables have them, and who opened them.
//!
//! Asked by `operations` for the connections that an interface had before it was attached, and whether those still have sockets that
//! somebody may have forged the end of. Connections that the host forwards have no socket here.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use firewall_common::abi::Direction;
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SockDiagMessage, TCP_CLOSE, TCP_LISTEN, TCP_SYN_RECV,
    TCP_TIME_WAIT,
};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;
use rtnetlink::sys::{Socket as NetlinkSocket, SocketAddr as NetlinkAddress};

use super::HostError;
use super::capability::{Act, denied};

/// A connection with one end on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its protocol.
    pub protocol: ConnectionProtocol,
    /// The end on this host.
    pub local: SocketAddr,
    /// The other end, of the same family.
    pub remote: SocketAddr,
    /// Direction of its first packet.
    pub started_by: Direction,
}

/// The protocols that have connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionProtocol {
    /// TCP.
    Tcp,
    /// UDP by sockets that have a peer (`connect`).
    Udp,
}

impl ConnectionProtocol {
    /// IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => IPPROTO_TCP,
            Self::Udp => IPPROTO_UDP,
        }
    }
}

/// The open connections of the current network namespace that cross the interface with this index and these addresses:
/// those with one of the addresses at this end and none at the other.
pub fn connections(addresses: &HashSet<IpAddr>, ifindex: u32) -> Result<Vec<Connection>, HostError> {
    let mut connections = Vec::new();
    for protocol in [ConnectionProtocol::Tcp, ConnectionProtocol::Udp] {
        let mut sockets = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let request = request(protocol.number(), family, states(protocol));
            dump(&request, |response| sockets.extend(socket(response)))?;
        }
        connections.extend(connections_of(protocol, &sockets, addresses, ifindex));
    }
    Ok(connections)
}

/// How far a TCP connection is; of two sockets with the same ends, bound to interfaces of their own, the later one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TcpStage {
    /// TIME-WAIT, or FIN-WAIT-2 without an owner.
    TimeWait,
    /// A SYN has been answered, and the handshake is not complete.
    Opening,
    /// From SYN-SENT to LAST-ACK.
    Connected,
}

/// The TCP connections of the current network namespace, by local and remote end.
pub fn tcp_connections() -> Result<HashMap<(SocketAddr, SocketAddr), TcpStage>, HostError> {
    let mut connections = HashMap::new();
    for family in [AF_INET, AF_INET6] {
        let states = connected() | StateFlags::SYN_SENT | StateFlags::SYN_RECV | StateFlags::TIME_WAIT;
        dump(&request(IPPROTO_TCP, family, states), |response| {
            let stage = match (response.header.state, &response.header.timer) {
                (TCP_TIME_WAIT, _) | (_, Some(Timer::TimeWait)) => TcpStage::TimeWait,
                (TCP_SYN_RECV, _) => TcpStage::Opening,
                _ => TcpStage::Connected,
            };
            if let Some(Socket { local, role: Role::Connected { remote }, .. }) = socket(response) {
                connections.entry((local, remote)).and_modify(|all| *all = stage.max(*all)).or_insert(stage);
            }
        })?;
    }
    Ok(connections)
}

/// The states of a connection after its handshake and before TIME-WAIT.
fn connected() -> StateFlags {
    StateFlags::ESTABLISHED
        | StateFlags::FIN_WAIT1
        | StateFlags::FIN_WAIT2
        | StateFlags::CLOSE_WAIT
        | StateFlags::CLOSING
        | StateFlags::LAST_ACK
}

/// What matters of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    role: Role,
    /// Index of the interface that it is bound to; 0 for none.
    bound_to: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It takes what comes from anywhere.
    Listening {
        /// A socket for every IPv6 address is one for every IPv4 address too, unless its owner has ruled that out.
        is_v6_only: bool,
    },
    /// It has one peer.
    Connected { remote: SocketAddr },
}

fn connections_of(
    protocol: ConnectionProtocol,
    sockets: &[Socket],
    addresses: &HashSet<IpAddr>,
    ifindex: u32,
) -> Vec<Connection> {
    let listeners: HashSet<SocketAddr> = sockets.iter().flat_map(listening_on).collect();
    // The peer has opened what ends at a port that somebody listens on: the host's own connections get other ports.
    let started_by = |local: SocketAddr| {
        let is_listener = [local.ip(), unspecified(local.ip())]
            .into_iter()
            .any(|address| listeners.contains(&SocketAddr::new(address, local.port())));
        if is_listener { Direction::Ingress } else { Direction::Egress }
    };
    let connection = |socket: &Socket| match socket.role {
        Role::Listening { .. } => None,
        Role::Connected { remote } => {
            let crosses = addresses.contains(&socket.local.ip())
                && !addresses.contains(&remote.ip())
                && (!is_link_local(socket.local.ip()) || socket.bound_to == ifindex);
            let (local, started_by) = (socket.local, started_by(socket.local));
            crosses.then_some(Connection { protocol, local, remote, started_by })
        }
    };
    sockets.iter().filter_map(connection).collect()
}

/// The addresses and ports to which a socket listens.
fn listening_on(socket: &Socket) -> Vec<SocketAddr> {
    let Role::Listening { is_v6_only } = socket.role else {
        return Vec::new();
    };
    let mut addresses = vec![socket.local];
    if socket.local.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) && !is_v6_only {
        addresses.push(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), socket.local.port()));
    }
    addresses
}

/// Several interfaces may have the same link-local address, the VLANs of one device for example; a connection by one is
/// bound to its interface.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

const fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn failed(error: io::Error) -> HostError {
    match error.kind() {
        ErrorKind::PermissionDenied => denied(Act::Netlink, error),
        _ => HostError::Sockets(error),
    }
}

/// Reads one of the kernel's socket tables.
fn dump(request: &[u8], mut each: impl FnMut(&InetResponse)) -> Result<(), HostError> {
    /// The kernel's messages are no longer than this.
    const BUFFER: usize = 32 * 1024;
    let mut netlink = NetlinkSocket::new(NETLINK_SOCK_DIAG).map_err(failed)?;
    netlink.bind_auto().map_err(failed)?;
    netlink.connect(&NetlinkAddress::new(0, 0)).map_err(failed)?;
    netlink.send(request, 0).map_err(failed)?;
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        netlink.recv(&mut buffer, 0).map_err(failed)?;
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::deserialize(rest).map_err(HostError::SocketMessage)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    each(&response);
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(failed(error.to_io())),
                _ => {}
            }
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The states of the sockets that tell connections.
fn states(protocol: ConnectionProtocol) -> StateFlags {
    match protocol {
        // No SYN-SENT and SYN-RECEIVED: a handshake under way is repeated and meets the rules. No TIME-WAIT: it is over.
        ConnectionProtocol::Tcp => StateFlags::LISTEN | connected(),
        // The kernel keeps UDP sockets without a peer in the state CLOSE.
        ConnectionProtocol::Udp => StateFlags::CLOSE | StateFlags::ESTABLISHED,
    }
}

fn request(protocol: u8, family: u8, states: StateFlags) -> Vec<u8> {
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let request = InetRequest { family, protocol, extensions: ExtensionFlags::empty(), states, socket_id };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// `None` for a UDP socket that has no port yet.
fn socket(InetResponse { header, nlas }: &InetResponse) -> Option<Socket> {
    let id = &header.socket_id;
    if id.source_port == 0 {
        return None;
    }
    // IPv4 in an IPv6 socket has addresses in the mapped form; its packets are IPv4.
    let address = |address: IpAddr, port| SocketAddr::new(address.to_canonical(), port);
    let role = if [TCP_LISTEN, TCP_CLOSE].contains(&header.state) {
        Role::Listening { is_v6_only: nlas.contains(&Nla::SkV6Only(true)) }
    } else {
        Role::Connected { remote: address(id.destination_address, id.destination_port) }
    };
    Some(Socket { local: address(id.source_address, id.source_port), role, bound_to: id.interface_id })
}

#[cfg(test)]
mod tests {
    use netlink_packet_sock_diag::TCP_ESTABLISHED;
    use netlink_packet_sock_diag::inet::InetResponseHeader;

    use super::*;

    const HERE: [&str; 3] = ["192.0.2.1", "2001:db8::1", "fe80::1"];
    const IFINDEX: u32 = 4;

    fn listening(local: &str) -> Socket {
        Socket { local: local.parse().unwrap(), role: Role::Listening { is_v6_only: false }, bound_to: 0 }
    }

    fn connected(local: &str, remote: &str) -> Socket {
        let role = Role::Connected { remote: remote.parse().unwrap() };
        Socket { local: local.parse().unwrap(), role, bound_to: 0 }
    }

    fn found(sockets: &[Socket]) -> Vec<Connection> {
        let addresses = HERE.map(|address| address.parse().unwrap()).into();
        connections_of(ConnectionProtocol::Tcp, sockets, &addresses, IFINDEX)
    }

    /// Who opened the connection of the last of these sockets, which is the only one that has any.
    fn started_by(sockets: &[Socket]) -> Direction {
        let [connection] = found(sockets)[..] else { panic!("{sockets:?}") };
        connection.started_by
    }

    #[test]
    fn the_peer_of_a_listener_has_opened_the_connection() {
        let connection = connected("192.0.2.1:22", "198.51.100.7:40000");
        for listener in ["192.0.2.1:22", "0.0.0.0:22", "[::]:22"] {
            assert_eq!(started_by(&[listening(listener), connection]), Direction::Ingress, "{listener}");
        }
        let connection = connected("[2001:db8::1]:22", "[2001:db8::7]:40000");
        for listener in ["[2001:db8::1]:22", "[::]:22"] {
            assert_eq!(started_by(&[listening(listener), connection]), Direction::Ingress, "{listener}");
        }
    }

    #[test]
    fn without_a_listener_at_this_end_the_host_has_opened_it() {
        let connection = connected("192.0.2.1:40000", "198.51.100.7:22");
        assert_eq!(started_by(&[connection]), Direction::Egress);
        for listener in ["0.0.0.0:22", "[::]:40000", "192.0.2.2:40000", "127.0.0.1:40000"] {
            let v6_only = Socket { role: Role::Listening { is_v6_only: true }, ..listening(listener) };
            assert_eq!(started_by(&[v6_only, connection]), Direction::Egress, "{listener}");
        }
        let connection = connected("[2001:db8::1]:40000", "[2001:db8::7]:22");
        assert_eq!(started_by(&[listening("0.0.0.0:40000"), connection]), Direction::Egress);
    }

    #[test]
    fn sockets_that_share_a_port_are_connections_of_their_own() {
        let sockets = [
            listening("0.0.0.0:53"),
            listening("0.0.0.0:53"),
            connected("192.0.2.1:53", "198.51.100.7:1024"),
            connected("192.0.2.1:53", "198.51.100.8:1024"),
        ];
        let remotes: Vec<String> =
            found(&sockets).iter().map(|connection| connection.remote.to_string()).collect();
        assert_eq!(remotes, ["198.51.100.7:1024", "198.51.100.8:1024"]);
    }

    #[test]
    fn connections_that_do_not_cross_the_interface_do_not_count() {
        assert!(
            found(&[
                connected("127.0.0.1:22", "127.0.0.1:40000"),
                connected("192.0.2.1:22", "192.0.2.1:40000"),
                connected("192.0.2.2:22", "198.51.100.7:40000"),
            ])
            .is_empty()
        );
    }

    #[test]
    fn a_link_local_address_is_told_from_the_same_one_of_another_interface() {
        let socket = connected("[fe80::1]:22", "[fe80::7]:40000");
        assert_eq!(found(&[Socket { bound_to: IFINDEX, ..socket }]).len(), 1);
        assert!(found(&[Socket { bound_to: IFINDEX + 1, ..socket }]).is_empty());
        // Of a VRF, for example.
        let socket = connected("192.0.2.1:22", "198.51.100.7:40000");
        assert_eq!(found(&[Socket { bound_to: IFINDEX + 1, ..socket }]).len(), 1);
    }

    #[test]
    fn ipv4_in_an_ipv6_socket_is_ipv4() {
        let mut id = SocketId::new_v6();
        (id.source_port, id.destination_port) = (22, 40000);
        id.source_address = "::ffff:192.0.2.1".parse().unwrap();
        id.destination_address = "::ffff:198.51.100.7".parse().unwrap();
        let response = InetResponse { header: header(id), nlas: Default::default() };
        assert_eq!(socket(&response).unwrap(), connected("192.0.2.1:22", "198.51.100.7:40000"));
    }

    #[test]
    fn a_socket_without_a_port_is_nobodys() {
        let response = InetResponse { header: header(SocketId::new_v4()), nlas: Default::default() };
        assert_eq!(socket(&response), None);
    }

    fn header(socket_id: SocketId) -> InetResponseHeader {
        InetResponseHeader {
            family: AF_INET6,
            state: TCP_ESTABLISHED,
            timer: None,
            socket_id,
            recv_queue: 0,
            send_queue: 0,
            uid: 0,
            inode: 0,
        }
    }
}
