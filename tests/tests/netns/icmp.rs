//! Ping and traceroute, to and from a protected host, and the errors that routers send about its traffic.

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, IngressHook, Lab, Topology, ping};

use crate::support::{close_egress, on_every_hook, protect};

on_every_hook!(
    a_closed_host_pings_but_is_not_pinged,
    a_host_is_pinged_where_a_rule_says_so,
    traceroute_works_both_ways,
    path_mtu_discovery_works_without_a_rule,
);

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

fn a_closed_host_pings_but_is_not_pinged(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[]);
    for family in Family::ALL {
        assert_eq!(ping(app, client.address(family)), Open);
        assert_eq!(ping(client, app.address(family)), Filtered);
    }
}

fn a_host_is_pinged_where_a_rule_says_so(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(
        app,
        hook,
        "app",
        &[
            &format!("--ingress --protocol icmp --icmp-type 8/0 --cidr {}", client.prefix(Family::V4)),
            &format!("--ingress --protocol icmpv6 --icmp-type 128 --cidr {}", client.prefix(Family::V6)),
        ],
    );
    close_egress(app, "app");
    for family in Family::ALL {
        assert_eq!(ping(client, app.address(family)), Open);
        assert_eq!(ping(app, client.address(family)), Filtered);
    }
}

/// Every hop is an ICMP error about a packet of the tracer: time exceeded from the router, then port unreachable.
fn traceroute_works_both_ways(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(
        app,
        hook,
        "app",
        &[
            "--ingress --protocol udp --port 33434-33534 --cidr 10.77.0.0/16 --cidr fd77::/16",
            "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16",
        ],
    );
    for family in Family::ALL {
        for (from, to) in [(client, app), (app, client)] {
            for method in ["", "-T -p 80"] {
                assert_eq!(hops(from, to, family, method), [from.link().router(family), to.address(family)]);
            }
        }
        assert_eq!(hops(app, client, family, "-I"), [app.link().router(family), client.address(family)]);
        // Echo requests to the protected host are not admitted, so that only the router shows.
        assert_eq!(hops(client, app, family, "-I"), [client.link().router(family)]);
    }
}

/// The hops that answered `traceroute`.
fn hops(from: &Host, to: &Host, family: Family, method: &str) -> Vec<std::net::IpAddr> {
    let trace = format!("traceroute -n -q 1 -w 0.4 -m 3 {method} {}", to.address(family));
    let lines = from.run(&trace).expect_success();
    let hops = lines.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
    let mut hops: Vec<_> = hops.collect();
    hops.dedup();
    hops
}

fn path_mtu_discovery_works_without_a_rule(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    lab.router().ip_batch("link set to-client mtu 1300").unwrap();
    protect(app, hook, "app", &[]);
    for family in Family::ALL {
        let destination = client.address(family);
        let ping = app.run(&format!("ping -n -c 1 -W 0.4 -M do -s 1400 {destination}"));
        ping.expect_failure(1);
        let route = app.run(&format!("ip route get {destination}")).expect_success();
        assert!(route.contains("mtu 1300"), "the router's error should have arrived: {route}");
    }
}
