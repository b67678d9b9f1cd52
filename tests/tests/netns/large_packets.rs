//! Packets that do not fit into one buffer, one frame or one segment: jumbo frames, fragmented datagrams, and the
//! packets of segmentation offload, of which TC sees one where the wire would see many.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, UdpServer, receive,
};

use crate::support::counters::counter;
use crate::support::{close_egress, on_every_hook, protect};

on_every_hook!(
    jumbo_frames_pass_whole,
    datagrams_in_fragments_pass_where_a_rule_says_so,
    large_pings_pass_where_a_rule_says_so,
);

const RULES: [&str; 4] = [
    "--ingress --protocol udp --port 53 --cidr 10.77.0.0/16 --cidr fd77::/16",
    "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16",
    "--ingress --protocol icmp --icmp-type 8 --cidr 10.77.0.0/16",
    "--ingress --protocol icmpv6 --icmp-type 128 --cidr fd77::/16",
];

/// 65535 is the most that veth takes: a frame of 17 pages, which XDP sees as one with fragments (`xdp.frags`).
fn jumbo_frames_pass_whole(hook: IngressHook) {
    for mtu in [9000, 65_535] {
        let lab = protected_lab(hook, mtu);
        let (client, app) = (lab.host("client"), lab.host("app"));
        let _servers = (UdpServer::start_echo(app, 53).unwrap(), tcp_echo(app, 80));
        for family in Family::ALL {
            // The headers of IPv6 and UDP are 48 bytes.
            assert_echoed(client, app, family, &pattern(mtu - 48));
            assert_bulk_echoed(client, app, family);
        }
    }
}

fn datagrams_in_fragments_pass_where_a_rule_says_so(hook: IngressHook) {
    let lab = protected_lab(hook, 1500);
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [53, 54].map(|port| UdpServer::start_echo(app, port).unwrap());
    for family in Family::ALL {
        for bytes in [4000, 60_000] {
            assert_echoed(client, app, family, &pattern(bytes));
            assert_eq!(echo(client, app, family, 54, &pattern(bytes)), None);
        }
    }
}

fn large_pings_pass_where_a_rule_says_so(hook: IngressHook) {
    let lab = protected_lab(hook, 1500);
    let (client, app) = (lab.host("client"), lab.host("app"));
    for family in Family::ALL {
        for bytes in [4000, 60_000] {
            let ping = |to: &Host| format!("ping -n -c 2 -i 0.1 -W 1 -s {bytes} {}", to.address(family));
            let report = client.run(&ping(app)).expect_success();
            assert!(report.contains("2 received"), "{report}");
            // Egress is closed.
            app.run(&ping(client)).expect_failure(1);
        }
    }
}

/// Offload is what makes TCP fast between namespaces: packets of up to 64 KiB that are never cut into segments.
#[test]
fn packets_of_segmentation_offload_pass_tc_whole() {
    crate::support::privileged(|| {
        let lab = protected_lab(IngressHook::Tc, 1500);
        let (client, app) = (lab.host("client"), lab.host("app"));
        let _server = tcp_echo(app, 80);
        for family in Family::ALL {
            for direction in ["ingress", "egress"] {
                let before = counter(app, direction, "tracked");

                assert_bulk_echoed(client, app, family);

                let after = counter(app, direction, "tracked");
                let (packets, bytes) = (after.packets - before.packets, after.bytes - before.bytes);
                assert!(bytes >= BULK as u64, "{direction} {family}: counted {bytes} bytes of {BULK}");
                assert!(bytes / packets > 3000, "{direction} {family}: {packets} packets of {bytes} bytes");
            }
        }
    });
}

/// A client and a host with [`RULES`] and closed egress, on links with an MTU.
fn protected_lab(hook: IngressHook, mtu: usize) -> Lab {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    for host in lab.hosts() {
        host.namespace().ip_batch(&format!("link set {INTERFACE} mtu {mtu}")).unwrap();
        lab.router().ip_batch(&format!("link set to-{} mtu {mtu}", host.name())).unwrap();
    }
    protect(lab.host("app"), hook, "app", &RULES);
    close_egress(lab.host("app"), "app");
    lab
}

/// Bytes that no two places of a datagram have in common, so that a swapped or lost part shows.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|position| (position / 251 + position % 251) as u8).collect()
}

#[track_caller]
fn assert_echoed(from: &Host, to: &Host, family: Family, data: &[u8]) {
    let answer = echo(from, to, family, 53, data);
    assert!(
        answer.as_deref() == Some(data),
        "{family}, {} bytes: {:?} back",
        data.len(),
        answer.map(|it| it.len())
    );
}

fn echo(from: &Host, to: &Host, family: Family, port: u16, data: &[u8]) -> Option<Vec<u8>> {
    let socket = from.namespace().run(|| UdpSocket::bind((from.address(family), 0))).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.send_to(data, (to.address(family), port)).unwrap();
    let mut answer = vec![0; usize::from(u16::MAX)];
    let (length, _) = receive(&socket, &mut answer).ok()?;
    answer.truncate(length);
    Some(answer)
}

/// Bytes of a bulk transfer.
const BULK: usize = 8 << 20;

#[track_caller]
fn assert_bulk_echoed(from: &Host, to: &Host, family: Family) {
    let data = pattern(BULK);
    let address = (to.address(family), 80).into();
    let mut connection = from
        .namespace()
        .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))
        .expect("the port should be open");
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut sending = connection.try_clone().unwrap();
    let mut answer = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sending.write_all(&data).unwrap();
            sending.shutdown(Shutdown::Write).unwrap();
        });
        connection.read_to_end(&mut answer).unwrap();
    });
    assert!(answer == data, "{family}: {} of {BULK} bytes back, or others", answer.len());
}

/// Sends back whatever arrives.
fn tcp_echo(host: &Host, port: u16) -> TcpServer {
    TcpServer::start(host, port, |mut client| std::io::copy(&mut client.try_clone()?, &mut client).map(drop))
        .unwrap()
}
