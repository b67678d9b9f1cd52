//! Ended flows leave their places to new ones, and a full table harms nobody but whom it has no place for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, Topology};
use firewall_tests::packets::{Segment, tcp};

use crate::support::counters::{counter, packets_during};
use crate::support::{Attacker, create_group, json, on_every_hook};

on_every_hook!(
    closed_connections_leave_their_places_without_any_process,
    half_open_flows_of_strangers_refuse_nobody,
    handshakes_that_the_host_throws_away_refuse_nobody,
    a_table_full_of_connections_refuses_the_next_and_keeps_them,
);

const TRACKED: &str =
    "--ingress --protocol tcp --port 8080 --cidr 10.0.0.0/8 --cidr fd00::/8 --cidr 198.51.100.0/24";
const PORT: u16 = 8080;

/// So many live flows the table has room for at the least.
const ENTRIES: usize = 1024;

#[track_caller]
fn protect_with_small_table(host: &Host, hook: IngressHook) {
    create_group(host, "server", &[TRACKED]);
    host.sgfw(&format!(
        "interface attach {INTERFACE} --group server --ingress-hook {hook} --flow-entries {ENTRIES}"
    ))
    .expect_success();
}

fn listen(host: &Host, port: u16) -> TcpListener {
    host.namespace().run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap()
}

fn connect(from: &Host, to: SocketAddr) -> std::io::Result<TcpStream> {
    from.namespace().run(|| TcpStream::connect_timeout(&to, Duration::from_millis(1500)))
}

/// F2: ten times as many connections as the table has places, closed by either side, one after the other.
fn closed_connections_leave_their_places_without_any_process(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "peer"])).unwrap();
    let (app, peer) = (lab.host("app"), lab.host("peer"));
    protect_with_small_table(app, hook);
    let listener = listen(app, PORT);
    let address = (app.address(Family::V4), PORT).into();
    for number in 0..10 * ENTRIES {
        let client = connect(peer, address).unwrap_or_else(|error| panic!("connection {number}: {error}"));
        let server = listener.accept().unwrap().0;
        // The side that closes first keeps the port for a minute; there are more of them if both take turns.
        if number % 2 == 0 {
            drop(client);
            drop(server);
        } else {
            drop(server);
            drop(client);
        }
    }
    assert_eq!(counter(app, "ingress", "flow-table-full").packets, 0);
}

/// Twenty times as many half-open flows as there are places: everybody is served, and who is connected stays so.
fn half_open_flows_of_strangers_refuse_nobody(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "peer"])).unwrap();
    let (app, peer) = (lab.host("app"), lab.host("peer"));
    protect_with_small_table(app, hook);
    let listener = listen(app, PORT);
    let host = app.address(Family::V4);
    let before = connect(peer, (host, PORT).into()).unwrap();
    let accepted = listener.accept().unwrap().0;
    let attacker = Attacker::new(&lab, app);
    let forged = |number: usize| -> IpAddr { [198, 51, 100, (number % 250) as u8].into() };
    for number in 0..20 * ENTRIES {
        attacker.send((forged(number), 1024 + (number / 2) as u16), (host, PORT), tcp::SYN);
    }
    let after = connect(peer, (host, PORT).into());
    assert!(after.is_ok(), "{after:?}");
    assert_eq!(counter(app, "ingress", "flow-table-full").packets, 0);
    let dropped = packets_during(app, "ingress", "no-rule", || drop((before, accepted)));
    assert_eq!(dropped, 0);
}

/// An acknowledgement with the right number and a wrong checksum completes no handshake of the host. Three times as many of
/// them as there are places.
fn handshakes_that_the_host_throws_away_refuse_nobody(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "peer"])).unwrap();
    let (app, peer) = (lab.host("app"), lab.host("peer"));
    protect_with_small_table(app, hook);
    // A full queue would answer with cookies.
    app.namespace().configure("net/ipv4/tcp_max_syn_backlog", "65536").unwrap();
    let listener = listen(app, PORT);
    let host = app.address(Family::V4);
    let attacker = Attacker::that_receives(&lab, app);
    let mut completed = 0;
    for number in 0..4 * ENTRIES {
        let (source, port): (IpAddr, u16) =
            ([198, 51, 100, (number % 200) as u8 + 1].into(), 10_000 + (number / 200) as u16);
        attacker.send((source, port), (host, PORT), tcp::SYN);
        let Some(sequence) = attacker.syn_ack(port) else { continue };
        let segment = Segment::new(port, PORT, tcp::ACK);
        attacker.send_broken(
            source,
            host,
            Segment {
                sequence: segment.sequence.wrapping_add(1),
                acknowledgement: sequence.wrapping_add(1),
                ..segment
            },
        );
        completed += 1;
    }
    assert!(completed > 2 * ENTRIES, "only {completed} handshakes");
    for _ in 0..10 {
        let client = connect(peer, (host, PORT).into());
        assert!(client.is_ok(), "{client:?}");
        let own = listen(peer, 9090);
        let used = connect(app, (peer.address(Family::V4), 9090).into());
        assert!(used.is_ok() && own.accept().is_ok(), "{used:?}");
    }
    drop(listener);
}

/// Live connections alone may fill the table. Then a new one is refused, unless it comes from a management prefix; all
/// others go on.
fn a_table_full_of_connections_refuses_the_next_and_keeps_them(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app", "peer", "operator"])).unwrap();
    let (app, peer, operator) = (lab.host("app"), lab.host("peer"), lab.host("operator"));
    protect_with_small_table(app, hook);
    let managed = format!("{}/32", operator.address(Family::V4));
    app.sgfw(&format!("management add {INTERFACE} {managed} --port {PORT}")).expect_success();
    let listener = listen(app, PORT);
    let address = (app.address(Family::V4), PORT).into();
    let mut connections = Vec::new();
    let refused = loop {
        match connect(peer, address) {
            Ok(client) => connections.push((client, listener.accept().unwrap().0)),
            Err(_) => break counter(app, "ingress", "flow-table-full").packets,
        }
        assert!(connections.len() < 4 * ENTRIES, "the table never fills");
    };
    assert!(refused > 0, "a connection failed for another reason");
    assert!(connections.len() >= ENTRIES, "only {} of {ENTRIES}", connections.len());
    let status = json(app, "status");
    assert!(status["FlowTable"]["Refused"].as_u64().unwrap() > 0, "{status}");
    // Fills what is left, so that the operator finds no place by chance.
    for _ in 0..200 {
        if let Ok(client) = connect_quickly(peer, address) {
            connections.push((client, listener.accept().unwrap().0));
        }
    }
    let mut without_state = 0;
    for _ in 0..20 {
        without_state += packets_during(app, "ingress", "management", || {
            let operator = connect(operator, address);
            assert!(operator.is_ok(), "{operator:?}");
            listener.accept().unwrap();
        });
    }
    assert!(without_state > 0, "every connection of the operator found a place");
    for (client, server) in &connections {
        say(client, server);
        say(server, client);
    }
}

fn connect_quickly(from: &Host, to: SocketAddr) -> std::io::Result<TcpStream> {
    from.namespace().run(|| TcpStream::connect_timeout(&to, Duration::from_millis(20)))
}

#[track_caller]
fn say(mut from: &TcpStream, mut to: &TcpStream) {
    use std::io::{Read, Write};
    to.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    from.write_all(b"x").unwrap();
    to.read_exact(&mut [0]).unwrap();
}
