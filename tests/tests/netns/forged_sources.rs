//! Packets under an address that is not their sender's: they open no way back to whoever bears it.
//!
//! The attacker is the host's neighbour on the link (here the router's namespace), so that its frames meet the hook as any
//! frame from outside does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology};
use firewall_tests::packets::tcp;

use crate::support::counters::packets_during;
use crate::support::{Attacker, InnerNetwork, json, on_every_hook, protect, put_behind};

on_every_hook!(
    the_hosts_own_address_from_outside_opens_no_port,
    a_hairpin_opens_no_port_of_a_host_behind_the_router,
    what_a_one_armed_router_sends_back_has_a_flow_of_its_own,
);

/// Not open to everybody, or no state would be kept.
const TRACKED: &str = "--ingress --protocol tcp --port 8080 --cidr 10.0.0.0/8 --cidr 198.51.100.0/24 \
                       --cidr fd00::/8 --cidr 2001:db8::/64";

/// Where the attacker pretends to serve.
const RESPONDER: u16 = 80;

/// The second network of a host that is a router.
const INNER: InnerNetwork = InnerNetwork {
    interface: "inner0",
    v4: Ipv4Addr::new(10, 99, 0, 0),
    v6: Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 0),
};

/// F1: the attacker sends `H:22 → X:80`, then connects from port 80 to H:22.
fn the_hosts_own_address_from_outside_opens_no_port(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    let _server = TcpServer::start(app, 22, |_| Ok(())).unwrap();
    // The built-in group alone: its own members, of which the host is one, may send everything.
    protect(app, hook, "other", &[]);
    app.sgfw(&format!("interface set-groups {INTERFACE} --group default")).expect_success();
    let link = Attacker::new(&lab, app);
    for family in Family::ALL {
        let (host, attacker) = (app.address(family), app.link().router(family));
        let admitted =
            packets_during(app, "ingress", "rule", || link.send((host, 22), (attacker, RESPONDER), tcp::SYN));
        assert_eq!(admitted, 1, "the forged packet should be what a rule admits");
        let denied = packets_during(app, "ingress", "no-rule", || {
            let mut connect = lab.router().command("ncat");
            connect.args(["--wait", "1", "--send-only", "--source-port", &RESPONDER.to_string()]);
            let connected = connect.args([&host.to_string(), "22"]).status().unwrap().success();
            assert!(!connected, "{host}: the port is open");
        });
        assert!(denied >= 1, "nothing was dropped of a connection to {host}");
        for flags in [tcp::SYN | tcp::ACK, tcp::ACK] {
            let answer = || link.send((attacker, RESPONDER), (host, 22), flags);
            assert_eq!(packets_during(app, "ingress", "no-rule", answer), 1, "{family}, flags {flags:#x}");
        }
    }
}

/// X sends `S:22 → X:8080` to a router that has S behind another interface, which sends it back to X.
fn a_hairpin_opens_no_port_of_a_host_behind_the_router(hook: IngressHook) {
    for reverse_path_filter in ["0", "2"] {
        let lab = Lab::build(&Topology::star(["app", "inner"])).unwrap();
        let (app, inner) = (lab.host("app"), lab.host("inner"));
        let _server = TcpServer::start(inner, 22, |_| Ok(())).unwrap();
        make_router(app, reverse_path_filter);
        let behind = put_behind(&lab, app, inner, &INNER);
        protect(app, hook, "edge", &[TRACKED]);
        let link = Attacker::new(&lab, app);
        for (family, behind) in Family::ALL.into_iter().zip(behind) {
            let attacker = app.link().router(family);
            let hairpin = || link.send((behind, 22), (attacker, 8080), tcp::SYN);
            assert_eq!(packets_during(app, "egress", "hairpin", hairpin), 1, "{family}");
            for flags in [tcp::SYN, tcp::SYN | tcp::ACK, tcp::ACK] {
                let answer = || link.send((attacker, 8080), (behind, 22), flags);
                assert_eq!(
                    packets_during(app, "ingress", "no-rule", answer),
                    1,
                    "{family}, flags {flags:#x}"
                );
            }
        }
        let flows = json(app, "flows list");
        let begun: Vec<_> =
            flows["Flows"].as_array().unwrap().iter().map(|flow| &flow["StartedBy"]).collect();
        assert!(begun.iter().all(|direction| *direction == "ingress"), "{flows}");
    }
}

/// A router with one interface: both its hooks judge, and replies pass both.
fn what_a_one_armed_router_sends_back_has_a_flow_of_its_own(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    make_router(app, "2");
    protect(app, hook, "edge", &[TRACKED]);
    let link = Attacker::new(&lab, app);
    for family in Family::ALL {
        let [client, server] = beyond(family);
        let request = || link.send((client, 40_000), (server, 8080), tcp::SYN);
        assert_eq!(packets_during(app, "egress", "rule", request), 1, "{family}");
        let mut tracked = 0;
        let arrived = packets_during(app, "ingress", "tracked", || {
            tracked = packets_during(app, "egress", "tracked", || {
                link.send((server, 8080), (client, 40_000), tcp::SYN | tcp::ACK);
                link.send((client, 40_000), (server, 8080), tcp::ACK);
            });
        });
        assert_eq!((arrived, tracked), (2, 2), "{family}");
    }
    // What egress does not admit does not pass by what ingress has admitted.
    app.sgfw("rule revoke edge --egress --protocol all --cidr 0.0.0.0/0 --cidr ::/0").expect_success();
    for family in Family::ALL {
        let [client, server] = beyond(family);
        let request = || link.send((client, 40_001), (server, 8080), tcp::SYN);
        assert_eq!(packets_during(app, "egress", "no-rule", request), 1, "{family}");
    }
}

/// Two hosts that the router reaches by its one interface.
fn beyond(family: Family) -> [IpAddr; 2] {
    match family {
        Family::V4 => [[198, 51, 100, 7].into(), [203, 0, 113, 5].into()],
        Family::V6 => [7, 5].map(|host| [0x2001, 0xdb8, 0, 0, 0, 0, 0, host].into()),
    }
}

fn make_router(host: &Host, reverse_path_filter: &str) {
    let namespace = host.namespace();
    namespace.forward().unwrap();
    for interface in ["all", INTERFACE] {
        namespace.configure(&format!("net/ipv4/conf/{interface}/rp_filter"), reverse_path_filter).unwrap();
        // A router says that there is a shorter way, which would be counted too.
        namespace.configure(&format!("net/ipv4/conf/{interface}/send_redirects"), "0").unwrap();
    }
}
