//! Connections that are open when an interface is attached go on where the rules would have let them begin, and nowhere
//! else. In each of them the responder speaks first afterwards: no rule of its direction admits what it says.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, Topology, receive};
use nix::sys::socket::sockopt::ReusePort;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket};
use serde_json::Value;

use crate::support::{attach, close_egress, create_group, json, on_every_hook};

on_every_hook!(
    connections_to_a_listener_survive_with_egress_closed,
    connections_of_the_host_survive_with_ingress_closed,
    connections_that_no_rule_admits_are_cut,
    udp_exchanges_of_the_host_survive_with_ingress_closed,
    udp_exchanges_with_a_server_survive_with_egress_closed,
    detach_and_attach_keep_connections,
);

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

fn connections_to_a_listener_survive_with_egress_closed(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    create_group(app, "app", &[ADMITTED]);
    close_egress(app, "app");
    // The listener has IPv6 sockets for both families.
    let (_listener, mut connections) = connect(client, app, 80);

    assert!(messages_of_attach(app, hook).contains("live connections taken over: 2\n"));
    for TcpConnection { opened, accepted } in &mut connections {
        assert!(is_heard(accepted, opened));
        assert!(is_heard(opened, accepted));
    }
    assert_flows(app, "ingress", "established");
}

fn connections_of_the_host_survive_with_ingress_closed(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    create_group(app, "app", &[]);
    let (_listener, mut connections) = connect(app, client, 80);

    assert!(messages_of_attach(app, hook).contains("live connections taken over: 2\n"));
    for TcpConnection { opened, accepted } in &mut connections {
        assert!(is_heard(accepted, opened));
        assert!(is_heard(opened, accepted));
    }
    assert_flows(app, "egress", "established");
}

fn connections_that_no_rule_admits_are_cut(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    create_group(app, "app", &[ADMITTED]);
    close_egress(app, "app");
    let (_listener, to_closed_port) = connect(client, app, 22);
    let (_other_listener, from_host) = connect(app, client, 80);

    assert!(!messages_of_attach(app, hook).contains("taken over"));
    for TcpConnection { mut opened, mut accepted } in to_closed_port.into_iter().chain(from_host) {
        assert!(!is_heard(&mut accepted, &mut opened));
        assert!(!is_heard(&mut opened, &mut accepted));
    }
    assert_eq!(flows(app), [] as [Value; 0]);
}

fn udp_exchanges_of_the_host_survive_with_ingress_closed(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    create_group(app, "app", &[]);
    let exchanges = Family::ALL.map(|family| udp_exchange(app, client, family));

    attach(app, hook, "app");
    for (asking, answering) in &exchanges {
        assert!(is_received(answering, asking));
        assert!(is_received(asking, answering));
    }
    assert_flows(app, "egress", "stream");
}

/// Of a server that gives each client a socket of its own, beside the one that listens.
fn udp_exchanges_with_a_server_survive_with_egress_closed(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    create_group(app, "app", &["--ingress --protocol udp --port 53 --cidr 10.77.0.0/16 --cidr fd77::/16"]);
    close_egress(app, "app");
    let _listener = udp_socket(app, Ipv6Addr::UNSPECIFIED.into());
    let exchanges = Family::ALL.map(|family| udp_exchange(client, app, family));

    attach(app, hook, "app");
    for (asking, answering) in &exchanges {
        assert!(is_received(answering, asking));
        assert!(is_received(asking, answering));
    }
    assert_flows(app, "ingress", "stream");
}

fn detach_and_attach_keep_connections(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    create_group(app, "app", &[ADMITTED]);
    close_egress(app, "app");
    attach(app, hook, "app");
    let (_listener, mut connections) = connect(client, app, 80);

    app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
    assert!(messages_of_attach(app, hook).contains("live connections taken over: 2\n"));
    for TcpConnection { opened, accepted } in &mut connections {
        assert!(is_heard(accepted, opened));
        assert!(is_heard(opened, accepted));
    }
}

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

/// What `interface attach` says to the person at the terminal.
#[track_caller]
fn messages_of_attach(host: &Host, hook: IngressHook) -> String {
    let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook}");
    let finished = host.sgfw(&attach);
    let messages = finished.stderr();
    finished.expect_success();
    messages
}

/// There is one flow for each family, as these say.
#[track_caller]
fn assert_flows(host: &Host, started_by: &str, state: &str) {
    let flows = flows(host);
    assert_eq!(flows.len(), Family::ALL.len(), "{flows:#?}");
    for flow in flows {
        assert_eq!((&flow["StartedBy"], &flow["State"]), (&started_by.into(), &state.into()), "{flow:#}");
        assert_eq!(flow["Protected"], true, "{flow:#}");
        assert_eq!(flow["Rules"].as_array().unwrap().len(), 1, "{flow:#}");
    }
}

fn flows(host: &Host) -> Vec<Value> {
    json(host, "flows list")["Flows"].as_array().unwrap().clone()
}

/// Both ends of a TCP connection.
struct TcpConnection {
    opened: TcpStream,
    accepted: TcpStream,
}

/// Opens a connection of each family. The listener stays open.
#[track_caller]
fn connect(from: &Host, to: &Host, port: u16) -> (TcpListener, [TcpConnection; 2]) {
    let listen = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
    let listener = to.namespace().run(listen).unwrap();
    let connections = Family::ALL.map(|family| {
        let address = SocketAddr::new(to.address(family), port);
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(5));
        let opened = from.namespace().run(connect).unwrap();
        TcpConnection { opened, accepted: listener.accept().unwrap().0 }
    });
    (listener, connections)
}

/// Whether what one end says arrives at the other.
fn is_heard(speaker: &mut TcpStream, listener: &mut TcpStream) -> bool {
    speaker.write_all(b"hello").unwrap();
    listener.set_read_timeout(Some(SILENCE)).unwrap();
    is_hello(listener.read_exact(&mut [0; 5]))
}

/// An exchange on UDP port 53, the answering end of which has this one peer.
#[track_caller]
fn udp_exchange(from: &Host, to: &Host, family: Family) -> (UdpSocket, UdpSocket) {
    let asking = from.namespace().run(|| UdpSocket::bind((from.address(family), 0))).unwrap();
    let answering = udp_socket(to, to.address(family));
    asking.connect(answering.local_addr().unwrap()).unwrap();
    answering.connect(asking.local_addr().unwrap()).unwrap();
    assert!(is_received(&asking, &answering));
    assert!(is_received(&answering, &asking));
    (asking, answering)
}

/// A socket at UDP port 53 that shares the port.
#[track_caller]
fn udp_socket(host: &Host, address: IpAddr) -> UdpSocket {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let open = || {
        let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, ReusePort, &true)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, 53)))?;
        Ok(UdpSocket::from(socket))
    };
    let opened: nix::Result<UdpSocket> = host.namespace().run(open);
    opened.unwrap()
}

/// Whether a datagram of one socket arrives at the other.
fn is_received(sender: &UdpSocket, receiver: &UdpSocket) -> bool {
    sender.send(b"hello").unwrap();
    receiver.set_read_timeout(Some(SILENCE)).unwrap();
    is_hello(receive(receiver, &mut [0; 5]).map(drop))
}

/// How long to wait for what does not come.
const SILENCE: Duration = Duration::from_millis(600);

fn is_hello(received: std::io::Result<()>) -> bool {
    match received {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}
