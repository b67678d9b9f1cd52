//! A host stays on its network however closed it is: neighbour discovery and ARP are exempt.

use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_tests::lab::Reachability::Open;
use firewall_tests::lab::{
    Family, INTERFACE, IngressHook, Lab, TcpServer, Topology, UdpServer, tcp_connect, udp_exchange,
};

use crate::support::counters::counter;
use crate::support::{close_egress, on_every_hook, protect};

on_every_hook!(
    neighbours_are_found_again_after_they_expired,
    a_closed_host_keeps_its_neighbours_beyond_their_timers,
);

fn neighbours_are_found_again_after_they_expired(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = TcpServer::start(app, 80, |_| Ok(())).unwrap();
    protect(app, hook, "app", &["--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16"]);
    close_egress(app, "app");
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
        for known in ["-4", "-6"] {
            app.run(&format!("ip {known} neighbour flush dev {INTERFACE}")).expect_success();
        }
        lab.router().ip_batch("neighbour flush dev to-app").unwrap();
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
    }
}

/// A neighbour is reachable for half a second here, so that the kernel on both sides must ask again and again. What
/// fails to answer in time is gone, as hosts are hours after a firewall has forgotten ARP or neighbour discovery.
fn a_closed_host_keeps_its_neighbours_beyond_their_timers(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = UdpServer::start_echo(app, 53).unwrap();
    for (namespace, interface) in [(app.namespace(), INTERFACE), (lab.router(), "to-app")] {
        for (timer, value) in [
            ("base_reachable_time_ms", "500"),
            ("delay_first_probe_time", "1"),
            ("retrans_time_ms", "100"),
            ("gc_stale_time", "1"),
        ] {
            for family in ["ipv4", "ipv6"] {
                namespace.configure(&format!("net/{family}/neigh/{interface}/{timer}"), value).unwrap();
            }
        }
    }
    protect(app, hook, "app", &["--ingress --protocol udp --port 53 --cidr 10.77.0.0/16 --cidr fd77::/16"]);
    close_egress(app, "app");
    let asked =
        || ["exempt-arp", "exempt-neighbor-discovery"].map(|reason| counter(app, "ingress", reason).packets);
    let before = asked();

    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        for family in Family::ALL {
            assert_eq!(udp_exchange(client, app.address(family), 53), Open, "after {:?}", start.elapsed());
        }
        sleep(Duration::from_millis(100));
    }

    let after = asked();
    assert!(after[0] > before[0] && after[1] > before[1], "nobody asked: {before:?} {after:?}");
}
