//! Silent flows end when the interface says so, by the kernel's own clock.
//!
//! The conformance table has every timeout, with flows made older instead of waiting. Here time really passes: an
//! answer comes just before the end, another one just after it, and no rule admits either. Real peers ask and answer
//! where they do so late; what they would not do by themselves, packet sockets do for every state of a flow.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_common::abi::Direction::{self, Egress, Ingress};
use firewall_common::flow_table::control::state;
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, PacketSocket, Topology, receive};
use firewall_tests::packets::{Frame, IcmpBody, Packet, Segment, Transport, tcp};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use nix::{setsockopt_impl, sockopt_impl};
use serde_json::Value;

use crate::support::{json, on_every_hook, protect};

on_every_hook!(
    an_answer_to_a_datagram_may_be_late,
    an_answer_to_an_echo_request_may_be_late,
    a_flow_in_any_state_ends_by_the_timeout_of_the_state,
    a_connection_that_the_host_resets_is_over_soon,
    a_connection_that_the_peer_resets_is_over_soon,
    a_client_may_be_silent_before_the_listener_has_completed_its_handshake,
);

/// How long before and after the end an answer comes.
const MARGIN: Duration = Duration::from_millis(1500);

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

/// AWS allows no UDP timeout below its default, so this waits for half a minute.
fn an_answer_to_a_datagram_may_be_late(hook: IngressHook) {
    const TIMEOUT: Duration = Duration::from_secs(30);
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[]);
    let arrives = |family, delay| {
        let bind = |host: &Host| host.namespace().run(|| UdpSocket::bind((host.address(family), 0))).unwrap();
        let (asking, answering) = (bind(app), bind(client));
        answering.set_read_timeout(Some(MARGIN)).unwrap();
        asking.set_read_timeout(Some(MARGIN / 2)).unwrap();
        asking.send_to(b"question", answering.local_addr().unwrap()).unwrap();
        let (_, from) = receive(&answering, &mut [0; 16]).unwrap();
        sleep(delay);
        answering.send_to(b"answer", from).unwrap();
        receive(&asking, &mut [0; 16]).is_ok()
    };
    let arrives = &arrives;
    thread::scope(|scope| {
        for family in Family::ALL {
            scope.spawn(move || assert!(arrives(family, TIMEOUT - MARGIN), "{family:?}: too soon"));
            scope.spawn(move || assert!(!arrives(family, TIMEOUT + MARGIN), "{family:?}: too late"));
        }
    });
}

/// The client's kernel leaves echo requests alone, and nping answers in its place.
fn an_answer_to_an_echo_request_may_be_late(hook: IngressHook) {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[]);
    app.sgfw(&format!("interface set-timeouts {INTERFACE} --icmp {}", TIMEOUT.as_secs())).expect_success();
    client.namespace().configure("net/ipv4/icmp_echo_ignore_all", "1").unwrap();
    let arrives = |identifier: u16, delay| {
        thread::scope(|scope| {
            let destination = client.address(Family::V4);
            let ping = format!("ping -n -q -c 1 -W 6 -e {identifier} {destination}");
            let asking = scope.spawn(move || app.run(&ping).success().is_ok());
            sleep(delay);
            let source = app.address(Family::V4);
            client
                .run(&format!(
                    "nping --icmp --icmp-type echo-reply --icmp-id {identifier} --icmp-seq 1 -c 1 --no-capture {source}"
                ))
                .expect_success();
            asking.join().unwrap()
        })
    };
    assert!(arrives(77, TIMEOUT - MARGIN), "too soon");
    assert!(!arrives(78, TIMEOUT + MARGIN), "too late");
}

fn a_connection_that_the_host_resets_is_over_soon(hook: IngressHook) {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[]);
    let timeouts = format!("interface set-timeouts {INTERFACE} --tcp-closed {}", TIMEOUT.as_secs());
    app.sgfw(&timeouts).expect_success();
    let states = || {
        let flows = json(app, "flows list")["Flows"].take();
        let state = |flow: &Value| flow["State"].as_str().unwrap().to_owned();
        flows.as_array().unwrap().iter().map(state).collect::<Vec<_>>()
    };
    let listener = client.namespace().run(|| TcpListener::bind((client.address(Family::V4), 80))).unwrap();
    let address = listener.local_addr().unwrap();
    let connection = app.namespace().run(|| TcpStream::connect(address)).unwrap();
    let _accepted = listener.accept().unwrap();
    assert_eq!(states(), ["established"]);
    // A RST instead of a FIN.
    setsockopt(&connection, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(connection);
    assert_eq!(states(), ["closed"]);
    sleep(TIMEOUT + MARGIN);
    assert_eq!(states(), [""; 0]);
}

/// The RST may be forged, so the flow goes on until somebody asks for its socket: whoever looks at flows does.
fn a_connection_that_the_peer_resets_is_over_soon(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[]);
    app.sgfw(&format!("interface set-timeouts {INTERFACE} --tcp-closed 1")).expect_success();
    let flows = || json(app, "flows list")["Flows"].as_array().unwrap().len();
    let class = |name: &str| {
        let mut table = json(app, "status")["FlowTable"]["Classes"].take();
        let mut rows = table.as_array_mut().unwrap().iter();
        rows.find(|row| row["Class"] == name).unwrap()["Flows"].as_u64().unwrap()
    };
    let listener = client.namespace().run(|| TcpListener::bind((client.address(Family::V4), 80))).unwrap();
    let address = listener.local_addr().unwrap();
    let kept = app.namespace().run(|| TcpStream::connect(address)).unwrap();
    let _accepted = listener.accept().unwrap();
    let _connection = app.namespace().run(|| TcpStream::connect(address)).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!((class("protected"), class("doubted")), (2, 0));
    setsockopt(&accepted, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(accepted);
    // In doubt, and backed by a socket for all that is known: nothing evicts it.
    assert_eq!((flows(), class("protected"), class("doubted")), (2, 2, 0));
    sleep(Duration::from_secs(3));
    assert_eq!((flows(), class("protected"), class("doubted")), (1, 2, 0));
    assert_eq!(json(app, "flows expire")["AskedForSocket"], 1);
    assert_eq!((flows(), class("protected"), class("doubted")), (1, 1, 0));
    drop(kept);
}

sockopt_impl!(DeferAccept, SetOnly, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, u32);

/// A listener with `TCP_DEFER_ACCEPT` completes no handshake before the client has said something. Until then the host has no
/// connection, and neither its next packet nor a sweep takes the flow for one that was given up.
fn a_client_may_be_silent_before_the_listener_has_completed_its_handshake(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    // Not open to everybody, or no state would be kept.
    protect(app, hook, "app", &["--ingress --protocol tcp --port 80 --cidr 10.0.0.0/8 --cidr fd00::/8"]);
    app.sgfw(&format!("interface set-timeouts {INTERFACE} --tcp-closed 1")).expect_success();
    app.sgfw(&format!("interface set-options {INTERFACE} --tcp-strict on")).expect_success();
    for family in Family::ALL {
        let listener = app.namespace().run(|| TcpListener::bind((app.address(family), 80))).unwrap();
        setsockopt(&listener, DeferAccept, &60).unwrap();
        // Of the listener, and of what it accepts.
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::new(5, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut connection = client.namespace().run(|| TcpStream::connect(address)).unwrap();
        sleep(Duration::from_secs(4));
        assert_eq!(json(app, "flows expire")["Removed"], 0, "{family:?}");
        connection.write_all(b"question").unwrap();
        let (mut accepted, _) = listener.accept().unwrap_or_else(|error| panic!("{family:?}: {error}"));
        let mut heard = [0; 8];
        accepted.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"question", "{family:?}");
    }
}

/// Timeouts that AWS gives a range have the least of it. All differ by more than two margins, so that a flow that ends
/// by the timeout of another state is noticed.
const TIMEOUTS: &str = "--tcp-syn 4 --icmp 8 --tcp-fin 12 --other 20 --tcp-doubt 24 --udp 30 \
                        --udp-stream 60 --tcp-established 64";

/// Every state that packets bring about. No socket speaks for a half-closed flow here, so that it is one in doubt; and the
/// RST of a host that has no socket closes none.
const STATES: [u64; 13] = [
    state::SYN_SENT,
    state::SYN_RECEIVED,
    state::ESTABLISHED,
    state::FIN_WAIT,
    state::TIME_WAIT,
    state::PICKED_UP,
    state::UDP_ONE_WAY,
    state::UDP_REPLIED,
    state::ICMP_REPLIED,
    state::UDP_STREAM,
    state::ICMP_QUERY,
    state::PORTLESS,
    state::PORTLESS_REPLIED,
];

/// Longer than a UDP flow must last to be a stream.
const TALKING: Duration = Duration::from_millis(2500);

/// A datagram from this port to this port is admitted, and shows that nothing sent before it is still on its way.
const MARKER_PORT: u16 = 9;

/// Two flows for each state and family, which the host begins: one is answered before the end, the other after it.
fn a_flow_in_any_state_ends_by_the_timeout_of_the_state(hook: IngressHook) {
    let lab = client_and_app();
    let app = lab.host("app");
    let marker = format!("--ingress --protocol udp --port {MARKER_PORT} --cidr 0.0.0.0/0 --cidr ::/0");
    protect(app, hook, "app", &[&marker]);
    app.sgfw(&format!("interface set-timeouts {INTERFACE} {TIMEOUTS}")).expect_success();
    let wire = Wire::open(&lab);

    let peers = STATES.iter().flat_map(|state| Family::ALL.map(|family| (*state, family)));
    let peers: Vec<Peer> = peers
        .flat_map(|(state, family)| [false, true].map(|is_late| Peer { state, family, is_late }))
        .collect();
    let say = |peer: Peer| {
        peer.conversation().into_iter().for_each(|(direction, packet)| wire.send(direction, packet));
    };
    // These talk for a while before the others begin, and go on.
    peers.iter().copied().filter(|peer| peer.state == state::UDP_STREAM).for_each(say);
    sleep(TALKING);
    let start = Instant::now();
    peers.iter().copied().for_each(say);
    let flows = json(app, "flows list");
    let mut answers = Vec::new();
    for peer in peers {
        assert_eq!(peer.state_in(&flows), [state::name(peer.state).unwrap()], "{peer:?}");
        let timeout = Duration::from_secs(timeout(peer.state));
        answers.push((if peer.is_late { timeout + MARGIN } else { timeout - MARGIN }, peer));
    }
    answers.sort_by_key(|(due, _)| *due);
    for (due, peer) in answers {
        sleep(due.saturating_sub(start.elapsed()));
        let arrived = wire.arrives(peer.answer());
        assert_eq!(arrived, !peer.is_late, "{peer:?}: after {:?}", start.elapsed());
    }
}

/// Seconds after which a silent flow ends, under [`TIMEOUTS`].
fn timeout(state: u64) -> u64 {
    match state {
        state::SYN_SENT | state::SYN_RECEIVED | state::PICKED_UP => 4,
        state::ICMP_QUERY | state::ICMP_REPLIED => 8,
        state::TIME_WAIT => 12,
        state::PORTLESS | state::PORTLESS_REPLIED => 20,
        state::FIN_WAIT => 24,
        state::UDP_ONE_WAY | state::UDP_REPLIED => 30,
        state::UDP_STREAM => 60,
        _ => 64,
    }
}

/// An address that nobody has, so that nobody adds to what is said. One flow goes to it.
#[derive(Clone, Copy, Debug)]
struct Peer {
    state: u64,
    family: Family,
    /// Whether its answer comes after the end of the flow.
    is_late: bool,
}

impl Peer {
    /// What the host and the peer say until the flow is in the state.
    fn conversation(self) -> Vec<(Direction, Packet)> {
        let segment = |direction, flags| (direction, tcp_segment(direction, flags));
        let handshake =
            [segment(Egress, tcp::SYN), segment(Ingress, tcp::SYN | tcp::ACK), segment(Egress, tcp::ACK)];
        let fin = |direction| segment(direction, tcp::FIN | tcp::ACK);
        let udp = [Egress, Ingress].map(|direction| (direction, datagram(direction)));
        let query = [Egress, Ingress].map(|direction| (direction, echo(direction, self.family)));
        let said = match self.state {
            state::SYN_SENT => handshake[..1].to_vec(),
            state::SYN_RECEIVED => handshake[..2].to_vec(),
            state::ESTABLISHED => handshake.to_vec(),
            state::FIN_WAIT => [&handshake[..], &[fin(Egress)]].concat(),
            state::TIME_WAIT => {
                let acknowledgement = segment(Egress, tcp::ACK);
                [&handshake[..], &[fin(Egress), fin(Ingress), acknowledgement]].concat()
            }
            state::PICKED_UP => handshake[2..].to_vec(),
            state::UDP_ONE_WAY => udp[..1].to_vec(),
            state::UDP_REPLIED | state::UDP_STREAM => udp.to_vec(),
            state::ICMP_QUERY => query[..1].to_vec(),
            state::ICMP_REPLIED => query.to_vec(),
            state::PORTLESS => vec![(Egress, SCTP)],
            _ => vec![(Egress, SCTP), (Ingress, SCTP)],
        };
        said.into_iter()
            .map(|(direction, transport)| (direction, self.packet(direction, transport)))
            .collect()
    }

    /// What the peer says next, if it is still heard.
    fn answer(self) -> Packet {
        let transport = match self.state {
            state::SYN_SENT => tcp_segment(Ingress, tcp::SYN | tcp::ACK),
            ..=state::PICKED_UP => tcp_segment(Ingress, tcp::ACK | tcp::PSH),
            state::UDP_ONE_WAY | state::UDP_REPLIED | state::UDP_STREAM => datagram(Ingress),
            state::ICMP_QUERY | state::ICMP_REPLIED => echo(Ingress, self.family),
            _ => SCTP,
        };
        self.packet(Ingress, transport)
    }

    /// States of the flows to this peer, by `sgfw flows list`.
    fn state_in(self, flows: &Value) -> Vec<&str> {
        let address = self.address().to_string();
        let flows = flows["Flows"].as_array().unwrap().iter();
        let its = flows.filter(|flow| flow["Responder"]["Address"] == address.as_str());
        its.map(|flow| flow["State"].as_str().unwrap()).collect()
    }

    fn packet(self, direction: Direction, transport: Transport) -> Packet {
        let (host, peer) = (nobody(self.family, 0), self.address());
        match direction {
            Ingress => Packet::new(peer, host, transport),
            Egress => Packet::new(host, peer, transport),
        }
    }

    fn address(self) -> IpAddr {
        nobody(self.family, self.state as u8 * 2 + u8::from(self.is_late))
    }
}

/// An address for documentation (RFC 5737, RFC 3849). The state numbers begin with 1, so that number 0 is the host's.
fn nobody(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(203, 0, 113, number).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// Portless here, as to AWS.
const SCTP: Transport = Transport::Other { protocol: 132, data: 16 };

fn tcp_segment(direction: Direction, flags: u8) -> Transport {
    let (source, destination) = ports(direction);
    Transport::Tcp(Segment::new(source, destination, flags))
}

fn datagram(direction: Direction) -> Transport {
    let (source_port, destination_port) = ports(direction);
    Transport::Udp { source_port, destination_port, data: 16 }
}

fn echo(direction: Direction, family: Family) -> Transport {
    let icmp_type = match (direction, family) {
        (Egress, Family::V4) => 8,
        (Ingress, Family::V4) => 0,
        (Egress, Family::V6) => 128,
        (Ingress, Family::V6) => 129,
    };
    Transport::Icmp { icmp_type, code: 0, body: IcmpBody::Identifier(1) }
}

fn ports(direction: Direction) -> (u16, u16) {
    match direction {
        Ingress => (443, 40_000),
        Egress => (40_000, 443),
    }
}

/// The link of the host `app`. Its frames are for a hardware address that neither end has, so that both kernels leave
/// them alone behind the firewall.
struct Wire {
    host: PacketSocket,
    far_end: PacketSocket,
    heard: [PacketSocket; 2],
}

impl Wire {
    fn open(lab: &Lab) -> Self {
        let host = lab.host("app").namespace();
        Self {
            host: PacketSocket::open(host, INTERFACE, 0).unwrap(),
            far_end: PacketSocket::open(lab.router(), "to-app", 0).unwrap(),
            heard: [0x0800, 0x86dd].map(|ethertype| PacketSocket::open(host, INTERFACE, ethertype).unwrap()),
        }
    }

    fn send(&self, direction: Direction, packet: Packet) {
        let from = if direction == Ingress { &self.far_end } else { &self.host };
        from.send(&Frame::ip(packet).to_bytes()).unwrap();
    }

    /// Whether a packet gets to the host.
    fn arrives(&self, packet: Packet) -> bool {
        let transport = Transport::Udp { source_port: MARKER_PORT, destination_port: MARKER_PORT, data: 16 };
        let marker = Packet::new(packet.source, packet.destination, transport);
        let heard = &self.heard[usize::from(packet.source.is_ipv6())];
        while heard.receive().is_some() {}
        let [packet, marker] = [packet, marker].map(|packet| Frame::ip(packet).to_bytes());
        self.far_end.send(&packet).unwrap();
        self.far_end.send(&marker).unwrap();
        let (mut arrived, sent) = (false, Instant::now());
        loop {
            match heard.receive() {
                Some(frame) if frame == marker => return arrived,
                Some(frame) => arrived |= frame == packet,
                None => sleep(Duration::from_millis(1)),
            }
            assert!(sent.elapsed() < Duration::from_secs(30), "the marker was lost");
        }
    }
}
