//! What strangers send ends no connection that both hosts still have, and protects no flow.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology};
use firewall_tests::packets::{IcmpBody, Segment, Transport, tcp};
use serde_json::Value;

use crate::support::{Attacker, InnerNetwork, json, on_every_hook, protect, put_behind};

on_every_hook!(
    blind_resets_and_fins_end_no_idle_connection_of_the_host,
    blind_resets_end_no_idle_connection_of_a_host_behind_a_router,
    blind_resets_end_no_masqueraded_connection,
    blind_resets_end_no_redirected_connection,
    a_filter_of_the_host_that_resets_ends_no_connection,
    a_reset_and_a_syn_leave_an_established_flow_as_it_is,
    forged_halves_of_every_protocol_protect_no_flow,
);

/// Not open to everybody, or no state would be kept.
const TRACKED: &str = "--ingress --protocol tcp --port 8080 --cidr 10.0.0.0/8 --cidr fd00::/8 --cidr 198.51.100.0/24 --cidr 2001:db8::/32";

const PORT: u16 = 8080;

/// All ports that Linux gives to connections (`ip_local_port_range`): 28 232.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// So short that what a RST or FIN ended would be over when the test looks again.
const SHORT: &str = "--tcp-closed 1 --tcp-fin 1";
const LONGER_THAN_SHORT: Duration = Duration::from_secs(3);

const INNER: InnerNetwork = InnerNetwork {
    interface: "inner0",
    v4: Ipv4Addr::new(10, 99, 0, 0),
    v6: Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 0),
};

/// Connections that say nothing until they are asked to.
struct Idle {
    pairs: Vec<(TcpStream, TcpStream)>,
}

impl Idle {
    /// Opens `count` connections from one host to a listener of another, which its clients know under `address`.
    #[track_caller]
    fn open(client: &Host, server: &Host, address: SocketAddr, port: u16, count: usize) -> Self {
        let listener = server.namespace().run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap();
        let connect = || {
            let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(5));
            let connection = client.namespace().run(connect).unwrap();
            (connection, listener.accept().unwrap().0)
        };
        let pairs: Vec<_> = (0..count).map(|_| connect()).collect();
        for connection in pairs.iter().flat_map(|(client, server)| [client, server]) {
            connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        let idle = Self { pairs };
        idle.exchange("before the attack");
        idle
    }

    /// Both ends of each connection say something first, and the other one hears it.
    #[track_caller]
    fn exchange(&self, when: &str) {
        for (client, server) in &self.pairs {
            push(server, client, when);
            push(client, server, when);
        }
    }
}

#[track_caller]
fn push(mut from: &TcpStream, mut to: &TcpStream, when: &str) {
    let path = || format!("{when}: {:?} to {:?}", from.local_addr(), to.local_addr());
    from.write_all(b"still there?").unwrap_or_else(|error| panic!("{}: {error}", path()));
    let mut heard = [0; 12];
    to.read_exact(&mut heard).unwrap_or_else(|error| panic!("{}: {error}", path()));
}

/// Sends a segment with made-up numbers from every port that the client may have.
#[track_caller]
fn spray(attacker: &Attacker, client: IpAddr, server: SocketAddr, flags: u8) {
    for port in EPHEMERAL {
        attacker.send_segment(client, server.ip(), blind(port, server.port(), flags));
    }
}

/// A segment of somebody who knows addresses and ports alone.
fn blind(source_port: u16, destination_port: u16, flags: u8) -> Segment {
    let number = u32::from(source_port).wrapping_mul(2_654_435_761);
    Segment { sequence: number, ..Segment::new(source_port, destination_port, flags) }
}

fn with_short_timeouts(host: &Host) {
    host.sgfw(&format!("interface set-timeouts {INTERFACE} {SHORT}")).expect_success();
    host.sgfw(&format!("interface set-options {INTERFACE} --tcp-strict on")).expect_success();
}

/// F4 for the host's own connections, begun by either side: their sockets speak for them.
fn blind_resets_and_fins_end_no_idle_connection_of_the_host(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "peer"])).unwrap();
    let (app, peer) = (lab.host("app"), lab.host("peer"));
    protect(app, hook, "server", &[TRACKED]);
    with_short_timeouts(app);
    let attacker = Attacker::new(&lab, app);
    for family in Family::ALL {
        let (host, client) = (app.address(family), peer.address(family));
        let served = Idle::open(peer, app, (host, PORT).into(), PORT, 10);
        let used = Idle::open(app, peer, (client, 9090).into(), 9090, 10);
        for flags in [tcp::RST, tcp::RST | tcp::ACK, tcp::FIN | tcp::ACK] {
            spray(&attacker, client, (host, PORT).into(), flags);
            for port in EPHEMERAL {
                attacker.send_segment(client, host, blind(9090, port, flags));
            }
            thread::sleep(LONGER_THAN_SHORT);
            served.exchange("served");
            used.exchange("used");
        }
    }
}

/// F4 for connections of which the host has no socket: it may not take that for their end, nor a listener of its own on the same
/// port, which answers for every address.
fn blind_resets_end_no_idle_connection_of_a_host_behind_a_router(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "inner", "peer"])).unwrap();
    let (app, inner, peer) = (lab.host("app"), lab.host("inner"), lab.host("peer"));
    let behind = put_behind(&lab, app, inner, &INNER);
    for address in behind {
        let length = if address.is_ipv4() { 24 } else { 64 };
        let via = app.address(Family::of(address));
        lab.router().ip_batch(&format!("route add {address}/{length} via {via}\n")).ok();
        lab.router().ip_batch(&format!("route replace {address} via {via}\n")).unwrap();
    }
    let _listener = TcpServer::start(app, PORT, |_| Ok(())).unwrap();
    protect(app, hook, "edge", &[TRACKED]);
    with_short_timeouts(app);
    let attacker = Attacker::new(&lab, app);
    for (family, server) in Family::ALL.into_iter().zip(behind) {
        let client = peer.address(family);
        let idle = Idle::open(peer, inner, (server, PORT).into(), PORT, 10);
        for flags in [tcp::RST, tcp::FIN | tcp::ACK] {
            spray(&attacker, client, (server, PORT).into(), flags);
            thread::sleep(LONGER_THAN_SHORT);
            idle.exchange("routed");
        }
    }
}

/// F4 for connections that the host masquerades: on the wire they have its address, and no socket of it.
fn blind_resets_end_no_masqueraded_connection(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "inner", "peer"])).unwrap();
    let (app, inner, peer) = (lab.host("app"), lab.host("inner"), lab.host("peer"));
    put_behind(&lab, app, inner, &INNER);
    nat(
        app,
        &format!(
            "chain out {{\n type nat hook postrouting priority 100\n oifname {INTERFACE} masquerade\n }}\n"
        ),
    );
    protect(app, hook, "edge", &[]);
    with_short_timeouts(app);
    let attacker = Attacker::new(&lab, app);
    for family in Family::ALL {
        let (server, host) = (peer.address(family), app.address(family));
        let idle = Idle::open(inner, peer, (server, PORT).into(), PORT, 10);
        for flags in [tcp::RST, tcp::FIN | tcp::ACK] {
            for port in EPHEMERAL {
                attacker.send_segment(server, host, blind(PORT, port, flags));
            }
            thread::sleep(LONGER_THAN_SHORT);
            idle.exchange("masqueraded");
        }
    }
}

/// F4 for connections to the host that it hands on to a host behind it, though it listens on the port itself.
fn blind_resets_end_no_redirected_connection(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "inner", "peer"])).unwrap();
    let (app, inner, peer) = (lab.host("app"), lab.host("inner"), lab.host("peer"));
    let [v4, v6] = put_behind(&lab, app, inner, &INNER);
    nat(
        app,
        &format!(
            "chain in {{\n type nat hook prerouting priority -100\n \
             iifname {INTERFACE} tcp dport {PORT} dnat ip to {v4}:9090\n \
             iifname {INTERFACE} tcp dport {PORT} dnat ip6 to [{v6}]:9090\n }}\n"
        ),
    );
    let _listener = TcpServer::start(app, PORT, |_| Ok(())).unwrap();
    protect(app, hook, "edge", &[TRACKED]);
    with_short_timeouts(app);
    let attacker = Attacker::new(&lab, app);
    for family in Family::ALL {
        let (client, host) = (peer.address(family), app.address(family));
        let idle = Idle::open(peer, inner, (host, PORT).into(), 9090, 10);
        for flags in [tcp::RST, tcp::FIN | tcp::ACK] {
            spray(&attacker, client, (host, PORT).into(), flags);
            thread::sleep(LONGER_THAN_SHORT);
            idle.exchange("redirected");
        }
    }
}

/// The host's own nftables answers what conntrack does not know with a RST, under the addresses of a connection.
fn a_filter_of_the_host_that_resets_ends_no_connection(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "peer"])).unwrap();
    let (app, peer) = (lab.host("app"), lab.host("peer"));
    protect(app, hook, "server", &[TRACKED]);
    with_short_timeouts(app);
    nat(
        app,
        &format!(
            "chain in {{\n type filter hook input priority 0\n ct state established,related accept\n \
             tcp dport {PORT} tcp flags & (syn | ack) == syn accept\n meta l4proto tcp reject with tcp reset\n }}\n"
        ),
    );
    let attacker = Attacker::new(&lab, app);
    for family in Family::ALL {
        let (host, client) = (app.address(family), peer.address(family));
        let served = Idle::open(peer, app, (host, PORT).into(), PORT, 5);
        let used = Idle::open(app, peer, (client, 9090).into(), 9090, 5);
        spray(&attacker, client, (host, PORT).into(), tcp::ACK);
        for port in EPHEMERAL {
            attacker.send_segment(client, host, blind(9090, port, tcp::ACK));
        }
        thread::sleep(LONGER_THAN_SHORT);
        served.exchange("served");
        used.exchange("used");
    }
}

#[track_caller]
fn nat(host: &Host, chain: &str) {
    let file = host.instance().state_directory.with_file_name("nat.nft");
    fs::write(&file, format!("table inet nat {{\n{chain}}}\n")).unwrap();
    host.run(&format!("nft --file {}", file.display())).expect_success();
}

/// F5: after a blind RST, a SYN that a rule admits does not make a half-open flow of an established one.
fn a_reset_and_a_syn_leave_an_established_flow_as_it_is(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "peer"])).unwrap();
    let (app, peer) = (lab.host("app"), lab.host("peer"));
    protect(app, hook, "server", &[TRACKED]);
    with_short_timeouts(app);
    let attacker = Attacker::new(&lab, app);
    for family in Family::ALL {
        let (host, client) = (app.address(family), peer.address(family));
        let idle = Idle::open(peer, app, (host, PORT).into(), PORT, 1);
        let port = idle.pairs[0].0.local_addr().unwrap().port();
        for flags in [tcp::RST, tcp::SYN, tcp::RST, tcp::SYN] {
            attacker.send_segment(client, host, blind(port, PORT, flags));
        }
        let flow = flow_of(app, client, port);
        assert_eq!(flow["State"], "established", "{flow}");
        assert_eq!(flow["Protected"], true, "{flow}");
        assert!(flow["ExpiresInSeconds"].as_u64().unwrap() > 4 * 86_400, "{flow}");
        thread::sleep(LONGER_THAN_SHORT);
        idle.exchange("after a RST and a SYN");
        assert_eq!(flow_of(app, client, port)["State"], "established");
    }
}

#[track_caller]
fn flow_of(host: &Host, initiator: IpAddr, port: u16) -> Value {
    let flows = json(host, "flows list");
    let mut rows = flows["Flows"].as_array().unwrap().iter();
    let is_wanted = |row: &&Value| {
        row["Initiator"]["Address"] == initiator.to_string().as_str() && row["Initiator"]["Port"] == port
    };
    rows.find(is_wanted).unwrap_or_else(|| panic!("no flow of {initiator}:{port} in {flows}")).clone()
}

/// F3: SYN, a made-up SYN-ACK of the host that is sent *to* it, ACK; segments in mid-stream; datagrams and pings, twice.
fn forged_halves_of_every_protocol_protect_no_flow(hook: IngressHook) {
    const FLOWS: u16 = 1000;
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    protect(
        app,
        hook,
        "server",
        &[
            "--ingress --protocol all --cidr 10.0.0.0/8 --cidr 198.51.100.0/24 --cidr fd00::/8 --cidr 2001:db8::/32",
        ],
    );
    let attacker = Attacker::new(&lab, app);
    for family in Family::ALL {
        let host = app.address(family);
        let forged: IpAddr = match family {
            Family::V4 => [198, 51, 100, 7].into(),
            Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into(),
        };
        for port in 10_000..10_000 + FLOWS {
            attacker.send((forged, port), (host, PORT), tcp::SYN);
            attacker.send((host, PORT), (forged, port), tcp::SYN | tcp::ACK);
            attacker.send((forged, port), (host, PORT), tcp::ACK);
            attacker.send((forged, port), (host, 9090), tcp::ACK);
            attacker.send((host, 9090), (forged, port), tcp::ACK);
            attacker.send((forged, port), (host, 9090), tcp::ACK);
            for _ in 0..2 {
                let datagram = Transport::Udp { source_port: port, destination_port: 53, data: 4 };
                attacker.send_packet(forged, host, datagram);
                let icmp_type = if family == Family::V4 { 8 } else { 128 };
                let body = IcmpBody::Identifier(port);
                attacker.send_packet(forged, host, Transport::Icmp { icmp_type, code: 0, body });
            }
        }
    }
    let flows = json(app, "flows list");
    let protected: Vec<_> =
        flows["Flows"].as_array().unwrap().iter().filter(|flow| flow["Protected"] == true).collect();
    assert!(protected.is_empty(), "{} forged flows are protected: {:?}", protected.len(), protected.first());
}
